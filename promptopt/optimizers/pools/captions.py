"""Templates mined from captions: "a blurry photo of a dog in the snow" becomes "a blurry photo of a {} in the snow".

[Liu2024] draws its initial prompts from about a million such templates, mined from LAION-COCO. The captions are not
ours to ship; this pool is for those who have them.

Without a list of objects the object is found by rule, which is a heuristic: the first noun phrase that is not a frame
such as "a photo of" or "a group of", up to the next preposition, verb, conjunction or punctuation mark. The
adjectives before the noun go with it. There is no tagger behind it, so a verb that looks like a noun ("a dog runs")
stays in the phrase, and a word in "-ing" within the phrase may cut it short.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from ...core import Prompted
from ...errors import UserError
from ...vocabulary import need_templates

if TYPE_CHECKING:
    import numpy as np

Span: TypeAlias = tuple[int, int]
Finder: TypeAlias = Callable[[str], Span | None]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORD = re.compile(r"\w+(?:['’-]\w+)*")
DETERMINERS = _words(
    "a an the this that these those some any each every another many several few "
    "my your his her its our their one two three four five six seven eight nine ten"
)
FRAMES = _words(
    "photo photograph picture pic image shot close-up closeup view portrait drawing painting sketch illustration "
    "rendering render depiction artwork print scan screenshot snapshot selfie video clip frame poster logo icon "
    "set group pair couple bunch collection row stack pile piece number variety lot lots kind type part "
    "photos photographs pictures images drawings paintings sketches illustrations pieces"
)
STOPS = _words(
    "of in on at by with without from to into onto over under above below behind beside near next between among "
    "against along across around through during inside outside for as like up down off out about toward towards past "
    "and or but nor while when where who which whose that is are was were be been being has have had there here it he "
    "she they we you i not can will does do did sits stands holds wears looks"
)
LINKS = _words("in on at by with from to for into over under near as up down off along around through")
COLOURS = _words("black white red green blue yellow orange pink purple brown grey gray gold golden silver")
FRAME_LINKS = _words("of showing depicting featuring")
ING_NOUNS = _words(
    "building painting drawing king ring wing string ceiling wedding swing spring clothing thing earring icing "
    "railing awning sling duckling evening morning"
)


class Captions:
    """Templates mined from a file of captions, in random order; a template that many captions give comes early.

    Only the place of each line and its turn are held in memory, 16 bytes a caption, and the templates that were drawn.
    A ``.gz`` file is unpacked to a temporary file for as long as it is drawn from.

    Args:
        path: a UTF-8 file with one caption per line, or one JSON object per line if ``field`` is given; ``.gz`` too.
        objects: names of objects. A caption's longest one, singular or plural, becomes the ``{}``; captions without
            one are skipped. Empty means by rule, see the module.
        field: the key of the caption in a line's JSON object.

    Attributes:
        skipped: how many lines of the latest draw held no object, or no caption, so far.

    Raises:
        UserError: the file is missing or cannot be unpacked.
    """

    def __init__(self, *, path: str | Path, objects: Sequence[str] = (), field: str | None = None) -> None:
        self.path = Path(path).expanduser()
        self.field = field
        self.skipped = 0
        self._find = _finder(objects)
        if not self.path.is_file():
            raise UserError(f"there is no file of captions {str(path)!r}. Give a text file with one caption per line.")

    def check(self, run: Prompted, /) -> None:
        """Whether the prompts are templates.

        Raises:
            UserError: they are texts.
        """
        need_templates(run, "the pool captions")

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct templates in random order; ends when every caption was looked at."""
        self.skipped = 0
        seen: set[str] = set()
        with _seekable(self.path) as file:
            starts = array("q", [0])
            starts.extend(_ends(file))
            for line in rng.permutation(len(starts) - 1):
                file.seek(starts[line])
                template = _template(self._caption(file.readline()), self._find)
                if template is None:
                    self.skipped += 1
                elif template not in seen:
                    seen.add(template)
                    yield template

    def _caption(self, line: bytes) -> str:
        text = line.decode("utf-8", errors="replace")
        if self.field is None:
            return text
        try:
            return str(json.loads(text)[self.field])
        except (ValueError, KeyError, TypeError):
            return ""


def mine(captions: Iterable[str], *, objects: Sequence[str] = ()) -> Iterator[str]:
    """The templates of captions, in order, one for each that holds an object. Equal templates are not merged.

    Args:
        captions: one text each. One that holds a brace gives no template.
        objects: as in :class:`Captions`.
    """
    find = _finder(objects)
    return (template for caption in captions if (template := _template(caption, find)) is not None)


def _template(caption: str, find: Finder) -> str | None:
    caption = " ".join(caption.split())
    span = None if "{" in caption or "}" in caption else find(caption)
    return caption[: span[0]] + "{}" + caption[span[1] :] if span else None


# ── Objects from a list ───────────────────────────────────────────────────────────────────────────────────────────


def _finder(objects: Sequence[str]) -> Finder:
    if not objects:
        return _noun_phrase
    forms = {form for name in objects for form in _forms(" ".join(name.lower().replace("_", " ").split()))}
    longest = max((len(WORD.findall(form)) for form in forms), default=0)
    return lambda caption: _named(caption, forms, longest)


def _named(caption: str, forms: set[str], longest: int) -> Span | None:
    """The span of the longest object by words, the leftmost of equals."""
    words = [match.span() for match in WORD.finditer(caption)]
    text = caption.lower()
    if len(text) != len(caption):  # a letter whose lower case is longer
        text = caption
    for n in range(min(longest, len(words)), 0, -1):
        for first, last in zip(words, words[n - 1 :], strict=False):
            if text[first[0] : last[1]] in forms:
                return first[0], last[1]
    return None


def _forms(name: str) -> Iterator[str]:
    """The name, its regular plurals, and its singular if it looks like a plural."""
    yield name
    yield name + "s"
    if name.endswith(("s", "x", "z", "ch", "sh", "o")):
        yield name + "es"
    if re.search(r"[^aeiou]y$", name):
        yield name[:-1] + "ies"
    if re.search(r"[^f]fe?$", name):
        yield re.sub(r"fe?$", "ves", name)
    if re.search(r"man$", name):
        yield name[:-3] + "men"
    if len(name) > 3 and re.search(r"[^su]s$", name):
        yield name[:-1]


# ── Objects by rule ───────────────────────────────────────────────────────────────────────────────────────────────


def _noun_phrase(caption: str) -> Span | None:
    """The span of the first noun phrase that is no frame; the start of a caption counts as a determiner."""
    words = [(match.group().lower(), *match.span()) for match in WORD.finditer(caption)]
    position, open_ = 0, True  # open_: a noun phrase may begin here
    while position < len(words):
        if words[position][0] in DETERMINERS:
            position, open_ = position + 1, True
            continue
        end = _phrase_end(words, position, caption) if open_ else position
        if end == position:
            position, open_ = position + 1, False
        elif words[end - 1][0] in FRAMES and end < len(words) and words[end][0] in FRAME_LINKS:
            position, open_ = end + 1, True
        else:
            return words[position][1], words[end - 1][2]
    return None


def _phrase_end(words: list[tuple[str, int, int]], start: int, caption: str) -> int:
    """The index behind the last word of the phrase that begins at ``start``; ``start`` itself if there is none."""
    end = start
    while end < len(words):
        word = words[end][0]
        following = words[end + 1][0] if end + 1 < len(words) else ""
        joins = word == "and" and end > start and {words[end - 1][0], following} <= COLOURS  # black and white
        if (word in STOPS and not joins) or word in DETERMINERS or (end > start and _looks_like_verb(word, following)):
            break
        if end > start and caption[words[end - 1][2] : words[end][1]].strip():  # punctuation in between
            break
        end += 1
    return end


def _looks_like_verb(word: str, following: str) -> bool:
    if word.endswith("ing"):
        return word not in ING_NOUNS
    return word.endswith("ed") and len(word) > 4 and following in LINKS


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _seekable(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return path.open("rb")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, unpacked)
    except (OSError, EOFError) as error:
        unpacked.close()
        raise UserError(f"cannot unpack {str(path)!r}: {error}. Give a whole .gz file or a plain text file.") from None
    unpacked.seek(0)
    return unpacked


def _ends(file: IO[bytes]) -> Iterator[int]:
    """The position behind each line."""
    position = 0
    for line in file:
        position += len(line)
        yield position
