"""The file of paired machines, and names that stand before an `@`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from roost.config.far import NodesSettings
from roost.errors import BadConfiguration, NotFound
from roost.nodes.peers import Peer, PeerBook, free_name
from roost.nodes.questions import split_address, told_by
from roost.nodes.shapes import ModelSaid, PeerStatus
from roost.nodes.wake import magic_packet


def peer(name: str, digit: str = "a", **more: object) -> Peer:
    return Peer.model_validate(
        {"name": name, "node_id": digit * 64, "certificate": "PEM", "paired_at": 1.0, "addresses": ("h:1",), **more}
    )


@pytest.fixture
def book(tmp_path: Path) -> PeerBook:
    return PeerBook(tmp_path / "node/peers.json")


def test_a_peer_is_found_by_key_name_and_the_first_digits_of_its_key(book: PeerBook) -> None:
    book.put(peer("box"))
    assert book.get("a" * 64) == book.named("box") == book.named("a" * 8) != None  # noqa: E711
    assert book.named("a" * 7) is None and book.get("b" * 64) is None


def test_a_machine_that_calls_itself_as_anothers_key_begins_is_not_taken_for_that_one(book: PeerBook) -> None:
    book.put(peer("box", "a"))
    book.put(peer("aaaaaaaa", "b"))
    assert book.revoke("aaaaaaaa", 5.0).node_id == "b" * 64
    assert [one.name for one in book.all()] == ["box"]


def test_no_machine_is_called_by_the_word_for_this_one(book: PeerBook) -> None:
    assert book.put(peer("local"), taken="here").name == "local-2"


def test_what_a_machine_tells_is_bounded_and_printable() -> None:
    def model(name: str) -> ModelSaid:
        return ModelSaid(id=name, fingerprint="f", state="resident", context_length=1, capabilities=frozenset())

    names = ("org/fine", "", "a\nb", "\x1b[2J", "x" * 513, *(f"m{number}" for number in range(5000)))
    status = PeerStatus(
        name="n",
        version="1",
        draining=False,
        models=tuple(map(model, names)),
        roles={"a": "b", "c\x1b": "d", "e": "\n"},
    )
    told = status.sound_models()
    assert [one.id for one in told[:2]] == ["org/fine", "m0"]
    assert len(told) == 4096
    assert status.sound_roles() == {"a": "b"}
    assert told_by(b'{"error": {"message": "a\\u001b[2Jb"}}') == "a [2Jb"


def test_the_file_is_its_owners_alone(book: PeerBook, tmp_path: Path) -> None:
    book.put(peer("box"))
    assert stat.S_IMODE((tmp_path / "node/peers.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "node").stat().st_mode) == 0o700


def test_another_process_sees_what_one_wrote(book: PeerBook, tmp_path: Path) -> None:
    other = PeerBook(tmp_path / "node/peers.json")
    book.put(peer("box"))
    assert other.named("box") is not None
    other.revoke("box", 5.0)
    assert book.named("box") is None


def test_two_machines_of_one_name_get_two_names_and_neither_this_machines_own(book: PeerBook) -> None:
    names = [book.put(peer("box", digit), taken="here").name for digit in "ab"] + [
        book.put(peer("here", "c"), taken="here").name
    ]
    assert names == ["box", "box-2", "here-2"]


def test_a_machine_that_is_paired_again_stands_there_once(book: PeerBook) -> None:
    book.put(peer("box"))
    book.put(peer("box", addresses=("new:2",)))
    assert [one.addresses for one in book.all()] == [("new:2",)]


def test_a_revoked_machine_is_known_and_let_in_no_more_until_it_is_paired_again(book: PeerBook) -> None:
    book.put(peer("box"))
    book.revoke("box", 5.0)
    assert book.get("a" * 64) is None and book.all() == () and len(book.known()) == 1
    with pytest.raises(NotFound, match="roost node list"):
        book.revoke("box", 6.0)
    book.put(peer("box"))
    assert book.get("a" * 64) is not None


def test_a_broken_file_lets_nobody_in_is_told_and_never_overwritten(book: PeerBook, tmp_path: Path) -> None:
    book.put(peer("box"))
    path = tmp_path / "node/peers.json"
    path.write_text('{"peers": [{"name": "box"}]}')
    assert book.all() == () and "not a file of paired machines" in (book.problem() or "")
    with pytest.raises(BadConfiguration):
        book.put(peer("other", "b"))
    assert path.read_text() == '{"peers": [{"name": "box"}]}'


def test_where_a_machine_has_moved_is_written_once(book: PeerBook) -> None:
    book.put(peer("box"))
    assert book.moved("a" * 64, ("new:2",)) and not book.moved("a" * 64, ("new:2",))
    assert not book.moved("a" * 64, ()) and not book.moved("b" * 64, ("x:1",))


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("box", "box"), ("My Mac\u2019s", "My-Mac-s"), ("@", "node"), ("../x", "x"), ("a" * 99, "a" * 64)],
)
def test_a_name_can_stand_before_an_at_sign(wanted: str, name: str) -> None:
    assert free_name(wanted, set()) == name


def test_a_magic_packet_is_six_bytes_of_ones_and_sixteen_times_the_address() -> None:
    packet = magic_packet("01:23:45:67:89:Ab")
    assert len(packet) == 102 and packet[:6] == b"\xff" * 6 and packet[6:] == bytes.fromhex("0123456789ab") * 16


@pytest.mark.parametrize(
    ("listen", "profile", "place"),
    [
        ("auto", "workstation", None),
        ("auto", "server", ("0.0.0.0", 11443)),
        ("off", "server", None),
        ("[::]:9", "workstation", ("::", 9)),
        ("10.0.0.7:9", "workstation", ("10.0.0.7", 9)),
    ],
)
def test_where_others_come_in(listen: str, profile: str, place: tuple[str, int] | None) -> None:
    assert NodesSettings(listen=listen).door(profile) == place


def test_an_address_is_split_at_its_last_colon() -> None:
    assert split_address("[fd00::7]:11443") == ("fd00::7", 11443) and split_address("box.lan:1") == ("box.lan", 1)
