"""Draw ``demo.svg``: run ``promptopt demo`` and record what it prints.

python docs/images/make_demo_svg.py
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100
PICTURE = Path(__file__).with_name("demo.svg")
COMMAND = [sys.executable, "-c", "from promptopt.cli import main; main()", "demo"]
WEB_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def demo_output() -> str:
    """What the demo prints on a terminal, colours included; its progress line, which comes and goes, is left out."""
    terminal = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            COMMAND, cwd=folder, env=os.environ | terminal, capture_output=True, encoding="utf-8", check=False
        )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def picture(output: str) -> str:
    """The output below its command, as an SVG that loads nothing from elsewhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print("[green]$[/green] [bold]promptopt demo[/bold]", highlight=False)
    console.print(Text.from_ansi(output.rstrip()))
    svg = console.export_svg(title="promptopt demo", unique_id="demo")
    return WEB_FONTS.sub("", svg)


if __name__ == "__main__":
    PICTURE.write_text(picture(demo_output()) + "\n", encoding="utf-8")
