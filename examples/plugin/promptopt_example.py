"""Three parts for promptopt, each as small as it can be: nothing to inherit, only the methods that a run calls."""

from collections.abc import Iterator, Sequence

from promptopt.core import Example, Prompt, Rate, Rating, Setup


class Brevity:
    """A scorer: 1 for a prompt of ``words`` words or fewer, less for longer ones.

    Args:
        words: how long a prompt may be.
    """

    question = Rate

    def __init__(self, *, words: int = 5) -> None:
        self.words = words

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Rate prompts one by one."""
        for question in questions:
            yield Rating(min(1.0, self.words / max(1, len(question.prompt.text.split()))))


class Echo:
    """A target: answers with the prompt and the example's input. Its default metric is ``contains``."""

    metric = "contains"

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """An empty prompt cannot be run."""
        return None if prompt.text.strip() else "the prompt is empty"

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        """One text per example."""
        return [f"{prompt.text} {example.input}" for example in examples]


class Shorten:
    """An optimizer: drops one word of the best prompt at a time, in random order, for as long as that helps."""

    question = Rate

    def begin(self, setup: Setup, /) -> None:
        """Start from the first prompt."""
        self._rng = setup.rng()
        self._problem_with = setup.problem_with
        self._best, self._rating = setup.start[0], Rating(float("-inf"))
        self._batch = [self._best]

    def ask(self) -> list[Rate]:
        """The start, then every way to drop one word of the incumbent; empty when none was better."""
        return [Rate(prompt) for prompt in self._batch]

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Keep what is better; a tie displaces nothing."""
        before = self._best
        for question, rating in answered:
            if rating.rank > self._rating.rank:
                self._best, self._rating = question.prompt, rating
        improved = self._best != before or self._batch == [before]
        self._batch = self._shorter() if improved else []

    def best(self) -> Prompt:
        """The highest rated so far."""
        return self._best

    def _shorter(self) -> list[Prompt]:
        words = self._best.text.split()
        order = self._rng.permutation(len(words))
        prompts = [Prompt(" ".join(words[:i] + words[i + 1 :]), {"parents": [self._best.text]}) for i in order]
        return [prompt for prompt in prompts if prompt.text and self._problem_with(prompt) is None]
