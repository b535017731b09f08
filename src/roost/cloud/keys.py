"""The key behind a reference, looked up at each use and kept nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Mapping

from roost.config.far import KeyReference, key_reference
from roost.errors import CloudRefused

#: A command that asks a person, or a locked vault, must not keep requests waiting for longer.
LOOKUP_TIMEOUT_S = 10.0
_END_S = 1.0
_LONGEST_KEY_BYTES = 16 * 2**10
EXTRA = 'install it with: pip install "roost[cloud]"'


async def look_up(cloud: str, reference: str, environ: Mapping[str, str]) -> str:
    """The key. Raises CloudRefused, saying what would mend it and never what was found."""
    parsed = key_reference(reference)
    if parsed is None:
        raise _no_key(cloud, "api_key is no reference to one", 'write "env:NAME" into its table in roost.toml')
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            key = (await _found(cloud, parsed, environ)).strip()
    except TimeoutError:
        raise _no_key(
            cloud, f"{parsed.kind} gave none within {LOOKUP_TIMEOUT_S:g} s", "unlock it, or try it in a terminal"
        ) from None
    if not key:
        raise _no_key(cloud, f"what {_place(parsed)} holds is empty", "put the key there")
    if not key.isascii() or not key.isprintable():
        raise _no_key(cloud, f"what {_place(parsed)} holds is more than one line of plain letters", "put the key there")
    return key


async def _found(cloud: str, reference: KeyReference, environ: Mapping[str, str]) -> str:
    match reference.kind:
        case "env":
            if (value := environ.get(reference.value)) is not None:
                return value
            raise _no_key(
                cloud,
                f"{reference.value} is not set where the daemon runs",
                f"export {reference.value} and start roost again, or use keyring: or cmd:",
            )
        case "keyring":
            return await asyncio.to_thread(_from_keyring, cloud, reference.value)
        case "cmd":
            return await _from_command(cloud, reference.value, environ)


def _from_keyring(cloud: str, place: str) -> str:
    """Blocking: a keyring may ask its user."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise _no_key(cloud, "the package keyring is not installed", EXTRA) from None
    service, _, user = place.partition("/")
    try:
        found = keyring.get_password(service, user)
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        # Not its message: a backend may say anything.
        raise _no_key(
            cloud, f"the keyring cannot be read ({type(error).__name__})", "unlock it, or use env: or cmd:"
        ) from error
    if found is None:
        raise _no_key(cloud, f"the keyring has nothing for {place}", f"run: keyring set {service} {user}")
    return found


async def _from_command(cloud: str, line: str, environ: Mapping[str, str]) -> str:
    """What it writes; no shell, and what it complains of is thrown away, as it may hold the key."""
    name, *arguments = shlex.split(line)
    try:
        process = await asyncio.create_subprocess_exec(
            name,
            *arguments,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except (OSError, ValueError) as error:
        raise _no_key(cloud, f"its command cannot be run ({type(error).__name__})", "try it in a terminal") from error
    try:
        assert process.stdout is not None
        written = await _read(process.stdout)
        if written is None:
            raise _no_key(cloud, "its command writes more than a key", "let it write the key alone")
        code = await process.wait()
    finally:
        await _end(process)
    if code != 0:
        raise _no_key(cloud, f"its command ended with code {code}", "try it in a terminal")
    return written.decode("utf-8", "replace")


async def _read(stream: asyncio.StreamReader) -> bytes | None:
    """All of it; None for more than a key can be."""
    written = b""
    while piece := await stream.read(_LONGEST_KEY_BYTES):
        written += piece
        if len(written) > _LONGEST_KEY_BYTES:
            return None
    return written


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.kill()
    assert process.stdout is not None
    # Its output is read to the end, or asyncio would not let go of it; a child of its own may hold that open.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            while await process.stdout.read(_LONGEST_KEY_BYTES):
                pass
            await process.wait()


def _place(reference: KeyReference) -> str:
    return "its command's output" if reference.kind == "cmd" else f"{reference.kind}:{reference.value}"


def _no_key(cloud: str, why: str, mend: str) -> CloudRefused:
    return CloudRefused(f"cannot ask cloud {cloud}: it has no key: {why}; {mend}", should_retry=False)
