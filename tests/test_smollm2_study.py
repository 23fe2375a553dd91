"""The study on SmolLM2, on a made-up matrix: its searches look answers up, and its tables say what they found."""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Prompt

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "smollm2"
PARTS = ("tasks", "matrix", "run", "gradient", "tokens")
GOOD = 7  # the place of the only prompt under which labels are right


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    """The scripts of the study, which find each other by their short names."""
    before = {name: sys.modules.pop(name, None) for name in PARTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENT))
        found: dict[str, ModuleType] = {name: importlib.import_module(name) for name in PARTS}
    yield SimpleNamespace(**found)
    for name, old in before.items():
        sys.modules.pop(name, None)
        if old is not None:
            sys.modules[name] = old


@pytest.fixture(scope="module")
def known(study: SimpleNamespace) -> list[dict[str, Any]]:
    """Two tasks of 40 examples. Every prompt says the first class to everything, and so without content; one knows."""
    lines = []
    for task in (study.tasks.TASKS["feeling"], study.tasks.TASKS["language"]):
        width, examples = len(task.classes), task.examples()[: study.matrix.BLOCK]
        bias = np.log([0.6, *[0.4 / (width - 1)] * (width - 1)])
        for n, prompt in enumerate(task.pool):
            for block, rows in ((-1, np.tile(bias, (3, 1))), (0, np.tile(bias, (len(examples), 1)))):
                places = [task.classes.index(one.label) for one in examples]
                if n == GOOD and block == 0:
                    rows[np.arange(len(rows)), places] += 2
                hundredths = np.round(100 * rows).astype(int).ravel().tolist()
                lines.append({"task": task.name, "block": block, "prompt": prompt, "rows": hundredths})
    return lines


def options(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"questions": 40, "encoder": "", **given})


def test_a_target_says_what_was_computed_calibrated_or_not(study: SimpleNamespace) -> None:
    rows = {"a": np.log([[0.6, 0.4], [0.9, 0.1]])}
    empty = {"a": np.log([[0.8, 0.2]] * 3)}
    examples = [Example("1", "x", "no"), Example("2", "y", "yes")]
    how: dict[str, Any] = {"examples": examples, "classes": ("yes", "no")}
    plain = study.matrix.Looked(rows, empty, calibrated=False, **how)
    assert plain.run(Prompt("a"), examples[::-1]) == ["yes", "yes"]
    calibrated = study.matrix.Looked(rows, empty, calibrated=True, **how)
    said = calibrated.run(Prompt("a"), examples)
    assert said == ["no", "yes"]
    assert np.exp(said[0].log_probabilities["no"]) == pytest.approx(0.4 / 0.2 / (0.4 / 0.2 + 0.6 / 0.8))
    assert plain.problem_with(Prompt("a")) is None
    assert plain.problem_with(Prompt("b")) is not None


def test_a_file_is_read_up_to_where_it_was_cut_off(study: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "matrix.jsonl.gz"
    for block in (0, 1):
        with gzip.open(file, "at", encoding="utf-8") as kept:
            kept.write(json.dumps({"block": block}) + "\n")
    assert study.matrix.lines(file) == [{"block": 0}, {"block": 1}]
    file.write_bytes(file.read_bytes()[:-9])
    assert study.matrix.lines(file)[:1] == [{"block": 0}]
    assert study.matrix.lines(tmp_path / "none.gz") == []


def test_tasks_are_balanced_and_their_pools_begin_with_what_was_written_for_them(study: SimpleNamespace) -> None:
    for task in study.tasks.TASKS.values():
        examples = task.examples()
        labels = [one.label for one in examples]
        assert len({one.id for one in examples}) == len(examples) >= 120
        assert {labels.count(name) for name in task.classes} == {len(labels) // len(task.classes)}
        assert sorted(labels[: len(task.classes)]) == sorted(task.classes)
        assert task.pool[0] == task.written[0]
        assert len(task.pool) == 40


def test_halves_share_no_example_and_have_the_same_classes(study: SimpleNamespace) -> None:
    task = study.tasks.TASKS["language"]
    data = study.run.halves(task.examples()[:40], task, 3)
    train, test = ([one.label for one in part] for part in (data.train, data.test))
    assert not {one.id for one in data.train} & {one.id for one in data.test}
    assert sorted(train) == sorted(test) == sorted(5 * task.classes)
    assert data != study.run.halves(task.examples()[:40], task, 4)


@pytest.mark.parametrize("arm", ["random, whole pool", "bayes", "racing", "apohf"])
def test_a_search_finds_the_prompt_that_knows(study: SimpleNamespace, known: list[dict[str, Any]], arm: str) -> None:
    task = study.tasks.TASKS["feeling"]
    run = study.run.one_run(task, "plain", arm, 0, known=known, options=options())
    assert (run["best"], run["start"], run["test"]) == (task.pool[GOOD], 0.5, 1.0)


def test_racing_stops_when_as_many_examples_were_rated_as_by_the_others(
    study: SimpleNamespace, known: list[dict[str, Any]]
) -> None:
    task = study.tasks.TASKS["language"]
    run = study.run.one_run(task, "plain", "racing", 0, known=known, options=options(questions=4))
    assert 4 * 20 <= run["rated"] < 4 * 20 + 200  # a batch of ten is ended


def test_tables(study: SimpleNamespace, known: list[dict[str, Any]]) -> None:
    runs = [
        {"task": task, "choice": choice, "arm": arm, "seed": seed, "start": 0.5, "test": test}
        for task, choice, seed in product(("feeling", "language"), study.run.CHOICES, (0, 1))
        for arm, test in (("random", 0.75), ("bayes", 0.75 + 0.1 * seed))
    ]
    tables = study.run.report(runs, known)
    assert "| feeling | 40 | 50.0 | 50.0 | 50.0 | 100.0 | 50.0 | 50.0 | 50.0 | 50.0 | 100.0 |" in tables
    assert "| random | 75.0 | 75.0 | 75.0 |" in tables
    assert "| random against start | 25.0 | 2 and 0 of 2 | 25.0 | 2 and 0 of 2 |" in tables
    assert "| bayes against random | 5.0 | 2 and 0 of 2 | 5.0 | 2 and 0 of 2 |" in tables


def test_the_page_says_what_the_matrix_says(study: SimpleNamespace) -> None:
    page, known = (EXPERIMENT / "README.md").read_text(encoding="utf-8"), study.matrix.lines()
    for choice in study.run.CHOICES:
        assert study.run.spread(known, choice) in page


def test_one_pass_gives_the_gradients_of_all_positions(study: SimpleNamespace) -> None:
    lm, examples, prompts = study.gradient.setting("embedded LM, labels", "arithmetic")
    found = study.gradient.everywhere(lm, prompts[0], examples[:3], with_reasoning=False)
    assert [*found] == [*range(len(lm.tokens(prompts[0])))]
    for position in (0, len(found) - 1):
        wanted = lm.step(prompts[0], position, examples[:3], with_reasoning=False)
        np.testing.assert_allclose(found[position].gradient(), wanted.gradient(), atol=1e-5)
        np.testing.assert_allclose(found[position].loss, wanted.loss, atol=1e-5)
        assert found[position].top(5).tolist() == wanted.top(5).tolist()


def test_the_gradients_along_the_way_add_up_to_what_an_exchange_changes(study: SimpleNamespace) -> None:
    lm, examples, prompts = study.gradient.setting("embedded LM, labels", "arithmetic")
    seen = lm.step(prompts[1], 1, examples[:2], with_reasoning=False)
    new = study.gradient.proposals(lm, prompts[1], 1, seen, n=2)
    losses = lm.losses([prompts[1], *new.values()], examples[:2]).mean(axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.gradient, "POINTS", tuple((np.arange(40) + 0.5) / 40))
        gains = study.gradient.path(lm, prompts[1], 1, [*new], examples[:2])
    np.testing.assert_allclose(gains, losses[1:] - losses[0], atol=0.02 * np.ptp(losses))


def test_tables_of_positions(study: SimpleNamespace) -> None:
    ways = ("gradient", "unit", "prior", "few", "true")
    gains = {"gradient": 0.5, "few": 0.75, "several": 0.25, "prior": 0.0, "chance": 0.0}
    look = {"kind": "SmolLM2, labels", "seen": 0.5, "rank": dict.fromkeys(ways, 0.25), "gain": gains}
    look["regret"] = dict.fromkeys((*ways, "chance"), 0.125)
    tables = study.gradient.report([look] * 2)
    assert "| positions | 2 |" in tables
    assert "| racing, three rated | 0.75 |" in tables
    assert "| *racing, three rated, less `greater`* | 0.25 |" in tables


@pytest.mark.parametrize("name", ["gradient", "tokens"])
def test_the_page_says_what_was_kept(study: SimpleNamespace, name: str) -> None:
    kept = (EXPERIMENT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    page = (EXPERIMENT / "README.md").read_text(encoding="utf-8")
    assert getattr(study, name).report([json.loads(line) for line in kept]) in page
