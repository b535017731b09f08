"""API keys in a real file."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from roost.errors import BadConfiguration, NotFound, Refused
from roost.store.keys import Consumer, KeyFile
from roost.testing.wait import until_sync


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/keys.json"


def test_without_a_file_nobody_needs_a_key(path: Path) -> None:
    keys = KeyFile(path)
    assert not keys.configured()
    assert keys.list() == ()
    assert keys.consumer("roost-" + "0" * 12 + "-" + "0" * 64) is None
    assert not path.exists()


def test_a_key_that_clients_have_already_goes_on_opening_and_is_kept_as_a_hash(path: Path) -> None:
    keys = KeyFile(path)
    for _ in range(2):
        keys.adopt("before", "sk-from-before", admin=True)
    assert [key.name for key in keys.list()] == ["before"]
    assert "from-before" not in path.read_text()
    consumer = KeyFile(path).consumer("sk-from-before")
    assert consumer and (consumer.name, consumer.admin) == ("before", True)
    for wrong in ("sk-from-befor", "sk-from-before ", "", "\udcff", consumer.key_id):
        assert keys.consumer(wrong) is None
    keys.revoke(consumer.key_id)
    assert keys.consumer("sk-from-before") is None


def test_a_key_opens_for_its_owner_and_no_other_key_does(path: Path) -> None:
    keys = KeyFile(path)
    key, other = keys.add("laptop", admin=True), keys.add("ci")
    assert re.fullmatch(r"roost-[0-9a-f]{12}-[0-9a-f]{64}", key)
    assert keys.configured()
    assert keys.consumer(key) == Consumer(key[6:18], "laptop", admin=True)
    assert keys.consumer(other) == Consumer(other[6:18], "ci")
    mixed = other[:18] + key[18:]
    for wrong in ("", key[:-1], key + "0", key.upper(), f" {key}", mixed, key[:-1] + "g", f"{key}\n", "roost--"):
        assert keys.consumer(wrong) is None, wrong


def test_the_file_is_private_and_holds_no_secret(path: Path) -> None:
    key = KeyFile(path).add("laptop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert key.rpartition("-")[2] not in path.read_text()
    (record,) = KeyFile(path).list()
    assert record.sha256 not in repr(record)


def test_a_running_daemon_notices_what_another_process_adds_and_revokes(path: Path) -> None:
    daemon, command = KeyFile(path), KeyFile(path)
    assert not daemon.configured()
    key = command.add("laptop")
    assert daemon.consumer(key) is not None
    command.revoke(key[6:18])
    assert daemon.consumer(key) is None
    assert daemon.configured() and not daemon.exist(), "the last key gone must not open the endpoint"
    assert "roost keys open-loopback" in (daemon.shut_out() or "")
    command.open_loopback()
    assert not daemon.configured() and daemon.shut_out() is None


def test_the_loopback_opens_only_when_somebody_says_so_and_no_key_is_left(path: Path) -> None:
    keys = KeyFile(path)
    key = keys.add("laptop")
    with pytest.raises(Refused, match=r"1 keys exist \(laptop\)"):
        keys.open_loopback()
    assert keys.consumer(key) is not None
    keys.revoke(key[6:18])
    path.write_text('{"keys": []}')
    assert KeyFile(path).configured(), "a file without keys is no word of anybody"
    keys.open_loopback()
    keys.add("again")
    keys.revoke(keys.list()[0].key_id)
    assert keys.configured(), "what was said before the first key holds no longer"


def test_a_file_that_vanishes_under_a_running_daemon_opens_nothing(path: Path) -> None:
    daemon = KeyFile(path)
    key = KeyFile(path).add("laptop")
    assert daemon.consumer(key) is not None
    path.unlink()
    assert daemon.consumer(key) is None
    assert daemon.configured() and daemon.configured()
    KeyFile(path).open_loopback()
    assert not daemon.configured()


def test_where_other_machines_reach_a_key_is_needed_whatever_the_file_says(path: Path) -> None:
    KeyFile(path).open_loopback()
    assert KeyFile(path, always=True).configured() and not KeyFile(path).configured()


def test_an_expired_key_opens_nothing_and_closes_no_less(path: Path) -> None:
    clock = Clock()
    keys = KeyFile(path, now=clock)
    key = keys.add("guest", expires_at=clock.now + 60)
    assert keys.consumer(key) is not None
    clock.now += 60
    assert keys.consumer(key) is None
    assert keys.configured(), "time alone must not open the endpoint"
    assert keys.list()[0].expired(clock.now)


def test_keys_are_listed_oldest_first(path: Path) -> None:
    clock = Clock()
    keys = KeyFile(path, now=clock)
    for name in ("a", "b", "c"):
        keys.add(name)
        clock.now += 1
    assert [record.name for record in keys.list()] == ["a", "b", "c"]


def test_revoking_what_is_not_there_names_the_next_step(path: Path) -> None:
    keys = KeyFile(path)
    keys.add("a")
    with pytest.raises(NotFound, match="roost keys list"):
        keys.revoke("000000000000")
    assert len(keys.list()) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81])
def test_a_name_must_be_printable_and_short(path: Path, name: str) -> None:
    with pytest.raises(BadConfiguration):
        KeyFile(path).add(name)
    assert not path.exists()


def test_an_expiry_in_the_past_is_refused(path: Path) -> None:
    with pytest.raises(BadConfiguration, match="its expiry has passed"):
        KeyFile(path, now=Clock()).add("a", expires_at=Clock.now)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys": [{"name": "a"}]}', b"\xff", b'{"keys": 3}'])
def test_a_broken_file_lets_nobody_in_and_is_not_overwritten(path: Path, content: bytes) -> None:
    keys = KeyFile(path)
    key = keys.add("a")
    path.write_bytes(content)
    assert keys.configured()
    assert keys.consumer(key) is None
    assert keys.problem() is not None
    for act in (lambda: keys.add("b"), lambda: keys.revoke(key[6:18]), keys.list):
        with pytest.raises(BadConfiguration, match="mend it"):
            act()
    assert path.read_bytes() == content


ADDER = """
import sys
from pathlib import Path
from roost.store.keys import KeyFile
for number in range(8):
    KeyFile(Path(sys.argv[1])).add(f"{sys.argv[2]}-{number}")
"""


def test_processes_that_add_at_once_lose_no_key(path: Path) -> None:
    adders = [subprocess.Popen([sys.executable, "-c", ADDER, str(path), str(number)]) for number in range(3)]
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    names = {record["name"] for record in json.loads(path.read_text())["keys"]}
    assert names == {f"{adder}-{number}" for adder in range(3) for number in range(8)}


def test_a_busy_daemon_looks_at_the_file_once_in_a_while(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    patient, eager = KeyFile(path, look_every_s=3600), KeyFile(path)
    KeyFile(path).add("laptop")
    assert eager.configured()
    assert not patient.configured()


def test_a_file_that_becomes_readable_again_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("no keys")
    keys = KeyFile(path, look_every_s=0.001)
    assert keys.problem() is not None
    path.unlink()
    until_sync(lambda: keys.problem() is None and not keys.configured())
