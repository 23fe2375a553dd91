"""Small reasoning tasks, generated on the spot: the ones that the embedded LM was trained for.

Each question has a start and three to six numbered moves; applying the moves one after another gives the answer. The
embedded LM answers well when the prompt makes it write every move down, and badly when it does not.

A question belongs to one split for good, whatever the seed, and a part of all questions belongs to none: the
embedded LM was trained on these alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from ..checks import at_least, check_argument
from ..core import Dataset, Example
from ..errors import UnknownName, UserError

T = TypeVar("T")
Split: TypeAlias = Literal["corpus", "train", "dev", "test"]

LARGEST = 30  # no number is larger
SIZES = (3, 4, 5, 6)  # moves of a question
COLOURS = ("red", "blue", "green", "black", "white", "pink")
KINDS = {
    "animal": ("dog", "cat", "cow", "goat", "duck", "frog", "bear", "mouse"),
    "fruit": ("apple", "plum", "pear", "grape", "fig", "lime", "melon", "kiwi"),
    "tool": ("saw", "drill", "hammer", "rake", "axe", "file", "spade", "wrench"),
}
_SPLIT_OF: tuple[Split, ...] = ("train", "dev", "test", "test") + ("corpus",) * 12
_PATIENCE = 20_000  # questions drawn in vain before the task counts as exhausted
MOST = 100_000  # questions of a split: more take minutes


@dataclass(frozen=True)
class Puzzle:
    """A question and how it is solved.

    Attributes:
        text: the question.
        moves: what is done, ``(n_moves,)``.
        states: where one stands before, between and after the moves, ``(n_moves + 1,)``.
        answers: the other answers that somebody might guess.
    """

    text: str
    moves: tuple[str, ...]
    states: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The state after the last move."""
        return self.states[-1]


def split_of(text: str) -> Split:
    """The split that a question belongs to."""
    return _SPLIT_OF[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % len(_SPLIT_OF)]


# ── The tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────

Maker: TypeAlias = Callable[[np.random.Generator, int], Puzzle]


def _pick(rng: np.random.Generator, things: Sequence[T]) -> T:
    return things[int(rng.integers(len(things)))]


def _numbered(shown: Sequence[str]) -> str:
    return " ".join(f"#{j} {text}" for j, text in enumerate(shown, 1))


def _walk(rng: np.random.Generator, size: int, up: str, down: str) -> tuple[list[str], list[str]]:
    """Moves up and down between 0 and LARGEST, and the numbers on the way."""
    here, moves = int(rng.integers(4, 21)), []
    states = [str(here)]
    for _ in range(size):
        by = int(rng.integers(1, 10))
        rises = here - by < 0 or (here + by <= LARGEST and rng.random() < 0.5)
        here += by if rises else -by
        moves.append(f"{up if rises else down} {by}")
        states.append(str(here))
    return moves, states


_NUMBERS = tuple(str(n) for n in range(LARGEST + 1))


def _arithmetic(rng: np.random.Generator, size: int) -> Puzzle:
    moves, states = _walk(rng, size, "+", "-")
    text = f"Compute {states[0]} {_numbered(moves)}. What is the result?"
    return Puzzle(text, tuple(moves), tuple(states), _NUMBERS)


def _navigation(rng: np.random.Generator, size: int) -> Puzzle:
    moves, states = _walk(rng, size, "forward", "back")
    text = f"Start at {states[0]}. {_numbered(moves)}. Where are you?"
    return Puzzle(text, tuple(moves), tuple(states), _NUMBERS)


def _boolean(rng: np.random.Generator, size: int) -> Puzzle:
    names = ("false", "true")
    here = bool(rng.integers(2))
    moves, states = [], [names[here]]
    for _ in range(size):
        operator, operand = _pick(rng, ("and", "or", "xor", "xor")), bool(rng.integers(2))
        here = {"and": here and operand, "or": here or operand, "xor": here != operand}[operator]
        moves.append(f"{operator} {names[operand]}")
        states.append(names[here])
    text = f"Evaluate {states[0]} {_numbered(moves)}. What is the value?"
    return Puzzle(text, tuple(moves), tuple(states), names)


def _counting(rng: np.random.Generator, size: int) -> Puzzle:
    asked, count = _pick(rng, tuple(KINDS)), 0
    others = [kind for kind in KINDS if kind != asked]
    items, moves, states = [], [], ["0"]
    for _ in range(size):
        kind = asked if rng.random() < 0.6 else _pick(rng, others)
        items.append(_pick(rng, KINDS[kind]))
        count += kind == asked
        moves.append(f"{items[-1]} {kind}")
        states.append(str(count))
    text = f"Count each {asked}. {_numbered(items)}. How many are there?"
    return Puzzle(text, tuple(moves), tuple(states), _NUMBERS[: size + 1])


def _swapping(rng: np.random.Generator, size: int) -> Puzzle:
    cups = [str(cup) for cup in rng.permutation(COLOURS)[:3]]
    here, left_out = _pick(rng, cups), ""
    moves, states = [], [here]
    for _ in range(size):
        left_out = _pick(rng, [cup for cup in cups if cup != left_out])
        pair = [cup for cup in cups if cup != left_out]
        if here in pair:
            here = pair[1 - pair.index(here)]
        moves.append(f"swap {pair[0]} {pair[1]}")
        states.append(here)
    text = f"The ball is under {states[0]}. {_numbered(moves)}. Where is the ball?"
    return Puzzle(text, tuple(moves), tuple(states), tuple(cups))


def _comparing(rng: np.random.Generator, size: int) -> Puzzle:
    numbers = [int(n) for n in rng.permutation(LARGEST + 1)[: size + 1]]
    states = [str(max(numbers[: j + 1])) for j in range(size + 1)]
    moves = [f"or {n}" for n in numbers[1:]]
    text = f"Find the largest of {numbers[0]} {_numbered([str(n) for n in numbers[1:]])}. Which number is it?"
    return Puzzle(text, tuple(moves), tuple(states), tuple(str(n) for n in numbers))


TASKS: dict[str, Maker] = {
    "arithmetic": _arithmetic,
    "navigation": _navigation,
    "boolean": _boolean,
    "counting": _counting,
    "swapping": _swapping,
    "comparing": _comparing,
}
_KEYS = {task: key for key, task in enumerate(TASKS)}  # enter the random streams


def puzzles(task: str, split: Split, rng: np.random.Generator) -> Iterator[Puzzle]:
    """Endless questions of a split, of all sizes alike; they may come twice."""
    while True:
        puzzle = TASKS[task](rng, _pick(rng, SIZES))
        if split_of(puzzle.text) == split:
            yield puzzle


# ── The dataset ───────────────────────────────────────────────────────────────────────────────────────────────────


def reasoning(*, task: str, train: int = 50, dev: int = 100, test: int = 200, seed: int = 0) -> Dataset:
    """Questions of one task. None stands twice, none was seen by the embedded LM in training.

    The same arguments give the same questions in any process, and larger sizes keep the earlier ones.

    Args:
        task: one of TASKS.
        train: training examples.
        dev: dev examples.
        test: test examples.
        seed: of the draw.

    Returns:
        Examples whose input is the question and whose label is the answer, both texts.

    Raises:
        UnknownName: there is no such task.
        UserError: a size or the seed is negative, train is 0, a size is above MOST, or a task has fewer questions.
    """
    if task not in TASKS:
        raise UnknownName("reasoning task", task, TASKS)
    at_least(1, where="reasoning", train=train)
    at_least(0, where="reasoning", dev=dev, test=test, seed=seed)
    for name, size in {"train": train, "dev": dev, "test": test}.items():
        check_argument(name, size, allowed=f"no more than {MOST:,}", holds=size <= MOST, where="reasoning")
    return Dataset(
        name=f"reasoning:{task}",
        train=_examples(task, "train", train, seed),
        dev=_examples(task, "dev", dev, seed),
        test=_examples(task, "test", test, seed),
    )


def _examples(task: str, split: Split, n: int, seed: int) -> tuple[Example, ...]:
    rng = np.random.default_rng([seed, _KEYS[task], len(split)])
    found: dict[str, str] = {}
    in_vain = 0
    for puzzle in puzzles(task, split, rng) if n else ():
        in_vain = in_vain + 1 if puzzle.text in found else 0
        found.setdefault(puzzle.text, puzzle.answer)
        if len(found) == n:
            break
        if in_vain >= _PATIENCE:
            raise UserError(f"reasoning: {split}={n}, but {task} has no more than about {len(found)} of them.")
    return tuple(Example(f"{task}/{split}/{i}", text, answer) for i, (text, answer) in enumerate(found.items()))
