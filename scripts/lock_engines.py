"""Pin an engine's environment: `python scripts/lock_engines.py [ENGINE ...]`, with `uv` on PATH.

Reads src/roost/engines/locks/ENGINE.in (plus ENGINE-PLATFORM.in where a platform needs more) and writes
ENGINE-PLATFORM.txt: exact versions and the hashes of their files, no address of any index. ENGINE-PLATFORM.override
replaces what packages ask for. One machine resolves for all platforms; only those in `RUN` were run too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent.parent / "src" / "roost" / "engines" / "locks"
#: Lock platform -> what uv calls it. MLX's own wheels set the lower bounds: glibc 2.35, macOS 14.
PLATFORMS = {"linux-x86_64": "x86_64-manylinux_2_35", "macos-arm64": "aarch64-apple-darwin"}
#: Platforms on which the resolved packages passed the tests.
RUN = frozenset({"linux-x86_64"})
OLDEST_MACOS = "14.0"
OLDEST_PYTHON = "3.11"


def main(names: list[str]) -> int:
    engines = names or sorted(path.stem for path in LOCKS.glob("*.in") if not _platform_of(path))
    for engine in engines:
        for platform in PLATFORMS:
            lock(engine, platform)
    return 0


def _platform_of(path: Path) -> str | None:
    return next((platform for platform in PLATFORMS if path.stem.endswith(platform)), None)


def lock(engine: str, platform: str) -> None:
    """Writes one lock file; uv's refusal ends the script with its message."""
    wanted = [path for path in (LOCKS / f"{engine}.in", LOCKS / f"{engine}-{platform}.in") if path.exists()]
    override = LOCKS / f"{engine}-{platform}.override"
    overrides = ["--override", str(override)] if override.exists() else []
    target = LOCKS / f"{engine}-{platform}.txt"
    quiet = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    resolve = ["--python-platform", PLATFORMS[platform], "--python-version", OLDEST_PYTHON, "--only-binary", ":all:"]
    command = [
        "uv",
        "pip",
        "compile",
        *map(str, wanted),
        "--generate-hashes",
        "--upgrade",
        *quiet,
        *resolve,
        *overrides,
    ]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    target.write_text(comment(engine, platform) + run.stdout)
    print(f"wrote {target.name}: {run.stdout.count('==')} packages")


def comment(engine: str, platform: str) -> str:
    return (
        f"# {engine} on {platform}, pinned by scripts/lock_engines.py for Python {OLDEST_PYTHON} and newer.\n"
        f"# {'Resolved and run.' if platform in RUN else 'Resolved, not run: no such machine was at hand.'}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
