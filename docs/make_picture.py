"""Draws docs/first-run.svg from docs/first-run.txt, the text of a real first run.

python docs/make_picture.py            draw the picture
python docs/make_picture.py --record   first run roost anew in an empty home folder and write its text
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
TEXT = HERE / "first-run.txt"
PICTURE = HERE / "first-run.svg"
ROOST = Path(sys.executable).with_name("roost")
#: After `roost up`, in another terminal.
COMMANDS = ('roost ask "What is the capital of France?"', "roost status")
#: A terminal draws these as one bar; a pipe gets a line for each tenth.
_PARTIAL = re.compile(r"\b\d0 % of ")
_WHOLE = re.compile(r"\b100 % of ")
#: rich's picture would load fonts from elsewhere; whoever looks at it has a monospaced one.
_FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_WIDTH_COLUMNS = 110


def record() -> str:
    """The commands and what they print: the temporary home as ~, and of each progress only its last line."""
    with tempfile.TemporaryDirectory(prefix="first-", dir="/tmp") as home:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        env = {**kept, "HOME": home, "PATH": f"{ROOST.parent}:{os.environ['PATH']}", "COLUMNS": str(_WIDTH_COLUMNS)}
        daemon = subprocess.Popen(["roost", "up"], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said = ["$ roost up", *_until_ready(daemon)]
            for command in COMMANDS:
                answer = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, check=True)
                said += ["", f"$ {command}", answer.stdout.rstrip()]
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate()
        return "\n".join(said).replace(home, "~") + "\n"


def _until_ready(daemon: subprocess.Popen[str]) -> list[str]:
    lines = []
    assert daemon.stdout is not None
    for line in daemon.stdout:
        if _WHOLE.search(line) or not _PARTIAL.search(line):
            lines.append(line.rstrip())
        if line.startswith("roost ready "):
            return lines
    raise SystemExit("\n".join(lines))


def draw(text: str) -> str:
    """The SVG; the same text always gives the same picture."""
    console = Console(record=True, width=_WIDTH_COLUMNS, file=StringIO(), force_terminal=True)
    for line in text.splitlines():
        console.print(_styled(line), soft_wrap=False)
    return _FONT_FACE.sub("", console.export_svg(title="roost", unique_id="first-run"))


def _styled(line: str) -> Text:
    if line.startswith("$ "):
        return Text(line, style="bold")
    if line.startswith("roost ready "):
        return Text(line, style="bold green")
    styled = Text(line)
    styled.highlight_regex(re.compile(r"^✓"), "green")
    return styled


if __name__ == "__main__":
    if "--record" in sys.argv[1:]:
        TEXT.write_text(record(), encoding="utf-8")
    PICTURE.write_text(draw(TEXT.read_text(encoding="utf-8")), encoding="utf-8")
