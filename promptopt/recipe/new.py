"""``promptopt new``: a first recipe with comments, from a few answers about what is prompted and where the data are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.records import read_records
from ..errors import UserError

__all__ = ["MODELS", "Table", "images", "looked_at", "texts", "votes"]

MODELS = ("openai", "anthropic", "local")
"""Whose chat models can be named, as ``openai:gpt-x`` or ``local:folder``."""
INPUTS = ("input", "text", "question", "query", "message", "prompt", "sentence", "review")  # likely names of columns
LABELS = ("label", "answer", "output", "target", "class", "category", "team", "sentiment")
FEW, SHORT = 20, 40  # labels, and characters of one, that can be chosen among
HELD_OUT, TRAIN = 200, 60  # rows at the most
PHRASES = (
    "Read every word.",
    "Consider the whole text.",
    "Think about what the writer wants.",
    "Trust your first impression.",
    "Do not be misled by single words.",
    "Be precise.",
    "Answer with one word.",
    "Give only the answer.",
    "Do not explain.",
)


@dataclass(frozen=True)
class Table:
    """What was seen in a table of examples.

    Attributes:
        path: the file.
        rows: how many.
        columns: their names.
        input, label: the columns that look like it.
        labels: the different labels, if they are few and short; empty otherwise.
        numbers: whether every label is one.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    input: str
    label: str
    labels: tuple[str, ...]
    numbers: bool

    @property
    def metric(self) -> str:
        """What marks an answer."""
        return "exact-match" if self.labels else "numeric" if self.numbers else "token-f1"

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows are searched on, and how many are held out."""
        test = min(HELD_OUT, self.rows // 2)
        return min(TRAIN, self.rows - test), test


def looked_at(path: Path, *, input: str | None = None, label: str | None = None) -> Table:
    """A table of examples, with the columns that are given or likely.

    Raises:
        UserError: there is no such file, it is broken, has fewer than four rows, or lacks such a column.
    """
    rows = list(read_records(path))
    if len(rows) < 4:
        raise UserError(f"{path} has {len(rows)} rows. Give a table with 4 or more: some are held out.")
    columns = tuple(rows[0].fields)
    label = label or _likely(LABELS, columns, last=True)
    input = input or _likely(INPUTS, [one for one in columns if one != label] or columns)
    values = [str(row.get(label)).strip() for row in rows]
    rows[0].get(input)
    different = tuple(dict.fromkeys(values))
    few = len(different) <= min(FEW, len(rows) // 2) and max(map(len, different)) <= SHORT
    numbers = all(value.removeprefix("-").replace(".", "", 1).isdigit() for value in values)
    return Table(path, len(rows), columns, input, label, different if few and not numbers else (), numbers)


def _likely(names: Sequence[str], columns: Sequence[str], *, last: bool = False) -> str:
    known = [column for name in names for column in columns if column.lower() == name]
    return known[0] if known else columns[-1 if last else 0]


# ── What is written ───────────────────────────────────────────────────────────────────────────────────────────────


def images(folder: Path | None, *, start: str = "a photo of a {}", model: str = "embedded") -> str:
    """A recipe for CLIP.

    Args:
        folder: one folder of images per class within; None for the digits that come along.
        start: the template that is in use now; ``{}`` stands for the class.
        model: ``embedded``, or an architecture of open_clip and a tag, as ``ViT-B-32/laion2b_s34b_b79k``.
    """
    name, _, tag = model.partition("/")
    data = (
        f'name = "folder"\npath = {_text(folder)}\nshots = 16              # images per class; the rest is held out'
        if folder
        else 'name = "digits"         # comes along; name = "folder" and path = "..." for your own\nshots = 16'
    )
    tagged = f"\npretrained = {_text(tag)}" if tag else ""
    return f"""\
# A template for CLIP; {{}} stands for the class. No LLM is needed: phrases are combined, and what scores best is kept.
start = {_text(start)}
seed = 0

[data]
{data}

[target]
name = "clip"
model = {_text(name)}{tagged}

[budget]
questions = 300         # templates that are tried on the training images
"""


def texts(table: Table, *, model: str, start: str | None = None, base_url: str | None = None) -> str:
    """A recipe for instructions of a chat model.

    Args:
        table: what they are tried on.
        model: ``openai:NAME``, ``anthropic:NAME`` or ``local:FOLDER``; ``smollm2`` is ``local:smollm2``.
        start: the instruction that is in use now.
        base_url: of a server of one's own.

    Raises:
        UserError: no such models.
    """
    provider, named = _model(model)
    start = start or (f"Answer with one of: {', '.join(table.labels)}." if table.labels else "Answer the question.")
    train, test = table.sizes
    served = f", base_url = {_text(base_url)}" if base_url else ""
    likelihood = provider == "local" and table.labels
    answers = (
        '\nanswers = "likelihood"  # nothing is written: the likeliest label is the answer'
        '\ncalibration = "content-free"'
        if likelihood
        else ""
    )
    length = "" if likelihood else f", max_tokens = {50 if table.labels or table.numbers else 500}"
    writes = f"{{name = {_text(provider)}, model = {_text(named)}{served}"
    phrases = "\n".join(f"  {_text(phrase)}," for phrase in PHRASES)
    search = (
        f"""\
name = "bayes"          # no LLM writes: sentences that may help are combined. Yours are better than these
phrases = [
{phrases}
]

[budget]
questions = 60          # instructions that are tried"""
        if provider == "local"
        else f"""\
name = "protegi"        # a chat model reads what went wrong, and rewrites; promptopt list optimizers has others
rounds = 3
task = "What the instruction is for, in your words: who asks, what a good answer is."
model = {writes}, max_tokens = 2000}}

[budget]
calls = 2000            # of both models together. With prices = {{input = 1.0, output = 4.0}}, in dollars per million
                        # tokens, in both models, dollars = 2.0 is a limit too"""
    )
    return f"""\
# An instruction for a chat model, tried on the rows of a table.
start = {_text(start)}
metric = {_text(table.metric)}  # how an answer is marked: promptopt list metrics
seed = 0

[data]
name = "table"
path = {_text(table.path)}
input = {_text(table.input)}
label = {_text(table.label)}
train = {train}              # rows that the search sees
test = {test}              # rows that are held out for the verdict

[target]                # what is prompted
name = "chat"
model = {writes}{length}}}{answers}

[optimizer]
{search}
"""


def votes(prompts: Path, *, question: str = "Which is better?") -> str:
    """A recipe in which people choose among texts of a file, one text a line.

    Raises:
        UserError: it cannot be read, or has fewer than two lines.
    """
    try:
        lines = [line.strip() for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {prompts}: {error}. Give a UTF-8 text file, one text a line.") from None
    if len(lines) < 2:
        raise UserError(f"{prompts} has {len(lines)} texts. Give two or more, one a line.")
    return f"""\
# People say which of two texts is better; a model of what they like chooses the pairs.
start = {_text(lines[0])}
seed = 0

[optimizer]
name = "apohf"
pool = {{name = "file", path = {_text(prompts)}}}

[scorer]
name = "human"
question_text = {_text(question)}
# where = "browser"     # a page for any number of people; here in the terminal

[budget]
questions = {max(10, 3 * len(lines))}          # answers
"""


def _model(model: str) -> tuple[str, str]:
    provider, _, name = ("local:smollm2" if model == "smollm2" else model).partition(":")
    if provider not in MODELS or not name:
        raise UserError(
            f"the model is {model!r}. Allowed: smollm2, or one of {', '.join(MODELS)} with the model's name behind a "
            "colon, for example openai:gpt-4.1-mini."
        )
    return provider, name


def _text(value: object) -> str:
    """As TOML writes it: what JSON writes is a basic string there too."""
    return json.dumps(str(value), ensure_ascii=False)
