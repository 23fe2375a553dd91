"""``promptopt sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from ..text import plain
from ..trust import allow

if TYPE_CHECKING:
    from . import SweepResult
    from .table import SweepTable
    from .work import SweepProgress

AllowEnv = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="An environment variable that the recipe may read.")
]


def command(
    recipe: Annotated[Path | None, typer.Argument(help="A TOML file with a table [sweep].")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")] = None,
    workers: Annotated[int, typer.Option(help="Processes to run in.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Where runs are recorded; sweeps/NAME by default.")] = None,
    storage: Annotated[str | None, typer.Option(help="The URL of Optuna's storage; a file by default.")] = None,
    join: Annotated[str | None, typer.Option(metavar="STUDY", help="Work on a sweep that was begun already.")] = None,
    executor: Annotated[str | None, typer.Option(help="ray: score on the Ray cluster of this machine.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try settings that failed again.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Build every setting and stop before anything runs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the table as one JSON object on one line.")] = False,
    allow_env: AllowEnv = None,
) -> None:
    """Compare optimizers and their parameters over tasks and seeds, on one machine or many."""
    from . import elsewhere

    if (recipe is None) == (join is None):
        raise UserError("give a recipe to begin a sweep or to go on with it, or --join STUDY to work on one.")
    allow(allow_env)
    for line in elsewhere(recipe, overrides or (), (join, storage)):
        typer.echo(plain(line), err=True)
    if check and recipe:
        _rehearse(recipe, overrides)
        return
    where: dict[str, Any] = {"folder": folder, "storage": storage, "workers": workers, "executor": executor}
    try:
        result = _work(recipe, overrides or [], join, retry_failed, where)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where this one stopped.", err=True)
        raise typer.Exit(130) from None
    _finish(result, json=json)


def _work(
    recipe: Path | None, overrides: list[str], join: str | None, retry_failed: bool, where: dict[str, Any]
) -> SweepResult:
    from . import join as work_on
    from . import sweep

    if recipe is not None:
        return sweep(recipe, overrides, retry_failed=retry_failed, watch=_say, **where)
    return work_on(str(join), watch=_say, **where)


def _rehearse(recipe: Path, overrides: list[str] | None) -> None:
    from . import check

    space = check(recipe, overrides or ())
    settings = len(space.settings())
    typer.echo(
        f"{plain(str(recipe))} is in order: {settings} settings x {len(space.tasks)} tasks x {len(space.seeds)} seeds, "
        f"{settings * len(space.runs)} runs."
    )


def _say(progress: SweepProgress) -> None:
    """One line on stderr at the end of every trial."""
    if progress.state == "running":
        return
    values = ", ".join(f"{name}={value}" for name, value in progress.params.items())
    found = f"{progress.value:.3f}" if progress.value is not None else progress.error or ""
    line = f"{progress.stage} {progress.setting + 1}/{progress.settings} {progress.state} {found} {values}"
    typer.echo(plain(" ".join(line.split())), err=True)


def _finish(result: SweepResult, *, json: bool) -> None:
    """Print the table, and exit with 1 if nothing came of any setting."""
    typer.echo(result.table.to_json() if json else plain(_drawn(result.table)))
    if not json:
        typer.echo(f"Every task and run: {result.folder}/table.md, table.csv, table.json")
    if result.table.best is None:
        raise typer.Exit(1)


def _drawn(table: SweepTable) -> str:
    """The table in aligned columns; those of the tasks are left to the files."""
    shown = [i for i, name in enumerate(table.header()) if name not in table.tasks]
    rows = [[row[i] for i in shown] for row in (table.header(), *table.cells())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *table.notes])
