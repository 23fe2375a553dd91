"""A page as one HTML file that loads nothing: style and script stand in it and are allowed by their hashes alone."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from ..errors import require
from ..parts import changes
from ..text import Change, visible
from .page import Page
from .told import covered

if TYPE_CHECKING:
    import jinja2


def html(page: Page) -> str:
    """The page as HTML. Every text in it is escaped; it runs no script but its own.

    Raises:
        MissingExtra: Jinja is not installed.
    """
    style, script = _file("report.css"), _file("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _templates().get_template("report.html.j2")
    version = metadata.version("promptopt-toolkit")
    return visible(template.render(page=page, style=style, script=script, policy=policy, version=version))


@cache
def _templates() -> jinja2.Environment:
    jinja: Any = require("jinja2", extra="report")
    templates: jinja2.Environment = jinja.Environment(
        loader=jinja.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    templates.filters["marked"] = _marked
    templates.filters["covered"] = covered
    templates.globals["markup"] = require("markupsafe", extra="report").Markup
    return templates


def _visible(value: Any) -> Any:
    """Text with control characters as pictures of them: HTML holds none but tab and line feed. Markup stays."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return visible(value)


def _marked(prompt: str, start: str) -> list[tuple[Change, str]]:
    """A prompt in pieces, without the words that the start lost."""
    return [(kind, text) for kind, text in changes(start, prompt) if kind != "lost"]


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
