"""What classes look like, in words: texts of single classes for CLIP [Pratt2023, Menon2023].

Pratt et al., *What does a platypus look like? Generating customized prompts for zero-shot image classification*, ICCV
2023, arXiv 2209.03320 (CuPL): an LLM is asked what a class looks like, and its sentences, which name the class, are the
class's texts. Menon and Vondrick, *Visual Classification via Description from Large Language Models*, ICLR 2023, arXiv
2210.07183 (DCLIP): an LLM lists the visual features of a class, and "a photo of a boxer, which has a flat face" is one
text for each. ::

    descriptors <- for each class an LLM's list, or the user's
    texts of a class <- template with its name + ", " + descriptor (features), or the descriptor itself (sentences)
    the prompt: all texts of all classes

We differ in the questions, which are ours and name the other classes of the task, and in that a feature follows a
comma, where DCLIP puts "which has" or "which is". DCLIP averages the similarities of a class's texts; here it is their
embeddings, as in CuPL and as CLIP does with templates. A search can draw more prompts than the one above: the same with
the starting templates, then random parts of the lists.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...checks import at_least, check_argument, not_empty
from ...core import ChatModel, Message, Prompt, Prompted, Setup
from ...errors import UserError
from ...vocabulary import is_template
from ...vocabulary.class_texts import ClassLines, ClassTexts
from ..proposers.asking import Asker
from .fresh import DRAWS, new_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Descriptors", "need_clip", "some", "templates_of"]

T = TypeVar("T")

TEMPLATE = "a photo of a {}"  # where no starting prompt has one
STREAM = int.from_bytes(b"desc")  # key of the random stream that an LLM's seeds come from
OTHERS = 20  # so many other classes are named in a question
QUESTIONS = {
    "features": "What does one see in a picture of {name}? List {n} visual features by which it is told from the "
    "others: shape, parts, colours, texture. Each in a few words, without the name.",
    "sentences": "What does {name} look like in a picture? Write {n} short sentences, each a description that would "
    "stand under such a picture. Use the name in each.",
}


class Descriptors:
    """Prompts of a line for each descriptor of each class.

    First comes the prompt that has all of them and no template, as in the papers, then the same with the starting
    prompts' templates, then prompts with a random part of each class's descriptors, as many of each class, with the
    templates or without. A class without descriptors has the template with its name.

    Args:
        descriptors: lists by class, or a file: ``.json`` or ``.toml`` with a list for each class, or ``.csv`` with a
            class and a descriptor in each row.
        model: asked about each class that has no list, once, when the first prompt is drawn; billed to the run as
            ``proposer``.
        classes: the class names; a run fills them in.
        form: ``features`` follow the filled template and a comma, ``sentences`` are texts by themselves.
        template: what features follow; by default the first template of the starting prompts, or "a photo of a {}".
        wanted: how many descriptors of a class the model is asked for.
        temperature: of the model.
        task: what the pictures are, in the user's words; told to the model.

    Raises:
        UserError: the file cannot be read or names unknown classes, a class has no list and there is no model, or an
            option is out of range.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        descriptors: str | Path | Mapping[str, Sequence[str]] | None = None,
        model: ChatModel | None = None,
        form: Literal["features", "sentences"] = "features",
        template: str = "",
        wanted: int = 8,
        temperature: float = 1.0,
        task: str = "",
    ) -> None:
        not_empty(classes=classes)
        at_least(1, wanted=wanted)
        if template:
            check_argument("template", template, allowed="a text with one {}", holds=template.count("{}") == 1)
        self.classes = tuple(classes)
        self.template = template or TEMPLATE
        self._given_template = template
        self._form = form
        self._wanted = wanted
        self._task = task.strip()
        self._asker = Asker(model, temperature=temperature) if model else None
        self._given = {} if descriptors is None else _by_class(_read(descriptors), self.classes)
        lacking = [name for name in self.classes if name not in self._given]
        if lacking and model is None:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise UserError(
                f"there are no descriptors of {', '.join(lacking[:5])}{more}. Give descriptors = a file or a table of "
                "lists by class, an empty list for a class that has none, or a model that is asked for them."
            )

    def check(self, run: Prompted, /) -> None:
        """Whether prompts can have texts of single classes.

        Raises:
            UserError: they cannot.
        """
        need_clip(run, "the pool descriptors", self.classes)

    def begin(self, setup: Setup, /) -> None:
        """Take the starting prompts and bill the model to this run; what an LLM said in another run is forgotten."""
        self._setup = setup
        self._rng = setup.rng(STREAM)
        self._templates = templates_of(setup, self.classes)
        self.template = self._given_template or self._templates[0]
        self._texts: dict[str, tuple[str, ...]] | None = None
        if self._asker:
            self._asker.begin(setup)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct prompts; ends after 1,000 repeats in a row.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        drawn = ([prompt.text] for prompt in self._drawn(self.texts(), rng))
        yield from new_texts(drawn, seen=set(), patience=DRAWS)

    def texts(self) -> dict[str, tuple[str, ...]]:
        """The texts of each class that fit the target, each once; may be none.

        Raises:
            ModelError, BudgetExhausted: a class could not be asked about.
        """
        if self._texts is None:
            self._texts = {name: self._texts_of(name) for name in self.classes}
        return self._texts

    def _drawn(self, texts: Mapping[str, Sequence[str]], rng: np.random.Generator) -> Iterator[ClassTexts]:
        yield self._prompt(texts, templates=False)
        yield self._prompt(texts, templates=True)
        most = max(map(len, texts.values()))
        while True:
            n, templates = int(rng.integers(1, max(most, 1) + 1)), bool(rng.integers(2))
            yield self._prompt({name: some(texts[name], n, rng) for name in texts}, templates=templates)

    def _prompt(self, texts: Mapping[str, Sequence[str]], *, templates: bool) -> ClassTexts:
        if templates:
            return ClassTexts(self._templates, {name: tuple(own) for name, own in texts.items() if own})
        return ClassTexts((), {name: tuple(own) or (self.template.replace("{}", name),) for name, own in texts.items()})

    def _texts_of(self, name: str) -> tuple[str, ...]:
        said = self._given[name] if name in self._given else self._asked(name)
        texts = [self._text(name, one) for one in said]
        fit = [text for text in texts if self._fits(name, text)]
        if len(fit) < len(texts):
            self._setup.count("descriptors that do not fit", len(texts) - len(fit))
        return tuple(dict.fromkeys(fit))

    def _text(self, name: str, descriptor: str) -> str:
        descriptor = " ".join(descriptor.replace("{}", name).split())
        return descriptor if self._form == "sentences" else f"{self.template.replace('{}', name)}, {descriptor}"

    def _fits(self, name: str, text: str) -> bool:
        return self._setup.problem_with(Prompt(ClassTexts((self.template,), {name: (text,)}).text)) is None

    def _asked(self, name: str) -> list[str]:
        assert self._asker is not None
        message = Message("user", self._ask(name))
        return self._asker.texts([message], self._rng, problem_with=_no_words)[1]

    def _ask(self, name: str) -> str:
        others = [_spoken(other) for other in self.classes if other != name][:OTHERS]
        parts = [
            f"What the pictures are: {self._task}" if self._task else "",
            f"The other things that the pictures may show: {', '.join(others)}." if others else "",
            QUESTIONS[self._form].replace("{n}", str(self._wanted)).replace("{name}", _spoken(name)),
            'Answer only with a list: one entry per line, each line starting with "- ", without remarks.',
        ]
        return "\n\n".join(filter(None, parts))


def some(texts: Sequence[T], n: int, rng: np.random.Generator) -> list[T]:
    """``n`` of the texts, or all where there are fewer, in their order."""
    chosen = sorted(rng.permutation(len(texts))[:n].tolist())
    return [texts[i] for i in chosen]


def templates_of(run: Prompted, classes: Sequence[str]) -> tuple[str, ...]:
    """The templates of the first starting prompt that has some; a plain one where none has."""
    for prompt in run.start:
        try:
            if templates := ClassLines(classes).read(prompt.text).templates:
                return templates
        except UserError:  # what is wrong with it is told elsewhere
            continue
    return (TEMPLATE,)


def need_clip(run: Prompted, part: str, classes: Sequence[str]) -> None:
    """For what makes texts of single classes.

    Raises:
        UserError: the target takes no such texts.
    """
    one = run.problem_with(Prompt(ClassTexts((TEMPLATE,), dict.fromkeys(classes, ("a thing",))).text))
    if one or not (is_template(run) or _only_classes(run, classes)):
        raise UserError(
            f"{part} makes texts of single classes for the target clip, and these prompts are none. Give clip a "
            'starting prompt such as "a photo of a {}".'
        )


def _only_classes(run: Prompted, classes: Sequence[str]) -> bool:
    """Whether the starting prompts hold texts of classes and nothing else, and the target takes no other line."""
    try:
        own = [ClassLines(classes).read(prompt.text) for prompt in run.start]
    except UserError:
        return False
    return bool(own) and run.problem_with(Prompt("a line")) is not None


def _no_words(text: str) -> str | None:
    return None if any(letter.isalpha() for letter in text) else "no words"


def _spoken(name: str) -> str:
    return name.replace("_", " ")


# ── The user's lists ──────────────────────────────────────────────────────────────────────────────────────────────


def _read(given: str | Path | Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    """Lists by class from a table or a file, unchecked."""
    if isinstance(given, Mapping):
        return given
    path = Path(given).expanduser()
    try:
        if path.suffix == ".csv":
            return _rows(path)
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"cannot read descriptors from {str(given)!r}: {error}. Give a .json or .toml file with a list for each "
            "class, or a .csv file with a class and a descriptor in each row."
        ) from None
    if not isinstance(found, Mapping):
        raise UserError(f'{str(given)!r} holds no lists by class; write {{"boxer": ["a flat face", ...], ...}}.')
    return found


def _rows(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file)):
            if len(row) < 2 or (number == 0 and row[0].strip().casefold() == "class"):
                continue
            found.setdefault(row[0].strip(), []).extend(cell.strip() for cell in row[1:] if cell.strip())
    return found


def _by_class(found: Mapping[str, Any], classes: Sequence[str]) -> dict[str, list[str]]:
    """Lists by the classes' own names."""
    lines, own = ClassLines(classes), dict[str, list[str]]()
    for name, said in found.items():
        texts = [said] if isinstance(said, str) else said
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"the descriptors of {name!r} are {said!r}; give a list of texts.")
        try:
            known = lines.named(name)
        except UserError as error:
            raise UserError(f"descriptors: {error}") from None
        own.setdefault(known, []).extend(text for text in texts if text.strip())
    return own
