"""Loading CLIP models: each once, and with the activation and the preprocessing that its weights were trained with.

open_clip's architectures and weights are named apart. ``ViT-B-32`` is built with GELU, and the weights of its tag
``openai`` were trained with QuickGELU; open_clip warns and goes on. Here a tag decides: where its entry in open_clip's
table says ``quick_gelu`` the model is built so, and images are prepared as it says. Where it says nothing, the
architecture's own configuration stands (``roberta-ViT-B-32`` has QuickGELU, and its tag does not mention it).
"""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ...errors import UnknownName, UserError
from ...loading import postponed, say
from .files import File, check_network, missing, of_hub, of_tag, of_text_tower, offline

if TYPE_CHECKING:
    import torch

EMBEDDED = Path(__file__).parents[2] / "embedded" / "clip"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")  # what a tag says of images; the size is the model's


@dataclass(eq=False)
class ClipModel:
    """A model as it was loaded, shared by everything that names it: leave it as it is.

    Attributes:
        model: the open_clip model, in eval mode, fp32.
        tokenizer: its tokenizer.
        config: its configuration, with the activation that it was built with.
        record: what the run's record says of it, as JSON values: model, weights, activation and preprocessing.
        notes: what the user should know of it.
    """

    model: Any
    tokenizer: Any
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        model: the user's name for it.
        name: open_clip's: an architecture, or one with the schema ``hf-hub:`` or ``local-dir:``.
        weights: for an architecture: a tag, a file, or ``random``.
        like: for a file: the tag, of this architecture or with another's name before it, that says how its weights were
            trained.
        files: what it is loaded from, as far as that may have to be downloaded.
    """

    model: str
    name: str
    weights: str | None
    like: str | None
    files: tuple[File, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal models: a file or a folder that was changed is another one."""
        lies = self.name.removeprefix("local-dir:") if self.name.startswith("local-dir:") else self.weights or ""
        files = sorted(Path(lies).iterdir()) if lies and Path(lies).is_dir() else [Path(lies)]
        stamps = tuple((str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
        return (self.name, self.weights, self.like, stamps)


# ── Loading ───────────────────────────────────────────────────────────────────────────────────────────────────────

_guard = threading.Lock()
_loaded: WeakValueDictionary[Any, ClipModel] = WeakValueDictionary()  # all that is in use
_latest: list[ClipModel] = []  # the last one is kept even where nobody uses it at the moment


def load(model: str, pretrained: str | None, *, like: str | None = None, device: str = "auto") -> ClipModel | None:
    """A model, loaded unless it has been before; arguments as of :class:`promptopt.targets.clip.Clip`.

    No code comes with the weights, and the global random generator is left as it was.

    Returns:
        The model; None where files of it would have to be downloaded, and
        :func:`promptopt.loading.without_downloads` forbids that.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: the arguments do not go together, files are missing and there is no network, or loading failed.
    """
    where = _device(device)
    source = find(model, pretrained, like=like)
    with _guard:
        key = (source.key, str(where))
        found = _loaded.get(key)
        if found is None:
            lacking = missing(source.files)
            if postponed([str(file) for file in lacking]):
                return None
            if lacking:
                check_network(model, lacking)
            say(f"{'downloading and ' if lacking else ''}loading the CLIP model {_called(source)}")
            found = _loaded[key] = _load(source, where, here=not lacking)
        _latest[:] = [found]
        return found


def _load(source: Source, where: torch.device, *, here: bool) -> ClipModel:
    import open_clip
    import torch

    trained_with = _training(source)
    own_vocabulary = Path(source.name.removeprefix("local-dir:")).resolve() / "bpe.txt.gz"
    own = source.name.startswith("local-dir:") and own_vocabulary.is_file()
    trained = source.weights != "random"
    try:
        with _quietly(), torch.random.fork_rng(devices=[]), offline() if here and source.files else nullcontext():
            torch.default_generator.manual_seed(0)
            model = open_clip.create_model(
                source.name,
                source.weights if trained else None,
                require_pretrained=trained,
                pretrained_text=False,
                force_quick_gelu=trained_with.quick_gelu,
                force_preprocess_cfg=trained_with.preprocessing,
            )
            tokenizer = open_clip.get_tokenizer(source.name, **({"bpe_path": str(own_vocabulary)} if own else {}))
            config = dict(open_clip.get_model_config(source.name))
    except Exception as error:  # open_clip, torch, safetensors and the network each raise their own
        raise UserError(f"cannot load the CLIP model {source.model!r}: {type(error).__name__}: {error}") from error
    if trained_with.quick_gelu and activation(model) != "quick_gelu":
        raise UserError(f"{_called(source)} needs QuickGELU, and this version of open_clip did not build it so.")
    forced = trained_with.quick_gelu and not config.get("quick_gelu")
    if forced:
        config["quick_gelu"] = True
    notes = _notes(source, model, trained_with, forced=forced)
    model = model.eval().requires_grad_(False).to(where)
    return ClipModel(model, tokenizer, config, _record(source, model, forced=forced), tuple(notes))


def activation(model: Any) -> str:
    """``quick_gelu`` or ``gelu``: what the towers that open_clip builds itself compute with."""
    from open_clip.transformer import QuickGELU

    return "quick_gelu" if any(isinstance(module, QuickGELU) for module in model.modules()) else "gelu"


def _record(source: Source, model: Any, *, forced: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": source.model, "pretrained": source.weights, "like": source.like}
    fields["activation"] = activation(model)
    fields |= {"preprocessing": _preprocessing(model.visual.preprocess_cfg), "forced": forced or None}
    return {key: value for key, value in fields.items() if value is not None}


def _called(source: Source) -> str:
    return source.model + (f" ({source.weights})" if source.weights else "")


# ── What the weights were trained with ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Training:
    """What open_clip's table says of weights.

    Attributes:
        quick_gelu: whether the model must have that activation.
        preprocessing: how images are prepared; None where the table does not say.
        unsettled: what the table says several things of: activation, preprocessing.
    """

    quick_gelu: bool = False
    preprocessing: Mapping[str, Any] | None = None
    unsettled: tuple[str, ...] = ()


def _training(source: Source) -> Training:
    """What is known of a source's weights. Whether an architecture has QuickGELU by itself plays no part here."""
    tags = _tags(source)
    quick = {bool(tag.get("quick_gelu")) for tag in tags}
    images = {json.dumps(_preprocessing(tag)): tag for tag in tags}
    if source.name.startswith("hf-hub:"):  # a repository tells by itself how images are prepared
        return Training(any(quick))
    unsettled = [what for what, said in (("activation", quick), ("preprocessing", images)) if len(said) > 1]
    tag = next(iter(images.values())) if len(images) == 1 else {}
    only = {key: tag[key] for key in PREPROCESSING if key in tag} or None
    return Training(quick == {True}, only, tuple(unsettled))


def _tags(source: Source) -> list[Mapping[str, Any]]:
    """What open_clip's table says of the weights: the entries of a tag or a repository, all of them for a bare file."""
    import open_clip

    if source.name.startswith("hf-hub:"):
        repository = source.name.removeprefix("hf-hub:")
        every = (open_clip.get_pretrained_cfg(*pair) for pair in open_clip.list_pretrained())
        return [tag for tag in every if of_tag(tag).place == repository]
    if source.weights is None or source.weights == "random":
        return []
    if source.like is not None:
        return [open_clip.get_pretrained_cfg(*_pair(source.name, source.like))]
    tags = open_clip.list_pretrained_tags_by_model(source.name)
    names = [source.weights] if open_clip.is_pretrained_cfg(source.name, source.weights) else tags
    return [open_clip.get_pretrained_cfg(source.name, name) for name in names]


def _pair(name: str, like: str) -> tuple[str, str]:
    """Architecture and tag that ``like`` names, for a file of weights of an architecture: ``openai`` is a tag of that.

    ``ViT-B-16-SigLIP/webli`` is another's.
    """
    other, _, tag = like.rpartition("/")
    return other.replace("/", "-") or name, tag


def _preprocessing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How images are prepared, as JSON values; with their size where it is known."""
    kept = {key: settings[key] for key in (*PREPROCESSING, "size") if key in settings}
    values: dict[str, Any] = json.loads(json.dumps(kept))
    return values


def _notes(source: Source, model: Any, trained_with: Training, *, forced: bool) -> Iterator[str]:
    """What the user should know of how a model was built."""
    if forced:
        yield f"{_called(source)} is built with QuickGELU, as its weights were trained."
    prepared = _preprocessing(model.visual.preprocess_cfg)
    if trained_with.unsettled:
        yield (
            f"The file {source.weights} does not say which {' and '.join(trained_with.unsettled)} its weights were "
            f"trained with, and the tags of {source.name} differ: {activation(model)} is taken, and images are "
            f"prepared with {json.dumps(prepared)}. Name the right tag with like = ..."
        )
        return
    if not (tags := _tags(source)) and source.weights not in (None, "random"):
        yield (
            f"open_clip's table has no weights of {source.name}, so nothing says how those in {source.weights} were "
            f"trained: {activation(model)} is taken, and images are prepared with {json.dumps(prepared)}. Name "
            'architecture and tag of weights that were trained alike, as in like = "ViT-B-32/openai".'
        )
    said = {key: value for tag in tags for key, value in _preprocessing(tag).items()}
    if differs := [key for key, value in said.items() if value != prepared[key]]:
        yield f"{_called(source)} prepares images otherwise than open_clip's table says, in {', '.join(differs)}."


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def find(model: str, pretrained: str | None, *, like: str | None = None) -> Source:
    """Our names as open_clip's, and the files behind them.

    Raises:
        UnknownName: there is no such architecture or tag.
        UserError: the arguments do not go together.
    """
    import open_clip

    architecture = model.replace("/", "-")
    if architecture in open_clip.list_models():
        return _architecture(model, architecture, pretrained, like)
    if pretrained is not None or like is not None:
        if not (model == "embedded" or model.startswith(("hf-hub:", "local-dir:")) or Path(model).is_dir()):
            raise UnknownName("CLIP model", model, ["embedded", *open_clip.list_models()])
        extra = f"pretrained = {pretrained!r}" if pretrained is not None else f"like = {like!r}"
        raise UserError(f"the model {model!r} brings its own weights; leave out {extra}.")
    if model.startswith("hf-hub:"):
        return Source(model, model, None, None, tuple(of_hub(model.removeprefix("hf-hub:"))))
    folder = EMBEDDED if model == "embedded" else Path(model.removeprefix("local-dir:"))
    if (folder / "open_clip_config.json").is_file():
        return Source(model, f"local-dir:{folder}", None, None, tuple(_of_folder(folder)))
    if folder.is_dir() or model == "embedded" or model.startswith("local-dir:"):
        raise UserError(f"{str(folder)!r} holds no CLIP model: open_clip_config.json is missing there.")
    raise UnknownName("CLIP model", model, ["embedded", *open_clip.list_models()])


def _architecture(model: str, name: str, pretrained: str | None, like: str | None) -> Source:
    """An architecture with its weights."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise UserError(
            f"{name} is an architecture without weights; say which with pretrained. "
            f"Allowed: {', '.join([*tags, 'random'])}."
        )
    is_tag = open_clip.is_pretrained_cfg(name, pretrained)
    if not (pretrained == "random" or is_tag or Path(pretrained).is_file()):
        raise UnknownName(f"pretrained tag of {name}", pretrained, [*tags, "random"])
    if like is not None and (is_tag or pretrained == "random"):
        raise UserError(
            f"like = {like!r} says how a file of weights was trained, and {pretrained!r} is none; leave it out."
        )
    if like is not None and not open_clip.is_pretrained_cfg(*(other := _pair(name, like))):
        known = open_clip.list_pretrained_tags_by_model(other[0])
        raise UnknownName(f"pretrained tag of {other[0]}", other[1], known, where="like")
    weights = [of_tag(open_clip.get_pretrained_cfg(name, pretrained))] if is_tag else []
    return Source(model, name, pretrained, like, (*weights, *of_text_tower(open_clip.get_model_config(name))))


def _of_folder(folder: Path) -> Sequence[File]:
    try:
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        return of_text_tower(config.get("model_cfg", {}), folder=True)
    except (ValueError, AttributeError):  # what is wrong with it is told when it is loaded
        return ()


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the device {name!r} cannot be used here: {reason} Allowed: auto, cpu, cuda, cuda:1."
        ) from None
    return device


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves the root logger alone, and passes over the one warning of open_clip that is settled here.

    open_clip logs with ``logging.info``, which gives a bare root logger a handler for the rest of the process.
    """
    root = logging.getLogger()
    handler = None if root.handlers else logging.NullHandler()
    if handler:
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            yield
    finally:
        if handler:
            root.removeHandler(handler)
