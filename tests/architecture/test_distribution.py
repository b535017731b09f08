"""What is installed is what is in the source, and nothing else runs at an interpreter's start."""

import site
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.architecture.source import SOURCE
from tests.helpers import ROOT

#: Start-up files with code of their own that are known: pip's and virtualenv's.
KNOWN_START_UP_CODE = {"distutils-precedence.pth", "_virtualenv.pth"}


def test_the_wheel_holds_exactly_the_source(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--wheel-dir", tmp_path, ROOT], check=True, timeout=120)
    (wheel,) = tmp_path.glob("roost-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    metadata = {name for name in contents if name.split("/")[0].endswith(".dist-info")}
    packed = {name: content for name, content in contents.items() if name not in metadata}
    source = {
        str(Path("roost") / path.relative_to(SOURCE)): path.read_bytes()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(packed) == set(source)
    assert packed == source
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_no_unknown_code_runs_when_python_starts():
    found = [
        f"{path}: {line}"
        for folder in site.getsitepackages()
        for path in sorted(Path(folder).glob("*.pth"))
        if path.name not in KNOWN_START_UP_CODE
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "import\t"))
    ]
    assert not found
