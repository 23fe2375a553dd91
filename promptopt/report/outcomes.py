"""Example by example on the test split: the starting prompt against the best one."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..core import Case, Dataset, Example, Rating
from ..demonstrations import of_prompt
from ..errors import UserError
from ..recipe.build import build
from ..record.answers import answers
from ..record.codec import decode_answer
from ..record.freeze import OBJECT
from ..record.stages import TEST
from ..record.story import Story
from ..trust import own_parts

if TYPE_CHECKING:
    from ..core import Array

Change: TypeAlias = Literal["gained", "lost", "same", "not scored"]
THUMBNAIL = 96  # pixels
EXCERPT = 400  # characters
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


@dataclass(frozen=True)
class HeldOutOutcome:
    """One test example; ``start`` and ``best`` are NaN where it could not be scored.

    ``start_case`` and ``best_case`` say what the target made of it, where the ledger holds that.
    """

    id: str
    start: float
    best: float
    example: Example | None
    start_case: Case | None = None
    best_case: Case | None = None

    @property
    def change(self) -> Change:
        if math.isnan(self.start) or math.isnan(self.best):
            return "not scored"
        return "gained" if self.best > self.start else "lost" if self.best < self.start else "same"

    @property
    def label(self) -> str:
        return _text(self.example.label) if self.example else ""

    @property
    def input(self) -> str:
        """The example's input as text, cut; empty for an image."""
        return _input(self.example) if self.example else ""

    @property
    def start_output(self) -> str | None:
        """What came of the starting prompt; None where nothing did, or nothing is known."""
        return self.start_case.output if self.start_case else None

    @property
    def best_output(self) -> str | None:
        """What came of the best prompt, likewise."""
        return self.best_case.output if self.best_case else None

    @property
    def start_reason(self) -> str:
        """What the metric said of the one, or why it failed."""
        return self.start_case.reason if self.start_case else ""

    @property
    def best_reason(self) -> str:
        """What the metric said of the other, likewise."""
        return self.best_case.reason if self.best_case else ""


def outcomes(story: Story, data: Dataset | None) -> list[HeldOutOutcome]:
    """Every test example in the order of the manifest; none where the ledger has no values per example of both."""
    start, best = (tested(story, prompt) for prompt in (story.start, story.best))
    ids = story.manifest["examples"].get("test", [])
    if start is None or best is None or not len(start) == len(best) == len(ids):
        return []
    examples = {example.id: example for example in data.test} if data else {}
    was, now = (_cases(judged(story, prompt)) for prompt in (story.start, story.best))
    return [
        HeldOutOutcome(i, float(a), float(b), examples.get(i), was.get(i), now.get(i))
        for i, a, b in zip(ids, start, best, strict=True)
    ]


def tested(story: Story, prompt: str) -> Array | None:
    """A prompt's values on the test examples, or None where the ledger has none."""
    rating = judged(story, prompt)
    return rating.per_example if rating else None


def judged(story: Story, prompt: str) -> Rating | None:
    """A prompt's rating on the test split, or None where it was not rated there."""
    found = (decode_answer(event) for event in answers(story.events, TEST) if event["prompt"] == prompt)
    return next((answer for answer in found if isinstance(answer, Rating)), None)


def _cases(rating: Rating | None) -> dict[str, Case]:
    return {case.example: case for case in rating.cases} if rating else {}


def changed_first(found: Sequence[HeldOutOutcome]) -> list[HeldOutOutcome]:
    """Gained, lost, not scored, then the rest; within these the order of the manifest."""
    order: list[Change] = ["gained", "lost", "not scored", "same"]
    return sorted(found, key=lambda one: order.index(one.change))


@dataclass(frozen=True)
class ShownExample:
    """A demonstration of a prompt: a training example's id and input, and the answer that is shown; cut."""

    id: str
    input: str
    answer: str


def shown_examples(prompt: str, data: Dataset | None) -> list[ShownExample]:
    """The training examples that a prompt shows, in order; none where it names one that is not among them."""
    examples = {example.id: example for example in data.train} if data else {}
    named = of_prompt(prompt)
    if not {one.example for one in named} <= {*examples}:
        return []
    return [
        ShownExample(
            one.example,
            _input(examples[one.example]),
            _text(examples[one.example].label if one.output is None else one.output),
        )
        for one in named
    ]


# ── The examples themselves ───────────────────────────────────────────────────────────────────────────────────────


def examples_of(story: Story, recipe: Mapping[str, Any], *, trust: bool = False) -> tuple[Dataset | None, str]:
    """The data set that a recipe names, built again, and if it cannot be, why.

    Args:
        trust: also load code from elsewhere that the recipe names.
    """
    spec = recipe.get("data")
    if spec is None:
        return None, "The run had no data set."
    if OBJECT in str(spec):
        return None, "The examples are not shown: the run was given its data as an object, which a ledger cannot hold."
    try:
        with own_parts(not trust):
            data: Dataset = build("datasets", spec, where="data", offered={"seed": story.manifest["seed"]})
    except (UserError, OSError) as error:
        return None, f"The examples are not shown: their data set could not be built again. {error}"
    if [example.id for example in data.test] != story.manifest["examples"].get("test", []):
        return None, "The examples are not shown: the data set has changed since the run; its test examples are others."
    return data, ""


def is_image(example: Example) -> bool:
    """Whether an example's input is an image: a PIL image, an array of pixels or the path of an image file."""
    given = example.input
    if isinstance(given, np.ndarray):
        return given.dtype == np.uint8 and given.ndim in (2, 3)
    return str(given).lower().endswith(ENDINGS) if isinstance(given, str | PurePath) else hasattr(given, "convert")


def thumbnail(example: Example) -> str | None:
    """An example's image as a small ``data:`` URI; None where it is none or cannot be read."""
    if not is_image(example):
        return None
    from ..targets.images import open_image

    try:
        image = open_image(example)
    except UserError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small = max(image.size) <= THUMBNAIL // 3
    image.save(file, "PNG" if small else "JPEG", **({} if small else {"quality": 80}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"


def _input(example: Example) -> str:
    return "" if is_image(example) else _text(example.input)


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
