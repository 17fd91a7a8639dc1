"""Free rewriting: what a model wrote is read, and its mentions are found in the text."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.linking_setup import INSTRUCTION, LinkingSetup, WriteIds, linking_setup
from support.paper_checkpoint import PREFIXES, llama_tokenizer

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.linking import MentionMarkup, RewriteRule, align_spans, find_boundaries, read_markup

TEXT = "Ada Moll met Ben Oak in Fern Bay."
OPEN, CLOSE, QUERY, CON = "<MENTION>", "</MENTION>", "[LK]", "[CON]"


@pytest.fixture(scope="module")
def setup(base_tokenizer: Any) -> LinkingSetup:
    return linking_setup(copy.deepcopy(base_tokenizer))


def write(setup: LinkingSetup, ids: list[int], text: str, **options: Any) -> Any:
    """The row of a model that writes these ids."""
    prompt = len(setup.markup.prompt(text, INSTRUCTION))
    processor = WriteIds([*ids, setup.tokenizer.eos_token_id], prompt)
    (row,) = setup.generate([text], decoding="free", logits_processor=[processor], **options).rows
    return row


def ids_of(setup: LinkingSetup, written: str) -> list[int]:
    return setup.tokenizer(written, add_special_tokens=False)["input_ids"]


def mark(text: str) -> str:
    """`{Ada}` for a marked mention."""
    return text.replace("{", OPEN).replace("}", CLOSE + QUERY + CON)


@pytest.mark.parametrize(
    ("written", "spans"),
    [
        ("Ada met Ben", []),
        ("{Ada} met {Ben}", [(0, 3), (8, 11)]),
        ("{ Ada }met", [(1, 4)]),
        ("{Ada}{Ben}", [(0, 3), (3, 6)]),
        (f"{OPEN}Ada met {{Ben}}", [(8, 11)]),
        (f"Ada{CLOSE}{QUERY}{CON} met", []),
        (f"{OPEN}Ada{CLOSE} met {QUERY}{CON}", []),
        ("{} met {  }", []),
        (OPEN, []),
    ],
)
def test_reading(setup: LinkingSetup, written: str, spans: list[tuple[int, int]]) -> None:
    text, found = read_markup(setup.markup, ids_of(setup, mark(written)))
    assert [span for span, _ in found] == spans
    assert not {OPEN, CLOSE, QUERY, CON} & set(text.split())


def test_reading_is_the_inverse_of_annotating(setup: LinkingSetup) -> None:
    for seed in range(200):
        generator = random.Random(seed)
        text = "".join(generator.choice("ab c.D-e\u00e9\U0001f600 ") for _ in range(generator.randrange(12)))
        boundaries = find_boundaries(text, "character")
        pairs = [(a, b) for a in boundaries.starts for b in boundaries.ends if a < b]
        spans = [generator.choice(pairs)] if pairs else []
        assert read_markup(setup.markup, setup.markup.annotate(text, spans).ids) == (
            text, [(span, number) for number, span in enumerate(spans)]
        )  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_reading_where_tags_are_text(prefix: str) -> None:
    tokens = RetrievalTokens.entity_linking_paper()
    tokenizer = llama_tokenizer(tokens.all, prefix)
    markup = MentionMarkup(tokenizer, OneGenConfig(tokens=tokens, mention_tags="text"))
    assert markup.open is None
    text, spans = "Tin Boat is a film by Ada Moll.", [(0, 8), (22, 30)]
    read, found = read_markup(markup, markup.annotate(text, spans).ids)
    assert [read[a:b] for (a, b), _ in found] == ["Tin Boat", "Ada Moll"]
    assert align_spans(read, text, [span for span, _ in found]) == spans


def test_alignment() -> None:
    assert align_spans("Ada met Ben", "Ada met Ben", [(0, 3), (8, 11)]) == [(0, 3), (8, 11)]
    assert align_spans("Ada has met Ben", "Ada met Ben", [(0, 3), (12, 15)]) == [(0, 3), (8, 11)]
    assert align_spans("Ada met Bob", "Ada met Ben", [(0, 3), (8, 11)]) == [(0, 3), None]
    assert align_spans("", "Ada", []) == []
    assert align_spans("Ada", "", [(0, 3)]) == [None]


@settings(max_examples=100, deadline=None)
@given(st.text("ab c", max_size=12), st.text("ab c", max_size=12), st.data())
def test_aligned_spans_say_what_was_written(written: str, text: str, data: st.DataObject) -> None:
    edges = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=6, unique=True)))
    spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    found = align_spans(written, text, spans)
    kept = [(span, own) for span, own in zip(spans, found, strict=True) if own is not None]
    assert all(written[a:b] == text[c:d] for (a, b), (c, d) in kept)
    assert all(one[1][1] <= other[1][0] for one, other in zip(kept, kept[1:], strict=False))


@torch.no_grad()
@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize(
    ("written", "mentions", "aligned"),
    [
        ("{Ada Moll} met {Ben Oak} in {Fern Bay}.", ["Ada Moll", "Ben Oak", "Fern Bay"], True),
        ("{Ada Moll} once met Ben Oak in {Fern Bay}.", ["Ada Moll", "Fern Bay"], False),
        ("{Ada Holl} met {Ben Oak} in Fern Bay.", ["Ben Oak"], False),
        ("{Elm Hill} is a town.", [], False),
        ("", [], False),
    ],
)
def test_mentions_of_a_rewritten_text(
    setup: LinkingSetup, written: str, mentions: list[str], aligned: bool, num_beams: int
) -> None:
    row = write(setup, ids_of(setup, mark(written)), TEXT, num_beams=num_beams)
    assert [TEXT[a:b] for a, b in row.spans] == mentions
    assert (row.aligned, row.stop_reason) == (aligned, "eos")
    hidden = setup.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states[-1][0]
    begin = row.usage.prompt_tokens
    every = [n for n, token in enumerate(row.ids) if n >= begin and token == setup.markup.query]
    pieces = [piece.split("}")[0] for piece in written.split("{")[1:]]
    kept = [number for piece, number in zip(pieces, every, strict=True) if piece in mentions]
    assert len(row.embeddings) == len(kept)
    for embedding, position in zip(row.embeddings, kept, strict=True):
        torch.testing.assert_close(embedding, hidden[position], atol=1e-4, rtol=1e-4)
    if num_beams == 1:
        assert row.usage.forwarded_tokens == row.usage.prompt_tokens + row.usage.generated_tokens - 1


def test_nothing_but_the_continuation_is_forced(setup: LinkingSetup) -> None:
    rows = setup.generate([TEXT, "A boat"], decoding="free", max_new_tokens=12).rows
    plain = setup.model.generate(
        torch.tensor([setup.markup.prompt(TEXT, INSTRUCTION)]), max_new_tokens=12, do_sample=False
    )
    assert rows[0].ids == plain[0].tolist()
    assert setup.markup.query not in rows[0].ids[rows[0].usage.prompt_tokens :]
    rule = RewriteRule(setup.markup, TEXT, [setup.tokenizer.eos_token_id])
    assert rule.allowed_tokens() is None
    rule.advance(setup.markup.query)
    assert rule.allowed_tokens() == [setup.markup.continuation]
    rule.advance(setup.markup.continuation)
    assert rule.allowed_tokens() is None


def test_unknown_decoding(setup: LinkingSetup) -> None:
    with pytest.raises(ValueError, match=r"decoding='loose' is unknown: choose one of"):
        setup.generate([TEXT], decoding="loose")
