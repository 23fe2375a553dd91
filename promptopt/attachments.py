"""Pictures and long replies beside the ledger, in files that are named by their content: what is the same lies once.

A picture that comes as base64 within a reply (:mod:`promptopt.targets.pictures`) is megabytes long. It is kept as a
picture that can be looked at, and put back into the reply letter by letter when the run resumes. A picture that a
target draws itself is kept where a case names it (:class:`PictureStore`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

from .core import Picture
from .errors import UserError

__all__ = ["PictureStore", "attach", "detach", "picture_at", "picture_file", "picture_of", "sweep"]

LONGEST = 50_000
"""Characters of a reply without a picture that stand in the ledger itself."""
SHORTEST = 64
"""Characters of base64 that are a picture and not a word; what is shorter stays in the ledger."""
BASE64 = re.compile(rf"[A-Za-z0-9+/]{{{SHORTEST},}}={{0,2}}")
PICTURES, REPLIES = "pictures", "replies"
NAME = re.compile(rf"({PICTURES}/[0-9a-f]{{32}}\.(png|jpeg|webp|gif))(?: \([\d,]+ bytes\))?")
"""A picture's name; ledgers from before say how many bytes it has, too."""


class PictureStore:
    """The pictures of one run, each once, whoever drew them. Safe to use from several threads.

    Args:
        folder: the run's, where they lie in ``pictures/``. Without one they are held in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, Picture] = {}
        self._lock = threading.Lock()

    def keep(self, picture: Picture) -> str:
        """Keep a picture, and return its name.

        Raises:
            UserError: it cannot be written.
        """
        name = picture_file(picture)
        if self._folder is None:
            with self._lock:
                self._held[name] = picture
        else:
            _write(self._folder / name, picture.data)
        return name

    def find(self, name: str | None) -> Picture | None:
        """The picture of a name, as :func:`picture_at` finds it."""
        if self._folder is not None:
            return picture_at(self._folder, name)
        found = NAME.fullmatch(name or "")
        return self._held.get(found[1]) if found else None


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
    """A picture's name: where it lies in the folder of a run that has kept it."""
    return f"{PICTURES}/{_hash(picture.data)}.{picture.type.removeprefix('image/')}"


def picture_at(folder: Path, name: str | None) -> Picture | None:
    """The picture that a case's output names; None where it names none, or the file is gone or not what it was."""
    found = NAME.fullmatch(name or "")
    try:
        data = (folder / found[1]).read_bytes() if found else b""
    except OSError:
        return None
    if not found or _hash(data) != Path(found[1]).stem:
        return None
    kinds: dict[str, Literal["image/png", "image/jpeg", "image/webp", "image/gif"]]
    kinds = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
    return Picture(data, kinds[found[2]])


def sweep(folder: Path) -> None:
    """Take away what a killed process has left half written; nobody else may be writing there."""
    for place in (PICTURES, REPLIES):
        for part in (folder / place).glob("*.part"):
            with suppress(OSError):
                part.unlink()


def detach(text: str, folder: Path) -> list[str]:
    """A reply's text as what stands in the ledger.

    Returns:
        The text alone; or texts and, between them, the names of files whose content stands there.
    """
    parts, end = [], 0
    for found in BASE64.finditer(text):
        if picture := _decoded(found[0]):
            _write(folder / picture_file(picture), picture.data, safely=True)
            parts += [text[end : found.start()], picture_file(picture)]
            end = found.end()
    parts.append(text[end:])
    if sum(map(len, parts)) <= LONGEST:
        return parts
    data = text.encode("utf-8", "surrogatepass")
    name = f"{REPLIES}/{_hash(data)}.txt"
    _write(folder / name, data, safely=True)
    return ["", name, ""]


def attach(parts: list[str], folder: Path | None) -> str:
    """The text that :func:`detach` took apart.

    Raises:
        UserError: a file is not there, or was changed.
    """
    return "".join(_content(part, folder) if number % 2 else part for number, part in enumerate(parts))


def _content(name: str, folder: Path | None) -> str:
    """What stood in a reply in a file's place."""
    try:
        data = ((folder or Path()) / name).read_bytes()
    except OSError:
        raise UserError(f"{name} is missing in {folder}: a reply of this run is in it. Restore it.") from None
    if Path(name).stem != _hash(data):
        raise UserError(f"{name} in {folder} is not what it was: a reply of this run is in it. Restore it.")
    return base64.b64encode(data).decode() if name.startswith(PICTURES) else data.decode("utf-8", "surrogatepass")


def _decoded(text: str) -> Picture | None:
    """The picture that base64 holds, if encoding it again gives the same text."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return picture_of(data) if base64.b64encode(data).decode() == text else None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _write(path: Path, data: bytes, *, safely: bool = False) -> None:
    """All or nothing; what is there already is the same.

    Args:
        safely: on the disk before the ledger names it, since it was bought; what was drawn here can be drawn again.

    Raises:
        UserError: it cannot be written, for example on a full disk.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        if path.exists() and path.stat().st_size == len(data):
            return
        path.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            if safely:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Make room, or mend what else is wrong there."
        ) from None
