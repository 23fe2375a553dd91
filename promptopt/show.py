"""A run folder as a person wants to see it: verdict, best prompts and what changed, the curve, the costs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .core import Belief, Rate, Rating
from .errors import UserError, require
from .ledger import TEST, TRANSFER, Replay, decode_answer, decode_question, read
from .verdict import Verdict

BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Story:
    """What a ledger tells, whether its run has ended or not.

    Attributes:
        manifest: the start event.
        ratings: prompt and rating on the training split, in the order asked.
        best: the final answer, or the best rated so far.
        verdict: the held-out comparison, if it was made.
        transfers: the same comparison with other targets, by name.
        belief: how sure an optimizer that gets no ratings was of the best prompt.
        status: why the run stopped, or that it did not.
        events: the ledger's events.
    """

    manifest: dict[str, Any]
    ratings: list[tuple[str, Rating]]
    best: str
    verdict: Verdict | None
    transfers: dict[str, Verdict]
    belief: Belief | None
    status: str
    events: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Story:
        """Read a run folder.

        Raises:
            UserError: there is no run in it.
        """
        events = read(folder / "ledger.jsonl")
        if not events or events[0]["event"] != "start":
            raise UserError(f"there is no run in {str(folder)!r}: it has no ledger.jsonl, or one without a beginning.")
        last = next(event for event in reversed(events) if event["event"] in ("start", "resume", "stop", "failed"))
        ratings = _ratings(events)
        best = last.get("best") or _best(ratings) or events[0]["start"][0]
        verdicts = {
            event.get("stage", TEST): Verdict.from_json(event["verdict"])
            for event in events
            if event["event"] == "verdict" and event["best_prompt"] == best
        }
        verdict = verdicts.pop(TEST, None)
        transfers = {stage.removeprefix(TRANSFER): found for stage, found in verdicts.items()}
        belief = Belief(**last["belief"]) if "belief" in last else None
        return cls(events[0], ratings, best, verdict, transfers, belief, _status(last), events)

    @property
    def start(self) -> str:
        start: str = self.manifest["start"][0]
        return start


def _ratings(events: Sequence[dict[str, Any]]) -> list[tuple[str, Rating]]:
    answers = [event for event in events if event["event"] == "answer" and event["stage"] in ("search", "shorten")]
    pairs = [(decode_question(event), decode_answer(event)) for event in answers]
    return [(q.prompt.text, a) for q, a in pairs if isinstance(q, Rate) and isinstance(a, Rating) and not q.on]


def _best(ratings: Sequence[tuple[str, Rating]]) -> str | None:
    return max(ratings, key=lambda pair: pair[1].rank)[0] if ratings else None


def _status(last: dict[str, Any]) -> str:
    if last["event"] in ("start", "resume"):
        return "unfinished: it is still running, or it was killed; promptopt resume takes it up again"
    return f"failed: {last['error']}" if last["event"] == "failed" else f"stopped: {last['reason']}"


# ── On a terminal ─────────────────────────────────────────────────────────────────────────────────────────────────


def show(folder: Path, console: Console, *, top: int = 5) -> None:
    """Print a run folder.

    Args:
        top: how many of the best prompts to print.
    """
    story = Story.read(folder)
    console.print(Text(str(folder), "bold").append(f"  seed {story.manifest['seed']}, {story.status}", "not bold"))
    console.print(Group(_prompts(story, top, lost=console.color_system is not None), _curve(story)))
    console.print(verdict_line(story.verdict), highlight=False)
    for name, verdict in story.transfers.items():
        console.print(verdict_line(verdict, f"On {name}"), highlight=False)
    if story.belief:
        console.print(belief_line(story.belief), highlight=False)
    console.print(_costs(story), highlight=False)


def verdict_line(verdict: Verdict | None, title: str = "Verdict") -> str:
    """A verdict in words."""
    return f"[bold]{escape(title)}:[/bold] {verdict.sentence() if verdict else 'none was measured'}"


def belief_line(belief: Belief) -> str:
    """How sure the optimizer is, in words."""
    more = "" if belief.questions is None else f"; about {belief.questions} more answers are likely to matter"
    return f"[bold]Belief:[/bold] no other prompt is better with probability {belief.confidence:.2f}{more}"


def changes(start: str, prompt: str, *, lost: bool) -> Text:
    """A prompt, with the words that the starting prompt lacks in bold.

    Args:
        lost: also show the words that it has lost, struck out; only where the console can strike out.
    """
    old, new, text = plain(start).split(), plain(prompt).split(), Text()
    for kind, a, b, c, d in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if lost and kind in ("replace", "delete"):
            text.append(" ".join(old[a:b]), style="strike dim").append(" ")
        if kind != "delete":
            text.append(" ".join(new[c:d]), style="" if kind == "equal" else "bold green").append(" ")
    text.rstrip()
    return text


def plain(text: str) -> str:
    """A prompt, with characters that a terminal would act upon written out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _prompts(story: Story, top: int, *, lost: bool) -> Table:
    scores = dict(story.ratings)
    ranked = sorted(scores, key=lambda prompt: scores[prompt].rank, reverse=True)[:top]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("train", justify="right", no_wrap=True)
    table.add_column("prompt")
    table.add_row("start", _score(scores.get(story.start)), Text(plain(story.start)))
    for prompt in dict.fromkeys([story.best, *ranked]):
        name = "best" if prompt == story.best else ""
        table.add_row(name, _score(scores.get(prompt)), changes(story.start, prompt, lost=lost))
    return table


def _score(rating: Rating | None) -> str:
    return f"{rating.value:.3f}" if rating and rating.value == rating.value else "–"


def best_so_far(ratings: Sequence[tuple[str, Rating]]) -> list[float]:
    """The best value after each rating; NaN until something could be scored."""
    curve: list[float] = []
    best = float("nan")
    for _, rating in ratings:
        if rating.value == rating.value and not rating.value <= best:
            best = rating.value
        curve.append(best)
    return curve


def _curve(story: Story, *, width: int = 60) -> Text:
    """The best score so far as a line of blocks."""
    curve = [value for value in best_so_far(story.ratings) if value == value]
    if len(curve) < 2 or curve[0] == curve[-1]:
        return Text("")
    points = [curve[i * (len(curve) - 1) // (width - 1)] for i in range(width)]
    low, high = curve[0], curve[-1]
    blocks = "".join(BLOCKS[round((point - low) / (high - low) * (len(BLOCKS) - 1))] for point in points)
    return Text(f"{low:.3f} {blocks} {high:.3f} after {len(curve)} ratings", style="cyan")


def _costs(story: Story) -> str:
    replay = Replay(story.events)
    calls = [event["usage"] for event in story.events if event["event"] == "call"]
    text = f"[bold]Costs:[/bold] {replay.questions} questions, {replay.seconds:.1f} s"
    if calls:
        count, tokens_in, tokens_out, dollars = (sum(column) for column in zip(*calls, strict=True))
        text += f", {count} LLM calls, {tokens_in} + {tokens_out} tokens, ${dollars:.4f}"
    return text


# ── As a picture ──────────────────────────────────────────────────────────────────────────────────────────────────


def plot(folder: Path, file: Path) -> None:
    """Draw every rating and the best so far over the questions asked; the ending of ``file`` says in which format.

    Raises:
        MissingExtra: matplotlib is not installed.
        UserError: the format is unknown, or there are no ratings.
    """
    require("matplotlib", extra="plot")
    from matplotlib.figure import Figure

    story = Story.read(folder)
    if not story.ratings:
        raise UserError(f"{folder} holds no ratings to draw.")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    values = [rating.value for _, rating in story.ratings]
    axes.plot(range(1, len(values) + 1), values, ".", alpha=0.35, label="rated")
    axes.step(range(1, len(values) + 1), best_so_far(story.ratings), where="post", label="best so far")
    axes.set(xlabel="question", ylabel="score on the training examples")
    axes.set_title(story.best.replace("\n", " / "), parse_math=False, wrap=True)
    axes.legend()
    try:
        figure.savefig(file)
    except (ValueError, OSError) as error:
        raise UserError(f"cannot write {file}: {error}") from None
