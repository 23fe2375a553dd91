"""archive.jsonl: what is written is read again, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptopt.core import Archive, Elite, Prompt
from promptopt.errors import UserError
from promptopt.record.archive import NAME, as_lines, cells_of, elites, growth, read_archive

RANGES = {"words": ("below 10", "10 or more"), "tone": ("casual", "neutral", "formal")}
NASTY = ["a\nb\r\nc\x85d\u2028e\x00", "\ud800 half", '{"quote": "\\"}', "日本語 😀", "<script> [bold]"]


def elite(cell: tuple[int, ...], text: str, value: float, question: int) -> Elite:
    origin = {"step": "1", "parents": [text]}
    return Elite(cell, Prompt(text, origin), value, {"words": 3, "tone": "casual"}, question)


def written(archive: Archive, folder: Path) -> Path:
    (folder / NAME).write_text(as_lines(archive) + "\n", encoding="utf-8", newline="")
    return folder


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    archive = Archive(RANGES, tuple(elite((i % 2, i % 3), text, i / 7, i) for i, text in enumerate(NASTY)))
    found = read_archive(written(archive, tmp_path))
    assert found == archive
    assert [one.prompt.origin for one in found.history] == [one.prompt.origin for one in archive.history]


def test_an_empty_one_is_one() -> None:
    assert growth(Archive(RANGES, ())) == []
    assert cells_of(Archive(RANGES, ())) == 6


def test_the_last_of_a_cell_holds_it_and_growth_follows() -> None:
    history = (elite((0, 0), "a", 0.5, 0), elite((0, 1), "b", 0.25, 3), elite((0, 0), "c", 0.75, 3))
    archive = Archive(RANGES, (*history, elite((0, 1), "b", 0.125, 8)))
    assert {cell: (one.prompt.text, one.value) for cell, one in elites(archive).items()} == {
        (0, 0): ("c", 0.75),
        (0, 1): ("b", 0.125),
    }
    assert growth(archive) == [(0, 1 / 6, 0.5), (3, 2 / 6, 1.0), (8, 2 / 6, 0.875)]


def test_none_is_none(tmp_path: Path) -> None:
    assert read_archive(tmp_path) is None


@pytest.mark.parametrize("change", ["", "x", '{"measures": 1}', '{"measures": {"a": ["b"]}}\n{"cell": [1]}'])
def test_a_damaged_one_is_told_of(tmp_path: Path, change: str) -> None:
    (tmp_path / NAME).write_text(change, encoding="utf-8")
    with pytest.raises(UserError, match="holds no archive that can be read"):
        read_archive(tmp_path)


def test_a_cell_that_is_not_there_is_damage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no cell \(0, 3\)"):
        read_archive(written(Archive(RANGES, (elite((0, 3), "a", 0.5, 0),)), tmp_path))
