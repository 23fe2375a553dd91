"""What a run gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import Archive, Belief, Coverage, Prompt, Rating
from ..parts import parts_of
from ..record.codec import encode, null_for_nan
from ..record.front import Front
from ..record.verdict import Verdict
from .budget import Costs
from .recorder import Step

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Candidate:
    """A prompt that was rated on the whole training split, and the texts that it was made from."""

    prompt: Prompt
    rating: Rating

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(self.prompt.origin.get("parents", ()))


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        best: the best prompt's text.
        start: the starting prompt's text.
        candidates: every prompt that was rated on the whole training split, best first.
        verdict: the held-out comparison of best with start; None where there is no test data or the run was
            interrupted.
        transfers: the same comparison with the recipe's other targets, by name.
        belief: how sure an optimizer that gets no ratings is of the best prompt; None from others.
        stop_reason: why the search ended.
        costs: what was spent.
        counts: how often something went wrong that is worth knowing, for example unparsable replies.
        notes: what the parts had to say.
        warnings: reasons for care with the result, for example training text in the best prompt.
        seed: the run's seed.
        run: the run's folder, with the ledger; None if nothing was written.
        steps: every answered question, in order.
        front: value against cost, see :class:`promptopt.record.front.Front`; None where nothing was rated.
        cheapest_verdict: the held-out comparison of the cheapest prompt (its ``best``) with the best one (its
            ``start``), where ``verdict = "cheapest"`` asked for it.
        archive: the best prompt of each kind, from optimizers that keep them.
        cell_verdicts: the held-out comparisons of prompts that hold its cells with the start, by prompt, where
            ``cells`` asked for them.
    """

    best: str
    start: str
    candidates: tuple[Candidate, ...]
    verdict: Verdict | None
    transfers: Mapping[str, Verdict]
    belief: Belief | None
    stop_reason: str
    costs: Costs
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seed: int
    run: Path | None
    steps: tuple[Step, ...]
    front: Front | None = None
    cheapest_verdict: Verdict | None = None
    archive: Archive | None = None
    cell_verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.best

    @property
    def parts(self) -> Mapping[str, str]:
        """The parts of the best prompt by name; empty where it is one text."""
        return parts_of(self.best)

    def score(self, prompt: str) -> float | None:
        """A prompt's rating on the training split, or None if it has none."""
        found = (c.rating.value for c in self.candidates if c.prompt.text == prompt)
        return next((value for value in found if value == value), None)

    def coverage(self, prompt: str) -> Coverage | None:
        """On how many training examples a prompt's rating rests, how many outputs failed and why; None if unknown."""
        return next((c.rating.coverage for c in self.candidates if c.prompt.text == prompt), None)

    @property
    def cheapest(self) -> str | None:
        """The prompt that costs least and may stand in for the best, which it may be itself; None without a front."""
        return self.front.cheapest.prompt if self.front else None

    def history(self) -> list[dict[str, Any]]:
        """One row per answered question: ``n``, ``stage``, the question and the answer, as in the ledger."""
        return [{"n": step.n, "stage": step.stage, **encode(step.question, step.answer)} for step in self.steps]

    def to_pandas(self) -> pandas.DataFrame:
        """The history as a data frame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        from ..errors import require

        frame: pandas.DataFrame = require("pandas", extra="pandas").DataFrame(self.history())
        return frame

    def summary(self) -> dict[str, Any]:
        """The result as JSON values, scores as fractions of 1; what ``--json`` prints."""
        v = self.verdict
        return {
            "start": self._told(self.start, v.start if v else None),
            "best": self._told(self.best, v.best if v else None),
            "verdict": v and {**asdict(v), "significant": v.significant},
            "cheapest": self.front and asdict(self.front.cheapest),
            "cheapest_verdict": self.cheapest_verdict and asdict(self.cheapest_verdict),
            "transfers": {name: {**asdict(v), "significant": v.significant} for name, v in self.transfers.items()},
            "belief": self.belief and asdict(self.belief),
            "stop_reason": self.stop_reason,
            "questions": self.costs.questions,
            "seconds": round(self.costs.seconds, 3),
            "costs": asdict(self.costs),
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "seed": self.seed,
            "run": str(self.run) if self.run else None,
        }

    def _told(self, prompt: str, test: float | None) -> dict[str, Any]:
        """A prompt, its parts if any, its scores and, if known, on how many training examples the first rests."""
        covered = self.coverage(prompt)
        parts = parts_of(prompt)
        return {
            "prompt": prompt,
            **({"parts": parts} if parts else {}),
            "train": self.score(prompt),
            "test": test,
            "coverage": covered and {**asdict(covered), "reasons": dict(covered.reasons)},
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the best prompt, the curve of the search and the front."""
        # Reports are made of results, so this room does not know theirs; only a notebook asks a result to be one.
        html: str = import_module("promptopt.report.notebook").in_html(self)
        return html

    def to_json(self) -> str:
        """:meth:`summary` as one line of JSON; NaN becomes null."""
        return json.dumps(null_for_nan(self.summary()), ensure_ascii=False, allow_nan=False)
