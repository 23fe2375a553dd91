"""Loading CLIP models: as their weights were trained, each once, and without waiting for a missing network."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from promptopt.embedders.clip_text import ClipText
from promptopt.errors import UnknownName, UserError
from promptopt.loading import heard, without_downloads
from promptopt.targets.clip import Clip
from promptopt.targets.clip import models as clip_models
from promptopt.targets.clip.images import _space
from promptopt.testing import FakeSetup

from ..conftest import save, shaken

PAIRS = open_clip.list_pretrained()
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    clip_models._latest.clear()
    clip_models._loaded.clear()
    yield
    clip_models._latest.clear()
    clip_models._loaded.clear()


class Tower(torch.nn.Module):
    """Stands for a tower of timm or Hugging Face, which has activations of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        self.image_size = options.get("image_size", 224)
        self.output_dim, self.vocab_size, self.context_length = 8, 8, 8
        self.act = torch.nn.GELU()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every architecture of open_clip with one layer a tower, without memory, and every tag without its weights."""
    factory, model = open_clip.factory, open_clip.model

    def shallow(name: str) -> Any:
        config: Any = json.loads(json.dumps(factory._MODEL_CONFIGS[name]))
        for tower in ("vision_cfg", "text_cfg", "multimodal_cfg"):
            if tower in config and "layers" in config[tower]:
                layers = config[tower]["layers"]
                config[tower]["layers"] = [1] * len(layers) if isinstance(layers, list) else 1
        return config

    for module in (factory, open_clip):
        monkeypatch.setattr(module, "get_model_config", shallow)
        monkeypatch.setattr(module, "get_tokenizer", lambda name, **options: None)
    monkeypatch.setattr(factory, "download_pretrained", lambda settings, cache_dir=None: "weights")
    monkeypatch.setattr(factory, "load_checkpoint", lambda *args, **options: {})
    monkeypatch.setattr(factory, "_set_model_device_and_precision", lambda *args, **options: None)
    monkeypatch.setattr(model, "TimmModel", Tower)
    monkeypatch.setattr(model, "HFTextEncoder", Tower)
    monkeypatch.setattr(clip_models, "missing", lambda files: [])


def on_no_device(model: str, pretrained: str, **options: Any) -> clip_models.ClipModel:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")  # what open_clip warns of is what must not happen
        loaded = clip_models.load(model, pretrained, device="meta", **options)
    assert loaded is not None
    return loaded


@pytest.mark.study
@pytest.mark.usefixtures("table")
def test_every_tag_of_the_table_runs_as_it_was_trained() -> None:
    forced = []
    for name, tag in PAIRS:
        said, own = open_clip.get_pretrained_cfg(name, tag), open_clip.get_model_config(name).get("quick_gelu", False)
        loaded = on_no_device(name, tag)
        quick = bool(said.get("quick_gelu") or own)
        activations = {type(module) for module in loaded.model.modules() if "GELU" in type(module).__name__}
        stand_ins = any(isinstance(module, Tower) for module in loaded.model.modules())
        assert activations - ({torch.nn.GELU} if stand_ins else set()) <= {QuickGELU if quick else torch.nn.GELU}
        assert (QuickGELU in activations) is quick, (name, tag)
        assert loaded.record["activation"] == ("quick_gelu" if quick else "gelu")
        assert bool(loaded.config.get("quick_gelu")) is quick
        prepared = loaded.model.visual.preprocess_cfg
        assert [prepared[key] for key in PREPROCESSING] == [said[key] for key in PREPROCESSING]
        assert prepared["size"] == loaded.model.visual.image_size
        if loaded.record.get("forced"):
            forced.append((name, tag))
            assert loaded.notes == (f"{name} ({tag}) is built with QuickGELU, as its weights were trained.",)
    assert len(PAIRS) >= 196
    assert len(forced) >= 27
    assert {("ViT-B-32", "openai"), ("RN50", "cc12m"), ("ViT-L-14", "dfn2b"), ("ViT-B-32", "laion400m_e32")} <= {
        *forced
    }
    assert ("roberta-ViT-B-32", "laion2b_s12b_b32k") not in forced


# ── Weights in files and repositories ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("table")
def test_a_file_of_weights_is_taken_as_its_architectures_tags_agree(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")
    siglip = on_no_device("ViT-B-16-SigLIP", str(file))
    assert siglip.model.visual.preprocess_cfg["mean"] == (0.5, 0.5, 0.5)
    assert siglip.model.visual.preprocess_cfg["resize_mode"] == "squash"
    quick = on_no_device("RN50", str(file))
    assert quick.record["activation"] == "quick_gelu"
    assert quick.notes == (f"RN50 ({file}) is built with QuickGELU, as its weights were trained.",)


@pytest.mark.usefixtures("table")
def test_a_file_of_weights_whose_architectures_tags_differ_says_so_or_is_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")
    [note] = on_no_device("ViT-B-32", str(file)).notes
    assert "does not say which activation its weights were trained with" in note
    assert "gelu is taken" in note
    assert "like = ..." in note
    told = on_no_device("ViT-B-32", str(file), like="openai")
    assert (told.record["activation"], told.record["like"]) == ("quick_gelu", "openai")
    plain = on_no_device("ViT-B-32", str(file), like="laion2b-s34b-b79k")
    assert (plain.record["activation"], plain.notes) == ("gelu", ())


@pytest.mark.usefixtures("table")
def test_a_file_of_weights_of_an_architecture_without_tags_says_so_or_is_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")
    [note] = on_no_device("ViT-S-32", str(file)).notes
    assert "open_clip's table has no weights of ViT-S-32" in note
    assert '"mean": [0.48145466' in note
    assert 'like = "ViT-B-32/openai"' in note
    told = on_no_device("ViT-S-32", str(file), like="ViT-B/16-SigLIP/webli")
    assert told.notes == ()
    assert told.model.visual.preprocess_cfg["mean"] == (0.5, 0.5, 0.5)
    assert told.model.visual.preprocess_cfg["resize_mode"] == "squash"
    assert told.record["like"] == "ViT-B/16-SigLIP/webli"
    quick = on_no_device("ViT-S-32", str(file), like="ViT-B-32/openai")
    assert (quick.record["activation"], len(quick.notes)) == ("quick_gelu", 1)
    assert on_no_device("ViT-S-32", "random").notes == ()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": "ViT-S-32", "pretrained": __file__, "like": "ViT-B-32/opnai"}, UnknownName, "Did you mean 'openai'"),
        ({"model": "ViT-S-32", "pretrained": __file__, "like": "ViT-B-3/openai"}, UnknownName, "tag of ViT-B-3 "),
        ({"model": "ViT-B-32", "pretrained": "openai", "like": "openai"}, UserError, "'openai' is none; leave it out"),
        ({"model": "embedded", "like": "openai"}, UserError, "brings its own weights; leave out like = 'openai'"),
        ({"model": "ViT-B-32", "pretrained": __file__, "like": "opnai"}, UnknownName, "Did you mean 'openai'"),
    ],
)
def test_like_that_does_not_fit(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Clip(classes=["dog"], cache=None, **options)


def test_a_repository_of_the_table_has_the_activation_of_its_tag(
    config: dict[str, Any], vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(shaken(open_clip.CLIP(**config, quick_gelu=True)), config, tmp_path / "model", vocabulary)

    def here(model: str, filename: str | None = None, **options: Any) -> str:
        return str(folder / (filename or "open_clip_model.safetensors"))

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", here)
    monkeypatch.setattr(clip_models, "missing", lambda files: [])
    loaded = clip_models.load("hf-hub:timm/vit_base_patch32_clip_224.openai", None)
    assert loaded is not None
    assert loaded.record["activation"] == "quick_gelu"
    assert loaded.config["quick_gelu"] is True
    assert loaded.notes == (
        "hf-hub:timm/vit_base_patch32_clip_224.openai is built with QuickGELU, as its weights were trained.",
        "hf-hub:timm/vit_base_patch32_clip_224.openai prepares images otherwise than open_clip's table says, "
        "in mean, std.",
    )


# ── What follows from it ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tagged(config: dict[str, Any], vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny architecture ``tiny`` with GELU and the weights of its tag ``quick``, trained with QuickGELU."""
    factory, pretrained = open_clip.factory, open_clip.pretrained
    folder = save(shaken(open_clip.CLIP(**config, quick_gelu=True)), config, tmp_path / "model", vocabulary)
    entry = pretrained._pcfg(hf_hub="somebody/tiny/", quick_gelu=True)
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", config)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"quick": entry})
    weights = str(folder / "open_clip_model.safetensors")
    monkeypatch.setattr(factory, "download_pretrained", lambda settings, cache_dir=None: weights)
    monkeypatch.setattr(clip_models, "missing", lambda files: [])
    cut = open_clip.tokenizer.SimpleTokenizer
    monkeypatch.setattr(
        open_clip,
        "get_tokenizer",
        lambda name, **options: cut(bpe_path=str(vocabulary), context_length=config["text_cfg"]["context_length"]),
    )
    return folder


def test_features_of_the_right_and_the_wrong_activation_lie_apart_on_disk(tagged: Path) -> None:
    loaded = clip_models.load("tiny", "quick")
    assert loaded is not None
    assert _space(loaded.model, loaded.config) != _space(loaded.model, open_clip.get_model_config("tiny"))
    name = ClipText(classes=["a"], model="tiny", pretrained="quick", cache=False).name
    embedder = ClipText(classes=["a"], model="tiny", pretrained="quick", cache=False)
    embedder._config = open_clip.get_model_config("tiny")
    assert embedder.name != name


def test_the_run_hears_of_it_and_its_record_holds_it(tagged: Path) -> None:
    target = Clip(classes=["dog"], model="tiny", pretrained="quick", cache=None)
    setup = FakeSetup()
    target.begin(setup)
    assert setup.notes == ["tiny (quick) is built with QuickGELU, as its weights were trained."]
    assert target.record["activation"] == "quick_gelu"
    assert target.record["pretrained"] == "quick"
    assert target.record["preprocessing"]["resize_mode"] == "shortest"
    json.dumps(target.record)


# ── Each once ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that open_clip made."""
    made: list[str] = []
    create = open_clip.create_model

    def counted(name: str, *args: Any, **options: Any) -> Any:
        made.append(name)
        return create(name, *args, **options)

    monkeypatch.setattr(open_clip, "create_model", counted)
    return made


def test_a_model_is_loaded_once_for_all_sets_of_class_names(folder: Path, loads: list[str]) -> None:
    sets = [["dog", "cat"], ["one"], ["dog", "cat"]]
    targets = [Clip(classes=classes, model=str(folder), cache=None) for classes in sets]
    ClipText(classes=["a"], model=str(folder), cache=False)
    assert len(loads) == 1
    assert targets[0].model is targets[1].model is targets[2].model
    assert [target.classes for target in targets] == [("dog", "cat"), ("one",), ("dog", "cat")]


def test_the_last_model_stays_where_nobody_uses_it_at_the_moment(folder: Path, loads: list[str]) -> None:
    for classes in (["dog"], ["cat"], ["cow"]):
        Clip(classes=classes, model=str(folder), cache=None)
    assert len(loads) == 1


def test_other_weights_are_another_model(
    config: dict[str, Any], vocabulary: Path, tmp_path: Path, loads: list[str]
) -> None:
    path = save(shaken(open_clip.CLIP(**config)), config, tmp_path / "model", vocabulary)
    before = Clip(classes=["dog"], model=str(path), cache=None)
    again = shaken(open_clip.CLIP(**config), seed=1).state_dict()
    time.sleep(0.01)
    save_file({name: tensor.contiguous() for name, tensor in again.items()}, path / "open_clip_model.safetensors")
    after = Clip(classes=["dog"], model=str(path), cache=None)
    assert len(loads) == 2
    assert not torch.equal(before.model.text_projection, after.model.text_projection)


# ── Files that are not here ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of the hub."""
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("nothing_here")
@pytest.mark.parametrize(
    ("options", "repository"),
    [
        ({"model": "ViT-B-32", "pretrained": "openai"}, "timm/vit_base_patch32_clip_224.openai"),
        ({"model": "hf-hub:timm/ViT-B-16-SigLIP"}, "timm/ViT-B-16-SigLIP"),
        ({"model": "roberta-ViT-B-32", "pretrained": "random"}, "roberta-base"),
    ],
)
def test_without_a_network_it_says_so_at_once(
    options: dict[str, Any], repository: str, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"huggingface\.co does not answer") as error:
        Clip(classes=["dog"], cache=None, **options)
    assert time.monotonic() - began < 8
    assert repository in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("nothing_here")
def test_what_would_be_downloaded_is_listed_where_nothing_may_be() -> None:
    with without_downloads() as files:
        target = Clip(classes=["dog"], model="ViT-B-32", pretrained="openai")
        ClipText(classes=["dog"], model="ViT-B-32", pretrained="openai")
        Clip(classes=["dog"])
    assert [*files] == ["the weights timm/vit_base_patch32_clip_224.openai from the Hugging Face hub"]
    from promptopt.core import Prompt

    assert target.problem_with(Prompt("a {}")) is None
    assert "no {}" in str(target.problem_with(Prompt("a")))


def test_what_is_here_is_loaded_without_asking_the_hub(tagged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []
    create = open_clip.create_model

    def noticed(*args: Any, **options: Any) -> Any:
        asked.append(huggingface_hub.is_offline_mode())
        return create(*args, **options)

    monkeypatch.setattr(open_clip, "create_model", noticed)
    assert not huggingface_hub.is_offline_mode()
    clip_models.load("tiny", "quick")
    assert asked == [True]
    assert not huggingface_hub.is_offline_mode()


def test_it_says_what_it_is_doing(folder: Path) -> None:
    said: list[str] = []
    with heard(said.append):
        clip_models.load(str(folder), None)
        clip_models.load(str(folder), None)
    assert said == [f"loading the CLIP model {folder}"]
