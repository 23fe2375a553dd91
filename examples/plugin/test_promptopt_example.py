"""The shipped contract suites, applied to the plug-in's parts: subclass, say how to make one, done."""

from promptopt_example import Brevity, Echo, Shorten

from promptopt.core import Example
from promptopt.testing.contracts import OptimizerContract, ScorerContract, TargetContract


class TestBrevity(ScorerContract):
    def make(self):
        return Brevity(words=3)


class TestEcho(TargetContract):
    bad_prompts = ("", " ")

    def make(self):
        return Echo()

    def examples(self):
        return [Example("1", "one", "one"), Example("2", "two", "two")]


class TestShorten(OptimizerContract):
    start = ("a photo of a very small {} on a table",)

    def make(self):
        return Shorten()
