"""CLIP as a zero-shot classifier: the target of few-shot prompt search [Liu2024].

A prompt is a template with one ``{}`` where the class name goes. Several lines are an ensemble: the embeddings of a
class under each of them are averaged. A line ``class: text`` is a text of that class alone, and averaged with the
others of its class.
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
from ...vocabulary.class_texts import ClassLines, ClassTexts
from ..images import BROKEN
from ..views import View

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from .class_features import ClassFeatures
    from .models import ClipModel
    from .text import TextEncoder

    # in fact one array, which a type checker does not call a sequence, where no image file is broken
    Rows: TypeAlias = Sequence[NDArray[np.float32] | Missing]

TEXTS_AT_ONCE = 8192  # so many class texts of several prompts are encoded together
CLASSES_EMBEDDED = 4  # with so many classes at most a template is embedded; with ten, distances correlate at .98


class Clip:
    """Classifies images by their similarity to what a prompt says of each class.

    ``log p(class | image) = log_softmax(scale * cos(image, embedding of the class) + bias)``, with the model's own
    logit scale and, where it has one, bias. An output is the row ``(n_classes,)`` of these, in the order of
    ``classes``. Computed in fp32 on a CPU, with autocast on a CUDA device.

    The embedding of a class is the mean of the embeddings of its texts, each scaled to length 1, scaled to length 1
    again. Its texts are the prompt's templates, filled with its name, and the lines that begin with its name and a
    colon (:mod:`promptopt.vocabulary.class_texts`). With the classes boxer and pug and the prompt ::

        a photo of a {}
        boxer: a dog with a flat face

    and e(text) an embedding of length 1, boxer is (e("a photo of a boxer") + e("a dog with a flat face")) / 2, scaled
    to length 1, and pug is e("a photo of a pug"). A line that stands twice counts twice.

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
        self._lines = ClassLines(self.classes)
        self.record: Mapping[str, Any] = {}
        self._notes: tuple[str, ...] = ()
        self._texts: TextEncoder | None = None
        if loaded := load(model, pretrained, like=like, device=device):  # else it only helps to check a recipe
            self._take(loaded, batch_size=batch_size, cache=_folder(cache))

    def _take(self, loaded: ClipModel, *, batch_size: int, cache: Path | None) -> None:
        from .class_features import ClassFeatures
        from .images import ImageFeatures
        from .text import TextEncoder

        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.record, self._notes = loaded.record, loaded.notes
        self._embedded: dict[str, NDArray[np.float64]] = {}
        self._texts = TextEncoder(self.model, self.tokenizer, batch_size=batch_size)
        self._features: ClassFeatures = ClassFeatures(self.classes)
        self._images = ImageFeatures(self.model, config=loaded.config, batch_size=batch_size, cache=cache)
        bias = self.model.logit_bias
        self._scale, self._bias = self.model.logit_scale.exp().item(), 0.0 if bias is None else bias.item()

    def begin(self, setup: Setup, /) -> None:
        """Say in the run's output how the model was built, where that is not plain."""
        for note in self._notes:
            setup.note(note)

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run, else None.

        A line is neither a template with one ``{}`` nor a text of a class, a class has no text, or a text is too long
        for the text tower.
        """
        try:
            texts = self._lines.read(prompt.text)
        except UserError as error:
            return str(error)
        if self._texts is None:
            return None  # its weights are not on this machine, so how much fits is not known yet
        return self._too_long(texts)

    def count_tokens(self, text: str, /) -> int:
        """The tokens of a prompt's lines, a ``{}`` as it stands."""
        lines = text.splitlines()
        return sum(self._texts.lengths(lines)) - 2 * len(lines) if self._texts and lines else 0

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Rows:
        """Log-probabilities, an array ``(n_examples, n_classes)``, fp32.

        Where image files are broken it is a list of rows, with :class:`promptopt.core.Missing` in the place of theirs.

        An example's input is a path, a PIL image, or a uint8 array ``(height, width)`` or ``(height, width, 3)``.

        Raises:
            UserError: the prompt cannot be run, or an image is missing.
        """
        return next(self.run_batch([prompt], examples))

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[Rows]:
        """What ``run`` returns, prompt by prompt. The texts of many prompts are encoded together.

        Raises:
            UserError: as ``run``.
        """
        for group in self._groups(prompts):
            for weights in self._embeddings(group):
                yield self._log_probabilities(weights, examples)

    def view(self, example: Example, number: int, /) -> Example:
        """The example with its image a little turned, shifted and stretched, in the same way for every image."""
        return replace(example, input=View(example.input, number))

    def logits(self, weights: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """``scale * cos + bias`` of images with class embeddings ``(n_classes, dim)``: ``(n_examples, n_classes)``."""
        logits: torch.Tensor = self._images.of(examples) @ (self._scale * weights).T + self._bias
        return logits

    def class_embeddings(self, prompt: Prompt, /) -> NDArray[np.float64]:
        """What a prompt makes of the classes: ``(n_classes, dim)``, each row of length 1.

        Raises:
            UserError: the prompt cannot be run.
        """
        [group] = self._groups([prompt])
        [embeddings] = self._embeddings(group)
        rows: NDArray[np.float64] = embeddings.double().cpu().numpy()
        return rows

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

    def _groups(self, prompts: Sequence[Prompt]) -> Iterator[list[ClassTexts]]:
        """Prompts in groups whose texts are encoded together."""
        group: list[ClassTexts] = []
        for prompt in prompts:
            try:
                texts = self._lines.read(prompt.text)
            except UserError as error:
                raise UserError(f"cannot run {prompt.text!r}: {error}") from None
            if group and sum(map(self._count, [*group, texts])) > TEXTS_AT_ONCE:
                yield group
                group = []
            group.append(texts)
        if group:
            yield group

    def _count(self, texts: ClassTexts) -> int:
        return len(texts.templates) * len(self.classes) + sum(map(len, texts.own.values()))

    def _embeddings(self, group: Sequence[ClassTexts]) -> Iterator[torch.Tensor]:
        """For each prompt its class embeddings ``(n_classes, dim)``, normalised."""
        assert self._texts is not None
        return self._features.of(group, encode=self._texts.encode)

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

    def _too_long(self, texts: ClassTexts) -> str | None:
        """What is said of the longest text where it does not fit into the text tower."""
        assert self._texts is not None
        filled = [(line, name, line.replace("{}", name)) for line in texts.templates for name in self.classes]
        filled += [(f"{name}: {text}", name, text) for name, own in texts.own.items() for text in own]
        length, (line, name, _) = max(zip(self._texts.lengths([text for *_, text in filled]), filled, strict=True))
        if length <= self._texts.context:
            return None
        return (
            f"{line!r} is too long: {length} tokens with the class {name!r}, "
            f"start and end included; {self._texts.context} fit."
        )


def _folder(cache: str | Path | bool | None) -> Path | None:
    if cache is True:
        return cache_folder()
    return Path(cache) if cache else None
