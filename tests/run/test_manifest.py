"""The first line of a ledger says everything that a run started from."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_parts import CLIMB, ToyTarget, Words, quality

import promptopt
from promptopt.errors import UserError
from promptopt.record.freeze import OBJECT, freeze, thaw
from promptopt.run.budget import Budget


def start_event(folder: Path, **changes: Any) -> dict[str, Any]:
    recipe = {"start": "a {}", "scorer": "run_parts:Words", "optimizer": CLIMB, "budget": 3, "run": folder / "run"}
    promptopt.optimize(**{**recipe, **changes})
    event: dict[str, Any] = json.loads((folder / "run" / "ledger.jsonl").read_text().splitlines()[0])
    return event


def test_the_start_event(tmp_path: Path) -> None:
    event = start_event(tmp_path, data={"name": "run_parts:toy_data", "train": 3, "dev": 1, "test": 2}, seed=4)
    assert (event["event"], event["format"], event["seed"], event["start"]) == ("start", 1, 4, ["a {}"])
    assert event["packages"]["numpy"] == version("numpy")
    assert event["python"] == platform.python_version()
    assert event["examples"] == {
        "train": ["train-0", "train-1", "train-2"],
        "dev": ["dev-0"],
        "test": ["test-0", "test-1"],
    }
    assert event["recipe"]["optimizer"] == CLIMB
    assert event["recipe"]["budget"] == 3
    assert "run" not in event["recipe"]


def test_the_git_commit_if_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert start_event(tmp_path)["git"] is None
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "run" / "ledger.jsonl").unlink()
    assert start_event(tmp_path)["git"] == head


def test_objects_are_named(tmp_path: Path) -> None:
    frozen = freeze({"score": quality, "scorer": Words(), "optimizer": {"name": "x", "proposer": Words}})
    assert frozen == {
        "score": {OBJECT: "run_parts:quality"},
        "scorer": {OBJECT: "run_parts:Words"},
        "optimizer": {"name": "x", "proposer": {OBJECT: "run_parts:Words"}},
    }
    with pytest.raises(
        UserError, match=r"with an object, run_parts:quality, in score\. .*resume\(folder, score=\.\.\.\)"
    ):
        thaw(frozen, {})
    with pytest.raises(UserError, match="in optimizer"):
        thaw(frozen, {"score": quality, "scorer": Words()})
    assert thaw(frozen, {"score": quality, "scorer": None, "optimizer": "x"})["score"] is quality


def test_paths_and_budgets_are_values() -> None:
    frozen = freeze({"data": {"root": Path("/x/y")}, "budget": Budget(questions=5, dollars=0.5), "goal": None})
    assert frozen == {"data": {"root": "/x/y"}, "budget": {"questions": 5, "dollars": 0.5}}


values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_a_recipe_comes_back_as_it_was(recipe: dict[str, Any]) -> None:
    written = json.dumps(freeze(recipe), allow_nan=False)
    assert thaw(json.loads(written), {}) == recipe


def test_nan_and_infinity_come_back() -> None:
    written = json.dumps(freeze({"a": [math.inf, -math.inf], "b": {"c": math.nan}}), allow_nan=False)
    again = thaw(json.loads(written), {})
    assert again["a"] == [math.inf, -math.inf]
    assert math.isnan(again["b"]["c"])


# ── What targets tell of themselves ───────────────────────────────────────────────────────────────────────────────


class Telling(ToyTarget):
    """A target whose record says how it was built."""

    def __init__(self, **record: Any) -> None:
        super().__init__()
        self.record = record


def search(folder: Path, target: Any, **changes: Any) -> Any:
    recipe = {"start": "answer {}", "data": "run_parts:toy_data", "optimizer": CLIMB, "budget": 8, "finalists": 1}
    return promptopt.optimize(**{**recipe, "target": target, "run": folder, **changes})


def test_the_manifest_holds_what_targets_tell(tmp_path: Path) -> None:
    search(tmp_path / "run", Telling(activation="gelu"), transfer={"other": Telling(activation="quick_gelu")})
    event = json.loads((tmp_path / "run" / "ledger.jsonl").read_text().splitlines()[0])
    assert event["targets"] == {"target": {"activation": "gelu"}, "transfer.other": {"activation": "quick_gelu"}}


def test_a_run_is_not_taken_up_with_another_target(tmp_path: Path) -> None:
    search(tmp_path, Telling(activation="gelu"))
    assert promptopt.resume(tmp_path, target=Telling(activation="gelu")).best
    with pytest.raises(UserError, match="target is not what it was when this run began: activation differ"):
        promptopt.resume(tmp_path, target=Telling(activation="quick_gelu"))


def test_a_run_from_before_activations_were_looked_after_is_not_taken_up_with_another(tmp_path: Path) -> None:
    search(tmp_path, ToyTarget())
    assert promptopt.resume(tmp_path, target=Telling(activation="gelu")).best
    with pytest.raises(UserError, match="Start a new run"):
        promptopt.resume(tmp_path, target=Telling(activation="quick_gelu", forced=True))
