"""An LLM judge that prefers one of two."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from promptopt.core import (
    Choice,
    Coverage,
    Duel,
    Example,
    Failed,
    Message,
    Missing,
    Preference,
    Prompt,
    Rate,
    Reply,
    Usage,
)
from promptopt.errors import NothingUsable, Unanswered, UserError
from promptopt.scorers import WinRate
from promptopt.scorers.judge import JudgeReport
from promptopt.scorers.judge.duel import JudgeDuel
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import ScorerContract

EXAMPLES = [Example(f"e{i}", f"question {i}", "label") for i in range(6)]


class Table:
    """Outputs what stands in a table for prompt and example, or else both as text."""

    def __init__(self, table: dict[str, Any] | None = None) -> None:
        self.table = table or {}

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [
            self.table.get(prompt.text + e.id, self.table.get(prompt.text, f"{prompt.text} {e.id}")) for e in examples
        ]


def shown(messages: Sequence[Message]) -> tuple[str, str]:
    """The two outputs, in the order shown."""
    quoted = messages[-1].text.split("[begin ")[-2:]
    first, second = (one.partition("]\n")[2].partition("\n[end ")[0] for one in quoted)
    return first, second


def judge(prefer: Callable[[str, str], str]) -> ScriptedModel:
    """A judge that says first, second or tie of two outputs."""
    return ScriptedModel(lambda messages: json.dumps({"critique": "so", "better": prefer(*shown(messages))}))


def likes(word: str) -> Callable[[str, str], str]:
    return lambda one, other: "first" if word in one else "second" if word in other else "tie"


def longest(one: str, other: str) -> str:
    return "first" if len(one) > len(other) else "second"


def duel(model: ScriptedModel, table: dict[str, Any] | None = None, **options: Any) -> tuple[Preference, JudgeDuel]:
    scorer = JudgeDuel(model=model, target=Table(table), examples=EXAMPLES, **{"workers": 1, **options})
    scorer.begin(FakeSetup())
    (answer,) = scorer.answer([Duel(Prompt("good"), Prompt("bad"), number=3)])
    return answer, scorer


class TestContract(ScorerContract):
    def make(self) -> JudgeDuel:
        return JudgeDuel(model=judge(longest), target=Table(), examples=EXAMPLES, n_examples=3)


class TestContractAsRatings(ScorerContract):
    def make(self) -> WinRate:
        return WinRate(scorer=JudgeDuel(model=judge(likes("drawing")), target=Table(), examples=EXAMPLES))


def test_the_better_one_wins_from_either_side() -> None:
    for word, winner in (("good", "a"), ("bad", "b"), ("other", "tie")):
        answer, scorer = duel(judge(likes(word)))
        assert answer.winner == winner
        assert scorer.report().consistent == 1.0


def test_a_liking_for_a_position_is_a_tie_and_reported() -> None:
    answer, scorer = duel(judge(lambda one, other: "first"))
    assert answer.winner == "tie"
    report = scorer.report()
    assert (report.compared, report.consistent, report.position_bias, report.length_bias) == (4, 0.0, 1.0, None)
    assert duel(judge(lambda one, other: "second"))[1].report().position_bias == 0.0


def test_both_orders_are_asked_of_every_example() -> None:
    model = judge(likes("good"))
    duel(model, n_examples=2)
    pairs = [shown(call.messages) for call in model.calls]
    assert len(pairs) == 4
    assert pairs[0] == pairs[1][::-1]
    assert pairs[2] == pairs[3][::-1]
    assert len({call.seed for call in model.calls}) == 4


def test_an_order_that_cannot_be_read_leaves_the_pair_out() -> None:
    model = ScriptedModel(['{"better": "first"}', "hm"] * 4)
    answer, scorer = duel(model)
    assert answer.winner == "unknown"
    assert (scorer.report().unread, scorer.report().compared) == (4, 0)


def test_one_readable_pair_decides() -> None:
    replies: list[str | Reply] = [
        "hm",
        "hm",
        '{"better": "second"}',
        '{"better": "first"}',
        *[Reply("", "refusal")] * 4,
    ]
    answer, scorer = duel(ScriptedModel(replies))
    assert answer.winner == "b"
    assert scorer.report().unread == 6


def test_repeats_must_agree() -> None:
    agreed = ['{"better": "first"}'] * 2 + ['{"better": "second"}'] * 2
    answer, scorer = duel(ScriptedModel(agreed), n_examples=1, repeats=2, temperature=1.0)
    assert (answer.winner, scorer.report().self_agreement) == ("a", 1.0)
    torn = ['{"better": "first"}', '{"better": "second"}', '{"better": "second"}', '{"better": "second"}']
    answer, scorer = duel(ScriptedModel(torn), n_examples=1, repeats=2, temperature=1.0)
    assert (answer.winner, scorer.report().self_agreement) == ("tie", 0.5)


def test_equal_outputs_and_equal_prompts_are_ties_for_free() -> None:
    model = judge(likes("good"))
    assert duel(model, {"good": "same", "bad": "same"})[0].winner == "tie"
    scorer = JudgeDuel(model=model, target=Table(), examples=EXAMPLES)
    scorer.begin(FakeSetup())
    assert list(scorer.answer([Duel(Prompt("x"), Prompt("x"), number=0)])) == [Preference("tie")]
    assert not model.calls


def test_a_missing_output_is_not_judged() -> None:
    table = {f"bade{i}": None for i in range(6)}
    assert duel(judge(likes("good")), table)[0].winner == "unknown"


def test_the_length_bias_is_reported() -> None:
    _, scorer = duel(judge(longest))
    assert scorer.report().length_bias == 1.0
    _, scorer = duel(judge(likes("bad")))
    assert scorer.report().length_bias == 0.0


def test_length_control_weighs_both_sides_alike() -> None:
    """``good`` is longer on 4 of 6 examples; the judge likes whatever is longer, and ``bad`` once more."""
    table = {f"good{e.id}": "good " + "x" * (20 if i < 4 else 1) for i, e in enumerate(EXAMPLES)}
    table |= {f"bad{e.id}": "bad " + "x" * 9 for e in EXAMPLES}
    table["bade0"] = "bad best"

    def prefer(one: str, other: str) -> str:
        return likes("best")(one, other) if "best" in one + other else longest(one, other)

    assert duel(judge(prefer), table, n_examples=6)[0].winner == "tie"  # 3 to 3 by count
    answer, scorer = duel(judge(prefer), table, n_examples=6, length_control=True)
    assert answer.winner == "b"  # (2 / 4 - 2 / 2) / 2
    assert "Length is no merit" in scorer._rules.text


def test_length_that_cannot_be_controlled_is_counted() -> None:
    setup = FakeSetup()
    scorer = JudgeDuel(model=judge(longest), target=Table(), examples=EXAMPLES, length_control=True)
    scorer.begin(setup)
    assert list(scorer.answer([Duel(Prompt("longer"), Prompt("bad"), number=0)])) == [Preference("a")]
    assert setup.counts["judge: one prompt always longer, length not controlled"] == 1


def test_examples_are_drawn_by_the_number_of_the_question() -> None:
    model = judge(longest)
    scorer = JudgeDuel(model=model, target=Table(), examples=EXAMPLES, n_examples=2, workers=1)
    scorer.begin(FakeSetup())
    for number in (0, 0, 1, 2, 3, -1):
        list(scorer.answer([Duel(Prompt("x"), Prompt("longer"), number=number)]))
    asked = [tuple(shown(call.messages)) for call in model.calls]
    rounds = [asked[i : i + 4] for i in range(0, len(asked), 4)]
    assert rounds[0] == rounds[1]
    assert len(set(map(tuple, rounds[1:]))) > 1


def test_outputs_that_are_pictures() -> None:
    image = pytest.importorskip("PIL.Image")
    table = {"good": image.new("RGB", (2, 2), "red"), "bad": image.new("RGB", (2, 2), "blue")}
    model = ScriptedModel(['{"better": "first"}', '{"better": "second"}'] * 4)
    answer, scorer = duel(model, table, length_control=True)
    assert answer.winner == "a"
    first, second = (call.messages[-1].pictures for call in model.calls[:2])
    assert len(first) == 2
    assert first == second[::-1]
    assert scorer.report().length_bias is None


def test_the_report_can_be_had_from_the_counts_of_a_result() -> None:
    setup = FakeSetup()
    scorer = JudgeDuel(model=judge(longest), target=Table(), examples=EXAMPLES)
    scorer.begin(setup)
    list(scorer.answer([Duel(Prompt("longer"), Prompt("bad"), number=0)]))
    assert setup.counts
    assert JudgeReport.of(setup.counts) == scorer.report()
    assert JudgeReport.of({}) == JudgeReport(0, None, None, None, None, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"n_examples": 0}, "n_examples is 0"), ({"examples": ()}, "no examples"), ({"repeats": 3}, "temperature 0")],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        JudgeDuel(**{"model": ScriptedModel([]), "target": Table(), "examples": EXAMPLES, **options})


# ── Failed outputs ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failed", [Failed("refused"), "  ", Failed("cut at max_tokens = 5", "It", cut=True)])
def test_a_failed_output_loses_against_a_usable_one_and_ties_with_another(failed: Any) -> None:
    model = judge(likes("bad"))
    answer, _ = duel(model, {"bad": failed})
    assert answer.winner == "a"
    reason = failed.reason if isinstance(failed, Failed) else "empty"
    assert answer.details == {"pairs": 4, "counted": 4, "reasons": {reason: 4}}
    answer, _ = duel(model, {"good": failed})
    assert answer.winner == "b"
    answer, _ = duel(model, {"good": Failed("refused"), "bad": failed})
    assert answer.winner == "tie"
    assert model.calls == []


def test_failed_outputs_may_be_left_out() -> None:
    answer, _ = duel(judge(likes("bad")), {"bad": Failed("refused")}, failed="leave-out")
    assert (answer.winner, answer.details["reasons"]) == ("unknown", {"refused": 4})


def test_an_undecided_duel_says_why() -> None:
    answer, _ = duel(ScriptedModel(lambda messages: "hm"))
    assert (answer.winner, answer.details["reasons"]) == ("unknown", {"verdicts unreadable": 4})
    answer, _ = duel(judge(likes("good")))
    assert answer.details == {}


def test_a_duel_that_the_judge_could_not_answer_is_unknown_and_says_why() -> None:
    def broken(messages: Sequence[Message]) -> str:
        raise Unanswered("m: busy (HTTP 529)")

    answer, _ = duel(ScriptedModel(broken))
    assert (answer.winner, answer.details["reasons"]) == ("unknown", {"verdicts lost after all retries": 4})


def test_one_lost_verdict_leaves_its_pair_out() -> None:
    calls = 0

    def reply(messages: Sequence[Message]) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unanswered("m: busy")
        return json.dumps({"better": likes("good")(*shown(messages))})

    answer, _ = duel(ScriptedModel(reply))
    assert answer.winner == "a"
    assert answer.details == {"pairs": 4, "counted": 3, "reasons": {"verdicts lost after all retries": 1}}


def test_an_output_that_is_missing_is_not_judged_and_says_why() -> None:
    answer, _ = duel(judge(likes("good")), {"good": Missing("requests lost: HTTP 500")})
    assert (answer.winner, answer.details["reasons"]) == ("unknown", {"requests lost": 4})


def test_a_judge_that_is_never_read_ends_the_run_with_reason_and_remedy() -> None:
    import promptopt

    scorer = JudgeDuel(model=ScriptedModel(lambda messages: "hm"), target=Table(), examples=EXAMPLES)
    with pytest.raises(NothingUsable, match=r"of 3 different duels.*12 of 12 verdicts unreadable.*probabilities"):
        promptopt.optimize(start="start", scorer=scorer, optimizer=Pairs(), budget=3, run=None)


class Pairs:
    """Asks for one duel after another."""

    question = Duel

    def begin(self, setup: Any, /) -> None:
        self.asked = 0

    def ask(self) -> list[Duel]:
        self.asked += 1
        return [Duel(Prompt("start"), Prompt(f"other {self.asked}"))]

    def tell(self, answered: Any, /) -> None: ...

    def best(self) -> Prompt:
        return Prompt("start")


# ── Probabilities ─────────────────────────────────────────────────────────────────────────────────────────────────


class Biased:
    """A model that mostly thinks that the first output is better, a little less so where it is the bad one."""

    name = "biased"

    def complete(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("nothing is to be written")

    at_most = complete

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        return Usage(1, 10)

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        first = 0.9 if "good" in shown(messages)[0] else 0.8
        shares = {"first": first, "second": 0.95 - first, "tie": 0.05}
        return Choice(tuple(math.log(shares[option]) if option in shares else -math.inf for option in options))


def test_what_probabilities_say_beyond_a_liking_for_a_position_decides() -> None:
    answer, scorer = duel(Biased(), read="probabilities")  # type: ignore[arg-type]
    assert answer.winner == "a"
    assert (scorer.report().position_bias, scorer.report().consistent) == (1.0, 0.0)
    scorer = JudgeDuel(model=Biased(), target=Table(), examples=EXAMPLES, read="probabilities")  # type: ignore[arg-type]
    scorer.begin(FakeSetup())
    (answer,) = scorer.answer([Duel(Prompt("bad"), Prompt("good"), number=3)])
    assert answer.winner == "b"


def test_probabilities_need_a_model_that_has_them() -> None:
    with pytest.raises(UserError, match="does not say how likely words are"):
        JudgeDuel(model=judge(longest), target=Table(), examples=EXAMPLES, read="probabilities")


def test_a_win_rate_says_why_duels_were_not_decided() -> None:
    judge_duel = JudgeDuel(model=ScriptedModel(lambda messages: "hm"), target=Table(), examples=EXAMPLES)
    scorer = WinRate(scorer=judge_duel, reference="start")
    scorer.begin(FakeSetup())
    (rating,) = scorer.answer([Rate(Prompt("other"), number=0)])
    assert rating.coverage == Coverage(2, 0, 0, {"verdicts unreadable": 2})
