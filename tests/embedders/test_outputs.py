"""What a prompt produces in the place of its text: the vectors, what they cost, and a search by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptopt
from promptopt.core import Example, Failed, Missing, Picture, Prompt
from promptopt.embedders.ngrams import Ngrams
from promptopt.embedders.outputs import Outputs
from promptopt.errors import ModelError, UserError
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.part_by_part import PartSetup
from promptopt.optimizers.pools.distinct import Distinct
from promptopt.optimizers.pools.listed import ListPool
from promptopt.parts import text_of
from promptopt.scorers import BradleyTerry, FunctionScorer
from promptopt.targets.chat import ChatTarget
from promptopt.targets.function import Function
from promptopt.testing import FakeSetup, ScriptedModel

EXAMPLES = [Example(f"e{i}", text, text.upper()) for i, text in enumerate(["alpha", "beta", "gamma", "delta", "eta"])]


def speaks(prompt: str, example: Example) -> str | None:
    """Capitals for prompts that ask for them in any words, nothing for one that is silent."""
    if "nothing" in prompt:
        return None
    return str(example.input).upper() * 3 if {"capital", "upper", "shout"} & set(prompt.split()) else example.input


def outputs(**options: Any) -> Outputs:
    embedder = Outputs(target=Function(function=speaks), examples=EXAMPLES, **options)
    embedder.begin(FakeSetup())
    return embedder


def test_a_prompt_lies_where_its_outputs_lie() -> None:
    """One vector for each example, of length 1 together; the cosine is the mean over examples."""
    embedder, prompts = outputs(n_examples=3), ["use capital letters", "shout", "say it", "say nothing"]
    rows = embedder.embed(prompts)
    assert rows.shape == (4, 3 * 384)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4))
    assert np.array_equal(rows, np.concatenate([embedder.embed([prompt]) for prompt in prompts]))
    assert rows[0] == pytest.approx(rows[1])
    assert rows[0] @ rows[2] < 0.9
    inner = Ngrams()
    said = [[speaks(prompt, example) or "" for example in embedder._shown] for prompt in prompts]
    cosines = [inner.embed([a]) @ inner.embed([b]).T for a, b in zip(said[0], said[2], strict=True)]
    assert rows[0] @ rows[2] == pytest.approx(float(np.mean(cosines)))


def test_a_part_is_tried_within_its_prompt() -> None:
    seen: list[Any] = []
    target = Function(function=lambda prompt, example: str(seen.append(prompt)))
    embedder = Outputs(target=target, examples=EXAMPLES, n_examples=1)
    whole = text_of({"system": "You help.", "instruction": "say it"})
    embedder.begin(PartSetup(FakeSetup(start=[whole]), "instruction", base=whole, start=(), key=()))
    embedder.embed(["shout"])
    embedder.begin(FakeSetup())
    embedder.embed(["shout"])
    assert seen == [{"system": "You help.", "instruction": "shout"}, "shout"]


def test_an_output_that_was_lost_ends_the_run_since_it_may_come_when_the_run_resumes() -> None:
    embedder = Outputs(target=Function(function=lambda prompt, example: Missing("lost: HTTP 500")), examples=EXAMPLES)
    embedder.begin(FakeSetup())
    with pytest.raises(ModelError, match="cannot be embedded without its output: lost: HTTP 500"):
        embedder.embed(["say it"])


def test_the_examples_are_drawn_once_by_the_runs_seed() -> None:
    shown = []
    for seed in (0, 0, 1, 2, 3):
        embedder = Outputs(target=Function(function=speaks), examples=EXAMPLES, n_examples=2)
        embedder.begin(FakeSetup(seed=seed))
        shown.append(embedder.name)
    assert shown[0] == shown[1]
    assert len(set(shown)) > 1
    assert "ngrams" in shown[0]
    assert len(outputs(n_examples=50)._shown) == 5


@pytest.mark.parametrize(
    ("options", "message"), [({"n_examples": 0}, "n_examples is 0"), ({"examples": []}, "no exam")]
)
def test_mistakes_are_named(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Outputs(**{"target": Function(function=speaks), "examples": EXAMPLES, **options})


def test_pictures_are_refused_in_words() -> None:
    embedder = Outputs(target=Function(function=lambda prompt, example: Picture(b"")), examples=EXAMPLES)
    with pytest.raises(UserError, match="gave a Picture"):
        embedder.embed(["a cat"])


def test_of_a_failed_output_what_there_is_counts() -> None:
    given = {"cut": Failed("cut at max_tokens = 5", "alp", cut=True), "refused": Failed("refused"), "none": None}
    embedder = Outputs(target=Function(function=lambda prompt, example: given.get(prompt, prompt)), examples=EXAMPLES)
    rows = embedder.embed(["cut", "alp", "refused", "none"])
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[2], rows[3])


def replies(messages: Sequence[Any]) -> str:
    return messages[-1].text.partition("Input: ")[2].partition("\n")[0][::-1]


POOL = [f"reverse the word {i} times" for i in range(6)]


def search(folder: Path, model: ScriptedModel, *, budget: int, n: int = 2) -> Any:
    target = ChatTarget(model=model)
    optimizer = Apohf(pool=ListPool(prompts=POOL), embedder=Outputs(target=target, examples=EXAMPLES, n_examples=n))
    scorer = BradleyTerry(scorer=FunctionScorer(lambda text: float(text[17]) / 6 if text in POOL else 0.0))
    return promptopt.optimize(
        start="reverse", optimizer=optimizer, scorer=scorer, budget=budget, run=folder, reply_cache=False
    )


def test_calls_are_billed_and_recorded_and_not_made_again(tmp_path: Path) -> None:
    model = ScriptedModel(replies, dollars=0.01)
    result = search(tmp_path / "run", model, budget=4)
    assert len(model.calls) == 7 * 2
    assert result.costs.calls == 14
    assert result.costs.dollars == pytest.approx(0.14)
    assert result.costs.questions == 4
    events = list(map(json.loads, (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()))
    assert [(e["part"], e["role"]) for e in events if e["event"] == "call"] == [("optimizer", "target")] * 14
    model.calls.clear()
    longer = search(tmp_path / "run", model, budget=6)
    assert not model.calls
    assert (longer.costs.calls, longer.costs.questions) == (14, 6)


def test_a_budget_that_ends_in_the_pool_ends_the_run(tmp_path: Path) -> None:
    result = promptopt.optimize(
        start="reverse",
        optimizer=Apohf(
            pool=ListPool(prompts=POOL),
            embedder=Outputs(target=ChatTarget(model=ScriptedModel(replies)), examples=EXAMPLES),
        ),
        scorer=BradleyTerry(scorer=FunctionScorer(len)),
        budget={"questions": 5, "calls": 10},
        reply_cache=False,
        run=None,
    )
    assert (result.stop_reason, result.best, result.costs.questions) == ("budget: calls", "reverse", 0)


def test_the_scorers_own_calls_stay_the_scorers(tmp_path: Path) -> None:
    """One target for both, as a recipe has it."""
    pool = {"name": "list", "prompts": POOL}
    promptopt.optimize(
        start="reverse",
        target=ChatTarget(model=ScriptedModel(replies)),
        data=promptopt.Dataset("words", tuple(EXAMPLES)),
        optimizer={"name": "apohf", "pool": pool, "embedder": {"name": "outputs", "n_examples": 1}},
        scorer={"name": "bradley-terry"},
        budget=2,
        reply_cache=False,
        run=tmp_path / "run",
    )
    events = map(json.loads, (tmp_path / "run" / "ledger.jsonl").read_text().splitlines())
    parts = [event["part"] for event in events if event["event"] == "call"]
    assert parts == ["optimizer"] * 7 + ["scorer"] * (3 * 5)  # two duels of three prompts


def test_near_duplicates_by_what_they_produce() -> None:
    pool = Distinct(
        pool=ListPool(prompts=["use capital letters", "shout", "say it", "upper case, please"]),
        embedder=Outputs(target=Function(function=speaks), examples=EXAMPLES),
        threshold=0.99,
    )
    pool.begin(FakeSetup())
    drawn = list(pool.draw(np.random.default_rng(0)))
    assert sorted(speaks(text, EXAMPLES[0]) or "" for text in drawn) == ["ALPHAALPHAALPHA", "alpha"]


@pytest.mark.study
def test_a_search_by_outputs_finds_what_wording_hides() -> None:
    """The words of these prompts are numbers and say nothing; their outputs do."""

    def quality(text: str) -> float:
        return float(int(text) * 7 % 40)

    def speak(prompt: str, example: Example) -> str:
        return "yes " * round(quality(prompt)) + "no " * (40 - round(quality(prompt)))

    pool = [str(i) for i in range(1, 40)]
    regret = {}
    for name, embedder in (
        ("outputs", Outputs(target=Function(function=speak), examples=EXAMPLES, n_examples=1)),
        ("texts", None),
    ):
        found = []
        for seed in range(4):
            scorer = BradleyTerry(scorer=FunctionScorer(lambda text: quality(text) / 40), scale=30.0)
            result = promptopt.optimize(
                start="0",
                optimizer=Apohf(pool=ListPool(prompts=pool), embedder=embedder),
                scorer=scorer,
                budget=15,
                seed=seed,
                run=None,
            )
            found.append(39 - quality(result.best))
        regret[name] = np.mean(found)
    assert regret["outputs"] < regret["texts"]
    assert regret["outputs"] <= 3


def test_prompts_are_run_side_by_side_where_the_target_can() -> None:
    class Batched(Function):
        batches: list[int] = []  # noqa: RUF012

        def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Any:
            self.batches.append(len(prompts))
            return super().run_batch(prompts, examples)

    embedder = Outputs(target=Batched(function=speaks), examples=EXAMPLES, n_examples=2)
    assert embedder.embed(["shout", "say it"]).shape == (2, 2 * 384)
    assert Batched.batches == [2]


def test_targets_that_run_one_prompt_at_a_time_will_do() -> None:
    class Plain:
        def problem_with(self, prompt: Prompt, /) -> None: ...

        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str | None]:
            return [speaks(prompt.text, example) for example in examples]

    rows = Outputs(target=Plain(), examples=EXAMPLES).embed(["shout", "say nothing"])
    assert np.array_equal(
        rows, Outputs(target=Function(function=speaks), examples=EXAMPLES).embed(["shout", "say nothing"])
    )
