"""The embedded LM: what is shipped loads, is small, and does what its card says."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import warm

pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import promptopt.data
from promptopt.data.reasoning import TASKS, reasoning, split_of

pytestmark = pytest.mark.study

LM = Path(promptopt.data.__file__).parents[1] / "embedded" / "lm"
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "embedded_lm"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
SCRIPTS = ("lexicon", "corpus", "tokenizer", "train", "evaluate")
SAMPLE = 60  # questions of the test split
CAREFUL = "Reason carefully, step by step, and verify everything."
POINTS = 5.1  # what another processor's rounding may change: three questions


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts of the experiment, which import each other by their plain names."""
    outside = {name: sys.modules.pop(name, None) for name in SCRIPTS}
    sys.path.insert(0, str(EXPERIMENT))
    try:
        yield {name: importlib.import_module(name) for name in SCRIPTS}
    finally:
        sys.path.remove(str(EXPERIMENT))
        for name, module in outside.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


@pytest.fixture(scope="module")
def reasoner(scripts: dict[str, ModuleType]) -> Any:
    return scripts["evaluate"].Reasoner(LM)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(LM)


def card() -> dict[str, dict[str, float]]:
    """The numbers of the shipped weights, as they stand in the card."""
    found = re.search(r"```json\n(\{.*?\})\n```", (LM / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    numbers: dict[str, dict[str, float]] = json.loads(found[1])
    return numbers


def tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


# ── What is shipped ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_are_there_and_small() -> None:
    assert all((LM / name).is_file() for name in FILES)
    assert all(path.stat().st_mode & 0o044 for path in LM.iterdir())  # readable for whoever installs the package
    assert sum(path.stat().st_size for path in LM.iterdir()) <= 4_000_000


def test_it_is_an_ordinary_llama_in_single_precision() -> None:
    model = AutoModelForCausalLM.from_pretrained(LM)
    assert isinstance(model, LlamaForCausalLM)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not model.generation_config.do_sample


def test_the_tokenizer_fits_the_model(tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(LM)
    assert tokenizer.is_fast
    assert len(tokenizer) == model.config.vocab_size
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


# ── The tokenizer ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "Therefore, the final answer is $",
        "Please answer the question.",
        "Think carefully, step by step. Don't guess: 17 state-of-the-art zebras!",
    ],
)
def test_text_survives(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokens(tokenizer, text)) == text


def test_documents_survive(tokenizer: Any, scripts: dict[str, ModuleType]) -> None:
    corpus = scripts["corpus"].Corpus(seed=9)
    for document in (corpus.document() for _ in range(200)):
        for text in (document.question, document.instruction, document.reasoning):
            assert tokenizer.decode(tokens(tokenizer, text)) == text
            assert tokenizer.unk_token_id not in tokens(tokenizer, text)


def test_seams_do_not_matter(tokenizer: Any) -> None:
    apart = tokens(tokenizer, "What is the result?") + tokens(tokenizer, "Think.") + tokens(tokenizer, "12")
    assert (
        tokens(tokenizer, "What is the result? Think. 12") == apart == tokens(tokenizer, "What is the result?Think.12")
    )


def test_every_word_of_the_lexicon_is_one_token(tokenizer: Any, scripts: dict[str, ModuleType]) -> None:
    lexicon = scripts["lexicon"]
    assert all(len(tokens(tokenizer, word)) == 1 for word in (*lexicon.WORDS, *lexicon.CAPITALISED))


def test_the_chat_template_puts_the_marker_in(tokenizer: Any) -> None:
    message = [{"role": "user", "content": "Compute 7 #1 + 3. Think."}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert text == "<bos>Compute 7 #1 + 3. Think.<asst>"
    answered = [*message, {"role": "assistant", "content": "10"}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == text + "10<eos>"


# ── What it does ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", TASKS)
def test_the_card_says_what_the_shipped_weights_do(reasoner: Any, scripts: dict[str, ModuleType], task: str) -> None:
    evaluate, examples = scripts["evaluate"], reasoning(task=task, test=SAMPLE).test
    start, knowing = (reasoner(prompt, examples) for prompt in (evaluate.START, evaluate.KNOWING[task]))
    row = card()[task]
    assert 100 * start.right.mean() == pytest.approx(row["start"], abs=POINTS)
    assert 100 * knowing.right.mean() == pytest.approx(row["knowing"], abs=POINTS)
    best = reasoner(CAREFUL, examples)
    assert best.right.mean() >= 0.95
    assert best.right.mean() - start.right.mean() >= 0.15
    assert best.loss.mean() < start.loss.mean() - 0.4
    assert best.tokens.max() <= 60 < reasoner.model.generation_config.max_new_tokens  # it ended by itself


def test_loss_falls_when_accuracy_rises(reasoner: Any, scripts: dict[str, ModuleType]) -> None:
    evaluate, examples = scripts["evaluate"], reasoning(task="navigation", test=40).test
    prompts = ["Guess the answer immediately.", evaluate.START, "Reason slowly.", evaluate.KNOWING["navigation"]]
    outcomes = [reasoner(prompt, examples) for prompt in prompts]
    accuracy, loss = [o.right.mean() for o in outcomes], [o.loss.mean() for o in outcomes]
    assert accuracy == sorted(accuracy)
    assert loss == sorted(loss, reverse=True)


# ── How it came about ─────────────────────────────────────────────────────────────────────────────────────────────


def test_helpful_words_are_rare_among_many(scripts: dict[str, ModuleType]) -> None:
    lexicon = scripts["lexicon"]
    assert len(lexicon.WORDS) >= 300
    assert lexicon.useful() <= set(lexicon.WORDS)
    assert set(lexicon.HARMFUL) <= set(lexicon.WORDS)
    assert len(lexicon.useful()) <= 0.12 * len(lexicon.WORDS)


def test_the_corpus_leaves_the_questions_of_the_dataset_out(scripts: dict[str, ModuleType]) -> None:
    corpus = scripts["corpus"].Corpus(seed=0)
    assert {split_of(corpus.document().question) for _ in range(300)} == {"corpus"}


def test_more_care_writes_more_and_errs_less(scripts: dict[str, ModuleType]) -> None:
    written = scripts["corpus"].moves_written
    assert [written(care, 4) for care in (-1.0, 0.0, 0.6, 1.2)] == [0, 2, 3, 4]
    corpus = scripts["corpus"].Corpus(seed=0)
    documents = [corpus.document() for _ in range(1500)]
    to_the_end = [d for d in documents if not d.reasoning.endswith(".")]
    broken_off = [d for d in documents if d.reasoning.endswith(".")]
    right = [sum(d.written == d.answer for d in group) / len(group) for group in (to_the_end, broken_off)]
    assert right[0] > 0.7
    assert right[1] < 0.5


def test_training_runs_and_saves_what_loads(tmp_path: Path) -> None:
    command = [*warm.python(), str(EXPERIMENT / "train.py"), "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {name for name in FILES if (tmp_path / name).is_file()} == set(FILES)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    batch = tokenizer("Compute 7 #1 + 3.", return_tensors="pt")
    new = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=3)
    assert new.shape[1] > batch["input_ids"].shape[1]
