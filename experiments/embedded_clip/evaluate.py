"""Measure the embedded CLIP: what its card says.

    python experiments/embedded_clip/evaluate.py --model DIR

prints a Markdown report and, as the last line, the same numbers as JSON. Everything is drawn from fixed seeds.

Real images are scikit-learn's handwritten digits; 60 per class are set aside to choose templates with, the rest are
held out. The rendered tasks are those of promptopt.data.rendered, from the seed given here.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from promptopt.data.rendered import TASKS, rendered

EMBEDDED = Path(__file__).resolve().parents[2] / "promptopt" / "embedded"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS, UPSIDE_DOWN = "digits", "digits, upside down"
PLAIN = "a photo of a {}"
BY_HAND = "a handwritten digit {}"
NAMED = (
    PLAIN, "{}", "a {}", "the number {}", "a photo of the digit {}", BY_HAND, "a photo of a handwritten digit {}",
    "a scan of a handwritten digit {}", "a white on black handwritten digit {}", "an upside down handwritten digit {}",
    "a printed number {}", "a seven segment digit {}", "a roman numeral {}", "a drawing of {} tally marks",
    "a die showing {}", "a clock showing {}", "a photo of {} dots",
)  # fmt: skip
KNOWING = {
    DIGITS: BY_HAND, UPSIDE_DOWN: "an upside down handwritten digit {}",
    "seven-segment": "a seven segment digit {}", "tally": "a drawing of {} tally marks", "roman": "a roman numeral {}",
    "dice": "a die showing {}", "printed": "a printed number {}", "clock": "a clock showing {}",
    "counting": "a photo of {} dots",
}  # fmt: skip
N_TEMPLATES = 500
SHOTS = (1, 4, 16)
DRAWS = 30
PICK_FROM = 100
SPARE_PER_CLASS = 60

Phrases = dict[str, list[str]]


@dataclass(frozen=True)
class Task:
    """Images with class names; ``spare`` and ``held_out`` are indices into them.

    Attributes:
        images: ``n`` of them.
        labels: ``(n,)`` indices into ``classes``.
    """

    images: list[Image.Image]
    labels: np.ndarray
    classes: tuple[str, ...]
    spare: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Scores:
    """How templates do on a task.

    Attributes:
        right: ``(n_templates, n_images)`` booleans.
        log_likelihood: ``(n_templates, n_images)`` of the true class.
    """

    right: np.ndarray
    log_likelihood: np.ndarray


# ── Tasks and templates ───────────────────────────────────────────────────────────────────────────────────────────


def digits(*, turned: bool = False) -> Task:
    """scikit-learn's real digits, 8 x 8 pixels, white on black; ``turned`` by 180 degrees if asked."""
    data, rng = load_digits(), np.random.default_rng(0)
    images = [Image.fromarray((pixels / 16 * 255).round().astype(np.uint8)).convert("RGB") for pixels in data.images]
    shuffled = [rng.permutation(np.flatnonzero(data.target == k)) for k in range(10)]
    return Task(
        images=[image.rotate(180) for image in images] if turned else images,
        labels=data.target,
        classes=WORDS,
        spare=np.concatenate([part[:SPARE_PER_CLASS] for part in shuffled]),
        held_out=np.concatenate([part[SPARE_PER_CLASS:] for part in shuffled]),
    )


def drawn(name: str) -> Task:
    """A task of the rendered suite, on a seed of its own."""
    data = rendered(task=name, shots=SPARE_PER_CLASS, seed=1, test=900)
    examples = [*data.train, *data.test]
    labels = np.array([data.classes.index(example.label) for example in examples])
    places = np.arange(len(examples))
    return Task([e.input for e in examples], labels, data.classes, places[: len(data.train)], places[len(data.train) :])


def load_task(name: str) -> Task:
    """A task by its name in the report."""
    return digits(turned=name == UPSIDE_DOWN) if name in (DIGITS, UPSIDE_DOWN) else drawn(name)


def phrases() -> Phrases:
    """The shipped vocabulary."""
    return tomllib.loads((EMBEDDED / "phrases.toml").read_text(encoding="utf-8"))


def template(slots: Phrases, rng: random.Random) -> str:
    """A random template: a frame, up to two adjectives, half of the time a noun, half of the time a suffix."""
    adjectives = rng.sample(slots["adjectives"], rng.choice((0, 1, 1, 2)))
    noun = rng.choice(slots["nouns"]) if rng.random() < 0.5 else ""
    suffix = rng.choice(slots["suffixes"]) if rng.random() < 0.5 else ""
    return " ".join(" ".join([rng.choice(slots["frames"]), *adjectives, noun, "{}", suffix]).split())


def templates(n: int = N_TEMPLATES, *, seed: int = 0) -> list[str]:
    """``n`` different random templates."""
    rng, slots = random.Random(seed), phrases()
    found: dict[str, None] = {}
    while len(found) < n:
        found[template(slots, rng)] = None
    return list(found)


# ── The model ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Classifier:
    """A CLIP from a folder, in full precision on the CPU."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder.resolve()}"
        self._model = open_clip.create_model(name, precision="fp32").eval()
        self._tokenize = open_clip.get_tokenizer(name, bpe_path=str(folder.resolve() / "bpe.txt.gz"))
        self._prepare: Callable[[Image.Image], torch.Tensor] = image_transform_v2(
            PreprocessCfg(**self._model.visual.preprocess_cfg), is_train=False
        )

    @torch.no_grad()
    def scores(self, task: Task, texts: Sequence[str]) -> Scores:
        """Classify every image with every template."""
        images = self._images(task.images)
        labels, scale = torch.from_numpy(np.asarray(task.labels)), self._model.logit_scale.exp()
        right, likelihood = [], []
        for text in texts:
            logits = scale * images @ self._texts([text.replace("{}", name) for name in task.classes]).T
            right.append((logits.argmax(1) == labels).numpy())
            likelihood.append(logits.log_softmax(1)[torch.arange(len(labels)), labels].numpy())
        return Scores(np.stack(right), np.stack(likelihood))

    def _images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """``(n, dim)``, of length one."""
        pixels = torch.stack([self._prepare(image) for image in images])
        return torch.cat([self._model.encode_image(part, normalize=True) for part in pixels.split(256)])

    def _texts(self, texts: Sequence[str]) -> torch.Tensor:
        """``(n, dim)``, of length one."""
        features: torch.Tensor = self._model.encode_text(self._tokenize(list(texts)), normalize=True)
        return features


# ── Measurements ──────────────────────────────────────────────────────────────────────────────────────────────────


def percent(shares: Any) -> float:
    """A mean of booleans as a percentage, one decimal."""
    return round(100 * float(np.mean(shares)), 1)


def measure(classifier: Classifier) -> dict[str, Any]:
    """All numbers of the report: per task, and for the real digits the search landscape too."""
    random_templates = templates()
    report: dict[str, Any] = {"tasks": {}, "named": {}}
    for name in (DIGITS, UPSIDE_DOWN, *TASKS):
        task = load_task(name)
        scores = classifier.scores(task, [*NAMED, *random_templates])
        accuracy = scores.right[:, task.held_out].mean(1)
        report["named"][name] = dict(zip(NAMED, (percent(a) for a in accuracy), strict=False))
        report["tasks"][name] = summary(name, accuracy, random_templates) | {
            "chosen": chosen(task, scores, offset=len(NAMED), plain=float(accuracy[0]))
        }
        if name == DIGITS:
            report["landscape"] = landscape(task, scores, offset=len(NAMED))
    report["distractors"] = distractors(classifier)
    return report


def summary(name: str, accuracy: np.ndarray, random_templates: Sequence[str]) -> dict[str, Any]:
    """A task's row: the plain templates, the one that a person who knows the images would write, and random ones."""
    drawn_ones = accuracy[len(NAMED) :]
    return {
        "plain": percent(accuracy[0]),
        "bare": percent(accuracy[1]),
        "knowing": percent(accuracy[NAMED.index(KNOWING[name])]),
        "median": percent(np.median(drawn_ones)),
        "p90": percent(np.quantile(drawn_ones, 0.9)),
        "best": percent(drawn_ones.max()),
        "best_template": random_templates[int(drawn_ones.argmax())],
    }


def few(task: Task, shots: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``shots`` spare images per class."""
    groups = [task.spare[task.labels[task.spare] == k] for k in range(len(task.classes))]
    return np.concatenate([rng.choice(group, shots, replace=False) for group in groups])


def chosen(task: Task, scores: Scores, *, offset: int, plain: float) -> dict[str, float]:
    """Held-out gain over the plain template of the best of 100 random templates, chosen at 16 shots: 30 draws."""
    rng, gains = np.random.default_rng(0), []
    for _ in range(DRAWS):
        some = offset + rng.choice(len(scores.right) - offset, PICK_FROM, replace=False)
        shown = few(task, 16, rng)
        ranked = np.lexsort((scores.log_likelihood[some][:, shown].mean(1), scores.right[some][:, shown].mean(1)))
        gains.append(scores.right[some[ranked[-1]], task.held_out].mean() - plain)
    return {"least": percent(min(gains)), "mean": percent(gains), "most": percent(max(gains))}


def landscape(task: Task, scores: Scores, *, offset: int) -> dict[str, dict[str, float]]:
    """Spearman correlation of few-shot with held-out accuracy over the random templates, and over their better half."""
    truth = scores.right[offset:, task.held_out].mean(1)
    half = truth >= np.median(truth)
    return {str(shots): _correlations(task, scores, offset, shots, truth, half) for shots in SHOTS}


def _correlations(
    task: Task, scores: Scores, offset: int, shots: int, truth: np.ndarray, half: np.ndarray
) -> dict[str, float]:
    rng, rows, every = np.random.default_rng(shots), [], np.ones_like(half)
    for _ in range(DRAWS):
        shown = few(task, shots, rng)
        accuracy, likelihood = scores.right[offset:, shown].mean(1), scores.log_likelihood[offset:, shown].mean(1)
        pairs = [(score, kept) for score in (accuracy, likelihood) for kept in (every, half)]
        rows.append([spearmanr(score[kept], truth[kept])[0] for score, kept in pairs])
    names = ("accuracy", "accuracy_better_half", "likelihood", "likelihood_better_half")
    return {name: round(float(value), 2) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}


def distractors(classifier: Classifier) -> dict[str, Any]:
    """What one adjective does to ``a ADJECTIVE handwritten digit {}``: change in points on held-out real digits."""
    task, adjectives = digits(), phrases()["adjectives"]
    texts = [BY_HAND, *(f"a {adjective} handwritten digit {{}}" for adjective in adjectives)]
    accuracy = 100 * classifier.scores(task, texts).right[:, task.held_out].mean(1)
    change = accuracy[1:] - accuracy[0]
    low, middle, high = np.quantile(change, [0.1, 0.5, 0.9])
    return {"p10": round(float(low), 1), "median": round(float(middle), 1), "p90": round(float(high), 1)}


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = ["| task | plain | `{}` | knowing | median | p90 | best | gain of the chosen |", "|---" * 8 + "|"]
    for name, row in report["tasks"].items():
        numbers = " | ".join(str(row[key]) for key in ("plain", "bare", "knowing", "median", "p90", "best"))
        lines.append(f"| {name} | {numbers} | {', '.join(str(v) for v in row['chosen'].values())} |")
    lines += ["", "| template | " + " | ".join(report["tasks"]) + " |", "|---" * (len(report["tasks"]) + 1) + "|"]
    for text in NAMED:
        lines.append(f"| `{text}` | " + " | ".join(str(report["named"][name][text]) for name in report["tasks"]) + " |")
    lines += ["", *(f"best on {name}: `{row['best_template']}`" for name, row in report["tasks"].items())]
    lines += ["", f"few-shot against held-out, Spearman: {report['landscape']}"]
    return "\n".join([*lines, f"distractors: {report['distractors']}"])


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description="Measure an embedded CLIP.")
    parser.add_argument("--model", type=Path, default=EMBEDDED / "clip", help="folder of the model")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = measure(Classifier(arguments.model))
    print(markdown(report))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
