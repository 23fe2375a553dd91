"""The baselines of [Lin2024] as released, against plain code from what the paper and its code say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from promptopt.core import Duel, Preference, Prompt
from promptopt.optimizers.double_ts import ENSEMBLE, TURN, DoubleTS
from promptopt.optimizers.duels import Duels
from promptopt.optimizers.duels.epinet import BATCH, MEMBERS, Epinet, train_members
from promptopt.optimizers.duels.network import draw, forward
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.testing import FakeSetup

from .duel_problems import begun, play, rows

torch = pytest.importorskip("torch")

STEPS = 60
TABLE = rows(12, 5)
UTILITY = 6 * TABLE[:, 0]


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the released models, which train for 1,000 steps a round."""
    monkeypatch.setattr("promptopt.optimizers.linear_duel.STEPS", STEPS)
    monkeypatch.setattr("promptopt.optimizers.double_ts.STEPS", STEPS)


def tensor(array: Any) -> Any:
    return torch.tensor(np.asarray(array), dtype=torch.float32)


# ── Linear ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nu", [1.0, 3.0])
def test_the_linear_bandit(nu: float) -> None:
    """Adam on the cross-entropy alone; V's diagonal without λ; ν under the root."""
    optimizer = begun(LinearDuel, TABLE, fit="released", n_init=4, nu=nu)
    play(optimizer, UTILITY, 9)
    duels = optimizer._record.duels()
    x, model = optimizer._arms.vectors, torch.nn.Linear(5, 1, bias=False)
    model.weight.data = tensor(optimizer._start[0][:, :-1])
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        adam.zero_grad()
        logits = (model(tensor(x[duels.a])) - model(tensor(x[duels.b])))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, tensor(duels.wins)).backward()
        adam.step()
    h = model(tensor(x)).detach().numpy()[:, 0]
    utility = optimizer._utility()
    np.testing.assert_allclose(utility.mean, h, atol=1e-5)
    assert np.abs(h - x @ optimizer._start[0][0, :-1]).max() > 0.01
    differences = x[duels.a] - x[duels.b]
    diagonal = np.diag(differences.T @ differences)
    first = int(np.argmax(h))
    value = h + np.sqrt([nu * ((one - x[first]) ** 2 / diagonal).sum() for one in x])
    value[first] = -np.inf
    (duel,) = optimizer.ask()
    assert (optimizer._arms.index(duel.a), optimizer._arms.index(duel.b)) == (first, int(np.argmax(value)))


def test_linear_weights_start_as_torch_draws_them() -> None:
    starts = [begun(LinearDuel, rows(3, 400), fit="released", seed=seed)._start[0][0] for seed in (0, 0, 1)]
    assert (starts[0] == starts[1]).all()
    assert not (starts[0] == starts[2]).all()
    assert starts[0][-1] == 0
    assert 0.8 / 20 < np.abs(starts[0]).max() <= 1 / 20


# ── DoubleTS ──────────────────────────────────────────────────────────────────────────────────────────────────────


def duels(t: int) -> Duels:
    rng = np.random.default_rng(t)
    a = rng.integers(12, size=t)
    return Duels(a, (a + 1 + rng.integers(11, size=t)) % 12, rng.integers(3, size=t) / 2)


@pytest.mark.parametrize("t", [7, 31, 32, 75])
def test_the_epinet_is_trained_as_torch_would(t: int) -> None:
    """Ten copies, one of which is trained at a time, held to where it started; from 32 duels on in batches of 32."""
    lam, asked, start = 0.1, duels(t), draw(np.random.default_rng(1), (5, 32, 32, 1))
    members = []
    for _ in range(MEMBERS):
        linear = [torch.nn.Linear(5, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 1)]
        for layer, drawn in zip(linear, start, strict=True):
            layer.weight.data, layer.bias.data = tensor(drawn[:, :-1]), tensor(drawn[:, -1])
        members.append(torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ReLU(), linear[2]))
    origin = [parameter.detach().clone() for parameter in members[0].parameters()]
    adam = torch.optim.Adam([parameter for member in members for parameter in member.parameters()], lr=1e-3)
    rng, wins, held = np.random.default_rng(5), tensor(asked.wins), lam if t < BATCH else lam * BATCH / t
    batches = max(1, t // BATCH)
    for _ in range(STEPS):
        for i in range(batches):
            part = slice(i * BATCH, t if i == batches - 1 else (i + 1) * BATCH)
            member = members[rng.integers(MEMBERS)]
            adam.zero_grad()
            h = [member(tensor(TABLE[places[part]]))[:, 0] for places in (asked.a, asked.b)]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(h[0] - h[1], wins[part])
            pull = sum(((p - o) ** 2).sum() for p, o in zip(member.parameters(), origin, strict=True))
            (loss + held * pull).backward()
            adam.step()
    ours = train_members(start, TABLE, asked, lam=lam, rounds=STEPS, rng=np.random.default_rng(5))
    for weights, member in zip(ours, members, strict=True):
        h, expected = forward(weights, TABLE)[-1], member(tensor(TABLE)).detach().numpy()
        np.testing.assert_allclose(h - h[0], expected - expected[0], atol=2e-4)  # the last bias cancels in a duel
    spread = np.std([forward(weights, TABLE)[-1] for weights in ours], axis=0)
    assert spread.max() > 1e-3


@pytest.mark.parametrize("favourites", [[4] * 10, [4] * 9 + [7], [4, 7, 2, 4, 7, 2, 4, 4, 4, 9]])
def test_members_draw_until_two_favourites_differ(favourites: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first member's favourite stays; after six others with the same, the second prompt is any other."""
    monkeypatch.setattr(Epinet, "favourites", lambda self, among: np.array(favourites))
    optimizer = begun(DoubleTS, TABLE, fit="released", n_init=0)
    drawn = Counter[str]()
    for number in range(12):
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(TURN, number)))
        first = rng.choice(favourites)
        second = next((other for other in (rng.choice(favourites) for _ in range(6)) if other != first), None)
        (duel,) = optimizer.ask()
        asked = optimizer._arms.index(duel.a), optimizer._arms.index(duel.b)
        assert asked[0] == first
        assert asked[1] == second if second is not None else asked[1] != first
        drawn["at random" if second is None else "by members"] += 1
        optimizer.tell([(Duel(duel.a, duel.b, number=number), Preference("a"))])
    assert drawn["at random" if len(set(favourites)) == 1 else "by members"] > 3


def test_the_incumbent_is_the_best_played_by_one_member() -> None:
    optimizer = begun(DoubleTS, TABLE, fit="released")
    play(optimizer, UTILITY, 12)
    record, utility = optimizer._record, optimizer._utility()
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(ENSEMBLE, record.version)))
    rng.integers(MEMBERS, size=STEPS)  # whose turn it was in the training
    member = utility.members[rng.integers(MEMBERS)]
    played = record.duels().played
    assert optimizer._arms.index(optimizer.best()) == played[np.argmax(member[played])]
    assert 0 <= optimizer.belief().confidence <= 1


# ── Random ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_random_baseline_reports_the_last_winner() -> None:
    optimizer, expected = begun(RandomDuels, TABLE, fit="released"), Prompt("0")
    for number, winner in enumerate(["tie", "a", "b", "unknown", "tie", "b", "a", "a"]):
        (duel,) = optimizer.ask()
        optimizer.tell([(Duel(duel.a, duel.b, number=number), Preference(winner))])
        expected = {"a": duel.a, "b": duel.b}.get(winner, expected)
        assert optimizer.best() == expected


def test_released_baselines_are_options_of_a_recipe() -> None:
    from promptopt.recipe.build import build

    for name in ("linear-duel", "double-ts", "random-duel", "apohf"):
        optimizer = build("optimizers", {"name": name, "fit": "released"}, where="optimizer")
        optimizer.begin(FakeSetup(start=["one", "two", "three"]))
        (duel,) = optimizer.ask()
        assert duel.a != duel.b
