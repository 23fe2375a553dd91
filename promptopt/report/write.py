"""Writing reports: where a run or a sweep is read from, and what is written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..core import Dataset
from ..errors import UserError
from .html import html
from .page import Page
from .tables import export


def report(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    tables: str | Path | None = None,
    data: Dataset | None = None,
    storage: str | None = None,
    trust: bool = False,
) -> Path:
    """Write the report of a run or a sweep as one HTML file.

    Args:
        folder: of the run or the sweep; it may be under way.
        out: the file; ``report.html`` in the folder by default, or ``NAME.html`` here for a study without one.
        tables: a folder for every table as CSV, JSON and Markdown.
        data: a run's data set, where its recipe cannot name it, to show the test examples.
        storage: the URL of a sweep's storage, where that is no file in its folder; ``folder`` is then the study's name.
        trust: to show the test examples, also run code that the run's ledger names: data sets of plug-ins and
            ``package.module:Name``. Without it nothing but promptopt's own parts is built, whatever a ledger says.

    Returns:
        The HTML file.

    Raises:
        UserError: there is neither a run nor a sweep, or nothing can be written there.
        MissingExtra: a package of the extra ``report`` is not installed.
    """
    page = read(Path(folder), data=data, storage=storage, trust=trust)
    beside = Path(folder) / "report.html" if Path(folder).is_dir() else Path(f"{page.title}.html")
    file = Path(out) if out else beside
    text = html(page)
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}. Give another file with --out.") from None
    if tables:
        export(page.tables, Path(tables))
    return file


def read(folder: Path, *, data: Dataset | None = None, storage: str | None = None, trust: bool = False) -> Page:
    """The page of a run or a sweep, whichever lies in the folder."""
    if (folder / "ledger.jsonl").exists():
        from .run import run_page

        return run_page(folder, data=data, trust=trust)
    if (folder / "study.db").exists() or storage:
        sweeps = import_module("promptopt.sweep.report")  # by name: it is built on this package
        page: Page = sweeps.sweep_page(folder, storage=storage)
        return page
    raise UserError(f"there is neither a run nor a sweep in {str(folder)!r}: no ledger.jsonl and no study.db.")
