"""What a run is expected to cost: counted calls against the run itself, and that nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from promptopt.api import execute, prepare
from promptopt.core import Completion, Dataset, Duel, Example, Message, Preference, Prompt, Rate, Request, Setup, Usage
from promptopt.optimizers.hill_climb import HillClimb
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.run.estimate import Estimate, estimate
from promptopt.testing import ScriptedModel

IN, OUT = 2e-6, 10e-6  # dollars a token


class Priced:
    """Bounds and prices as a provider's; replies with a list, and counts its calls."""

    name = "priced"
    notes = ()

    def __init__(self) -> None:
        self.calls = 0

    def complete(self, request: Request, /) -> Completion:
        self.calls += 1
        lines = (f"- answer it well {self.calls} {i}" for i in range(10))
        return Completion(ScriptedModel(["\n".join(lines)]).complete(request).replies, Usage(1, 10, 10, 1.0))

    def at_most(self, request: Request, /) -> Usage:
        n = request.n
        read = n * (64 + sum(16 + len(message.text) for message in request.messages))
        return Usage(n, read, n * 1024, read * IN + n * 1024 * OUT)


class Chat:
    """A target: one call for each example."""

    metric = "match"

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self, setup: Setup, /) -> None:
        self.billed = setup.model(self.model, role="target")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [
            self.billed.complete(Request([Message("user", prompt.text + e.input)])).replies[0].text for e in examples
        ]


def match(outputs: Sequence[Any], examples: Sequence[Example]) -> list[float]:
    return [float(len(output)) for output in outputs]


def data(train: int = 4, dev: int = 0, test: int = 0) -> Dataset:
    splits = {"train": train, "dev": dev, "test": test}
    return Dataset("d", **{s: tuple(Example(f"{s}{i}", "x" * 100, "y") for i in range(n)) for s, n in splits.items()})


def climb(model: Any, **options: Any) -> HillClimb:
    pool = ListPool(prompts=[f"solve {i}" for i in range(50)])
    return HillClimb(proposer=ChatProposer(model=model), pool=pool, **{"sample": 10, **options})


def of(**arguments: Any) -> Estimate:
    return estimate(prepare({"start": "answer", "metric": match, "run": None, **arguments}))


def test_calls_as_in_the_run_itself_and_none_of_them_made() -> None:
    proposer, target = Priced(), Priced()
    arguments = {"data": data(4, dev=3, test=5), "budget": 65, "finalists": 5}
    expected = of(target=Chat(target), optimizer=climb(proposer), **arguments)
    assert (proposer.calls, target.calls) == (0, 0)
    made = execute(
        {
            "start": "answer",
            "metric": match,
            "run": None,
            "target": Chat(target),
            "optimizer": climb(proposer),
            **arguments,
        }
    )
    assert expected.questions == made.costs.questions - 5 == 60
    assert expected.shares["proposer"].expected.calls == proposer.calls
    assert expected.shares["target"].expected.calls == target.calls == 60 * 4 + 5 * 3 + 2 * 5
    assert expected.total.expected.calls == proposer.calls + target.calls


def test_verdicts_on_other_targets_are_counted() -> None:
    other = Priced()
    arguments = {"data": data(4, test=5), "budget": 20, "transfer": {"other": Chat(other), "third": Chat(other)}}
    expected = of(target=Chat(Priced()), optimizer=climb(Priced()), **arguments)
    alone = of(target=Chat(Priced()), optimizer=climb(Priced()), **{**arguments, "transfer": None})
    more = expected.shares["target"].expected.calls - alone.shares["target"].expected.calls
    execute(
        {
            "start": "answer",
            "metric": match,
            "run": None,
            "target": Chat(Priced()),
            "optimizer": climb(Priced()),
            **arguments,
        }
    )
    assert more == other.calls == 2 * 2 * 5


def test_a_search_that_wants_to_know_what_happened_is_told_something() -> None:
    options = {"rounds": 1, "gradients": 2, "reasons": 1, "paraphrases": 1}
    optimizer = {"name": "protegi", "model": Priced(), **options}
    expected = of(target=Chat(Priced()), optimizer=optimizer, data=data(4), budget=200)
    assert expected.shares["proposer"].expected.calls == 2 + 2 + 3  # reasons, edits, paraphrases of the start and edits
    assert not [note for note in expected.notes if "gradients" in note]


def test_where_a_word_is_wanted_the_rehearsal_says_one() -> None:
    tone = {"name": "tone", "question": "How formal is it?", "scale": ["casual", "formal"]}
    optimizer = {"name": "map-elites", "model": Priced(), "judge": Priced(), "measures": [tone], "rounds": 3}
    found = estimate(prepare({"start": "answer", "score": len, "optimizer": optimizer, "budget": 40}))
    assert found.questions == 1 + 3 * 4 * 2
    assert found.shares["proposer"].expected.calls == 3 * 4
    assert found.shares["judge"].expected.calls == found.questions


def test_tokens_and_dollars_at_the_models_own_prices() -> None:
    expected = of(target=Chat(Priced()), optimizer=climb(Priced()), data=data(1), budget=1)
    target = expected.shares["target"]
    read = 8 + len("answer" + "x" * 100) // 4
    assert target.expected.input_tokens == read
    assert target.expected.output_tokens == 100
    assert target.expected.dollars == pytest.approx(read * IN + 100 * OUT)
    assert target.at_most == Priced().at_most(Request([Message("user", "answer" + "x" * 100)]))


def test_without_a_chat_model_nothing_is_rehearsed() -> None:
    rated: list[str] = []

    def score(prompt: str) -> float:
        rated.append(prompt)
        return 0.0

    expected = estimate(
        prepare({"start": "answer {}", "score": score, "optimizer": "hill-climb", "budget": 50, "run": None})
    )
    assert (expected.questions, dict(expected.shares), rated) == (50, {}, [])
    assert list(expected.lines()) == ["No chat model: 50 questions, no LLM calls, no dollars."]


def test_without_a_limit_on_questions_the_search_is_rehearsed_to_its_end() -> None:
    optimizer = climb(Priced(), restarts=1, resets=1, iterations=3)
    expected = of(target=Chat(Priced()), optimizer=optimizer, data=data(2), budget={"dollars": 5.0})
    assert expected.questions == 10 + 3 * 10
    assert expected.shares["proposer"].expected.calls == 3
    assert any("does not limit questions; 40" in note for note in expected.notes)
    assert any("dollars 5.0" in line for line in expected.lines())


def test_a_rehearsal_that_takes_too_long_is_extrapolated() -> None:
    plan = prepare(
        {
            "start": "answer",
            "metric": match,
            "run": None,
            "target": Chat(Priced()),
            "optimizer": climb(Priced()),
            "data": data(2),
            "budget": 100,
        }
    )
    begun = plan.optimizer.tell

    def slow(answered: Any) -> None:
        import time

        time.sleep(0.2)
        begun(answered)

    object.__setattr__(plan.optimizer, "tell", slow)
    expected = estimate(plan, seconds=0.3)
    assert expected.questions == 100
    assert expected.shares["target"].expected.calls == 200
    assert any("extrapolated" in note for note in expected.notes)


class Judge:
    """Two calls a duel."""

    question = Duel

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self, setup: Setup, /) -> None:
        self.billed = setup.model(self.model, role="judge")

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        for duel in questions:
            for prompts in ((duel.a, duel.b), (duel.b, duel.a)):
                self.billed.complete(Request([Message("user", " ".join(prompt.text for prompt in prompts))]))
        return [Preference("tie")] * len(questions)


class Pairs:
    """Asks for duels, without a model."""

    question = Duel

    def begin(self, setup: Setup, /) -> None:
        self.start = setup.start[0]

    def ask(self) -> list[Duel]:
        return [Duel(self.start, Prompt("other"))]

    def tell(self, answered: Sequence[tuple[Duel, Preference]], /) -> None: ...

    def best(self) -> Prompt:
        return self.start


def test_a_judge_of_duels() -> None:
    expected = of(scorer=Judge(Priced()), optimizer=Pairs(), metric=None, budget=30)
    assert {role: share.expected.calls for role, share in expected.shares.items()} == {"judge": 60}


class Subsets(Pairs):
    """Rates on two of four examples at a time, and asks its model before each."""

    question = Rate

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self, setup: Setup, /) -> None:
        super().begin(setup)
        self.billed, self.asked = setup.model(self.model, role="proposer"), 0

    def ask(self) -> list[Rate]:  # type: ignore[override]
        self.billed.complete(Request([Message("user", "more")]))
        self.asked += 1
        return [Rate(Prompt(f"p {self.asked}"), on=("train0", "train1"))]


def test_a_rating_on_a_part_of_the_examples_costs_that_part() -> None:
    expected = of(target=Chat(Priced()), optimizer=Subsets(Priced()), data=data(4), budget=10)
    assert {role: share.expected.calls for role, share in expected.shares.items()} == {"proposer": 10, "target": 20}


def test_the_models_notes_are_passed_on() -> None:
    model = Priced()
    model.notes = ("no price known",)  # type: ignore[assignment]
    assert of(target=Chat(model), optimizer=climb(Priced()), data=data(1), budget=2).notes == ("no price known",)


def test_the_table() -> None:
    lines = list(of(target=Chat(Priced()), optimizer=climb(Priced()), data=data(4), budget=30).lines())
    words: Mapping[str, list[str]] = {line.split()[0]: line.split() for line in lines if line}
    assert words["target"][1] == "120"
    assert [words["proposer"][1], words["together"][1]] == ["2", "122"]
    assert "guesses" in "".join(lines)


def test_ratings_that_a_simulated_annotator_standardises_on_are_counted() -> None:
    """Each of them runs the target on the whole training split, beside two ratings a duel."""

    def calls(**options: Any) -> int:
        scorer = {"name": "bradley-terry", **options}
        optimizer = {"name": "apohf", "pool": {"name": "list", "prompts": [f"solve {i}" for i in range(9)]}}
        expected = of(target=Chat(Priced()), optimizer=optimizer, scorer=scorer, data=data(4), budget=10)
        return expected.shares["target"].expected.calls

    plain, standardised = calls(), calls(standardise=50)
    assert plain == 10 * 2 * 4
    assert 45 * 4 <= standardised - plain <= 50 * 4


class Held(Judge):
    """Holds on to something until it is closed."""

    open = 0

    def begin(self, setup: Setup, /) -> None:
        super().begin(setup)
        self.open += 1

    def close(self) -> None:
        self.open -= 1


def test_what_a_rehearsal_begins_it_closes() -> None:
    scorer = Held(Priced())
    of(scorer=scorer, optimizer=Pairs(), metric=None, budget=30)
    assert scorer.open == 0
