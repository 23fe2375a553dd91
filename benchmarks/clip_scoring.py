"""How fast prompts are scored with CLIP, and whether anything is lost by it.

    python benchmarks/clip_scoring.py [--quick]

Three ways to the same class probabilities, on the same images, whose features are there already:

    released   one template at a time, one ``encode_text`` call each, at full context (open_clip's zero-shot classifier)
    plain      all templates x classes in batches through ``encode_text``, at full context
    promptopt  ``Clip.run_batch``

Tokenisation counts in all of them. A repeat runs the three one after the other on the same templates, and each repeat
takes other templates; rates and ratios are medians over the repeats. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from rich.console import Console
from rich.table import Table

from promptopt.core import Example, Prompt
from promptopt.data.digits import CLASSES as DIGITS
from promptopt.data.digits import digits
from promptopt.targets.clip import Clip
from promptopt.targets.clip.text import TextEncoder

FRAMES = (
    "a photo of a {}|a blurry picture of the {}|a drawing of one small {}|the {} as people know it|a close-up of my {}|"
    "this is a {}|a low resolution photo of many {}|itap of the large {}|a {} that was seen|an old sketch of a {}"
).split("|")
ENDINGS = (
    "in the dark|, a type of thing|on white paper|from far away|, taken indoors with a flash|in a video game|"
    "on a table at night|, black and white|behind a dirty window|, a handwritten note"
).split("|")
WORDS = (
    "red blue small old wooden golden wild young river mountain dog cat bird fish horse car boat train lamp table "
    "chair house tree flower stone cup plate spoon knife book clock phone guitar drum hat shoe coat glove ring bridge"
).split()
PLAIN_BATCH = 256


def templates(n: int = 50) -> list[str]:
    """Templates of 5 to 12 words, in a fixed random order."""
    every = [f"{frame} {ending}".replace(" ,", ",") for frame in FRAMES for ending in ENDINGS]
    fitting = [one for one in every if 5 <= len(one.split()) <= 12]
    return random.Random(0).sample(fitting, n)


def class_names(n: int) -> list[str]:
    """The digits, then made-up names of 1 to 3 words."""
    rng, names = random.Random(0), dict.fromkeys(DIGITS)
    while len(names) < n:
        names[" ".join(rng.sample(WORDS, rng.choice([1, 2, 2, 3])))] = None
    return list(names)[:n]


class Ways:
    """The three ways, for one model and one number of classes. Each gives log-probabilities, a row per image."""

    def __init__(self, target: Clip, examples: Sequence[Example], image_features: torch.Tensor) -> None:
        self.target = target
        self.examples = examples
        self.images = image_features
        self.scale = target.model.logit_scale.exp().item()
        self.features = torch.empty(0)  # of the last batch of ``plain``

    def released(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        return [self._rows(self._zero_shot(text)) for text in texts]

    def plain(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        filled = self._filled(texts)
        with torch.inference_mode():
            batches = [filled[i : i + PLAIN_BATCH] for i in range(0, len(filled), PLAIN_BATCH)]
            rows = [self.target.model.encode_text(self.target.tokenizer(batch), normalize=True) for batch in batches]
        self.features = torch.cat(rows)
        return [self._rows(weights) for weights in self.features.view(len(texts), len(self.target.classes), -1)]

    def promptopt(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        rows = self.target.run_batch([Prompt(text) for text in texts], self.examples)
        return [np.asarray(one) for one in rows]

    def difference(self, texts: Sequence[str]) -> float:
        """The largest relative difference between our features and those that ``plain`` has just computed."""
        found = TextEncoder(self.target.model, self.target.tokenizer).encode(self._filled(texts))
        return float(((found - self.features).norm(dim=-1) / self.features.norm(dim=-1)).max())

    def tokens(self, texts: Sequence[str]) -> float:
        """Tokens of a text on average."""
        encoder = TextEncoder(self.target.model, self.target.tokenizer)
        return float(np.mean(encoder.lengths(self._filled(texts))))

    def _filled(self, texts: Sequence[str]) -> list[str]:
        return [text.replace("{}", name) for text in texts for name in self.target.classes]

    def _zero_shot(self, text: str) -> torch.Tensor:
        model, tokenizer = self.target.model, self.target.tokenizer
        weights: torch.Tensor = open_clip.build_zero_shot_classifier(
            model, tokenizer, self.target.classes, [text], num_classes_per_batch=None
        )
        return weights.T

    def _rows(self, weights: torch.Tensor) -> np.ndarray[Any, Any]:
        rows: np.ndarray[Any, Any] = (self.scale * self.images @ weights.T).log_softmax(dim=-1).numpy()
        return rows


def images_of(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        features = model.encode_image(torch.stack([preprocess(example.input) for example in examples]))
    return F.normalize(features, dim=-1)


def measure(ways: Ways, *, n_templates: int, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    named: dict[str, Callable[[Sequence[str]], list[np.ndarray[Any, Any]]]] = {
        "released": ways.released,
        "plain": ways.plain,
        "promptopt": ways.promptopt,
    }
    every = templates()
    ways.promptopt(every[-1:])  # images and imports are not what is measured
    rates: dict[str, list[float]] = {name: [] for name in named}
    right: dict[str, list[float]] = {name: [] for name in named}
    same: list[float] = []
    differences: list[float] = []
    for repeat in range(repeats):
        texts = [every[(repeat * n_templates + i) % len(every)] for i in range(n_templates)]
        chosen = {}
        for name, way in named.items():
            start = time.perf_counter()
            rows = way(texts)
            rates[name].append(n_templates / (time.perf_counter() - start))
            chosen[name] = np.array([row.argmax(axis=1) for row in rows])
            right[name].append(float((chosen[name] == labels_of(ways)).mean()))
        differences.append(ways.difference(texts))
        same.append(float((chosen["promptopt"] == chosen["plain"]).mean()))
    ours = rates["promptopt"]
    return {
        "classes": len(ways.target.classes),
        "templates": n_templates,
        "repeats": repeats,
        "tokens": ways.tokens(every[: n_templates * repeats]),
        "prompts_per_s": {name: median(values) for name, values in rates.items()},
        "over_released": median(o / r for o, r in zip(ours, rates["released"], strict=True)),
        "over_plain": median(o / r for o, r in zip(ours, rates["plain"], strict=True)),
        "max_relative_difference": max(differences),
        "accuracy": {name: float(np.mean(values)) for name, values in right.items()},
        "same_choice": float(np.mean(same)),
    }


def labels_of(ways: Ways) -> np.ndarray[Any, Any]:
    return np.array([ways.target.classes.index(example.label) for example in ways.examples])


# model, pretrained, {classes: (templates a repeat, repeats)}
FULL = (
    ("embedded", None, {10: (50, 5), 100: (20, 5), 1000: (4, 3)}),
    ("ViT-B-32", "random", {10: (8, 3), 100: (2, 3), 1000: (1, 2)}),
)
QUICK = (
    ("embedded", None, {10: (10, 3), 100: (2, 3)}),
    ("ViT-B-32", "random", {10: (2, 1)}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, for a look")
    quick = parser.parse_args().quick
    examples = digits(shots=2 if quick else 10).train
    table = Table("model", "classes", "tokens", "released /s", "plain /s", "promptopt /s", "x released", "x plain")
    for column in ("ms / class text", "rel. difference", "accuracy r / p / o", "same choice"):
        table.add_column(column)
    results = []
    for model, pretrained, sizes in QUICK if quick else FULL:
        for n_classes, (n_templates, repeats) in sizes.items():
            target = Clip(classes=class_names(n_classes), model=model, pretrained=pretrained, device="cpu", cache=None)
            ways = Ways(target, examples, images_of(target.model, examples))
            row = {"model": model, **measure(ways, n_templates=n_templates, repeats=repeats)}
            results.append(row)
            speeds = row["prompts_per_s"]
            print(f"{model}, {n_classes} classes: {row['over_plain']:.1f} x plain", file=sys.stderr, flush=True)
            table.add_row(
                model,
                str(n_classes),
                f"{row['tokens']:.1f}",
                *(f"{speeds[name]:.3g}" for name in ("released", "plain", "promptopt")),
                f"{row['over_released']:.1f}",
                f"{row['over_plain']:.1f}",
                f"{1000 / speeds['promptopt'] / n_classes:.3g}",
                f"{row['max_relative_difference']:.1e}",
                " / ".join(f"{value:.3f}" for value in row["accuracy"].values()),
                f"{row['same_choice']:.4f}",
            )
    Console(width=170).print(table)
    print(json.dumps({"threads": torch.get_num_threads(), "images": len(examples), "results": results}))


if __name__ == "__main__":
    main()
