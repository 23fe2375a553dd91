"""Image features of CLIP models: computed once, kept in memory and on disk.

On disk a feature is keyed by the image tower (its configuration and a hash of its weights), the preprocessing, the
precision and the image's content. The content is a file's bytes, or the RGB pixels of an image in memory; so the same
picture as a file and as an array is computed twice, but a renamed file is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from ...core import Example, Picture
from ...errors import BrokenFile
from ...loading import say
from ...store import Store
from ..images import image_bytes, open_image
from ..oom_backoff import in_batches
from ..views import View
from .precision import autocast, precision

Features = NDArray[np.float32]
IMAGES_A_BATCH = 64


class ImageFeatures:
    """Features of the images of examples, L2-normalised.

    Args:
        model: an open_clip model in eval mode.
        config: the model's configuration; it is part of the key on disk.
        batch_size: images a batch at most.
        cache: folder for the file of features, or None to keep them in memory only.
        prepare: how images become pixels ``(3, size, size)``, with a name for it that is part of the key on disk, where
            that is not as the model says.
    """

    def __init__(
        self,
        model: Any,
        *,
        config: Any,
        batch_size: int,
        cache: Path | None,
        prepare: tuple[str, Callable[[Image.Image], Tensor]] | None = None,
    ) -> None:
        self._model = model
        own = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        name = prepare[0] if prepare else ""
        self._preprocess: Callable[[Image.Image], Tensor] = prepare[1] if prepare else own
        self._device: torch.device = model.logit_scale.device
        self._batch_size = min(batch_size, IMAGES_A_BATCH)
        self._store = Store(cache / "clip-features.sqlite") if cache else None
        self._space = _space(model, config, prepared=name) if cache else b""
        self._content: dict[int, tuple[Example, bytes]] = {}  # by identity; holding the example keeps its id taken
        self._features: dict[bytes, Features] = {}
        self._broken: dict[bytes, str] = {}
        self._last: tuple[list[Example], Tensor] | None = None

    def of(self, examples: Sequence[Example]) -> Tensor:
        """Features of examples, fp32, on the model's device: ``(n_examples, dim)``, NaN where a file is broken.

        An example that was seen before is known by its identity and not looked at again: do not change its pixels.

        Raises:
            UserError: an image is missing, or the input is no image; the message names it.
        """
        if self._last and _same(self._last[0], examples):
            return self._last[1]
        hashed: dict[int, bytes] = {}  # by identity of the image: all views of a file have one
        for example in examples:
            if id(example) not in self._content:
                self._content[id(example)] = (example, _content(example, hashed))
        keys = [self._content[id(example)][1] for example in examples]
        self._complete(dict(zip(keys, examples, strict=True)))
        features = torch.from_numpy(np.stack([self._features[key] for key in keys])).to(self._device)
        self._last = (list(examples), features)
        return features

    def of_seen_once(self, images: Sequence[Any]) -> tuple[Tensor, dict[int, str]]:
        """Features of images that are not held on to, such as a target's outputs.

        Args:
            images: each what an example's input may be.

        Returns:
            The features as of :meth:`of`, and why images could not be decoded, by place.

        Raises:
            UserError: as :meth:`of`.
        """
        examples = [Example(f"picture {number}", image, None) for number, image in enumerate(images, 1)]
        hashed: dict[int, bytes] = {}
        keys = [_content(example, hashed) for example in examples]
        self._complete(dict(zip(keys, examples, strict=True)))
        features = torch.from_numpy(np.stack([self._features[key] for key in keys])).to(self._device)
        return features, {i: self._broken[key] for i, key in enumerate(keys) if key in self._broken}

    def broken(self, examples: Sequence[Example]) -> dict[int, str]:
        """Why files could not be decoded, by the place of their examples, which :meth:`of` was asked for."""
        if not self._broken:
            return {}
        keys = [self._content[id(example)][1] for example in examples]
        return {i: self._broken[key] for i, key in enumerate(keys) if key in self._broken}

    def _complete(self, wanted: dict[bytes, Example]) -> None:
        """Read from disk, or else compute, what is not in memory yet. Every batch is on disk before the next begins."""
        missing = [key for key in wanted if key not in self._features]
        if self._store is not None and missing:
            found = self._store.read([self._space + key for key in missing])
            for key, value in found.items():
                self._features[key.removeprefix(self._space)] = np.frombuffer(value, "<f4")
            missing = [key for key in missing if key not in self._features]

        def encode(keys: Sequence[bytes]) -> Tensor:
            pixels = torch.stack([self._pixels(key, wanted[key]) for key in keys]).to(self._device)
            with torch.inference_mode(), autocast(self._device):
                return F.normalize(self._model.encode_image(pixels).float(), dim=-1)

        done = 0
        if missing:
            say(f"encoding {len(missing):,} images")
        for features, _ in in_batches(missing, encode, batch_size=self._batch_size):
            fresh = dict(zip(missing[done : done + len(features)], features.cpu().numpy(), strict=True))
            done += len(fresh)
            whole = {key: value for key, value in fresh.items() if key not in self._broken}
            self._features.update({key: np.full_like(value, np.nan) for key, value in fresh.items()} | whole)
            if self._store is not None:
                self._store.write({self._space + key: value.astype("<f4").tobytes() for key, value in whole.items()})

    def _pixels(self, key: bytes, example: Example) -> Tensor:
        """An image as the tower takes it, black where its file is broken."""
        try:
            image = open_image(example)
        except BrokenFile as error:
            self._broken[key] = str(error)
            image = Image.new("RGB", (8, 8))
        pixels: Tensor = self._preprocess(image)
        return pixels


def _same(seen: Sequence[Example], examples: Sequence[Example]) -> bool:
    return len(seen) == len(examples) and all(a is b for a, b in zip(seen, examples, strict=True))


def _space(model: Any, config: Any, *, prepared: str = "") -> bytes:
    """A hash of everything but the image that a feature depends on."""
    settings = [config, model.visual.preprocess_cfg, precision(model.logit_scale.device), *filter(None, [prepared])]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.visual.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def _content(example: Example, hashed: dict[int, bytes]) -> bytes:
    """A hash of an example's image, or of the view that it is; ``hashed`` holds those of images and is added to."""
    if isinstance(view := example.input, View):
        of = _content(replace(example, input=view.image), hashed)
        return hashlib.sha256(f"view {view.number} ".encode() + of).digest()
    if id(example.input) not in hashed:
        hashed[id(example.input)] = _hash(example)
    return hashed[id(example.input)]


def _hash(example: Example) -> bytes:
    if isinstance(example.input, str | Path):
        return hashlib.sha256(b"file" + image_bytes(example)).digest()
    if isinstance(example.input, Picture):
        return hashlib.sha256(b"picture" + example.input.data).digest()  # opened on white, unlike a file
    image = open_image(example)
    return hashlib.sha256(f"pixels {image.size}".encode() + image.tobytes()).digest()
