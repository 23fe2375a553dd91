"""APE: what it induces from, what a round keeps, and runs that have no prompt to start from [Zhou2023]."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptopt import optimize, resume
from promptopt.cli import app
from promptopt.core import Dataset, Example, Prompt, Rate, Rating
from promptopt.errors import NothingUsable, UserError
from promptopt.optimizers import Ape, EvoPrompt, Racing
from promptopt.optimizers.pools.listed import ListPool
from promptopt.record.story import Story
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import OptimizerContract

sys.path.insert(0, str(Path(__file__).parent))  # the contract runs this file in a fresh process
from word_llm import WORDS, pairs_shown, quoted_in, value, writes_words

EXAMPLES = [Example(f"e{i}", f"question {i}", f"answer {i}") for i in range(8)]


def ape(model: Any = None, **options: Any) -> Ape:
    given: dict[str, Any] = {"examples": EXAMPLES, "candidates": 6, "per_call": 2, "shown": 3, "subset": 4, "rounds": 2}
    return Ape(model=model or ScriptedModel(writes_words), **{**given, **options})


class TestApe(OptimizerContract):
    start = ("be brief",)

    def make(self) -> Ape:
        return ape()


class TestAlone(OptimizerContract):
    start = ()

    def make(self) -> Ape:
        return ape(subset=20)


def rounds(optimizer: Ape, *, start: Sequence[str] = (), score: Any = value) -> list[list[Rate]]:
    """All batches of a search."""
    optimizer.begin(FakeSetup(start=start))
    asked = []
    while batch := optimizer.ask():
        asked.append(list(batch))
        optimizer.tell([(question, Rating(score(question.prompt.text))) for question in batch])
    return asked


def test_instructions_are_induced_from_a_few_examples_drawn_anew_for_each_call() -> None:
    model = ScriptedModel(writes_words)
    asked = rounds(ape(model, rounds=1, candidates=12))
    shown = [pairs_shown(call.messages[0].text) for call in model.calls]
    assert [call.n for call in model.calls] == [2] * 11 + [1]  # both replies to a call are the same here
    assert [len(batch) for batch in asked[:-1]] == [1] * 12
    assert all(len({*pairs}) == 3 for pairs in shown)
    assert {pair for pairs in shown for pair in pairs} == {(e.input, e.label) for e in EXAMPLES}


def test_a_round_keeps_the_best_on_its_part_and_paraphrases_them() -> None:
    model = ScriptedModel(lambda m: "\n".join(f"{writes_words(m)} {word}" for word in WORDS))
    *batches, last = rounds(ape(model, candidates=10, top=0.3, rounds=3), start=["go"])
    parts = list(dict.fromkeys(batch[0].on for batch in batches))
    assert [len(part) for part in parts] == [4, 4, 4]
    by_round = [[q.prompt for batch in batches for q in batch if q.on == part] for part in parts]
    assert [len(prompts) for prompts in by_round] == [10, 10, 10]
    assert last[0].prompt == Prompt("go")
    assert all(question.on == () for question in last)
    for before, after in zip(by_round, [*by_round[1:], [q.prompt for q in last[1:]]], strict=True):
        kept = sorted((prompt.text for prompt in before), key=value, reverse=True)[:3]
        assert [prompt.text for prompt in after[:3]] == kept
        assert {text for prompt in after[3:] for text in prompt.origin["parents"]} <= {*kept}
    shown = [quoted_in(call.messages[0].text) for call in model.calls]
    assert {one[0][0] for one in shown} == {"Input 1", "Instruction"}


def _texts(batches: Sequence[Sequence[Rate]]) -> set[str]:
    return {question.prompt.text for batch in batches for question in batch}


def test_the_answer_is_the_best_on_all_examples_and_until_then_that_of_the_last_round() -> None:
    optimizer = ape(rounds=1, top=0.5)
    optimizer.begin(FakeSetup())
    first: list[Rate] = []
    for i in range(6):
        assert optimizer.best() == (first[-1].prompt if first else Prompt(""))
        first += optimizer.ask()
        optimizer.tell([(first[-1], Rating(i / 10))])
    assert optimizer.best() == first[-1].prompt
    whole = list(optimizer.ask())
    assert [q.prompt for q in whole] == [q.prompt for q in first[:-4:-1]]
    optimizer.tell([(question, Rating(i / 10)) for i, question in enumerate(whole)])
    assert optimizer.best() == whole[-1].prompt
    assert not optimizer.ask()


def test_few_examples_are_all_rated_on_and_nothing_is_rated_twice() -> None:
    asked = rounds(ape(subset=8, rounds=3))
    assert all(question.on == () for batch in asked for question in batch)
    assert len(_texts(asked)) == sum(map(len, asked))


def test_long_examples_are_bounded() -> None:
    model = ScriptedModel(writes_words)
    rounds(ape(model, examples=[Example("e", "word " * 9_000, "yes")]))
    assert all(len(call.messages[0].text) < 4_000 for call in model.calls)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"examples": []}, "no examples whose input is a text"),
        ({"examples": [Example("p", object(), "cat")]}, "no examples whose input is a text"),
        ({"top": 0}, "top is 0; allowed is a share above 0, up to 1"),
        ({"top": 1.5}, "top is 1.5"),
        ({"candidates": 0}, "candidates is 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"subset": 0}, "subset is 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ape(**options)


def test_it_is_not_for_templates() -> None:
    with pytest.raises(UserError, match="ape induces instructions, and the prompts are templates"):
        ape().check(FakeSetup(start=["a {}"], problem_with=lambda text: None if "{}" in text else "no {}"))


# ── Runs without a starting prompt ────────────────────────────────────────────────────────────────────────────────


class Words:
    """Answers the examples rightly, as many as the prompt is good; ``kill`` is the call that ends the run."""

    def __init__(self, *, kill: int = -1) -> None:
        self.left = kill

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None if prompt.text else "it is empty"

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("killed")
        return [e.label if i / len(examples) < value(prompt.text) / 3 else "?" for i, e in enumerate(examples)]


TEST = tuple(Example(f"t{i}", f"held out {i}", "yes") for i in range(20))
GIVEN: dict[str, Any] = {
    "target": Words(),
    "data": Dataset("d", tuple(EXAMPLES), (), TEST),
    "metric": "exact-match",
    "watch": False,
    "run": None,
}


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_best_is_compared_with_the_first_that_was_tried(tmp_path: Path, wrapped: bool) -> None:
    def make() -> Any:
        return Racing(optimizer=ape(), examples=EXAMPLES) if wrapped else ape()

    result = optimize(optimizer=make(), seed=4, **{**GIVEN, "run": tmp_path})
    first = result.steps[0].question.prompt.text
    assert result.start == first != result.best
    assert result.verdict is not None
    assert result.verdict.start == round(value(first) / 3 * 20 + 0.5) / 20
    assert "compared with the first that the search tried" in " ".join(result.notes)
    story = Story.read(tmp_path)
    assert (story.start, story.best, story.verdict) == (first, result.best, result.verdict)
    objects = {key: GIVEN[key] for key in ("target", "data")}
    again = resume(tmp_path, watch=False, optimizer=make(), **objects)
    assert (again.start, again.best, str(again.verdict)) == (result.start, result.best, str(result.verdict))


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_killed_run_without_a_start_goes_on_with_the_same_result(tmp_path: Path, at: int) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        optimize(optimizer=ape(), **{**GIVEN, "run": tmp_path, "target": Words(kill=at)})
    went_on, whole = optimize(optimizer=ape(), **{**GIVEN, "run": tmp_path}), optimize(optimizer=ape(), **GIVEN)
    assert went_on.history() == whole.history()
    assert (went_on.best, went_on.start, str(went_on.verdict)) == (whole.best, whole.start, str(whole.verdict))


def test_it_is_shown_and_reported(tmp_path: Path) -> None:
    result = optimize(optimizer=ape(), seed=4, **{**GIVEN, "run": tmp_path / "run"})
    report = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")])
    assert report.exit_code == 0, report.output
    page = (tmp_path / "page.html").read_text()
    assert result.best in page
    assert result.start in page
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    assert result.start in shown.output


def test_an_empty_start_is_a_start() -> None:
    class Bare(Words):
        def problem_with(self, prompt: Prompt, /) -> str | None:
            return None

    result = optimize(start="", optimizer=ape(), **{**GIVEN, "target": Bare()})
    assert result.start == ""
    assert not result.notes
    assert result.score("") == value("") / 3 // 0.125 * 0.125 + 0.125


def test_evoprompt_begins_with_its_pool() -> None:
    evolution = EvoPrompt(model=ScriptedModel(writes_words), pool=ListPool(prompts=WORDS), population=3, generations=1)
    result = optimize(optimizer=evolution, **GIVEN)
    assert result.start in WORDS
    with pytest.raises(UserError, match="start is missing"):
        optimize(optimizer=EvoPrompt(model=ScriptedModel([])), **GIVEN)
    with pytest.raises(UserError, match="no prompt to start from"):
        EvoPrompt(model=ScriptedModel([])).begin(FakeSetup())


@pytest.mark.parametrize("optimizer", ["bayes", {"name": "racing", "optimizer": "bayes"}])
def test_other_optimizers_need_a_start(optimizer: Any) -> None:
    with pytest.raises(UserError, match="start is missing; give the prompt that you use today"):
        optimize(optimizer=optimizer, **GIVEN)


def test_a_run_that_came_to_no_prompt_says_so_and_goes_on_with_more(tmp_path: Path) -> None:
    with pytest.raises(NothingUsable, match=r"before it had tried a prompt \(budget: tokens\)"):
        optimize(optimizer=ape(), budget={"tokens": 9}, **{**GIVEN, "run": tmp_path})
    objects = {key: GIVEN[key] for key in ("target", "data")}
    result = resume(tmp_path, ["budget.tokens=50000"], watch=False, optimizer=ape(), **objects)
    assert result.best == optimize(optimizer=ape(), budget={"tokens": 50_000}, **GIVEN).best
    with pytest.raises(NothingUsable, match=r"\(converged\)"):
        optimize(optimizer=ape(ScriptedModel(lambda _: "I cannot")), **GIVEN)


def test_no_part_is_shown_what_stands_for_the_missing_start() -> None:
    class Looks(Ape):
        def begin(self, setup: Any, /) -> None:
            assert setup.start == ()
            super().begin(setup)

    looks = Looks(model=ScriptedModel(writes_words), examples=EXAMPLES, candidates=2, rounds=1)
    assert "" not in [c.prompt.text for c in optimize(optimizer=looks, **GIVEN).candidates]
