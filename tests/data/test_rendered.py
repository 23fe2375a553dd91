"""The rendered suite: reproducible images, honest errors."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from PIL import Image

from promptopt.core import Dataset
from promptopt.data.rendered import TASKS, rendered
from promptopt.errors import UnknownName, UserError


def digest(data: Dataset) -> str:
    sha = hashlib.sha256()
    for example in (*data.train, *data.test):
        sha.update(f"{example.id}|{example.label}|".encode() + example.input.tobytes())
    return sha.hexdigest()


ELSEWHERE = """
import hashlib
from promptopt.data.rendered import rendered
sha = hashlib.sha256()
data = rendered(task="counting", shots=2, test=9)
for example in (*data.train, *data.test):
    sha.update(f"{example.id}|{example.label}|".encode() + example.input.tobytes())
print(sha.hexdigest())
"""


@pytest.mark.parametrize("task", TASKS)
def test_shapes_labels_and_ids(task: str) -> None:
    data = rendered(task=task, shots=2, test=25)
    everything = (*data.train, *data.test)
    assert len(data.train) == 2 * len(data.classes)
    assert len(data.test) == 25
    assert {example.label for example in data.train} == set(data.classes)
    assert all(isinstance(example.input, Image.Image) for example in everything)
    assert {(example.input.mode, example.input.size) for example in everything} == {("RGB", (32, 32))}
    assert len({example.id for example in everything}) == len(everything)


def test_ids_say_where_an_image_stands() -> None:
    data = rendered(task="dice", shots=1, test=0)
    assert "dice/train/three/0" in {example.id for example in data.train}


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_images_other_seed_others(task: str) -> None:
    first, again, other = (rendered(task=task, shots=1, test=9, seed=seed) for seed in (0, 0, 1))
    assert digest(first) == digest(again) != digest(other)


def test_same_images_in_another_process_with_another_hash_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == digest(rendered(task="counting", shots=2, test=9))


def test_more_shots_keep_the_earlier_images() -> None:
    few, many = (rendered(task="tally", shots=shots, test=0) for shots in (1, 3))
    kept = {example.id: example.input.tobytes() for example in many.train}
    assert all(kept[example.id] == example.input.tobytes() for example in few.train)


def test_train_and_test_do_not_share_images() -> None:
    data = rendered(task="printed", shots=4, test=40)
    assert not {e.input.tobytes() for e in data.train} & {e.input.tobytes() for e in data.test}


def test_unknown_task_says_what_was_given_what_exists_and_what_is_close() -> None:
    with pytest.raises(UnknownName, match=r"'dise'.*'dice'.*seven-segment"):
        rendered(task="dise")


@pytest.mark.parametrize("wrong", [{"shots": 0}, {"test": -1}, {"seed": -1}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^rendered: {next(iter(wrong))} is {next(iter(wrong.values()))};"):
        rendered(task="dice", **wrong)
