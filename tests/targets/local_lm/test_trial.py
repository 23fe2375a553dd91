"""Every family of causal LMs is read exactly or refused in one sentence, when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from promptopt.api import prepare
from promptopt.core import Prompt
from promptopt.errors import UserError
from promptopt.loading import without_downloads
from promptopt.targets.local_lm import LocalLM
from promptopt.targets.local_lm.gradient import Page, Terms, steps
from promptopt.targets.local_lm.kv_cache import KVCache
from promptopt.targets.local_lm.rows import Rereading, Rows, empty
from promptopt.targets.local_lm.trial import fitted
from promptopt.testing import FakeSetup

from ..tiny_lms import CONFIGS, EXAMPLES, FAMILIES, REFUSED, REREAD, SCALED, SPEEDUPS, saved, slowed

pytestmark = pytest.mark.filterwarnings("ignore:.*fast path.*")
SIZE = 50


def model(kind: str) -> Any:
    """A model whose every part matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = FAMILIES[kind](vocab_size=SIZE, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        built = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        built.tie_weights()
        return built


def own(whole: Any, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = whole(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    return logits


@pytest.mark.parametrize("kind", [*REREAD, *SCALED])
@torch.no_grad()
def test_rows_that_were_cut_picked_and_put_together_go_on_like_whole_ones(kind: str) -> None:
    whole = model(kind)
    backbone = fitted(whole)
    assert isinstance(empty(backbone, 1), Rereading if kind in REREAD else KVCache)
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 40, size=size).tolist() for size in (30, 17, 24)]
    wanted = [own(whole, text) for text in texts]

    def right(rows: Rows, numbers: list[int], ends: list[int]) -> None:
        starts = rows.lengths.tolist()
        hidden = rows.feed([texts[i][a:b] for i, a, b in zip(numbers, starts, ends, strict=True)])
        for row, i, a, b in zip(hidden, numbers, starts, ends, strict=True):
            torch.testing.assert_close(backbone.logits(row[: b - a]), wanted[i][a:b], rtol=1e-3, atol=1e-3)

    rows = empty(backbone, 3)
    right(rows, [0, 1, 2], [12, 5, 1])
    rows.truncate([10, 5, 1])
    right(rows, [0, 1, 2], [14, 5, 9])  # one of them gets nothing
    rows = rows.select([2, 0, 1])
    other = empty(backbone, 1)
    right(other, [1], [16])
    rows.truncate([8, 20, 1])
    rows = rows.together([rows, other])
    right(rows, [2, 0, 1, 1], [24, 30, 17, 17])


@pytest.mark.parametrize("kind", [*REREAD, *SCALED])
def test_the_gradient_is_that_of_the_model_itself(kind: str) -> None:
    """What enters the model in place of one token is differentiated, in a batch of two lengths."""
    whole = model(kind)
    backbone = fitted(whole)
    rng = np.random.default_rng(1)
    pages = [Page(tuple(rng.integers(3, 40, size=n).tolist()), 3, 6, 4, n - 2) for n in (12, 15)]
    losses, logits, slopes = steps(backbone, pages, Terms(0.0, 1.0), reuse_prefix=True, one_pass=True)
    for page, loss, row, slope in zip(pages, losses, logits, slopes, strict=True):
        entered: list[torch.Tensor] = []

        def enter(module: Any, given: Any, out: torch.Tensor, entered: list[torch.Tensor] = entered) -> torch.Tensor:
            entered.append(out.detach().requires_grad_())
            return entered[0]

        hook = whole.get_input_embeddings().register_forward_hook(enter)
        found = own(whole, list(page.ids))
        hook.remove()
        mean = F.cross_entropy(found[page.first - 1 : -1], torch.tensor(page.ids[page.first :]))
        (wanted,) = torch.autograd.grad(mean, entered)
        assert float(loss) == pytest.approx(mean.item(), rel=1e-3)
        torch.testing.assert_close(row, found[page.place - 1].detach(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            slope * backbone.factor, wanted[0, page.place], rtol=1e-3, atol=1e-3 * float(wanted.abs().max())
        )


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_can_be_cut_and_picked_keeps_its_cache(kind: str) -> None:
    backbone = fitted(model(kind))
    assert not backbone.rereads
    assert backbone.factor == 1
    assert not backbone.work


@pytest.mark.parametrize("kind", REFUSED)
def test_what_embeddings_alone_do_not_tell_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match=r"ForCausalLM is not built like.*Take another model") as told:
        fitted(model(kind))
    assert len(str(told.value)) < 500


def bidirectional(whole: Any) -> None:
    for module in whole.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    forward = whole.model.forward
    whole.model.forward = lambda **given: forward(**{**given, "attention_mask": torch.ones(1, 1, 1, 1, dtype=bool)})


def deaf(whole: Any) -> None:
    for layer in whole.model.layers:
        layer.self_attn.o_proj.weight.zero_()


def without_logits(whole: Any) -> None:
    whole.forward = lambda **given: None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (bidirectional, "other logits"),
        (deaf, "the same logits whatever it has read"),
        (without_logits, "raises AttributeError"),
    ],
)
def test_what_cannot_be_a_causal_lm_is_refused(spoil: Callable[[Any], None], reason: str) -> None:
    whole = model("llama")
    spoil(whole)
    with pytest.raises(UserError, match=reason):
        fitted(whole)


# ── As a target ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["mamba", "rwkv"])
def test_two_prompts_have_the_losses_that_the_model_itself_gives_them(kind: str) -> None:
    prompts = [Prompt("Think step by step."), Prompt("Use proper logic and give the correct answer.")]
    lm = LocalLM(model=saved(kind, "byte-level"), max_tokens=4, answer_tokens=3, extractor="\nThe answer is ")
    lm.begin(setup := FakeSetup())
    found = list(lm.run_batch(prompts, EXAMPLES[:2]))
    whole = lm._weights[0].model
    for prompt, outputs in zip(prompts, found, strict=True):
        for example, output in zip(EXAMPLES, outputs, strict=False):
            (head,) = lm._pages.heads([(prompt.text, example)])
            written = lm._memory.of(prompt.text, example.id, head.ids)
            assert written is not None
            tail = lm._pages.tail(example.label)
            ids = [*head.ids, *written.tokens, *tail.ids]
            logits = own(whole, ids)
            first = len(ids) - len(tail.ids) + tail.first
            assert output.loss == pytest.approx(
                F.cross_entropy(logits[first - 1 : -1], torch.tensor(ids[first:])).item(), abs=1e-3
            )
            assert logits[len(head.ids) - 1].argmax() == written.ids[0]
    assert not np.allclose(*([one.loss for one in outputs] for outputs in found), atol=1e-2)
    assert "read again as a whole" in "".join(setup.notes)
    slow = slowed(LocalLM(model=saved(kind, "byte-level"), max_tokens=4, answer_tokens=3), *SPEEDUPS)
    fast = LocalLM(model=saved(kind, "byte-level"), max_tokens=4, answer_tokens=3)
    assert [list(one) for one in slow.run_batch(prompts, EXAMPLES)] == [
        list(one) for one in fast.run_batch(prompts, EXAMPLES)
    ]


def test_a_check_tries_the_model_out() -> None:
    def recipe(kind: str) -> dict[str, Any]:
        return {
            "start": "Think.",
            "data": [vars(one) for one in EXAMPLES[:2]],
            "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["Think.", "Go."]}},
            "target": {"name": "local-lm", "model": str(saved(kind, "byte-level"))},
            "budget": 2,
        }

    with without_downloads():
        prepare(recipe("rwkv"))
        with pytest.raises(UserError, match="Gemma3nForCausalLM is not built like"):
            prepare(recipe("gemma3n"))


def test_a_check_names_weights_that_are_not_here() -> None:
    with without_downloads() as missing:
        LocalLM(model="nobody/no-such-model")
    assert list(missing) == ["the weights nobody/no-such-model from the Hugging Face hub"]
