"""The command line ``promptopt``: runs (run, duel, resume, show, repair), sweeps, reports and what there is to name."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import PromptoptError, UserError
from .sweep.cli import AllowEnv
from .sweep.cli import command as sweep
from .text import plain, shortened
from .trust import allow

if TYPE_CHECKING:
    from .run.recorder import Watch
    from .run.result import Result

app = typer.Typer(
    help="Search for better prompts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

cache = typer.Typer(help="The LLM replies that are kept on disk.", no_args_is_help=True)
app.add_typer(cache, name="cache")

EMBEDDED = Path(__file__).parent / "embedded"
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on one line.")]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
Track = Annotated[list[str] | None, typer.Option("--track", help="Also log to mlflow or wandb; may be given twice.")]
Export = Annotated[Path | None, typer.Option(help="Also write every table into this folder: CSV, JSON, Markdown.")]


class Demo(StrEnum):
    """The searches that ``promptopt demo`` can show."""

    bayes = "bayes"
    hill_climb = "hill-climb"
    greater = "greater"
    interrogate = "interrogate"
    pez = "pez"


class Task(StrEnum):
    """What ``promptopt demo`` can be about."""

    words = "words"
    inversion = "inversion"


DEMOS = {
    Demo.bayes: EMBEDDED / "demo.toml",
    Demo.hill_climb: EMBEDDED / "demo_hill_climb.toml",
    Demo.greater: EMBEDDED / "demo_greater.toml",
}
LLM_DEMO = EMBEDDED / "demo_llm.toml"
INVERSION_DEMO = EMBEDDED / "demo_inversion.toml"


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


class Wish(StrEnum):
    """What ``promptopt new`` writes recipes for."""

    images = "images"
    texts = "texts"
    votes = "votes"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"promptopt {version('promptopt-toolkit')}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Search for better prompts."""


@app.command()
def demo(
    overrides: Overrides = None,
    json: Json = False,
    optimizer: Annotated[Demo | None, typer.Option(help="Which search to see.")] = None,
    llm: Annotated[bool, typer.Option("--llm", help="bayes on a real LLM, SmolLM2, and short reviews.")] = False,
    task: Annotated[Task, typer.Option(help="inversion: which words draw this picture?")] = Task.words,
) -> None:
    """See a search work: no key, no network. bayes, hill-climb: CLIP and handwritten digits; greater: a tiny LM."""
    if task == Task.inversion:
        if llm:
            raise UserError("--llm shows reviews, and --task inversion pictures. Leave one of the two out.")
        _demo_inversion(overrides, optimizer or Demo.hill_climb, json=json)
        return
    optimizer = optimizer or Demo.bayes
    if llm:
        _demo_llm(overrides, optimizer, json=json)
        return
    if optimizer not in DEMOS:
        raise UserError(f"{optimizer.value} looks for prompts of pictures. Say --task inversion as well.")
    _run(DEMOS[optimizer], overrides, json=json)
    if not json and optimizer != Demo.greater:
        from .baselines import beside
        from .recipe.read import read_recipe

        typer.echo("\nBeside it, on the same held-out images:")
        for line in beside(read_recipe(DEMOS[optimizer], overrides or ())):
            _say(line)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="RECIPE", help="The file to write.")],
    wish: Annotated[
        Wish | None, typer.Option("--for", help="Templates for CLIP, instructions, or people's votes.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of images, table of examples, or list of texts.")] = None,
    model: Annotated[
        str | None, typer.Option(help="For example openai:gpt-4.1-mini, smollm2, ViT-B-32/openai.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="The prompt that you use now.")] = None,
    input: Annotated[str | None, typer.Option(help="The table's column with what is asked.")] = None,
    label: Annotated[str | None, typer.Option(help="Its column with the right answer.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Of a server of your own, for openai: and anthropic:.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what is not given is as proposed.")] = False,
) -> None:
    """Write a first recipe, with comments: asks what is prompted, where the data are and which model answers."""
    from .recipe.new import images, looked_at, texts, votes

    def asked(given: Any, question: str, proposed: str) -> str:
        return str(given) if given is not None else proposed if yes else typer.prompt(question, default=proposed)

    if file.exists():
        raise UserError(f"{file} is there already. Give another name, or remove it.")
    kind = asked(wish, "What is searched for: templates for CLIP (images), instructions (texts), or votes?", "texts")
    if kind not in list(Wish):
        raise UserError(f"{kind!r} is none of {', '.join(Wish)}.")
    if kind == Wish.images:
        folder = asked(data, "Folder with a folder of images per class (empty: digits that come along)", "")
        clip = asked(model, "CLIP (embedded, or an open_clip architecture/tag)", "embedded")
        template = asked(start, "Your template now", "a photo of a {}")
        written = images(Path(folder) if folder else None, model=clip, start=template)
    elif kind == Wish.votes:
        written = votes(Path(asked(data, "File with the texts, one a line", "prompts.txt")))
    else:
        path = Path(asked(data, "Table of examples (CSV or JSON lines)", "examples.csv"))
        seen = looked_at(path, input=input, label=label)
        seen = looked_at(
            path,
            input=asked(input, f"Column with what is asked, of {', '.join(seen.columns)}", seen.input),
            label=asked(label, "Column with the right answer", seen.label),
        )
        answers = asked(model, "Which model answers", "openai:gpt-4.1-mini")
        written = texts(seen, model=answers, start=asked(start, "Your instruction now", "") or None, base_url=base_url)
    file.write_text(written, encoding="utf-8")
    try:
        _rehearse(file, None, estimate=False)
    except UserError as error:
        _say(f"Wrote {file}, which cannot run yet: {error}")
    else:
        _say(f"Next: promptopt run {quote(str(file))}")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A TOML file; experiments/ holds examples.")],
    overrides: Overrides = None,
    json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Build every part and stop before anything is spent.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what to expect, and stop likewise.")] = False,
    track: Track = None,
    allow_env: AllowEnv = None,
) -> None:
    """Run a recipe."""
    allow(allow_env)
    if check or estimate:
        _rehearse(recipe, overrides, estimate=estimate)
    else:
        _run(recipe, overrides, json=json, track=track)


@app.command()
def duel(
    recipe: Annotated[Path, typer.Argument(help="A TOML file whose optimizer asks for duels.")],
    overrides: Overrides = None,
    json: Json = False,
    host: Annotated[str | None, typer.Option(help="Where to serve the page; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; any free one by default.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Allow an address that other machines can reach.")] = False,
    invite: Annotated[
        str | None, typer.Option(help="Names, with commas between them; each gets a link of its own, and nobody else.")
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Ask here, and not in the browser.")] = False,
    allow_env: AllowEnv = None,
) -> None:
    """Have people answer a recipe's duels, in the browser."""
    from .api import execute

    allow(allow_env)
    arguments = _read(recipe, overrides)
    scorer = arguments.get("scorer")
    table = scorer if isinstance(scorer, dict) and scorer.get("name") == "human" else {"name": "human"}
    names = None if invite is None else [name.strip() for name in invite.split(",")]
    given = {"host": host, "port": port, "public": public or None, "invite": names}
    arguments["scorer"] = {
        **table,
        "where": "terminal" if terminal else "browser",
        **{key: value for key, value in given.items() if value is not None},
    }
    _finish(execute(arguments), json=json)


@app.command()
def resume(
    folder: Folder,
    overrides: Overrides = None,
    json: Json = False,
    track: Track = None,
    allow_env: AllowEnv = None,
) -> None:
    """Take up a run where it stopped; what was paid for is not bought again."""
    from .api import resume as take_up
    from .record.freeze import recipe_in_force
    from .record.story import Story

    allow(allow_env)
    recipe = recipe_in_force(Story.read(folder).events)
    _tell_elsewhere(recipe)
    _watched(recipe, lambda watch: take_up(folder, overrides or (), watch=watch), json=json, track=track)


@app.command()
def repair(folder: Folder) -> None:
    """Keep what stands before the damage in a run's record, say what is dropped, and keep a copy of all of it."""
    from .record.repair import repair as cut_off

    typer.echo(cut_off(folder))


app.command("sweep")(sweep)


@app.command()
def show(
    folder: Folder,
    plot: Annotated[Path | None, typer.Option(help="Also draw the scores into this file (.png, .svg, .pdf).")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best prompts to print.")] = 5,
    cases: Annotated[bool, typer.Option("--cases", help="Print the replies beside the verdict's examples.")] = False,
    on: Annotated[str | None, typer.Option(metavar="NAME", help="With --cases: on this target of [transfer].")] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Print the best prompt of each kind instead.")] = False,
) -> None:
    """Show a run: its best prompts beside the start, the score curve, the verdict and the costs."""
    from .record.stages import TEST, TRANSFER
    from .report import show as showing
    from .report.archive import show_archive

    if archive:
        show_archive(folder, _console())
        return
    if cases:
        showing.show_cases(folder, _console(), stage=TRANSFER + on if on else TEST)
        return
    showing.show(folder, _console(), top=top)
    if plot:
        showing.plot(folder, plot)


@app.command()
def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_SWEEP", help="A run's or sweep's folder; with --storage, a study's name."),
    ],
    out: Annotated[Path | None, typer.Option(help="The HTML file; report.html in the folder by default.")] = None,
    export: Export = None,
    storage: Annotated[str | None, typer.Option(help="The storage of a study that lies in no folder here.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Also run code from elsewhere that the ledger names, for the examples.")
    ] = False,
) -> None:
    """Write the report of a run or a sweep: one HTML file that loads nothing."""
    from .report import report as write

    _say(str(write(folder, out=out, tables=export, storage=storage, trust=trust)))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two or more run folders.")],
    export: Export = None,
) -> None:
    """Compare the best prompts of runs, example by example where they were tested on the same ones."""
    from .report import compare as pairwise
    from .report.compare import show as print_comparison
    from .report.tables import export as write

    found = pairwise(*runs)
    print_comparison(found, _console())
    if export:
        write(found.tables(), export)


@app.command()
def export(
    folder: Folder,
    to: Annotated[str, typer.Option(help="python, openai, promptfoo, langchain or dspy.")] = "python",
    out: Annotated[Path | None, typer.Option(help="Write it into this file.")] = None,
) -> None:
    """Write the prompt that a run found as code or as a config file, with what the target sends around it."""
    from .report.export import exported

    text = exported(folder, to)
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


@app.command("list")
def list_parts(
    kind: Annotated[Kind | None, typer.Argument(help="One kind of part; all by default.")] = None,
    name: Annotated[str | None, typer.Argument(help="One part of it: print its options.")] = None,
) -> None:
    """List what recipes can name, and where each part comes from; or the options of one part."""
    from .registry import table

    if kind and name:
        from .recipe.options import part as described

        _say("\n".join(described(kind.value, name).lines()))
        return

    for one in [kind] if kind else list(Kind):
        typer.echo(one.value)
        for line in table(one.value):
            _say(f"  {line}")


@app.command()
def schema() -> None:
    """Print a JSON schema of recipes, by which editors complete and check them."""
    import json

    from .api import optimize
    from .recipe.options import schema as of_recipes

    typer.echo(json.dumps(of_recipes(optimize), indent=1))


@app.command()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe: say what it needs that is not here.")] = None,
) -> None:
    """Say which extras, devices, keys and caches are here; keys by name alone."""
    from .doctor import examined

    for line in examined(_read(recipe, None) if recipe else None):
        _say(line)


@cache.command("info")
def cache_info() -> None:
    """Say how many replies are kept, and where."""
    from .models.wrappers.cache import info

    _say(info())


@cache.command("clear")
def cache_clear() -> None:
    """Remove every kept reply."""
    from .models.wrappers.cache import clear

    _say(clear())


def _demo_llm(overrides: list[str] | None, optimizer: Demo, *, json: bool) -> None:
    from .models.local.gguf import need_smollm2

    if optimizer != Demo.bayes:
        raise UserError(f"--llm shows bayes, and --optimizer is {optimizer.value}. Leave one of the two out.")
    need_smollm2()
    _run(LLM_DEMO, overrides, json=json)


def _demo_inversion(overrides: list[str] | None, optimizer: Demo, *, json: bool) -> None:
    """Search for the words of each picture, and print captions beside them."""
    import json as encoder

    from .inversion import as_json, lines, searched

    if optimizer in (Demo.bayes, Demo.greater):
        raise UserError(f"--task inversion shows hill-climb, interrogate or pez, and --optimizer is {optimizer.value}.")
    recipe = _read(INVERSION_DEMO, overrides)
    if optimizer != Demo.hill_climb:
        recipe["optimizer"] = optimizer.value
    found = []
    for one in searched(recipe):
        found.append(one)
        if not json:
            shares = f"{one.shares[0]:.2f} → {one.shares[1]:.2f}"
            _say(f"{len(found):2}  hidden: {one.caption}\n    found:  {one.best}   ({shares})")
    if json:
        typer.echo(encoder.dumps(as_json(found), ensure_ascii=False))
        return
    typer.echo()
    for line in lines(found):
        _say(line)


def _run(recipe: Path, overrides: list[str] | None, *, json: bool, track: list[str] | None = None) -> None:
    from .api import execute

    arguments = _read(recipe, overrides)
    _watched(arguments, lambda watch: execute(arguments, watch=watch), json=json, track=track)


def _read(recipe: Path, overrides: list[str] | None) -> dict[str, Any]:
    """A recipe with its overrides; what they drop of it, and what it brings along, is told on stderr."""
    from .loading import heard
    from .recipe.read import read_recipe

    with heard(lambda text: _say(text, err=True)):
        arguments = read_recipe(recipe, overrides or ())
    _tell_elsewhere(arguments)
    return arguments


def _tell_elsewhere(recipe: Mapping[str, Any]) -> None:
    """Name the code from elsewhere and the environment variables of a recipe, before any of it is loaded."""
    from .recipe.elsewhere import lines

    for line in lines([recipe]):
        _say(line, err=True)


def _watched(
    recipe: Mapping[str, Any], work: Callable[[Watch], Result], *, json: bool, track: list[str] | None
) -> None:
    """Do a run with a live line on the terminal and in the trackers that were asked for, and print its result."""
    from .run.progress import asks_people, live
    from .trackers import tracking

    people = asks_people(recipe.get("scorer"))  # they use the terminal
    with live(_console(stderr=True), show=not people) as bar, tracking(track or (), bar) as (watch, finish):
        result = work(watch)
        finish(result)
    _finish(result, json=json)


def _rehearse(recipe: Path, overrides: list[str] | None, *, estimate: bool) -> None:
    from .api import prepare
    from .loading import without_downloads
    from .run.progress import live

    arguments = _read(recipe, overrides)
    with live(_console(stderr=True)), without_downloads() as missing:
        plan = prepare(arguments)
    if not estimate:
        plan.check_keys()
    sizes = f", {len(plan.data.train)} + {len(plan.data.dev)} + {len(plan.data.test)} examples" if plan.data else ""
    _say(f"{recipe} is in order: {plan.searcher}, {type(plan.scorer).__name__}{sizes}.")
    if missing:
        _say(f"Not on this machine, and downloaded when it runs: {', '.join(missing)}.")
    if estimate:
        from .run.estimate import estimate as expect

        for line in expect(plan).lines():
            _say(line)


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

    from .report.front import print_cheapest
    from .report.show import belief_line, verdict_line
    from .report.terminal import print_changes, print_prompt

    console = _console()
    for note in result.notes:
        console.print(Text(plain(note), "dim"))
    console.print()
    print_prompt(console, "Start", result.start)
    print_prompt(console, "Best", result.best)
    print_changes(console, result.start, result.best)
    if result.front and result.front.saves:
        print_cheapest(console, result.front, result.cheapest_verdict)
    console.print()
    console.print(verdict_line(result.verdict, console), highlight=False)
    for name, verdict in result.transfers.items():
        console.print(verdict_line(verdict, console, title=f"On {name}"), highlight=False)
    if result.belief:
        console.print(belief_line(result.belief), highlight=False)
    counts = "".join(f", {n} {what}" for what, n in result.counts.items())
    ending = plain(f"{counts}; {result.stop_reason}.")
    console.print(
        f"{result.costs.questions} questions in {result.costs.seconds:.1f} s{ending}",
        markup=False,
        highlight=False,
    )
    for warning in result.warnings:
        console.print(Text(f"Warning: {plain(warning)}", "yellow"))
    if result.run:
        console.print(Text(plain(f"Record: {result.run} (promptopt show {quote(str(result.run))})")))


def _say(text: str, *, err: bool = False) -> None:
    """Print a text, whoever it comes from: what a terminal would act upon is written out."""
    typer.echo(plain(text), err=err)


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True)


# ── How it ends ───────────────────────────────────────────────────────────────────────────────────────────────────

MACHINE = {  # errors of the machine, and what to do about them
    errno.ENOSPC: "Make room",
    errno.EDQUOT: "Make room",
    errno.EROFS: "Choose another place",
    errno.EACCES: "Change the permissions or choose another place",
    errno.EPERM: "Change the permissions or choose another place",
}


def main() -> None:
    """Run the command line. A user's mistake prints one message and exits 2, a failed run exits 1."""
    _encodable()
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):  # other libraries would draw into our output
        os.environ.setdefault(name, "1")
    try:
        app()
    except UserError as error:
        _die(error, code=2)
    except PromptoptError as error:
        _die(error, code=1)
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        _die(error, code=1)


def _encodable() -> None:
    """Characters that the output's encoding lacks, as in ascii and cp1252, are written out instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _die(error: BaseException, *, code: int) -> None:
    said = str(error)
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        said = f"{error.strerror}{place}. {MACHINE[error.errno or 0]}, and go on."
    said = "\n".join([f"promptopt: {said}", *getattr(error, "__notes__", [])])
    _say(shortened(plain(said)), err=True)
    sys.exit(code)
