"""How near a picture is to a text or to other pictures, by a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from ...core import Example, Mark, Picture
from . import UNTIMED, Reference, references
from .encoder import Encoder, Row

__all__ = ["ClipSimilarity"]


class ClipSimilarity:
    """Cosine similarity of a picture with what it is to show, in a CLIP model's space, from -1 to 1.

    With a text this is CLIPScore [Hessel2021] without its factor of 2.5 and without cutting negative values off; with
    pictures it is CLIP-I [Ruiz2023], the mean over the pictures. References are the example's label: a text, the path
    of a picture, a picture, or a list of these; or the option ``reference``, the same for all examples. Features of
    pictures are kept on disk, as of the target ``clip``.

    An output that is no picture, or cannot be opened, is too large or moves, has failed: -1. A reference that cannot be
    opened, or a text that the model's text tower has no room for, leaves its example unscored.

    Args:
        reference: a text, paths of pictures or pictures; by default each example's label.
        of: several references count by the ``mean`` of their similarities, or by the ``closest``.
        model: ``embedded``, an open_clip architecture, ``hf-hub:owner/name`` or a folder, as of the target ``clip``.
        pretrained: likewise.
        like: likewise.
        device: likewise.
        batch_size: pictures a batch at most.
        cache: folder for features; True is the user's cache folder, False or None keeps them in memory only.
        examples: the run's; their references are looked at before anything is spent.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: a reference is neither a text nor a picture, is not there or too long, or loading failed.
        MissingExtra: open_clip or another package of the extra ``clip`` is not installed.
    """

    worst = -1.0
    time_limit = UNTIMED

    def __init__(
        self,
        *,
        reference: Reference | Sequence[Reference] | None = None,
        of: Literal["mean", "closest"] = "mean",
        model: str = "embedded",
        pretrained: str | None = None,
        like: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        cache: str | Path | bool | None = True,
        examples: Sequence[Example] = (),
    ) -> None:
        several = () if reference is None else reference
        self._given: tuple[Reference, ...] = (several,) if isinstance(several, str | Path | Picture) else tuple(several)
        self._of = of
        how: dict[str, Any] = {"like": like, "device": device, "batch_size": batch_size, "cache": cache}
        self._encoder = Encoder(model, pretrained, **how)
        self._encoder.check(self._given)
        for example in examples:
            self._encoder.check(references(example, given=self._given))

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None.

        Raises:
            UserError: a reference is neither a text nor a picture, or its file is not there.
        """
        wanted = [references(example, given=self._given) for example in examples]
        found = self._encoder.outputs(outputs)
        there = [one for one, output in zip(wanted, found, strict=True) if isinstance(output, np.ndarray)]
        rows = self._encoder.references([one for several in there for one in several])
        return [
            self._mark(output, [rows[one] for one in several]) if isinstance(output, np.ndarray) else output
            for output, several in zip(found, wanted, strict=True)
        ]

    def _mark(self, output: Row, wanted: Sequence[Row | str]) -> float | Mark:
        if why := next((one for one in wanted if isinstance(one, str)), None):
            return Mark(None, why)
        each = [float(np.dot(output, one)) for one in wanted if not isinstance(one, str)]
        value = max(each) if self._of == "closest" else fmean(each)
        return min(1.0, max(-1.0, value))
