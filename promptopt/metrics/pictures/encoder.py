"""Pictures and texts as unit vectors of one space, by an open_clip model, with what was computed kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import at_least
from ...core import Mark
from ...errors import UserError, require
from ...store import cache_folder
from ...targets.images import BROKEN
from . import Reference, pictured

__all__ = ["Encoder", "Row"]

Row = NDArray[np.float32]
"""Of length 1, ``(dim,)``."""


class Encoder:
    """An open_clip model, loaded once for all who name it.

    Args:
        model: as of the target ``clip``.
        pretrained: likewise.
        like: likewise.
        device: likewise.
        batch_size: pictures a batch at most.
        cache: folder for features of pictures; True is the user's cache folder, False or None keeps them in memory.
        prepare: how pictures are prepared, and a name for it, where it differs from what the model says; made from the
            model's own settings.

    Attributes:
        there: whether it is loaded; else it only helps to check a recipe.
        dim: how many numbers a vector has.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: an argument cannot be used, or loading failed.
        MissingExtra: open_clip or another package of the extra ``clip`` is not installed.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None,
        *,
        like: str | None,
        device: str,
        batch_size: int,
        cache: str | Path | bool | None,
        prepare: Callable[[Mapping[str, Any]], tuple[str, Callable[[Any], Any]]] | None = None,
    ) -> None:
        at_least(1, batch_size=batch_size)
        for package in ("torch", "open_clip", "PIL"):
            require(package, extra="clip")
        from ...targets.clip.models import load

        self._called = model
        self._rows: dict[Reference, Row | str] = {}
        loaded = load(model, pretrained, like=like, device=device)
        self.there = loaded is not None
        if loaded is None:
            return
        from ...targets.clip.images import ImageFeatures
        from ...targets.clip.text import TextEncoder

        folder = cache_folder() if cache is True else Path(cache) if cache else None
        how: dict[str, Any] = {"batch_size": batch_size, "cache": folder}
        how |= {"prepare": prepare(loaded.model.visual.preprocess_cfg)} if prepare else {}
        self._images = ImageFeatures(loaded.model, config=loaded.config, **how)
        self._texts = TextEncoder(loaded.model, loaded.tokenizer)
        self.dim = int(loaded.config["embed_dim"])

    def outputs(self, outputs: Sequence[Any]) -> list[Row | Mark | None]:
        """Outputs of a target as vectors; a Mark that says why where one cannot be used, None where there is none."""
        given = [pictured(output) for output in outputs]
        places = [i for i, one in enumerate(given) if not (one is None or isinstance(one, Mark))]
        rows, broken = self._of([given[i] for i in places])
        found: list[Row | Mark | None] = list(given)
        for n, place in enumerate(places):
            found[place] = Mark(None, broken[n], failed=True) if n in broken else rows[n]
        return found

    def references(self, wanted: Sequence[Reference]) -> dict[Reference, Row | str]:
        """What outputs are compared with, each encoded once; or why it cannot be, for a record."""
        new = [one for one in dict.fromkeys(wanted) if one not in self._rows]
        texts = [one for one in new if isinstance(one, str)]
        self._rows |= {one: why for one in texts if (why := self.problem_with(one))}
        if fitting := [one for one in texts if one not in self._rows]:
            encoded = self._texts.encode(fitting).float().cpu().numpy()
            self._rows |= zip(fitting, encoded, strict=True)
        if pictures := [one for one in new if not isinstance(one, str)]:
            rows, broken = self._of(pictures)
            self._rows |= {one: f"{BROKEN}: {broken[i]}" if i in broken else rows[i] for i, one in enumerate(pictures)}
        return {one: self._rows[one] for one in wanted}

    def problem_with(self, text: str) -> str | None:
        """Why a text cannot be encoded: it does not fit into the text tower, which would cut it off."""
        if not self.there or (length := self._texts.lengths([text])[0]) <= self._texts.context:
            return None
        return (
            f"text too long: {length} tokens, start and end included; {self._called} takes {self._texts.context} "
            f"({text[:40]!r}...)"
        )

    def check(self, references: Sequence[Reference]) -> None:
        """Raises UserError if a text cannot be encoded."""
        for one in references:
            if isinstance(one, str) and (why := self.problem_with(one)):
                raise UserError(f"{why}. Shorten it, or take another model.")

    def _of(self, pictures: Sequence[Any]) -> tuple[list[Row], dict[int, str]]:
        if not pictures:
            return [], {}
        features, broken = self._images.of_seen_once(pictures)
        return list(features.float().cpu().numpy()), broken
