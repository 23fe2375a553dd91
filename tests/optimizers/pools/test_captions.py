"""Mining templates from captions."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import numpy as np
import pytest

from promptopt.errors import UserError
from promptopt.optimizers.pools.captions import Captions, mine


def one(caption, *objects):
    """The template of a caption, or None."""
    return next(mine([caption], objects=objects), None)


@pytest.mark.parametrize(
    ("caption", "template"),
    [
        ("a photo of a dog", "a photo of a {}"),
        ("A large brown dog sitting on a sofa.", "A {} sitting on a sofa."),
        ("a close-up of the old church, at night", "a close-up of the {}, at night"),
        ("a group of people walking down the street", "a group of {} walking down the street"),
        ("a black and white photo of a horse in a field", "a black and white photo of a {} in a field"),
        ("a red and white flag in the wind", "a {} in the wind"),
        ("Two cats and a dog", "Two {} and a dog"),
        ("This is a picture of a red car that is parked", "This is a picture of a {} that is parked"),
        ("there is a cat on the table", "there is a {} on the table"),
        ("dogs playing in the park", "{} playing in the park"),
        ("a man dressed in black", "a {} dressed in black"),
        ("a smiling woman with a hat", "a {} with a hat"),
        ("a drawing showing a bird", "a drawing showing a {}"),
        ("a painting on a wall", "a {} on a wall"),
        ("a pair of shoes in a box", "a pair of {} in a box"),
        ("the   spaced \n words of it", "the {} of it"),
    ],
)
def test_the_rule_finds_the_object(caption, template):
    assert one(caption) == template


@pytest.mark.parametrize(
    "caption", ["", "   ", "!!!", "in on at", "a photo of", "a {} of a dog", "a dog }", "and white, white"]
)
def test_captions_without_an_object_give_nothing(caption):
    assert one(caption) is None


@pytest.mark.parametrize(
    ("caption", "objects", "template"),
    [
        ("a sketch of a Dog in snow", ["dog"], "a sketch of a {} in snow"),
        ("three dogs in snow", ["dog"], "three {} in snow"),
        ("many buses and foxes", ["bus"], "many {} and foxes"),
        ("two butterflies", ["butterfly"], "two {}"),
        ("sharp knives", ["knife"], "sharp {}"),
        ("old fishermen at sea", ["fisherman"], "old {} at sea"),
        ("an airplane at dusk", ["airplanes"], "an {} at dusk"),
        ("a bear and a polar bear", ["bear", "polar bear"], "a bear and a {}"),
        ("a polar   Bear swims", ["polar_bear"], "a {} swims"),
        ("an F-16A/B on a runway", ["F-16A/B"], "an {} on a runway"),
        ("a dog and a dog", ["dog"], "a {} and a dog"),
        ("a catalogue of hot dogs", ["cat", "dog"], "a catalogue of hot {}"),
    ],
)
def test_listed_objects(caption, objects, template):
    assert one(caption, *objects) == template


@pytest.mark.parametrize(
    ("caption", "objects"),
    [("a catalogue", ["cat"]), ("a polar, bear", ["polar bear"]), ("a dog", ["cat"]), ("some glas", ["glass"])],
)
def test_what_is_not_a_listed_object(caption, objects):
    assert one(caption, *objects) is None


def test_mine_is_lazy():
    def endless():
        while True:
            yield "a dog"
            yield "..."

    mined = mine(endless())
    assert [next(mined) for _ in range(3)] == ["a {}"] * 3


CAPTIONS = [
    "a photo of a dog",
    "a photo of a cat",
    "...",
    "a sketch of a dog\r",
    "the dog in snow",
    "",
    "a dog at home",
]
TEMPLATES = ["a photo of a {}", "a sketch of a {}", "a {} at home", "the {} in snow"]


@pytest.fixture(params=["captions.txt", "captions.txt.gz", "captions.jsonl"])
def pool(request, tmp_path):
    path = tmp_path / request.param
    lines = [json.dumps({"caption": c}) for c in CAPTIONS] if path.suffix == ".jsonl" else CAPTIONS
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return Captions(path=path, field="caption" if path.suffix == ".jsonl" else None)


def test_the_pool_gives_each_template_once_and_counts_the_rest(pool):
    assert sorted(pool.draw(np.random.default_rng(0))) == TEMPLATES
    assert pool.skipped == 2
    assert sorted(pool.draw(np.random.default_rng(0))) == TEMPLATES
    assert pool.skipped == 2


def test_the_order_depends_on_the_generator_alone(pool):
    orders = [list(pool.draw(np.random.default_rng(seed))) for seed in (0, 0, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 2


def test_objects_reach_the_pool(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a photo of a dog\na photo of a cat\na cat\n")
    pool = Captions(path=path, objects=["cat"])
    assert sorted(pool.draw(np.random.default_rng(0))) == ["a photo of a {}", "a {}"]
    assert pool.skipped == 1


def test_broken_lines_are_skipped(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b'{"caption": "a dog"}\n{"text": "a cat"}\n["a"]\n{\n\xff\xfe\n')
    pool = Captions(path=path, field="caption")
    assert list(pool.draw(np.random.default_rng(0))) == ["a {}"]
    assert pool.skipped == 4


def test_the_first_draws_of_a_large_file_need_little_memory(tmp_path):
    path = tmp_path / "captions.txt"
    with path.open("w") as file:
        file.writelines(
            f"a photo of a dog number {i} in a place far away from everything else\n" for i in range(100_000)
        )
    draws = Captions(path=path, objects=["dog"]).draw(np.random.default_rng(0))
    tracemalloc.start()
    first = [next(draws) for _ in range(100)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(first)) == 100
    assert peak < path.stat().st_size / 2  # 16 bytes a caption, not the captions


def test_files_that_are_no_captions(tmp_path):
    with pytest.raises(UserError, match=r"no file of captions .*nowhere"):
        Captions(path=tmp_path / "nowhere.txt")
    path = tmp_path / "captions.txt.gz"
    path.write_bytes(gzip.compress(b"a dog\n" * 1000)[:20])
    with pytest.raises(UserError, match="cannot unpack"):
        list(Captions(path=path).draw(np.random.default_rng(0)))
    (tmp_path / "empty.txt").write_text("")
    assert list(Captions(path=tmp_path / "empty.txt").draw(np.random.default_rng(0))) == []
