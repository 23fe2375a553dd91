"""What an import of promptopt and its command cost, in ratio to those of the libraries that they are built on.

Each is a fresh process, best of several taken in turns: what a machine does besides makes times longer, never shorter.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 9
PROGRAMS = {
    "python, nothing imported": ["-c", "pass"],
    "import promptopt": ["-c", "import promptopt"],
    "promptopt --help": ["-m", "promptopt", "--help"],
    "import typer, rich": ["-c", "import typer, rich.console, rich.table"],
    "import numpy, pydantic": ["-c", "import numpy, pydantic"],
}


def seconds(arguments: list[str]) -> float:
    """Of one process."""
    before = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - before


def main() -> None:
    """Print a table."""
    best = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(ROUNDS):
        for name, arguments in PROGRAMS.items():
            best[name] = min(best[name], seconds(arguments))
    bare = best["python, nothing imported"]
    for name, time_taken in best.items():
        print(f"{name:28}{time_taken:7.3f} s{time_taken / bare:7.1f} times bare python")


if __name__ == "__main__":
    main()
