"""The same question to a suite in another process, where sets and hashes come in another order."""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["in_a_fresh_process"]

CODE = """
import json, os, runpy, sys, traceback
import numpy, promptopt.testing  # what every suite needs is imported once

out, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    path, suite, method = json.loads(line)
    child = os.fork() if hasattr(os, "fork") else 0
    if not child:
        try:
            said = {"said": getattr(runpy.run_path(path, run_name="contract")[suite](), method)()}
        except BaseException:
            said = {"failed": traceback.format_exc()}
        print(json.dumps(said), file=out, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps({"failed": f"the process ended with {status}"}), file=out, flush=True)
"""


def in_a_fresh_process(suite: object, method: str) -> Any:
    """What a method of a new suite of this class returns there, as JSON values.

    The process is forked from one that has imported nothing but numpy and this package; where there is no fork it is
    started anew.

    Raises:
        AssertionError: the process failed; the message is its traceback.
    """
    process = _parent() if hasattr(os, "fork") else _parent.__wrapped__()
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps([inspect.getfile(type(suite)), type(suite).__name__, method]) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert "said" in answer, answer["failed"]
    return answer["said"]


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """The process that the others are forked from."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    atexit.register(process.kill)
    return process
