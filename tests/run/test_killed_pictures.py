"""A run with pictures that is killed at any moment: nothing is bought twice, nothing lost, no file is half there."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt.core import Example, Picture
from promptopt.data.drawings import drawings
from promptopt.record.ledger import read

from ..models.openai_server import Received, serving
from ..targets.image_server import images, picture
from .test_kept_pictures import Painter

pytest.importorskip("openai")

MOMENTS = 20
PROMPTS = ["a square", "a red square", "a circle", "a dark circle"]


def script(request: Received) -> Any:
    """Equal requests bring equal pictures, so that runs can be compared."""
    number = int(hashlib.sha256(request.body["prompt"].encode()).hexdigest()[:4], 16)
    return images(*(picture(number + i).data for i in range(request.body.get("n", 1))))


def brightness(output: Picture, example: Example) -> float:
    return hashlib.sha256(output.data).digest()[0] / 255


def search(target: Any, folder: Path) -> promptopt.Result:
    os.environ["PROMPTOPT_CACHE"] = str(folder / "cache")
    os.environ["OPENAI_API_KEY"] = "sk-planted-0123456789abcdef"
    return promptopt.optimize(
        start="a square",
        target=target,
        data=drawings(wish="red", pictures=2, test=2),
        metric=brightness,
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}, "batch": 1},
        budget=4,
        cases=True,
        shorten=0,
        watch=False,
        run=folder / "run",
    )


class Killing:
    """Counts the moments at which something of a run goes onto the disk, and kills this process at one of them.

    Every write is three: before it, when half of it is there, and after it.
    """

    def __init__(self, at: int | None) -> None:
        self.at, self.moments = at, 0

    def install(self) -> None:
        write, replace, opened = os.write, Path.replace, Path.open
        killing = self

        def wrote(file: int, data: bytes) -> int:
            killing.moment()
            if killing.moments + 1 == killing.at:
                write(file, data[: len(data) // 2])
            killing.moment()
            n = write(file, data)
            killing.moment()
            return n

        def replaced(path: Path, target: Any) -> Path:
            killing.moment()
            done = replace(path, target)
            killing.moment()
            return done

        def begun(path: Path, *args: Any, **options: Any) -> Any:
            file = opened(path, *args, **options)
            if path.suffix == ".part":
                killing.moment()
                file.write(b"half")
                file.flush()
                killing.moment()
                file.seek(0)
                file.truncate()
            return file

        os.write, Path.replace, Path.open = wrote, replaced, begun  # type: ignore[assignment,method-assign]

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(target: Any, folder: Path, at: int | None, told: Any) -> None:
    killing = Killing(at)
    killing.install()
    search(target, folder)
    told.send(killing.moments)


def moments_of(target: Any, folder: Path, at: int | None = None) -> int | None:
    """Run in a process of its own until the moment; how many there were, or None where it was killed."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=run_and_die, args=(target, folder, at, there))
    process.start()
    process.join(60)
    assert process.exitcode == (0 if at is None else -signal.SIGKILL)
    return here.recv() if at is None else None


def files(folder: Path) -> dict[str, str]:
    """The pictures of a run and the hash of their content."""
    found = {file.name: file.read_bytes() for file in (folder / "run" / "pictures").iterdir()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def outcome(result: promptopt.Result, folder: Path) -> list[Any]:
    answers = [
        {key: value for key, value in event.items() if key not in ("t", "crc", "sum")}
        for event in read(folder / "run" / "ledger.jsonl")
        if event["event"] == "answer"
    ]
    told = [(one["stage"], one["n"], one["prompt"], one["value"], one["cases"]) for one in answers]
    return [result.best, result.verdict, told, files(folder)]


def killed_everywhere(target: Any, tmp_path: Path, bought: Callable[[], int]) -> None:
    total = moments_of(target, tmp_path / "counted")
    result = search(target, tmp_path / "whole")
    whole = outcome(result, tmp_path / "whole")
    before = bought()
    search(target, tmp_path / "whole")
    assert bought() == before
    each = before // 2  # in each of the two whole runs
    assert total is not None
    for number in range(MOMENTS):
        folder = tmp_path / f"killed{number}"
        at = 1 + round(number * (total - 1) / (MOMENTS - 1))
        before = bought()
        moments_of(target, folder, at)
        resumed = search(target, folder)
        assert outcome(resumed, folder) == whole, f"killed at moment {at} of {total}"
        lost = result.costs.calls - resumed.costs.calls  # one may have been under way: its pictures come from the cache
        assert lost in (0, 1), f"killed at moment {at} of {total}"
        assert bought() == before + each, f"killed at moment {at} of {total}"
    names = whole[-1]
    assert all(content.startswith(name.partition(".")[0]) for name, content in names.items())


@pytest.mark.study
def test_bought_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMPTOPT_CACHE", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "")  # to be put back

    def requests() -> int:
        return len(server.requests)

    with serving(script=script) as server:
        target = {
            "name": "openai-images",
            "model": "gpt-image-2",
            "base_url": server.url,
            "size": "64x64",
            "workers": 1,
        }
        killed_everywhere(target, tmp_path, requests)


@pytest.mark.study
def test_pictures_that_a_target_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMPTOPT_CACHE", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "")
    killed_everywhere(Painter(), tmp_path, lambda: 0)
