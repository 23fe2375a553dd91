"""The files that a CLIP model is loaded from: which are on this machine, and which have to be downloaded first.

Nothing here asks the network but :func:`check_network`, and that at most once for each model, with a short timeout: the
libraries below retry for more than a minute before they say that there is no network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError

SECONDS = 10.0  # that a server has to answer in
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class File:
    """A file of a hub repository, or at a URL.

    Attributes:
        what: ``weights``, ``configuration`` or ``tokenizer``.
        place: ``owner/name`` on the Hugging Face hub, or a URL.
        names: names in the repository, any of which will do, the preferred one first; empty for a URL.
    """

    what: str
    place: str
    names: tuple[str, ...] = ()

    def path(self) -> str | None:
        """Where it lies on this machine, or None."""
        if not self.names:
            kept = Path("~/.cache/clip").expanduser() / os.path.basename(self.place)
            return str(kept) if kept.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.place, name) for name in self.names)
        return next((path for path in found if isinstance(path, str)), None)

    def __str__(self) -> str:
        return f"the {self.what} {self.place}" + (" from the Hugging Face hub" if self.names else "")


def of_tag(settings: Mapping[str, Any]) -> File:
    """The weights of a tag of open_clip's table, from where open_clip takes them."""
    if not settings.get("hf_hub"):
        return File("weights", settings["url"])
    repository, name = os.path.split(settings["hf_hub"])
    return File("weights", repository, _weights(name))


def of_text_tower(config: Mapping[str, Any], *, folder: bool = False) -> list[File]:
    """The tokenizer and the text tower's configuration, where they are those of another repository.

    Args:
        config: the model's configuration.
        folder: whether the model lies in a folder, which then holds its tokenizer.
    """
    text = config.get("text_cfg", {})
    files = []
    if text.get("hf_tokenizer_name") and not folder:
        files.append(File("tokenizer", text["hf_tokenizer_name"], TOKENIZERS))
    if text.get("hf_model_name"):
        files.append(File("configuration", text["hf_model_name"], ("config.json",)))
    return files


def of_hub(repository: str) -> list[File]:
    """All that a model on the hub needs, as far as it can be told from what is here."""
    config = File("configuration", repository, ("open_clip_config.json",))
    files = [config, File("weights", repository, _weights(""))]
    if path := config.path():
        files += of_text_tower(json.loads(Path(path).read_text(encoding="utf-8")).get("model_cfg", {}))
    return files


def _weights(name: str) -> tuple[str, ...]:
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    if name in ("", HF_WEIGHTS_NAME):
        return (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    stem, suffix = os.path.splitext(name)
    return (f"{stem}.safetensors", name) if suffix in (".bin", ".pth") else (name,)


def missing(files: Sequence[File]) -> list[File]:
    """Those that are not on this machine."""
    return [file for file in files if file.path() is None]


def check_network(model: str, files: Sequence[File]) -> None:
    """Find out whether files can be downloaded at all.

    Raises:
        UserError: they cannot: the hub is told to be offline, or its server does not answer.
    """
    import huggingface_hub as hub

    server = hub.constants.ENDPOINT if files[0].names else files[0].place
    reason = "HF_HUB_OFFLINE is set"
    if not hub.is_offline_mode():
        try:
            hub.get_session().head(server, timeout=SECONDS)
            return
        except Exception as error:  # whatever kind of transport it has
            reason = f"{server} does not answer ({error})"
    needed = ", ".join(map(str, files))
    raise UserError(
        f"the CLIP model {model!r} needs {needed}, not on this machine, and {reason}. Connect to the network, or name "
        'a folder or a file of weights that you have; model = "embedded" needs none.'
    )


@contextmanager
def offline() -> Iterator[None]:
    """Have the hub's library look on this machine alone; it would ask its server even for what is here."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
