"""What rating optimizers share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, RandomSearch
from promptopt.optimizers.bayes import Bayes
from promptopt.optimizers.gcg import Gcg
from promptopt.optimizers.greater import Greater
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers.lexical import LexicalProposer
from promptopt.testing import FakeSetup

sys.path.insert(0, str(Path(__file__).parent))
from word_model import EXAMPLES, WordModel

OPTIMIZERS: dict[str, Any] = {
    "bayes": lambda: Bayes(phrases=["one", "two"]),
    "hill-climb": lambda: HillClimb(proposer=LexicalProposer(phrases=["one", "two"])),
    "random-search": lambda: RandomSearch(pool=ListPool(prompts=["one", "two"])),
    "gcg": lambda: Gcg(target=WordModel(), examples=EXAMPLES),
    "greater": lambda: Greater(target=WordModel(), examples=EXAMPLES),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_prompt_to_start_from_it_says_so(name: str) -> None:
    with pytest.raises(UserError, match="no prompt to start from"):
        OPTIMIZERS[name]().begin(FakeSetup(start=[]))
