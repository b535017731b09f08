"""Endpoint URLs with and without /v1."""

import pytest

from roost.errors import BadConfiguration
from roost.registry.endpoints import api_url, root_url


@pytest.mark.parametrize(
    ("written", "root"),
    [
        ("http://localhost:11434", "http://localhost:11434"),
        ("http://localhost:11434/", "http://localhost:11434"),
        ("http://localhost:11434/v1", "http://localhost:11434"),
        ("http://localhost:11434/v1//", "http://localhost:11434"),
        ("HTTPS://Basement.LAN:11443/v1/", "https://basement.lan:11443"),
        (" http://box/api/v1 ", "http://box/api"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
        ("http://box/v10", "http://box/v10"),
    ],
)
def test_both_spellings_mean_one_server(written: str, root: str) -> None:
    assert root_url(written) == root
    assert api_url(written) == f"{root}/v1"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "localhost:11434",
        "ftp://box",
        "http://",
        "http://box:99999",
        "http://box:x/v1",
        "http://box/v1?key=1",
        "http://box/#a",
        "http://[::1/v1",
        "box/v1",
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_right_form(written: str) -> None:
    with pytest.raises(BadConfiguration, match="write http://HOST:PORT/v1"):
        root_url(written)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadConfiguration) as caught:
        root_url("http://me:geheim@box/v1")
    assert "geheim" not in caught.value.message
