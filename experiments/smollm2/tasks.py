"""Tasks with classes: the reviews that come along, and short texts made by rule.

Every task has examples in a fixed order, in which any first part is as balanced as it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from promptopt.core import Example
from promptopt.data.reviews import reviews

__all__ = ["TASKS", "Task"]

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


def some(texts: Sequence[str], n: int) -> list[str]:
    """So many of the texts, drawn once and for all."""
    unique = sorted(set(texts))
    return [unique[i] for i in np.random.default_rng(1).permutation(len(unique))[:n]]


WORDS = {
    "animal": "dog cat horse cow sheep goat lion tiger bear wolf fox deer rabbit mouse elephant giraffe zebra monkey "
    "whale dolphin shark eagle owl parrot penguin duck frog snake lizard turtle camel kangaroo otter beaver squirrel "
    "hamster donkey pig salmon crow",
    "food": "bread cheese butter rice pasta pizza soup salad steak bacon sausage pancake waffle cookie cake pie honey "
    "yogurt omelette sandwich burger noodles curry porridge chocolate biscuit muffin pudding lasagna stew toast cereal "
    "jam ketchup mustard popcorn dumpling taco risotto pretzel",
    "sport": "tennis football soccer hockey golf rugby cricket baseball basketball volleyball swimming boxing wrestling "
    "judo karate fencing archery rowing sailing surfing skiing snowboarding skating cycling gymnastics badminton squash "
    "handball polo lacrosse softball bowling curling diving triathlon marathon weightlifting billiards darts climbing",
    "tool": "hammer saw screwdriver wrench drill pliers chisel axe shovel rake hoe ladder clamp file crowbar sander "
    "trowel mallet sickle scythe pickaxe lathe anvil tweezers scissors shears hacksaw vise ruler spanner plane awl "
    "jigsaw spade pitchfork level soldering-iron stapler wheelbarrow sledgehammer",
    "vehicle": "car bus train tram truck van bicycle motorcycle scooter tractor boat ship ferry canoe yacht submarine "
    "airplane helicopter glider rocket taxi ambulance limousine minivan jeep lorry moped sled gondola kayak tanker "
    "hovercraft wagon carriage tricycle bulldozer subway speedboat monorail raft",
    "plant": "oak pine maple birch willow tulip rose daisy lily orchid cactus fern moss ivy bamboo sunflower daffodil "
    "lavender violet poppy cedar elm ash palm spruce clover dandelion thistle nettle reed jasmine magnolia hibiscus "
    "geranium marigold heather juniper cypress eucalyptus begonia",
}


def questions() -> dict[str, list[str]]:
    """Questions by what their answer is, said in several ways."""
    makers = ["the steam engine", "the telephone", "this bridge", "the opera Carmen", "the novel Emma", "the light bulb",
              "the statue in the park", "our school song", "the first computer", "this recipe"]  # fmt: skip
    sights = ["the Eiffel Tower", "the Amazon river", "the largest desert", "the old library", "Mount Everest",
              "the head office", "the Golden Gate", "the next Olympics", "the lost city", "our meeting"]  # fmt: skip
    events = ["the war end", "the museum open", "the train leave", "the first man land on the moon", "the Titanic sink",
              "the wall fall", "the shop close", "the concert begin", "the volcano erupt", "the king die"]  # fmt: skip
    counts = ["legs does a spider have", "players are in a team", "days are in a leap year", "people live in Rome",
              "strings does a violin have", "states are in the union", "pages are in the book", "moons does Mars have",
              "cups are in a liter", "teeth does an adult have"]  # fmt: skip
    return {
        "person": [f"{how} {what}?" for how, what in product(
            ["Who made", "Who paid for", "Do you know who designed", "Which woman is known for", "Name the owner of",
             "Whose idea was", "Who is the author of", "Who was responsible for"], makers)],
        "place": [f"{how} {what}?" for how, what in product(
            ["Where is", "In which country is", "Which city is closest to", "Do you know where to find", "What is the address of",
             "On which continent is", "Where can I see", "Which region is home to"], sights)],
        "time": [f"{how} {what}?" for how, what in product(
            ["When did", "In which year did", "On what date did", "Do you know when", "At what hour did",
             "In which month did", "Which century saw", "What day did"], events)],
        "number": [f"{how} {what}?" for how, what in product(
            ["How many", "Do you know how many", "Can you count how many", "Please tell me how many", "Exactly how many",
             "About how many", "I wonder how many", "Guess how many"], counts)],
    }  # fmt: skip


LANGUAGES = {
    "English": "house water bread night window street friend morning winter school child mother kitchen forest knife cheese "
    "butter horse island bridge church garden summer letter mouth shoulder heart evening river mountain yellow black white "
    "seven eight always never because tomorrow yesterday",
    "French": "maison eau pain nuit fenêtre rue ami matin hiver école enfant mère cuisine forêt couteau fromage beurre cheval "
    "île pont église jardin été lettre bouche épaule cœur soir rivière montagne jaune noir blanc sept huit toujours jamais "
    "parce demain hier",
    "German": "Haus Wasser Brot Nacht Fenster Straße Freund Morgen Winterzeit Schule Kind Mutter Küche Wald Messer Käse Butterbrot "
    "Pferd Insel Brücke Kirche Garten Sommerzeit Brief Mund Schulter Herz Abend Fluss Berg gelb schwarz weiß sieben acht immer "
    "niemals weil übermorgen gestern",
    "Spanish": "casa agua pan noche ventana calle amigo mañana invierno escuela niño madre cocina bosque cuchillo queso "
    "mantequilla caballo isla puente iglesia jardín verano carta boca hombro corazón tarde río montaña amarillo negro blanco "
    "siete ocho siempre nunca porque pasado ayer",
}

CONTINENTS = {
    "Africa": "Nigeria Kenya Egypt Ghana Morocco Ethiopia Uganda Algeria Tunisia Senegal Mali Zambia Angola Rwanda Somalia "
    "Sudan Cameroon Tanzania Zimbabwe Botswana Namibia Mozambique Madagascar Libya Niger Chad Gabon Malawi Burundi Togo Benin "
    "Liberia Eritrea Djibouti Lesotho Gambia Mauritania Congo Guinea Eswatini",
    "Asia": "China Japan India Thailand Vietnam Indonesia Malaysia Nepal Pakistan Bangladesh Iran Iraq Korea Mongolia Laos "
    "Cambodia Myanmar Philippines Singapore Taiwan Kazakhstan Uzbekistan Afghanistan Bhutan Syria Jordan Lebanon Yemen Oman "
    "Qatar Kuwait Bahrain Maldives Brunei Tajikistan Kyrgyzstan Turkmenistan Israel Tibet Palestine",
    "Europe": "France Germany Spain Italy Portugal Sweden Norway Denmark Finland Poland Austria Hungary Greece Ireland Iceland "
    "Belgium Netherlands Switzerland Romania Bulgaria Croatia Serbia Slovakia Slovenia Latvia Lithuania Estonia Ukraine Malta "
    "Albania Luxembourg Monaco Andorra Moldova Belarus Bosnia Montenegro Macedonia Scotland Wales",
    "America": "Brazil Argentina Chile Peru Mexico Canada Cuba Bolivia Colombia Venezuela Ecuador Paraguay Uruguay Guatemala "
    "Honduras Nicaragua Panama Jamaica Haiti Belize Guyana Suriname Barbados Bahamas Trinidad Grenada Dominica Alaska Texas "
    "California Florida Quebec Ontario Yucatan Patagonia Nevada Oregon Ohio Virginia Utah",
}

FEELINGS = {
    "positive": "wonderful delightful charming brilliant cheerful excellent superb lovely amazing fantastic pleasant "
    "generous kind friendly honest brave graceful gentle loyal joyful hopeful grateful delicious refreshing splendid elegant "
    "radiant triumphant reliable thoughtful caring inspiring comfortable peaceful proud lucky healthy safe clever helpful "
    "admirable beautiful witty enjoyable impressive magnificent marvelous polite sincere skilled smooth sunny "
    "talented thrilling trustworthy useful valuable victorious vibrant welcoming wise",
    "negative": "terrible awful horrible nasty cruel boring dreadful disgusting lousy poor ugly rude selfish dishonest cowardly "
    "clumsy harsh hostile miserable hopeless bitter rotten stale filthy broken gloomy tragic unreliable careless greedy "
    "depressing painful angry ashamed unlucky sick dangerous stupid useless pathetic annoying arrogant corrupt deadly defective "
    "disappointing evil faulty foolish frightening grim hateful inferior jealous lazy messy noisy offensive poisonous sad "
    "shameful toxic vicious worthless",
}


def listed(lists: Mapping[str, str]) -> dict[str, list[str]]:
    """Words by class."""
    return {name: text.split() for name, text in lists.items()}


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
            "category", tuple(WORDS), lambda: listed(WORDS), "word", "category",
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
            "question", ("person", "place", "time", "number"), questions, "question", "type of the answer",
            (
                "Classify the answer to the question as person, place, time or number.",
                "What does the question ask for?",
                "Is the answer a person, a place, a time or a number?",
                "What kind of answer is expected?",
                "Say person for who, place for where, time for when, and number for how many.",
                "Do not answer the question. Say what kind of answer it needs.",
                "What would the answer be?",
                "The asker wants to know a",
                "Which type of entity would answer this?",
                "Sort the question: who, where, when or how many.",
            ),
        ),
        Task(
            "language", tuple(LANGUAGES), lambda: listed(LANGUAGES), "word", "language",
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
            "continent", tuple(CONTINENTS), lambda: listed(CONTINENTS), "place", "continent",
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
            "feeling", tuple(FEELINGS), lambda: listed(FEELINGS), "word", "tone",
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
