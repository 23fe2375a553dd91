"""What somebody does who writes no prompts: classifiers on the image features of a CLIP, from a few labelled images.

[Zhang2022] Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022, arXiv 2207.09519.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from promptopt.core import Example, Prompt
from promptopt.targets.clip import Clip

__all__ = ["LinearProbe", "TipAdapter", "image_features"]


def image_features(clip: Clip, examples: Sequence[Example]) -> NDArray[np.float64]:
    """``(n_examples, dim)``, each row of length 1."""
    dim = clip.class_embeddings(Prompt("{}")).shape[1]
    scale = clip.model.logit_scale.exp()
    with torch.inference_mode():
        logits = clip.logits(torch.eye(dim, device=scale.device), examples)
    return (logits / scale).double().cpu().numpy()


def copies(clip: Clip, example: Example, views: int) -> list[Example]:
    """An example and its views, as a search with ``views`` rates it."""
    return [example, *(clip.view(example, number) for number in range(1, views))]


class LinearProbe:
    """Logistic regression on image features.

    Args:
        strength: inverse of the penalty, scikit-learn's ``C``, on features of length 1.
        views: copies of each training image, itself included, that it is trained on.
    """

    def __init__(self, *, strength: float, views: int = 1) -> None:
        self.strength = strength
        self.views = views

    def fit(self, clip: Clip, examples: Sequence[Example]) -> LinearProbe:
        """Train on labelled images."""
        shown = [copy for example in examples for copy in copies(clip, example, self.views)]
        self._clip = clip
        self._model = LogisticRegression(C=self.strength, max_iter=2000)
        self._model.fit(image_features(clip, shown), [example.label for example in shown])
        return self

    def accuracy(self, examples: Sequence[Example]) -> float:
        """Share of the examples that are given their label."""
        said = self._model.predict(image_features(self._clip, examples))
        return float(np.mean([one == example.label for one, example in zip(said, examples, strict=True)]))


class TipAdapter:
    """Tip-Adapter without training [Zhang2022]: labelled images vote, each by how near it is.

    ``logits = scale * cos(image, class texts) + alpha * sum over labelled images of exp(-beta * (1 - cos))``, the sum
    over those of a class. A labelled image is the mean of its views, as the paper takes that of augmented copies.

    Args:
        prompt: for the class texts.
        alpha: weight of the labelled images; the paper's for ImageNet.
        beta: how sharply nearness counts; likewise.
        views: copies of each labelled image, itself included.
    """

    def __init__(self, *, prompt: str, alpha: float = 1.0, beta: float = 5.5, views: int = 1) -> None:
        self.prompt, self.alpha, self.beta, self.views = prompt, alpha, beta, views

    def fit(self, clip: Clip, examples: Sequence[Example]) -> TipAdapter:
        """Remember labelled images."""
        self._clip = clip
        shown = [copy for example in examples for copy in copies(clip, example, self.views)]
        keys = image_features(clip, shown).reshape(len(examples), self.views, -1).mean(axis=1)
        self._keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
        self._values = np.array([[example.label == name for name in clip.classes] for example in examples], dtype=float)
        return self

    def accuracy(self, examples: Sequence[Example]) -> float:
        """Share of the examples whose likeliest class is their label."""
        features = image_features(self._clip, examples)
        texts = self._clip.class_embeddings(Prompt(self.prompt))
        nearness = np.exp(-self.beta * (1 - features @ self._keys.T))
        logits = self._clip.model.logit_scale.exp().item() * features @ texts.T + self.alpha * nearness @ self._values
        labels = [self._clip.classes.index(example.label) for example in examples]
        return float((logits.argmax(axis=1) == labels).mean())
