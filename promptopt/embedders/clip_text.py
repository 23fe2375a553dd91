"""A CLIP's text tower as an embedder of templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_argument
from ..errors import UserError, require
from ..vocabulary.class_texts import ClassLines, ClassTexts
from .rows import unit_rows
from .stored import Stored
from .weights import digest

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["ClipText"]


class ClipText:
    """A template's vector is the mean of its class texts' features, scaled to length 1.

    The texts are the template's lines filled with each class name, and what lines for single classes say. The mean has
    the model's own width (64 for the embedded one) however many classes there are. Features laid end to end would be
    ``n_classes`` times as wide, and predict accuracy only slightly better where we looked.

    Args:
        classes: the class names, as they stand in the prompts.
        model: an open_clip model, as of the target ``clip``; ``embedded`` comes with the package.
        pretrained: likewise.
        like: likewise.
        device: likewise.
        cache: folder for the vectors; True is the user's cache folder, False or None keeps none.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: there are no classes, or loading failed.
        MissingExtra: open_clip or torch is not installed.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        model: str = "embedded",
        pretrained: str | None = None,
        like: str | None = None,
        device: str = "auto",
        cache: str | Path | bool | None = True,
    ) -> None:
        holds = bool(classes) and not isinstance(classes, str)
        check_argument("classes", classes, allowed="a list of one or more names", holds=holds)
        for package in ("torch", "open_clip"):
            require(package, extra="clip")
        from ..targets.clip.models import load
        from ..targets.clip.text import TextEncoder

        self._classes = tuple(classes)
        self._lines = ClassLines(self._classes)
        self._called = model
        self._stored = Stored(cache)
        if loaded := load(model, pretrained, like=like, device=device):  # else it only helps to check a recipe
            self._model, self._tokenizer, self._config = loaded.model, loaded.tokenizer, loaded.config
            self._encoder = TextEncoder(self._model, self._tokenizer)

    @cached_property
    def name(self) -> str:
        """The model, and a hash of its configuration, its text weights, its vocabulary and the classes."""
        from ..targets.clip.precision import precision

        weights = {key: value for key, value in self._model.state_dict().items() if not key.startswith("visual.")}
        words = [self._tokenizer(text).tolist() for text in self._classes]
        settings = repr((self._config, self._classes, words, precision(self._model.logit_scale.device)))
        return f"clip-text:{Path(self._called).name}:{digest(settings, weights)}"

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, dim)`` float64, each row of length 1; each template is encoded by itself.

        Raises:
            UserError: it was built to check a recipe, without its weights.
        """
        if not hasattr(self, "_encoder"):
            raise UserError(f"the weights of the CLIP model {self._called!r} are not on this machine yet.")
        return self._stored.rows(texts, self._encode, name=lambda: self.name)

    def _encode(self, texts: Sequence[str]) -> Array:
        if not texts:
            return np.empty((0, self._encoder.encode([""]).shape[-1]))
        rows = np.stack([self._mean(text) for text in texts])
        return unit_rows(rows, texts, what=f"the CLIP model {self._called!r}")

    def _mean(self, template: str) -> Array:
        mean: Array = self._encoder.encode(self._filled(template)).double().mean(dim=0).cpu().numpy()
        return mean

    def _filled(self, template: str) -> list[str]:
        """The class texts; a line that is none of CLIP's is filled like a template."""
        try:
            texts = self._lines.read(template)
        except UserError:
            texts = ClassTexts(tuple(line for line in template.splitlines() if line.strip()) or ("",))
        filled = [line.replace("{}", name) for line in texts.templates for name in self._classes]
        return filled + [text for own in texts.own.values() for text in own]
