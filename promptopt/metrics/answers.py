"""Metrics that first have to find an answer in a reply: a number, or the letter of an option.

A reply in which no answer can be found, or several that differ, has failed: it counts as a wrong one, and coverage
tells the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from ..checks import at_least
from ..core import Example, Mark
from ..errors import UserError
from .text import TextMetric, missed, references, shown

# ── Numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER = re.compile(
    r"""
    (?<![A-Za-z\d]) (?<!\d\.)           # not the 2 of H2O, nor the 3 of 1.2.3
    (?P<sign> (?<![\w)\]]) [-+−] )?     # -5; but 16-3 has no negative number, and neither has the item "- 3" of a list
    (?: [$€£¥] \s? (?P<inner> [-+−] )? )?       # $5, € 5, $-5
    (?P<digits>
        (?>
            \d{1,3} (?: ,\d{3} )+ (?!\d)        # 1,234,567
          | \d+                                 # 1234567; of 1,23 the 1 and the 23
        )
        (?> \.\d+ )?                            # 3.25; the full stop of "It is 3." is none of it
      | \.\d++                                  # .25
    )
    (?P<exponent> [eE] [-+]? \d{1,3} (?!\w) )?  # 1.5e-3, 2E10
    (?! [eE] [-+]? \d )                         # nothing of 2e1000, whose exponent is too long
    """,
    re.VERBOSE,
)


class Numeric(TextMetric):
    """1 where the last number of the output is the number of a reference answer, else 0.

    A number may have a sign, thousands separated by commas, decimals, an exponent, a currency sign before and a unit or
    percent sign behind, which are ignored: 50% is 50. Fractions and numbers in words are not read. After the last
    ``####``, the mark of GSM8K ([Cobbe2021]), the first number counts instead. The reference is read in the same way,
    so that GSM8K's worked solutions can be labels.

    Args:
        tolerance: the largest absolute difference that still counts as equal.

    Raises:
        UserError: the tolerance is negative or not finite.
    """

    def __init__(self, *, tolerance: float = 0.0) -> None:
        at_least(0, tolerance=tolerance)
        self.tolerance = Decimal(str(tolerance))

    def mark(self, output: str, example: Example) -> float | Mark | None:
        wanted = {one: number_in(one) for one in references(example)}
        for one, reference in wanted.items():
            if reference is None:
                raise UserError(f"example {example.id!r} has the label {one!r}, in which there is no number.")
        if (number := number_in(output)) is None:
            return Mark(None, f"no number: {shown(output)}", failed=True)
        hit = any(abs(number - reference) <= self.tolerance for reference in wanted.values() if reference is not None)
        return missed(float(hit), [f"{one:f}" for one in wanted.values() if one is not None], f"{number:f}")


def number_in(text: str) -> Decimal | None:
    """The number that a text gives as its answer: the first after the last ``####``, else the last; None if none."""
    _, marked, answer = text.rpartition("####")
    numbers = list(_NUMBER.finditer(answer))
    if marked and numbers:
        return _value(numbers[0])
    numbers = list(_NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(found: re.Match[str]) -> Decimal:
    signs = (found["sign"] or "").strip() + (found["inner"] or "")
    size = Decimal(found["digits"].replace(",", "") + (found["exponent"] or ""))
    return -size if signs.replace("−", "-").count("-") % 2 else size


# ── Options ───────────────────────────────────────────────────────────────────────────────────────────────────────

_STATED = re.compile(  # a statement of the pick, anywhere in the reply
    r"""
    \b
    (?:
        (?i: answer ) \b                                                        # "Answer: B", "answer = B"
        (?: [\s:=>-]{0,3} (?i: is | would\ be | should\ be ) \b )?              # "the answer is B"
      | (?i: option | choice ) \s (?i: is | would\ be | should\ be ) \b         # "the correct option is B"
    )
    [\s:=>-]{0,3}
    (?: (?i: option | choice ) \s )?                                            # "the answer is option B"
    [(\[{']?                                                                    # "the answer is (B"
    (?:
        (?P<capital> [A-Z] )
        (?! \w | ['’]\w )                                                       # not "the answer is Berlin" or "I'm"
        (?! (?<=I) \s \w )                                                      # nor "the answer I would give"
      | (?P<small> [a-z] )
        (?= \s? [)\]}'.,;\n] | \Z )                                             # "answer: b)"; not "answer: a car"
    )
    (?:
        [)\]}']? \s? (?: or | and | / ) \s? [(\[{']?
        (?P<second> [A-Z] ) (?! \w | ['’]\w )                                   # "the answer is (B) or (C)": unclear
    )?
    """,
    re.VERBOSE,
)
_ALONE = re.compile(r"[(\[{']? ([A-Za-z]) [)\]}']? [.:]?", re.VERBOSE)  # a whole line: "B", "(b)", "'B'.", "B:"
_LEADING = re.compile(  # at the beginning of a line
    r"""
    ^ (?:
        [(\[{] ([A-Za-z]) [)\]}]    # "(b) Paris"
      | ([A-Z]) [).:]               # "B. Paris", "B) Paris", "B: Paris"
      | ([A-HJ-Z]) ,                # "B, since ..."; not "I, for one, ..."
    )
    """,
    re.VERBOSE | re.MULTILINE,
)
_NOT = r"(?<! (?i:not) \s )"  # "not (C)", "not C"
_BRACKETED = re.compile(rf"{_NOT} [(\[{{] ([A-Z]) [)\]}}]", re.VERBOSE)  # "so I take (B) here"
_BARE = re.compile(
    rf"""
    {_NOT}
    (?<! (?i:not) \s [(\[{{] )                       # nor in "not (C)"
    (?<! [\w'’.] )                                  # not in "DNA", nor the S of "U.S"
    (
        [B-HJ-Z]                                    # "I choose B"; "I" is a word
      | A (?! \s (?! (?: or | and ) \b ) \w )       # "I choose A.", "A or B"; not "A car"
    )
    (?! [\w'’] )                                    # not in "Bob" or "B's"
    """,
    re.VERBOSE,
)
_LABEL = re.compile(r"\s* [(\[]? ([A-Za-z]) (?: [)\].:] .* )? \s*", re.VERBOSE | re.DOTALL)  # "B", "(B)", "b. Paris"


class MultipleChoice(TextMetric):
    """1 where the reply picks the option of a reference answer, else 0. Options are letters, in either case.

    What counts as the pick, the first that applies: the last statement such as "the answer is (B)", "Answer: B", "the
    correct option is B" or ``\\boxed{B}``; a last line that is nothing but a letter; the one letter with which lines
    begin, as in "B. Paris"; the one letter in brackets or bold; the one capital that stands alone ("A" and "I" as words
    aside). Where the letters found differ, or there is none, the output has failed.

    A label is a letter, also written "(B)", "B." or "B) Paris". An example with another label stays unscored: BIG-Bench
    Hard has a few.
    """

    def mark(self, output: str, example: Example) -> float | Mark | None:
        wanted = references(example)
        letters = [found[1].upper() for one in wanted if (found := _LABEL.fullmatch(one))]
        if not letters:
            return Mark(None, f"the label {shown(wanted[0])} is no option's letter")
        picked = picks(output)
        if len(picked) != 1:
            what = f"several options: {', '.join(sorted(picked)[:5])} in" if picked else "no option:"
            return Mark(None, f"{what} {shown(output)}", failed=True)
        return missed(float(picked <= set(letters)), letters, next(iter(picked)))


def picks(reply: str) -> set[str]:
    """The options, as capitals, that a reply may be taken to pick; one if it is clear."""
    reply = _plain(reply)
    if stated := list(_STATED.finditer(reply)):
        return _capitals(stated[-1].groups())
    if alone := _ALONE.fullmatch(reply.rpartition("\n")[2]):
        return _capitals(alone.groups())
    for pattern in (_LEADING, _BRACKETED, _BARE):
        if found := list(pattern.finditer(reply)):
            return {letter for one in found for letter in _capitals(one.groups())}
    return set()


def _plain(reply: str) -> str:
    """Without emphasis, quotes, LaTeX and superfluous white space; a bold letter is in brackets instead."""
    reply = re.sub(r"\*\*([A-Z])[.:]?\*\*", r"(\1)", reply)
    reply = re.sub(r"\\(?:text|mathbf|mathrm)\{([^{}]{0,80})\}", r"\1", reply)
    reply = re.sub(r"\\boxed\{([^{}]{0,80})\}", r"answer: \1", reply)
    reply = re.sub(r"[*_`$\"“”]", "", reply)
    return "\n".join(" ".join(line.split()) for line in reply.splitlines() if line.strip())


def _capitals(letters: Sequence[str | None]) -> set[str]:
    return {letter.upper() for letter in letters if letter}
