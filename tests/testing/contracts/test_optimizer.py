"""The contract suite of optimizers holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Duel, Message, Prompt, Rate, Rating
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract

WORDS = "small large blurry clean drawing painting toy plastic".split()
POOL = [f"a {word} {{}}" for word in WORDS] + [f"{word} photo of a {{}}" for word in WORDS]


def one_hole(text: str) -> str | None:
    return None if text.count("{}") == 1 else "it needs one {}"


# ── Our optimizers ────────────────────────────────────────────────────────────────────────────────────────────────


class TestHillClimbLexical(OptimizerContract):
    def make(self) -> HillClimb:
        proposer = LexicalProposer(phrases={"adjectives": WORDS}, conversation="continued")
        return HillClimb(proposer=proposer, pool=ListPool(prompts=POOL), sample=6, k=3, per_call=4, iterations=5)

    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


class TestHillClimbChat(OptimizerContract):
    def make(self) -> HillClimb:
        return HillClimb(
            proposer=ChatProposer(model=ScriptedModel(_reply), conversation="continued"), k=3, iterations=9
        )

    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


def _reply(messages: Sequence[Message]) -> str:
    """A list that depends on the conversation; every third one cannot be read."""
    size = sum(len(message.text) for message in messages)
    if size % 3 == 0:
        return "I would rather not."
    return "\n".join(f"- a {WORDS[(size + i) % 8]} {WORDS[(size * i) % 8]} {{}}" for i in range(4))


class TestRandomSearch(OptimizerContract):
    def make(self) -> RandomSearch:
        return RandomSearch(pool=ListPool(prompts=[*POOL, "no hole"]), batch=3)

    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


# ── Broken optimizers ─────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    """Draws from a list of texts: a small optimizer that holds every contract."""

    question: Any = Rate
    texts = tuple(f"{word} {i}" for i in range(12) for word in WORDS)
    batch = 4

    def begin(self, setup: Any, /) -> None:
        self.setup = setup
        self.told: dict[Prompt, Rating] = {}
        self.left = [setup.start[0], *(Prompt(self.texts[i]) for i in self.order(setup))]
        self.incumbent = setup.start[0]

    def order(self, setup: Any) -> Any:
        return setup.rng().permutation(len(self.texts))

    def ask(self) -> list[Any]:
        batch, self.left = self.left[: self.batch], self.left[self.batch :]
        return [Rate(prompt) for prompt in batch]

    def tell(self, answered: Any, /) -> None:
        for question, rating in answered:
            self.told[question.prompt] = rating
            known = self.told.get(self.incumbent)
            if known is None or rating.rank > known.rank:
                self.incumbent = question.prompt

    def best(self) -> Prompt:
        return self.incumbent


class SoundContract(OptimizerContract):
    part: Any = Sound

    def make(self) -> Any:
        return self.part()


class AsksNothing(Sound):
    def ask(self) -> list[Any]:
        return []


class AsksDuels(Sound):
    def ask(self) -> list[Any]:
        return [Duel(q.prompt, q.prompt) for q in super().ask()]

    def tell(self, answered: Any, /) -> None: ...


class AsksUnusable(Sound):
    texts = ("unusable", *Sound.texts)


class Numb(Sound):
    question = int


class OriginIsNoJson(Sound):
    def ask(self) -> list[Any]:
        return [Rate(Prompt(q.prompt.text, {"step": object()})) for q in super().ask()]


class GlobalNumpy(Sound):
    def order(self, setup: Any) -> Any:
        return np.random.permutation(len(self.texts))


class GlobalSeed(Sound):
    """Reproducible, but at the cost of everyone else's random numbers."""

    def order(self, setup: Any) -> Any:
        random.seed(0)
        return super().order(setup)


class Hashes(Sound):
    """Goes through a set, whose order changes from process to process."""

    def order(self, setup: Any) -> Any:
        texts = list(self.texts)
        return [texts.index(text) for text in set(texts)]


class RemembersTheLastRun(Sound):
    def __init__(self) -> None:
        self.begun = 0

    def order(self, setup: Any) -> Any:
        self.begun += 1
        return np.roll(super().order(setup), self.begun)


class NeedsAllAnswers(Sound):
    def tell(self, answered: Any, /) -> None:
        assert len(answered) == len(self.asked)
        super().tell(answered)

    def ask(self) -> list[Any]:
        self.asked = super().ask()
        return self.asked


class NeedsAnAnswer(Sound):
    def tell(self, answered: Any, /) -> None:
        answered[0]
        super().tell(answered)


class ByPosition(Sound):
    """Takes the first answer for the answer to its first question."""

    def ask(self) -> list[Any]:
        self.asked = super().ask()
        return self.asked

    def tell(self, answered: Any, /) -> None:
        super().tell([(q, a) for q, (_, a) in zip(self.asked, answered, strict=False)])


class TripsOverNaN(Sound):
    def tell(self, answered: Any, /) -> None:
        for _, rating in answered:
            int(rating.value * 100)
        super().tell(answered)


class TakesNaNForBest(Sound):
    def tell(self, answered: Any, /) -> None:
        for question, rating in answered:
            known = self.told.get(self.incumbent)
            if known is None or not rating.value <= known.value:
                self.incumbent = question.prompt
            self.told[question.prompt] = rating


class LastOfEquals(Sound):
    def tell(self, answered: Any, /) -> None:
        for question, rating in answered:
            self.told[question.prompt] = rating
            if rating.rank >= self.told.get(self.incumbent, rating).rank:
                self.incumbent = question.prompt


class NoBestYet(Sound):
    def best(self) -> Any:
        return self.incumbent if self.told else None


class ConvergesAndThinksAgain(Sound):
    batch = 40

    def ask(self) -> list[Any]:
        batch = super().ask()
        if not batch:
            self.left = [Prompt("again")]
        return batch


class CountsProcessesOfItsOwn(Sound):
    """Asks what it asks by how many of its kind there have been: a replay meets other questions."""

    made = 0

    def begin(self, setup: Any, /) -> None:
        type(self).made += 1
        super().begin(setup)
        self.left = [Prompt(f"{prompt.text} {self.made}") for prompt in self.left]


class SaysThatItKnowsParts(Sound):
    knows_parts = True


def _rate(test: str, part: Any) -> Any:
    return pytest.param(test, part, id=f"{test.removeprefix('test_')}-{part.__name__}")


BROKEN_OPTIMIZERS = [
    _rate("test_says_which_question_it_asks", Numb),
    _rate("test_has_a_best_prompt_before_any_answer", NoBestYet),
    _rate("test_asks_its_kind_of_question_about_usable_prompts", AsksNothing),
    _rate("test_asks_its_kind_of_question_about_usable_prompts", AsksDuels),
    _rate("test_asks_its_kind_of_question_about_usable_prompts", AsksUnusable),
    _rate("test_asks_its_kind_of_question_about_usable_prompts", OriginIsNoJson),
    _rate("test_same_seed_same_questions", GlobalNumpy),
    _rate("test_seed_zero_is_a_seed", GlobalNumpy),
    _rate("test_leaves_the_global_generators_alone", GlobalNumpy),
    _rate("test_leaves_the_global_generators_alone", GlobalSeed),
    _rate("test_same_questions_in_a_fresh_process_with_another_hash_seed", Hashes),
    _rate("test_begin_starts_afresh", RemembersTheLastRun),
    _rate("test_takes_fewer_answers_than_it_asked_for", NeedsAllAnswers),
    _rate("test_takes_no_answers_at_all", NeedsAnAnswer),
    _rate("test_takes_answers_in_any_order", ByPosition),
    _rate("test_survives_answers_that_could_not_be_scored", TripsOverNaN),
    _rate("test_prefers_a_scored_prompt_to_an_unscored_one", TakesNaNForBest),
    _rate("test_a_tie_does_not_displace_the_incumbent", LastOfEquals),
    _rate("test_keeps_the_parts_of_prompts", SaysThatItKnowsParts),
    _rate("test_stays_converged", ConvergesAndThinksAgain),
    _rate("test_resumes_by_replay", CountsProcessesOfItsOwn),
]


class HashesContract(SoundContract):
    """By its own name, so that a fresh process finds it."""

    part = Hashes


@pytest.mark.parametrize(("test", "part"), BROKEN_OPTIMIZERS)
def test_a_broken_optimizer_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    suite = HashesContract() if part is Hashes else SoundContract()
    suite.part = part
    suite.problem_with = lambda text: "no" if "unusable" in text else None  # type: ignore[method-assign]
    getattr(SoundContract(), test)()  # the sound one passes
    suite.questions = 110
    with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion, or whatever the broken part raises
        getattr(suite, test)()


def test_every_optimizer_test_has_a_part_that_fails_it() -> None:
    tests = {name for name in dir(OptimizerContract) if name.startswith("test_")}
    assert tests == {param.values[0] for param in BROKEN_OPTIMIZERS}


def test_other_tests_still_pass_for_a_part_that_breaks_one() -> None:
    """A tie rule that is wrong is found by the test of ties and by no other."""
    suite = SoundContract()
    suite.part = LastOfEquals
    for name in dir(suite):
        if name.startswith("test_") and "tie" not in name and "fresh_process" not in name:
            getattr(suite, name)()
