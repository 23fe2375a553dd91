"""Optimizers: what searches prompt space. One file per algorithm; what they share lies below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .apohf import Apohf
    from .bayes import Bayes
    from .double_ts import DoubleTS
    from .gcg import Gcg
    from .gepa import Gepa
    from .greater import Greater
    from .hill_climb import HillClimb
    from .iad import BestOfN, Iad
    from .linear_duel import LinearDuel
    from .map_elites import MapElites
    from .preferential_bo import PreferentialBO
    from .proapo import ProApo
    from .proposers.chat import ChatProposer
    from .proposers.lexical import LexicalProposer
    from .protegi import ProTeGi
    from .racing import Racing
    from .random_duel import RandomDuels
    from .random_search import RandomSearch

__all__ = [
    "Apohf",
    "Bayes",
    "BestOfN",
    "ChatProposer",
    "DoubleTS",
    "Gcg",
    "Gepa",
    "Greater",
    "HillClimb",
    "Iad",
    "LexicalProposer",
    "LinearDuel",
    "MapElites",
    "PreferentialBO",
    "ProApo",
    "ProTeGi",
    "Racing",
    "RandomDuels",
    "RandomSearch",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Apohf": "apohf",
        "Bayes": "bayes",
        "BestOfN": "iad",
        "ChatProposer": "proposers.chat",
        "DoubleTS": "double_ts",
        "Gcg": "gcg",
        "Gepa": "gepa",
        "Greater": "greater",
        "HillClimb": "hill_climb",
        "Iad": "iad",
        "LexicalProposer": "proposers.lexical",
        "LinearDuel": "linear_duel",
        "MapElites": "map_elites",
        "PreferentialBO": "preferential_bo",
        "ProApo": "proapo",
        "ProTeGi": "protegi",
        "Racing": "racing",
        "RandomDuels": "random_duel",
        "RandomSearch": "random_search",
    },
)
