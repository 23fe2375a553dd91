"""A result in a notebook: the verdict, the best prompt beside the start, the curve and the front."""

from __future__ import annotations

from html import escape

from ..parts import changes
from ..record.answers import contests, leads, rated
from ..run.result import Result
from ..text import visible
from .curve import SearchCurve, as_svg
from .front import as_svg as front_svg
from .front import caption, shown

__all__ = ["in_html"]

STYLE = """
.promptopt { max-width: 46rem; --c: #3b6fd4; }
.promptopt pre { white-space: pre-wrap; padding: .6em; border-left: 3px solid var(--c); background: #8881; }
.promptopt ins { text-decoration: none; background: #3b6fd438; }
.promptopt figure { margin: 0; display: inline-block; vertical-align: top; width: 49%; min-width: 18rem; }
.promptopt figcaption { font-size: 85%; opacity: .75; }
.promptopt svg text { fill: currentColor; font-size: 11px; }
.promptopt .grid { stroke: currentColor; opacity: .15; }
.promptopt .rated { fill: currentColor; opacity: .35; }
.promptopt .band { opacity: .18; }
.promptopt .line.best, .promptopt .whisker.best { stroke: var(--c); fill: none; stroke-width: 2; }
.promptopt .band.best, .promptopt g.best { fill: var(--c); }
.promptopt .chosen, .promptopt .cheapest { fill: none; stroke: currentColor; }
"""


def in_html(result: Result) -> str:
    """A fragment of HTML that loads nothing and runs nothing; every text in it is escaped."""
    said = result.verdict.sentence() if result.verdict else "No verdict was measured: there is no held-out data."
    spent = f"{result.costs.questions} questions, {result.costs.seconds:.0f} s"
    spent += f", ${result.costs.dollars:.2f}" if result.costs.dollars else ""
    pieces = [
        f"<style>{STYLE}</style>",
        f"<p><b>{_text(said)}</b><br />{_text(f'{spent}; {result.stop_reason}.')}</p>",
        f"<pre>{_marked(result)}</pre>",
        *(f"<p>{_text(warning)}</p>" for warning in result.warnings),
        *_figures(result),
        f"<p>Start: <code>{_text(result.start)}</code></p>" if result.start != result.best else "",
        f"<p>Record: <code>{_text(str(result.run))}</code></p>" if result.run else "",
    ]
    return f'<div class="promptopt">{"".join(pieces)}</div>'


def _figures(result: Result) -> list[str]:
    events = [{"event": "start", "examples": {}}, *({"event": "answer", **row} for row in result.history())]
    found, duels = rated(events), contests(events)
    drawn = []
    if len(found) > 1:
        drawn.append((as_svg(SearchCurve.of_ratings(found), "the search"), "Every rated prompt, and the best so far."))
    elif len(duels) > 1:
        drawn.append((as_svg(SearchCurve.of_duels(duels, leads(duels)), "the search"), "Net wins of the leader."))
    if (front := shown(result.front)) is not None:
        drawn += [(front_svg(front, name), caption(front, name)) for name in front.objectives]
    return [f"<figure>{svg}<figcaption>{_text(told)}</figcaption></figure>" for svg, told in drawn]


def _marked(result: Result) -> str:
    """The best prompt, with what the start has not."""
    pieces = [(kind, _text(text)) for kind, text in changes(result.start, result.best) if kind != "lost"]
    return "".join(f"<ins>{text}</ins>" if kind == "new" else text for kind, text in pieces)


def _text(text: str) -> str:
    return escape(visible(text))
