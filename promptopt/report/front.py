"""Value against cost: the front of a run as a picture, a table and words, on a page, in a file and on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..record.front import Front, Point, amount, told, unit
from ..record.verdict import Verdict
from ..text import plain
from .figures import Axis, Chart
from .figures import Point as Place
from .tables import Column, Table
from .terminal import print_prompt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

__all__ = ["as_svg", "caption", "draw", "front_table", "held_out", "legend", "print_cheapest", "print_front", "shown"]

LONG = 80  # characters of a prompt in a list


def shown(front: Front | None) -> Front | None:
    """The front, if there is anything to weigh: more than one prompt."""
    return front if front and front.points and front.candidates > 1 else None


# ── As a picture ──────────────────────────────────────────────────────────────────────────────────────────────────


def as_svg(front: Front, objective: str) -> str:
    """Value against one objective, as :func:`promptopt.report.curve.as_svg` draws."""
    others, places = _others(front, objective), _places(front, objective)
    ends = [(point.objectives[objective], *_interval(front, point)) for point in front.points]
    x = Axis.over(unit(objective), [cost for cost, _ in [*others, *places]])
    y = Axis.over(_score(front), [value for _, value in [*others, *places]])
    chart = Chart(caption(front, objective), x, y)
    chart.points(others, "rated", radius=2.5)
    for cost, low, high in ends:
        if low is not None and high is not None:
            chart.spread(cost, low, high, "best")
    if len(front.objectives) == 1:
        chart.line(places, "best", steps=True)
    chart.points(places, "best", radius=4)
    chart.points(_place(front.cheapest, objective), "cheapest", radius=6)
    return chart.points(_place(front.best, objective), "chosen", radius=8).svg()


def legend(front: Front) -> list[tuple[str, str]]:
    """The layers of :func:`as_svg` and what they are."""
    marks = [("best", "the front"), ("chosen", "the best prompt"), ("cheapest", "the cheapest that is good enough")]
    return [*([("rated", "other prompts")] if front.dominated else []), *marks]


def caption(front: Front, objective: str) -> str:
    """What the picture shows, in sentences; its text alternative."""
    many = f"{len(front.points):,} of {front.candidates:,} prompts are on the front: no other scores as high for less."
    places = _places(front, objective)
    costs, values = ([place[i] for place in places] for i in (0, 1))
    least, most = (told(cost, objective) for cost in (costs[0], costs[-1]))
    ends = f"From {least} to {most}, scores from {min(values):.3f} to {max(values):.3f}."
    bars = " The bars are 95% intervals of the difference from the best prompt, example by example."
    return f"{many} {ends}" + (bars if any(point.low is not None for point in front.points) else "")


def draw(front: Front, axes: Axes) -> None:
    """Value against the first objective, with matplotlib."""
    objective = front.objectives[0]
    places = _places(front, objective)
    if others := _others(front, objective):
        axes.plot(*zip(*others, strict=True), "C0.", alpha=0.35, label="other prompts")
    for point in front.points:
        low, high = _interval(front, point)
        if low is not None and high is not None:
            axes.vlines(point.objectives[objective], low, high, "C1", alpha=0.3, linewidth=3)
    style = "C1o-" if len(front.objectives) == 1 else "C1o"
    axes.plot(*zip(*places, strict=True), style, drawstyle="steps-post", label="the front, with 95% intervals")
    for point, style, label in ((front.cheapest, "C2o", "the cheapest"), (front.best, "C3o", "the best")):
        for x, y in _place(point, objective):
            axes.plot([x], [y], style, markersize=10, fillstyle="none", label=label)
    axes.set(xlabel=unit(objective), ylabel=_score(front))
    axes.legend()


def _score(front: Front) -> str:
    return "score on the dev split" if front.split == "dev" else "training score"


def _others(front: Front, objective: str) -> list[Place]:
    place = 1 + front.objectives.index(objective)
    return [(row[place], row[0]) for row in front.dominated]


def _places(front: Front, objective: str) -> list[Place]:
    """The points of the front, the cheapest first."""
    return sorted(place for point in front.points for place in _place(point, objective))


def _place(point: Point, objective: str) -> list[Place]:
    return [(point.objectives[objective], point.value)] if objective in point.objectives else []


def _interval(front: Front, point: Point) -> tuple[float | None, float | None]:
    """The interval of the difference, from the best prompt's value on."""
    if point.low is None or point.high is None:
        return None, None
    return front.best.value + point.low, front.best.value + point.high


# ── In a table and in words ───────────────────────────────────────────────────────────────────────────────────────


def front_table(front: Front) -> Table:
    """The front, and the best prompt where it is not on it, the highest value first."""
    columns = [Column("value", "score", "score")]
    columns += [Column(name, unit(name), "number") for name in front.objectives]
    columns += [Column("difference", "from the best", "change")]
    if any(point.low is not None for point in front.points):
        columns += [Column(end, end, "change") for end in ("low", "high")]
        columns += [Column("examples", "examples", "count")]
    columns += [Column("role", "which"), Column("prompt", "prompt", "prompt")]
    best = [] if any(point.prompt == front.best.prompt for point in front.points) else [front.best]
    rows = [{**vars(point), **point.objectives, "role": _role(front, point)} for point in [*best, *front.points]]
    counted = f"Prompt tokens are counted {front.tokens}. " if front.tokens.startswith("with") else ""
    counted = counted or (f"Prompt tokens are estimated: {front.tokens}. " if front.tokens else "")
    note = f"{counted}Prompts were chosen by these ratings, so expect differences to be larger elsewhere."
    return Table("front", "Prompts that no other one beats in score and cost", tuple(columns), rows, note)


def _role(front: Front, point: Point) -> str:
    roles = (("best", front.best), ("cheapest", front.cheapest))
    return " and ".join(name for name, one in roles if one.prompt == point.prompt)


def held_out(verdict: Verdict) -> str:
    """The cheapest prompt against the best one on held-out examples, in a sentence."""
    sure = "" if verdict.low is None else f", 95% interval {verdict.low:+.3f} to {verdict.high:+.3f}"
    scores = f"{verdict.best:.3f} instead of {verdict.start:.3f} on {verdict.examples} examples"
    return f"Held out: {scores} (difference {verdict.difference:+.3f}{sure})."


def print_cheapest(console: Console, front: Front, verdict: Verdict | None) -> None:
    """The cheapest prompt, and what is known of it; that there is none where the best is it."""
    if front.saves:
        print_prompt(console, f"Cheapest ({unit(front.objectives[0])}) that is good enough", front.cheapest.prompt)
    for sentence in [*front.sentences(), *([held_out(verdict)] if verdict else [])]:
        console.print(Text(plain(sentence[:1].upper() + sentence[1:]), "dim"))


def print_front(console: Console, front: Front, *, top: int) -> None:
    """The points of the front, a line each, the highest value first: value, costs, and how the prompt begins."""
    names = ", ".join(unit(name) for name in front.objectives)
    console.print(Text(plain(f"Score against {names}:"), "bold"))
    for point in front.points[:top]:
        costs = "  ".join(f"{amount(point.objectives[name]):>6}" for name in front.objectives)
        role = _role(front, point)
        console.print(Text(f"{point.value:.3f}  {costs}  {f'the {role}' if role else _beginning(point.prompt)}"))
    if (rest := len(front.points) - top) > 0:
        console.print(Text(f"({rest} more; front.json has all of them)", "dim"))


def _beginning(prompt: str) -> str:
    text = plain(" ".join(prompt.split()))
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"
