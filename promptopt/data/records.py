"""Records from files, with errors that name the file, the line and the field: JSON, JSON lines, CSV; UTF-8."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UnknownName, UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


@dataclass(frozen=True)
class Record:
    """One record of a file. ``where`` says where it stands, for errors."""

    where: str
    fields: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """A field's value.

        Raises:
            UnknownName: there is no such field.
            UserError: it is null.
        """
        if name not in self.fields:
            raise UnknownName("field", name, self.fields, where=self.where)
        if self.fields[name] is None:
            raise UserError(f"{self.where}: the field {name!r} is null. Give it a value, or remove the record.")
        return self.fields[name]

    def text(self, name: str) -> str:
        """A field that must be a text with something in it.

        Raises:
            UserError: it is missing, empty or no text.
        """
        value = self.get(name)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{self.where}: the field {name!r} is {_short(value)}, but must be a text.")
        return value


def read_text(path: str | Path, *, expected: str) -> str:
    """A file's text; one that ends in ``.gz`` is unpacked.

    Args:
        path: the file.
        expected: what should be there, for errors.

    Raises:
        UserError: it is missing, damaged or not UTF-8.
    """
    path = Path(path).expanduser()
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {str(path)!r}. {expected}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}. {expected}") from None


def read_json(path: str | Path, *, expected: str) -> Any:
    """A JSON file's value.

    Raises:
        UserError: it is missing or not JSON.
    """
    try:
        return json.loads(read_text(path, expected=expected))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}). {expected}") from None


def read_records(path: str | Path, *, expected: str = "") -> list[Record]:
    """The records of a file, by its suffix: JSON lines (``.jsonl``, ``.json``), ``.csv`` or ``.tsv``, also ``.gz``.

    A ``.json`` file may also be one array of objects.

    Raises:
        UserError: the file is missing, empty, of another kind or broken; the message names the line.
    """
    path = Path(path).expanduser()
    suffix = Path(path.stem if path.suffix == ".gz" else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: cannot tell the format. Allowed are {', '.join(SUFFIXES)}, each also with .gz.")
    text = read_text(path, expected=expected or f"Give a file that ends in {', '.join(SUFFIXES)}.")
    is_json = suffix in (".jsonl", ".json")
    if suffix == ".json" and text.lstrip().startswith("["):
        records = list(_json_array(text, path))
    else:
        records = list(_json_lines(text, path) if is_json else _csv(text, path, "\t" if suffix == ".tsv" else ","))
    if not records:
        raise UserError(f"{path} holds no records. {expected}".rstrip())
    return records


def _json_lines(text: str, path: Path) -> Iterator[Record]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg}). Write one JSON object a line.") from None
        if not isinstance(fields, dict):
            raise UserError(f"{where}: {_short(fields)} is no JSON object. Write one JSON object a line.")
        yield Record(where, fields)


def _json_array(text: str, path: Path) -> Iterator[Record]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}). Write an array of objects.") from None
    for number, fields in enumerate(items, start=1):
        where = f"{path}, item {number}"
        if not isinstance(fields, dict):
            raise UserError(f"{where}: {_short(fields)} is no JSON object. Write an array of objects.")
        yield Record(where, fields)


def _csv(text: str, path: Path, delimiter: str) -> Iterator[Record]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise UserError(f"{path}, line 1: a column name stands twice: {', '.join(names)}.")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{where}: another number of cells than the {len(names)} columns of the first line.")
            yield Record(where, row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num}: not a table ({error}).") from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
