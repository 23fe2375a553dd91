"""Material as people and LLM judges are shown it: titled texts and pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..core import Picture
from ..errors import BrokenFile, MissingExtra, UserError, require
from ..targets.images import names_image, open_picture
from ..text import as_text

Encoding = Literal["image/png", "image/jpeg", "image/webp", "image/gif"]
AS_THEY_ARE: Mapping[str, Encoding] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}


def is_picture(value: Any) -> bool:
    """Whether an output is shown as a picture: a Picture, a Pillow image, an array or a Path."""
    return isinstance(value, Picture | Path) or hasattr(value, "__array_interface__")


def parts(titled: Mapping[str, Any], *, trusted: bool) -> Iterator[tuple[str, str | Picture]]:
    """Titles with texts and pictures; a dict's fields, and the pictures of a list, each have a title of their own.

    Args:
        titled: by title, what is shown.
        trusted: whether a text that names an image file which exists is shown as the picture.

    Raises:
        UserError: a picture cannot be read.
        MissingExtra: Pillow is needed and not installed.
    """
    for title, value in titled.items():
        if isinstance(value, Mapping):
            yield from parts({f"{title}, {name}": field for name, field in value.items()}, trusted=trusted)
        elif isinstance(value, list | tuple) and value and all(_is_shown(one, trusted=trusted) for one in value):
            yield from parts({f"{title} {number}": one for number, one in enumerate(value, 1)}, trusted=trusted)
        elif _is_shown(value, trusted=trusted):
            yield title, value if isinstance(value, Picture) else _encoded(value, title)
        else:
            yield title, as_text(value)


def flaw_of(output: Any) -> str | None:
    """Why an output that is an encoded picture cannot be shown, in one sentence; None where it can, or is none.

    Without Pillow nobody looks.
    """
    if not isinstance(output, Picture):
        return None
    try:
        open_picture(output)
    except MissingExtra:
        return None
    except BrokenFile as error:
        return str(error)
    return None


def _is_shown(value: Any, *, trusted: bool) -> bool:
    """Whether a value is shown as a picture."""
    return is_picture(value) or (trusted and names_image(value))


def _encoded(value: Any, title: str) -> Picture:
    """A file's own bytes where providers take its format, PNG otherwise."""
    require("PIL", extra="clip")
    from PIL import Image

    try:
        if isinstance(value, str | Path):
            data = Path(value).read_bytes()
            image: Any = Image.open(io.BytesIO(data))
            if image.format in AS_THEY_ARE:
                return Picture(data, AS_THEY_ARE[image.format])
        else:
            image = value if isinstance(value, Image.Image) else Image.fromarray(value)
        file = io.BytesIO()
        (image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")).save(file, "PNG")
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise UserError(f"{title.lower()}: cannot show {value!r} as a picture: {error}.") from None
    return Picture(file.getvalue())
