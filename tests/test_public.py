"""The public surface, name by name: a change of it is a decision, not an accident."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import promptopt

SURFACE = {
    "promptopt": [
        "Budget",
        "Dataset",
        "Duel",
        "Example",
        "Preference",
        "Prompt",
        "PromptoptError",
        "Rate",
        "Rating",
        "Result",
        "UserError",
        "Verdict",
        "optimize",
        "resume",
    ],
    "promptopt.optimizers": ["HillClimb", "LexicalProposer", "RandomSearch"],
    "promptopt.optimizers.proposers": ["Looks", "Proposer", "Scored"],
    "promptopt.scorers": ["BradleyTerry", "FunctionScorer", "Human", "MetricScorer", "WinRate"],
    "promptopt.testing": ["Call", "FakeSetup", "ScriptedModel"],
    "promptopt.testing.contracts": ["OptimizerContract", "ScorerContract", "TargetContract"],
}


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_is_this(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == SURFACE[module]
    for name in found.__all__:
        assert getattr(found, name).__doc__, f"{module}.{name} has no docstring"


def test_every_public_name_has_a_home() -> None:
    assert sorted(promptopt._HOME) == sorted(promptopt.__all__)
    for name, home in promptopt._HOME.items():
        assert getattr(promptopt, name).__module__ == f"promptopt.{home}"
    assert sorted(dir(promptopt)) == sorted([*promptopt.__all__, "__version__"])


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert promptopt.__version__ == version("promptopt-toolkit")


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'promptopt' has no attribute 'optimise'"):
        promptopt.optimise  # noqa: B018


def test_types_are_shipped() -> None:
    assert (Path(promptopt.__file__).parent / "py.typed").exists()
