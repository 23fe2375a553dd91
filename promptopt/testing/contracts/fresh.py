"""The same question to a suite in another process, where sets and hashes come in another order."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["in_a_fresh_process"]

CODE = """
import json, runpy, sys
suite = runpy.run_path(sys.argv[1], run_name="contract")[sys.argv[2]]()
print(json.dumps(getattr(suite, sys.argv[3])()))
"""


def in_a_fresh_process(suite: object, method: str) -> Any:
    """What a method of a new suite of this class returns there, as JSON values.

    Raises:
        AssertionError: the process failed; the message is its standard error.
    """
    done = subprocess.run(
        [sys.executable, "-c", CODE, inspect.getfile(type(suite)), type(suite).__name__, method],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
