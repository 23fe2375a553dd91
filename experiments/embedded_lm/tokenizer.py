"""The tokenizer of the embedded LM: a word is a token; what is no word of the corpus is spelled out.

Spaces are no tokens, so that a word is the same token wherever it stands. Decoding puts them back, except before marks.
"""

from __future__ import annotations

import string

from corpus import every_word
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BOS, EOS, ASSISTANT = SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<asst>")
CONTEXT_LENGTH = 512
PIECES = r"#\d+|\d+|[A-Za-z]+(?:['-][A-Za-z]+)*|[^\sA-Za-z\d]"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}<asst>{{ message.content }}{{ eos_token }}"
    "{% else %}{% if loop.previtem is defined and loop.previtem.role != 'assistant' %} {% endif %}"
    "{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<asst>{% endif %}"
)


def vocabulary() -> dict[str, int]:
    """Special tokens, words, and every printable character as the beginning and as the rest of a word."""
    characters = [c for c in string.printable if not c.isspace()]
    tokens = [*SPECIAL, *every_word(), *characters, *(f"##{c}" for c in characters)]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; decoding what it encoded gives the text again where marks follow words without a space."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary(), unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    marks = [decoders.Replace(f" {mark}", mark) for mark in ".,?!:;"]
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), *marks])
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, bos_token=BOS, eos_token=EOS,
        additional_special_tokens=[ASSISTANT], chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False,
        padding_side="left", model_max_length=CONTEXT_LENGTH,
    )  # fmt: skip
