"""Readable answers: after the search, parts that do not pay are dropped from the best prompt.

A search leaves words in a prompt that do nothing for its rating, or no more than chance does: of 300 prompts the best
rated owes some of its rating to luck. Here each part of the answer is left out in turn, and the part goes if the rating
does not fall without it. From "a blurry photo of a {} at night", for example, "blurry" may go, and then "at night"; the
answer is "a photo of a {}" if no single part of that can go without a fall. (That is 1-minimal in the words of Zeller
and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 2002, whose minimising delta debugging begins
with larger pieces.)

What counts as a fall, against the rating of the prompt that was to be shortened:

- Everywhere: the tiebreak, such as log-probability, falls by more than a tenth of its size. By the rating alone, which
  is right or wrong for each example, accuracy on held-out images fell, both with ten images (experiments/liu2024) and
  with 160 and one or more standard errors (experiments/hill_climb).
- With fewer than 30 examples: the rating is lower than that, or than the rating of the best so far. Where examples are
  rated in several views, nearly every word moves a rating a little; it must then be lower by more than half an example.
- With 30 examples or more: the rating is lower by more than 1.5 standard errors of the paired difference (a rule of
  Breiman et al., *Classification and Regression Trees*, 1984, with one). Without a tiebreak, any lower one is a fall.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core import Prompt, Prompted, Rating, Shortens
from ..parts import parts_of, text_of
from ..vocabulary import is_template
from ..vocabulary.phrases import PLACEHOLDER, Phrases
from ..vocabulary.units import Units, bare

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["QUESTIONS", "questions", "shorten", "shorter"]

QUESTIONS = 20  # so many are kept back at the most where the optimizer wants its answer shortened,
SHARE = 10  # and at the most one in ten of the budget
ERRORS = 1.5  # standard errors by which a rating may be lower, where there is a tiebreak that does not fall
FEWEST = 30  # with fewer examples a standard error says little
SLACK = 0.1  # of the tiebreak's size, by which it may fall
LINKS = frozenset("about after and as at before by for from in into near of on or over to under with without".split())
ARTICLES = frozenset({"a", "an", "the"})

Shorter = Callable[[str], list[str]]
Rater = Callable[[Sequence[Prompt]], list[tuple[Prompt, Rating]]]


def questions(wanted: int | None, *, optimizer: object, budget: int | None) -> int:
    """How many questions are kept back.

    Args:
        wanted: the user's number; None leaves it to the optimizer. An optimizer that puts prompts together by chance
            has ``shortens = True``; one whose prompts an LLM writes has not, since they are readable already.
        optimizer: of the run.
        budget: its questions; None means no limit.
    """
    if wanted is not None:
        return wanted
    if not (isinstance(optimizer, Shortens) and optimizer.shortens):
        return 0
    return QUESTIONS if budget is None else min(QUESTIONS, budget // SHARE)


def shorten(
    best: Prompt,
    rating: Rating,
    *,
    shorter: Shorter,
    rate: Rater,
    most: int,
    known: Mapping[Prompt, Rating] | None = None,
    errors: float = ERRORS,
    slack: float = SLACK,
    within: float = 0.0,
) -> tuple[Prompt, Rating, bool]:
    """Drop parts for as long as the rating does not fall.

    In each round, every prompt that lacks one part of the best one is rated. Of those whose rating has not fallen, the
    highest rated becomes the best, and of equals the shorter one; the rounds end when there is none.

    Args:
        best: the prompt to shorten.
        rating: its rating, with a value.
        shorter: gives all texts that a text can become by dropping one part.
        rate: gives ratings; may give fewer than asked.
        most: how many ratings it may be asked for, over all rounds.
        known: ratings that need not be asked for.
        errors: by how many standard errors of the paired difference the rating may be lower.
        slack: by what share of its size the tiebreak may be lower.
        within: by how much the rating may be lower where there are fewer than ``FEWEST`` examples.

    Returns:
        The prompt, its rating, and whether every part of it was tried.
    """
    first, known, left = rating, dict(known or {}), most
    while True:
        origin = {"step": "shorten", "parents": [best.text]}
        prompts = [Prompt(text, origin) for text in shorter(best.text)]
        if new := [prompt for prompt in prompts if prompt not in known][:left]:
            known |= rate(new)
            left -= len(new)
        rated = [prompt for prompt in prompts if prompt in known]
        kept = [
            prompt
            for prompt in rated
            if not _falls(first, known[prompt], least=rating.value, errors=errors, slack=slack, within=within)
        ]
        if not kept:
            return best, rating, len(rated) == len(prompts)
        best = max(kept, key=lambda prompt: (known[prompt].value, -len(prompt.text), known[prompt].tiebreak))
        rating = known[best]


def _falls(first: Rating, less: Rating, *, least: float, errors: float, slack: float, within: float) -> bool:
    """Whether the rating of a prompt without some part has fallen, as the module's text says.

    Args:
        first: the rating of the prompt that was to be shortened.
        less: that of the shorter one.
        least: the value of the best so far, which may be above or a little below the first's; a rating that reaches it
            has not fallen where examples are many.
        errors, slack, within: as of :func:`shorten`.
    """
    if less.tiebreak < first.tiebreak - slack * abs(first.tiebreak):
        return True
    differences = _differences(first, less)
    if len(differences) < FEWEST:
        return not less.value >= max(first.value, least) - within
    if less.value >= least:
        return False
    if not first.tiebreak:
        return True
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() < -errors * error * (1 + 1e-9))


def _differences(first: Rating, less: Rating) -> Array:
    """``(n_examples,)``: each example's value in ``less`` minus that in ``first``; empty where ratings have none.

    Examples that are unscored in one of the two are left out.
    """
    one, other = first.per_example, less.per_example
    if one is None or other is None or len(one) != len(other):
        return np.empty(0)
    differences: Array = other - one
    return differences[np.isfinite(differences)]


def shorter(run: Prompted, phrases: Sequence[str] = ()) -> Shorter:
    """A function that gives the texts which a text can become by dropping one part.

    The parts of a template are its lines, the phrases of the embedded vocabulary in them, and for words that are not in
    the vocabulary, spans that begin at a comma or a preposition. The ``{}`` stays. The parts of any other text are its
    lines, its sentences, the given phrases and the clauses of a line that is a list of three or more without a full
    stop. Sentences that the user started from stay. A prompt of several parts (:mod:`promptopt.parts`) is taken apart
    part by part.

    Args:
        run: says whether the prompts are templates, and what the target can take.
        phrases: those that the search had.
    """
    words = Phrases.load(None)
    own = [text for prompt in run.start for text in parts_of(prompt.text).values() or [prompt.text]]
    units = Units(phrases, start=own, keep="all")
    templates = is_template(run)

    def less(text: str) -> list[str]:
        found = dict.fromkeys(_template(text, words) if templates else _text(text, units))
        return [one for one in found if one.strip() and len(one) < len(text)]

    def dropped(text: str) -> list[str]:
        parts = parts_of(text)
        beside = [text_of({**parts, name: one}) for name, part in parts.items() for one in less(part)]
        found = beside if parts else less(text)
        return [one for one in found if run.problem_with(Prompt(one)) is None]

    return dropped


def _template(text: str, words: Phrases) -> Iterator[str]:
    """The texts without one line of a template, or without one span of a line.

    Of "a photo of a {} from grandmother attic", for example, they are "a {} from grandmother attic" and "a photo of a
    {}".
    """
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if len(lines) > 1:
            yield "\n".join([*lines[:i], *lines[i + 1 :]])
        spans = _spans(line, words)
        for j, span in enumerate(spans):
            if PLACEHOLDER not in span and span not in ARTICLES:
                rest = [*spans[:j], *_article(span, before=PLACEHOLDER in spans[j:]), *spans[j + 1 :]]
                yield "\n".join([*lines[:i], re.sub(r" (?=[,.;:!?])", "", " ".join(rest)), *lines[i + 1 :]])


def _spans(line: str, words: Phrases) -> list[str]:
    """The phrases of a line. Words that the vocabulary lacks stay together, with the preposition before them.

    Of "a photo of a {} from grandmother attic" they are "a photo of a", "{}" and "from grandmother attic".
    """
    spans: list[str] = []
    loose = False
    for phrase in words.split(line):
        known = phrase in words.all or PLACEHOLDER in phrase or phrase in ARTICLES
        if loose and not known and phrase not in LINKS and not spans[-1].endswith(","):
            spans[-1] += f" {phrase}"
        else:
            spans.append(phrase)
        loose = not known
    return spans


def _article(span: str, *, before: bool) -> list[str]:
    """The article that stays where a span is dropped, so that the class name behind it has one.

    Of "a photo of a" the last word stays, of "a roll of", which ends without one, the first: "a {}". Of a span behind
    the ``{}`` nothing stays.

    Args:
        before: whether the span stands before the ``{}``.
    """
    first, last = span.split()[0], span.split()[-1]
    article = next((word for word in (last, first) if word in ARTICLES), "")
    return [article] if before and article and span != article else []


def _text(text: str, units: Units) -> Iterator[str]:
    """The texts without one unit, or without one clause of a unit that is a list of clauses.

    Of "Add the numbers. Be brief, be exact, be kind" they are the text without either sentence, and without each of the
    three clauses, such as "Add the numbers. Be brief, be kind".
    """
    parts = units.split(text)
    for place in units.free(parts):
        left = list(parts)
        units.drop(left, place)
        yield units.join(left)
        clauses = bare(parts[place]).split(", ")
        if len(clauses) > 2 and bare(parts[place])[-1] not in ".!?:" and "\n" not in bare(parts[place]):
            for i in range(len(clauses)):
                fewer = ", ".join([*clauses[:i], *clauses[i + 1 :]])
                yield units.join([*parts[:place], parts[place].replace(bare(parts[place]), fewer), *parts[place + 1 :]])
