"""References to keys: which there are, how each is looked up, and that nothing found is ever told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roost.cloud import keys
from roost.cloud.keys import look_up
from roost.config.far import key_reference
from roost.errors import CloudRefused

SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    "text", [SECRET, "", "env:", "env:not a name", "keyring:", "keyring:service", "cmd:", "cmd:  ", "cmd:'open", "x:y"]
)
def test_what_is_no_reference_is_none(text):
    assert key_reference(text) is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("env:OPENAI_API_KEY", "env", "OPENAI_API_KEY"),
        ("keyring:openai/me@home", "keyring", "openai/me@home"),
        ("cmd:op read op://vault/openai/key", "cmd", "op read op://vault/openai/key"),
    ],
)
def test_a_reference_is_read(text, kind, value):
    assert (key_reference(text).kind, key_reference(text).value) == (kind, value)


async def test_a_variable_holds_a_key():
    assert await look_up("main", "env:KEY", {"KEY": f" {SECRET}\n"}) == SECRET


@pytest.mark.parametrize(
    ("reference", "environ", "said"),
    [
        ("env:KEY", {}, "KEY is not set"),
        ("env:KEY", {"KEY": " "}, "is empty"),
        ("env:KEY", {"KEY": f"{SECRET}\nX: y"}, "more than one line"),
        (SECRET, {}, "no reference"),
        ("cmd:/no/such/program", {}, "cannot be run"),
        ("cmd:false", {"PATH": "/usr/bin:/bin"}, "ended with code 1"),
    ],
)
async def test_what_is_wrong_is_told_without_the_key(reference, environ, said):
    with pytest.raises(CloudRefused) as refused:
        await look_up("main", reference, environ)
    assert said in refused.value.message
    assert SECRET not in refused.value.message
    assert refused.value.should_retry is False


async def test_a_command_writes_a_key_and_sees_no_shell():
    script = "import sys; print(sys.argv[1])"
    line = subprocess.list2cmdline([sys.executable, "-c", script, "a;b|$HOME"]).replace('"', "'")
    assert await look_up("main", f"cmd:{line} 'a;b|$HOME'", {}) == "a;b|$HOME"


async def test_a_command_that_says_too_much_is_no_key():
    with pytest.raises(CloudRefused, match="more than a key"):
        await look_up("main", f"cmd:{sys.executable} -c 'print(\"k\" * 10**6)'", {})


async def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(keys, "LOOKUP_TIMEOUT_S", 0.1)
    with pytest.raises(CloudRefused, match=r"within 0\.1 s"):
        await look_up("main", f"cmd:{sys.executable} -c 'import time; time.sleep(60)'", {})


async def test_what_a_command_complains_of_is_not_told():
    with pytest.raises(CloudRefused) as refused:
        await look_up("main", f"cmd:{sys.executable} -c 'raise SystemExit(\"{SECRET}\")'", {})
    assert SECRET not in refused.value.message


async def test_a_keyring_holds_a_key(keyring_with):
    keyring_with({("openai", "me"): SECRET})
    assert await look_up("main", "keyring:openai/me", {}) == SECRET
    with pytest.raises(CloudRefused, match="has nothing for openai/you; run: keyring set openai you"):
        await look_up("main", "keyring:openai/you", {})


async def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(CloudRefused, match=r"roost\[cloud\]"):
        await look_up("main", "keyring:openai/me", {})


@pytest.fixture
def keyring_with():
    """A keyring of its own backend, which is a real one to the package."""
    import keyring
    from keyring.backend import KeyringBackend

    before = keyring.get_keyring()

    def use(held):
        class Held(KeyringBackend):
            priority = 1

            def get_password(self, service, username):
                return held.get((service, username))

            def set_password(self, service, username, password):
                held[service, username] = password

        keyring.set_keyring(Held())

    yield use
    keyring.set_keyring(before)
