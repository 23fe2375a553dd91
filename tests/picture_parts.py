"""Pictures for tests of metrics, made in a millisecond; good ones, and all the kinds that cannot be used."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from promptopt.attachments import picture_of
from promptopt.core import Example, Picture


def image(seed: int, *, size: tuple[int, int] = (20, 18)) -> Image.Image:
    """Four coloured fields; no two seeds give the same."""
    fields = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> Picture:
    data = io.BytesIO()
    image.save(data, kind, **how)
    found = picture_of(data.getvalue())
    assert found
    return found


def picture(seed: int) -> Picture:
    return encoded(image(seed))


def example(label: Any, number: int = 0) -> Example:
    return Example(f"wish/{number}", number, label)


def huge() -> Picture:
    """A PNG of 20,000 x 20,000 pixels by its header, which is all that is looked at."""
    data = bytearray(picture(0).data)
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return Picture(bytes(data))


UNUSABLE: dict[str, Any] = {
    "no picture: SVG is never opened": Picture(b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
    "no picture: HTML is never opened": Picture(b"\n<!DOCTYPE html><script>alert(1)</script>"),
    "no picture: it is empty": Picture(b""),
    "no picture: it is neither PNG, JPEG, WebP nor GIF": Picture(b"BM" + bytes(60)),
    "no picture: the target gave str": "a picture of a cat",
    "broken picture: ": Picture(picture(0).data[:60]),
    "huge picture: more than 64,000,000 pixels": huge(),
    "animated picture: 2 frames": encoded(image(0), "GIF", save_all=True, append_images=[image(1)]),
}
