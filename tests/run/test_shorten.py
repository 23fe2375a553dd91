from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from promptopt.api import optimize, resume
from promptopt.core import Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers.bayes import Bayes
from promptopt.parts import parts_of, problem_with, text_of
from promptopt.record.story import Story
from promptopt.run.shorten import questions, shorten, shorter


def prompted(*start: str, problem: Any = lambda prompt: None) -> Any:
    return SimpleNamespace(start=[Prompt(text) for text in start], problem_with=problem)


def one_hole(prompt: Prompt) -> str | None:
    return None if all(line.count("{}") == 1 for line in prompt.text.splitlines()) and prompt.text else "no {}"


CLIP = prompted("a photo of a {}", problem=one_hole)


def shortened(text: str, score: Any, *, run: Any = CLIP, most: int = 100, phrases: Sequence[str] = ()) -> str:
    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        return [(prompt, Rating(score(prompt.text))) for prompt in prompts]

    best, rating, _ = shorten(Prompt(text), Rating(score(text)), shorter=shorter(run, phrases), rate=rate, most=most)
    assert rating.value == score(best.text) >= score(text)
    return best.text


# ── What goes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_does_not_pay_is_dropped_and_what_pays_stays() -> None:
    pays = "from a bank check"
    text = "charming {} from my collection from a bank check"
    assert shortened(text, lambda text: float(pays in text)) == "{} from a bank check"


def test_a_frame_leaves_its_article() -> None:
    text = "a rendition of a cheap handwritten {} once again"
    assert shortened(text, lambda text: float("handwritten" in text)) == "a handwritten {}"


def test_no_part_of_the_answer_can_go_without_its_rating_falling() -> None:
    def score(text: str) -> float:  # phrases that pay only together, and one that harms
        together = "lcd" in text and "on a display" in text
        return together + 0.5 * ("digit" in text) - 0.2 * ("angry" in text)

    left = shortened("a map of a angry lcd busy digit {} on a display for sale", score)
    assert left == "a lcd digit {} on a display"
    assert all(score(less) < score(left) for less in shorter(CLIP)(left) if less != "lcd digit {} on a display")


def test_words_that_no_vocabulary_has_go_in_spans() -> None:
    texts = shorter(CLIP)("a photo of a zebra, sketched by my own hand for {}")
    assert "a zebra, sketched by my own hand for {}" in texts
    for text in texts:
        assert text.count("{}") == 1
        assert not text.endswith((" by", " of"))
        assert "  " not in text
        assert " ," not in text


def test_the_lines_of_an_ensemble() -> None:
    text = "a blurry {}\na photo of a {}\na sketch of a {}"
    assert shortened(text, lambda text: float("blurry" in text)) == "a blurry {}"


def test_what_a_user_wrote_stays_and_sentences_are_never_cut() -> None:
    start = "Answer the question.\n- Never promise refunds."
    run = prompted(start)
    phrases = ["Be brief.", "Think step by step."]
    text = start + "\nBe brief. Think step by step."
    assert shortened(text, lambda text: 1.0, run=run, phrases=phrases).strip() == start
    assert shortened(text, lambda text: float("brief" in text), run=run, phrases=phrases).strip() == (
        start + "\nBe brief."
    )


def test_the_parts_of_a_prompt_are_shortened_one_by_one() -> None:
    start = {"rules": "Never lie. Be kind.", "instruction": "Answer."}

    def problem(prompt: Prompt) -> str | None:
        return problem_with(prompt.text, start=text_of(start), frozen=["rules"])

    run = prompted(text_of(start), problem=problem)
    long = text_of({**start, "instruction": "Be brief. Answer. Think first."})
    found = shortened(long, lambda text: float("Think first." in text), run=run)
    assert parts_of(found) == {**start, "instruction": "Answer. Think first."}
    both = text_of({"rules": "Never lie. Be brief. Be kind.", "instruction": "Answer."})
    free = prompted(text_of(start), problem=lambda prompt: problem_with(prompt.text, start=text_of(start)))
    assert parts_of(shortened(both, lambda text: 1.0, run=free)) == start


def test_clauses_of_a_list_without_a_full_stop() -> None:
    run = prompted("a cat")
    text = "a red cat, oil on canvas, highly detailed, at dawn"
    assert shortened(text, lambda text: float("cat" in text and "oil" in text), run=run) == "a red cat, oil on canvas"


def test_it_never_takes_a_text_that_the_target_refuses() -> None:
    run = prompted("a photo of a {}", problem=lambda p: one_hole(p) or (None if "digit" in p.text else "no digit"))
    assert "digit" in shortened("a photo of a wild digit {} on tour", lambda text: 1.0, run=run)


def test_unscored_answers_and_too_few_questions_change_nothing_for_the_worse() -> None:
    nan = float("nan")
    best, _, whole = shorten(
        Prompt("a wild {} on tour"),
        Rating(0.5),
        shorter=shorter(CLIP),
        rate=lambda ps: [(p, Rating(nan)) for p in ps],
        most=9,
    )
    assert best.text == "a wild {} on tour"
    assert whole
    asked: list[Prompt] = []

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        asked.extend(prompts)
        return [(prompt, Rating(0.5)) for prompt in prompts]

    _, _, whole = shorten(
        Prompt("a wild digit {} on tour for kids"), Rating(0.5), shorter=shorter(CLIP), rate=rate, most=3
    )
    assert len(asked) == 3
    assert not whole


def test_what_chance_may_have_brought_goes_and_what_clearly_pays_stays() -> None:
    """Of 160 images one depends on 'wild', twelve on 'digit'; without 'lcd' none is lost, but all are far less sure."""
    right = {"wild": 1, "digit": 12}

    def rated(text: str, *, tiebreak: float) -> Rating:
        hits = np.ones(160)
        for i, (word, count) in enumerate(right.items()):
            hits[20 * i : 20 * i + count] = word in text
        return Rating(float(hits.mean()), tiebreak * (1 + ("lcd" not in text)), per_example=hits)

    def shortened(tiebreak: float) -> str:
        def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
            return [(prompt, rated(prompt.text, tiebreak=tiebreak)) for prompt in prompts]

        text = "a wild lcd digit {}"
        first = rated(text, tiebreak=tiebreak)
        best, _, whole = shorten(Prompt(text), first, shorter=shorter(CLIP), rate=rate, most=20)
        assert whole
        return best.text

    assert shortened(-1.0) == "a lcd digit {}"
    assert shortened(0.0) == "a wild digit {}", "without a tiebreak no fall is chance"


def test_few_examples_tell_nothing_of_chance() -> None:
    def rating(text: str) -> Rating:
        hits = np.array([1.0] * 9 + [float("wild" in text)])
        return Rating(float(hits.mean()), per_example=hits)

    text = "a wild digit {}"
    rate = lambda prompts: [(prompt, rating(prompt.text)) for prompt in prompts]  # noqa: E731
    assert shorten(Prompt(text), rating(text), shorter=shorter(CLIP), rate=rate, most=20)[0].text == "a wild {}"


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Once:
    """Asks about one long prompt."""

    question = Rate

    def __init__(self, text: str = "a wild digit {} on tour") -> None:
        self.text = text

    def begin(self, setup: Any, /) -> None:
        self.left = [Rate(setup.start[0]), Rate(Prompt(self.text))]
        self.found = setup.start[0]

    def ask(self) -> list[Rate]:
        return [self.left.pop(0)] if self.left else []

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.found = answered[0][0].prompt

    def best(self) -> Prompt:
        return self.found


def run(folder: Path | None, **given: Any) -> Any:
    asked: list[str] = []

    def score(text: str) -> float:
        asked.append(text)
        return float("digit" in text)

    result = optimize(start="a photo of a {}", score=score, optimizer=Once(), run=folder, **given)
    return result, asked


def test_it_stands_between_search_and_verdict_inside_the_budget(tmp_path: Path) -> None:
    result, asked = run(tmp_path / "run", shorten=10, budget=30)
    assert result.best == "a digit {}" or result.best == "digit {}"
    assert result.costs.questions == len(asked) <= 12
    assert result.score(result.best) == 1.0
    assert any("Shortened" in note for note in result.notes)
    assert (tmp_path / "run/best.txt").read_text().strip() == result.best
    assert Story.read(tmp_path / "run").best == result.best


def test_it_is_off_by_default_where_nothing_came_in_by_chance() -> None:
    result, asked = run(None)
    assert result.best == "a wild digit {} on tour"
    assert len(asked) == 2


def test_it_is_replayed(tmp_path: Path) -> None:
    result, _ = run(tmp_path / "run", shorten=10)
    again: list[str] = []
    taken_up = resume(tmp_path / "run", score=lambda text: again.append(text) or 0.0, optimizer=Once())
    assert taken_up.best == result.best
    assert not again


def test_bayes_shortens_its_answer() -> None:
    result = optimize(
        start="a photo of a {}",
        score=lambda text: float("handwritten" in text) + float("digit" in text),
        optimizer={"name": "bayes", "phrases": {"adjectives": ["handwritten", "wild", "cold"], "nouns": ["digit"]}},
        budget=60,
        run=None,
    )
    assert sorted(set(result.best.split()) - {"a"}) == ["digit", "handwritten", "{}"]


@pytest.mark.parametrize(
    ("wanted", "budget", "kept"), [(None, 300, 20), (None, 50, 5), (None, None, 20), (0, 300, 0), (7, 300, 7)]
)
def test_questions_kept_back(wanted: int | None, budget: int | None, kept: int) -> None:
    assert questions(wanted, optimizer=Bayes(), budget=budget) == kept
    assert questions(wanted, optimizer=Once(), budget=budget) == (wanted or 0)


def test_a_budget_that_leaves_nothing_for_the_search() -> None:
    with pytest.raises(UserError, match="shorten"):
        run(None, shorten=10, budget=10)
    with pytest.raises(UserError, match="shorten is -1"):
        run(None, shorten=-1)


@pytest.mark.parametrize("n", [10, 200])
def test_the_tiebreak_says_what_pays_where_all_are_right(n: int) -> None:
    """Every image is right with any template; without 'digit' the log-probability falls by half of its size."""

    def rating(text: str) -> Rating:
        return Rating(1.0, -1.0 - 0.5 * ("digit" not in text) - 0.05 * ("wild" not in text), per_example=np.ones(n))

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        return [(prompt, rating(prompt.text)) for prompt in prompts]

    text = "a wild digit {}"
    best, _, _ = shorten(Prompt(text), rating(text), shorter=shorter(CLIP), rate=rate, most=20)
    assert best.text == "a digit {}"


def test_with_views_a_few_examples_may_lose_half_of_one() -> None:
    values = {"fine big {}": 0.95, "big {}": 0.91, "fine {}": 0.89, "{}": 0.5}

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        return [(prompt, rated(prompt.text)) for prompt in prompts]

    def rated(text: str) -> Rating:
        return Rating(values[text], -0.3, np.full(10, values[text]))

    for slack, left in ((0.0, "fine big {}"), (0.05, "big {}")):
        best, rating, whole = shorten(
            Prompt("fine big {}"), rated("fine big {}"), shorter=shorter(CLIP), rate=rate, most=20, within=slack
        )
        assert (best.text, rating.value, whole) == (left, values[left], True)


def test_the_falls_of_several_drops_do_not_add_up() -> None:
    values = {"fine big old {}": 0.95, "big old {}": 0.92, "old {}": 0.89}

    def rated(text: str) -> Rating:
        return Rating(values.get(text, 0.0), -0.3, np.full(10, values.get(text, 0.0)))

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        return [(prompt, rated(prompt.text)) for prompt in prompts]

    first = "fine big old {}"
    best, _, _ = shorten(Prompt(first), rated(first), shorter=shorter(CLIP), rate=rate, most=20, within=0.05)
    assert best.text == "big old {}"


def test_a_search_that_ended_by_time_has_its_answer_shortened_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("promptopt.run.budget.time", SimpleNamespace(monotonic=lambda: clock["now"]))

    def score(prompt: str) -> float:
        clock["now"] += 10
        return float("photo" in prompt)

    result = optimize(
        start="a photo of a {}",
        score=score,
        optimizer={"name": "random-search", "pool": "grammar"},
        budget={"questions": 1_000, "seconds": 25},
        shorten=10,
        run=None,
    )
    assert result.stop_reason == "budget: seconds"
    assert not [note for note in result.notes if "cut short" in note]
    assert [step for step in result.steps if step.stage == "shorten"]
