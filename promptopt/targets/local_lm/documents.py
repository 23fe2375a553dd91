"""Where a prompt stands in a document, in characters and in tokens.

A document is two texts with generated tokens between them::

    head: question and prompt in the template, framed by the chat template | reasoning | tail: extractor and answer

Head and tail are each tokenised once, as a whole; which tokens are the prompt's or the answer's follows from the
tokenizer's offsets. A token that reaches over a seam belongs to the prompt (or the answer) as soon as one of its
characters does. The reasoning stays the tokens that the model wrote: tokenising its text again could change them.

For example, with the template ``{input}{prompt}`` and a tokenizer that knows the piece ``no`` (``|`` between tokens)::

    input "What is the kn", prompt "ow"
    head:    What| is| the| |k|no|w        ids[5:7] are the prompt's: "no" holds its first letter, spans (0, 1), (1, 2)

    extractor "\\nTherefore, the final answer is $", answer "12"
    tail:    \\n|Therefore|,| the| final| answer| is| $|1|2        ids[8:] are the answer's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from ...core import Example
from ...errors import ModelError, UserError
from ...models.hosted.wire import clean
from ...models.local.reader import Reader
from ..placeholders import fill, names, text_of, values

__all__ = ["Head", "Pages", "Tail"]

Ids: TypeAlias = tuple[int, ...]
Span: TypeAlias = tuple[int, int]

MARK = "\ue000\ue001\ue000"
ANCHORS = ("\n", "a", ".", "1", " ")
CONTEXT = 4  # tokens before one whose text is wanted: what it adds to a text depends on what it follows


@dataclass(frozen=True)
class Head:
    """A document up to where the reasoning begins.

    Attributes:
        ids: its tokens.
        first, stop: ``ids[first:stop]`` are the prompt's tokens.
        spans: for each of the prompt's tokens, the characters of the prompt that it covers, as (start, end): for
            ``Let| us| think|.`` these are (0, 3), (4, 6), (7, 12) and (12, 13). This tokenizer doesn't count the space
            before a word; others give (3, 6) for `` us``.
    """

    ids: Ids
    first: int
    stop: int
    spans: tuple[Span, ...]

    def place(self, position: int, cut: Head) -> int | None:
        """The index in ``ids`` of one token of the prompt, given by its position in ``cut``, the prompt's own document.

        It is the token that covers the same characters of the prompt here as there; None where there is none, since
        the tokenizer has merged it with what stands around the prompt in this document.
        """
        span = cut.spans[position]
        rank = cut.spans[:position].count(span)  # several tokens can share one character
        found = [i for i, other in enumerate(self.spans) if other == span]
        return self.first + found[rank] if rank < len(found) else None


@dataclass(frozen=True)
class Tail:
    """Extractor and answer. ``ids[first:]`` are the answer's tokens; behind ``asks`` the model writes its own.

    ``asks`` are the tokens before the answer's where these hold all of the extractor but white space. So behind "is: ",
    where the answer's first token is " no" with its space, ``asks`` end in ":", behind which the model knows how to go
    on; a lone space is what it has hardly ever read. Else they are the tokens of the extractor alone.
    """

    ids: Ids
    first: int
    asks: Ids

    @property
    def clean(self) -> bool:
        """Whether extractor and answer do not share a token."""
        return self.ids[: self.first] == self.asks


class Pages:
    """Turns prompts, examples and answers into tokens and back. For one thread at a time.

    Args:
        reader: tokenizer and chat template.
        template: holds ``{prompt}`` once, and ``{input}`` or fields of the input.
        extractor: what stands between reasoning and answer.

    Attributes:
        tokenizer: of transformers; only read.
        special: ids of special tokens.

    Raises:
        UserError: the tokenizer is not a fast one.
    """

    def __init__(self, reader: Reader, *, template: str, extractor: str) -> None:
        if not getattr(reader.tokenizer, "is_fast", False):
            raise UserError(
                f"the tokenizer of {reader.tokenizer.name_or_path} is not a fast one, and only those say which "
                "characters a token covers. Give a model whose folder has a tokenizer.json."
            )
        self.tokenizer: Any = reader.tokenizer
        self.extractor = extractor
        self._reader = reader
        self._template = template
        added = self.tokenizer.added_tokens_decoder
        self.special = frozenset(self.tokenizer.all_special_ids) | {i for i, one in added.items() if one.special}
        self._special_texts = sorted({str(one) for i, one in added.items() if i in self.special}, key=len)
        self.cut = lru_cache(maxsize=4096)(self._cut)
        self.tail = lru_cache(maxsize=65536)(self._tail)

    # ── Heads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def heads(self, pairs: Sequence[tuple[str, Example]]) -> list[Head]:
        """The heads of prompts and examples: up to where the reasoning begins.

        Raises:
            UserError: an input is no text or lacks a field that the template names; or nothing of a prompt is left.
            ModelError: the chat template refuses or rewrites what it is given.
        """
        placed = [self._placed(prompt, values(example, prompt=prompt)) for prompt, example in pairs]
        return [_there(head) for head in self._heads(placed)]

    def _cut(self, prompt: str) -> Head:
        """The prompt's own document: the question is "?" and nothing follows the prompt.

        Its tokens are the ones that positions of a prompt count, since no example's question and no text behind the
        prompt could merge with them. With the template ``{input}\\n{prompt}`` and the prompt "Let us think." it is
        ``?|\\n|Let| us| think|.``.
        """
        return _there(self._cuts([prompt])[0])

    def _cuts(self, prompts: Sequence[str]) -> list[Head | None]:
        neutral = dict.fromkeys(names(self._template), "?")
        placed = [self._placed(prompt, neutral) for prompt in prompts]
        return self._heads([(text[: span[1]], span) for text, span in placed])

    def _heads(self, placed: Sequence[tuple[str, Span]]) -> list[Head | None]:
        encoded = self._encode([text for text, _ in placed])
        return [_head(ids, offsets, span) for (_, span), (ids, offsets) in zip(placed, encoded, strict=True)]

    def _placed(self, prompt: str, known: Mapping[str, str]) -> tuple[str, Span]:
        """The text of a document up to the reasoning, and the prompt's place in it, as (start, end) in characters.

        With the template ``{input}\\n{prompt}``, the input "2+2" and the prompt "Add." make "2+2\\nAdd." and (4, 8).
        """
        before, after = (clean(fill(part, known)) for part in self._template.split("{prompt}"))
        prompt = clean(prompt)
        text = before + prompt + after
        if not self._reader.templated:
            return text, (len(before), len(before) + len(prompt))
        framed, shift = self._framed(text)
        start, stop = shift + len(before), shift + len(before) + len(prompt)
        inside = len(self._frame[0]), len(framed) - len(self._frame[1])  # the template may have trimmed the text
        return framed, (max(start, inside[0]), min(stop, inside[1]))

    @cached_property
    def _frame(self) -> tuple[str, str]:
        """What the chat template puts before and behind a text."""
        before, _, after = self._reader.framed([("user", MARK)]).partition(MARK)
        return before, after

    def _framed(self, text: str) -> tuple[str, int]:
        """A text in the chat template, and where its first character stands there.

        Many chat templates trim the text. The place is then the one that the first character would have, were the
        white space still there: as many characters before what is left as were removed in front. With ``<user>``
        before and ``<end>`` behind, " hi " becomes "<user>hi<end>" and 5: the "h", its second character, stands at 6.
        """
        framed = self._reader.framed([("user", text)])
        before, after = self._frame
        for kept in (text, text.strip(), text.lstrip(), text.rstrip()):
            if framed == before + kept + after:
                removed = len(text) - len(text.lstrip()) if kept[:1] != text[:1] else 0
                return framed, len(before) - removed
        raise ModelError("the chat template rewrites what it is given, so the prompt cannot be found; switch it off.")

    def _encode(self, texts: Sequence[str]) -> list[tuple[Ids, tuple[Span, ...]]]:
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=not self._reader.templated,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        return [
            self._without_end(tuple(ids), tuple(map(tuple, offsets)))
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _without_end(self, ids: Ids, offsets: tuple[Span, ...]) -> tuple[Ids, tuple[Span, ...]]:
        """Without the end-of-text token that some tokenizers add: the reasoning is still to follow."""
        n = len(ids)
        while n > 1 and ids[n - 1] in self.special and offsets[n - 1] == (0, 0):
            n -= 1
        return ids[:n], offsets[:n]

    # ── Tails ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, example: Example) -> str:
        """The true answer to an example; the first of them where the label is a list.

        Raises:
            UserError: the label is no text, or is empty.
        """
        label = example.label
        first = label[0] if isinstance(label, list | tuple) and label else label
        if not (text := text_of(first, example).strip()):
            raise UserError(f"example {example.id!r} has an empty label; the loss needs a true answer.")
        return clean(text)

    def _tail(self, answer: str) -> Tail:
        ids, offsets = self._behind(self.extractor + answer)
        start = len(self.extractor)
        first = next((i for i, (a, b) in enumerate(offsets) if b > max(a, start)), None)
        if first is None:
            raise UserError(f"the answer {answer!r} has no tokens in this model's vocabulary.")
        held = max((b for _, b in offsets[:first]), default=0)  # characters of the extractor before the answer's tokens
        asks = self._behind(self.extractor)[0] if self.extractor[held:].strip() else ids[:first]
        return Tail(ids, first, asks)

    def _behind(self, text: str) -> tuple[Ids, tuple[Span, ...]]:
        """The tokens of a text that follows another text, and the characters of the text that each of them covers.

        A tokenizer may treat the beginning of a text in its own way: some put a space before the first word. So the
        text is tokenised behind an anchor, a character or two, and the anchor's tokens are cut off. An anchor that
        shares a token with the text is of no use, and the next one is tried: "a" does for "7", and not for "nd" where
        the tokenizer knows the piece "and".
        """
        for anchor in ANCHORS:
            ids, offsets = self._plain(anchor + text)
            n = len(self._plain(anchor)[0])
            seam = len(anchor)
            if all(b <= seam for _, b in offsets[:n]) and all(a >= seam for a, _ in offsets[n:]):
                return ids[n:], tuple((a - seam, b - seam) for a, b in offsets[n:])
        return self._plain(text)

    def _plain(self, text: str) -> tuple[Ids, tuple[Span, ...]]:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return tuple(encoded["input_ids"]), tuple(map(tuple, encoded["offset_mapping"]))

    # ── Back to text ──────────────────────────────────────────────────────────────────────────────────────────────

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, without special ones."""
        decoded = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return clean(decoded)

    def before_extractor(self, ids: Sequence[int]) -> int | None:
        """How many of the tokens that a model wrote stand before the extractor; None where it did not write it.

        For ``I|t| is| 7|.| Therefore|,| the| final| answer| is| $|7`` they are 5.
        """
        needle = self.extractor.strip()
        place = self.text(ids).find(needle) if needle else -1
        if place < 0:
            return None
        n = len(ids)
        while n and len(self.text(ids[:n])) > place:
            n -= 1
        return n

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """``(n_vocabulary,)``: the text that each token adds in mid-sentence, for example " step" with its space.

        Empty for special tokens, for tokens that are a part of a character, and for those that the model does not know.
        """
        anchor = list(self._behind(" a")[0][-1:])
        pieces = self._added(anchor, range(len(self.tokenizer)))
        known = len(pieces) if self._reader.size is None else self._reader.size
        return tuple("" if i in self.special or i >= known else piece or "" for i, piece in enumerate(pieces))

    def having(self, character: str) -> frozenset[int]:
        """Ids of the tokens whose text may hold a character; all ids where it is not ASCII, and may come in parts."""
        if not character.isascii():
            return frozenset(range(len(self.vocabulary)))
        return frozenset(i for i, text in enumerate(self.vocabulary) if character and character in text)

    def _added(self, before: Sequence[int], tokens: Sequence[int]) -> list[str | None]:
        """The text that each token adds to the text of the tokens ``before`` it; None where that is not clear.

        What a token adds is the difference between two decoded texts: behind ``Let``, the token `` us`` makes "Let us",
        so it adds " us". That is not clear where the token changes the text before it, or is a part of a character.
        """

        def decode(rows: list[list[int]]) -> list[str]:
            texts: list[str] = self.tokenizer.batch_decode(
                rows, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            return texts

        base = decode([list(before)])[0]
        whole = decode([[*before, token] for token in tokens])
        added = [text[len(base) :] if text.startswith(base) else None for text in whole]
        return [None if piece is None or "\ufffd" in piece else piece for piece in added]

    def replaced(self, prompt: str, position: int, tokens: Sequence[int]) -> list[str | None]:
        """The prompt with the token at a position replaced by each of ``tokens``, as texts; None if it doesn't survive.

        A token survives if the new prompt, tokenised in its own document (:meth:`_cut`), has the tokens of the old one,
        and this one at the position. Else the model would read other tokens than the ones that were chosen. For the
        prompt "Let us think.", ``Let| us| think|.``, and position 2::

            token    new prompt       tokens of the new prompt
            " give"  "Let us give."   Let| us| give|.           survives: the text is "Let us give."
            "tion"   "Let ustion."    Let| |u|st|ion|.          does not: the pieces are others, so None

        Position 4, behind the last token, appends: " give" makes "Let us think. give".
        """
        cut = self.cut(prompt)
        size = len(cut.spans)
        if not 0 <= position <= size:
            raise ValueError(f"position {position} in a prompt of {size} tokens")
        end = cut.spans[position - 1][1] if position else 0
        start, stop = cut.spans[position] if position < size else (end, end)
        start = min(start, end)  # spans may leave out the space before a word; it goes with the word's token
        at = cut.first + position
        pieces = self._added(cut.ids[max(0, at - CONTEXT) : at], tokens)
        texts: list[str | None] = [None] * len(tokens)
        wanted = list(cut.ids[cut.first : cut.stop])
        # A token such as " give" is tried as "give" first: some tokenizers put a space before the first word of a text
        # themselves, and where a space stands already the token's own is not to come again. The round trip decides.
        for strip in (True, False):
            tried = {
                i: prompt[:start] + (piece[1:] if strip else piece) + prompt[stop:]
                for i, piece in enumerate(pieces)
                if texts[i] is None and piece and tokens[i] not in self.special and (piece[0] == " " or not strip)
            }
            usable = {i: text for i, text in tried.items() if text.strip()}
            for (i, text), new in zip(usable.items(), self._cuts(list(usable.values())), strict=True):
                wanted[position : position + 1] = [tokens[i]]
                if new and new.ids[: new.stop] == (*cut.ids[: cut.first], *wanted) and new.first == cut.first:
                    texts[i] = text
        return texts

    def special_in(self, text: str) -> str | None:
        """The first special token, such as ``</s>``, whose text occurs in a text; None if none does."""
        return next((one for one in self._special_texts if one and one in text), None)

    def unknown_in(self, text: str) -> str | None:
        """The first token of a text that the tokenizer knows and the model does not; None if there is none."""
        size = self._reader.size
        if size is None or len(self.tokenizer) <= size:
            return None
        unknown = next((one for one in self._plain(text)[0] if one >= size), None)
        return None if unknown is None else str(self.tokenizer.convert_ids_to_tokens(unknown))


def _head(ids: Ids, offsets: Sequence[Span], prompt: Span) -> Head | None:
    """A document's head; None if no token covers any of the prompt's characters."""
    start, stop = prompt
    inside = [i for i, (a, b) in enumerate(offsets) if a < b and a < stop and b > start]
    if not inside:
        return None
    first, last = inside[0], inside[-1]
    spans = tuple((max(a, start) - start, min(b, stop) - start) for a, b in offsets[first : last + 1])
    return Head(ids, first, last + 1, spans)


def _there(head: Head | None) -> Head:
    if head is None:
        raise UserError("nothing of the prompt is left in the document; write an instruction of letters.")
    return head
