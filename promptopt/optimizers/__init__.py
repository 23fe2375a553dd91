"""Optimizers: what searches prompt space. One file per algorithm; what they share lies below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .apohf import Apohf
    from .bayes import Bayes
    from .demonstrations import Demonstrations
    from .double_ts import DoubleTS
    from .gcg import Gcg
    from .greater import Greater
    from .hill_climb import HillClimb
    from .linear_duel import LinearDuel
    from .mipro import Mipro
    from .part_by_part import PartByPart
    from .preferential_bo import PreferentialBO
    from .proapo import ProApo
    from .proposers.chat import ChatProposer
    from .proposers.lexical import LexicalProposer
    from .racing import Racing
    from .random_duel import RandomDuels
    from .random_search import RandomSearch

__all__ = [
    "Apohf",
    "Bayes",
    "ChatProposer",
    "Demonstrations",
    "DoubleTS",
    "Gcg",
    "Greater",
    "HillClimb",
    "LexicalProposer",
    "LinearDuel",
    "Mipro",
    "PartByPart",
    "PreferentialBO",
    "ProApo",
    "Racing",
    "RandomDuels",
    "RandomSearch",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Apohf": "apohf",
        "Bayes": "bayes",
        "ChatProposer": "proposers.chat",
        "Demonstrations": "demonstrations",
        "DoubleTS": "double_ts",
        "Gcg": "gcg",
        "Greater": "greater",
        "HillClimb": "hill_climb",
        "LexicalProposer": "proposers.lexical",
        "LinearDuel": "linear_duel",
        "Mipro": "mipro",
        "PartByPart": "part_by_part",
        "PreferentialBO": "preferential_bo",
        "ProApo": "proapo",
        "Racing": "racing",
        "RandomDuels": "random_duel",
        "RandomSearch": "random_search",
    },
)
