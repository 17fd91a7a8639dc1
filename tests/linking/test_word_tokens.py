"""Ids of parts of a text, put together from those of its words."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
from support.linking_texts import random_text
from support.paper_checkpoint import llama_tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers

from onegen_hf.linking.word_tokens import WordTokens, tokenizes_words_apart

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPLITTERS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "prefix": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "llama3": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA_3), "isolated"), BYTES]),
}


def with_splitter(tokenizer: Any, splitter: Any) -> Any:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = splitter
    return tokenizer


def encoder(tokenizer: Any) -> Any:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"]

    return encode


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_every_part_of_any_text(base_tokenizer: Any, splitter: str) -> None:
    tokenizer = with_splitter(base_tokenizer, SPLITTERS[splitter])
    assert tokenizes_words_apart(tokenizer)
    encode = encoder(tokenizer)
    generator = random.Random(0)
    texts = [random_text(generator) for _ in range(20)]
    texts += ["Ada's  boat,\n\n 12 o'clock 's a", " a b", "a ", " ", "", "a\u00a0b c", "x \u0301 y"]
    for text in texts:
        words = WordTokens(text, encode)
        for start in range(0, len(text), 3):
            places = list(range(start, len(text) + 1))
            assert words.parts(start, places) == encode([text[start:end] for end in places])


@pytest.mark.parametrize(
    "splitter",
    [
        None,
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Split(Regex(r"\w+ \w+"), "isolated"),
        BYTES,
    ],
)
def test_tokenizers_of_other_kinds(base_tokenizer: Any, splitter: Any) -> None:
    assert not tokenizes_words_apart(with_splitter(base_tokenizer, splitter))


def test_a_normalizer_sees_the_whole_text(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert not tokenizes_words_apart(tokenizer)


def test_sentencepiece() -> None:
    assert not tokenizes_words_apart(llama_tokenizer([]))


def test_words_are_tokenized_once(base_tokenizer: Any) -> None:
    seen: list[str] = []
    encode = encoder(base_tokenizer)

    def counted(texts: Sequence[str]) -> list[list[int]]:
        seen.extend(texts)
        return encode(texts)

    text = "Ada Moll met Ben Oak by the sea. " * 20
    words = WordTokens(text, counted)
    seen.clear()
    words.parts(4, [len(text) - 4, len(text) - 9])
    assert max(map(len, seen)) < 12 and len(seen) == 3
