"""Tasks with classes: the reviews that come along, and short texts made by rule.

Every task has examples in a fixed order, in which any first part is as balanced as it can be.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptopt.core import Example
from promptopt.data.reviews import reviews

__all__ = ["INPUT_FIRST", "TASKS", "Task"]

INPUT_FIRST = "{thing}: {{input}}\n{{prompt}}\nAnswer:"
PROMPT_FIRST = "{{prompt}}\n{thing}: {{input}}\nAnswer:"


@dataclass(frozen=True)
class Task:
    """What a prompt is for.

    Attributes:
        classes: each its own label, as the model is to say it.
        make: gives the texts of each class.
        thing: what a text is called in prompts.
        aspect: what is asked about it.
        written: instructions that are the task's own; the first is what somebody would write before trying anything.
        order: where the prompt stands: what is short comes last, since the other is read once.
    """

    name: str
    classes: tuple[str, ...]
    make: Callable[[], dict[str, list[str]]]
    thing: str
    aspect: str
    written: tuple[str, ...]
    order: str = PROMPT_FIRST

    @property
    def template(self) -> str:
        """Of ``local-lm``, without the model's chat template."""
        return self.order.format(thing=self.thing.capitalize())

    def examples(self, most: int = 320) -> list[Example]:
        """So many examples at most, as many of each class, the classes in turns."""
        texts = self.make()
        rng = np.random.default_rng(0)
        shuffled = [[texts[name][i] for i in rng.permutation(len(texts[name]))] for name in self.classes]
        rows = [
            Example(f"{self.name}/{label}/{n}", text, label)
            for n, row in enumerate(zip(*shuffled, strict=False))
            for label, text in zip(self.classes, row, strict=True)
        ]
        return rows[: most - most % len(self.classes)]

    @property
    def pool(self) -> list[str]:
        """The prompts, the starting one first: the task's own, then the forms that all tasks share."""
        *firsts, last = self.classes
        words = {"thing": self.thing, "aspect": self.aspect, "labels": f"{', '.join(firsts)} or {last}"}
        words["Aspect"] = self.aspect.capitalize()
        shared = [form.format(**words) for form in FORMS]
        return list(dict.fromkeys([*self.written, *(form[0].upper() + form[1:] for form in shared)]))


FORMS = (
    "Label the {thing} with one of: {labels}.",
    "Choose the right label: {labels}.",
    "Pick one: {labels}.",
    "Categorize the {thing}.",
    "Tell me the {aspect}.",
    "Name the {aspect} of the {thing}.",
    "Give the {aspect} in one word.",
    "Answer with one word: {labels}.",
    "Reply with {labels}, nothing else.",
    "Read the {thing} carefully and say {labels}.",
    "What is the {aspect}?",
    "What is the {aspect} of this {thing}?",
    "Which is it: {labels}?",
    "How would you label this?",
    "Please classify the {thing}.",
    "You are an expert. Name the {aspect}.",
    "As a careful annotator, label this {thing}.",
    "A helpful assistant names the {aspect}.",
    "Your task is to find the {aspect}.",
    "Think step by step, then give the {aspect}.",
    "Take a deep breath and choose {labels}.",
    "Do not explain. {labels}?",
    "{Aspect}:",
    "Label:",
    "Answer:",
    "The {aspect} is",
    "This is",
    "Respond.",
    "{labels}?",
    "Options: {labels}.",
)
"""What people write for any such task: orders, questions, manners, roles, and hardly anything."""


# ── Texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def shipped(task: str) -> dict[str, list[str]]:
    """The reviews of the package, by class."""
    data = reviews(task=task, shots=1)  # type: ignore[arg-type]
    texts: dict[str, list[str]] = {name: [] for name in data.classes}
    for example in sorted((*data.train, *data.test), key=lambda one: int(one.id.rpartition("/")[2])):
        texts[example.label].append(example.input)
    return texts


WORDS = tomllib.loads((Path(__file__).resolve().parent / "words.toml").read_text(encoding="utf-8"))


def words(task: str) -> dict[str, list[str]]:
    """The words of a task, by class."""
    return {name: text.split() for name, text in WORDS[task].items()}


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TASKS = {
    task.name: task
    for task in (
        Task(
            "sentiment", ("positive", "negative"), lambda: shipped("sentiment"), "review", "sentiment",
            (
                "Classify the sentiment as positive or negative.",
                "Is this review positive or negative?",
                "What does the reviewer feel?",
                "Did the customer like it?",
                "Decide whether the customer was happy (positive) or unhappy (negative).",
                "Sentiment analysis. Label the review positive or negative.",
                "Would this reviewer recommend it?",
                "Say positive if the writer is pleased, and negative if not.",
                "Was it a good or a bad experience?",
                "Overall, the writer's opinion is",
            ),
            INPUT_FIRST,
        ),
        Task(
            "topic", ("food", "film", "gadget", "hotel", "service", "book", "clothes", "travel"),
            lambda: shipped("topic"), "review", "topic",
            (
                "Classify the topic of the review as food, film, gadget, hotel, service, book, clothes or travel.",
                "What is this review about?",
                "What was bought?",
                "What kind of thing is reviewed?",
                "Which kind of product or place is it?",
                "In one word, the subject is",
                "Sort the review into a section of the site.",
                "Name the kind of business.",
                "The writer is talking about a",
                "Choose the department that should read this.",
            ),
            INPUT_FIRST,
        ),
        Task(
            "category", tuple(WORDS["category"]), lambda: words("category"), "word", "category",
            (
                "Classify the word as animal, food, sport, tool, vehicle or plant.",
                "What kind of thing is it?",
                "What is it?",
                "Name the group that this word belongs to.",
                "Can it be eaten, played, driven, used or grown, or is it an animal?",
                "Which word names a larger group with this in it?",
                "Give a more general word.",
                "It is a kind of",
                "Sort this into its shelf.",
                "What would a dictionary say it is?",
            ),
        ),
        Task(
            "language", tuple(WORDS["language"]), lambda: words("language"), "word", "language",
            (
                "Classify the word as English, French, German or Spanish.",
                "Which language is this?",
                "What language does the word come from?",
                "Where do people say this?",
                "Name the language of the word below.",
                "Detect the language.",
                "The following word is written in",
                "Say which of these it is: English, French, German, Spanish.",
                "A translator would need to know",
                "Which dictionary do I need?",
            ),
        ),
        Task(
            "continent", tuple(WORDS["continent"]), lambda: words("continent"), "place", "continent",
            (
                "Classify the continent of the place as Africa, Asia, Europe or America.",
                "Which continent is it in?",
                "Where is it?",
                "On which continent does this place lie?",
                "Which part of the world is that?",
                "Geography quiz: name the continent.",
                "Where would I have to fly?",
                "It is a place in",
                "Say Africa, Asia, Europe or America.",
                "Find it on the map.",
            ),
        ),
        Task(
            "feeling", tuple(WORDS["feeling"]), lambda: words("feeling"), "word", "tone",
            (
                "Classify the word as positive or negative.",
                "Is this word positive or negative?",
                "Does it sound good or bad?",
                "Would you like to be called that?",
                "Say positive for praise and negative for blame.",
                "Is it a compliment or an insult?",
                "How does the word feel?",
                "Sentiment of the word:",
                "A review that says so is",
                "Rate the word.",
            ),
        ),
    )
}  # fmt: skip
