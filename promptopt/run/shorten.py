"""Readable answers: after the search, what does not pay is dropped from the best prompt.

A search leaves words in a prompt that do nothing for its rating, or no more than chance does: of 300 prompts the best
rated owes some of its rating to luck. Here every part of the answer is left out in turn, and as long as the rating does
not fall without one, it goes. Where examples are 30 or more and ratings have a tiebreak, such as log-probability, a
fall within 1.5 standard errors of the paired difference is none (a rule of Breiman et al., *Classification and
Regression Trees*, 1984, with one). Nowhere may the tiebreak fall by more than a tenth of its size: right or wrong alone
does not tell filler from what decides. By the rating alone accuracy on held-out images fell, both with ten images
(experiments/liu2024) and with 160 and one or more standard errors (experiments/hill_climb). Where few examples are
rated in several views, nearly every word moves the rating a little; a fall by half an example is none then. What stays
is 1-minimal (Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 2002, whose minimising
delta debugging begins with larger pieces): no single part can go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core import Prompt, Prompted, Rating, Shortens
from ..vocabulary import is_template
from ..vocabulary.phrases import PLACEHOLDER, Phrases
from ..vocabulary.units import Units, bare

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["QUESTIONS", "questions", "shorten", "shorter"]

QUESTIONS = 20  # kept back at the most where the optimizer wants its answer shortened
SHARE = 10  # and no more than one in so many of the budget
ERRORS = 1.5  # standard errors within which a fall is none, if the tiebreak says so too
FEWEST = 30  # with fewer examples a standard error says little
SLACK = 0.1  # of the tiebreak's size, by which it may fall
LINKS = frozenset("about after and as at before by for from in into near of on or over to under with without".split())
ARTICLES = frozenset({"a", "an", "the"})

Shorter = Callable[[str], list[str]]
Rater = Callable[[Sequence[Prompt]], list[tuple[Prompt, Rating]]]


def questions(wanted: int | None, *, optimizer: object, budget: int | None) -> int:
    """How many questions are kept back.

    Args:
        wanted: the user's number; None leaves it to the optimizer. One that puts prompts together by chance says
            ``shortens = True``; an LLM writes readable prompts by itself.
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

    Of all prompts that lack one part and are rated about as high as the first, the best rated takes the place, the
    shorter one of equals, until there is none.

    Args:
        best: the prompt to shorten.
        rating: its rating, with a value.
        shorter: a text to what it may become by dropping one part.
        rate: gives ratings; may give fewer than asked.
        most: new ratings at the most.
        known: ratings that need not be asked for.
        errors: standard errors of the paired difference within which a fall of the rating is none.
        slack: of the tiebreak's size, by which it may fall.
        within: by how much the rating may fall where examples are few.

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
    """Whether a rating falls: its tiebreak by more than the slack below the first, or its value below ``least``.

    A value close to the first does not count as below: within some standard errors, where there are the examples for it
    and a tiebreak that stays; with few examples within a fixed distance.
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
    """By how much examples are rated higher than first; empty where ratings do not say."""
    one, other = first.per_example, less.per_example
    if one is None or other is None or len(one) != len(other):
        return np.empty(0)
    differences: Array = other - one
    return differences[np.isfinite(differences)]


def shorter(run: Prompted, phrases: Sequence[str] = ()) -> Shorter:
    """Says what a text may become by dropping one part, in a run.

    The parts of a template are the phrases of the embedded vocabulary and, of other words, spans that begin at a comma
    or a preposition; its ``{}`` stays. A text has lines, sentences, given phrases and, where a line is a list of three
    clauses or more without a full stop, its clauses. Sentences that the user started from stay.

    Args:
        run: says whether the prompts are templates, and what the target can take.
        phrases: those that the search had.
    """
    words = Phrases.load(None)
    units = Units(phrases, start=[prompt.text for prompt in run.start], keep="all")
    templates = is_template(run)

    def dropped(text: str) -> list[str]:
        found = dict.fromkeys(_template(text, words) if templates else _text(text, units))
        found = {one: None for one in found if one.strip() and len(one) < len(text)}
        return [one for one in found if run.problem_with(Prompt(one)) is None]

    return dropped


def _template(text: str, words: Phrases) -> Iterator[str]:
    """Without one line, or without one span of a line."""
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
    """The phrases of a line; single words that the vocabulary lacks go with the preposition before them."""
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
    """What is left of a frame: of 'a photo of a' its last article, of 'a roll of' its first, so that a noun has one."""
    first, last = span.split()[0], span.split()[-1]
    article = next((word for word in (last, first) if word in ARTICLES), "")
    return [article] if before and article and span != article else []


def _text(text: str, units: Units) -> Iterator[str]:
    """Without one unit, or without one clause of a unit that is a list of clauses."""
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
