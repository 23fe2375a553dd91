"""Class embeddings of prompts, line by line: a prompt that changes one line costs the texts of that line."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ...vocabulary.class_texts import ClassTexts

__all__ = ["ClassFeatures"]

MOST_BYTES = 64 * 2**20  # of features that are kept

Encode: TypeAlias = Callable[[Sequence[str]], Tensor]


class ClassFeatures:
    """Means of text features, class by class. The features of the lines used last are kept.

    A template has features ``(n_classes, dim)``, a text of one class ``(1, dim)``. A class whose name or texts are
    like another's has features of its own.

    Args:
        classes: the class names, in the order of the embeddings.
        most_bytes: of features that are kept; those of the prompts at hand are held besides.
    """

    def __init__(self, classes: Sequence[str], *, most_bytes: int = MOST_BYTES) -> None:
        self._classes = tuple(classes)
        self._place = {name: place for place, name in enumerate(classes)}
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def of(self, prompts: Sequence[ClassTexts], *, encode: Encode) -> Iterator[Tensor]:
        """For each prompt its class embeddings ``(n_classes, dim)``, each of length 1.

        Args:
            encode: gives the features of texts ``(n_texts, dim)``, each of length 1. It is called once, with the texts
                of the lines that are not kept, or not at all.
        """
        features = self._features(prompts, encode)
        for prompt in prompts:
            templates = [features[line] for line in prompt.templates]
            first = templates[0] if templates else features[next(text for text in _own(prompt))]
            total = first.new_zeros(len(self._classes), first.shape[-1])
            for line in templates:
                total += line
            counts = total.new_full((len(self._classes), 1), len(templates))
            for name, texts in prompt.own.items():
                total[self._place[name]] += torch.cat([features[text] for text in texts]).sum(dim=0)
                counts[self._place[name]] += len(texts)
            mean = total / counts
            yield mean / mean.norm(dim=-1, keepdim=True)

    def _features(self, prompts: Sequence[ClassTexts], encode: Encode) -> dict[str, Tensor]:
        """The features of all lines of some prompts."""
        lines = dict.fromkeys(line for prompt in prompts for line in (*prompt.templates, *_own(prompt)))
        found = {line: self._kept[line] for line in lines if line in self._kept}
        if new := [line for line in lines if line not in found]:
            texts = [self._filled(line) for line in new]
            rows = encode([text for filled in texts for text in filled])
            found |= zip(new, torch.split(rows, [len(filled) for filled in texts]), strict=True)
        self._keep({line: found[line] for line in lines})
        return found

    def _filled(self, line: str) -> list[str]:
        return [line.replace("{}", name) for name in self._classes] if "{}" in line else [line]

    def _keep(self, features: dict[str, Tensor]) -> None:
        """Keep features, the latest used longest; copies, since a part of a batch holds on to the whole of it."""
        for line, rows in features.items():
            self._kept[line] = rows if line in self._kept else rows.clone()
            self._kept.move_to_end(line)
        held = sum(rows.numel() * rows.element_size() for rows in self._kept.values())
        while held > self._most_bytes:
            _, rows = self._kept.popitem(last=False)
            held -= rows.numel() * rows.element_size()


def _own(prompt: ClassTexts) -> Iterator[str]:
    """The texts of single classes."""
    return (text for texts in prompt.own.values() for text in texts)
