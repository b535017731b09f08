"""Codes, proofs and the life of an invite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import BadRequest, InviteRefused, NotFound
from roost.nodes.invites import LIFETIME_S, MOST_WRONG_TRIES, Code, Invites, State, invite_id, proof
from roost.nodes.words import words_of

PIN = "0123456789abcdef" * 2
CODE = Code(("10.0.0.7:11443", "[fd00::7]:11443", "basement.lan:443"), PIN, b"s" * 16)
SERVER, CLIENT, OTHER = "a" * 32, "b" * 64, "c" * 64


@given(st.binary(min_size=16, max_size=16), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_code_says_again_what_was_put_into_it(secret: bytes, pin: str) -> None:
    code = Code(("10.0.0.7:11443", "basement:1"), pin, secret)
    assert Code.read(f"  {code.text().upper()}\n") == code


def test_a_code_is_one_plain_token_of_less_than_two_hundred_characters() -> None:
    text = CODE.text()
    assert text.replace("-", "", 1).isalnum() and text.islower() and len(text) < 200


@given(st.integers(0, 10_000), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_code_with_one_other_character_is_refused(place: int, character: str) -> None:
    text = CODE.text()
    place = 6 + place % (len(text) - 6)
    damaged = text[:place] + character + text[place + 1 :]
    if damaged == text:
        return
    try:
        # The last character holds bits of which some say nothing.
        assert Code.read(damaged) == CODE and place == len(text) - 1
    except BadRequest:
        return


@pytest.mark.parametrize(
    "text", ["", "roost-", "hello", "roost-abc", "roost-" + "a" * 5000, "roost-\u00e9", "roost-1890"]
)
def test_what_is_no_code_is_refused_with_the_command_that_makes_one(text: str) -> None:
    with pytest.raises(BadRequest, match="roost node invite"):
        Code.read(text)


def test_a_secret_is_in_no_representation() -> None:
    assert "ssss" not in repr(CODE)


def test_a_proof_is_for_these_two_keys_and_this_side_alone() -> None:
    own = proof(b"s" * 16, "client", SERVER, CLIENT)
    others = {
        proof(b"t" * 16, "client", SERVER, CLIENT),
        proof(b"s" * 16, "server", SERVER, CLIENT),
        proof(b"s" * 16, "client", OTHER, CLIENT),
        proof(b"s" * 16, "client", SERVER, OTHER),
    }
    assert len(others) == 4 and own not in others


def test_words_are_the_same_at_both_ends_and_others_for_other_keys() -> None:
    words = words_of(SERVER, CLIENT, b"s" * 16)
    assert words == words_of(SERVER, CLIENT, b"s" * 16) and len(words.split()) == 5
    assert words != words_of(SERVER, OTHER, b"s" * 16) and words != words_of(SERVER, CLIENT, b"t" * 16)


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _made() -> tuple[Invites, _Clock, str, str]:
    clock = _Clock()
    invites = Invites(clock)
    secret = invites.make().secret
    return invites, clock, invite_id(secret), proof(secret, "client", SERVER, CLIENT)


def test_an_invite_is_good_for_ten_minutes() -> None:
    invites, clock, name, right = _made()
    clock.now += LIFETIME_S - 1
    assert invites.check(name, SERVER, CLIENT, right).state is State.OPEN
    clock.now += 1
    with pytest.raises(InviteRefused, match="expired"):
        invites.check(name, SERVER, CLIENT, right)


def test_a_used_invite_is_refused_as_used() -> None:
    invites, _, name, right = _made()
    invites.check(name, SERVER, CLIENT, right).end(State.USED)
    with pytest.raises(InviteRefused, match="has been used"):
        invites.check(name, SERVER, CLIENT, right)


def test_wrong_tries_withdraw_an_invite_even_from_whoever_knows_it() -> None:
    invites, _, name, right = _made()
    for _ in range(MOST_WRONG_TRIES):
        with pytest.raises(InviteRefused, match="proof is wrong"):
            invites.check(name, SERVER, CLIENT, "0" * 64)
    with pytest.raises(InviteRefused, match="withdrawn"):
        invites.check(name, SERVER, CLIENT, right)


def test_a_proof_over_other_keys_is_wrong() -> None:
    invites, _, name, right = _made()
    with pytest.raises(InviteRefused):
        invites.check(name, SERVER, OTHER, right)


def test_an_invite_that_was_never_made_is_refused_and_not_found() -> None:
    invites, _, _, right = _made()
    with pytest.raises(InviteRefused, match="no such invite"):
        invites.check("0" * 16, SERVER, CLIENT, right)
    with pytest.raises(NotFound):
        invites.get("0" * 16)


def test_the_oldest_of_very_many_invites_ends() -> None:
    invites = Invites(_Clock())
    first = invites.make()
    for _ in range(100):
        invites.make()
    assert first.state is State.EXPIRED and first.over.is_set()


@pytest.mark.parametrize("place", ["nowhere", "h:p", "h:1/x", "h :1", "a@b:1", "h:123456"])
def test_a_code_with_an_address_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(BadRequest):
        Code.read(Code((place,), PIN, b"s" * 16).text())
