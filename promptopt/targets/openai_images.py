"""OpenAI's text-to-image models as the target, through the ``openai`` package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from ..checks import at_least, check_argument
from ..core import ChatModel, Example, Failed, Message, Missing, Picture, Prompt, Reply, Request, Setup
from ..errors import UserError
from ..fanout import fan_out
from ..models.openai_images import ImageModel
from ..pictures import size_of
from ..replies import NoReply, reply_to
from .pictures import UNUSABLE, picture_in, seed_of, usable
from .placeholders import fill, names, values
from .replies import no_output

__all__ = ["OpenAIImages"]

MOST_AT_ONCE = 10
LONGEST = 32_000  # characters of a prompt
SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)")
GRID, NARROWEST = 16, 3  # what gpt-image-2 draws: sides that 16 divides, and at most three times as long as the other


class OpenAIImages:
    """Has an OpenAI model draw each prompt, a picture for each example.

    An output is a :class:`promptopt.core.Picture`. A prompt that the provider's moderation refuses is
    :class:`promptopt.core.Failed`, and counted, and so is a request that it refuses for what else stands in it. One
    that got no answer after all retries is :class:`promptopt.core.Missing`, and so is a picture that is broken, huge or
    animated. One of another size than was asked for is kept, and counted.

    Requests are billed to the run by the tokens that the provider reports, before and after the call, or by the picture
    (``price``). Each is recorded with its pictures, cached on disk like the replies of chat models, and never made
    again when the run resumes. The models take no seed: pictures of two examples are two samples.

    Args:
        model: the provider's name, for example ``gpt-image-2``.
        size: ``WIDTHxHEIGHT`` in pixels, or ``auto``.
        quality: of the picture; it decides most of the cost.
        background: ``transparent`` wants PNG or WebP, and a model that can.
        moderation: how strictly the provider filters.
        output_format: of the picture; PNG where nothing is said.
        output_compression: of JPEG and WebP, in percent.
        n: pictures of one prompt in one request, 10 at most. They succeed or fail together.
        template: what is sent; ``{prompt}`` and ``{input}`` are replaced, the latter by the wish.
        workers: requests at a time.
        base_url: where the server is. Without it ``OPENAI_BASE_URL``, or else OpenAI.
        timeout: seconds for one attempt, to the last byte.
        retries: further attempts after a transient error, as of chat models.
        prices: ``input`` and ``output``, in US dollars per million tokens, as of chat models; output is pictures.
        price: US dollars a picture, for servers that bill so.
        picture_tokens: the most tokens that the model counts for one picture; the budget is checked against it. By
            default 1,000 for low quality, 4,000 for medium and 16,000 otherwise.
        extra: further fields of the request's body.

    Raises:
        UserError: an argument is out of range, the prompt is never sent, or the model cannot draw what is asked.
    """

    key_variable = ImageModel.key_variable

    def __init__(
        self,
        *,
        model: str,
        size: str = "1024x1024",
        quality: Literal["auto", "low", "medium", "high"] = "medium",
        background: Literal["auto", "opaque", "transparent"] | None = None,
        moderation: Literal["auto", "low"] | None = None,
        output_format: Literal["png", "jpeg", "webp"] | None = None,
        output_compression: int | None = None,
        n: int = 4,
        template: str = "{prompt}",
        workers: int = 4,
        base_url: str | None = None,
        timeout: float = 180.0,
        retries: int = 4,
        prices: Mapping[str, float] | None = None,
        price: float | None = None,
        picture_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        at_least(1, workers=workers)
        check_argument("n", n, allowed=f"1 to {MOST_AT_ONCE}", holds=1 <= n <= MOST_AT_ONCE)
        if "prompt" not in names(template):
            raise UserError(f"the template {template!r} never sends the prompt; write {{prompt}} where it goes.")
        self._size = _size(size, model)
        _check_background(background, model, output_format)
        percent = output_compression is None or 0 <= output_compression <= 100
        check_argument("output_compression", output_compression, allowed="0 to 100", holds=percent)
        given: dict[str, Any] = {"size": size, "quality": quality, "background": background, "moderation": moderation}
        given |= {"output_format": output_format, "output_compression": output_compression}
        self._model = ImageModel(
            model=model,
            settings={field: value for field, value in given.items() if value is not None},
            base_url=base_url,
            timeout=timeout,
            retries=retries,
            prices=prices,
            price=price,
            picture_tokens=picture_tokens,
            extra=extra,
        )
        self._billed: ChatModel = self._model
        self._n, self._template, self._workers = n, template, workers

    def begin(self, setup: Setup, /) -> None:
        """Bill the calls to the run."""
        self._setup = setup
        self._billed = setup.model(self._model, role="target")

    def check_key(self) -> object:
        """The key for the provider, as of chat models."""
        return self._model.check_key()

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be drawn: it is empty, or longer than the models take."""
        if not prompt.text.strip():
            return "the prompt is empty; write what is to be seen."
        if len(prompt.text) > LONGEST:
            return f"the prompt has {len(prompt.text):,} characters; the models take {LONGEST:,}."
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture | Failed | Missing]:
        """One picture per example, in order.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: there is no key, or the server sends addresses of pictures.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], /
    ) -> Iterator[list[Picture | Failed | Missing]]:
        """What ``run`` returns, prompt by prompt, each as soon as it is complete; requests are made side by side.

        Raises:
            BudgetExhausted, ModelError, UserError: as ``run``.
        """
        jobs = [self._jobs(prompt, examples) for prompt in prompts]
        calls = fan_out(self._drawn, [job for one in jobs for job in one], workers=self._workers)
        with closing(calls) as drawn:
            for one in jobs:
                yield [self._output(reply) for _ in one for reply in next(drawn)]

    def _jobs(self, prompt: Prompt, examples: Sequence[Example]) -> list[_Job]:
        """The requests for a prompt's pictures: neighbours with the same text share one."""
        texts = [fill(self._template, values(example, prompt=prompt.text)) for example in examples]
        jobs = []
        for text, group in groupby(zip(texts, examples, strict=True), key=lambda one: one[0]):
            alike = [example for _, example in group]
            shares = [alike[i : i + self._n] for i in range(0, len(alike), self._n)]
            jobs += [_Job(text, seed_of(some[0]), len(some)) for some in shares]
        return jobs

    def _drawn(self, job: _Job) -> Sequence[Reply | Failed | Missing]:
        """A request's pictures. The seed is not sent: it keeps samples of other examples apart in record and cache."""
        request = Request([Message("user", job.text)], n=job.n, seed=job.seed)
        said = reply_to(lambda: self._billed.complete(request).replies)
        if not isinstance(said, NoReply):
            return said
        self._setup.count(said.counted("requests"))
        return [no_output(said)] * job.n

    def _output(self, reply: Reply | Failed | Missing) -> Picture | Failed | Missing:
        if not isinstance(reply, Reply):
            return reply
        if reply.finish == "refusal":
            self._setup.count("moderated pictures")
            return Failed(f"moderated: {reply.text}")
        picture = picture_in(reply.text)
        if picture is None:
            if reply.text.startswith(("http://", "https://")):
                raise UserError(
                    f"{self._model.name} sends addresses of pictures, which are not fetched. Have it send base64, for "
                    'example with extra = {response_format = "b64_json"}, or use another server.'
                )
            self._setup.count(UNUSABLE)
            return Missing(f"broken picture: {len(reply.text):,} characters that are no picture as base64")
        if self._size and size_of(picture) not in (None, self._size):
            self._setup.count("pictures of another size than asked for")
        return usable(picture, self._setup)


@dataclass(frozen=True)
class _Job:
    """One request: what to draw, a key of its own, how many times."""

    text: str
    seed: int
    n: int


def _size(size: str, model: str) -> tuple[int, int] | None:
    """Width and height; None where the model chooses."""
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    check_argument("size", size, allowed="auto or WIDTHxHEIGHT, such as 1024x1024", holds=bool(found) or size == "auto")
    if not found:
        return None
    sides = int(found[1]), int(found[2])
    if model.startswith("gpt-image-2"):
        fits = not any(side % GRID for side in sides) and max(sides) <= NARROWEST * min(sides)
        allowed = f"sides that {GRID} divides, none longer than {NARROWEST} times the other, for {model}"
        check_argument("size", size, allowed=allowed, holds=fits)
    return sides


def _check_background(background: str | None, model: str, output_format: str | None) -> None:
    if background == "transparent":
        able = not model.startswith("gpt-image-2")
        check_argument("background", background, allowed=f"opaque or auto for {model}", holds=able)
        able = output_format != "jpeg"
        check_argument("background", background, allowed="opaque or auto for JPEG; transparent wants PNG", holds=able)
