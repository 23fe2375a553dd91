"""What the site makes of the repository: its own pages as they are, and the reference from the table of parts."""

from __future__ import annotations

import re
from typing import Any

from promptopt.registry import TABLE

PARTS = re.compile(r"<!-- parts: (.+) -->")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):<code>~?([^<]+)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """List the parts of the kinds that a page asks for; a link to a folder leads to its README."""
    return PARTS.sub(_listed, markdown).replace("](../examples/plugin)", "](../examples/plugin/README.md)")


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things as Sphinx does; here they are code."""
    return ROLE.sub(r"<code>\1</code>", html)


def _listed(found: re.Match[str]) -> str:
    """Every part of some kinds: the name that recipes use, and its docstring."""
    lines = []
    for kind in found[1].split():
        lines.append(f"## {kind.capitalize()}")
        for name, path in TABLE[kind].items():
            lines += [f"### `{name}`", f"::: {path.replace(':', '.')}", "    options: {show_root_heading: false}"]
    return "\n\n".join(lines).replace("\n\n    options", "\n    options")
