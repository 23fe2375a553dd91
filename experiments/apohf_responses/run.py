"""Regret over duels about replies to several queries: one utility for all queries, or a search for each.

    python experiments/apohf_responses/run.py --seeds 10 --out runs.jsonl
    python experiments/apohf_responses/run.py --report runs.jsonl

Ten requests of customers, fifty replies to each, put together from openings, answers, extras and endings. How good a
reply is, only this file knows: whether it answers this request, and how it is said, which counts the same for every
request. A line of JSON is written as each search ends, and what is written is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.core import Duel, Embedder, Rate, Rating
from promptopt.embedders.ngrams import Ngrams
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.duels import SHEET
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.pools.responses import BETWEEN
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.scorers.adapters import BradleyTerry
from promptopt.stats import interval
from promptopt.testing import FakeSetup

CHECKPOINTS = (50, 100, 150, 300)
POINTS = 100
SCALE = 10.0  # of standardised quality, as in [Lin2024]
REPLIES = 50  # to each query

REQUESTS = {  # and what answers them
    "My parcel should have come on Monday. Where is it?": "Your parcel is at the depot and comes tomorrow.",
    "I was charged twice for one order. What will you do?": "We return the second payment within three days.",
    "The lamp that you sent does not turn on.": "We send you a new lamp and a label for the broken one.",
    "How do I send back shoes that are too small?": "Print the label in your account and drop the shoes at any shop.",
    "Can I still change the address of my order?": "The address can be changed until the order is packed tonight.",
    "Your site logs me out at every page.": "Please delete our cookies once, then you stay signed in.",
    "Do you ship to Iceland, and what does it cost?": "We ship to Iceland for twelve euros.",
    "The voucher that my aunt gave me is not accepted.": "The voucher is valid again, it had been locked by mistake.",
    "I want to cancel my subscription today.": "Your subscription ends today and nothing more is charged.",
    "Please delete everything that you know of me.": "Your data are deleted within a week, you get a confirmation.",
}
VAGUE = ("We are looking into it.", "Your request has been received.", "Please see our help pages.")
OPENINGS = {
    "": 0.1,
    "Hello,": 0.2,
    "I am sorry for the trouble.": 0.3,
    "Dear customer,": 0.1,
    "As stated before,": -0.2,
}
EXTRAS = {
    "": 0.1,
    "I will write to you again tomorrow.": 0.25,
    "This is not our fault.": -0.3,
    "It was busy here.": -0.1,
}
ENDINGS = {"": 0.1, "Kind regards, Ada": 0.2, "Do not answer this message.": -0.25, "Rate us with five stars!": -0.1}


class Problem:
    """Queries, replies to them, and how good each is: ``quality`` by text, of a query and a reply together."""

    def __init__(self, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.quality: dict[str, float] = {}
        self.replies: dict[str, list[str]] = {}
        for query, answer in REQUESTS.items():
            wrong = [other for other in REQUESTS.values() if other != answer]
            bodies = {answer: 1.0, **dict.fromkeys(VAGUE, 0.4), **{str(one): 0.0 for one in rng.choice(wrong, 2)}}
            every = list(product(OPENINGS.items(), bodies.items(), EXTRAS.items(), ENDINGS.items()))
            for i in rng.choice(len(every), REPLIES, replace=False):
                words, worth = zip(*every[i], strict=True)
                text = query + BETWEEN + " ".join(filter(None, words))
                self.quality[text] = float(sum(worth))
                self.replies.setdefault(query, []).append(text)
        values = np.array(list(self.quality.values()))
        self._mean, self._sd = float(values.mean()), float(values.std())

    def rating(self, text: str) -> Rating:
        return Rating((self.quality[text] - self._mean) / self._sd)

    def regret(self, best: dict[str, str]) -> float:
        """How far the best replies held are behind the best there are, in points of quality's range; the mean."""
        gaps = []
        for query, own in self.replies.items():
            gaps.append(max(self.quality[text] for text in own) - self.quality[best[query]])
        return POINTS * float(np.mean(gaps)) / (max(self.quality.values()) - min(self.quality.values()))


class Pool(ListPool):
    """Replies to several queries, in turns."""

    def __init__(self, replies: dict[str, list[str]]) -> None:
        super().__init__(prompts=[text for turn in zip(*replies.values(), strict=True) for text in turn])
        self.queries = tuple(replies)

    def draw(self, rng: np.random.Generator, /) -> Any:
        return iter(self.prompts)

    def query_of(self, text: str, /) -> str:
        return text.partition(BETWEEN)[0]


class Annotator:
    """Bradley-Terry draws from standardised quality."""

    question = Rate

    def __init__(self, problem: Problem, *, seed: int) -> None:
        self._problem = problem
        self.answers = BradleyTerry(scorer=self, scale=SCALE)  # type: ignore[arg-type]
        self.answers.begin(FakeSetup(seed=seed))

    def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
        return [self._problem.rating(question.prompt.text) for question in questions]

    def play(self, optimizer: Any, number: int) -> None:
        asked: list[Duel] = [replace(duel, number=number) for duel in optimizer.ask()]
        optimizer.tell(list(zip(asked, self.answers.answer(asked), strict=True)))


class Together:
    """One search over all queries."""

    def __init__(self, make: Any, problem: Problem, embedder: Embedder, *, seed: int) -> None:
        n = len(problem.quality)
        self.search = make(pool=Pool(problem.replies), pool_size=n, embedder=embedder)
        self.search.begin(FakeSetup(start=["-"], seed=seed))

    def play(self, annotator: Annotator, number: int) -> None:
        annotator.play(self.search, number)

    def best(self) -> dict[str, str]:
        return {text.partition(BETWEEN)[0]: text for text in self.search.best().text.split(SHEET)}


class Apart:
    """A search for each query; they take turns."""

    def __init__(self, make: Any, problem: Problem, embedder: Embedder, *, seed: int) -> None:
        self.searches = {}
        for query, replies in problem.replies.items():
            search = make(pool=ListPool(prompts=replies), pool_size=len(replies), embedder=embedder)
            search.begin(FakeSetup(start=replies[:1], seed=seed))
            self.searches[query] = search

    def play(self, annotator: Annotator, number: int) -> None:
        annotator.play(list(self.searches.values())[number % len(self.searches)], number)

    def best(self) -> dict[str, str]:
        return {query: search.best().text for query, search in self.searches.items()}


def released(**options: Any) -> Apohf:
    return Apohf(fit="released", **options)


ARMS = {
    "random, together": (Together, RandomDuels),
    "random, apart": (Apart, RandomDuels),
    "apohf, apart": (Apart, Apohf),
    "double-ts, together": (Together, DoubleTS),
    "apohf, released, together": (Together, released),
    "apohf, together": (Together, Apohf),
}


class Kept:
    """Embeds every text once."""

    def __init__(self, texts: Sequence[str], embedder: Embedder) -> None:
        self.name = embedder.name
        self._rows = dict(zip(texts, embedder.embed(texts), strict=True))

    def embed(self, texts: Sequence[str], /) -> Any:
        return np.stack([self._rows[text] for text in texts])


def search(arm: str, problem: Problem, embedder: Embedder, *, duels: int, seed: int) -> dict[str, Any]:
    kind, make = ARMS[arm]
    one, annotator = kind(make, problem, embedder, seed=seed), Annotator(problem, seed=seed)
    began, regret = time.monotonic(), {}
    for number in range(duels):
        one.play(annotator, number)
        if number + 1 in CHECKPOINTS:
            regret[str(number + 1)] = problem.regret(one.best())
    return {"arm": arm, "seed": seed, "regret": regret, "seconds": round(time.monotonic() - began, 1)}


def run(options: argparse.Namespace) -> None:
    done = {(found["arm"], found["seed"]) for found in read(options.out)} if options.out.exists() else set()
    embedder: Embedder = Ngrams()
    if options.encoder:
        from promptopt.embedders.sentence import SentenceTransformer

        embedder = SentenceTransformer(model=options.encoder, cache=False)
    for seed in range(options.seeds):
        problem = Problem(seed=seed)
        kept = Kept(list(problem.quality), embedder)
        for arm in options.arms:
            if (arm, seed) not in done:
                line = json.dumps(search(arm, problem, kept, duels=options.duels, seed=seed))
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def report(runs: list[dict[str, Any]]) -> str:
    """Mean regret with 95% bootstrap intervals over seeds."""
    points = [str(n) for n in CHECKPOINTS if any(str(n) in found["regret"] for found in runs)]
    lines = [f"| regret after | {' | '.join(points)} | seeds |", "|" + " --- |" * (len(points) + 2)]
    for arm in ARMS:
        found = [one["regret"] for one in runs if one["arm"] == arm]
        if found:
            cells = [cell([one[n] for one in found if n in one]) for n in points]
            lines.append(f"| {arm} | {' | '.join(cells)} | {len(found)} |")
    return "\n".join(lines)


def cell(values: list[float]) -> str:
    if not values:
        return ""
    low, high = interval(np.array(values), rng=np.random.default_rng(0))
    mean = f"{np.mean(values):.1f}"
    return mean if low is None or high is None else f"{mean} ({low:.1f} to {high:.1f})"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where searches are added as JSON lines")
    parser.add_argument("--report", type=Path, help="run nothing, print the table of this file")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--duels", type=int, default=CHECKPOINTS[-1])
    parser.add_argument("--encoder", help="a sentence-transformers model; hashed n-grams without one")
    options = parser.parse_args(words)
    if not (options.out or options.report):
        parser.error("give --out to run or --report to report")
    if options.out:
        run(options)
    print(report(read(options.report or options.out)))


if __name__ == "__main__":
    main()
