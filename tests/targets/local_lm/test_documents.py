"""The worked examples in the docstrings of documents.py hold."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from promptopt.core import Example
from promptopt.models.local.reader import Reader
from promptopt.targets.local_lm.documents import Pages

from ..tiny_lms import saved

PROMPT = "Let us think."
SPANS = ((0, 3), (4, 6), (7, 12), (12, 13))


def pages(template: str = "{input}\n{prompt}", extractor: str = "\nTherefore, the final answer is $") -> Pages:
    reader = Reader(str(saved("llama", "byte-level", chat=False)), chat_template=False, template_options={})
    return Pages(reader, template=template, extractor=extractor)


def pieces(of: Pages, ids: tuple[int, ...]) -> str:
    return "|".join(of.tokenizer.decode([i]) for i in ids)


def test_a_token_over_a_seam_belongs_to_the_prompt() -> None:
    page = pages("{input}{prompt}")
    (head,) = page.heads([("ow", Example("a", "What is the kn", "7"))])
    assert pieces(page, head.ids) == "What| is| the| |k|no|w"
    assert (head.first, head.stop, head.spans) == (5, 7, ((0, 1), (1, 2)))


def test_the_tail_is_extractor_and_answer() -> None:
    page = pages()
    tail = page.tail("12")
    assert pieces(page, tail.ids) == "\n|Therefore|,| the| final| answer| is| $|1|2"
    assert tail.first == 8


def test_behind_an_extractor_that_ends_in_a_space_the_answer_is_written_where_the_loss_stands() -> None:
    page = pages(extractor="\nThe answer is: ")
    tail = page.tail("no")
    assert pieces(page, tail.ids[tail.first :]) == " no"
    assert tail.asks == tail.ids[: tail.first]
    assert tail.clean
    assert pieces(page, tail.asks).endswith(" is|:")
    assert pieces(page, page.tail("Z").asks).endswith(" is|:| ")  # where the space is a token of its own
    seam = pages(extractor="What is the kn").tail("ow")
    assert pieces(page, seam.ids) == "What| is| the| |k|no|w"
    assert pieces(page, seam.asks) == "What| is| the| |k|n"  # what the tokens of the answer would give away


def test_tokens_that_the_model_does_not_know_add_nothing() -> None:
    page = pages()
    known = page.vocabulary.index("tion") + 1
    page = pages()
    page._reader.size = known
    assert page.vocabulary[known - 1] == "tion"
    assert not any(page.vocabulary[known:])


def test_the_document_that_positions_count_in() -> None:
    page = pages()
    cut = page.cut(PROMPT)
    assert pieces(page, cut.ids) == "?|\n|Let| us| think|."
    assert cut.spans == SPANS


def test_what_stands_before_the_extractor() -> None:
    page = pages()
    ids = page.tokenizer("It is 7. Therefore, the final answer is $7", add_special_tokens=False)["input_ids"]
    assert pieces(page, ids) == "I|t| is| 7|.| Therefore|,| the| final| answer| is| $|7"
    assert page.before_extractor(ids) == 5


def test_a_token_survives_if_the_new_prompt_has_the_old_tokens_and_this_one() -> None:
    page = pages()
    give, tion = (page.vocabulary.index(text) for text in (" give", "tion"))
    assert page.replaced(PROMPT, 2, [give, tion]) == ["Let us give.", None]
    assert page.replaced(PROMPT, 4, [give]) == ["Let us think. give"]
    assert pieces(page, page.cut("Let us give.").ids[2:]) == "Let| us| give|."
    assert pieces(page, page.cut("Let ustion.").ids[2:]) == "Let| |u|st|ion|."
