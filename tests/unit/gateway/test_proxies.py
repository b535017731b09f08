"""Whom a forwarded request is from, as far as anybody may be believed."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from roost.config.settings import GatewaySettings
from roost.errors import TlsRequired
from roost.gateway.proxies import (
    TRACES,
    came_through_proxy,
    check_clear_text,
    client_address,
    client_scheme,
    is_trusted,
    read_address,
)

PROXIES = ("127.0.0.1", "10.0.0.0/24", "fd00::5")
CADDY = "10.0.0.5"


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.0.0.5", True),
        ("10.0.1.5", False),
        ("::ffff:10.0.0.5", True),
        ("fd00::5", True),
        ("fd00::5%eth0", True),
        ("fd00::6", False),
        ("127.0.0.1", True),
        ("::1", False),
        ("", False),
        (None, False),
        ("10.0.0.5.evil", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address(peer: str | None, trusted: bool) -> None:
    assert is_trusted(peer, PROXIES) is trusted
    assert not is_trusted(peer, ()) and not is_trusted(peer, ("nonsense",))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:4711 ", "192.0.2.1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("192.0.2", None),
        ("localhost", None),
        ("[", None),
        ("192.0.2.1 10.0.0.5", None),
        ("\x00", None),
        ("9" * 10_000, None),
    ],
)
def test_an_address_is_read_as_proxies_write_it(text: str, address: str | None) -> None:
    found = read_address(text)
    assert (None if found is None else str(found)) == address


XFF, FORWARDED = "X-Forwarded-For", "Forwarded"
CHAINS: list[tuple[str, list[tuple[str, str]], str | None]] = [
    # Nobody is believed who is not trusted.
    ("192.0.2.9", [(XFF, "127.0.0.1")], "192.0.2.9"),
    ("::1", [(XFF, "192.0.2.1")], "::1"),
    # The last hop that is no proxy, whatever stands left of it.
    (CADDY, [(XFF, "192.0.2.1")], "192.0.2.1"),
    (CADDY, [(XFF, "127.0.0.1, 192.0.2.1")], "192.0.2.1"),
    (CADDY, [(XFF, "127.0.0.1"), (XFF, "192.0.2.1")], "192.0.2.1"),
    (CADDY, [(XFF, "192.0.2.1, 10.0.0.6, 10.0.0.7")], "192.0.2.1"),
    (CADDY, [(XFF, "10.0.0.6, 192.0.2.1, 10.0.0.7")], "192.0.2.1"),
    ("fd00::5", [(XFF, "2001:db8::1")], "2001:db8::1"),
    (CADDY, [(XFF, "[2001:db8::1]:443, 10.0.0.7:80")], "2001:db8::1"),
    # A proxy that is its own client.
    (CADDY, [(XFF, "10.0.0.6, 10.0.0.7")], "10.0.0.6"),
    # It says nothing, or nothing of use.
    (CADDY, [], None),
    (CADDY, [(XFF, "")], None),
    (CADDY, [(XFF, "192.0.2.1, unknown")], None),
    (CADDY, [(XFF, "192.0.2.1,")], None),
    (CADDY, [(XFF, "unknown, 192.0.2.1")], "192.0.2.1"),
    # Forwarded counts where the other does not stand; a client may have sent it past a proxy that writes only that one.
    (CADDY, [(FORWARDED, 'for="[2001:db8::1]:1";proto=https;by=10.0.0.5')], "2001:db8::1"),
    (CADDY, [(FORWARDED, "for=127.0.0.1, For=192.0.2.1;Proto=https")], "192.0.2.1"),
    (CADDY, [(FORWARDED, 'for="127.0.0.1, for=192.0.2.1')], "192.0.2.1"),
    (CADDY, [(FORWARDED, "for=127.0.0.1, proto=https")], None),
    (CADDY, [(FORWARDED, "for=127.0.0.1"), (XFF, "192.0.2.1")], "192.0.2.1"),
]


@pytest.mark.parametrize(("peer", "pairs", "address"), CHAINS)
def test_the_client_is_the_last_hop_that_is_no_proxy(
    peer: str, pairs: list[tuple[str, str]], address: str | None
) -> None:
    assert client_address(peer, headers(*pairs), PROXIES) == address


@pytest.mark.parametrize("name", TRACES)
def test_a_request_that_shows_a_trace_came_through_somebody(name: str) -> None:
    for proxies in ((), PROXIES):
        assert came_through_proxy("::1", headers((name.lower(), "")), proxies)
    assert not came_through_proxy("::1", headers(("Host", "localhost")), PROXIES)


def test_a_trusted_proxy_needs_no_trace() -> None:
    assert came_through_proxy("127.0.0.1", headers(), PROXIES)
    assert not came_through_proxy("127.0.0.1", headers(), ())


@pytest.mark.parametrize(
    ("peer", "pairs", "scheme"),
    [
        (CADDY, [("X-Forwarded-Proto", "https")], "https"),
        (CADDY, [("X-Forwarded-Proto", "http, HTTPS")], "https"),
        (CADDY, [("X-Forwarded-Proto", "javascript")], "http"),
        (CADDY, [("Forwarded", "for=192.0.2.1;proto=https")], "https"),
        (CADDY, [], "http"),
        ("192.0.2.9", [("X-Forwarded-Proto", "https")], "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(peer: str, pairs: list[tuple[str, str]], scheme: str) -> None:
    assert client_scheme(peer, headers(*pairs), PROXIES, "http") == scheme


def test_in_the_clear_only_proxies_and_this_machine_itself_come_in() -> None:
    shut = GatewaySettings(trusted_proxies=PROXIES)
    for peer in ("127.0.0.1", "::1", CADDY, None):
        check_clear_text(peer, shut)
    for settings in (shut, GatewaySettings()):
        with pytest.raises(TlsRequired):
            check_clear_text("192.0.2.9", settings)
    check_clear_text("192.0.2.9", GatewaySettings(trusted_proxies=PROXIES, tls_certificate="c", tls_key="k"))
