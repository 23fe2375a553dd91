"""Runs of all searches whose prompts an LLM writes, whose process is killed at one moment, and which go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gepa")

from killed_parts import OPTIONS, bought, searched

from promptopt import Result


def told(result: Result) -> Any:
    """What has to be the same."""
    return result.history(), result.best, result.verdict, result.stop_reason, dict(result.counts), result.costs.calls


@pytest.mark.study
def test_killed_at_one_moment_each_goes_on_to_the_same_result_and_buys_nothing_twice(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    killed.mkdir()
    results = {name: searched(name, whole) for name in OPTIONS}
    halves = {name: len(bought(whole, name)) // 2 for name in OPTIONS}
    command = [sys.executable, "-m", "killed_parts", str(killed), json.dumps(halves)]
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout
    stand_still = {process.stdout.readline().strip() for _ in OPTIONS}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert stand_still == {*OPTIONS}
    for name, result in results.items():
        assert 10 < len(bought(killed, name)) == halves[name]
        assert told(searched(name, killed)) == told(result), name
        assert bought(killed, name) == bought(whole, name), name
        assert told(searched(name, killed)) == told(result), name
        assert bought(killed, name) == bought(whole, name), name
