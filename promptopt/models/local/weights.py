"""The weights of local models, once in a process for all who name the same ones.

Target, proposer and judge may be the same model, and a scorer is built again for each split. The table of what is
loaded is weak: weights go when the last of their users does.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ...errors import require

__all__ = ["Sampling", "files_of", "missing_weights", "once", "sampling"]

_loaded: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_sampling: WeakKeyDictionary[Any, Sampling] = WeakKeyDictionary()
_lock = threading.RLock()


def once(key: Hashable, load: Callable[[], Any]) -> Any:
    """The model of this key, loaded if nobody has it; whoever asks meanwhile waits.

    Args:
        key: all that the weights depend on. Two users of one key share a model: neither may change it.
        load: gives a module of torch.
    """
    with _lock:
        model = _loaded.get(key)
        if model is None:
            model = _loaded[key] = load()
        return model


def files_of(model: str) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    """What a name stands for: a real path and its files by name, size and time, so that a changed one counts as
    another; of a name on the Hub the name alone.
    """
    path = Path(model)
    if not path.exists():
        return model, ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return str(path.resolve()), tuple((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in files)


def missing_weights(model: str) -> list[str]:
    """What would have to be downloaded before a model can be loaded, in words; empty if it is here. Asks no server."""
    if Path(model).exists():
        return []
    find = require("huggingface_hub", extra="local").try_to_load_from_cache
    try:
        here = any(isinstance(find(model, name), str) for name in ("model.safetensors", "model.safetensors.index.json"))
    except ValueError:  # no name that a hub could have; who loads the model says so
        here = True
    return [] if here else [f"the weights {model} from the Hugging Face hub"]


@dataclass(frozen=True)
class Sampling:
    """What a model's own ``generation_config.json`` says, and whose turn it is to write with the model."""

    settings: Any
    turn: threading.Lock = field(default_factory=threading.Lock)


def sampling(model: Any) -> Sampling:
    """How a model samples by itself. From then on it does not: who writes with it draws by their own rules."""
    with _lock:
        if model not in _sampling:
            _sampling[model] = Sampling(copy.deepcopy(model.generation_config))
            for name in ("temperature", "top_k", "top_p", "max_length"):
                setattr(model.generation_config, name, None)
        return _sampling[model]
