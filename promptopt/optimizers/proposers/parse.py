"""Reading prompts out of an LLM's reply, whatever shape it has.

Understood are bullets and numbers, JSON lists, fenced blocks and plain lines, with quotes, bold type, labels and
preambles around them. A candidate counts if the target can take it; a repair is tried only where it cannot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

__all__ = ["Check", "parse_last", "parse_prompts"]

Check: TypeAlias = Callable[[str], str | None]

BULLET = re.compile(  # a line that begins as an entry of a list; its indent, and what follows the marker
    r"(\s*)(?:\*\*)?"
    r"(?:[-+*•‣◦▪–—]"  # "- a photo of a {}"
    r"|\(?\d{1,3}[.):](?:\*\*)?"  # "1. a photo", "(2) a photo", "**3.** a photo"
    r"|#{1,6} ?\d{1,3}[.):]"  # "### 4. a photo"
    r")\s+(.*)"
)
NUMBERED = re.compile(  # "Prompt 1: a photo", "**Instruction #2**: a photo"; its indent, and the whole of the rest
    r"(\s*)((?:\*\*)?(?:prompt|template|instruction) ?#?\d{1,3}(?:\*\*)? ?[:.)].*)", re.IGNORECASE
)
LABEL = re.compile(  # what stands before a prompt, to be cut off
    r"(?:\*\*)?(?:prompt|template|instruction)"
    r"(?: ?#?\d{1,3}(?:\*\*)? ?[:.)]"  # "Prompt 1: ", "**Template #2**: "
    r"|(?:\*\*)? ?:"  # "Prompt: ", "**Instruction:** "
    r")(?:\*\*)?\s+",
    re.IGNORECASE,
)
TITLE = re.compile(r"\*\*[^*]{1,60}(?::\*\*|\*\*:)\s+")  # "**Short and clear:** ", "**Short and clear**: "
COUNT = re.compile(r"\(?(\d{1,3})[.)]\s+(?=[^\W\d_{])")  # "2. a photo", "(2) a photo"; not "2. 50% of", "1.5 or"
TAGGED = re.compile(r"<prompt>((?:(?!</?prompt>).)*)</prompt>", re.DOTALL | re.IGNORECASE)  # the innermost tags
SCORE = re.compile(r"\(score:? [-+.\d]{1,20}%?\)$")  # "a photo of a {} (score 0.91)", as prompts are shown to the LLM
TALK = re.compile(  # a line that is no prompt
    r"(?:sure|certainly|of course|okay|i hope|i['’]?m sorry|sorry|i can(?:no|['’])?t|as an ai)\b"  # "Sure! Let me try."
    r"|here (?:are|is)\b(?!.*\{\})",  # "Here are five templates"; not "here is a photo of a {}"
    re.IGNORECASE,
)
NAMES = r"(?:the )?(?:class|category|label|object|subject|item|thing|noun|name)(?:[ _-]?name)?"  # "the class name"
PLACEHOLDER = re.compile(  # what LLMs write for {}
    r"\\\{ ?\\\}"  # "\{\}"
    r"|\{\{?[\w -]{0,30}\}?\}"  # "{class}", "{{}}", "{ }"
    rf"|< ?{NAMES} ?>"  # "<object>"
    rf"|\[ ?{NAMES} ?\]",  # "[CLASS NAME]"
    re.IGNORECASE,
)
QUOTES = ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("„", "“"), ("«", "»"), ("‹", "›"), ("「", "」"), ("『", "』")
WRAPS = (*QUOTES, ("`", "`"), ("**", "**"), ("__", "__"))
KEYS = ("prompt", "template", "instruction", "text")


def parse_prompts(reply: str, *, problem_with: Check, truncated: bool = False) -> list[str]:
    """The prompts in a reply, in order, each once.

    A list with a marker before every prompt is read exactly: what follows the marker, without white space around it and
    without quotes or bold type around the whole of it, or a number that counts the entries once more.

    Args:
        reply: any text; never raises.
        problem_with: why the target cannot take a prompt, or None.
        truncated: the reply was cut off, so its last line or entry is dropped and plain lines are not read.

    Returns:
        Prompts without a problem; empty if there are none.
    """
    text = _spoken(reply)
    closed = _closed(text) if truncated else ""
    text = text.rpartition("\n")[0] if truncated else text
    fenced = _fenced(text)
    marked = [
        _from_json(closed, text, *fenced),
        _listed(text),
        _from_json(_between(text, "[", "]"), _between(text, "{", "}")),
    ]
    plain = [(line for block in fenced for line in _plain(block)), _plain(text)]
    for candidates in marked if truncated else marked + plain:
        found = [prompt for raw in candidates if (prompt := _usable(raw, problem_with))]
        if found:
            return list(dict.fromkeys(found))
    return []


def parse_last(reply: str, *, problem_with: Check, truncated: bool = False) -> list[str]:
    """The prompt that a reply ends with, behind the steps that led to it, in a list; empty if there is none.

    It stands between the last tags ``<prompt>``; without any, it is the last of the prompts that are found otherwise.

    Args:
        reply, problem_with: as of :func:`parse_prompts`.
        truncated: the reply was cut off, so that it never came to its end.
    """
    if truncated:
        return []
    tagged = [match[1] for match in TAGGED.finditer(_spoken(reply))][-1:]
    found = [prompt for raw in tagged if (prompt := _usable(raw, problem_with))]
    return found or parse_prompts(reply, problem_with=problem_with)[-1:]


# ── Where candidates stand ────────────────────────────────────────────────────────────────────────────────────────


def _spoken(reply: str) -> str:
    """The reply without a reasoning model's thoughts."""
    return reply.rpartition("</think>")[2].partition("<think>")[0]


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in re.split(r"\r?\n", text)]


def _fenced(text: str) -> list[str]:
    """The contents of fenced code blocks; an open one goes to the end."""
    blocks: list[list[str]] = []
    inside = False
    for line in _lines(text):
        if line.lstrip().startswith("```"):
            inside = not inside
            if inside:
                blocks.append([])
        elif inside:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks]


def _listed(text: str) -> Iterator[str]:
    """What stands behind bullets, numbers and labels, on the outermost level of the list."""
    matches = [match for line in _lines(text) if (match := BULLET.match(line) or NUMBERED.match(line))]
    outermost = min((len(match[1]) for match in matches), default=0) + 1  # right-aligned numbers differ by one
    return (match[2] for match in matches if len(match[1]) <= outermost)


def _plain(text: str) -> Iterator[str]:
    """Lines that are neither fences, headings nor small talk."""
    for line in map(str.strip, _lines(text)):
        if line and not (line.startswith(("```", "#")) or line.endswith(":") or TALK.match(line)):
            yield line


def _between(text: str, first: str, last: str) -> str:
    start, end = text.find(first), text.rfind(last)
    return text[start : end + 1] if 0 <= start < end else ""


def _closed(text: str) -> str:
    """A JSON list that was cut off, up to its last whole text: of ``{"prompts": ["one", "tw`` it is ``["one"]``."""
    start, end = text.find("["), text.rfind('",')
    return f"{text[start : end + 1]}]" if 0 <= start < end else ""


def _from_json(*texts: str) -> Iterator[str]:
    for text in texts:
        if text.lstrip().startswith(("[", "{")):
            try:
                yield from _strings(json.loads(text))
            except (ValueError, RecursionError):
                continue


def _strings(value: Any) -> Iterator[str]:
    """Texts in a list, in an object that holds a list, or in an object of texts."""
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        value = lists[0] if lists else [value] if any(key in value for key in KEYS) else list(value.values())
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            item = next((item[key] for key in KEYS if key in item), next(iter(item.values()), None))
        if isinstance(item, str):
            item = item.removeprefix("- ")  # where a list was asked for in words as well
            yield item.encode("utf-8", "replace").decode()  # an escape can smuggle in half a surrogate pair


# ── What a candidate says ─────────────────────────────────────────────────────────────────────────────────────────


def _usable(raw: str, problem_with: Check) -> str | None:
    """The first reading of a candidate that the target can take."""
    return next((text for text in _readings(raw) if text and problem_with(text) is None), None)


def _readings(raw: str) -> Iterator[str]:
    """A candidate without what is around it, then cut at an explanation, then with its placeholder mended."""
    text = SCORE.sub("", raw.strip()).strip()
    label = LABEL.match(text) or TITLE.match(text)
    if label:
        text = text[label.end() :]
    text = _uncounted(text)
    quoted = _quoted(text)
    readings = [quoted] if len(quoted.split()) >= 3 else []
    readings += [_unwrapped(text), _unwrapped(re.split(r"\s[—–-]\s|\s\(|:\s", text, maxsplit=1)[0])]
    readings = [_uncounted(reading) for reading in readings]
    yield from readings
    for reading in readings:
        yield PLACEHOLDER.sub("{}", reading)


def _uncounted(text: str) -> str:
    """Without a number before it, unless the text itself counts on: "1. Read it. 2. Answer." stays."""
    number = COUNT.match(text)
    counts_on = number and re.search(rf"(?<!\w){int(number[1]) + 1}[.)] ", text)
    return text[number.end() :] if number and not counts_on else text


def _quoted(text: str) -> str:
    """The quoted or bold text that an explanation follows, as in ``"a photo of a {}" - plain and short``."""
    for opening, closing in WRAPS:
        if text.startswith(opening):
            inside, found, rest = text[len(opening) :].partition(closing)
            if found and re.match(r"\s*[—–:(]|\s+-\s", rest):
                return inside.strip()
    return ""


def _unwrapped(text: str) -> str:
    """Without quotes or bold type around the whole text, and the comma behind them."""
    text = text.strip()
    while True:
        inside = _inside(text)
        if inside is None:
            return text
        text = inside.strip()


def _inside(text: str) -> str | None:
    for opening, closing in WRAPS:
        bare = text.rstrip(",;") if opening != "**" else text
        inside = bare[len(opening) : -len(closing)]
        if len(bare) >= len(opening) + len(closing) and bare.startswith(opening) and bare.endswith(closing):
            without_apostrophes = re.sub(r"\b['’]\b", "", inside)
            if opening not in without_apostrophes and closing not in without_apostrophes:
                return inside
    return None
