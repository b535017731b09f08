"""One field of a multipart body: found without taking the body apart, replaced without touching another byte."""

from __future__ import annotations

import pytest

from roost.errors import BadRequest, MissingParameter
from roost.gateway.llama_swap.multipart import boundary_of, find_field, spliced

FILE = bytes(range(256)) * 20 + b"\r\n--not-the-mark\r\n\r\n--"


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


FILE_PART = part("file", FILE, '; filename="model"\r\nContent-Type: audio/wav')
END = b"--xyz--\r\n"


@pytest.mark.parametrize("before", [b"", FILE_PART, b"preamble\r\n", b"preamble\r\n" + FILE_PART])
@pytest.mark.parametrize("after", [b"", FILE_PART, part("language", b"de")])
def test_the_value_alone_is_replaced(before: bytes, after: bytes) -> None:
    body = before + part("model", "small ü".encode()) + after + END
    field = find_field(body, b"xyz", "model")
    assert field.value == "small ü"
    assert spliced(body, field, "org/a") == before + part("model", b"org/a") + after + END


def test_an_empty_value_is_found() -> None:
    body = part("model", b"") + END
    assert find_field(body, b"xyz", "model").value == ""


@pytest.mark.parametrize("name", ['name="model"', "name=model", 'filename="x"; name="model"'])
def test_every_way_to_write_the_name_is_understood(name: str) -> None:
    body = f"--xyz\r\ncontent-disposition: form-data; {name}\r\n\r\na\r\n--xyz--\r\n".encode()
    assert find_field(body, b"xyz", "model").value == "a"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (END, MissingParameter),
        (FILE_PART + END, MissingParameter),
        (part("model", b"a") + part("model", b"b") + END, BadRequest),
        (part("model", b"a" * 5000) + END, BadRequest),
        (part("model", b"\xff") + END, BadRequest),
        (b"", BadRequest),
        (b"nothing of the kind", BadRequest),
        (part("model", b"a"), BadRequest),
        (b"--xyz\r\nno end of headers", BadRequest),
    ],
)
def test_a_body_without_one_clear_value_is_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_field(body, b"xyz", "model")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [("multipart/form-data; boundary=a-b", b"a-b"), ('multipart/form-data; charset=x; Boundary="a b"', b"a b")],
)
def test_the_boundary_is_read(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(BadRequest):
        boundary_of("multipart/form-data")
