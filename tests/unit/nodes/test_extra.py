"""A roost without the extra `nodes`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roost.errors import BadConfiguration
from roost.nodes.identity import Identity, certificates


def test_without_the_extra_an_error_names_it_and_no_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "roost.nodes.certificates", raising=False)
    monkeypatch.delattr("roost.nodes.certificates", raising=False)
    with pytest.raises(BadConfiguration, match=r"pip install 'roost\[nodes\]'"):
        certificates()
    with pytest.raises(BadConfiguration):
        Identity.open(tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_a_daemon_that_is_not_paired_does_not_load_it() -> None:
    code = "import sys, roost.daemon.main; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
