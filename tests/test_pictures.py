"""Pictures that come from elsewhere: broken, huge, animated and none at all."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from promptopt.attachments import picture_of
from promptopt.core import Example, Picture
from promptopt.errors import UserError
from promptopt.pictures import flaw_of, read_picture, references_of

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def encoded(kind: str = "PNG", *, size: tuple[int, int] = (8, 8), **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind, **how)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it is as large as this."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


ANIMATED = encoded("GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
FLAWS = {
    "cut.png": (encoded(size=(64, 64))[:-30], "broken: "),
    "cut.jpg": (encoded("JPEG", size=(64, 64))[:400], "broken: "),
    "named.png": (b"\x89PNG\r\n\x1a\n and no more", "broken: it is not what it begins like"),
    "large.png": (bomb(8_200), r"huge: 8,200 x 8,200 pixels"),
    "bomb.png": (bomb(60_000), "huge: "),
    "moving.gif": (ANIMATED, "animated"),
    "moving.webp": (
        encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")], duration=10),
        "animated",
    ),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_has_no_flaw(kind: str, tmp_path: Path) -> None:
    picture = picture_of(encoded(kind))
    assert picture == Picture(encoded(kind), f"image/{kind.lower()}")  # type: ignore[arg-type]
    assert flaw_of(picture) is None
    (tmp_path / "a").write_bytes(encoded(kind))
    assert read_picture(tmp_path / "a", where="here") == picture


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FLAWS)
def test_broken_huge_and_animated_ones_are_told(name: str, tmp_path: Path) -> None:
    data, said = FLAWS[name]
    assert (picture := picture_of(data)) is not None
    assert (flaw_of(picture) or "").startswith(said)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"^here: .*{name}' is {said}.*Give a still picture") as caught:
        read_picture(tmp_path / name, where="here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [SVG, b"", b"<html>", b"BM" + bytes(60)])
def test_what_is_no_picture_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match=r"a.png' is no PNG, JPEG, WebP or GIF\. Give a still picture"):
        read_picture(tmp_path / "a.png", where="here")


def test_files_that_are_not_there_and_those_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.png': No such file"):
        read_picture(tmp_path / "none.png", where="here")
    monkeypatch.setattr("promptopt.pictures.LARGEST", 10)
    (tmp_path / "a.png").write_bytes(encoded())
    with pytest.raises(UserError, match="is larger than 0 MiB"):
        read_picture(tmp_path / "a.png", where="here")


def test_a_photo_with_a_preview_is_no_film(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(
        encoded("MPO", size=(64, 64), save_all=True, append_images=[Image.new("RGB", (8, 8))])
    )
    assert read_picture(tmp_path / "a.jpg", where="here").type == "image/jpeg"


def test_references_of_an_example(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded())
    picture = Picture(encoded())
    labels = [str(file), file, (str(file), file), [str(file)], "the file is a.png", "a.png", 7, None, ["yes", "y.png"]]
    found = [references_of(Example("one", "", label)) for label in labels]
    assert found == [(picture,), (picture,), (picture, picture), (picture,), (), (), (), (), ()]


def test_a_reference_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"example 'one': cannot read .*gone\.png': No such file"):
        references_of(Example("one", "", (str(tmp_path / "gone.png"),)))
    (tmp_path / "a.png").write_bytes(SVG)
    with pytest.raises(UserError, match=r"example 'one': .*a\.png' is no PNG"):
        references_of(Example("one", "", (str(tmp_path / "a.png"),)))
