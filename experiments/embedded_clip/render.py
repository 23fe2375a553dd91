"""The training images: drawn masks, thickened, bent, turned, degraded and coloured at random.

Nothing here is a photograph or a scan. Masks are drawn once (the *bank*); every image is another treatment of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from captions import COLOURS, Attributes
from PIL import Image, ImageDraw, ImageFont

from promptopt.drawing import glyphs as _glyphs
from promptopt.drawing.glyphs import WORDS
from promptopt.drawing.strokes import eastern, handwritten

SIZE = 32
MASK = 48  # pixels of a mask's side in the bank
CHUNK = 2000

SHARES = {
    "handwriting": 0.25, "eastern": 0.11, "printed": 0.09, "seven segment": 0.07, "counting": 0.13, "dice": 0.10,
    "tally": 0.07, "clock": 0.08, "roman": 0.06, "spelled": 0.03, "letter": 0.04, "shape": 0.03, "texture": 0.01,
}  # fmt: skip
TEXT = ("handwriting", "eastern", "printed", "seven segment", "letter", "spelled", "roman")
COLOUR_NAMES = tuple(COLOURS)
BLACK, WHITE, BLUE, CYAN = (COLOUR_NAMES.index(name) for name in ("black", "white", "blue", "cyan"))
DULL = [COLOUR_NAMES.index(name) for name in ("black", "brown", "gray")]
ORIENTATIONS = ("upright", "upside down", "mirrored", "sideways")
OUTLINES = ("circle", "square", "triangle", "star", "heart", "diamond", "pentagon", "hexagon", "ring", "cross")
CORNERS = {"diamond": 4, "pentagon": 5, "hexagon": 6}
TEXTURES = ("stripes", "checkerboard", "noise", "waves")
FONTS = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10", "cmb10", "cmtt10", "cmss10")


class Glyph(NamedTuple):
    """What a mask of the bank shows."""

    sense: str
    word: str
    detail: str


@dataclass(frozen=True)
class Rendered:
    """Training images.

    Attributes:
        images: ``(n, 32, 32, 3)`` bytes.
        attributes: what can be said of each, ``n`` of them.
    """

    images: np.ndarray
    attributes: list[Attributes]


# ── The bank of masks ─────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1)
def fonts() -> list[ImageFont.FreeTypeFont]:
    """The text fonts that matplotlib bundles: a few families in their weights and slants."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [p for p in sorted(folder.glob("*.ttf")) if p.stem.startswith(FONTS) and not p.stem.endswith("Display")]
    return [ImageFont.truetype(str(path), 80) for path in paths]


def _numbers(rng: np.random.Generator) -> Iterator[tuple[Glyph, Callable[[], Image.Image], int]]:
    """What to draw for every number, how, and how often."""
    for number, word in enumerate(WORDS):
        for school in ("european", "american"):
            yield Glyph("handwriting", word, school), partial(handwritten, number, rng, school=school), 1000
        yield Glyph("eastern", word, ""), partial(eastern, number, rng), 500
        yield Glyph("seven segment", word, ""), partial(_glyphs.seven_segment, number, rng), 100
        yield Glyph("dice", word, ""), partial(_glyphs.dice, number, rng), 120
        for shape in _glyphs.SHAPES:
            yield Glyph("counting", word, shape), partial(_glyphs.heap, number, rng, shape=shape), 150
        if number:
            yield Glyph("tally", word, ""), partial(_glyphs.tally, number, rng), 200
            yield Glyph("clock", word, ""), partial(_glyphs.clock, number, rng), 100
        for font in fonts():
            yield Glyph("printed", word, ""), partial(_text, str(number), font, rng, 0.6), 6
            yield Glyph("spelled", word, ""), partial(_text, word, font, rng, 0.9), 3
            if number:
                yield Glyph("roman", word, ""), partial(_text, _glyphs.ROMAN[number], font, rng, 0.7), 4


def _others(rng: np.random.Generator) -> Iterator[tuple[Glyph, Callable[[], Image.Image], int]]:
    """Letters, shapes and textures, so that the model has seen something beside numbers."""
    for letter in "abcdefghijklmnopqrstuvwxyz":
        for font in fonts():
            for written in (letter, letter.upper()):
                yield Glyph("letter", letter, ""), partial(_text, written, font, rng, 0.6), 1
    for name in OUTLINES:
        yield Glyph("shape", name, ""), partial(_outline, name, rng), 100
    for name in TEXTURES:
        yield Glyph("texture", name, ""), partial(_texture, name, rng), 60


def _text(content: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator, least: float) -> Image.Image:
    return _glyphs.text(content, font=font, fill=rng.uniform(least, 1.0))


def _outline(name: str, rng: np.random.Generator) -> Image.Image:
    image, pen = _glyphs.blank()
    centre = (48 + rng.normal(0, 4), 48 + rng.normal(0, 4))
    radius, tilt = rng.uniform(22, 44), rng.normal(0, 0.1)
    if name in _glyphs.SHAPES:
        _glyphs.paint_shape(pen, name, centre, radius, tilt=tilt)
    elif name in ("ring", "cross"):
        _ring_or_cross(pen, name, centre, radius)
    else:
        radii = [0.7 * radius, radius] if name == "diamond" else [radius]
        pen.polygon(_glyphs.polygon(centre, radii, corners=CORNERS[name], start=tilt), fill=255)
    return image


def _ring_or_cross(pen: ImageDraw.ImageDraw, name: str, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    if name == "ring":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=255, width=max(4, int(0.3 * radius)))
        return
    arm = 0.3 * radius
    pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=255)
    pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=255)


def _texture(name: str, rng: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[0:MASK, 0:MASK] / MASK
    frequency, angle = rng.uniform(3, 8), rng.uniform(0, np.pi)
    values = {
        "stripes": lambda: np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle))) > 0,
        "checkerboard": lambda: (np.floor(x * frequency) + np.floor(y * frequency)) % 2,
        "noise": lambda: rng.random((MASK, MASK)),
        "waves": lambda: 0.5 + 0.5 * np.sin(2 * np.pi * frequency * (y + 0.08 * np.sin(4 * np.pi * x))),
    }[name]()
    return Image.fromarray((np.asarray(values, dtype=float) * 255).astype(np.uint8))


def bank(rng: np.random.Generator, *, scale: float = 1.0) -> tuple[torch.Tensor, list[Glyph]]:
    """Draw the masks: ``(n_masks, 48, 48)`` bytes, and what each shows. ``scale`` thins out or multiplies them."""
    masks: list[np.ndarray] = []
    glyphs: list[Glyph] = []
    for source in (_numbers(rng), _others(rng)):
        for glyph, paint, count in source:
            for _ in range(max(1, round(count * scale))):
                masks.append(np.asarray(paint().resize((MASK, MASK), Image.Resampling.BILINEAR)))
                glyphs.append(glyph)
    return torch.from_numpy(np.stack(masks)), glyphs


# ── Treatments ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Batch:
    """Attributes of ``n`` images, one array each: booleans ``(n,)``, indices for the rest."""

    glyphs: list[Glyph]
    orientation: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    looks: dict[str, np.ndarray]

    def attributes(self) -> list[Attributes]:
        """The same, image by image."""
        return [
            Attributes(
                *glyph,
                foreground=COLOUR_NAMES[self.foreground[i]],
                background=COLOUR_NAMES[self.background[i]],
                orientation=ORIENTATIONS[self.orientation[i]],
                looks=frozenset(name for name, has in self.looks.items() if has[i]),
            )
            for i, glyph in enumerate(self.glyphs)
        ]


def _choose(glyphs: list[Glyph], rng: np.random.Generator) -> Batch:
    """Draw a treatment for every mask."""
    n = len(glyphs)
    sense = np.array([glyph.sense for glyph in glyphs])
    hand, text = np.isin(sense, ("handwriting", "eastern")), np.isin(sense, TEXT)
    turned = (text & (sense != "eastern")) | (sense == "shape")
    roll = rng.random(n)
    orientation = np.where(turned, np.searchsorted([0.10, 0.16, 0.21], roll, side="right") + 1, 0) % 4
    looks = _looks(hand=hand, text=text, turned=turned, rng=rng)
    foreground, background = _colours(looks, hand=hand, rng=rng)
    return Batch(glyphs, orientation, foreground, background, looks)


def _looks(
    *, hand: np.ndarray, text: np.ndarray, turned: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    n = len(hand)

    def some(rate: float | np.ndarray, among: np.ndarray | bool = True) -> np.ndarray:
        return (rng.random(n) < rate) & among

    small, low, noisy = some(0.10, turned), some(np.where(hand, 0.40, 0.2)), some(0.12)
    blurred, neon = some(0.12, ~low), some(0.07, text)
    chalk = some(0.12, hand & ~neon)
    paper = some(0.35, hand & ~neon & ~chalk)
    thickness = np.where(text, rng.integers(0, 6, n), 0)
    return {
        "small": small, "large": ~small, "low": low, "blurred": blurred, "noisy": noisy,
        "clear": ~(low | blurred | noisy), "neon": neon, "chalk": chalk, "paper": paper,
        "bold": thickness == 1, "thin": thickness == 2,
    }  # fmt: skip


def _colours(
    looks: dict[str, np.ndarray], *, hand: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of ink and ground: often black or white ground, never the same twice."""
    n, k = len(hand), len(COLOURS)
    chalk, paper, neon = looks["chalk"], looks["paper"], looks["neon"]
    white_on_black = (rng.random(n) < np.where(hand, 0.45, 0.12)) & ~(paper | neon | chalk)
    ground = np.select([(roll := rng.random(n)) < 0.25, roll < 0.45], [WHITE, BLACK], rng.integers(0, k, n))
    ground = np.select([white_on_black | neon | chalk, paper], [BLACK, WHITE], ground)
    ink = np.where(paper, rng.choice([BLACK, BLUE], n), (ground + rng.integers(1, k, n)) % k)
    ink = np.where(white_on_black | chalk, WHITE, ink)
    return np.where(neon & np.isin(ink, DULL), CYAN, ink), ground


def _column(values: np.ndarray) -> torch.Tensor:
    """``(n,)`` to ``(n, 1, 1, 1)``."""
    return torch.from_numpy(np.asarray(values))[:, None, None, None]


def _thickened(masks: torch.Tensor, batch: Batch) -> torch.Tensor:
    wide, narrow = F.max_pool2d(masks, 3, 1, 1), -F.max_pool2d(-masks, 3, 1, 1)
    thin = torch.where(_column(batch.looks["thin"]), 0.5 * (masks + narrow), masks)
    return torch.where(_column(batch.looks["bold"]), wide, thin)


def _warped(masks: torch.Tensor, batch: Batch, rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
    """Turned, scaled, moved and bent: ``(n, 1, 48, 48)`` to ``(n, 1, 64, 64)``."""
    n, small = len(masks), batch.looks["small"]
    turn = np.select(
        [batch.orientation == 1, batch.orientation == 3], [np.pi, rng.choice([-1, 1], n) * np.pi / 2], 0.0
    ) + rng.normal(0, 0.10, n)
    scale = np.where(small, rng.uniform(1.7, 2.3, n), rng.uniform(0.97, 1.12, n))
    across = scale * np.where(batch.orientation == 2, -1, 1) * rng.uniform(0.92, 1.1, n)
    shift = rng.normal(0, [[0.04], [0.03]], (2, n)) + np.where(small, rng.uniform(-0.5, 0.5, (2, n)), 0)
    cos, sin = np.cos(turn), np.sin(turn)
    theta = np.array([[across * cos, -scale * sin, shift[0]], [across * sin, scale * cos, shift[1]]])
    grid = F.affine_grid(torch.from_numpy(theta.transpose(2, 0, 1)).float(), [n, 1, 64, 64], align_corners=False)
    bend = F.interpolate(torch.randn(n, 2, 5, 5, generator=torch_rng), (64, 64), mode="bicubic", align_corners=True)
    amount = {"handwriting": 0.077, "eastern": 0.077, "counting": 0.011, "dice": 0.011, "tally": 0.03, "clock": 0.011}
    strength = np.array([amount.get(glyph.sense, 0.026) for glyph in batch.glyphs], dtype=np.float32)
    bend = (bend * _column(strength)).permute(0, 2, 3, 1)
    return F.grid_sample(masks, grid + bend, align_corners=False, padding_mode="zeros")


def _degraded(masks: torch.Tensor, batch: Batch, rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
    """Down to 32 x 32; some of them by way of 8 x 8 pixels and 16 grey levels, some blurred, some like chalk."""
    n = len(masks)
    sharp = F.avg_pool2d(masks, 2)
    gain = _column(rng.uniform(0.75, 1.35, n).astype(np.float32))
    coarse = torch.round((F.avg_pool2d(masks, 8) * gain).clamp(0, 1) * 16) / 16
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=False).clamp(0, 1)
    blocky = F.interpolate(coarse, (SIZE, SIZE), mode="nearest")
    low = torch.where(_column(rng.random(n) < 0.35), blocky, smooth)
    blurred = 1.2 * F.avg_pool2d(F.avg_pool2d(sharp, 5, 1, 2), 5, 1, 2)
    ink = torch.where(_column(batch.looks["low"]), low, torch.where(_column(batch.looks["blurred"]), blurred, sharp))
    dust = 0.45 + 0.75 * torch.rand(n, 1, SIZE, SIZE, generator=torch_rng)
    return torch.where(_column(batch.looks["chalk"]), ink * dust.clamp(0, 1), ink).clamp(0, 1)


def _coloured(ink: torch.Tensor, batch: Batch, rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
    """``(n, 1, 32, 32)`` ink to ``(n, 3, 32, 32)`` colours in 0..1, with glow and noise."""
    n, chalk = len(ink), torch.from_numpy(batch.looks["chalk"])[:, None]
    table = torch.tensor(list(COLOURS.values())).float() / 255
    front = table[batch.foreground] + 0.05 * torch.randn(n, 3, generator=torch_rng)
    back = table[batch.background] + 0.05 * torch.randn(n, 3, generator=torch_rng)
    back = torch.where(chalk, torch.tensor([0.12, 0.18, 0.15]) + 0.03 * torch.randn(n, 3, generator=torch_rng), back)
    pure = (batch.foreground == WHITE) & (batch.background == BLACK) & (rng.random(n) < 0.7)
    pure_rows = torch.from_numpy(pure)[:, None] & ~chalk
    front = front.masked_fill(pure_rows, 1.0)[:, :, None, None]
    back = back.masked_fill(pure_rows, 0.0)[:, :, None, None]
    glow = 1.3 * F.avg_pool2d(F.avg_pool2d(ink, 7, 1, 3), 5, 1, 2) * front + 0.6 * ink
    image = torch.where(_column(batch.looks["neon"]), glow.clamp(0, 1), ink * front + (1 - ink) * back)
    level = np.where(batch.looks["noisy"], 0.15, 0.02 * (rng.random(n) < 0.4)).astype(np.float32)
    return (image + _column(level) * torch.randn(n, 3, SIZE, SIZE, generator=torch_rng)).clamp(0, 1)


def render(n: int, *, seed: int, scale: float = 1.0) -> Rendered:
    """Draw ``n`` images with their attributes; equal arguments, equal images."""
    rng, torch_rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    masks, glyphs = bank(rng, scale=scale)
    chosen = _sample(glyphs, n, rng)
    images, attributes = np.empty((n, SIZE, SIZE, 3), np.uint8), []
    for start in range(0, n, CHUNK):
        part = chosen[start : start + CHUNK]
        batch = _choose([glyphs[i] for i in part], rng)
        images[start : start + CHUNK] = _treated(masks[part], batch, rng, torch_rng)
        attributes += batch.attributes()
    return Rendered(images, attributes)


def _sample(glyphs: list[Glyph], n: int, rng: np.random.Generator) -> np.ndarray:
    """``(n,)`` indices into the bank: senses by SHARES, words of a sense alike."""
    groups: dict[str, dict[str, list[int]]] = {sense: {} for sense in SHARES}
    for i, glyph in enumerate(glyphs):
        groups[glyph.sense].setdefault(glyph.word, []).append(i)
    senses = rng.choice(len(SHARES), n, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    words = [list(group.values()) for group in groups.values()]
    u = rng.random((n, 2))
    picked = [words[s][int(u[i, 0] * len(words[s]))] for i, s in enumerate(senses)]
    return np.array([members[int(u[i, 1] * len(members))] for i, members in enumerate(picked)])


def _treated(masks: torch.Tensor, batch: Batch, rng: np.random.Generator, torch_rng: torch.Generator) -> np.ndarray:
    """``(n, 48, 48)`` masks to ``(n, 32, 32, 3)`` bytes."""
    ink = _thickened(masks.float()[:, None] / 255, batch)
    ink = _degraded(_warped(ink, batch, rng, torch_rng), batch, rng, torch_rng)
    return (_coloured(ink, batch, rng, torch_rng) * 255).round().byte().permute(0, 2, 3, 1).numpy()
