"""Pictures that are to be drawn: of a wish in words, like one picture, or of one's own subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checks import at_least, check_argument
from ..core import Dataset, Example
from ..errors import UserError
from ..pictures import read_picture

NAME = "drawings"


def drawings(
    *,
    wish: str = "",
    references: str | Path | Sequence[str | Path] = (),
    pictures: int = 4,
    dev: int = 0,
    test: int = 10,
    seed: int = 0,
) -> Dataset:
    """One example for each picture that a prompt is to bring about.

    The three tasks of [Liu2024]: with a ``wish`` alone pictures are generated; with one reference it is inverted, that
    is, a prompt is looked for that gives a picture like it; with a few of one subject that subject is personalized,
    and the wish says what it is to do. What differs between examples is the number of the picture, and with it the
    generator's seed (:func:`promptopt.targets.pictures.seed_of`), which is the same for all prompts: they are compared
    on equal seeds, and the verdict on seeds that the search never saw.

    Of each example ``input`` is the wish, empty where there is none: what a chat target, a judge and a metric of texts
    read. ``label`` is the references where there are any, as a tuple of absolute paths, and else the wish: what a
    metric compares a picture with (:func:`promptopt.pictures.references_of` reads them).

    Args:
        wish: what is to be seen, in words.
        references: files, PNG, JPEG, WebP or GIF; each is opened now, to see that it can be.
        pictures: how many pictures a prompt gets in the search.
        dev: how many more, of other seeds, for the final choice among the best prompts.
        test: how many more, of other seeds, for the verdict; 0 leaves it out.
        seed: of the pictures' own seeds; the run's.

    Raises:
        UserError: there is neither a wish nor a reference, a number is out of range, or a reference is missing, no
            picture, broken, huge or animated.
    """
    at_least(1, where=NAME, pictures=pictures)
    at_least(0, where=NAME, dev=dev, test=test, seed=seed)
    check_argument("wish", wish, allowed="a text", holds=isinstance(wish, str), where=NAME)
    given = [references] if isinstance(references, str | Path) else list(references)
    if not (wish.strip() or given):
        raise UserError(f"{NAME}: give wish, a text that says what is to be seen, or references, files of pictures.")
    for path in given:
        read_picture(path, where=f"{NAME}, references")
    label = tuple(str(Path(path).expanduser().resolve()) for path in given) or wish
    every = [Example(f"{NAME}/{seed}/{number}", wish, label) for number in range(pictures + dev + test)]
    train, rest = every[:pictures], every[pictures:]
    return Dataset(NAME, tuple(train), tuple(rest[:dev]), tuple(rest[dev:]))
