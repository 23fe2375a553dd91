"""VQAScore and DSG: models that see, asked yes or no about pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from picture_parts import UNUSABLE, picture

from promptopt import optimize
from promptopt.api import prepare
from promptopt.core import (
    ChatModel,
    Choice,
    Dataset,
    Example,
    Failed,
    Message,
    Missing,
    Prompt,
    Rate,
    Rating,
    Reply,
    Usage,
)
from promptopt.errors import Unanswered, UserError
from promptopt.run.estimate import estimate
from promptopt.scorers.judge.dsg import Asked, Dsg, questions_in
from promptopt.scorers.judge.vqa import VqaScore
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import ScorerContract

WISH = "a brown dog beside a red ball"
EXAMPLES = [Example(f"drawings/{n}", WISH, WISH) for n in range(3)]


class Drawn:
    """Gives a picture for each example, another for each prompt; or what it is told to give."""

    def __init__(self, outputs: Sequence[Any] = ()) -> None:
        self._outputs = outputs

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return list(self._outputs) or [picture(len(prompt.text) * 10 + int(e.id[-1])) for e in examples]


class Likely(ScriptedModel):
    """Says how likely replies are: by the letters of each, and the length of the picture's data."""

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        (shown,) = messages[-1].pictures
        self.seen = messages
        probabilities = [(1 + len(shown.data) % 7) / 10 * (0.5 if one[0].islower() else 1) for one in options]
        probabilities = [p if one.lower() == "yes" else 0.1 for p, one in zip(probabilities, options, strict=True)]
        return Choice(tuple(math.log(p) for p in probabilities), Usage(1, 10, 0))

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        return Usage(1, 10, 0)


def says(*words: str) -> ScriptedModel:
    return ScriptedModel([json.dumps({"critique": f"because {word}", "answer": word}) for word in words])


def rating_of(scorer: Any, setup: FakeSetup | None = None, *, text: str = "prompt") -> Rating:
    scorer.begin(setup or FakeSetup())
    (rating,) = scorer.answer([Rate(Prompt(text), cases=True, number=0)])
    return rating


def by_picture(messages: Sequence[Message]) -> str:
    """An answer that depends on what is shown and asked."""
    (shown,) = messages[-1].pictures
    return "yes" if (sum(shown.data) + len(messages[-1].text)) % 3 else "no"


# ── VQAScore ──────────────────────────────────────────────────────────────────────────────────────────────────────


class TestVqa(ScorerContract):
    def make(self) -> VqaScore:
        return VqaScore(model=ScriptedModel(by_picture), target=Drawn(), examples=EXAMPLES)


class TestVqaByProbabilities(ScorerContract):
    def make(self) -> VqaScore:
        return VqaScore(model=Likely([]), target=Drawn(), examples=EXAMPLES, read="probabilities")


def test_the_published_question_is_asked_of_each_picture() -> None:
    model = says("yes", "no", "yes")
    rating = rating_of(VqaScore(model=model, target=Drawn(), examples=EXAMPLES, workers=1))
    assert rating.value == pytest.approx(2 / 3)
    assert [case.value for case in rating.cases] == [1, 0, 1]
    assert rating.cases[1].reason == "because no"
    for call in model.calls:
        (message,) = call.messages
        assert message.text == f'Does this figure show "{WISH}"? Please answer yes or no.'
        assert len(message.pictures) == 1


def test_by_probabilities_it_is_the_probability_of_yes() -> None:
    model = Likely([])
    outputs = [picture(0)] * 3
    p = (1 + len(_encoded(outputs[0])) % 7) / 10
    options: dict[str, Any] = {"model": model, "target": Drawn(outputs), "examples": EXAMPLES, "read": "probabilities"}
    assert rating_of(VqaScore(**options)).value == pytest.approx(p)
    assert rating_of(VqaScore(**options, normalized=True)).value == pytest.approx(1.5 * p / (1.5 * p + 0.2))


def _encoded(shown: Any) -> bytes:
    from promptopt.targets.vlm import encode

    return encode(Example("", shown, None), max_side=768).data


def test_repeated_answers_stand_in_for_the_probability() -> None:
    model = says("yes", "yes", "no", "yes", *["no"] * 8)
    scorer = VqaScore(model=model, target=Drawn(), examples=EXAMPLES, workers=1, repeats=4, temperature=1.0)
    assert [case.value for case in rating_of(scorer).cases] == [0.75, 0, 0]


@pytest.mark.parametrize("reason", UNUSABLE)
def test_nobody_is_asked_about_what_is_no_picture(reason: str) -> None:
    model = says("yes")
    scorer = VqaScore(model=model, target=Drawn([UNUSABLE[reason], Failed("moderated"), picture(0)]), examples=EXAMPLES)
    rating = rating_of(scorer)
    assert rating.per_example is not None
    assert rating.per_example.tolist() == [0, 0, 1]
    assert rating.coverage is not None
    assert rating.coverage.failed == 2
    assert rating.cases[0].reason.startswith(reason)
    assert len(model.calls) == 1


def test_what_the_model_fails_at_leaves_the_example_unscored() -> None:
    def reply(messages: Sequence[Message]) -> str | Reply:
        return next(script)

    script = iter(["perhaps", Reply("", "refusal"), "no"])
    target = Drawn([picture(0), picture(1), picture(2)])
    setup = FakeSetup()
    rating = rating_of(VqaScore(model=ScriptedModel(reply), target=target, examples=EXAMPLES, workers=1), setup)
    assert rating.per_example is not None
    assert [value if value == value else None for value in rating.per_example.tolist()] == [None, None, 0]
    assert setup.counts["unreadable verdicts"] == 1
    gone = rating_of(VqaScore(model=says("no"), target=Drawn([Missing("lost"), None, picture(0)]), examples=EXAMPLES))
    assert gone.coverage is not None
    assert (gone.coverage.scored, gone.coverage.failed) == (1, 0)


def test_the_wish_is_the_label_or_the_input_or_given() -> None:
    asked = []

    def reply(messages: Sequence[Message]) -> str:
        asked.append(messages[-1].text)
        return "yes"

    examples = [Example("1", "in input", ("a.png",)), Example("2", "in input", "in label")]
    for options in ({}, {"text": "given", "asks": "Is it {}?"}):
        model = ScriptedModel(reply)
        rating_of(VqaScore(model=model, target=Drawn([picture(0)] * 2), examples=examples, workers=1, **options))
    assert [one.split("?")[0].removeprefix("Does this figure show ") for one in asked] == [
        '"in input"', '"in label"', "Is it given", "Is it given",
    ]  # fmt: skip
    with pytest.raises(UserError, match="example '3' says in no words what is wished for"):
        VqaScore(model=says(), target=Drawn(), examples=[Example("3", "", ("a.png",))])
    with pytest.raises(UserError, match=r"one \{\} where the wish goes"):
        VqaScore(model=says(), target=Drawn(), examples=examples, asks="Is it so?")
    with pytest.raises(UserError, match="does not say how likely"):
        VqaScore(model=says(), target=Drawn(), examples=examples, read="probabilities")


# ── DSG ───────────────────────────────────────────────────────────────────────────────────────────────────────────

QUESTIONS = [
    {"id": 1, "question": "Is there a dog?", "parents": []},
    {"id": 2, "question": "Is the dog brown?", "parents": [1]},
    {"id": 3, "question": "Is there a ball?", "parents": []},
    {"id": 4, "question": "Is the dog beside the ball?", "parents": [1, 3]},
]
SHEET = json.dumps({"questions": QUESTIONS})


def seeing(holds: Callable[[str, int], bool] = lambda question, n: True) -> ScriptedModel:
    """Writes the questions, and answers them by ``holds(question, picture)``, the picture by its data's length."""

    def reply(messages: Sequence[Message]) -> str:
        if not messages[-1].pictures:
            return SHEET
        question = messages[-1].text.removesuffix(" Please answer yes or no.")
        return "yes" if holds(question, sum(messages[-1].pictures[0].data)) else "no"

    return ScriptedModel(reply)


def dsg(model: ChatModel, target: Any = None, **options: Any) -> Dsg:
    return Dsg(model=model, target=target or Drawn(), examples=EXAMPLES, **{"workers": 1, **options})


class TestDsg(ScorerContract):
    def make(self) -> Dsg:
        return dsg(seeing(lambda question, n: (n + len(question)) % 3 > 0), workers=4)


def test_a_picture_is_worth_the_share_of_its_questions() -> None:
    rating = rating_of(dsg(seeing(lambda question, n: "brown" not in question)))
    assert rating.value == 0.75
    assert rating.cases[0].reason == "3 of 4 hold. No: Is the dog brown?"
    whole = rating_of(dsg(seeing()))
    assert (whole.value, whole.cases[0].reason) == (1, "")


def test_a_question_whose_parent_failed_is_not_asked_and_counts_as_failed() -> None:
    model = seeing(lambda question, n: question != "Is there a dog?")
    rating = rating_of(dsg(model))
    assert rating.value == 0.25
    assert rating.cases[0].reason == (
        "1 of 4 hold. No: Is there a dog? Then not: Is the dog brown? Then not: Is the dog beside the ball?"
    )
    asked = [call.messages[-1].text for call in model.calls[1:]]
    assert len(asked) == 2 * len(EXAMPLES)
    assert not [one for one in asked if "brown" in one or "beside" in one]


def test_questions_are_written_once_a_wish_and_billed_apart() -> None:
    writer, setup = ScriptedModel([SHEET]), FakeSetup()
    scorer = dsg(seeing(), writer=writer)
    scorer.begin(setup)
    list(scorer.answer([Rate(Prompt(text), number=n) for n, text in enumerate(["one", "another"])]))
    assert setup.roles == ["judge", "reference"]
    (call,) = writer.calls
    assert WISH in call.messages[-1].text
    assert call.schema is not None


def test_questions_that_cannot_be_read_leave_everything_unscored() -> None:
    setup = FakeSetup()
    rating = rating_of(dsg(seeing(), writer=ScriptedModel(["I had rather not."])), setup)
    assert math.isnan(rating.value)
    assert rating.coverage is not None
    assert rating.coverage.reasons == {"questions unreadable": 3}
    assert setup.counts["unreadable questions"] == 1

    class Silent(ScriptedModel):
        def complete(self, request: Any, /) -> Any:
            raise Unanswered("no answer")

    lost = rating_of(dsg(seeing(), writer=Silent([])))
    assert lost.coverage is not None
    assert lost.coverage.reasons == {"questions lost after all retries": 3}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (SHEET, (Asked("Is there a dog?"), Asked("Is the dog brown?", (0,)), Asked("Is there a ball?"),
                 Asked("Is the dog beside the ball?", (0, 2)))),
        (SHEET[: SHEET.index('"parents": [1, 3]')], ()),
        ('{"questions": [{"id": 1, "question": "A?", "parents": [2, 1, 9]}, {"id": 2, "question": "B?"}]}',
         (Asked("A?"), Asked("B?"))),
        ("<think>{}</think> Here:\n1 | Is there a dog? |\n2 | Is it brown? | 1, 7\n",
         (Asked("Is there a dog?"), Asked("Is it brown?", (0,)))),
        ("nothing", ()),
        ('{"questions": [{"question": 3}, {"question": " "}, 5]}', ()),
    ],
)  # fmt: skip
def test_questions_are_read_tolerantly(reply: str, found: tuple[Asked, ...]) -> None:
    if not found and reply.startswith('{"questions": [{"id": 1, "question": "Is there'):
        assert [one.text for one in questions_in(reply)] == [one["question"] for one in QUESTIONS[:3]]
    else:
        assert questions_in(reply) == found


def test_no_more_questions_than_wanted() -> None:
    model = seeing(lambda question, n: False)
    rating_of(dsg(model, most=1))
    assert len(model.calls) == 1 + len(EXAMPLES)


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "start": "a dog",
        "data": Dataset("drawings", tuple(EXAMPLES[:2]), (), tuple(EXAMPLES[2:])),
        "target": Drawn(),
        "scorer": {"name": "dsg", "model": seeing(), "workers": 1},
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["a brown dog", "a ball"]}},
        "budget": 2,
        "watch": False,
        **more,
    }


def test_a_run_resumes_without_asking_again(tmp_path: Any) -> None:
    first = optimize(**recipe(run=tmp_path))
    dead = ScriptedModel([])
    again = optimize(**recipe(run=tmp_path, scorer={"name": "dsg", "model": dead, "workers": 1}))
    assert not dead.calls
    assert again.verdict == first.verdict
    assert again.costs.calls == first.costs.calls


def test_an_estimate_counts_questions_and_answers() -> None:
    found = estimate(prepare(recipe(run=None)))
    assert found.shares["reference"].expected.calls > 0
    assert found.shares["judge"].expected.calls > found.shares["reference"].expected.calls
