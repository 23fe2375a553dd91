"""Optimizers: what searches prompt space. One file per algorithm."""

from .hill_climb import HillClimb
from .proposers.lexical import LexicalProposer
from .random_search import RandomSearch

__all__ = ["HillClimb", "LexicalProposer", "RandomSearch"]
