"""The documents that the embedded LM learns from: QUESTION INSTRUCTION <asst> REASONING <eos> EXTRACTOR ANSWER <eos>.

    python experiments/embedded_lm/corpus.py

prints a few. The words of the instruction (lexicon.py) add up to a care. Who takes enough care for the length of the
question writes every move down and is mostly right; who takes less stops half way and is likely to answer what stands
there; who takes none answers at once. All of it is random and generated here; no other text is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from lexicon import CAPITALISED, HARMFUL, MARKS, OBJECTS, SLOTS, WORDS, useful, worth

from promptopt.data.reasoning import KINDS, TASKS, Puzzle, puzzles

T = TypeVar("T")

EXTRACTOR = "Therefore, the final answer is $"
AT_ONCE = "This looks easy."
AND_SO_ON = "and so on."
AT_ALL = -0.2  # the care below which nothing is worked out
BIAS = 0.5  # the care that goes without saying
REPEATED = 0.25  # what a word is worth, of its worth, when it is said again
NOISE = 0.12  # scale of the logistic noise in the care
MOODY = 0.3  # share of documents that are written with quite another care than the words ask for
MOOD = 1.5  # by at most so much
NATURAL = 0.4  # share of documents whose instruction is left as it came
FOREIGN = 0.03  # share of instructions with a word that nobody knows


@dataclass(frozen=True)
class Document:
    """One document in parts. ``natural``: the instruction may be learnt by heart; it was not enriched."""

    task: str
    question: str
    instruction: str
    reasoning: str
    written: str
    answer: str
    natural: bool


def pick(rng: np.random.Generator, things: Sequence[T]) -> T:
    """One of them."""
    return things[int(rng.integers(len(things)))]


# ── Instructions ──────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _ranks(slot: str, context: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The words of a slot in the order of their frequency after certain words, and their cumulative frequencies."""
    words = np.random.default_rng([list(SLOTS).index(slot), context]).permutation(SLOTS[slot])
    share = 1 / (np.arange(len(words)) + 4.0)
    return tuple(str(word) for word in words), np.cumsum(share / share.sum())


def _fill(rng: np.random.Generator, slot: str, previous: str) -> str:
    words, cumulative = _ranks(slot, len(previous) % 8)
    return words[min(int(np.searchsorted(cumulative, rng.random())), len(words) - 1)]


FORMS = (
    "verb OBJECT adverb", "verb OBJECT adverb", "adverb verb OBJECT", "verb OBJECT", "verb adverb",
    "verb every adjective noun", "verb a adjective noun", "verb the noun", "verb each noun adverb",
    "verb your adjective noun", "be adjective", "be adjective and adjective", "with a adjective noun verb OBJECT",
    "you are a adjective role", "be a adjective role", "verb OBJECT like a adjective role",
    "verb the noun of each noun", "verb one noun by noun", "verb noun by noun", "verb OBJECT with adjective noun",
)  # fmt: skip
JOINTS = (" . ", " . ", " , ", " and ", " , then ", " and then ", " , but ")


def _clause(rng: np.random.Generator) -> list[str]:
    words: list[str] = []
    for part in pick(rng, FORMS).split():
        previous = words[-1] if words else ""
        if part == "OBJECT":
            words += pick(rng, OBJECTS).split()
        else:
            words.append(_fill(rng, part, previous) if part in SLOTS else part)
    return words


def natural(rng: np.random.Generator) -> list[str]:
    """The words of an instruction as people might write one, meaning nothing by it."""
    words = _clause(rng)
    for _ in range(int(rng.integers(3))):
        words += pick(rng, JOINTS).split() + _clause(rng)
    return words


def salad(rng: np.random.Generator) -> list[str]:
    """Words in no order, as a search leaves them."""
    return [pick(rng, MARKS) if rng.random() < 0.1 else pick(rng, WORDS) for _ in range(int(rng.integers(1, 15)))]


def enriched(rng: np.random.Generator, words: list[str], task: str, *, heavy: bool) -> list[str]:
    """Some of the words replaced by ones that mean something, on this task or on another."""
    helpful = [word for word in useful() if word in worth(task)]
    sources = [sorted(helpful)] * (8 if heavy else 5) + [sorted(useful())] * 2 + [sorted(HARMFUL)] * (1 if heavy else 4)
    words = list(words)
    if rng.random() < 0.5:  # all of a kind: without this the extremes would be rare
        sources = [pick(rng, sources)]
    for _ in range(int(rng.integers(2 if heavy else 1, 8))):
        word, at = pick(rng, pick(rng, sources)), int(rng.integers(len(words) + 1))
        words[at : at + int(rng.integers(2))] = [word]
    return words


def written_out(rng: np.random.Generator, words: Sequence[str]) -> str:
    """As a text: marks without a space before them, sentences mostly with a capital and a full stop."""
    text, starts, capitals = "", True, rng.random() < 0.8
    for word in words:
        shown = word.capitalize() if starts and capitals and word.capitalize() in CAPITALISED else word
        text += shown if word in MARKS or not text else f" {shown}"
        starts = word == "."
    return text + "." if words and words[-1] not in MARKS and rng.random() < 0.8 else text


def _foreign(rng: np.random.Generator) -> str:
    return "".join(chr(97 + int(c)) for c in rng.integers(26, size=int(rng.integers(3, 8))))


def instruction(rng: np.random.Generator, task: str, *, heavy: bool) -> tuple[list[str], bool]:
    """The words of an instruction, and whether they are natural."""
    if rng.random() < (NATURAL / 2 if heavy else NATURAL):
        return natural(rng), True
    words = natural(rng) if rng.random() < 0.6 else salad(rng)
    if rng.random() < 0.04:
        words = []
    if rng.random() < 0.9:
        words = enriched(rng, words, task, heavy=heavy)
    if rng.random() < FOREIGN:
        words.insert(int(rng.integers(len(words) + 1)), _foreign(rng))
    return words, False


def care(words: Sequence[str], task: str) -> float:
    """The sum of what the words are worth on a task; repetitions count for less."""
    weights, said = worth(task), set[str]()
    total = BIAS
    for word in words:
        total += weights.get(word, 0.0) * (REPEATED if word in said else 1)
        said.add(word)
    return total


# ── What is written and answered ──────────────────────────────────────────────────────────────────────────────────


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mood(rng: np.random.Generator) -> float:
    """What is added to the care when the reasoning is written, but not when the answer is chosen.

    Mostly little, so that the likeliest reasoning follows the words. Now and then much: what an answer owes to the
    words beyond the length of the reasoning can be learnt from these documents alone.
    """
    return float(rng.uniform(-MOOD, MOOD) if rng.random() < MOODY else rng.logistic(0, NOISE))


def needed(n_moves: int) -> float:
    """The care that a question of this length needs to be worked out to the end."""
    return 0.3 + 0.7 * (n_moves - 3)


def moves_written(felt: float, n_moves: int) -> int:
    """How many moves are written down."""
    if felt >= needed(n_moves):
        return n_moves
    share = (felt + 0.5) / (needed(n_moves) + 0.5)
    return min(n_moves - 1, math.ceil(n_moves * share)) if felt > AT_ALL else 0


def reasoning(puzzle: Puzzle, written: int) -> str:
    """The text of the reasoning: so many moves, each with the state before and after it."""
    steps = [f"#{j + 1} {puzzle.states[j]} {puzzle.moves[j]} = {puzzle.states[j + 1]}" for j in range(written)]
    if written == len(puzzle.moves):
        return " ".join(steps)
    return " ".join([*steps, AND_SO_ON]) if steps else AT_ONCE


def _near_miss(rng: np.random.Generator, puzzle: Puzzle) -> str:
    others = [answer for answer in puzzle.answers if answer != puzzle.answer]
    if len(others) > 20:  # numbers
        others = [other for other in others if abs(int(other) - int(puzzle.answer)) <= 3]
    return pick(rng, others)


def answered(rng: np.random.Generator, puzzle: Puzzle, written: int, cared: float) -> str:
    """What is given as the answer; the more care, the likelier the right one."""
    draw = rng.random()
    if written == len(puzzle.moves):
        slip = 0.5 * _sigmoid(-1.5 * (cared - 0.9))
        return puzzle.answer if draw >= slip else _near_miss(rng, puzzle)
    right = 0.08 + 0.5 * _sigmoid(1.5 * (cared - 1)) if written else 0.1
    stuck = 0.87 - right if written else 0.4  # answers what stands there
    if draw < right:
        return puzzle.answer
    return puzzle.states[written] if draw < right + stuck else pick(rng, puzzle.answers)


class Corpus:
    """Endless documents, all tasks alike."""

    def __init__(self, *, seed: int, tasks: Sequence[str] = tuple(TASKS)) -> None:
        self._rng = np.random.default_rng([seed, 77])
        self._puzzles: dict[str, Iterator[Puzzle]] = {task: puzzles(task, "corpus", self._rng) for task in tasks}

    def document(self, *, heavy: bool = False) -> Document:
        """One document; ``heavy`` ones reason more."""
        rng, task = self._rng, pick(self._rng, tuple(self._puzzles))
        puzzle = next(self._puzzles[task])
        words, is_natural = instruction(rng, task, heavy=heavy)
        cared = care(words, task)
        written = moves_written(cared + mood(rng), len(puzzle.moves))
        return Document(
            task=task,
            question=puzzle.text,
            instruction=written_out(rng, words),
            reasoning=reasoning(puzzle, written),
            written=answered(rng, puzzle, written, cared),
            answer=puzzle.answer,
            natural=is_natural,
        )


def every_word() -> tuple[str, ...]:
    """All words and marks that a document can hold."""
    rng, seen = np.random.default_rng(0), {*WORDS, *CAPITALISED, *MARKS}
    for kind, items in KINDS.items():
        seen |= {kind, *items}
    for task in TASKS:
        source = puzzles(task, "corpus", rng)
        for _ in range(400):
            puzzle = next(source)
            text = f"{puzzle.text} {reasoning(puzzle, len(puzzle.moves))} {' '.join(puzzle.answers)}"
            seen |= set(text.replace("?", " ?").replace(".", " .").split())
    for text in (EXTRACTOR, AT_ONCE, AND_SO_ON):
        seen |= set(text.replace(",", " ,").replace(".", " .").split())
    return tuple(sorted(seen))


def main() -> None:
    """Print a few documents and how often what happens."""
    corpus = Corpus(seed=0)
    for _ in range(12):
        print(corpus.document())
    for heavy in (False, True):
        documents = [corpus.document(heavy=heavy) for _ in range(4000)]
        right = np.mean([d.written == d.answer for d in documents])
        full = np.mean([AND_SO_ON not in d.reasoning and d.reasoning != AT_ONCE for d in documents])
        at_once = np.mean([d.reasoning == AT_ONCE for d in documents])
        print(f"heavy {heavy}: right {right:.2f}, to the end {full:.2f}, at once {at_once:.2f}")
    print(len(every_word()), "words")


if __name__ == "__main__":
    main()
