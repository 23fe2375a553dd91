"""HPSv2, PickScore and the aesthetic head, on tiny checkpoints with random weights in the formats of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import itertools

import open_clip
import torch
import torch.nn.functional as F
from picture_parts import UNUSABLE, encoded, example, image, picture
from PIL import Image
from safetensors.torch import save_file

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.loading import without_downloads
from promptopt.metrics.pictures.trained import Aesthetic, Hps, PickScore
from promptopt.testing.contracts import MetricContract

TEXT = "a red circle"
WIDE = image(0, size=(40, 20))  # not square, so that it shows how a picture is made to fit


def random(*shape: int, seed: int, by: float = 0.3) -> torch.Tensor:
    return by * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def texts() -> list[tuple[Any, Example]]:
    return [(picture(i), example(text, i)) for i, text in enumerate([TEXT, TEXT, "a blue square", "two dogs"])]


# ── HPSv2.1 ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def architecture() -> Any:
    """A tiny architecture in open_clip's table, with its own vocabulary's size."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    patch = pytest.MonkeyPatch()
    patch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-hps", config)
    yield "tiny-hps"
    patch.undo()


@pytest.fixture(scope="module")
def released(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as HPSv2's authors save theirs: the weights under ``state_dict`` beside other things."""
    model = open_clip.create_model(architecture)
    for i, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        if tensor.ndim > 1 and "mask" not in name:
            tensor.add_(random(*tensor.shape, seed=i))
    path = tmp_path_factory.mktemp("hps") / "HPS_v2.1_compressed.pt"
    torch.save({"epoch": 1, "name": "hps", "state_dict": model.state_dict()}, path)
    return path


def hps(released: Path, **options: Any) -> Hps:
    return Hps(weights=released, model="tiny-hps", like=None, cache=None, **options)


class TestHps(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    @pytest.fixture(autouse=True)
    def _weights(self, released: Path) -> None:
        self.released = released

    def make(self) -> Hps:
        return hps(self.released)

    def marked(self) -> list[tuple[Any, Example]]:
        return texts()


def as_released(path: Path, shown: Image.Image, text: str) -> float:
    """What HPSv2's ``img_score.py`` computes, with its ``ResizeMaxSize`` written out."""
    import torchvision.transforms.functional as T

    model = open_clip.create_model("tiny-hps")
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    side = 32
    pixels = T.to_tensor(shown)
    height, width = (round(size * side / max(shown.size)) for size in shown.size[::-1])
    pixels = T.resize(pixels, [height, width], T.InterpolationMode.BICUBIC)
    down, right = side - height, side - width
    pixels = T.pad(pixels, [right // 2, down // 2, right - right // 2, down - down // 2], fill=0)
    pixels = T.normalize(pixels, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    with torch.inference_mode():
        one = F.normalize(model.eval().encode_image(pixels[None]), dim=-1)
        other = F.normalize(model.encode_text(open_clip.get_tokenizer("tiny-hps")([text])), dim=-1)
    return float((one @ other.T).item())


def test_hps_is_what_the_released_code_computes(released: Path) -> None:
    shown = [WIDE, image(1, size=(20, 50)), image(2, size=(64, 64))]
    expected = [as_released(released, one, TEXT) for one in shown]
    assert hps(released)([encoded(one) for one in shown], [example(TEXT)] * 3) == pytest.approx(expected, abs=1e-5)
    assert hps(released, text=TEXT)([WIDE], [example(None)]) == pytest.approx(expected[:1], abs=1e-5)


def test_hps_keeps_its_features_apart_from_those_of_other_preparations(released: Path, tmp_path: Path) -> None:
    from promptopt.metrics.pictures.clip import ClipSimilarity

    usual = ClipSimilarity(model="tiny-hps", pretrained=str(released), cache=tmp_path)
    one, other = usual([WIDE], [example(TEXT)]), hps(released)([WIDE], [example(TEXT)])
    kept = Hps(weights=released, model="tiny-hps", like=None, cache=tmp_path)([WIDE], [example(TEXT)])
    assert kept == pytest.approx(other, abs=1e-6)
    assert one != pytest.approx(other, abs=1e-3)


def test_hps_says_what_is_missing(released: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pt', and there is no such file"):
        Hps(weights="gone.pt")
    with pytest.raises(UserError, match="says in no words what is wished for"):
        hps(released, examples=[example([TEXT, "two"])])
    with pytest.raises(UserError, match=r"text too long: .*77"):
        hps(released, examples=[example("word " * 90)])


# ── The aesthetic head ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights under the released names, for the 64 numbers of the embedded CLIP instead of 768."""
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    save_file(layers((64, 1024, 128, 64, 16, 1)), path)
    return path


def layers(sizes: tuple[int, ...], names: tuple[int, ...] = (0, 2, 4, 6, 7)) -> dict[str, torch.Tensor]:
    found = {}
    for n, place in enumerate(names):
        found[f"layers.{place}.weight"] = random(sizes[n + 1], sizes[n], seed=n, by=sizes[n] ** -0.5)
        found[f"layers.{place}.bias"] = random(sizes[n + 1], seed=10 + n) + (5.0 if n == len(names) - 1 else 0.0)
    return found


class TestAesthetic(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    @pytest.fixture(autouse=True)
    def _head(self, head: Path) -> None:
        self.head = head

    def make(self) -> Aesthetic:
        return Aesthetic(head=self.head, model="embedded", pretrained=None, cache=None)

    def marked(self) -> list[tuple[Any, Example]]:
        return [(picture(i), example(None)) for i in range(4)]


def test_the_head_is_the_released_model(head: Path) -> None:
    """The MLP of ``simple_inference.py``, dropout and all, on the unit feature."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from safetensors.torch import load_file
    from torch import nn

    from promptopt.targets.clip.models import load

    sizes = (64, 1024, 128, 64, 16, 1)
    linear = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    drops = [nn.Dropout(0.2), nn.Dropout(0.2), nn.Dropout(0.1)]
    mlp = nn.Module()
    mlp.layers = nn.Sequential(linear[0], drops[0], linear[1], drops[1], linear[2], drops[2], linear[3], linear[4])
    mlp.load_state_dict(load_file(head))
    loaded = load("embedded", None)
    assert loaded
    prepare = image_transform_v2(PreprocessCfg(**loaded.model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        feature = F.normalize(loaded.model.encode_image(prepare(image(0))[None]), dim=-1)
        expected = float(mlp.eval().layers(feature))
    metric = Aesthetic(head=head, model="embedded", pretrained=None, cache=None)
    assert metric([picture(0)], [example(None)]) == [pytest.approx(expected, abs=1e-4)]
    assert Aesthetic(head=head, model="embedded", pretrained=None, cache=None, least=9.0)(
        [picture(0)], [example(None)]
    ) == [9.0]


def test_a_head_that_is_none(head: Path, tmp_path: Path) -> None:
    def made(**tensors: torch.Tensor) -> Path:
        path = tmp_path / "wrong.safetensors"
        save_file(tensors, path)
        return path

    def built(path: Path) -> Aesthetic:
        return Aesthetic(head=path, model="embedded", pretrained=None, cache=None)

    with pytest.raises(UserError, match=r"give a safetensors file.*weights_only=True"):
        built(tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    with pytest.raises(UserError, match=r"holds no aesthetic head: layers.0, .* are wanted"):
        built(made(x=torch.zeros(1)))
    with pytest.raises(UserError, match=r"layers of \[1000, 128, 64, 16, 1\] outputs; the head has \[1024,"):
        built(made(**layers((64, 1000, 128, 64, 16, 1))))
    with pytest.raises(UserError, match="takes features of 768 numbers, and embedded gives 64"):
        built(made(**layers((768, 1024, 128, 64, 16, 1))))


# ── PickScore ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def picker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel of transformers with its processor, as a folder."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    path = tmp_path_factory.mktemp("pick")
    letters = [*map(chr, range(97, 123))]
    words = {token: i for i, token in enumerate([*letters, *(f"{one}</w>" for one in letters)])}
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words |= {token: len(words) + i for i, token in enumerate(ends)}
    (path / "vocab.json").write_text(json.dumps(words))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(path)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **size,
            "vocab_size": len(words),
            "max_position_embeddings": 20,
            "bos_token_id": 52,
            "eos_token_id": 53,
        },
        vision_config={**size, "image_size": 16, "patch_size": 8},
        projection_dim=12,
    )
    model = CLIPModel(config)
    with torch.no_grad():
        for i, (_, parameter) in enumerate(sorted(model.named_parameters())):
            if parameter.ndim > 1:
                parameter.copy_(random(*parameter.shape, seed=i))
        model.logit_scale.fill_(np.log(100.0))
    model.save_pretrained(path)
    sides = {"height": 16, "width": 16}
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=sides), tokenizer).save_pretrained(path)
    return path


class TestPickScore(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    @pytest.fixture(autouse=True)
    def _folder(self, picker: Path) -> None:
        self.picker = picker

    def make(self) -> PickScore:
        return PickScore(model=self.picker)

    def marked(self) -> list[tuple[Any, Example]]:
        return texts()


def test_pick_score_is_what_its_authors_code_computes(picker: Path) -> None:
    from transformers import AutoModel, AutoProcessor

    processor, model = AutoProcessor.from_pretrained(picker), AutoModel.from_pretrained(picker).eval()
    shown = [WIDE, image(1), image(2)]
    with torch.inference_mode():
        images = model.get_image_features(**processor(images=shown, return_tensors="pt")).pooler_output
        words = processor(text=TEXT, padding=True, truncation=True, max_length=20, return_tensors="pt")
        text = model.get_text_features(**words).pooler_output
        units = (one / torch.norm(one, dim=-1, keepdim=True) for one in (text, images))
        text, images = units
        expected = (model.logit_scale.exp() * (text @ images.T)[0]).tolist()
    metric = PickScore(model=picker, batch_size=2)
    assert metric([encoded(one) for one in shown], [example(TEXT)] * 3) == pytest.approx(expected, abs=1e-3)
    assert metric.worst == pytest.approx(-100)


def test_pick_score_says_what_is_wrong(picker: Path, tmp_path: Path) -> None:
    long = "a very long wish for a picture"
    with pytest.raises(UserError, match=r"text too long: \d+ tokens; .* takes 20 .*Shorten it"):
        PickScore(model=picker, examples=[example(long)])
    [mark] = PickScore(model=picker)([picture(0)], [example(long)])
    assert isinstance(mark, Mark)
    assert (mark.value, mark.failed) == (None, False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot load"):
        PickScore(model=tmp_path, processor=picker)


def test_pick_score_from_the_hub_is_listed_and_not_fetched_where_a_recipe_is_only_checked() -> None:
    with without_downloads() as missing:
        PickScore(examples=[example(TEXT)])
    assert [*missing] == [
        "the weights yuvalkirstain/PickScore_v1 from the Hugging Face hub",
        "the processor laion/CLIP-ViT-H-14-laion2B-s32B-b79K from the Hugging Face hub",
    ]


def test_pick_score_without_network_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"needs the weights yuvalkirstain/PickScore_v1 .*HF_HUB_OFFLINE is set"):
        PickScore()
