"""The dueling bandit: the paper's rule, what answers of each kind teach, open duels, pools, mutation, belief."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Belief, Duel, HasBelief, Preference, Prompt
from promptopt.errors import UserError
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers import Scored
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.recipe.build import call
from promptopt.testing import FakeSetup

from .duel_problems import Table, begun, play, prefer, rows


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the released network; nothing here depends on how long it is trained."""
    monkeypatch.setattr("promptopt.optimizers.apohf.STEPS", 100)


ALL = [Apohf, LinearDuel, DoubleTS, RandomDuels]
TABLE = rows(40, 6)
UTILITY = 8 * TABLE[:, 0]


def answer(optimizer: Any, *winners: Any) -> list[Duel]:
    """Ask, and answer one by one."""
    asked = []
    for winner in winners:
        (duel,) = optimizer.ask()
        optimizer.tell([(duel, Preference(winner))])
        asked.append(duel)
    return asked


# ── It finds what is better ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", ALL)
def test_it_finds_a_good_prompt(make: Any) -> None:
    optimizer = begun(make, TABLE)
    play(optimizer, UTILITY, 40, rng=np.random.default_rng(0))
    rank = int(np.sum(UTILITY[int(optimizer.best().text)] < UTILITY))
    assert rank < 4


@pytest.mark.study
def test_choosing_beats_chance() -> None:
    table = rows(150, 20)
    utility = 20 * table[:, 0]

    def regret(make: Any, seed: int) -> float:
        optimizer = begun(make, table, seed=seed)
        play(optimizer, utility, 30, rng=np.random.default_rng(seed))
        return float(utility.max() - utility[int(optimizer.best().text)])

    seeds = range(4)
    chosen, chance = (np.mean([regret(make, seed) for seed in seeds]) for make in (Apohf, RandomDuels))
    assert chosen < chance - 1


@pytest.mark.parametrize("nu", [1.0, 5.0])
@pytest.mark.parametrize("norm", ["diagonal", "full"])
def test_the_released_rule_as_the_paper_has_it(norm: Any, nu: float) -> None:
    """The next pair from the network's own weights, with V as a (P, P) array and ν under the root."""
    table = rows(12, 3)
    optimizer = begun(Apohf, table, fit="released", norm=norm, nu=nu, n_init=4)
    play(optimizer, 8 * table[:, 0], 7)
    h, g = optimizer._utility().mean, optimizer._utility()._slopes
    full = np.concatenate(
        [np.hstack([(d[:, :, None] * u[:, None]).reshape(12, -1), d]) for u, d in zip(g.into, g.back, strict=True)], 1
    )
    asked = optimizer._record.duels()
    differences = full[asked.a] - full[asked.b]
    v = 0.1 * np.eye(full.shape[1]) + differences.T @ differences
    inverse = np.diag(1 / np.diag(v)) if norm == "diagonal" else np.linalg.inv(v)
    first = int(np.argmax(h))
    gaps = full - full[first]
    value = h + np.sqrt(nu * np.einsum("np,pq,nq->n", gaps, inverse, gaps))
    value[first] = -np.inf
    (duel,) = optimizer.ask()
    assert [int(duel.a.text), int(duel.b.text)] == [
        int(optimizer._arms.prompts[i].text) for i in (first, np.argmax(value))
    ]


def test_random_duels_do_not_depend_on_answers() -> None:
    asked = [answer(begun(RandomDuels, TABLE), *winners) for winners in ("aaaaa", "babab")]
    assert asked[0] == asked[1]
    assert all(duel.a != duel.b for duel in asked[0])


# ── What answers teach ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"fit": "released"}, {"fit": "released", "norm": "full"}])
def test_every_kind_of_answer_changes_what_is_asked_next(options: Any) -> None:
    """After the same eight duels, a ninth with each of the four answers, and still open."""
    following = {}
    for winner in ("a", "b", "tie", "unknown", None):
        optimizer = begun(Apohf, TABLE, n_init=3, **options)
        play(optimizer, UTILITY, 8)
        (duel,) = optimizer.ask()
        if winner:
            optimizer.tell([(duel, Preference(winner))])
        utility = optimizer._utility().mean
        following[winner] = (utility, optimizer.ask()[0], duel)
    as_released = options.get("fit") == "released"  # there a duel may come again once it was answered
    for winner in ("unknown", None) if as_released else ("tie", "unknown", None):
        assert following[winner][1] != following[winner][2]
    means = [following[winner][0] for winner in ("a", "tie", "b", "unknown")]
    assert all(np.abs(one - other).max() > 1e-6 for i, one in enumerate(means) for other in means[:i])
    np.testing.assert_array_equal(following["unknown"][0], following[None][0])


def test_a_tie_draws_two_prompts_together() -> None:
    gaps = []
    for winner in ("a", "tie"):
        optimizer = begun(Apohf, TABLE, n_init=100)
        play(optimizer, UTILITY, 10)
        (duel,) = answer(optimizer, winner)
        places = [optimizer._arms.index(prompt) for prompt in (duel.a, duel.b)]
        mean = optimizer._utility().mean
        gaps.append(mean[places[0]] - mean[places[1]])
    assert gaps[0] > gaps[1]


def test_what_nobody_can_tell_is_not_asked_again() -> None:
    optimizer = begun(Apohf, rows(6, 4), n_init=0)
    asked = answer(optimizer, *["unknown"] * 5)
    assert len({frozenset((duel.a, duel.b)) for duel in asked}) == 5


def test_two_prompts_that_nobody_can_tell_apart_are_asked_about_again() -> None:
    assert len(answer(begun(Apohf, rows(2, 4)), *["unknown"] * 8)) == 8


def test_a_second_answer_replaces_the_first() -> None:
    once, twice = begun(Apohf, TABLE), begun(Apohf, TABLE)
    for optimizer, winners in ((once, "b"), (twice, "ab")):
        (duel,) = optimizer.ask()
        for winner in winners:
            optimizer.tell([(Duel(duel.a, duel.b, number=0), Preference(winner))])
    assert once.best() == twice.best() == duel.b
    assert once.ask() == twice.ask()
    np.testing.assert_array_equal(once._utility().mean, twice._utility().mean)


def test_answers_without_a_number_add_up() -> None:
    optimizer = begun(Apohf, TABLE)
    (duel,) = optimizer.ask()
    optimizer.tell([(duel, Preference("a")), (duel, Preference("a"))])
    assert optimizer._record.answered == 2


def test_answers_without_a_number_leave_no_duel_open() -> None:
    optimizer = begun(Apohf, TABLE)
    play(optimizer, UTILITY, 7)
    assert len(optimizer._record.duels().wins) == 7


@pytest.mark.parametrize("make", ALL)
def test_the_start_stays_until_somebody_wins(make: Any) -> None:
    optimizer = begun(make, TABLE)
    assert optimizer.best() == Prompt("0")
    answer(optimizer, "tie", "unknown", "tie")
    assert optimizer.best() == Prompt("0")
    (duel,) = answer(optimizer, "b")
    assert optimizer.best() == duel.b


# ── Batches, and duels that are open ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"fit": "released"}, {"fit": "released", "norm": "full"}])
def test_a_batch_accounts_for_its_earlier_duels(options: Any) -> None:
    optimizer = begun(Apohf, TABLE, n_init=5, batch=5, **options)
    play(optimizer, UTILITY, 5)
    batch = optimizer.ask()
    assert len({duel.a for duel in batch}) == 1
    assert len({duel.b for duel in batch}) == 5


def test_a_batch_is_as_many_single_questions_left_open() -> None:
    single, batched = begun(Apohf, TABLE, n_init=2), begun(Apohf, TABLE, n_init=2, batch=6)
    assert [single.ask()[0] for _ in range(6)] == list(batched.ask())


@pytest.mark.parametrize("make", ALL)
def test_late_answers_count_as_if_they_had_come_in_time(make: Any) -> None:
    """Twelve duels are open at once and answered in another order, a few at a time."""
    optimizer = begun(make, TABLE)
    duels = [Duel(duel.a, duel.b, number=i) for i in range(12) for duel in optimizer.ask()]
    late = begun(make, TABLE)
    for _ in duels:
        late.ask()
    answered = [(duel, prefer(duel, UTILITY)) for duel in duels]
    optimizer.tell(answered)
    for part in (answered[8:], answered[3:8], answered[:3]):
        late.tell(part[::-1])
    np.testing.assert_allclose(late._utility().mean, optimizer._utility().mean, atol=1e-6)
    assert not np.isnan(late._record.duels().wins).any()
    assert late.best() == optimizer.best()
    if make is not DoubleTS:  # whose ensemble is drawn anew after every answer
        np.testing.assert_array_equal(late._utility().mean, optimizer._utility().mean)


def test_fits_only_when_something_new_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    fit = Apohf._fit
    monkeypatch.setattr(Apohf, "_fit", lambda self, duels: fits.append(len(duels.wins)) or fit(self, duels))
    optimizer = begun(Apohf, TABLE, n_init=0)
    play(optimizer, UTILITY, 3)
    for _ in range(3):
        optimizer.best(), optimizer.belief(), optimizer.ask()
    assert fits == [0, 1, 2, 3]


# ── Pools, and prompts that join ──────────────────────────────────────────────────────────────────────────────────


def test_the_pool_is_cut_and_checked_and_holds_the_start() -> None:
    optimizer = Apohf(pool=ListPool(prompts=[str(i) for i in range(30)]), pool_size=10, embedder=Table(rows(40, 4)))
    bad = {"3", "7", "31"}
    optimizer.begin(FakeSetup(start=["5", "30", "5"], problem_with=lambda text: "bad" if text in bad else None))
    texts = [prompt.text for prompt in optimizer._arms.prompts]
    assert texts[:2] == ["5", "30"]
    assert len(texts) == len(set(texts)) == 12
    assert not bad & set(texts)
    assert optimizer.add([Prompt("31"), Prompt("32"), Prompt("30")]) == 1


def test_a_pool_that_wants_the_setup_gets_it() -> None:
    class Written:
        def begin(self, setup: Any, /) -> None:
            self.start = [prompt.text for prompt in setup.start]

        def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
            yield from (str(int(text) + i) for text in self.start for i in (1, 2))

    optimizer = Apohf(pool=Written(), embedder=Table(TABLE))
    optimizer.begin(FakeSetup(start=["4"]))
    assert [prompt.text for prompt in optimizer._arms.prompts] == ["4", "5", "6"]


def test_one_prompt_cannot_duel() -> None:
    optimizer, setup = Apohf(embedder=Table(TABLE)), FakeSetup(start=["3"])
    optimizer.begin(setup)
    assert list(optimizer.ask()) == []
    assert "fewer" in setup.notes[0]
    assert optimizer.belief() == Belief(1.0, 0)
    optimizer.add([Prompt("4")])
    assert len(optimizer.ask()) == 1


def test_a_prompt_that_joins_costs_nothing_learnt() -> None:
    table = np.vstack([TABLE, TABLE[int(np.argmax(UTILITY))]])
    optimizer = begun(Apohf, table[:-1])
    optimizer._arms._embedder.rows = table
    play(optimizer, UTILITY, 30, rng=np.random.default_rng(0))
    before = optimizer._utility().mean
    optimizer.add([Prompt("40")])
    after = optimizer._utility().mean
    assert np.corrcoef(before, after[:-1])[0, 1] > 0.99
    assert after[-1] == pytest.approx(after[optimizer._arms.index(Prompt(str(int(np.argmax(UTILITY)))))], abs=0.05)


class Writer:
    """Proposes 40, 41, ..., and keeps what it was shown."""

    def begin(self, setup: Any, /) -> None:
        self.shown: list[tuple[Sequence[Scored], Sequence[Scored]]] = []

    def reset(self) -> None: ...

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        self.shown.append((good, bad))
        return [str(38 + 2 * len(self.shown)), str(39 + 2 * len(self.shown)), "0"]


def test_mutation_shows_the_best_and_worst_played_and_adds_what_is_written() -> None:
    table, writer = rows(50, 6), Writer()
    utility = 8 * table[:, 0]
    pool = ListPool(prompts=[str(i) for i in range(40)])
    optimizer = Apohf(pool=pool, embedder=Table(table), proposer=writer, mutate_every=10)
    setup = FakeSetup(start=["0"])
    optimizer.begin(setup)
    play(optimizer, utility, 35)
    assert len(writer.shown) == 3
    assert setup.counts["prompts that joined the pool"] == 6
    assert [prompt.text for prompt in optimizer._arms.prompts[-6:]] == ["40", "41", "42", "43", "44", "45"]
    for good, bad in writer.shown:
        assert min(one.value for one in good) > max(one.value for one in bad)
        assert good[0].value == max(one.value for one in good)
        assert bad[0].value == min(one.value for one in bad)
    assert optimizer._arms.prompts[-1].origin["parents"] == [one.text for one in writer.shown[-1][0]]


# ── How sure it is ────────────────────────────────────────────────────────────────────────────────────────────────


def test_confidence_grows() -> None:
    """The best of 40 wins nine of ten duels against the next."""
    utility = 10 * TABLE @ TABLE[7]
    assert np.ptp(np.sort(utility)[-2:]) > 2
    optimizer = begun(Apohf, TABLE)
    assert isinstance(optimizer, HasBelief)
    beliefs, rng = [optimizer.belief()], np.random.default_rng(3)
    for _ in range(4):
        play(optimizer, utility, 15, rng=rng)
        beliefs.append(optimizer.belief())
    assert beliefs[0].confidence < 0.1
    assert beliefs[0].confidence < beliefs[1].confidence < beliefs[-1].confidence
    assert beliefs[-1].confidence > 0.8
    assert all(belief.questions is None for belief in beliefs)  # a count would jump about, see belief.py


@pytest.mark.study
def test_confidence_is_calibrated_within_reason() -> None:
    """Over many moments of simulated problems: as often right as it says, give or take a fifth."""
    said, right = [], []
    for seed in range(12):
        table = rows(15, 4, seed=seed)
        utility = 4 * np.random.default_rng([seed, 1]).standard_normal(4) @ table.T
        optimizer = begun(Apohf, table, seed=seed)
        rng = np.random.default_rng([seed, 2])
        for _ in range(3):
            play(optimizer, utility, 8, rng=rng)
            said.append(optimizer.belief().confidence)
            right.append(int(optimizer.best().text) == int(np.argmax(utility)))
    assert 0.3 < np.mean(said) < 0.9
    assert abs(np.mean(said) - np.mean(right)) < 0.2
    sure = np.array(said) > np.median(said)
    assert np.mean(np.array(right)[sure]) > np.mean(np.array(right)[~sure])


@pytest.mark.parametrize("options", [{}, {"fit": "released"}])
def test_belief_does_not_touch_the_search(options: Any) -> None:
    asked = []
    for looks in (False, True):
        optimizer = begun(Apohf, TABLE, n_init=2, **options)
        duels = []
        for _ in range(6):
            (duel,) = optimizer.ask()
            duels.append(duel)
            optimizer.tell([(duel, prefer(duel, UTILITY))])
            if looks:
                belief = optimizer.belief()
                assert 0 <= belief.confidence <= 1
                optimizer.best()
        asked.append(duels)
    assert asked[0] == asked[1]


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"pool_size": 0}, "pool_size is 0"),
        ({"n_init": -1}, "n_init is -1"),
        ({"mutate_every": 5}, "needs a proposer"),
        ({"nu": -1.0}, "nu is -1"),
        ({"lam": 0.0}, "lam is 0"),
        ({"norm": "diagonal"}, 'goes with fit = "released"'),
        ({"fit": "releasd"}, "fit"),
    ],
)
def test_wrong_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(Apohf, options, where="[optimizer]")


def test_nothing_to_start_from() -> None:
    with pytest.raises(UserError, match="Give a starting prompt or a pool"):
        Apohf(embedder=Table(TABLE)).begin(FakeSetup())


def test_an_embedder_that_gives_no_vectors() -> None:
    class Broken:
        name = "broken"

        def embed(self, texts: Sequence[str], /) -> Any:
            return np.full((len(texts), 3), np.nan)

    with pytest.raises(UserError, match="'broken' gave"):
        Apohf(embedder=Broken()).begin(FakeSetup(start=["a", "b"]))


def test_an_idle_proposer_is_said() -> None:
    setup = FakeSetup(start=["0", "1"])
    Apohf(embedder=Table(TABLE), proposer=Writer()).begin(setup)
    assert setup.notes == ["The proposer is not used, since mutate_every is 0."]


def test_the_embedder_that_comes_with_the_package() -> None:
    optimizer = Apohf(pool=ListPool(prompts=["answer briefly", "answer at length", "think first"]))
    optimizer.begin(FakeSetup(start=["answer"]))
    assert len(optimizer.ask()) == 1


def test_its_linear_algebra_runs_on_one_thread_and_leaves_the_process_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> list[int]:
        return [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]

    optimizer, seen = begun(Apohf, TABLE, n_init=0), []
    choose = Apohf._choose
    monkeypatch.setattr(Apohf, "_choose", lambda self, among: (seen.extend(threads()), choose(self, among))[1])
    before = threads()
    optimizer.ask()
    assert set(seen) == {1}
    assert threads() == before
