"""Long replies beside the ledger."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.attachments import LONGEST, attach, detach, picture_of
from promptopt.core import Completion, Reply, Usage
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
