"""CLIP as a zero-shot classifier: the target of few-shot prompt search [Liu2024].

A prompt is a template with one ``{}`` where the class name goes. Several lines are an ensemble: the embeddings of a
class under each of them are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ...checks import at_least, check_argument
from ...core import Example, Missing, Prompt, Setup
from ...errors import BrokenFile, UserError, require
from ...store import cache_folder
from ..images import BROKEN
from ..views import View

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from .models import ClipModel
    from .text import TextEncoder

    # in fact one array, which a type checker does not call a sequence, where no image file is broken
    Rows: TypeAlias = Sequence[NDArray[np.float32] | Missing]

TEXTS_AT_ONCE = 8192  # so many class texts of several prompts are encoded together
CLASSES_EMBEDDED = 4  # with so many classes at most a template is embedded; with ten, distances correlate at .98


class Clip:
    """Classifies images by their similarity to ``prompt`` filled with each class name.

    ``log p(class | image) = log_softmax(scale * cos(image, text of the class) + bias)``, with the model's own logit
    scale and, where it has one, bias. An output is the row ``(n_classes,)`` of these, in the order of ``classes``.
    Computed in fp32 on a CPU, with autocast on a CUDA device.

    Args:
        classes: the class names, as they are to stand in the prompt.
        model: ``embedded`` (tiny, comes with the package), an open_clip architecture such as ``ViT-B-32``,
            ``hf-hub:owner/name``, or a folder with ``open_clip_config.json``, weights (safetensors are preferred) and,
            if it has a vocabulary of its own, ``bpe.txt.gz``.
        pretrained: for an architecture, and only there: one of its open_clip tags, a file of weights, or ``random``,
            which is the same untrained model every time. A tag also says which activation the weights were trained
            with and how images are prepared, and the model is built so.
        like: for a file of weights, and only there: the tag that it was trained like, if the architecture's tags
            differ in that, or it has none; ``ViT-B-16-SigLIP/webli`` is a tag of another architecture.
        device: ``auto`` (CUDA if there is one), or what torch calls it.
        batch_size: class texts a batch, and images up to 64; halved when memory runs out.
        cache: folder for image features; True is the user's cache folder, False or None keeps them in memory only.

    Attributes:
        model: the open_clip model, in eval mode. It is shared by all targets and embedders of the process that name
            it, whatever their classes are, so leave it as it is.
        tokenizer: its tokenizer.
        record: what the run's record says of the model: its weights, activation and preprocessing.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: the classes, the device or the combination of arguments cannot be used, or loading failed.
        MissingExtra: open_clip or another package of the extra ``clip`` is not installed.
    """

    metric = "accuracy"  # the defaults of a recipe that names none
    tiebreak = "log-probability"

    def __init__(
        self,
        *,
        classes: Sequence[str],
        model: str = "embedded",
        pretrained: str | None = None,
        like: str | None = None,
        device: str = "auto",
        batch_size: int = 512,
        cache: str | Path | bool | None = True,
    ) -> None:
        holds = not isinstance(classes, str) and 1 <= len(classes) == len(set(classes))
        check_argument("classes", classes, allowed="a list of one or more different names", holds=holds)
        at_least(1, batch_size=batch_size)
        for package in ("torch", "open_clip", "PIL"):
            require(package, extra="clip")
        from .models import load

        self.classes = tuple(classes)
        self.record: Mapping[str, Any] = {}
        self._notes: tuple[str, ...] = ()
        self._texts: TextEncoder | None = None
        if loaded := load(model, pretrained, like=like, device=device):  # else it only helps to check a recipe
            self._take(loaded, batch_size=batch_size, cache=_folder(cache))

    def _take(self, loaded: ClipModel, *, batch_size: int, cache: Path | None) -> None:
        from .images import ImageFeatures
        from .text import TextEncoder

        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.record, self._notes = loaded.record, loaded.notes
        self._embedded: dict[str, NDArray[np.float64]] = {}
        self._texts = TextEncoder(self.model, self.tokenizer, batch_size=batch_size)
        self._images = ImageFeatures(self.model, config=loaded.config, batch_size=batch_size, cache=cache)
        bias = self.model.logit_bias
        self._scale, self._bias = self.model.logit_scale.exp().item(), 0.0 if bias is None else bias.item()

    def begin(self, setup: Setup, /) -> None:
        """Say in the run's output how the model was built, where that is not plain."""
        for note in self._notes:
            setup.note(note)

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run: no or several ``{}`` in a line, or too long for the text tower; else None."""
        lines = _lines(prompt)
        if not lines:
            return "the prompt is empty; write a template with one {} where the class name goes."
        return next((problem for line in lines if (problem := self._problem_with_line(line))), None)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Rows:
        """Log-probabilities, an array ``(n_examples, n_classes)``, fp32.

        Where image files are broken it is a list of rows, with :class:`promptopt.core.Missing` in the place of theirs.

        An example's input is a path, a PIL image, or a uint8 array ``(height, width)`` or ``(height, width, 3)``.

        Raises:
            UserError: the prompt has no ``{}``, or an image is missing.
        """
        return next(self.run_batch([prompt], examples))

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[Rows]:
        """What ``run`` returns, prompt by prompt. The texts of many prompts are encoded together.

        Raises:
            UserError: as ``run``.
        """
        for group in self._groups(prompts):
            for weights in self._class_features(group):
                yield self._log_probabilities(weights, examples)

    def view(self, example: Example, number: int, /) -> Example:
        """The example with its image a little turned, shifted and stretched, in the same way for every image."""
        return replace(example, input=View(example.input, number))

    def logits(self, weights: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """``scale * cos + bias`` of images with class embeddings ``(n_classes, dim)``: ``(n_examples, n_classes)``."""
        logits: torch.Tensor = self._images.of(examples) @ (self._scale * weights).T + self._bias
        return logits

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float64]:
        """Where templates lie in the text tower's space: ``(n_texts, dim)``, each row of length 1.

        A row is the mean of a template's class texts, over four classes at most, evenly spread: searches want it for
        many templates, to know which of them are alike. Rows are remembered.
        """
        import numpy as np

        assert self._texts is not None
        names = self.classes[:: -(-len(self.classes) // CLASSES_EMBEDDED)]
        new = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        some = max(1, TEXTS_AT_ONCE // len(names))
        for part in (new[at : at + some] for at in range(0, len(new), some)):
            features = self._texts.encode([text.replace("{}", name) for text in part for name in names])
            means = features.double().cpu().numpy().reshape(len(part), len(names), -1).mean(axis=1)
            self._embedded |= zip(part, means / np.linalg.norm(means, axis=1, keepdims=True), strict=True)
        rows: NDArray[np.float64] = np.stack([self._embedded[text] for text in texts])
        return rows

    # ── Parts of a run ────────────────────────────────────────────────────────────────────────────────────────────

    def _groups(self, prompts: Sequence[Prompt]) -> Iterator[list[list[str]]]:
        """Prompts as lists of lines, in groups whose texts are encoded together."""
        group: list[list[str]] = []
        for prompt in prompts:
            lines = _lines(prompt)
            if not lines or any(line.count("{}") != 1 for line in lines):
                raise UserError(f"cannot run {prompt.text!r}: {self.problem_with(prompt)}")
            if group and sum(map(len, [*group, lines])) * len(self.classes) > TEXTS_AT_ONCE:
                yield group
                group = []
            group.append(lines)
        if group:
            yield group

    def _class_features(self, group: Sequence[Sequence[str]]) -> Iterator[torch.Tensor]:
        """For each prompt its class embeddings ``(n_classes, dim)``, normalised."""
        assert self._texts is not None
        texts = [line.replace("{}", name) for lines in group for line in lines for name in self.classes]
        features = self._texts.encode(texts)
        templates = features.view(-1, len(self.classes), features.shape[-1])  # (n_templates, n_classes, dim)
        done = 0
        for lines in group:
            mean = templates[done : done + len(lines)].mean(dim=0)
            done += len(lines)
            yield mean / mean.norm(dim=-1, keepdim=True)

    def _log_probabilities(self, weights: torch.Tensor, examples: Sequence[Example]) -> Rows:
        if not examples:
            return cast("Rows", weights.new_empty(0, len(self.classes)).cpu().numpy())
        rows = cast("Rows", self.logits(weights, examples).log_softmax(dim=-1).cpu().numpy())
        if not (broken := self._images.broken(examples)):
            return rows
        return [Missing(f"{BROKEN}: {broken[i]}") if i in broken else row for i, row in enumerate(rows)]

    def check_images(self, examples: Sequence[Example]) -> None:
        """Raises BrokenFile if the image of an example cannot be decoded."""
        self._images.of(examples)
        for problem in self._images.broken(examples).values():
            raise BrokenFile(problem)

    def _problem_with_line(self, line: str) -> str | None:
        count = line.count("{}")
        if count != 1:
            found = "no {}" if not count else f"{count} times {{}}"
            return f"{line!r} has {found}; a template needs one {{}} where the class name goes."
        if self._texts is None:
            return None  # its weights are not on this machine, so how much fits is not known yet
        lengths = self._texts.lengths([line.replace("{}", name) for name in self.classes])
        length, name = max(zip(lengths, self.classes, strict=True))
        if length > self._texts.context:
            return (
                f"{line!r} is too long: {length} tokens with the class {name!r}, "
                f"start and end included; {self._texts.context} fit."
            )
        return None


def _lines(prompt: Prompt) -> list[str]:
    """The templates of a prompt; empty lines do not count."""
    return [line for line in prompt.text.splitlines() if line.strip()]


def _folder(cache: str | Path | bool | None) -> Path | None:
    if cache is True:
        return cache_folder()
    return Path(cache) if cache else None
