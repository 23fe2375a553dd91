"""Templates first, then texts of the classes that are taken for each other: ProAPO [Qu2025].

Qu et al., *ProAPO: Progressively Automatic Prompt Optimization for Visual Classification*, CVPR 2025, arXiv 2502.19844.
Evolution over sets of lines, by a fitness that looks at more than accuracy, from libraries that an LLM is asked for
once. Rows marked † were read in the released code. ::

    F(prompt) = accuracy + log-probability of the true class + redundancy * how alike the classes are
    templates:
        library <- the starting prompts' templates and a sample of the pool, each rated alone
        repeat: breed sets of templates from the fittest prompts
    classes:
        library <- descriptors of each class, from a file or an LLM
        start <- random parts of the library beside the best templates: the fittest goes on
        repeat rounds times:
            which classes are taken for which? -> groups of classes
            for each group: breed sets of texts of its classes from the fittest prompts
    breed: each of the fittest with some lines more, some less, some exchanged; two of them crossed; one drawn anew

=============== ====================== ============== =========================================================
parameter       released code †        default here   why it differs
=============== ====================== ============== =========================================================
sample          all of an LLM's list   20             the pool has no end
top             4                      2              few children and many steps, in a budget of 300
generations     8, and 4 a group       2, and 1       likewise
moves           8 of each kind         1              likewise
crossings       16                     1              likewise
redrawn         8 (classes: 4)         1              likewise
lines a move    1                      1, 2, 4, ...   an option of the released code
starts          up to 32               8              in proportion to the budget
rounds          3                      8              see top
groups          4                      4
accuracy        .01 a point of top-1   1              the same: 100 points are 1
log_probability 1 a nat                1              divided by ten like the others
redundancy      .005                   .005           likewise; many of its configurations say 0
=============== ====================== ============== =========================================================

Redundancy is the root of the summed squares of the cosines of any two classes' embeddings; in the released code it
*adds* to the fitness. We differ in that top-5 accuracy, which weighs .01 a point there, is no part of it; in that
groups are the classes that the fittest prompt gets wrong most often, each with those it is taken for, where the
released code clusters text features too; in that synonyms of class names are not tried; and in that templates stay as
they are once the classes' turn has come. What "drawn anew" means is ours. The released code keeps the epoch that does
best on the test images; here the test split is out of reach. ``top`` and what goes with it were chosen on two seeds of
the glossary (experiments/class_texts) that are in no table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from ..checks import at_least
from ..core import Begins, ChatModel, Example, HasClassEmbeddings, Prompt, Prompted, Rate, Rating, Setup, Target
from ..errors import UserError
from ..vocabulary import check
from ..vocabulary.class_texts import ClassLines, ClassTexts
from .pools import Pool
from .pools.descriptors import Descriptors, need_clip, some, templates_of
from .pools.templates import Grammar
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    from numpy.random import Generator

    from ..core import Array

__all__ = ["ProApo"]

Line: TypeAlias = tuple[str, str]
"""A class and a text of it, or no class and a template."""

DECIMALS = 6  # of what a target's embeddings add to the fitness
ATTEMPTS = 20  # for each child wanted, before giving up
GROUP = 5  # classes of a group at the most
LONGEST = 4_000  # characters of a prompt that is named as a parent


class ProApo(RatingSearch):
    """Evolution of templates, and then of texts of the most confused classes.

    The fitness takes a rating's value for the accuracy and its tiebreak for the log-probability, which they are with
    ``clip`` as it is rated by default. Which classes are taken for which is asked of the scorer (``Rate.cases``) once a
    round; where it does not say, the classes with the lowest ratings per example come first.

    Args:
        classes: the class names; a run fills them in.
        examples: the training examples; likewise.
        target: says how alike a prompt makes the classes, where it can; likewise.
        pool: where templates come from; random ones from the embedded CLIP's phrases by default.
        descriptors: of the classes, as of the pool ``descriptors``.
        model: asked for descriptors of classes that have none, once; as of the pool ``descriptors``. Without
            descriptors and a model, templates are all that is searched.
        form: whether descriptors are features or sentences, as of the pool ``descriptors``.
        wanted: as of the pool ``descriptors``.
        temperature: of the model.
        task: what the pictures are, in the user's words; told to the model.
        sample: templates drawn from the pool.
        top: how many of the fittest prompts breed.
        generations: of templates.
        starts: random parts of the descriptors that the second phase may begin with.
        rounds: how often the confused classes are looked for.
        groups: how many groups of classes a round has at the most.
        moves: children of each of the fittest by adding lines, by dropping some and by exchanging some.
        crossings: children of two of the fittest, in a generation.
        redrawn: children whose lines are drawn anew, in a generation.
        accuracy: weight of a rating's value.
        log_probability: weight of its tiebreak.
        redundancy: weight of how alike the classes are.

    Raises:
        UserError: a number is out of range, or the descriptors cannot be read.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        examples: Sequence[Example] = (),
        target: Target | None = None,
        pool: Pool | None = None,
        descriptors: str | Path | Mapping[str, Sequence[str]] | None = None,
        model: ChatModel | None = None,
        form: Literal["features", "sentences"] = "features",
        wanted: int = 8,
        temperature: float = 1.0,
        task: str = "",
        sample: int = 20,
        top: int = 2,
        generations: int = 2,
        starts: int = 8,
        rounds: int = 8,
        groups: int = 4,
        moves: int = 1,
        crossings: int = 1,
        redrawn: int = 1,
        accuracy: float = 1.0,
        log_probability: float = 1.0,
        redundancy: float = 0.005,
    ) -> None:
        at_least(1, top=top)
        at_least(0, sample=sample, generations=generations, starts=starts, rounds=rounds, groups=groups)
        at_least(0, moves=moves, crossings=crossings, redrawn=redrawn, accuracy=accuracy)
        at_least(0, log_probability=log_probability, redundancy=redundancy)
        self.classes = tuple(classes)
        self.pool = pool or Grammar()
        self.library = (
            None
            if descriptors is None and model is None
            else Descriptors(
                classes=classes,
                descriptors=descriptors,
                model=model,
                form=form,
                wanted=wanted,
                temperature=temperature,
                task=task,
            )
        )
        self.sample, self.top, self.generations = sample, top, generations
        self.starts, self.rounds, self.groups = starts, rounds, groups
        self.moves, self.crossings, self.redrawn = moves, crossings, redrawn
        self.weights = accuracy, log_probability, redundancy
        self._target = target if isinstance(target, HasClassEmbeddings) else None
        self._labels = {example.id: str(example.label) for example in examples}
        self._lines = ClassLines(self.classes)

    def check(self, run: Prompted, /) -> None:
        """Whether prompts can be templates and texts of single classes.

        Raises:
            UserError: they cannot.
        """
        need_clip(run, "proapo", self.classes)
        check(self.pool, run)

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: there is no starting prompt.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._rng = setup.rng()
        self._made: dict[Prompt, None] = dict.fromkeys(setup.start)
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        if self.library:
            self.library.begin(setup)
        else:
            setup.note("No descriptors and no model: proapo searched templates alone.")
        self._search = self._progress()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings; what they are ordered by from here on is the fitness."""
        self._ratings.add((question, self._fit(question.prompt, rating)) for question, rating in answered)

    def _fit(self, prompt: Prompt, rating: Rating) -> Rating:
        accuracy, log_probability, redundancy = self.weights
        fitness = accuracy * rating.value + log_probability * rating.tiebreak
        if redundancy and self._target:
            fitness += redundancy * _alike(self._target.class_embeddings(prompt))
        return replace(rating, value=fitness, tiebreak=0.0)

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self) -> Search:
        """Templates first, then texts of classes."""
        yield from self._rate(self._setup.start)
        yield from self._templates()
        texts = self.library.texts() if self.library else {}
        if any(texts.values()):
            yield from self._rate(self._beginnings(texts))
            for turn in range(self.rounds):
                yield from self._class_texts(texts, turn=turn)

    def _templates(self) -> Search:
        drawn = (self._parse(text).templates for text in self.pool.draw(self._setup.rng(0)))
        own = [("", template) for template in templates_of(self._setup, self.classes)]
        alone = self._usable(([line], "library") for line in own)
        alone += islice(self._fresh(([("", line)], "library") for lines in drawn for line in lines), self.sample)
        yield from self._rate(alone)
        library = list(dict.fromkeys(line for prompt in alone for line in self._lines_of(prompt)))
        for generation in range(self.generations):
            yield from self._rate(self._bred(library, {""}, step=f"templates {generation}"))

    def _class_texts(self, texts: Mapping[str, Sequence[str]], *, turn: int) -> Search:
        best = self._ratings.best
        if best in self._ratings and not self._ratings[best].cases:
            yield [Rate(best, cases=True)]
        for number, group in enumerate(islice(self._groups(), self.groups)):
            library = [(name, text) for name in group for text in texts[name]]
            yield from self._rate(self._bred(library, set(group), step=f"classes {turn}.{number}"))

    def _beginnings(self, texts: Mapping[str, Sequence[str]]) -> list[Prompt]:
        """All descriptors beside the best templates and without them, then random parts."""
        templates = [("", line) for line in self._parse(self._ratings.best.text).templates]
        most = max(map(len, texts.values()))
        made: list[list[Line]] = []
        for number in range(self.starts):
            n = most if number < 2 else int(self._rng.integers(1, most + 1))
            beside = number == 0 or (number > 1 and bool(self._rng.integers(2)))
            own = [(name, text) for name in self.classes for text in some(texts[name], n, self._rng)]
            made.append([*(templates if beside else []), *own])
        return self._usable((lines, "beginning") for lines in made)

    # ── Which classes are taken for which ─────────────────────────────────────────────────────────────────────────

    def _groups(self) -> Iterator[list[str]]:
        """Classes that the fittest prompt gets wrong, most often first, each with those that it is taken for."""
        best = self._ratings.best
        rating = self._ratings[best] if best in self._ratings else Rating(0.0)
        pairs = [(self._labels.get(case.example), case.output) for case in rating.cases]
        known = [pair for pair in pairs if pair[0] != pair[1] and {*pair} <= {*self.classes}]
        taken = Counter((label, output) for label, output in known if label and output)
        wrong = Counter(label for label, _ in taken.elements())
        left = [name for name, _ in wrong.most_common()] or self._worst(rating)
        while left:
            others = [other for (label, other), _ in taken.most_common() if label == left[0]]
            group = [left[0], *others][:GROUP] if others else left[:GROUP]
            yield group
            left = [name for name in left if name not in group]

    def _worst(self, rating: Rating) -> list[str]:
        """All classes, those of the lowest values per example first; equals in random order."""
        values: dict[str, list[float]] = {self.classes[i]: [] for i in self._rng.permutation(len(self.classes))}
        given = [] if rating.per_example is None else rating.per_example.tolist()
        for label, value in zip(self._labels.values(), given, strict=False):
            if label in values and value == value:
                values[label].append(value)
        return sorted(values, key=lambda name: float(np.mean(values[name])) if values[name] else 0.0)

    # ── Breeding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _bred(self, library: Sequence[Line], kinds: set[str], *, step: str) -> list[Prompt]:
        """Children of the fittest prompts; among the lines that may change are those of some kinds.

        Args:
            library: the lines that may come in.
            kinds: the classes whose texts may change; no class stands for templates.
        """
        parents = self._ratings.ranked(self._made)[: self.top] or [self._ratings.best]
        moves = [(move, [parent]) for parent in parents for move in (more, less, exchanged) for _ in range(self.moves)]
        moves += [(crossed, self._two(parents)) for _ in range(self.crossings if len(parents) > 1 else 0)]
        moves += [(redrawn, self._two(parents)[:1]) for _ in range(self.redrawn)]
        children: dict[Prompt, None] = {}
        for move, of in moves:
            sets = [[line for line in self._lines_of(parent) if line[0] in kinds] for parent in of]
            fixed = [line for line in self._lines_of(of[0]) if line[0] not in kinds]
            tries = ((fixed + move(sets, library, self._rng), f"{step} {move.__name__}") for _ in range(ATTEMPTS))
            fresh = self._fresh(tries, parents=of)
            children |= dict.fromkeys(islice((child for child in fresh if child not in children), 1))
        return list(children)

    def _two(self, parents: Sequence[Prompt]) -> list[Prompt]:
        return [parents[i] for i in self._rng.permutation(len(parents))[:2].tolist()]

    def _usable(self, made: Iterable[tuple[list[Line], str]], *, parents: Sequence[Prompt] = ()) -> list[Prompt]:
        """The prompts of some lines that the target takes, each once."""
        named = {"parents": [parent.text for parent in parents]} if parents and _short(parents) else {}
        texts = ((self._written(lines), step) for lines, step in made)
        prompts = (Prompt(text, {"step": step, **named}) for text, step in texts)
        usable = dict.fromkeys(prompt for prompt in prompts if self._setup.problem_with(prompt) is None)
        self._made |= usable
        return list(usable)

    def _fresh(self, made: Iterable[tuple[list[Line], str]], *, parents: Sequence[Prompt] = ()) -> Iterator[Prompt]:
        """Those that were not made before, one after the other."""
        for one in made:
            known = set(self._made)
            yield from (prompt for prompt in self._usable([one], parents=parents) if prompt not in known)

    def _parse(self, text: str) -> ClassTexts:
        try:
            return self._lines.read(text)
        except UserError:  # the target says what is wrong with it
            return ClassTexts()

    def _lines_of(self, prompt: Prompt) -> list[Line]:
        texts = self._parse(prompt.text)
        own = [(name, text) for name, some_of in texts.own.items() for text in some_of]
        return [*(("", template) for template in texts.templates), *own]

    def _written(self, lines: Sequence[Line]) -> str:
        """The prompt of a set of lines, whatever their order."""
        ordered = sorted(set(lines))
        own = {name: tuple(text for kind, text in ordered if kind == name) for name in self.classes}
        templates = tuple(text for kind, text in ordered if not kind)
        return ClassTexts(templates, {name: texts for name, texts in own.items() if texts}).text


# ── Moves: sets of lines to another ───────────────────────────────────────────────────────────────────────────────


def more(sets: Sequence[list[Line]], library: Sequence[Line], rng: Generator) -> list[Line]:
    """Lines of the library more."""
    return [*sets[0], *_few([line for line in library if line not in sets[0]], rng)]


def less(sets: Sequence[list[Line]], library: Sequence[Line], rng: Generator) -> list[Line]:
    """Lines less."""
    gone = _few(sets[0], rng)
    return [line for line in sets[0] if line not in gone]


def exchanged(sets: Sequence[list[Line]], library: Sequence[Line], rng: Generator) -> list[Line]:
    """Lines less, and as many others of the library more; where it can be, of the same classes."""
    gone = _few(sets[0], rng)
    new = [line for line in library if line not in sets[0]]
    come: list[Line] = []
    for name, _ in gone:
        left = [line for line in new if line not in come]
        same = [line for line in left if line[0] == name] or left
        come += same and [same[int(rng.integers(len(same)))]]
    return [*(line for line in sets[0] if line not in gone), *come]


def crossed(sets: Sequence[list[Line]], library: Sequence[Line], rng: Generator) -> list[Line]:
    """What two sets have in common, and each of their other lines with probability 1/2."""
    one, other = sets
    both = dict.fromkeys([*one, *other])
    return [line for line in both if (line in one and line in other) or rng.random() < 0.5]


def redrawn(sets: Sequence[list[Line]], library: Sequence[Line], rng: Generator) -> list[Line]:
    """As many lines as there were, one at the least, all from the library."""
    return some(library, max(1, len(sets[0])), rng)


def _few(lines: Sequence[Line], rng: Generator) -> list[Line]:
    """One line, two, four or another power of two, up to all; none of none."""
    most = len(lines).bit_length()
    return some(lines, 2 ** int(rng.integers(most)), rng) if lines else []


def _short(prompts: Sequence[Prompt]) -> bool:
    return all(len(prompt.text) <= LONGEST for prompt in prompts)


def _alike(embeddings: Array) -> float:
    """The root of the summed squares of the cosines of any two rows ``(n_classes, dim)``."""
    cosines = np.triu(embeddings @ embeddings.T, k=1)
    return round(float(np.linalg.norm(cosines)), DECIMALS)
