"""Long replies beside the ledger: pictures and texts in files that are named by their content.

A picture that comes as base64 within a reply (:mod:`promptopt.targets.pictures`) is megabytes long. It is kept as a
picture that can be looked at, and put back into the reply letter by letter when the run resumes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from pathlib import Path

from .core import Picture
from .errors import UserError

__all__ = ["attach", "detach", "picture_file", "picture_of"]

LONGEST = 50_000
"""Characters of a reply that stand in the ledger itself."""
BASE64 = re.compile(rf"[A-Za-z0-9+/]{{{LONGEST // 2},}}={{0,2}}")
PICTURES, REPLIES = "pictures", "replies"


def picture_of(data: bytes) -> Picture | None:
    """The bytes of a PNG, JPEG, WebP or GIF as a picture; what it shows is not looked at."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Picture(data, "image/png")
    if data.startswith(b"\xff\xd8\xff"):
        return Picture(data, "image/jpeg")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Picture(data, "image/webp")
    return Picture(data, "image/gif") if data.startswith((b"GIF87a", b"GIF89a")) else None


def picture_file(picture: Picture) -> str:
    """Where a picture lies in a run's folder, if it came with a recorded reply."""
    return f"{PICTURES}/{_hash(picture.data)}.{picture.type.removeprefix('image/')}"


def detach(text: str, folder: Path) -> list[str]:
    """A reply's text as what stands in the ledger.

    Returns:
        The text alone, or what stands before the file's content, the file's name and what stands behind it.
    """
    if len(text) <= LONGEST:
        return [text]
    for found in BASE64.finditer(text):
        if picture := _decoded(found[0]):
            _write(folder / picture_file(picture), picture.data)
            return [text[: found.start()], picture_file(picture), text[found.end() :]]
    data = text.encode("utf-8", "surrogatepass")
    name = f"{REPLIES}/{_hash(data)}.txt"
    _write(folder / name, data)
    return ["", name, ""]


def attach(parts: list[str], folder: Path | None) -> str:
    """The text that :func:`detach` took apart.

    Raises:
        UserError: the file is not there, or was changed.
    """
    if len(parts) == 1:
        return parts[0]
    before, name, after = parts
    try:
        data = ((folder or Path()) / name).read_bytes()
    except OSError:
        raise UserError(f"{name} is missing in {folder}: a reply of this run is in it. Restore it.") from None
    if Path(name).stem != _hash(data):
        raise UserError(f"{name} in {folder} is not what it was: a reply of this run is in it. Restore it.")
    inside = base64.b64encode(data).decode() if name.startswith(PICTURES) else data.decode("utf-8", "surrogatepass")
    return before + inside + after


def _decoded(text: str) -> Picture | None:
    """The picture that base64 holds, if encoding it again gives the same text."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return picture_of(data) if base64.b64encode(data).decode() == text else None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    """All or nothing; what is there already is the same."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
        part.write_bytes(data)
        part.replace(path)
