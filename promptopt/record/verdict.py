"""What held-out data says at the end: the best prompt against the starting prompt, measured once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core import Coverage, Rating
from ..stats import interval, mean


@dataclass(frozen=True)
class Verdict:
    """A paired comparison on the test examples that both prompts could be scored on.

    Attributes:
        start, best: mean score of the two prompts on these examples.
        difference: best minus start.
        low, high: 95% bootstrap confidence interval of the difference; None where examples are too few for one.
        examples: how many were compared.
        unscored: how many had to be left out.
        start_coverage, best_coverage: how many of each prompt's outputs could be scored, how many failed, and why; None
            where that is not known.
        by: the scorer or metric that gave the scores, where it is another than the one that the search maximised.
    """

    start: float
    best: float
    difference: float
    low: float | None
    high: float | None
    examples: int
    unscored: int = 0
    start_coverage: Coverage | None = None
    best_coverage: Coverage | None = None
    by: str = ""

    @property
    def significant(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low is not None and self.low > 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values; null where nothing could be scored."""
        fields = {key: None if value != value else value for key, value in asdict(self).items()}
        return fields if self.by else {key: value for key, value in fields.items() if key != "by"}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Verdict:
        """What :meth:`to_json` gave."""
        means = {key: math.nan for key in ("start", "best", "difference") if fields[key] is None}
        covered = {key: Coverage(**fields[key]) for key in ("start_coverage", "best_coverage") if fields.get(key)}
        return cls(**{**fields, **means, **covered})

    def sentence(self) -> str:
        """The verdict in words: on how much it rests where that is not everything, the comparison, what failed."""
        return "".join([self.part, self._comparison(), *self._failures()])

    @property
    def part(self) -> str:
        """How the sentence begins where fewer than all examples were compared; else nothing."""
        total = self.examples + self.unscored
        return (
            f"on {self.examples} of {total} held-out examples only, {self.unscored} could not be scored: "
            if self.unscored
            else ""
        )

    @property
    def judged(self) -> str:
        """Who gave the scores, behind the number of examples; nothing where that is the search's own scorer."""
        return f" by {self.by}" if self.by else ""

    def _failures(self) -> Iterator[str]:
        for name, covered in (("best", self.best_coverage), ("starting", self.start_coverage)):
            if covered and covered.failed:
                told = ", ".join(f"{n} {reason}" for reason, n in covered.reasons.items())
                yield f"; {covered.failed} of {covered.examples} outputs of the {name} prompt failed: {told}"

    def _comparison(self) -> str:
        scores = f"{self.start:.3f} → {self.best:.3f} on {self.examples} held-out examples{self.judged}"
        if self.low is None or self.high is None:
            return f"{scores}: too few examples to tell a gain from chance"
        interval = f"difference {self.difference:+.3f}, 95% interval {self.low:+.3f} to {self.high:+.3f}"
        judgement = "a significant gain" if self.significant else "no significant gain"
        if self.high < 0:
            judgement = "significantly worse"
        return f"{judgement}: {scores} ({interval})"


def compare(start: Rating, best: Rating, *, rng: np.random.Generator, by: str = "") -> Verdict:
    """Compare two ratings example by example: their ``per_example`` are ``(n_examples,)``, in the same order.

    Args:
        by: as of :class:`Verdict`.

    The interval is the percentile bootstrap of the mean difference; it needs no assumption on how scores are
    distributed. Ratings without per-example values give a verdict without an interval, on 1 example.
    """
    if start.per_example is None or best.per_example is None:
        return Verdict(
            start.value,
            best.value,
            best.value - start.value,
            None,
            None,
            examples=1,
            start_coverage=start.coverage,
            best_coverage=best.coverage,
            by=by,
        )
    both = np.isfinite(start.per_example) & np.isfinite(best.per_example)
    differences = best.per_example[both] - start.per_example[both]
    low, high = interval(differences, rng=rng)
    return Verdict(
        start=mean(start.per_example[both]),
        best=mean(best.per_example[both]),
        difference=mean(differences),
        low=low,
        high=high,
        examples=int(both.sum()),
        unscored=int((~both).sum()),
        start_coverage=start.coverage,
        best_coverage=best.coverage,
        by=by,
    )
