"""CoOp: a prompt of vectors instead of words, learnt by gradient; the white-box baseline of [Liu2024].

[Zhou2022] Learning to Prompt for Vision-Language Models, IJCV 2022, arXiv 2109.01134.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptopt.checks import above_zero, at_least, not_empty
from promptopt.core import Example
from promptopt.errors import UserError
from promptopt.targets.clip import Clip
from promptopt.targets.clip.text import causal_tower

__all__ = ["CoOp", "ContinuousPrompt"]

WORD = "x"  # stands where the vectors go, one token each
WARM_UP = 1e-5  # learning rate of the first epoch
SPREAD = 0.02  # standard deviation of the vectors at the start


class ContinuousPrompt:
    """Vectors that stand before every class name: ``[v1] ... [vm] class``.

    Attributes:
        vectors: ``(n_vectors, width)`` in the text tower's embedding space. They are no words: nothing says them.
        losses: mean cross-entropy of each epoch, nats.
    """

    def __init__(self, clip: Clip, vectors: Tensor, losses: Sequence[float]) -> None:
        self.vectors = vectors
        self.losses = tuple(losses)
        self._clip = clip
        with torch.inference_mode():
            self._classes = _class_features(clip, vectors)

    def run(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Log-probabilities, as :meth:`promptopt.targets.clip.Clip.run` gives them: ``(n_examples, n_classes)``.

        Raises:
            BrokenFile: an image cannot be decoded. Its row would be NaN, which ``argmax`` takes for the first class.
        """
        self._clip.check_images(examples)
        with torch.inference_mode():
            logits = self._clip.logits(self._classes, examples)
        return logits.log_softmax(dim=-1).cpu().numpy()

    def accuracy(self, examples: Sequence[Example]) -> float:
        """Share of the examples whose likeliest class is their label."""
        labels = [self._clip.classes.index(example.label) for example in examples]
        return float((self.run(examples).argmax(axis=1) == labels).mean())


class CoOp:
    """Learns the context of all classes together, with the class name at the end [Zhou2022].

    SGD with momentum 0.9 and weight decay 5e-4 on the cross-entropy, a first epoch at a small constant rate, then a
    cosine. The published recipe crops and flips images at random; here image features are computed once, so they are
    always the same.

    Args:
        vectors: how many.
        epochs: passes over the examples; None takes the published number for the shots: 50 for 1, 100 for 2 and 4, 200
            for more.
        rate: the learning rate.
        batch: examples a step.

    Raises:
        UserError: a number is below 1, or the rate is not above 0.
    """

    def __init__(self, *, vectors: int = 16, epochs: int | None = None, rate: float = 0.002, batch: int = 32) -> None:
        at_least(1, vectors=vectors, epochs=epochs, batch=batch)
        above_zero(rate=rate)
        self.vectors = vectors
        self.epochs = epochs
        self.rate = rate
        self.batch = batch

    def fit(self, clip: Clip, examples: Sequence[Example], *, rng: np.random.Generator) -> ContinuousPrompt:
        """Learn from labelled images; the model's weights stay as they are.

        Args:
            clip: a causal text tower of open_clip; others are refused, since their embeddings cannot be set alike.
            examples: images with labels among the target's classes.
            rng: draws the first vectors and the order of the examples.

        Raises:
            UserError: there are no examples, the tower is none that can be used, the vectors do not fit, or an image
                file is broken.
        """
        _check(clip, examples, self.vectors)
        clip.check_images(examples)
        width = _embedding(clip.model).weight.shape[1]
        device = clip.model.logit_scale.device
        drawn = rng.normal(0.0, SPREAD, (self.vectors, width)).astype(np.float32)
        vectors = torch.from_numpy(drawn).to(device).requires_grad_()
        labels = torch.tensor([clip.classes.index(example.label) for example in examples], device=device)
        optimizer = torch.optim.SGD([vectors], lr=self.rate, momentum=0.9, weight_decay=5e-4)
        losses = []
        for rate in self._rates(examples):
            optimizer.param_groups[0]["lr"] = rate
            losses.append(self._epoch(clip, vectors, examples, labels, optimizer, rng))
        return ContinuousPrompt(clip, vectors.detach(), losses)

    def _rates(self, examples: Sequence[Example]) -> list[float]:
        """The learning rate of each epoch."""
        shots = max(np.unique([example.label for example in examples], return_counts=True)[1])
        epochs = self.epochs or (50 if shots == 1 else 100 if shots <= 4 else 200)
        cosine = self.rate * (1 + np.cos(np.pi * np.arange(epochs) / epochs)) / 2
        return [WARM_UP, *cosine[1:].tolist()]

    def _epoch(
        self,
        clip: Clip,
        vectors: Tensor,
        examples: Sequence[Example],
        labels: Tensor,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
    ) -> float:
        total = 0.0
        order = rng.permutation(len(examples))
        for first in range(0, len(order), self.batch):
            places = order[first : first + self.batch]
            logits = clip.logits(_class_features(clip, vectors), [examples[i] for i in places])
            loss = F.cross_entropy(logits, labels[torch.from_numpy(places)])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(places)
        return total / len(order)


def _check(clip: Clip, examples: Sequence[Example], n_vectors: int) -> None:
    not_empty(examples=examples)
    if causal_tower(clip.model) is None:
        raise UserError("CoOp needs a causal text tower of open_clip, such as that of ViT-B-32 or RN50.")
    context = clip.tokenizer.context_length
    longest = max(map(len, (clip.tokenizer.encode(name) for name in clip.classes)))
    if n_vectors + longest + 2 > context:
        raise UserError(
            f"{n_vectors} vectors and a class name of {longest} tokens do not fit into {context} tokens; "
            f"take at most {context - longest - 2} vectors."
        )


def _class_features(clip: Clip, vectors: Tensor) -> Tensor:
    """Class embeddings ``(n_classes, dim)``, normalised; gradients flow to the vectors."""
    placeholder = " ".join([WORD] * len(vectors))
    rows = clip.tokenizer([f"{placeholder} {name}" for name in clip.classes]).to(vectors.device)
    with _embedded(clip.model, vectors):
        features = clip.model.encode_text(rows, normalize=True)
    return features.float()  # type: ignore[no-any-return]


@contextmanager
def _embedded(model: Any, vectors: Tensor) -> Iterator[None]:
    """Puts the vectors where the placeholders are, behind the start token, while it lasts."""

    def replace(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        count = len(vectors)
        context = vectors.to(embedded.dtype).expand(len(embedded), -1, -1)
        return torch.cat([embedded[:, :1], context, embedded[:, 1 + count :]], dim=1)

    hook = _embedding(model).register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()


def _embedding(model: Any) -> Any:
    """The token embedding of a text tower, which some classes of open_clip hold one level down."""
    return model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
