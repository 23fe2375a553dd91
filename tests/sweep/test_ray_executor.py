from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep_parts import recipe

from promptopt.api import prepare
from promptopt.core import Example, Message, Prompt, Request
from promptopt.errors import ModelError, UserError
from promptopt.fanout import fan_out
from promptopt.recipe.build import build
from promptopt.sweep import sweep
from promptopt.sweep.ray_executor import RayModel, RayTarget, cluster, shard, split

pytestmark = pytest.mark.study

HERE = Path(__file__).parent
NODES = 3


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of several nodes on this machine, one CPU each."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(HERE)
    small = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=small)
    for _ in range(NODES - 1):
        made.add_node(num_cpus=1, num_gpus=0, object_store_memory=80 * 2**20)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(autouse=True)
def _fresh(nodes: Any) -> Iterator[None]:
    """Actors of the test's own, which free their place afterwards."""
    import ray

    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != NODES:
        assert time.monotonic() < end
        time.sleep(0.1)
    yield
    for actor in cluster()._actors if cluster.cache_info().currsize else []:
        ray.kill(actor)
    cluster.cache_clear()


def test_one_shot_is_rated_in_as_many_views_as_without_ray() -> None:
    given = {
        "start": "a photo of a {}",
        "target": {"name": "clip", "model": "embedded"},
        "data": {"name": "digits", "shots": 1},
        "seed": 0,
    }
    plan = prepare(given)
    assert plan.data is not None
    offered = {"classes": plan.data.classes, "seed": 0}
    other = shard(given["target"], where="target", offered=offered)
    there = prepare({**given, "target": other})
    assert there.views == plan.views == 16
    assert other.record == plan.target.record  # type: ignore[union-attr]
    example, template = plan.data.train[0], "a photo of a {}"
    assert (other.view(example, 3).id, other.view(example, 3).input.number) == (example.id, 3)
    np.testing.assert_allclose(other.embed([template]), plan.target.embed([template]), atol=1e-6)  # type: ignore[union-attr]


def test_split() -> None:
    assert split("abcdefg", 3) == ["ab", "cd", "efg"]
    assert split("ab", 2) == ["a", "b"]
    assert split("", 0) == []


def examples(n: int = 7) -> Any:
    return build("datasets", {"name": "sweep_parts:words", "test": n}, where="data").test


@pytest.mark.parametrize("n_prompts", [1, 2, 3, 8])
def test_shards_come_back_whole_and_in_order(n_prompts: int) -> None:
    target = RayTarget({"name": "sweep_parts:Frail"}, where="target", offered={})
    given = examples()
    prompts = [Prompt("x" * (i + 1)) for i in range(n_prompts)]
    here = build("targets", "sweep_parts:Frail", where="target")
    expected = [here.run(prompt, given) for prompt in prompts]
    assert list(target.run_batch(prompts, given)) == expected
    assert list(target.run_batch(prompts, given[2:4])) == [row[2:4] for row in expected]
    assert target.run(prompts[0], []) == []
    assert list(target.run_batch([], given)) == []
    assert target.problem_with(prompts[0]) is None


def test_an_example_is_sent_once() -> None:
    sent: list[int] = []

    class Number(int):
        def __reduce__(self) -> Any:
            sent.append(int(self))
            return int, (int(self),)

    target = RayTarget({"name": "sweep_parts:Frail"}, where="target", offered={})
    given = [Example(f"test{i}", Number(i), "") for i in range(7)]
    prompts = [Prompt("x" * (i + 1)) for i in range(NODES)]
    for some in prompts[:1], prompts, prompts[:2]:
        assert list(target.run_batch(some, given[2:])) == [[len(p.text) + i for i in range(2, 7)] for p in some]
    assert target.run(prompts[0], given) == list(range(1, 8))
    assert sorted(sent) == list(range(7))


def test_the_work_is_spread_over_every_node() -> None:
    target = RayTarget({"name": "sweep_parts:Frail", "log": "who"}, where="target", offered={})
    one = target.run(Prompt("x"), examples())
    assert len(set(one)) == NODES
    assert float(os.getpid()) not in one
    many = [row[0] for row in target.run_batch([Prompt("x" * i) for i in range(1, 7)], examples())]
    assert len(set(many)) == NODES


def test_the_shard_of_a_lost_actor_is_done_by_another(tmp_path: Path) -> None:
    flag = tmp_path / "dies"
    flag.touch()
    target = RayTarget({"name": "sweep_parts:Frail", "fails": str(flag)}, where="target", offered={})
    prompts = [Prompt("x" * i) for i in range(1, 16)]
    rows = list(target.run_batch(prompts, examples()))
    assert not flag.exists()
    assert rows == [[float(len(prompt.text) + e.input) for e in examples()] for prompt in prompts]
    assert target._cluster.size == NODES - 1


def test_an_error_of_the_target_is_passed_on_as_it_is(tmp_path: Path) -> None:
    flag = tmp_path / "fails"
    flag.touch()
    target = RayTarget({"name": "sweep_parts:Longer", "fails": str(flag)}, where="target", offered={})
    with pytest.raises(ValueError, match="cannot run 'xxxxxxxxxxx'"):
        target.run(Prompt("x" * 11), examples())
    with pytest.raises(UserError, match="target: unknown option 'logg'"):
        RayTarget({"name": "sweep_parts:Longer", "logg": "x"}, where="target", offered={})


def test_a_chat_model_is_called_in_turns() -> None:
    model = RayModel({"name": "sweep_parts:Echo"}, where="model")
    replies = [model.complete(Request([Message("user", f"hello{i}")], n=2)) for i in range(6)]
    pids = [int(reply.replies[0].text.split()[0]) for reply in replies]
    assert len(set(pids)) == NODES
    assert [reply.replies[0].text.split()[1:] for reply in replies] == [[f"hello{i}", "2"] for i in range(6)]
    assert replies[0].usage.input_tokens == 2
    assert model.name == "echo"
    assert model.at_most(Request([], n=3)).calls == 3
    with pytest.raises(ModelError, match="refused"):
        model.complete(Request([Message("user", "no")]))


def test_an_actor_takes_calls_to_a_model_side_by_side(tmp_path: Path) -> None:
    model = RayModel({"name": "sweep_parts:Meeting", "folder": str(tmp_path), "people": 2 * NODES}, where="model")
    names = [f"{i}" for i in range(2 * NODES)]
    replies = fan_out(lambda name: model.complete(Request([Message("user", name)])), names, workers=len(names))
    assert [reply.replies[0].text for reply in replies] == names


def test_a_target_that_prompts_a_model_stays_here_and_its_model_goes() -> None:
    spec = {"name": "chat", "model": {"name": "sweep_parts:Echo"}}
    target = shard(spec, where="target", offered={})
    assert type(target).__name__ == "ChatTarget"
    assert any(isinstance(value, RayModel) for value in vars(target).values())


def test_clip_gives_the_same_log_probabilities() -> None:
    data = build("datasets", {"name": "digits", "shots": 2}, where="data")
    offered = {"classes": data.classes, "seed": 0, "data": data, "examples": data.train}
    there = shard({"name": "clip", "cache": False}, where="target", offered=offered)
    here = build("targets", {"name": "clip", "cache": False}, where="target", offered=offered)
    assert (there.metric, there.tiebreak) == ("accuracy", "log-probability")
    prompts = [Prompt("a photo of a {}"), Prompt("the handwritten digit {}")]
    for one, other in zip(there.run_batch(prompts, data.train), here.run_batch(prompts, data.train), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert "no {}" in str(there.problem_with(Prompt("nothing")))


def test_a_sweep_on_the_cluster_gives_the_table_of_one_without(tmp_path: Path) -> None:
    given = recipe(most=[3, 14], seeds=1)
    alone = sweep(given, folder=tmp_path / "alone")
    spread = sweep(given, folder=tmp_path / "spread", executor="ray")
    assert [(row.label, row.score, row.test) for row in spread.table.rows] == [
        (row.label, row.score, row.test) for row in alone.table.rows
    ]
    assert cluster.cache_info().currsize
    assert cluster().size == NODES


def test_more_than_one_worker_would_take_each_others_actors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one worker"):
        sweep(recipe(), folder=tmp_path, executor="ray", workers=2)
