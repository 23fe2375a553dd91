"""Regenerate the papers' tables at the scale that runs here, one study after another.

    python experiments/papers.py --out RESULTS            # everything: some hours on two cores
    python experiments/papers.py --out RESULTS --small    # a few minutes, too few seeds to say anything

Each study is a script of its own folder; its tables go to RESULTS/STUDY.md as it prints them, its runs beside them.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
STUDIES = {  # the script, and the options that make it small
    "liu2024": ("liu2024/run.py", "--seeds 1 --tasks digits"),
    "hill_climb": ("hill_climb/run.py", "--seeds 1 --tasks digits"),
    "apohf_regret": ("apohf_regret/run.py", "--seeds 1 --problems 'linear utility' --arms random --duels 25 --pool 40"),
    "greater": ("greater/run.py", "--seeds 0 --tasks arithmetic --arms 'random search' hill-climb"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--small", action="store_true", help="few seeds and tasks")
    parser.add_argument("--only", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.only:
        script, small = STUDIES[name]
        began = time.monotonic()
        runs = options.out / f"{name}.jsonl"
        runs.unlink(missing_ok=True)
        words = [sys.executable, str(HERE / script), "--out", str(runs), *(shlex.split(small) if options.small else [])]
        with (options.out / f"{name}.md").open("w", encoding="utf-8") as table:
            done = subprocess.run(words, stdout=table, check=False)
        if done.returncode:
            failed.append(name)
        print(f"{name}: {'failed' if done.returncode else 'done'} in {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
