"""A result as a notebook shows it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from run_parts import CLIMB

import promptopt
from promptopt.optimizers import Apohf

HOSTILE = "<script>alert(1)</script> & \x1b[31m \u202e"


def shown(**options: Any) -> ElementTree.Element:
    """The fragment, which must be well-formed."""
    pool = {"name": "list", "prompts": [f"a longer prompt {'x' * n}" for n in range(6)]}
    given = {"start": HOSTILE, "optimizer": {"name": "random-search", "pool": pool}, "score": len, "budget": 6}
    return ElementTree.fromstring(promptopt.optimize(**{**given, "run": None, **options})._repr_html_())


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_best_prompt_the_curve_and_the_costs_stand_in_it() -> None:
    page = shown(start="a prompt")
    (best,) = page.iter("pre")
    assert text(best) == "a longer prompt xxxxx"
    assert [text(new) for new in best.iter("ins")] == ["longer", "xxxxx"]
    assert next(one.get("aria-label") for one in page.iter("svg")) == "the search"
    assert "6 questions" in text(page)
    assert "No verdict was measured" in text(page)


def test_nothing_in_it_loads_or_runs_and_every_text_is_escaped() -> None:
    page = shown(score=lambda prompt: -len(prompt), start=HOSTILE[:12])
    tags = {one.tag for one in page.iter()}
    assert not tags & {"script", "img", "link", "iframe"}
    assert text(next(page.iter("pre"))) == HOSTILE[:12]


def test_a_verdict_and_a_front() -> None:
    toy = {"target": "run_parts:ToyTarget", "data": "run_parts:toy_data", "optimizer": CLIMB, "budget": 40}
    page = shown(start="answer {}", score=None, **toy)
    assert "on 40 held-out examples" in text(page)
    assert len(list(page.iter("svg"))) == 2


def test_duels_have_the_curve_of_the_leader() -> None:
    page = shown(start=["a", "bb", "ccc"], optimizer=Apohf(), budget=12)
    assert [one.get("aria-label") for one in page.iter("svg")] == ["the search"]
    assert "Net wins of the leader." in text(page)


def test_another_room_is_asked_only_when_a_notebook_shows_it() -> None:
    import subprocess
    import sys

    code = "import sys, promptopt; promptopt.Result; assert 'promptopt.report' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
