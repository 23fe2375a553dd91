"""Long replies beside the ledger."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.attachments import LONGEST, PictureStore, attach, detach, picture_at, picture_file, picture_of
from promptopt.core import Completion, Picture, Reply, Usage
from promptopt.errors import UserError
from promptopt.record.codec import decode_completion, encode_completion

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
CODED = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f'"{CODED}"', "png"),
        (f'{{"image": "data:image/png;base64,{CODED}", "seed": 1}}', "png"),
        ("x" * LONGEST + "é", "txt"),
        (CODED.replace("/", "_"), "txt"),  # another alphabet: encoding it again would give another text
        ("a" * 4 * LONGEST, "txt"),
        ("half a pair \ud800" * LONGEST, "txt"),
    ],
)
def test_long_replies_are_in_files_and_come_back_letter_by_letter(tmp_path: Path, text: str, kind: str) -> None:
    parts = detach(text, tmp_path)
    assert sum(map(len, parts)) < 200
    assert parts[1].endswith(f".{kind}")
    assert attach(parts, tmp_path) == text
    assert detach(text, tmp_path) == parts
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@given(st.text(max_size=100))
def test_short_replies_stay_where_they_are(text: str) -> None:
    assert attach(detach(text, Path("nowhere")), None) == text


def test_in_the_record_of_a_call(tmp_path: Path) -> None:
    completion = Completion((Reply("short"), Reply(f'"{CODED}"', "length")), Usage(1, 2, 3, 0.5))
    event = encode_completion(completion, tmp_path)
    assert event["replies"][0] == ["short", "stop"]
    assert [len(one) for one in event["replies"]] == [2, 4]
    assert decode_completion(event, tmp_path) == completion
    assert decode_completion(encode_completion(completion)) == completion


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    parts = detach(f'"{CODED}"', tmp_path)
    (tmp_path / parts[1]).unlink()
    with pytest.raises(UserError, match=r"pictures/\w+\.png is missing"):
        attach(parts, tmp_path)


def test_a_file_that_was_changed_or_is_another_is_named(tmp_path: Path) -> None:
    parts = detach("x" * 60_000, tmp_path)
    (tmp_path / parts[1]).write_text("y" * 60_000)
    with pytest.raises(UserError, match=r"replies/\w+\.txt in .* is not what it was"):
        attach(parts, tmp_path)
    (tmp_path / "secret.txt").write_text("none of the record's")
    with pytest.raises(UserError, match="is not what it was"):
        attach(["", "replies/../secret.txt", ""], tmp_path)


def test_what_is_no_picture() -> None:
    assert picture_of(b"<svg/>") is None


SMALL = b"\x89PNG\r\n\x1a\n" + bytes(200)


def test_small_pictures_are_files_too_and_each_lies_once(tmp_path: Path) -> None:
    one, other = (base64.b64encode(data).decode() for data in (SMALL, PNG))
    text = f"first {one}, then {other}, the first again {one}."
    parts = detach(text, tmp_path)
    assert parts[::2] == ["first ", ", then ", ", the first again ", "."]
    assert parts[1] == parts[5] == picture_file(Picture(SMALL))
    assert attach(parts, tmp_path) == text
    assert len([*tmp_path.rglob("*.*")]) == 2
    event = encode_completion(Completion((Reply(text),)), tmp_path)
    assert decode_completion(event, tmp_path).replies == (Reply(text),)


def test_a_record_from_before_is_read_as_ever(tmp_path: Path) -> None:
    name = picture_file(Picture(PNG))
    PictureStore(tmp_path).keep(Picture(PNG))
    old = {"replies": [["short", "stop"], ['"', "length", name, '"']], "usage": [1, 2, 3, 0.5]}
    assert decode_completion(old, tmp_path).replies == (Reply("short"), Reply(f'"{CODED}"', "length"))


@pytest.mark.parametrize("folder", [True, False])
def test_pictures_are_kept_once_and_found_by_name(tmp_path: Path, folder: bool) -> None:
    store = PictureStore(tmp_path if folder else None)
    every = [Picture(PNG), Picture(SMALL, "image/jpeg"), Picture(PNG)]
    names = [store.keep(one) for one in every]
    assert names == [picture_file(one) for one in every]
    assert [store.find(name) for name in names] == every
    assert store.find(f"{names[0]} (76,808 bytes)") == every[0]  # as a case had it before
    for other in (None, "", "a cat", "pictures/../secret.png", f"pictures/{'0' * 32}.png", f"{names[0]}\n"):
        assert store.find(other) is None
    assert len([*tmp_path.rglob("*.*")]) == (2 if folder else 0)


def test_a_picture_that_was_changed_is_not_shown_and_half_of_one_is_written_anew(tmp_path: Path) -> None:
    store = PictureStore(tmp_path)
    file = tmp_path / store.keep(Picture(PNG))
    file.write_bytes(PNG[:-1])
    assert picture_at(tmp_path, picture_file(Picture(PNG))) is None
    store.keep(Picture(PNG))
    assert file.read_bytes() == PNG


def test_a_disk_that_takes_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("no folder")
    with pytest.raises(UserError, match=r"\.png cannot be written: .*Make room"):
        PictureStore(tmp_path).keep(Picture(PNG))
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
