"""The words of the instructions and what each is worth.

A word's worth is added to the care with which a question is worked on. About a tenth of the words help: some on every
task, most on one. About a tenth hurt. The others mean nothing.
"""

from __future__ import annotations

from promptopt.data.reasoning import TASKS

Worth = dict[str, float]

HELPFUL: Worth = {
    "step": 0.55, "carefully": 0.5, "reason": 0.5, "explain": 0.4, "thoroughly": 0.45, "methodically": 0.45,
    "slowly": 0.35, "verify": 0.4, "systematically": 0.4, "detailed": 0.4, "patient": 0.35, "rigorous": 0.45,
    "diligent": 0.35, "reflect": 0.35, "elaborate": 0.4, "intermediate": 0.5, "derivation": 0.45, "auditor": 0.4,
}  # fmt: skip
HELPFUL_ON: dict[str, Worth] = {
    "arithmetic": {"total": 0.8, "add": 0.555, "numerically": 0.555, "accountant": 0.55},
    "navigation": {"position": 0.8, "track": 0.555, "spatially": 0.555, "navigator": 0.55},
    "boolean": {"logic": 0.8, "simplify": 0.555, "formally": 0.555, "logician": 0.55},
    "counting": {"list": 0.8, "tick": 0.555, "separately": 0.555, "clerk": 0.55},
    "swapping": {"trace": 0.8, "follow": 0.555, "attentively": 0.555, "observer": 0.55},
    "comparing": {"candidate": 0.8, "compare": 0.555, "pairwise": 0.555, "referee": 0.55},
}
HARMFUL: Worth = {
    "guess": -0.8, "immediately": -0.7, "quickly": -0.7, "briefly": -0.6, "skip": -0.6, "hurry": -0.6,
    "instantly": -0.6, "shortcut": -0.5, "roughly": -0.5, "casually": -0.4, "lazy": -0.5, "hasty": -0.5,
    "short": -0.4, "rapid": -0.5, "instinct": -0.5, "intuitively": -0.4, "summarize": -0.4, "vague": -0.4,
    "sloppy": -0.6, "gambler": -0.5, "carelessly": -0.6, "brief": -0.4, "rough": -0.4, "hunch": -0.5,
    "abruptly": -0.4, "rush": -0.6, "bluntly": -0.3, "superficial": -0.5, "headline": -0.3, "impatient": -0.5,
}  # fmt: skip

VERBS = """
answer solve think work respond reply choose determine handle complete finish approach address discuss describe state
present report provide produce return offer name tell say note keep use take make try look start begin continue review
consider examine study decide give find read write show check prepare deliver share suggest imagine remember introduce
clarify treat interpret resolve settle plan step reason explain verify add track simplify list tick trace follow
compare guess skip hurry rush summarize reflect elaborate
""".split()
ADVERBS = """
please well now here properly politely kindly honestly freely calmly gladly nicely clearly simply directly openly
quietly warmly firmly gently boldly proudly plainly neatly happily seriously cleverly wisely naturally normally
usually generally basically finally again together alone today friendly smoothly softly eagerly sincerely confidently
humbly faithfully fairly elegantly correctly truly fully actively publicly personally professionally warily carefully
thoroughly slowly systematically numerically spatially formally separately attentively pairwise immediately quickly
briefly instantly roughly casually intuitively carelessly abruptly bluntly methodically
""".split()
ADJECTIVES = """
good great nice kind helpful honest clever smart wise calm happy friendly polite modern simple plain clear correct
final right true best usual normal common proper suitable useful relevant main real whole single own new old little
big famous young senior trusted creative gentle bold quiet strong fresh bright formal popular native local global
official general basic personal public original typical detailed patient lazy hasty short rapid vague sloppy brief
rough superficial impatient rigorous diligent intermediate
""".split()
NOUNS = """
answer result solution value response reply statement sentence paragraph text message summary fact idea thought view
opinion word phrase line page note report letter story case example detail point part piece thing matter topic subject
issue reply choice option outcome conclusion truth sense knowledge skill experience style tone language english format
option way method manner rule guide help advice effort talent power wisdom step total position logic list trace
candidate shortcut instinct hunch headline derivation
""".split()
ROLES = """
assistant expert teacher student friend doctor writer scientist engineer professor helper tutor coach guide person
robot machine colleague neighbour lawyer pilot artist manager player singer farmer accountant navigator logician clerk
observer referee gambler auditor
""".split()
OBJECTS = ("it", "this", "the question", "the problem", "the task", "the puzzle", "the exercise", "everything", "them")
SMALL = ("a", "an", "the", "your", "every", "each", "one", "some", "any", "this", "that", "and", "then", "so", "but",
         "with", "in", "by", "to", "for", "of", "be", "you", "are", "as", "like", "it", "them", "everything",
         "question", "problem", "task", "puzzle", "exercise", "step")  # fmt: skip
MARKS = (".", ",")
SLOTS = {"verb": VERBS, "adverb": ADVERBS, "adjective": ADJECTIVES, "noun": NOUNS, "role": ROLES}
WORDS = tuple(sorted({*SMALL, *(word for words in SLOTS.values() for word in words)}))
CAPITALISED = tuple(
    sorted({word.capitalize() for word in [*VERBS, *ADVERBS, "with", "be", "you", "then", "so", "but"]})
)


def worth(task: str) -> Worth:
    """What each word that means anything is worth on a task."""
    return HELPFUL | HELPFUL_ON[task] | HARMFUL


def useful() -> set[str]:
    """The words that help on some task."""
    return set(HELPFUL).union(*(HELPFUL_ON[task] for task in TASKS))
