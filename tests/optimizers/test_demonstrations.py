"""The search for demonstrations: what it finds, what it shows, and what it says where there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from promptopt import Prompt, Rate, Rating, UserError, optimize
from promptopt.core import Case, Example, Message
from promptopt.demonstrations import of_prompt
from promptopt.optimizers import Demonstrations
from promptopt.parts import parts_of, text_of
from promptopt.testing import FakeSetup, ScriptedModel

from .like_examples import DATA, KINDS, LISTED, START, TRAIN, Likes, ids, kind


def searched(start: Any = START, model: ScriptedModel | None = None, **options: Any) -> Any:
    given: dict[str, Any] = {"budget": 400, "metric": "exact-match", "data": DATA, "run": None, "goal": 0.8, **options}
    return optimize(start=start, target={"name": "chat", "model": model or Likes()}, watch=False, **given)


# ── What it finds ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_exchange_finds_a_set_that_answers_everything() -> None:
    result = searched(optimizer={"name": "demonstrations", "search": "exchange", "sets": 2})
    assert sorted(one.split("/")[1][:-1] for one in ids(result.best)) == sorted(KINDS)
    assert result.parts["instruction"] == START["instruction"]
    assert (result.verdict.start, result.verdict.best, result.verdict.significant) == (0.0, 1.0, True)
    assert result.score(result.best) == 16 / 20  # each that is shown lacks one of its kind when it is asked
    assert not result.warnings


def test_as_few_random_sets_find_less() -> None:
    few = searched(optimizer={"name": "demonstrations", "sets": 2})
    assert 0 < few.score(few.best) < 16 / 20
    assert {origin["step"] for c in few.candidates if (origin := c.prompt.origin)} == {"random"}


def test_racing_asks_about_fewer_examples_than_there_are() -> None:
    result = searched(optimizer={"name": "demonstrations", "sets": 8, "minibatch": 5})
    assert {len(step.question.on) for step in result.steps if step.stage == "search"} >= {0, 5}
    assert sum(c.rating.coverage.examples for c in result.candidates) >= 40


def test_the_order_counts_where_the_model_says_so() -> None:
    class Last(Likes):
        """Right about everything if the last demonstration is about fish."""

        def reply(self, messages: Sequence[Message]) -> str:
            return KINDS[kind(messages[-1].text)] if kind(messages[-3].text) == "fish" else "?"

    start = {**START, "demonstrations": "train/fish0\ntrain/bird0"}
    result = searched(start, Last(), optimizer={"name": "demonstrations", "search": "exchange", "sets": 1, "k": 2})
    assert "fish" in ids(result.best)[-1]
    assert result.score(result.start) <= 1 / 20 < result.score(result.best)
    assert result.verdict.best == 1.0


@pytest.mark.parametrize("n", [2, 3])
def test_an_exchange_ends_when_every_single_change_was_tried(n: int) -> None:
    names = [f"e{i}" for i in range(5)]
    examples = [Example(name, name, "x") for name in names]
    shown, others = names[:n], names[n:]
    start = text_of({**START, "demonstrations": "\n".join(shown)})
    search = Demonstrations(examples=examples, k=3, search="exchange", sets=1, batch=4)
    search.begin(FakeSetup(start=[start]))
    asked = []
    while batch := search.ask():
        asked += [tuple(ids(question.prompt.text)) for question in batch]
        search.tell([(question, Rating(0.5)) for question in batch])
    replaced = {(*shown[:i], other, *shown[i + 1 :]) for i in range(n) for other in others}
    swapped = {one for one in permutations(shown) if sum(a != b for a, b in zip(one, shown, strict=True)) == 2}
    added = {(*shown[:i], other, *shown[i:]) for i in range(n + 1) for other in others} if n < 3 else set()
    drawn = asked[1]
    assert {*asked} == {tuple(shown), drawn} | replaced | swapped | added
    assert len(asked) == len({*asked})


# ── The target's own outputs ──────────────────────────────────────────────────────────────────────────────────────


class Reasons(Likes):
    """Reasons, and is right, about fruits; about the rest if a demonstration reasons. Only labels make it guess."""

    def reply(self, messages: Sequence[Message]) -> str:
        asked, answers = kind(messages[-1].text), [m.text for m in messages if m.role == "assistant"]
        thinks = any("so it is" in one for one in answers) if answers else asked == "fruit"
        return f"Think of a {asked},\nso it is {KINDS[asked]}" if thinks else "It is round?"


ENDS: dict[str, Any] = {"metric": lambda output, example: float(str(output).endswith(f"so it is {example.label}"))}
OPTIONS: dict[str, Any] = {"name": "demonstrations", "bootstrap": True, "k": 2, "sets": 3}


@pytest.mark.parametrize("search", ["random", "exchange"])
def test_it_shows_the_targets_own_outputs_where_they_were_right(search: str) -> None:
    result = searched(model=Reasons(), optimizer={**OPTIONS, "search": search}, **ENDS)
    shown = of_prompt(result.best)
    assert {one.output for one in shown} == {"Think of a fruit,\nso it is round"}
    assert all("fruit" in one.example for one in shown)
    assert result.verdict.best == 1.0
    assert not result.warnings


def test_the_best_prompt_says_again_what_it_says() -> None:
    best = searched(model=Reasons(), optimizer=OPTIONS, **ENDS).best
    again = searched(best, Reasons(), optimizer={"name": "demonstrations", "sets": 1, "k": 2}, **ENDS)
    assert again.score(best) == 1.0


def test_labels_are_shown_where_nothing_was_right() -> None:
    result = searched(optimizer=OPTIONS)
    assert "since none was right and whole; demonstrations have labels" in " ".join(result.notes)
    assert ids(result.best)
    assert {one.output for one in of_prompt(result.best)} == {None}


def test_an_output_that_was_cut_is_not_shown() -> None:
    search = Demonstrations(examples=TRAIN, k=3, bootstrap=True)
    search.begin(FakeSetup(start=[LISTED]))
    [question] = search.ask()
    said = ["right", "cut…", " ", None, "wrong"]
    cases = [Case(e.id, output, 0.5 if output == "wrong" else 1.0) for e, output in zip(TRAIN, said, strict=False)]
    search.tell([(question, Rating(0.8, cases=tuple(cases)))])
    assert question.cases
    assert {parts_of(q.prompt.text)["demonstrations"] for q in search.ask()} == {'train/fruit0: "right"'}


def test_a_target_that_chooses_among_labels_has_no_output_of_its_own() -> None:
    class Chooses:
        classes = ("a", "b")

    search, setup = Demonstrations(examples=TRAIN, k=3, bootstrap=True, target=Chooses()), FakeSetup(start=[LISTED])  # type: ignore[arg-type]
    search.begin(setup)
    [question] = search.ask()
    search.tell([(question, Rating(1.0, cases=(Case("train/fruit0", "a (a -0.1, b -2.3)", 1.0),)))])
    assert all(one.output is None for q in search.ask() for one in of_prompt(q.prompt.text))
    assert "the target chooses among labels" in " ".join(setup.notes)


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("start", "options", "said"),
    [
        ("How is it?", {}, "changes the part demonstrations, which the start has not; give start as a table"),
        (START, {"frozen": ["demonstrations"]}, "changes the part demonstrations, which is frozen"),
        (START, {"optimizer": {"name": "demonstrations", "k": 20}}, "k is 20, but there are 20 training examples"),
        (START, {"optimizer": {"name": "demonstrations", "sets": 0}}, "sets is 0"),
        (START, {"target": {"name": "chat", "model": Likes(), "demonstrations": 2}}, "shows 2 demonstrations already"),
    ],
)
def test_mistakes_are_told_before_anything_is_spent(start: Any, options: dict[str, Any], said: str) -> None:
    given = {"optimizer": "demonstrations", "target": {"name": "chat", "model": Likes()}, "data": DATA, **options}
    with pytest.raises(UserError, match=said):
        optimize(start=start, budget=10, metric="exact-match", run=None, **given)


def test_a_target_that_takes_no_demonstrations_is_refused() -> None:
    class Takes:
        takes_parts = ("instruction", "demonstrations")

        def problem_with(self, prompt: Prompt, /) -> str | None:
            return "no demonstrations here." if of_prompt(prompt.text) else None

        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
            return ["?" for _ in examples]

    with pytest.raises(UserError, match="this search cannot show demonstrations: no demonstrations here"):
        optimize(start=START, target=Takes(), data=DATA, metric="exact-match", optimizer="demonstrations", run=None)


def test_several_starts_are_all_rated_and_the_other_parts_of_the_best_are_kept() -> None:
    starts = [text_of({**START, "instruction": text}) for text in ("How is it?", "How?")]
    search = Demonstrations(examples=TRAIN, k=3, sets=2, minibatch=100)
    search.begin(FakeSetup(start=starts))
    asked = search.ask()
    assert [q.prompt.text for q in asked] == starts
    search.tell([(q, Rating(i)) for i, q in enumerate(asked)])
    assert {parts_of(q.prompt.text)["instruction"] for q in search.ask() if isinstance(q, Rate)} == {"How?"}
