"""Whatever is chosen among the legal tokens, the result is the training text of an annotation of the input."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from support.linking_texts import random_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data_builders.entity_linking import annotate
from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.linking import CopyRule, MentionMarkup, find_boundaries

END = 3
CONFIG = OneGenConfig(tokens=RetrievalTokens.entity_linking())


def sentencepiece_like() -> Any:
    """BPE that puts a space before the first word of a text only, as current Llama 2 and Mistral tokenizers do."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(["Ada Moll met Ben Oak in Fern Bay, by the sea, a boat in the bay."] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module", params=["byte level", "first word"])
def markup(request: pytest.FixtureRequest, base_tokenizer: Any) -> MentionMarkup:
    tokenizer = copy.deepcopy(base_tokenizer) if request.param == "byte level" else sentencepiece_like()
    CONFIG.tokens.add_to(tokenizer)
    return MentionMarkup(tokenizer, CONFIG)


def run(rule: CopyRule, choose: Any) -> list[int]:
    ids: list[int] = []
    while not rule.done:
        ids.append(choose(rule.allowed_tokens()))
        rule.advance(ids[-1])
    return ids


def training_ids(markup: MentionMarkup, annotated: str) -> list[int]:
    """The assistant's turn in training, without its end."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": annotated}]
    empty = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]
    encoder = RoleEncoder(markup.tokenizer, CONFIG)
    whole, around = encoder.encode(messages).input_ids, encoder.encode(empty).input_ids
    prompt = markup.prompt("x", "")
    return whole[len(prompt) : len(whole) - (len(around) - len(prompt))]


def check(markup: MentionMarkup, text: str, kind: str, generator: random.Random) -> None:
    rule = CopyRule(markup, text, END, kind, max_mention_length=generator.choice([1, 3, 128]))
    ids = run(rule, generator.choice)
    spans = rule.spans
    assert all(a < b for a, b in spans)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in spans)
    assert ids == [*markup.annotate(text, spans).ids, END]


@pytest.mark.parametrize("kind", ["word", "character"])
def test_random_texts_and_choices(markup: MentionMarkup, kind: str) -> None:
    for seed in range(400):
        generator = random.Random(seed)
        text = random_text(generator)
        check(markup, text, kind, generator)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["word", "character"])
def test_many_texts_of_any_characters(markup: MentionMarkup, kind: str) -> None:
    codes = [code for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    for seed in range(2_500):
        generator = random.Random(seed)
        text = random_text(generator) + "".join(chr(generator.choice(codes)) for _ in range(6))
        check(markup, text, kind, generator)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Ada Moll met Ben Oak.", [(0, 8), (13, 20)]),
        ("In Fern Bay, the sea", [(3, 11)]),
        ("Ada MollBen Oak", [(0, 8), (8, 15)]),
        ("the sea", []),
        ("Ada", [(0, 3)]),
    ],
)
def test_ids_are_those_of_training(markup: MentionMarkup, text: str, spans: list[tuple[int, int]]) -> None:
    expected = training_ids(markup, annotate(text, spans))
    assert markup.annotate(text, spans).ids == expected
    rule = CopyRule(markup, text, END, "character")
    for token in expected:
        rule.advance(token)
    assert rule.allowed_tokens() == [END]
    assert rule.spans == spans


def test_every_annotation_at_boundaries_is_reached(markup: MentionMarkup) -> None:
    text = "Ada met Ben-Oak,  by the sea"
    boundaries = find_boundaries(text)
    for start in boundaries.starts:
        for end in (end for end in boundaries.ends if end > start):
            rule = CopyRule(markup, text, END)
            for token in markup.annotate(text, [(start, end)]).ids:
                rule.advance(token)
            assert rule.spans == [(start, end)]


def test_a_mention_may_begin_in_a_long_text_anywhere(markup: MentionMarkup) -> None:
    text = "Ada Moll met Ben Oak in Fern Bay. " * 12
    for span in ((0, 3), (34 * 5 + 13, 34 * 5 + 16), (34 * 11 + 24, 34 * 11 + 28)):
        rule = CopyRule(markup, text, END)
        for token in [*markup.annotate(text, [span]).ids, END]:
            rule.advance(token)
        assert rule.done
        assert rule.spans == [span]


def test_what_is_forced_after_a_mention(markup: MentionMarkup) -> None:
    rule = CopyRule(markup, "Ada", END)
    assert markup.open in rule.allowed_tokens()
    assert END not in rule.allowed_tokens()
    rule.advance(markup.open)
    assert markup.close not in rule.allowed_tokens()
    while rule.allowed_tokens() != [markup.close]:
        rule.advance(rule.allowed_tokens()[0])
    for token in (markup.close, markup.query, markup.continuation, END):
        assert rule.allowed_tokens() == [token]
        rule.advance(token)
    assert rule.done
    assert rule.allowed_tokens() == []


def test_an_illegal_token(markup: MentionMarkup) -> None:
    with pytest.raises(ValueError, match="is not legal here"):
        CopyRule(markup, "Ada", END).advance(markup.close)


def test_no_room_for_a_mention(markup: MentionMarkup) -> None:
    rule = CopyRule(markup, "Ada met Ben", END)
    while not rule.done:
        rule.advance(rule.allowed_tokens(may_open=False)[0])
    assert rule.spans == []


@pytest.mark.parametrize(
    ("text", "starts", "ends"),
    [
        ("", [], []),
        (" \n ", [], []),
        ("Ada, b", [0, 3, 5], [3, 4, 6]),
        ("e\u0301 x", [0, 3], [2, 4]),
        ("\u6771\u4eac", [0, 1], [1, 2]),
        ("\uac00\ub098", [0], [2]),
        ("a\u200d b", [0, 3], [2, 4]),
    ],
)
def test_words(text: str, starts: list[int], ends: list[int]) -> None:
    found = find_boundaries(text)
    assert (list(found.starts), list(found.ends)) == (starts, ends)


def test_unknown_boundaries() -> None:
    with pytest.raises(ValueError, match=r"boundaries='words' must be one of"):
        find_boundaries("a", "words")


def test_tokens_that_are_missing(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    plain = RetrievalTokens(query="[LK]", document="[SE]")
    plain.add_to(tokenizer)
    with pytest.raises(ValueError, match="no continuation token"):
        MentionMarkup(tokenizer, OneGenConfig(tokens=plain))
    without_tags = RetrievalTokens(query="[LK]", document="[SE]", continuation="[CON]")
    without_tags.add_to(tokenizer)
    with pytest.raises(ValueError, match="no token '<MENTION>'"):
        MentionMarkup(tokenizer, OneGenConfig(tokens=without_tags))
