"""A run folder as a person wants to see it: verdict, best prompts and what changed, the curve, the costs, replies."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from ..core import Belief, Case, Rating, Usage
from ..errors import UserError
from ..parts import changed
from ..record.codec import decode_answer
from ..record.replay import Replay
from ..record.stages import TEST
from ..record.story import Story
from ..record.verdict import Verdict
from ..text import plain
from .curve import SearchCurve, as_marks, as_picture
from .front import draw, print_cheapest, print_front, shown
from .terminal import arrow, beginning, blocks, print_changes, print_prompt

__all__ = ["belief_line", "plot", "score", "show", "show_cases", "told", "verdict_line"]

FEW = 8  # lines of a prompt that comes after the best
LONG = 400  # characters of a reply that are shown


# ── On a terminal ─────────────────────────────────────────────────────────────────────────────────────────────────


def show(folder: Path, console: Console, *, top: int = 5) -> None:
    """Print a run folder.

    Args:
        top: how many of the best prompts to print.
    """
    story = Story.read(folder)
    scores = {one.prompt: one.rating for one in story.ratings}
    console.print(
        Text(plain(str(folder)), "bold").append(plain(f"  seed {story.manifest['seed']}, {story.status}"), "not bold")
    )
    for where, record in story.manifest.get("targets", {}).items():
        console.print(Text(plain(f"{where}: {told(record)}"), "dim"))
    print_prompt(console, f"Start{_rated(scores.get(story.start))}", story.start)
    best = "Most duels won so far" if story.leading else "Best"
    print_prompt(console, f"{best}{_rated(scores.get(story.best))}", story.best)
    print_changes(console, story.start, story.best)
    _others(story, scores, console, top=top)
    if front := shown(story.front):
        print_front(console, front, top=top)
        print_cheapest(console, front, story.cheapest)
    _curve(story, console)
    console.print(verdict_line(story.verdict, console), highlight=False)
    for name, verdict in story.transfers.items():
        console.print(verdict_line(verdict, console, title=f"On {name}"), highlight=False)
    if story.belief:
        console.print(belief_line(story.belief), highlight=False)
    console.print(_costs(story), highlight=False)


def told(record: dict[str, Any]) -> str:
    """What a target says of itself, in one line."""
    shown = {key: value for key, value in record.items() if isinstance(value, str)}
    return ", ".join(plain(f"{key} {value}") for key, value in shown.items())


def verdict_line(verdict: Verdict | None, console: Console, *, title: str = "Verdict") -> str:
    """A verdict in words, for a console."""
    said = verdict.sentence().replace("→", arrow(console)) if verdict else "none was measured"
    return f"[bold]{escape(plain(title))}:[/bold] {said}"


def belief_line(belief: Belief) -> str:
    """How sure the optimizer is, in words."""
    more = "" if belief.questions is None else f"; about {belief.questions} more answers are likely to matter"
    return f"[bold]Belief:[/bold] no other prompt is better with probability {belief.confidence:.2f}{more}"


def score(rating: Rating | None) -> str:
    """A rating's value and what it rests on: ``0.800 (45 of 50 examples, 3 failed)``."""
    if rating is None:
        return "–"
    value = f"{rating.value:.3f}" if rating.value == rating.value else "–"
    covered = rating.coverage
    if covered is None:
        return value
    failed = f", {covered.failed} failed" if covered.failed else ""
    part = "" if covered.scored == covered.examples else f"{covered.scored} of "
    return f"{value} ({part}{covered.examples} examples{failed})"


def _rated(rating: Rating | None) -> str:
    return f", rated {score(rating)}" if rating else ""


def _others(story: Story, scores: dict[str, Rating], console: Console, *, top: int) -> None:
    """The best prompts after the best, a line each, as they are but for line breaks; only parts that have changed."""
    ranked = sorted(scores, key=lambda prompt: scores[prompt].rank, reverse=True)
    others = [prompt for prompt in ranked if prompt != story.best][: top - 1]
    if others:
        console.print(Text("Next:", "bold"))
    for prompt in others:
        text, more = beginning(plain(changed(story.start, prompt)), FEW)
        text += f"\n({more} more lines)" if more else ""
        console.print(Text(f"{score(scores[prompt])}  {text}".replace("\n", "\n       ")))
    reasons = sum((Counter(dict(r.coverage.reasons)) for r in scores.values() if r.coverage), Counter[str]())
    for reason, count in reasons.most_common(3):
        console.print(Text(f"{count} outputs over all prompts: {plain(reason)}", "dim"))


def _curve(story: Story, console: Console) -> None:
    """The best score so far as a line of blocks."""
    curve = SearchCurve.of_ratings(story.rated)
    if not curve.steps or curve.steps[0][1] == curve.steps[-1][1]:
        return
    line = as_marks(curve, blocks(console))
    low, high = curve.steps[0][1], curve.steps[-1][1]
    console.print(Text(f"{low:.3f} {line} {high:.3f} after {len(curve.dots)} ratings", style="cyan"))


def _costs(story: Story) -> str:
    replay = Replay(story.events)
    text = f"[bold]Costs:[/bold] {replay.questions} questions, {replay.seconds:.1f} s"
    if (usage := replay.usage) != Usage():
        text += f", {usage.calls} LLM calls, {usage.input_tokens} + {usage.output_tokens} tokens, ${usage.dollars:.4f}"
    return text


# ── Replies beside their examples ─────────────────────────────────────────────────────────────────────────────────


def show_cases(folder: Path, console: Console, *, stage: str = TEST) -> None:
    """Print what the starting and the best prompt brought about on each example of the verdict.

    Examples on which they differ come first.

    Args:
        stage: ``test``, or ``transfer:`` and the name of another target.

    Raises:
        UserError: the run's record holds no cases.
    """
    story = Story.read(folder)
    start, best = (_cases(story, prompt, stage) for prompt in (story.start, story.best))
    if not (start or best):
        raise UserError(
            f"{folder} holds no outputs of its prompts: it has no verdict, its scorer gives no outputs, or it was "
            "recorded by an earlier version."
        )
    for example in sorted({**best, **start}, key=lambda one: _gain(start.get(one), best.get(one))):
        console.print(Text(plain(example), "bold"))
        for name, case in (("start", start.get(example)), ("best ", best.get(example))):
            if case is not None and not (name == "best " and story.start == story.best):
                console.print(Text(f"  {name}  {_told_case(case)}"))


def _cases(story: Story, prompt: str, stage: str) -> dict[str, Case]:
    """The cases of a prompt by example; of several answers the last counts."""
    found: dict[str, Case] = {}
    for event in story.events:
        if event["event"] == "answer" and event["stage"] == stage and event.get("prompt") == prompt:
            answer = decode_answer(event)
            found |= {case.example: case for case in answer.cases} if isinstance(answer, Rating) else {}
    return found


def _gain(start: Case | None, best: Case | None) -> tuple[int, float]:
    """What to sort by: lost, won, unknown, the same; each by how much."""
    values = [case.value if case is not None else float("nan") for case in (start, best)]
    difference = values[1] - values[0]
    if difference != difference:
        return (2, 0.0)
    return (3, values[1]) if difference == 0 else (int(difference > 0), -abs(difference))


def _told_case(case: Case) -> str:
    value = f"{case.value:g}" if case.value == case.value else "unscored"
    output = "(no output)" if case.output is None else " / ".join(plain(case.output).split("\n"))
    output = output if len(output) <= LONG else output[:LONG] + "…"
    return f"{value:<8}  {output}" + (f"  [{plain(case.reason)}]" if case.reason else "")


# ── As a picture ──────────────────────────────────────────────────────────────────────────────────────────────────


def plot(folder: Path, file: Path) -> None:
    """Draw a run's curve, of its ratings or else of its duels, and its front; the ending of ``file`` is the format.

    Raises:
        MissingExtra: matplotlib is not installed.
        UserError: the format is unknown, or nothing was answered.
    """
    story = Story.read(folder)
    if not story.rated and not story.leads:
        raise UserError(f"{folder} holds no ratings to draw, and no duels.")
    rated = bool(story.rated)
    curve = SearchCurve.of_ratings(story.rated) if rated else SearchCurve.of_duels(story.duels, story.leads)
    front = shown(story.front)
    figure = as_picture(curve, story.best.replace("\n", " / "), beside=partial(draw, front) if front else None)
    try:
        figure.savefig(file)
    except (ValueError, OSError) as error:
        raise UserError(f"cannot write {file}: {error}") from None
