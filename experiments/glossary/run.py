"""What texts per class are worth on the glossary: names, templates, definitions, lists, controls, and linear probes.

    python experiments/glossary/run.py --seeds 10 --out experiments/glossary

A seed draws the images, and the random words of the controls. Prints the tables of README.md in Markdown and writes
``results.json`` and the list of sentences, ``descriptors.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from promptopt.core import Dataset
from promptopt.data.glossary import KINDS, MEANINGS, NAMES, descriptors, glossary
from promptopt.stats import t_interval
from promptopt.targets.clip.images import ImageFeatures
from promptopt.targets.clip.models import load
from promptopt.targets.clip.text import TextEncoder

HERE = Path(__file__).parent
PHRASES = HERE.parents[1] / "promptopt" / "embedded" / "phrases.toml"
DOZEN = (
    "{}", "a {}", "the {}", "a photo of a {}", "a photo of the {}", "a picture of a {}", "an image of a {}",
    "a drawing of a {}", "a sketch of a {}", "an icon of a {}", "a close up of a {}", "a photo of a small {}",
)  # fmt: skip
PLAIN = "a photo of a {}"
ALONE = "{sentence}"
FORMS = {
    "`SENTENCE`": ALONE, "`a photo of SENTENCE`": "a photo of {sentence}",
    "`NAME: SENTENCE`": "{name}: {sentence}", "`NAME, SENTENCE`": "{name}, {sentence}",
    "`a NAME, which is SENTENCE`": "a {name}, which is {sentence}",
    "`a photo of a NAME, SENTENCE`": "a photo of a {name}, {sentence}",
}  # fmt: skip
WAFFLES = 12  # random texts a class, as many as a class has sentences
SHOTS = (1, 2, 4, 16)
DEV, TEST = 8, 960
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # inverse regularisation of the probe, chosen on the dev images

Texts = Mapping[str, Sequence[str]]  # of each class


class Model:
    """The embedded CLIP's two towers: the pieces of the target ``clip``."""

    def __init__(self) -> None:
        loaded = load("embedded", None, device="cpu")
        assert loaded is not None
        self._texts = TextEncoder(loaded.model, loaded.tokenizer)
        self._images = ImageFeatures(loaded.model, config=loaded.config, batch_size=64, cache=None)

    def images(self, examples: Sequence[Any]) -> np.ndarray:
        """``(n_examples, dim)``, of length one."""
        return self._images.of(examples).numpy()

    def classes(self, texts: Texts) -> np.ndarray:
        """``(n_classes, dim)``: the mean of a class's texts, of length one."""
        flat = [text for name in NAMES for text in texts[name]]
        assert max(self._texts.lengths(flat)) <= self._texts.context
        parts = self._texts.encode(flat).split([len(texts[name]) for name in NAMES])
        return torch.nn.functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1).numpy()


# ── Texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def templated(template: str) -> Texts:
    """A template filled with the names."""
    return {name: [template.replace("{}", name)] for name in NAMES}


def formed(form: str, kinds: Sequence[str]) -> Texts:
    """Every sentence of these kinds in a form."""
    return {
        name: [form.format(name=name, sentence=sentence) for sentence in said]
        for name, said in descriptors(kinds=kinds).items()
    }


def misdealt(seed: int) -> Texts:
    """The definitions, each given to another class."""
    order = random.Random(seed).sample(NAMES, len(NAMES))
    return {name: [MEANINGS[order[i - 1]].definition] for i, name in enumerate(order)}


def waffle(seed: int, *, shared: bool) -> Texts:
    """Names behind which two random phrases of the captions stand: the same ones for all classes, or not."""
    rng, slots = random.Random(seed), tomllib.loads(PHRASES.read_text(encoding="utf-8"))
    words = [*slots["adjectives"], *slots["nouns"]]
    drawn = [[" ".join(rng.sample(words, 2)) for _ in range(WAFFLES)] for _ in NAMES]
    return {
        name: [f"a photo of a {name}, {said}" for said in drawn[0 if shared else k]] for k, name in enumerate(NAMES)
    }


# ── Measurements ──────────────────────────────────────────────────────────────────────────────────────────────────


class Draw:
    """One seed's images as features, with labels as indices."""

    def __init__(self, model: Model, seed: int) -> None:
        data: Dataset = glossary(shots=max(SHOTS), dev=DEV, test=TEST, seed=seed)
        self.model, self.seed = model, seed
        splits = {"train": data.train, "dev": data.dev, "test": data.test}
        self.x = {split: model.images(examples) for split, examples in splits.items()}
        self.y = {split: np.array([NAMES.index(e.label) for e in some]) for split, some in splits.items()}
        self.number = np.array([int(example.id.rpartition("/")[2]) for example in data.train])

    def shots(self, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """The first training images of each class: features and labels."""
        few = self.number < shots
        return self.x["train"][few], self.y["train"][few]

    def predicted(self, texts: Texts) -> np.ndarray:
        """``(n_test,)`` classes."""
        return (self.x["test"] @ self.model.classes(texts).T).argmax(axis=1)

    def accuracy(self, texts: Texts) -> float:
        """In percent, on the test images."""
        return 100 * float((self.predicted(texts) == self.y["test"]).mean())

    def best_template(self, shots: int) -> float:
        """Test accuracy of the template of the dozen that is best on the shots; the first of equals."""
        x, y = self.shots(shots)
        filled = [templated(template) for template in DOZEN]
        right = [((x @ self.model.classes(texts).T).argmax(axis=1) == y).sum() for texts in filled]
        return self.accuracy(filled[int(np.argmax(right))])

    def probe(self, shots: int) -> float:
        """Logistic regression on the images' features."""
        x, y = self.shots(shots)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The number of unique classes")  # one shot is few, and meant
            fitted = [LogisticRegression(C=strength, max_iter=2000).fit(x, y) for strength in STRENGTHS]
        best = max(fitted, key=lambda one: one.score(self.x["dev"], self.y["dev"]))
        return 100 * float(best.score(self.x["test"], self.y["test"]))


def sentences(form: str, *kinds: str) -> Measure:
    """The row of these kinds of sentences in a form."""
    return lambda draw: draw.accuracy(formed(form, kinds))


def probed(shots: int) -> Measure:
    """The row of a probe."""
    return lambda draw: draw.probe(shots)


Measure = Callable[[Draw], float]
ROWS: dict[str, Measure] = {
    "`{}`: names alone": lambda draw: draw.accuracy(templated("{}")),
    "`a photo of a {}`": lambda draw: draw.accuracy(templated(PLAIN)),
    "best of a dozen templates, chosen at 1 shot": lambda draw: draw.best_template(1),
    "best of a dozen templates, chosen at 16 shots": lambda draw: draw.best_template(16),
    "best of a dozen templates, chosen on the test images": lambda draw: max(
        draw.accuracy(templated(template)) for template in DOZEN
    ),
    "waffle: names with random words, the same for all classes": lambda draw: draw.accuracy(
        waffle(draw.seed, shared=True)
    ),
    "names with random words, other ones for each class": lambda draw: draw.accuracy(waffle(draw.seed, shared=False)),
    "definitions of other classes": lambda draw: draw.accuracy(misdealt(draw.seed)),
    **{f"definition as {shown}": sentences(form, "definition") for shown, form in FORMS.items()},
    **{f"mean of the {kind} sentences": sentences(ALONE, kind) for kind in KINDS[1:]},
    "mean of the definition and the partial sentences": sentences(ALONE, "definition", "partial"),
    "mean of the whole list": sentences(ALONE, *KINDS),
    "mean of the whole list as `a NAME, which is SENTENCE`": sentences("a {name}, which is {sentence}", *KINDS),
    **{f"linear probe, images a class: {shots}": probed(shots) for shots in SHOTS},
}


def mistakes(draw: Draw, kind: str) -> dict[str, float]:
    """How often the class that sentences of a kind give is wrong in an attribute, in percent of the test images."""
    predicted, truth = draw.predicted(formed(ALONE, [kind])), draw.y["test"]
    pairs = [(MEANINGS[NAMES[t]], MEANINGS[NAMES[p]]) for t, p in zip(truth, predicted, strict=True)]
    wrong = {
        "shape": [one.shape != other.shape for one, other in pairs],
        "colouring": [one[1:3] != other[1:3] for one, other in pairs],
        "texture": [one.texture != other.texture for one, other in pairs],
    }
    return {attribute: 100 * float(np.mean(found)) for attribute, found in wrong.items()}


def cell(values: Sequence[float]) -> str:
    """Mean and 95% t interval."""
    numbers = np.asarray(values)
    low, high = t_interval(numbers)
    return f"{numbers.mean():.1f} ({low:.1f} to {high:.1f})"


def tables(results: Mapping[str, Any]) -> str:
    """The tables of README.md."""
    lines = ["| what | accuracy, % |", "|---|---|"]
    lines += [f"| {name} | {cell(values)} |" for name, values in results["accuracy"].items()]
    lines += ["", f"| wrong in | {' | '.join(results['wrong'])} |", "|---" * (1 + len(results["wrong"])) + "|"]
    for attribute in next(iter(results["wrong"].values())):
        shares = [cell(found[attribute]) for found in results["wrong"].values()]
        lines.append(f"| {attribute} | {' | '.join(shares)} |")
    return "\n".join(lines)


def measure(draws: Sequence[Draw]) -> dict[str, Any]:
    """All numbers, draw by draw."""
    results: dict[str, Any] = {
        "accuracy": {name: [round(row(draw), 2) for draw in draws] for name, row in ROWS.items()},
        "wrong": {},
    }
    for kind in ("definition", "partial"):
        found = [mistakes(draw, kind) for draw in draws]
        results["wrong"][kind] = {name: [round(one[name], 2) for one in found] for name in found[0]}
    return results


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="at least 2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = Model()
    results = measure([Draw(model, seed) for seed in range(arguments.seeds)])
    print(tables(results))
    if arguments.out:
        for name, content in (("results.json", results), ("descriptors.json", descriptors())):
            (arguments.out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
