"""BoTorch's fits in several threads: what is set for the whole process is put back, whichever thread leaves last."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("botorch")

import torch

from promptopt.optimizers.duels.pairwise_gp import _quiet


def interleaved(open_: Callable[[], AbstractContextManager[Any]]) -> None:
    """One thread goes in, another tries to, the first goes out, then the other."""
    inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def work(i: int) -> None:
        with open_():
            inside[i].set()
            leave[i].wait(20)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(2)]
    workers[0].start()
    assert inside[0].wait(20)
    workers[1].start()
    inside[1].wait(0.2)  # may have to wait until the first is out
    for i in range(2):
        assert inside[i].wait(20)
        leave[i].set()
        workers[i].join(20)
        assert not workers[i].is_alive()


def test_generators_and_warnings_are_as_they_were_when_the_last_thread_is_through() -> None:
    with warnings.catch_warnings():
        before = np.random.get_state()[1].copy(), torch.get_rng_state(), list(warnings.filters)  # type: ignore[index,union-attr]
        interleaved(_quiet)
        after = np.random.get_state()[1], torch.get_rng_state(), list(warnings.filters)  # type: ignore[index,union-attr]
    np.testing.assert_array_equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]
