"""Prompts for CLIP with texts of single classes: one plain text, and what its lines say.

A line with ``{}`` is a template, for every class. A line without it is a text of one class: the class's name, a colon
and the text. With the classes ``boxer`` and ``pug``,

::

    a photo of a {}
    boxer: a tall brown dog with a flat face
    boxer: a photo of a boxer dog

has three texts for the boxer, "a photo of a boxer" and its own two, and one for the pug, "a photo of a pug".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UserError

__all__ = ["ClassLines", "ClassTexts"]

PLACEHOLDER = "{}"
NEAR = 3  # so many near names are told
SHOWN = 10  # so many names are told at the most
CLOSE = 0.6


@dataclass(frozen=True)
class ClassTexts:
    """The texts that a prompt says.

    Attributes:
        templates: with one ``{}`` each.
        own: texts of single classes, by class.
    """

    templates: tuple[str, ...] = ()
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The prompt: templates first, then ``class: text`` for each text of a class, in the order of ``own``."""
        lines = (f"{name}: {text}" for name, texts in self.own.items() for text in texts)
        return "\n".join([*self.templates, *lines])

    def of(self, name: str) -> list[str]:
        """All texts of a class: the templates with its name, then its own."""
        return [*(line.replace(PLACEHOLDER, name) for line in self.templates), *self.own.get(name, ())]


class ClassLines:
    """Reads such prompts.

    Before the colon case, underscores and the number of spaces do not matter. A class whose name holds a colon is found
    too: of several classes that a line may begin with, the longest counts.

    Args:
        classes: the class names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._exact = frozenset(classes)
        self._plain: dict[str, list[str]] = {}
        for name in self.classes:
            self._plain.setdefault(_plain(name), []).append(name)

    def read(self, prompt: str) -> ClassTexts:
        """The texts of a prompt; empty lines do not count.

        Raises:
            UserError: a line is neither a template nor a text of a class, there are no texts at all, or no template and
                none for some class.
        """
        templates: list[str] = []
        own: dict[str, list[str]] = {}
        for line in prompt.splitlines():
            if PLACEHOLDER in line:
                templates.append(self._template(line))
            elif line.strip():
                name, text = self._class_text(line)
                own.setdefault(name, []).append(text)
        if not templates and not own:
            raise UserError("the prompt is empty; write a template with one {} where the class name goes.")
        if not templates and (lacking := [name for name in self.classes if name not in own]):
            raise UserError(
                f"there is no text for {_listed(lacking)}; add a line for each, or a template with one {{}} for all."
            )
        return ClassTexts(tuple(templates), {name: tuple(own[name]) for name in self.classes if name in own})

    def without(self, prompt: str) -> str:
        """A prompt without the texts of single classes; any other line stays, whatever it is."""
        lines = prompt.splitlines()
        return "\n".join(line for line in lines if PLACEHOLDER in line or not self._begins(line))

    def named(self, name: str) -> str:
        """The class that somebody means by a name, which may differ in case, underscores and spaces.

        Raises:
            UserError: there is none, or there are several.
        """
        names = [name] if name in self._exact else self._plain.get(_plain(name), [])
        if not names:
            raise UserError(f"{name!r} is no class of the task. {self._near(name)}")
        if len(names) > 1:
            raise UserError(f"{name!r} fits {_listed(names)}; write the name exactly as one of them is.")
        return names[0]

    def _template(self, line: str) -> str:
        if (count := line.count(PLACEHOLDER)) > 1:
            raise UserError(f"{line!r} has {count} times {{}}; a template needs one {{}} where the class name goes.")
        if found := self._begins(line):
            raise UserError(
                f"{line!r} begins with the class {found[0][0]!r} and has a {{}}; in the text of one class write its "
                "name in words, or leave the class out for a template."
            )
        return line

    def _class_text(self, line: str) -> tuple[str, str]:
        found = self._begins(line)
        if not found:
            raise UserError(self._no_class(line))
        names, text = found
        if len(names) > 1:
            raise UserError(f"{line!r} fits {_listed(names)}; write the name exactly as one of them is.")
        if not text:
            raise UserError(f"{line!r} says nothing of its class; write a text behind the colon, or drop the line.")
        return names[0], text

    def _begins(self, line: str) -> tuple[list[str], str] | None:
        """The class that a line begins with, or those that it may be, and what stands behind the colon."""
        place = line.rfind(":")
        while place >= 0:
            before = line[:place].strip()
            if names := [before] if before in self._exact else self._plain.get(_plain(before), []):
                return names, line[place + 1 :].strip()
            place = line.rfind(":", 0, place)
        return None

    def _no_class(self, line: str) -> str:
        before, colon, _ = line.partition(":")
        if not colon:
            return (
                f"{line!r} has no {{}}; a template needs one {{}} where the class name goes, and the text of a single "
                "class begins with its name and a colon."
            )
        name = before.strip()
        return f"{line!r} has no {{}}, so it is no template, and {name!r} is no class of the task. {self._near(name)}"

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(_plain(name), self._plain, n=NEAR, cutoff=CLOSE)
        names = [known for one in near for known in self._plain[one]]
        return f"Near is {_listed(names)}." if names else f"The classes are {_listed(self.classes)}."


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:SHOWN]))
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
