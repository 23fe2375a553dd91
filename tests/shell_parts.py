"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import warm


def shell(*arguments: str, check: int | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, **options.pop("env", {})}
    done = subprocess.run(
        [*warm.python(), "-m", "promptopt", *arguments], capture_output=True, text=True, env=env, check=False, **options
    )
    assert check is None or done.returncode == check, done.stderr
    return done
