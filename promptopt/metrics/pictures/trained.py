"""What people have been found to like: CLIPs and heads that were trained on their choices and ratings.

The published packages are not needed: HPSv2.1 is a file of weights of open_clip's ViT-H-14, PickScore a model of
transformers, the aesthetic head five layers on the features of OpenAI's ViT-L/14.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core import Example, Mark
from ...errors import UserError, require
from ...loading import postponed
from ...targets.clip.files import File, check_network, missing, offline
from . import UNTIMED, images_of, wish_of
from .encoder import Encoder, Row

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Aesthetic", "Hps", "PickScore"]

HPS = "ViT-H-14"
LIKE = "laion2b_s32b_b79k"  # the tag that HPSv2 was trained from
LAYERS = (1024, 128, 64, 16, 1)  # outputs of the aesthetic head's layers, whose input is a feature of 768 numbers
PLACES = (0, 2, 4, 6, 7)  # where they stand among the released model's layers; between them was dropout
CONFIG, PROCESSORS = ("config.json",), ("processor_config.json", "preprocessor_config.json")
EXPECTED = ", ".join(f"layers.{place}" for place in PLACES)


class Hps:
    """Human Preference Score v2.1 [Wu2023]: the cosine of picture and text under a CLIP trained on people's choices.

    As in the released code, pictures are resized as numbers, to fit into the square as a whole with black around them,
    and the cosine is taken as it is, from -1 to 1. (The authors' tables show 100 times that; real pictures lie near 0.2
    to 0.4.)

    Args:
        weights: the released file ``HPS_v2.1_compressed.pt`` or ``HPS_v2_compressed.pt``, or the same weights as
            safetensors. A ``.pt`` is read as weights only, and no code in it is run.
        text: what is wished for; by default each example's label, or its input where the label is pictures.
        model: the architecture of the weights.
        like: the tag that they were trained like.
        device: as of the target ``clip``.
        batch_size: likewise.
        cache: likewise.
        examples: the run's; their texts are looked at before anything is spent.

    Raises:
        UserError: there is no such file, a text is missing or too long, or loading failed.
        MissingExtra: open_clip or another package of the extra ``clip`` is not installed.
    """

    worst = -1.0
    time_limit = UNTIMED

    def __init__(
        self,
        *,
        weights: str | Path,
        text: str | None = None,
        model: str = HPS,
        like: str | None = LIKE,
        device: str = "auto",
        batch_size: int = 64,
        cache: str | Path | bool | None = True,
        examples: Sequence[Example] = (),
    ) -> None:
        if not (path := Path(weights).expanduser()).is_file():
            raise UserError(f"weights is {str(weights)!r}, and there is no such file. Give the file of HPSv2.1.")
        how: dict[str, Any] = {"like": like, "device": device, "batch_size": batch_size, "cache": cache}
        self._encoder = Encoder(model, str(path), prepare=_whole, **how)
        self._text = text
        for example in examples:
            self._encoder.check([self._wish(example)])

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None.

        Raises:
            UserError: an example has no text.
        """
        wanted = [self._wish(example) for example in examples]
        found = self._encoder.outputs(outputs)
        there = [text for text, row in zip(wanted, found, strict=True) if isinstance(row, np.ndarray)]
        texts = self._encoder.references(there)
        return [
            _cosine(row, texts[text]) if isinstance(row, np.ndarray) else row
            for text, row in zip(wanted, found, strict=True)
        ]

    def _wish(self, example: Example) -> str:
        return wish_of(example) if self._text is None else self._text


def _whole(settings: Mapping[str, Any]) -> tuple[str, Callable[[Any], Tensor]]:
    """The released code's preparation: the whole picture in the middle of a black square."""
    functional = require("torchvision.transforms.functional", extra="clip")
    mode = require("torchvision.transforms", extra="clip").InterpolationMode.BICUBIC
    size = settings["size"] if isinstance(settings["size"], int) else settings["size"][0]

    def prepare(image: Any) -> Tensor:
        pixels = functional.to_tensor(image)
        height, width = (round(side * size / max(pixels.shape[1:])) for side in pixels.shape[1:])
        pixels = functional.resize(pixels, [height, width], mode, antialias=True)
        down, right = size - height, size - width
        pixels = functional.pad(pixels, [right // 2, down // 2, right - right // 2, down - down // 2])
        found: Tensor = functional.normalize(pixels, settings["mean"], settings["std"])
        return found

    return "whole, on black", prepare


def _cosine(picture: Row, text: Row | str) -> float | Mark:
    return Mark(None, text) if isinstance(text, str) else min(1.0, max(-1.0, float(picture @ text)))


class Aesthetic:
    """The LAION aesthetic predictor [Schuhmann2022]: the rating, from about 1 to 10, that people would give a picture.

    A head of five linear layers, 768 to 1024, 128, 64, 16 and 1, with nothing between them, on the unit feature of the
    picture under OpenAI's ViT-L/14. What the picture is of plays no part, so a search for it alone forgets the wish.

    Args:
        head: the head's weights in a safetensors file, under the released names (``layers.0.weight`` to
            ``layers.7.bias``).
        model: the CLIP of its features.
        pretrained: its weights.
        like, device, batch_size, cache: as of the target ``clip``.
        least: the worst value, which failed outputs count as; the head's numbers are cut off there.

    Raises:
        UserError: the file is not there, holds other layers, or does not fit the model; or loading failed.
        MissingExtra: open_clip or another package of the extra ``clip`` is not installed.
    """

    time_limit = UNTIMED

    def __init__(
        self,
        *,
        head: str | Path,
        model: str = "ViT-L-14",
        pretrained: str | None = "openai",
        like: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        cache: str | Path | bool | None = True,
        least: float = 0.0,
    ) -> None:
        self.worst = least
        how: dict[str, Any] = {"like": like, "device": device, "batch_size": batch_size, "cache": cache}
        self._encoder = Encoder(model, pretrained, **how)
        self._layers = _head(Path(head).expanduser())
        if self._encoder.there and (dim := self._encoder.dim) != (wanted := self._layers[0][0].shape[1]):
            raise UserError(f"the head takes features of {wanted} numbers, and {model} gives {dim}; take ViT-L-14.")

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None."""
        found = self._encoder.outputs(outputs)
        return [max(self.worst, self._rated(row)) if isinstance(row, np.ndarray) else row for row in found]

    def _rated(self, row: Row) -> float:
        x: NDArray[np.float32] = row
        for weight, bias in self._layers:
            x = weight @ x + bias
        return float(x[0])


def _head(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The head's layers: weight ``(n_out, n_in)`` and bias ``(n_out,)`` of each.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    load_file = require("safetensors.numpy", extra="clip").load_file
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError(
            f"head is {str(path)!r}; give a safetensors file that is there. The released .pth becomes one with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'head.safetensors')."
        )
    try:
        found = load_file(path)
        layers = [(found[f"layers.{n}.weight"], found[f"layers.{n}.bias"]) for n in PLACES]
    except Exception as error:  # a KeyError, or what safetensors says of a damaged file
        raise UserError(f"{path} holds no aesthetic head: {EXPECTED} are wanted, and {error} fails.") from None
    shapes = [(weight.shape[0], *bias.shape) for weight, bias in layers]
    chained = all(after[0].shape[1] == before[0].shape[0] for before, after in itertools.pairwise(layers))
    if shapes != [(n, n) for n in LAYERS] or not chained:
        raise UserError(f"{path} holds layers of {[n for n, *_ in shapes]} outputs; the head has {[*LAYERS]}.")
    return [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers]


class PickScore:
    """PickScore [Kirstain2023]: 100 times, in the released weights, the cosine of picture and text under its CLIP.

    As its authors' code has it, ``logit_scale.exp() * cos``; real pictures lie near 18 to 24, and the difference of
    two is the logit with which people would choose one of them.

    Args:
        model: a folder or a name on the Hugging Face Hub of a CLIP of transformers, with safetensors.
        processor: the folder or name of its processor, where the model brings none.
        text: what is wished for; by default each example's label, or its input where the label is pictures.
        device: ``auto`` (CUDA if there is one), or what torch calls it.
        batch_size: pictures a batch.
        examples: the run's; their texts are looked at before anything is spent.

    Attributes:
        worst: minus the scale.

    Raises:
        UserError: it cannot be loaded, or a text is missing or too long.
        MissingExtra: transformers, torch or Pillow is not installed.
    """

    time_limit = UNTIMED

    def __init__(
        self,
        *,
        model: str | Path = "yuvalkirstain/PickScore_v1",
        processor: str | Path = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        text: str | None = None,
        device: str = "auto",
        batch_size: int = 16,
        examples: Sequence[Example] = (),
    ) -> None:
        torch = require("torch", extra="local")
        self._called, self._batch_size = str(model), batch_size
        self._text = text
        self._rows: dict[str, Row] = {}
        self.worst = -100.0
        own = any((Path(model).expanduser() / name).is_file() for name in PROCESSORS)
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if not self._load(str(model), str(model if own else processor), device=where):
            return  # it only helps to check a recipe
        self.worst = -self._scale
        for example in examples:
            self._check(self._wish(example))

    def _load(self, model: str, processor: str, *, device: str) -> bool:
        transformers = require("transformers", extra="local")
        files = {model: File("weights", model, CONFIG), processor: File("processor", processor, PROCESSORS)}
        lacking = missing([file for name, file in files.items() if not Path(name).expanduser().is_dir()])
        if postponed([str(file) for file in lacking]):
            return False
        if lacking:
            check_network(model, lacking)
        try:
            with nullcontext() if lacking else offline():
                put = transformers.AutoProcessor.from_pretrained(processor, trust_remote_code=False)
                loaded = transformers.AutoModel.from_pretrained(model, use_safetensors=True, trust_remote_code=False)
            self._model = loaded.float().to(device).eval().requires_grad_(False)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"cannot load {model!r} with the processor {processor!r}: {reason}") from None
        if not hasattr(loaded, "logit_scale"):
            raise UserError(f"{model!r} is a {type(loaded).__name__}; PickScore is a CLIPModel of transformers.")
        self._put, self._device = put, device
        self._scale = float(loaded.logit_scale.exp())
        self._context = int(loaded.config.text_config.max_position_embeddings)
        return True

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None.

        Raises:
            UserError: an example has no text.
        """
        wanted = [self._wish(example) for example in examples]
        opened = images_of(outputs)
        places = [i for i, one in enumerate(opened) if not (one is None or isinstance(one, Mark))]
        found: list[float | Mark | None] = list(opened)
        for at in range(0, len(places), self._batch_size):
            part = places[at : at + self._batch_size]
            rows = self._pictures([opened[i] for i in part])
            for place, row in zip(part, rows, strict=True):
                found[place] = self._score(row, wanted[place])
        return found

    def _wish(self, example: Example) -> str:
        return wish_of(example) if self._text is None else self._text

    def _score(self, picture: Row, text: str) -> float | Mark:
        if why := self._problem_with(text):
            return Mark(None, why)
        return self._scale * min(1.0, max(-1.0, float(picture @ self._feature(text))))

    def _pictures(self, images: Sequence[Any]) -> Sequence[Row]:
        inputs = self._put(images=list(images), return_tensors="pt")
        return self._units(self._model.get_image_features(pixel_values=inputs["pixel_values"].to(self._device)))

    def _feature(self, text: str) -> Row:
        """A text's feature, computed once."""
        if text not in self._rows:
            inputs = self._put(text=[text], return_tensors="pt").to(self._device)
            names = ("input_ids", "attention_mask")
            (self._rows[text],) = self._units(self._model.get_text_features(**{key: inputs[key] for key in names}))
        return self._rows[text]

    def _units(self, given: Any) -> Sequence[Row]:
        features: Tensor = getattr(given, "pooler_output", given)  # older versions give the tensor itself
        return list((features / features.norm(dim=-1, keepdim=True)).cpu().numpy())

    def _problem_with(self, text: str) -> str | None:
        length = len(self._put(text=[text])["input_ids"][0])
        if length <= self._context:
            return None
        return f"text too long: {length} tokens; {self._called} takes {self._context} ({text[:40]!r}...)"

    def _check(self, text: str) -> None:
        if why := self._problem_with(text):
            raise UserError(f"{why}. Shorten it.")
