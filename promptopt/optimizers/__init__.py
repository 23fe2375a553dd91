"""Optimizers: what searches prompt space. One file per algorithm; what they share lies below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .ape import Ape
    from .apohf import Apohf
    from .bayes import Bayes
    from .behaviour import Behaviour
    from .demonstrations import Demonstrations
    from .double_ts import DoubleTS
    from .evoprompt import EvoPrompt
    from .gcg import Gcg
    from .gepa import Gepa
    from .greater import Greater
    from .hill_climb import HillClimb
    from .iad import BestOfN, Iad
    from .interrogate import Interrogate
    from .linear_duel import LinearDuel
    from .map_elites import MapElites
    from .mipro import Mipro
    from .opro import Opro
    from .part_by_part import PartByPart
    from .pez import Pez
    from .preferential_bo import PreferentialBO
    from .proapo import ProApo
    from .proposers.chat import ChatProposer
    from .proposers.lexical import LexicalProposer
    from .proposers.lists import ListsProposer
    from .protegi import ProTeGi
    from .racing import Racing
    from .random_duel import RandomDuels
    from .random_search import RandomSearch

__all__ = [
    "Ape",
    "Apohf",
    "Bayes",
    "Behaviour",
    "BestOfN",
    "ChatProposer",
    "Demonstrations",
    "DoubleTS",
    "EvoPrompt",
    "Gcg",
    "Gepa",
    "Greater",
    "HillClimb",
    "Iad",
    "Interrogate",
    "LexicalProposer",
    "LinearDuel",
    "ListsProposer",
    "MapElites",
    "Mipro",
    "Opro",
    "PartByPart",
    "Pez",
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
        "Ape": "ape",
        "Apohf": "apohf",
        "Bayes": "bayes",
        "Behaviour": "behaviour",
        "BestOfN": "iad",
        "ChatProposer": "proposers.chat",
        "Demonstrations": "demonstrations",
        "DoubleTS": "double_ts",
        "EvoPrompt": "evoprompt",
        "Gcg": "gcg",
        "Gepa": "gepa",
        "Greater": "greater",
        "HillClimb": "hill_climb",
        "Iad": "iad",
        "Interrogate": "interrogate",
        "LexicalProposer": "proposers.lexical",
        "LinearDuel": "linear_duel",
        "ListsProposer": "proposers.lists",
        "MapElites": "map_elites",
        "Mipro": "mipro",
        "Opro": "opro",
        "PartByPart": "part_by_part",
        "Pez": "pez",
        "PreferentialBO": "preferential_bo",
        "ProApo": "proapo",
        "ProTeGi": "protegi",
        "Racing": "racing",
        "RandomDuels": "random_duel",
        "RandomSearch": "random_search",
    },
)
