"""What stands around a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from promptopt.core import Message, Request
from promptopt.models.wrappers import wrap
from promptopt.models.wrappers.cache import CachedModel
from promptopt.models.wrappers.limit import LimitedModel
from promptopt.testing import ScriptedModel

HELLO = [Message("user", "Hello")]


class Named(ScriptedModel):
    @property
    def identity(self) -> dict[str, int]:
        return {"max_tokens": 5}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path))
    return tmp_path


def test_the_cache_stands_outside_the_limit(folder: Path) -> None:
    model = wrap(Named(["yes"]))
    assert isinstance(model, CachedModel)
    assert isinstance(model._model, LimitedModel)
    assert model.complete(Request(HELLO, seed=0)) != wrap(Named(["unused"])).complete(
        Request(HELLO, seed=0)
    )  # not billed twice
    assert wrap(Named(["unused"])).complete(Request(HELLO, seed=0)).replies[0].text == "yes"
    assert list(folder.iterdir())


def test_without_the_cache_nothing_is_written_or_looked_up(folder: Path) -> None:
    for reply in ("one", "two"):
        model = wrap(Named([reply]), cache=False)
        assert isinstance(model, LimitedModel)
        assert model.complete(Request(HELLO, seed=0)).replies[0].text == reply
    assert not list(folder.iterdir())


def test_a_model_that_does_not_say_what_its_replies_depend_on_is_not_cached() -> None:
    assert isinstance(wrap(ScriptedModel([])), LimitedModel)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, promptopt.models.wrappers, promptopt.fanout;"
        "print([m for m in ('torch', 'openai', 'anthropic', 'scipy', 'platformdirs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
