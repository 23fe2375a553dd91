"""The command line: ``promptopt demo | run | resume | show | list | cache``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import PromptoptError, UserError

if TYPE_CHECKING:
    from .result import Result

app = typer.Typer(
    help="Search for better prompts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

cache = typer.Typer(help="The LLM replies that are kept on disk.", no_args_is_help=True)
app.add_typer(cache, name="cache")

DEMO = Path(__file__).parent / "embedded" / "demo.toml"
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on one line.")]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


class Kind(StrEnum):
    """What ``promptopt list`` lists."""

    optimizers = "optimizers"
    scorers = "scorers"
    targets = "targets"
    metrics = "metrics"
    models = "models"
    datasets = "datasets"
    proposers = "proposers"
    pools = "pools"
    embedders = "embedders"


@app.command()
def demo(overrides: Overrides = None, json: Json = False) -> None:
    """Search a CLIP prompt for real handwritten digits: no key, no network, under a minute."""
    _run(DEMO, overrides, json=json)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A TOML file; experiments/ holds examples.")],
    overrides: Overrides = None,
    json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Build every part and stop before anything is spent.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what to expect, and stop likewise.")] = False,
) -> None:
    """Run a recipe."""
    if check or estimate:
        _rehearse(recipe, overrides, estimate=estimate)
    else:
        _run(recipe, overrides, json=json)


@app.command()
def resume(folder: Folder, overrides: Overrides = None, json: Json = False) -> None:
    """Take up a run where it stopped; what was paid for is not bought again."""
    from .api import resume as take_up
    from .progress import live

    with live(_console(stderr=True)) as watch:
        result = take_up(folder, overrides or (), watch=watch)
    _finish(result, json=json)


@app.command()
def show(
    folder: Folder,
    plot: Annotated[Path | None, typer.Option(help="Also draw the scores into this file (.png, .svg, .pdf).")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best prompts to print.")] = 5,
) -> None:
    """Show a run: its best prompts beside the start, the score curve, the verdict and the costs."""
    from . import show as showing

    showing.show(folder, _console(), top=top)
    if plot:
        showing.plot(folder, plot)


@app.command("list")
def list_parts(kind: Annotated[Kind | None, typer.Argument(help="One kind of part; all by default.")] = None) -> None:
    """List what recipes can name, and where each part comes from."""
    from .registry import listed

    for one in [kind] if kind else list(Kind):
        typer.echo(one.value)
        for part in listed(one.value):
            typer.echo(f"  {part.name:<18}{part.path}  ({part.distribution})")


@cache.command("info")
def cache_info() -> None:
    """Say how many replies are kept, and where."""
    from .models.cache import info

    typer.echo(info())


@cache.command("clear")
def cache_clear() -> None:
    """Remove every kept reply."""
    from .models.cache import clear

    typer.echo(clear())


def _run(recipe: Path, overrides: list[str] | None, *, json: bool) -> None:
    from .api import execute
    from .config import read_recipe
    from .progress import live

    arguments = read_recipe(recipe, overrides or ())
    with live(_console(stderr=True)) as watch:
        result = execute(arguments, watch=watch)
    _finish(result, json=json)


def _rehearse(recipe: Path, overrides: list[str] | None, *, estimate: bool) -> None:
    from .api import prepare
    from .config import read_recipe

    plan = prepare(read_recipe(recipe, overrides or ()))
    sizes = f", {len(plan.data.train)} + {len(plan.data.dev)} + {len(plan.data.test)} examples" if plan.data else ""
    typer.echo(f"{recipe} is in order: {type(plan.optimizer).__name__}, {type(plan.scorer).__name__}{sizes}.")
    if estimate:
        from .estimate import estimate as expect

        for line in expect(plan).lines():
            typer.echo(line)


def _finish(result: Result, *, json: bool) -> None:
    """Print a result, and exit with 130 if the user stopped the run."""
    if json:
        typer.echo(result.to_json())
    else:
        _summarise(result)
    if result.stop_reason == "interrupted":
        raise typer.Exit(130)


def _summarise(result: Result) -> None:
    from rich.text import Text

    from .show import belief_line, changes, plain, verdict_line

    console = _console()
    for note in result.notes:
        console.print(Text(plain(note), "dim"))
    console.print("\nstart ", Text(plain(result.start)), sep="  ")
    console.print("best  ", changes(result.start, result.best, lost=console.color_system is not None), sep="  ")
    console.print(verdict_line(result.verdict), highlight=False)
    for name, verdict in result.transfers.items():
        console.print(verdict_line(verdict, f"On {name}"), highlight=False)
    if result.belief:
        console.print(belief_line(result.belief), highlight=False)
    counts = "".join(f", {n} {what}" for what, n in result.counts.items())
    console.print(
        f"{result.costs.questions} questions in {result.costs.seconds:.1f} s{counts}; {result.stop_reason}.",
        markup=False,
        highlight=False,
    )
    for warning in result.warnings:
        console.print(Text(f"Warning: {plain(warning)}", "yellow"))
    if result.run:
        console.print(Text(f"Record: {result.run} (promptopt show {quote(str(result.run))})"))


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True)


def main() -> None:
    """Run the command line. A user's mistake prints one message and exits 2, a failed run exits 1."""
    try:
        app()
    except UserError as error:
        _die(error, code=2)
    except PromptoptError as error:
        _die(error, code=1)


def _die(error: BaseException, *, code: int) -> None:
    typer.echo("\n".join([f"promptopt: {error}", *getattr(error, "__notes__", [])]), err=True)
    sys.exit(code)
