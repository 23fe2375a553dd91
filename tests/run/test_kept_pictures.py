"""A target's own pictures: kept with the run where a case names them, once, and found again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import promptopt
from promptopt.attachments import picture_at, picture_file
from promptopt.core import Example, KeepsPictures, Picture, Prompt, Rate, Rating, Setup
from promptopt.data.drawings import drawings
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.random_search import RandomSearch
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.targets.pictures import seed_of


def square(colour: tuple[int, int, int]) -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return Picture(file.getvalue())


class Painter:
    """Red as the prompt is long, green by the seed."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture]:
        return [square((len(prompt.text), seed_of(example) % 256, 0)) for example in examples]


def red(output: Picture, example: Example) -> float:
    return Image.open(io.BytesIO(output.data)).getpixel((0, 0))[0] / 255  # type: ignore[index]


PROMPTS = ["red", "dark red", "a red sign", "a red sign"]


def search(folder: Path | None, **options: Any) -> promptopt.Result:
    given: dict[str, Any] = {
        "data": drawings(wish="red", pictures=2, test=3),
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}},
        "budget": 9,
        "run": folder,
        **options,
    }
    return promptopt.optimize(start="red", target=Painter(), metric=red, shorten=0, watch=False, **given)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "pictures").iterdir()}


def test_what_cases_name_lies_in_the_folder_once(tmp_path: Path) -> None:
    search(tmp_path, cases=True)
    story = Story.read(tmp_path)
    named = {c.output for step in story.rated for c in step.rating.cases}
    held_out = {c[1] for event in read(tmp_path / "ledger.jsonl") for c in event.get("cases", ())}
    assert len(named) == 3 * 2
    assert files(tmp_path) == held_out > named
    first = story.rated[0].rating.cases[0]
    assert picture_at(tmp_path, first.output) == square((3, seed_of(drawings(wish="x").train[0]) % 256, 0))


def test_without_cases_only_the_verdicts_pictures_are_kept(tmp_path: Path) -> None:
    result = search(tmp_path)
    assert result.verdict is not None
    assert len(files(tmp_path)) == 2 * 3


def test_references_lie_beside_the_ledger_and_are_named_in_it(tmp_path: Path) -> None:
    reference = square((255, 0, 0))
    (tmp_path / "mine.png").write_bytes(reference.data)
    search(tmp_path / "run", data=drawings(references=tmp_path / "mine.png", pictures=2, test=0))
    (tmp_path / "mine.png").unlink()
    (name,) = read(tmp_path / "run" / "ledger.jsonl")[0]["references"]
    assert picture_at(tmp_path / "run", name) == reference


class Looks(RandomSearch):
    """A search that looks at the pictures of the prompts it asked about."""

    def begin(self, setup: Setup, /) -> None:
        super().begin(setup)
        assert isinstance(setup, KeepsPictures)
        self.seen: list[Picture | None] = []
        self._find = setup.picture

    def ask(self) -> Sequence[Rate]:
        return [Rate(one.prompt, cases=True) for one in super().ask()]

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.seen += [self._find(case.output) for _, rating in answered for case in rating.cases]
        super().tell(answered)


@pytest.mark.parametrize("folder", [True, False])
def test_a_search_sees_the_pictures_with_a_folder_and_without(tmp_path: Path, folder: bool) -> None:
    optimizer = Looks(pool=ListPool(prompts=PROMPTS))
    search(tmp_path if folder else None, optimizer=optimizer)
    seeds = [seed_of(example) % 256 for example in drawings(wish="x", pictures=2).train]
    expected = [square((len(text), seed, 0)) for text in ("red", "dark red", "a red sign") for seed in seeds]
    assert sorted(map(picture_file, filter(None, optimizer.seen))) == sorted(map(picture_file, expected))
    if not folder:
        assert not [*tmp_path.iterdir()]
        return
    again = Looks(pool=ListPool(prompts=PROMPTS))
    search(tmp_path, optimizer=again, budget=12)
    assert again.seen[:6] == optimizer.seen
