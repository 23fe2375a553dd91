"""The public surface, name by name: a change of it is a decision, not an accident."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import promptopt
from promptopt import core
from promptopt.optimizers.proposers import Looks
from promptopt.registry import TABLE, load

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
    "promptopt.optimizers": [
        "Ape",
        "Apohf",
        "Bayes",
        "Behaviour",
        "BestOfN",
        "ChatProposer",
        "Demonstrations",
        "DoubleTS",
        "EvoPrompt",
        "Gcg",
        "Gepa",
        "Greater",
        "HillClimb",
        "Iad",
        "Interrogate",
        "LexicalProposer",
        "LinearDuel",
        "ListsProposer",
        "MapElites",
        "Mipro",
        "Opro",
        "PartByPart",
        "Pez",
        "PreferentialBO",
        "ProApo",
        "ProTeGi",
        "Racing",
        "RandomDuels",
        "RandomSearch",
    ],
    "promptopt.optimizers.pools": [
        "Captions",
        "Descriptors",
        "Distinct",
        "FilePool",
        "Grammar",
        "ImagenetTemplates",
        "ListPool",
        "Paraphrases",
        "Pool",
        "Replies",
        "Responses",
        "Waffle",
        "Written",
    ],
    "promptopt.optimizers.proposers": ["Looks", "Proposer", "Scored"],
    "promptopt.recipe": ["override", "planned", "read_recipe"],
    "promptopt.record": ["Ledger", "Replay", "Story", "Verdict"],
    "promptopt.run": ["Budget", "Candidate", "Costs", "Plan", "Progress", "Recorder", "Result", "Run", "Step"],
    "promptopt.scorers": [
        "BradleyTerry",
        "CaptionFacts",
        "Dsg",
        "FunctionScorer",
        "Human",
        "JudgeDuel",
        "JudgeRating",
        "MetricScorer",
        "TaskLoss",
        "VqaScore",
        "WinRate",
    ],
    "promptopt.targets": [
        "ChatTarget",
        "Clip",
        "DSPyProgram",
        "Function",
        "Http",
        "LocalLM",
        "OpenAIImages",
        "Painter",
        "Pictures",
        "VlmClassifier",
    ],
    "promptopt.models": [
        "Anthropic",
        "DSPy",
        "Local",
        "OpenAI",
    ],
    "promptopt.embedders": [
        "ClipText",
        "FunctionEmbedder",
        "Ngrams",
        "Outputs",
        "SentenceTransformer",
    ],
    "promptopt.metrics": [
        "Accuracy",
        "Aesthetic",
        "ClipSimilarity",
        "Code",
        "CompressedSize",
        "Contains",
        "DSPyMetric",
        "ExactMatch",
        "FunctionMetric",
        "Hps",
        "JsonSchema",
        "LogProbability",
        "Margin",
        "Match",
        "MultipleChoice",
        "Numeric",
        "Palette",
        "PickScore",
        "Regex",
        "SetF1",
        "SetMatch",
        "Similarity",
        "TokenF1",
        "instruction_induction",
    ],
    "promptopt.testing": ["FakeSetup", "ScriptedModel"],
    "promptopt.testing.contracts": [
        "DatasetContract",
        "EmbedderContract",
        "MetricContract",
        "ModelContract",
        "OptimizerContract",
        "PoolContract",
        "ProposerContract",
        "ScorerContract",
        "TargetContract",
    ],
}


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_is_this(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == SURFACE[module]
    for name in found.__all__:
        assert getattr(found, name).__doc__, f"{module}.{name} has no docstring"


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("optimizers", "optimizers"),
        ("proposers", "optimizers"),
        ("pools", "optimizers.pools"),
        ("scorers", "scorers"),
        ("targets", "targets"),
        ("models", "models"),
        ("embedders", "embedders"),
        ("metrics", "metrics"),
    ],
)
def test_packages_export_what_the_table_of_parts_names(kind: str, package: str) -> None:
    found = importlib.import_module(f"promptopt.{package}")
    for path in TABLE[kind].values():
        name = path.partition(":")[2]
        assert name in found.__all__
        assert getattr(found, name) is load(kind, path)
        assert name in dir(found)


def test_every_public_name_has_a_home() -> None:
    assert sorted(promptopt._HOME) == sorted(promptopt.__all__)
    for name, home in promptopt._HOME.items():
        module = importlib.import_module(f"promptopt.{home}")
        assert getattr(promptopt, name) is getattr(module, name)
        assert getattr(promptopt, name).__module__.startswith(module.__name__)
    assert sorted(dir(promptopt)) == sorted([*promptopt.__all__, "__version__"])


def test_every_optional_protocol_stands_on_the_page_of_plug_ins() -> None:
    optional = {Looks} | {one for one in vars(core).values() if getattr(one, "_is_runtime_protocol", False)}
    assert {core.HasIdentity, core.Streams} < optional
    page = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
    rows = {found[2]: found[1] for found in re.finditer(r"^\| (`.+?`) \| `(\w+)` \|(?: [^|]+ \|){3}$", page, re.M)}
    assert set(rows) == {one.__name__ for one in optional}
    for one in optional:
        assert one.__doc__
        members = {name for name in vars(one) if not name.startswith("_")}
        assert set(re.findall(r"`(\w+)", rows[one.__name__])) == members, one.__name__


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert promptopt.__version__ == version("promptopt-toolkit")


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'promptopt' has no attribute 'optimise'"):
        promptopt.optimise  # noqa: B018


def test_types_are_shipped() -> None:
    assert (Path(promptopt.__file__).parent / "py.typed").exists()
