"""The report of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core import Dataset, Rating
from ..parts import changes
from ..record.freeze import OBJECT
from ..record.replay import Replay
from ..record.story import Story
from ..record.verdict import Verdict
from . import duels as duelling
from .archive import elites_table, grown, growth_table, planes, summary
from .curve import SearchCurve, as_svg, legend
from .figures import forest
from .front import as_svg as front_svg
from .front import caption as front_caption
from .front import front_table, held_out, shown
from .front import legend as front_legend
from .outcomes import HeldOutOutcome, changed_first, judged, thumbnail
from .page import (
    Block,
    CodeBlock,
    Descent,
    Differences,
    FactsBlock,
    Figure,
    Gallery,
    Grid,
    Headline,
    Page,
    Planes,
    Replies,
    Section,
    Text,
    Tone,
    ends,
    first,
)
from .recipe import names_of, toml
from .told import (
    Told,
    annotators_table,
    calls_table,
    counts_table,
    covered,
    duels_table,
    improvements_table,
    labels_table,
    leads_table,
    outcomes_table,
    prompts_table,
    questions_table,
    records_table,
    verdict_table,
    versions_table,
)

ROWS = 100
IMAGES = 48
REPLIES = 24
OTHERS = ["not scored", "same"]


def run_page(folder: Path, *, data: Dataset | None = None, trust: bool = False) -> Page:
    """Everything that a run's folder tells, as a page.

    Args:
        data: the run's data set, where the recipe in its ledger cannot name it.
        trust: build the data set also where the ledger names code from elsewhere for it.

    Raises:
        UserError: there is no run in the folder.
    """
    told = Told(folder, Story.read(folder), data, trust)
    parts = [_verdict, _best, _archive, _curve, _front, _descent, _prompts, _duels, _examples, _costs, _recipe]
    sections = [section for part in parts if (section := part(told))]
    story = told.story
    begun = story.manifest["time"][:16].replace("T", " ")
    facts = [names_of(told.recipe), f"seed {story.manifest['seed']}", f"begun {begun}", story.status]
    return Page(folder.resolve().name, [fact for fact in facts if fact], sections, told.tables())


# ── Sections ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(told: Told) -> Section:
    verdict, belief, blocks = told.story.verdict, told.story.belief, list[Block]()
    if verdict:
        text, tone = judgement(verdict)
        details = verdict.sentence().removeprefix(verdict.part).removeprefix(f"{text}: ")
        if verdict.difference == 0:
            details = (
                f"Both prompts have the same mean score, {verdict.start:.3f}, on {verdict.examples} held-out examples"
                f"{verdict.judged}"
            )
            details += "." if verdict.low is None else f"; 95% interval {verdict.low:+.3f} to {verdict.high:+.3f}."
        if told.story.best == told.story.start:
            text, details = (
                "no better prompt was found",
                f"The start scores {verdict.start:.3f} on held-out examples{verdict.judged}.",
            )
        text = f"{verdict.part}{text}"
        blocks += [Headline(text[:1].upper() + text[1:], details, tone), *_missing(verdict)]
        blocks += [FactsBlock(_numbers(told, verdict))]
        if verdict.low is not None:
            row = ("best − start", verdict.difference, verdict.low, verdict.high)
            caption = f"The difference on {verdict.examples} held-out examples with its 95% interval."
            svg = forest(f"{caption} {verdict.difference:+.3f}", "difference in score", [row])
            blocks += [Figure(svg, caption, verdict_table(told.story))]
    else:
        blocks += [
            Headline("No verdict", "Nothing was measured on held-out data.", "unsure"),
            FactsBlock(_numbers(told, None)),
        ]
    if belief:
        more = "" if belief.questions is None else f" About {belief.questions} more answers are likely to matter."
        blocks += [
            Text(f"The optimizer holds that no other prompt is better with probability {belief.confidence:.2f}.{more}")
        ]
    return Section("verdict", "Verdict", blocks + [Text(f"Care: {one}") for one in told.summary.get("warnings", [])])


def _missing(verdict: Verdict) -> list[Block]:
    """That the verdict rests on fewer than all test examples, where it does."""
    if not verdict.unscored:
        return []
    whole = verdict.examples + verdict.unscored
    text = f"Care: it rests on {verdict.examples} of {whole} test examples. The others could not be scored for one of "
    return [Text(text + "the two prompts and were left out of both means.")]


def judgement(verdict: Verdict) -> tuple[str, Tone]:
    """The verdict in a few words, as its sentence begins, or that it is a tie."""
    if verdict.difference == 0:
        return "a tie", "unsure"
    if verdict.low is None or verdict.high is None:
        return "too few examples to tell a gain from chance", "unsure"
    if verdict.significant:
        return "a significant gain", "gain"
    return ("significantly worse", "loss") if verdict.high < 0 else ("no significant gain", "unsure")


def _rests(rating: Rating | None) -> str:
    return covered(rating.coverage) if rating and rating.coverage else ""


def _numbers(told: Told, verdict: Verdict | None) -> list[tuple[str, str] | tuple[str, str, str]]:
    costs = Replay(told.story.events)
    facts: list[tuple[str, str] | tuple[str, str, str]] = []
    prompts = (("start", told.story.start), ("best", told.story.best))
    for (name, prompt), mean in zip(prompts, (verdict.start, verdict.best), strict=True) if verdict else ():
        facts += [(f"{name}, held out", f"{mean:.3f}", _rests(judged(told.story, prompt)))]
    for name, prompt in prompts:
        rating = told.scores.get(prompt)
        if rating and rating.value == rating.value:
            facts += [(f"{name}, training", f"{rating.value:.3f}", _rests(rating))]
    facts += [("questions", f"{costs.questions:,}")]
    facts += [("LLM calls", f"{costs.usage.calls:,}")] if costs.usage.calls else []
    facts += [("dollars", f"{costs.usage.dollars:,.4f}")] if costs.usage.dollars else []
    return [*facts, ("seconds", f"{costs.seconds:,.1f}")]


def _best(told: Told) -> Section:
    best, start = told.story.best, told.story.start
    title = "Most duels won so far" if told.story.leading else "Best prompt"
    blocks: list[Block] = [CodeBlock("best-prompt", "the best prompt", best)]
    if best in (finalists := told.finalists):
        text = f"The search ended with {len(finalists)} prompts to choose from. They were rated once more, "
        text += f"on the dev split where there is one; this one came out best, with {finalists[best]:.3f}."
        blocks += [Text(text)]
    if told.story.leading:
        blocks += [Text("The search has not ended. Which prompt it holds best, its optimizer says when it does.")]
    if best == start:
        blocks += [Text("The starting prompt stayed the best.")]
    else:
        blocks += [
            Differences("Word for word against the start", changes(start, best)),
            CodeBlock("start-prompt", "the start", start),
        ]
    return Section("best", title, blocks)


def _archive(told: Told) -> Section | None:
    archive = told.archive
    if archive is None:
        return None
    blocks: list[Block] = [Text(f"{summary(archive)} That is the sum of their ratings.")]
    blocks += [Planes(planes(archive, told.story)), Grid(first(elites_table(archive), ROWS), folded=True)]
    for svg, caption in grown(archive, last=told.curve.last):
        blocks += [Figure(svg, caption, growth_table(archive))]
    return Section("archive", "Archive", blocks)


def _curve(told: Told) -> Section | None:
    curve = told.curve
    if len(curve.dots) < 2:
        return None
    where = "the training examples" if told.story.ratings[0].whole else "parts of the training examples"
    caption = f"{len(curve.dots)} prompts were rated on {where}; "
    caption += f"the best went from {curve.steps[0][1]:.3f} to {curve.steps[-1][1]:.3f}."
    note = ""
    if curve.band:
        note = (
            " The band is the bootstrap interval of that prompt's mean over the training examples. The prompt was "
            "chosen on the same examples, so expect less of it elsewhere: see the verdict."
        )
    figure = Figure(as_svg(curve, caption), caption + note, improvements_table(told), legend(curve))
    return Section("curve", "Score curve", [figure])


def _front(told: Told) -> Section | None:
    front = shown(told.story.front)
    if front is None:
        return None
    said = [*front.sentences(), *([held_out(told.story.cheapest)] if told.story.cheapest else [])]
    text = " ".join(one[:1].upper() + one[1:] for one in said)
    blocks: list[Block] = [Text(text)]
    if front.saves:
        blocks += [CodeBlock("cheapest-prompt", "the cheapest prompt", front.cheapest.prompt)]
    table = front_table(front)
    for name in front.objectives:
        blocks += [Figure(front_svg(front, name), front_caption(front, name), table, front_legend(front))]
    return Section("front", "Score against cost", blocks)


def _descent(told: Told) -> Section | None:
    line = told.ancestors
    if len(line) < 2:
        return None
    text = "From the earliest ancestor to the best prompt. "
    text += "A proposer is shown several prompts at a time; of these the line follows the one with the closest words."
    return Section("lineage", "Lineage", [Text(text), Descent(line)])


def _prompts(told: Told) -> Section | None:
    table = prompts_table(told)
    if not table.rows:
        return None
    return Section("prompts", "Prompts", [Grid(ends(table, ROWS), start=told.story.start)])


def _duels(told: Told) -> Section | None:
    if not told.story.duels:
        return None
    ties, unknown = (sum(duel.winner == one for duel in told.story.duels) for one in ("tie", "unknown"))
    blocks: list[Block] = [
        FactsBlock([("duels", str(len(told.story.duels))), ("ties", str(ties)), ("not decided", str(unknown))])
    ]
    if told.story.duels and (agreed := duelling.agreement(told.story.duels)):
        kappa = "" if agreed.kappa is None else f" Fleiss' kappa is {agreed.kappa:.2f}."
        duels = "1 duel was" if agreed.twice == 1 else f"{agreed.twice} duels were"
        which = ("it" if agreed.agreed else "none") if agreed.twice == 1 else str(agreed.agreed)
        blocks += [Text(f"{duels} answered by two; they agreed on {which}.{kappa}")]
    if annotators_table(told).rows:
        blocks += [Grid(annotators_table(told))]
    if told.story.leads:
        blocks += [_leads(told)]
    blocks += [Grid(ends(records_table(told), ROWS)), Grid(first(duels_table(told), ROWS), folded=True)]
    return Section("duels", "Duels", blocks)


def _leads(told: Told) -> Figure:
    curve = SearchCurve.of_duels(told.story.duels, told.story.leads)
    changed = len(curve.dots) - 1
    caption = f"The most duels won net of those lost, by any prompt; the lead changed hands {changed} times (dots)."
    return Figure(as_svg(curve, caption), caption, leads_table(told), legend(curve))


def _examples(told: Told) -> Section | None:
    if not told.outcomes:
        return None
    found, why = changed_first(told.outcomes), told.data[1]
    counts = [
        (name, str(sum(one.change == name for one in found))) for name in ("gained", "lost", "same", "not scored")
    ]
    blocks: list[Block] = [
        Text("The starting prompt against the best one on the test split, example by example."),
        FactsBlock(counts),
    ]
    if why:
        blocks += [Text(why)]
    if replied := _replied(found):
        name = f"What the two prompts made of {len(replied)} of {len(found)} test examples, those that changed first"
        blocks += [Replies(name, replied)]
    if pictures := _pictures(found):
        blocks += [Gallery(f"{len(pictures)} of {len(found)} test images, from those that changed first", pictures)]
    if labels_table(told).rows:
        blocks += [Grid(labels_table(told))]
    return Section("examples", "Examples", [*blocks, Grid(first(outcomes_table(told), ROWS), folded=True)])


def _replied(found: Sequence[HeldOutOutcome]) -> list[HeldOutOutcome]:
    """Examples whose replies the ledger holds, chosen as :func:`_chosen` does."""
    return _chosen([one for one in found if one.start_case or one.best_case], REPLIES)


def _pictures(found: Sequence[HeldOutOutcome]) -> list[tuple[HeldOutOutcome, str]]:
    """Thumbnails of some examples."""
    chosen = _chosen(found, IMAGES)
    return [(one, uri) for one in chosen if one.example and (uri := thumbnail(one.example))]


def _chosen(found: Sequence[HeldOutOutcome], most: int) -> list[HeldOutOutcome]:
    """Some examples: up to two thirds gained, then lost, then others; evenly over each."""
    gained, lost, rest = ([one for one in found if one.change in kinds] for kinds in (["gained"], ["lost"], OTHERS))
    chosen = _spread(gained, most * 2 // 3)
    chosen += _spread(lost, most - len(chosen))
    return chosen + _spread(rest, most - len(chosen))


def _spread(found: Sequence[HeldOutOutcome], most: int) -> list[HeldOutOutcome]:
    count = min(most, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def _costs(told: Told) -> Section:
    tables = [questions_table(told), calls_table(told), counts_table(told)]
    notes = [Text(note) for note in told.summary.get("notes", [])]
    return Section("costs", "Costs", [*(Grid(table) for table in tables if table.rows), *notes])


def _recipe(told: Told) -> Section:
    recipe = toml(told.recipe)
    blocks: list[Block] = [Text("Save this as recipe.toml and run it with: promptopt run recipe.toml")]
    if OBJECT in str(told.recipe):
        blocks = [Text("The run was started from Python; objects it was given stand here by the name of their class.")]
    blocks += [CodeBlock("recipe-text", "the recipe", recipe), Grid(versions_table(told))]
    return Section("recipe", "Recipe", blocks)
