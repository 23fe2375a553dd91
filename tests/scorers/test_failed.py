"""What the prompt brings about counts, on every metric; what fails for outside reasons does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptopt
from promptopt.attachments import picture_file
from promptopt.core import (
    Case,
    Coverage,
    Example,
    Failed,
    FailedRule,
    Mark,
    Metric,
    Missing,
    Picture,
    Prompt,
    Rate,
    Rating,
)
from promptopt.errors import UserError
from promptopt.metrics.answers import MultipleChoice, Numeric
from promptopt.metrics.classification import Accuracy, LogProbability, Margin
from promptopt.metrics.code import Code
from promptopt.metrics.function import FunctionMetric
from promptopt.metrics.schema import JsonSchema
from promptopt.metrics.similarity import Similarity
from promptopt.metrics.text import (
    Contains,
    ExactMatch,
    Match,
    Regex,
    SetF1,
    SetMatch,
    TokenF1,
    instruction_induction,
)
from promptopt.record.story import Story
from promptopt.registry import TABLE
from promptopt.scorers import MetricScorer
from promptopt.scorers.cases import LONGEST
from promptopt.scorers.task_loss import TaskLoss
from promptopt.targets.local_lm import Reasoned

CUT = "cut at max_tokens = 5"
ROW = np.log([0.9, 0.1])


def letters(texts: Sequence[str]) -> Any:
    return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=float)


def spelled(output: str, example: Example) -> float | Mark:
    return Mark(None, f"not spelled: {output!r}", failed=True) if "-" in output else float(output == example.label)


class Given:
    """A target that gives the outputs it was made with."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = outputs

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [self.outputs[example.input] for example in examples]


def rated(metric: Metric, label: Any, *outputs: Any, failed: FailedRule = "worst", cases: bool = False) -> Rating:
    examples = [Example(f"e{i}", i, label) for i in range(len(outputs))]
    scorer = MetricScorer(target=Given(*outputs), metric=metric, examples=examples, failed=failed)
    (rating,) = scorer.answer([Rate(Prompt("p"), cases=cases)])
    return rating


class OfMetric:
    """One metric: how it is made, an output that it gives its best, one in which it finds nothing, its worst value."""

    def __init__(
        self, make: Any, label: Any, right: Any, *, best: float = 1.0, unreadable: Any = None, worst: float = 0
    ):
        self.make, self.label, self.right, self.best = make, label, right, best
        self.unreadable, self.worst = unreadable, worst


CLASSES = {"classes": ["cat", "dog"]}
TESTS = "assert double(2) == 4"
CODE = "```python\ndef double(x):\n    return 2 * x\n```"
METRICS = {
    "accuracy": OfMetric(lambda: Accuracy(**CLASSES), "cat", ROW),
    "accuracy, texts": OfMetric(lambda: Accuracy(**CLASSES), "cat", "Cat", unreadable="a bird"),
    "log-probability": OfMetric(lambda: LogProbability(**CLASSES), "cat", ROW, best=ROW[0], worst=-100),
    "margin": OfMetric(lambda: Margin(**CLASSES), "cat", ROW, best=ROW[0] - ROW[1], worst=-100),
    "exact-match": OfMetric(ExactMatch, "Yes", "Yes"),
    "match": OfMetric(Match, "yes", "Yes."),
    "contains": OfMetric(Contains, "yes", "Well, yes."),
    "set-match": OfMetric(SetMatch, "a cat", "cat a"),
    "set-f1": OfMetric(SetF1, "cat", "cat"),
    "token-f1": OfMetric(TokenF1, "cat", "cat"),
    "instruction-induction": OfMetric(lambda: instruction_induction(task="antonyms"), "up", "up"),
    "regex": OfMetric(lambda: Regex(pattern="^yes"), None, "yes"),
    "regex, group": OfMetric(lambda: Regex(pattern="is (.+)", group=1), "up", "it is up", unreadable="up"),
    "numeric": OfMetric(Numeric, "42", "so 42", unreadable="forty-two"),
    "multiple-choice": OfMetric(MultipleChoice, "(B)", "(B)", unreadable="B or C"),
    "json-schema": OfMetric(lambda: JsonSchema(schema={"type": "object"}), None, "{}", unreadable="none"),
    "code": OfMetric(Code, TESTS, CODE, unreadable="I cannot do that."),
    "similarity": OfMetric(lambda: Similarity(encoder=letters), "silent", "listen", unreadable="123", worst=-1),
    "function": OfMetric(lambda: FunctionMetric(function=spelled), "up", "up", unreadable="u-p"),
}
ANY_METRIC = pytest.mark.parametrize("name", METRICS)
READERS = pytest.mark.parametrize("name", [name for name, of in METRICS.items() if of.unreadable is not None])


# What these make of failed outputs stands in tests/metrics/pictures and in tests/metrics/test_dspy.py.
ELSEWHERE = {"clip-similarity", "pick-score", "hps", "aesthetic", "compressed-size", "palette", "dspy"}


def test_the_table_below_is_whole() -> None:
    assert {name.partition(",")[0] for name in METRICS} | ELSEWHERE == set(TABLE["metrics"])


@ANY_METRIC
def test_refused_and_empty_outputs_count_as_the_worst_value(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, Failed("refused"), Failed("empty"), of.right)
    assert rating.per_example == pytest.approx([of.best, of.worst, of.worst, of.best])
    assert rating.value == pytest.approx((of.best + of.worst) / 2)
    assert rating.coverage == Coverage(4, 4, 2, {"refused": 1, "empty": 1})


@ANY_METRIC
def test_what_fails_for_outside_reasons_is_unscored(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, None)
    assert rating.per_example == pytest.approx([of.best, math.nan], nan_ok=True)
    assert rating.value == pytest.approx(of.best)
    assert rating.coverage == Coverage(2, 1, 0, {"no output": 1})


@ANY_METRIC
def test_a_missing_output_says_why(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, Missing("lost: HTTP 500"), cases=True)
    assert rating.per_example == pytest.approx([of.best, math.nan], nan_ok=True)
    assert rating.coverage == Coverage(2, 1, 0, {"lost": 1})
    assert "lost: HTTP 500" in rating.feedback
    assert (rating.cases[1].output, rating.cases[1].reason) == (None, "lost: HTTP 500")


@ANY_METRIC
def test_nothing_but_outside_reasons_is_no_score(name: str) -> None:
    rating = rated(METRICS[name].make(), METRICS[name].label, None, None)
    assert math.isnan(rating.value)
    assert rating.coverage == Coverage(2, 0, 0, {"no output": 2})


@READERS
def test_an_unreadable_output_counts_as_the_worst_value(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, of.unreadable)
    assert rating.per_example == pytest.approx([of.best, of.worst])
    assert rating.coverage is not None
    assert (rating.coverage.scored, rating.coverage.failed) == (2, 1)
    assert len(rating.coverage.reasons) == 1


@pytest.mark.parametrize("name", [name for name in METRICS if isinstance(METRICS[name].right, str)])
def test_a_cut_off_text_is_read_and_has_failed_only_if_it_cannot_be(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, Failed(CUT, of.right, cut=True), Failed(CUT, of.unreadable or "#", cut=True))
    assert rating.per_example == pytest.approx([of.best, of.worst])
    assert rating.coverage == Coverage(2, 2, 1, {CUT: 1})


@pytest.mark.parametrize("name", [name for name in METRICS if isinstance(METRICS[name].right, str)])
def test_a_blank_text_has_failed(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, " \n")
    assert rating.per_example == pytest.approx([of.best, of.worst])
    assert rating.coverage is not None
    assert rating.coverage.failed == 1


def test_a_blank_text_that_is_right_is_right() -> None:
    rating = rated(ExactMatch(), "", "", "x")
    assert rating.per_example == pytest.approx([1.0, 0.0])
    assert rating.coverage == Coverage(2, 2)


def test_the_answer_within_a_cut_off_sentence() -> None:
    rating = rated(Contains(), "positive", Failed(CUT, "The sentiment of the review is positive. The rev", cut=True))
    assert (rating.value, rating.coverage) == (1.0, Coverage(1, 1))


def test_an_answer_in_a_refusal_does_not_count() -> None:
    rating = rated(Contains(), "positive", Failed("refused", "I will not say positive."), cases=True)
    assert (rating.value, rating.coverage) == (0.0, Coverage(1, 1, 1, {"refused": 1}))
    assert rating.cases == (Case("e0", "I will not say positive.", 0.0, "refused"),)


@ANY_METRIC
def test_failed_outputs_may_be_left_out(name: str) -> None:
    of = METRICS[name]
    rating = rated(of.make(), of.label, of.right, Failed("refused"), None, failed="leave-out")
    assert rating.per_example == pytest.approx([of.best, math.nan, math.nan], nan_ok=True)
    assert rating.coverage == Coverage(3, 1, 0, {"refused": 1, "no output": 1})


def test_left_out_unless_the_metric_has_a_number_for_them() -> None:
    assert math.isnan(rated(Numeric(), "1", "one", failed="leave-out").value)
    rating = rated(JsonSchema(schema={}), None, "none", failed="leave-out")
    assert (rating.value, rating.coverage) == (0, Coverage(1, 1, 1, {"no JSON": 1}))


def test_breaking_replies_does_not_pay() -> None:
    """45 of 50 refused was rated 1.000 and beat 40 of 50 right."""
    breaks = rated(Match(), "yes", *["yes"] * 5, *[Failed("refused")] * 45)
    honest = rated(Match(), "yes", *["yes"] * 40, *["no"] * 10)
    assert (breaks.value, honest.value) == (0.1, 0.8)
    assert honest.rank > breaks.rank


def test_reasons_are_counted_by_what_they_have_in_common_and_never_many() -> None:
    rating = rated(
        Numeric(), "1", *(f"none {'x' * i}" for i in range(3)), Failed("HTTP 400: no cats"), Failed("HTTP 400")
    )
    assert rating.coverage == Coverage(5, 5, 5, {"no number": 3, "HTTP 400": 2})
    rating = rated(Numeric(), "1", *(Failed(f"reason {i % 8}") for i in range(10)))
    assert rating.coverage is not None
    assert len(rating.coverage.reasons) == 5
    assert sum(rating.coverage.reasons.values()) == 10


def test_a_metric_that_gives_less_than_its_worst_value_is_refused() -> None:
    def minus_distance(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
        return [-3.0 for _ in outputs]

    with pytest.raises(UserError, match=r"minus_distance gave -3 for example 'e0'.*attribute `worst`"):
        rated(minus_distance, None, "x")
    assert rated(minus_distance, None, "x", failed="leave-out").value == -3
    minus_distance.worst = -10.0  # type: ignore[attr-defined]
    assert rated(minus_distance, None, "x", Failed("refused")).value == -6.5


@pytest.mark.parametrize(("named", "expected"), [(-4.0, -2.0), (None, 0.0)])
def test_the_tiebreak_follows_the_rule_where_it_names_a_worst_value(named: float | None, expected: float) -> None:
    def zero(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
        return [None if output is None else 0.0 for output in outputs]

    zero.worst = named  # type: ignore[attr-defined]
    examples = [Example(str(i), i, "x") for i in range(2)]
    scorer = MetricScorer(target=Given("x", Failed("empty")), metric=Match(), examples=examples, tiebreak=zero)
    assert next(scorer.answer([Rate(Prompt("p"))])).tiebreak == expected


def test_an_array_of_rows_reaches_the_metric_as_it_is() -> None:
    rows = np.stack([ROW, [np.nan, np.nan]])

    class Rows(Given):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Any:
            return rows

    seen = []

    class Watching(Accuracy):
        def __call__(self, outputs: Any, examples: Any, /) -> Any:
            seen.append(outputs)
            return super().__call__(outputs, examples)

    examples = [Example("a", 0, "cat"), Example("b", 1, "cat")]
    (rating,) = MetricScorer(target=Rows(), metric=Watching(**CLASSES), examples=examples).answer([Rate(Prompt("p"))])
    assert seen[0] is rows
    assert rating.coverage == Coverage(2, 1, 0, {"no value": 1})


# ── The local LM ──────────────────────────────────────────────────────────────────────────────────────────────────


def reasoned(text: str, loss: float) -> Reasoned:
    output = Reasoned(text)
    output.loss, output.nll = loss, 0.0
    return output


@pytest.mark.parametrize(
    ("select", "expected"), [("mix", (0.5, -2.0)), ("accuracy", (0.5, 0.0)), ("loss", (-2.0, 0.0))]
)
def test_task_loss_counts_an_empty_answer_as_wrong_and_keeps_its_loss(select: Any, expected: tuple[float, ...]) -> None:
    examples = [Example("a", 0, "yes"), Example("b", 1, "yes")]
    target = Given(reasoned("yes", 1.0), reasoned("", 3.0))
    (rating,) = TaskLoss(target=target, examples=examples, select=select).answer([Rate(Prompt("p"))])
    assert (rating.value, rating.tiebreak) == expected
    assert rating.coverage is not None
    assert rating.coverage.scored == 2
    assert rating.coverage.failed == (select != "loss")


def test_a_loss_beyond_all_bounds_counts_as_100() -> None:
    scorer = TaskLoss(target=Given(reasoned("yes", math.inf)), examples=[Example("a", 0, "yes")], select="loss")
    assert next(scorer.answer([Rate(Prompt("p"))])).value == -100


# ── Cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cases_stand_in_the_order_asked_and_only_where_asked() -> None:
    outputs = ["42", "43", "none", None, Failed(CUT, "So it", cut=True)]
    rating = rated(Numeric(), "42", *outputs, cases=True)
    assert rating.cases == (
        Case("e0", "42", 1.0, ""),
        Case("e1", "43", 0.0, "expected '42', got '43'"),
        Case("e2", "none", 0.0, "no number: 'none'"),
        Case("e3", None, pytest.approx(math.nan, nan_ok=True), "no output"),
        Case("e4", "So it", 0.0, CUT),
    )
    assert rated(Numeric(), "42", *outputs).cases == ()


def test_outputs_are_told_in_few_words() -> None:
    picture = Picture(b"\x89PNG" + b"x" * 2_000_000)
    outputs = ["y" * 5_000, picture, {"a": [1]}, np.zeros((8, 8, 3), dtype=np.uint8), 7]
    rating = rated(lambda o, e: [1.0] * len(o), None, *outputs, cases=True)
    told = [case.output for case in rating.cases]
    assert told[0] == "y" * (LONGEST - 1) + "…"
    assert told[1] == picture_file(picture)
    assert told[2:] == ['{"a": [1]}', "ndarray of 8 x 8 x 3", "7"]
    assert LONGEST == 2_000


def told_by_a_run(folder: Path, *, examples: int, **options: Any) -> Rating:
    """The rating of the one prompt that a run rates, as its record has it."""
    promptopt.optimize(
        start="a",
        target=lambda prompt, text: "z" * 3_000,
        data=[(str(n), "y") for n in range(examples)],
        metric="exact-match",
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["a"]}},
        verdict=False,
        watch=False,
        budget=9,
        run=folder,
        **options,
    )
    return Story.read(folder).rated[-1].rating


@pytest.mark.parametrize("length", [7, 500])
def test_the_recipe_says_how_much_is_told(tmp_path: Path, length: int) -> None:
    cases = told_by_a_run(tmp_path, examples=30, cases=True, case_length=length).cases
    assert {case.output for case in cases} == {"z" * (length - 1) + "…"}
    assert {len(case.reason) <= length for case in cases} == {True}


def test_nothing_can_be_told_in_no_characters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="case_length"):
        told_by_a_run(tmp_path, examples=30, case_length=0)


def test_a_thousand_cases_add_no_more_than_their_own_bytes(tmp_path: Path) -> None:
    told_by_a_run(tmp_path / "without", examples=2_000)
    cases = told_by_a_run(tmp_path / "with", examples=2_000, cases=True).cases
    assert len(cases) >= 1_000
    own = sum(len(f"{case.example}{case.output}{case.reason}".encode()) for case in cases)
    without, with_them = ((tmp_path / name / "ledger.jsonl").stat().st_size for name in ("without", "with"))
    assert 0 < with_them - without - own < 30 * len(cases)  # quotes, commas and the number


def test_a_classifiers_row_is_told_as_its_class() -> None:
    rating = rated(Accuracy(**CLASSES), "cat", ROW, ROW[::-1], cases=True)
    assert [case.output for case in rating.cases] == ["cat", "dog"]


def test_an_infinite_mark_does_not_drop_out_of_the_mean() -> None:
    def logarithm(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
        return [0.5 if output == "right" else -math.inf for output in outputs]

    rating = rated(logarithm, "right", "right", "wrong", failed="leave-out")
    assert rating.value == -math.inf  # the run keeps it as unscored, and never as 0.5
