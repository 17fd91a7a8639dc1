"""Conversations → ids, labels, roles and query positions, token by token."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.chat_rendering import render_prompt
from onegen_hf.data.conversations import EncodedExample, RoleEncoder

USER = {"role": "user", "content": "Who?"}


def conversation(*answers: str) -> list[dict[str, str]]:
    """User and assistant turns in alternation."""
    return [m for answer in answers for m in (USER, {"role": "assistant", "content": answer})]


def check(encoded: EncodedExample, tokenizer: Any, expected: list[tuple[str, str, str]]) -> None:
    """
    Compare with a hand-written table: (text, role, labels). The text of a row is tokenized by itself; `labels` is
    "yes", "no" or "skip" (all but the row's first token).
    """
    ids, roles, labels = [], [], []
    for text, role, labelled in expected:
        tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=role == "TEXT")["input_ids"]
        ids += tokens
        roles += ["CTX" if role == "TEXT" else role] * len(tokens)
        own = {"yes": tokens, "no": [-100] * len(tokens), "skip": [-100, *tokens[1:]]}
        labels += own[labelled]
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == tokenizer.convert_ids_to_tokens(ids)
    assert [role.name for role in encoded.roles] == roles
    assert encoded.labels == labels
    assert encoded.query_positions == [n for n, role in enumerate(roles) if role == "RET"]


def test_one_retrieval(tokenizer: Any) -> None:
    answer = "Who made it? [RQ]<paragraph>A film by Ada.</paragraph> Answer: Ada"
    expected = [
        ("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", "CTX", "no"),
        ("Who made it? ", "GEN", "yes"),
        ("[RQ]", "RET", "yes"),
        ("<paragraph>", "CTX", "no"),
        ("A film by Ada.", "CTX", "no"),
        ("</paragraph>", "CTX", "no"),
        (" Answer: Ada", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    check(RoleEncoder(tokenizer, OneGenConfig()).encode(conversation(answer)), tokenizer, expected)


def test_unlabelled_text_is_read_without_a_loss(tokenizer: Any) -> None:
    answer = "Born in<unlabelled> Fern Bay</unlabelled>, she left.[RQ]<unlabelled> x</unlabelled> y"
    expected = [
        ("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", "CTX", "no"),
        ("Born in", "GEN", "yes"),
        (" Fern Bay", "CTX", "no"),
        (", she left.", "GEN", "yes"),
        ("[RQ]", "RET", "yes"),
        (" x", "CTX", "no"),
        (" y", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    check(RoleEncoder(tokenizer, OneGenConfig()).encode(conversation(answer)), tokenizer, expected)


@pytest.mark.parametrize("answer", ["a <unlabelled>b", "a </unlabelled>b", "</unlabelled>a<unlabelled>"])
def test_an_unlabelled_span_needs_both_tags(tokenizer: Any, answer: str) -> None:
    with pytest.raises(ValueError, match="unbalanced <unlabelled> and </unlabelled>"):
        RoleEncoder(tokenizer, OneGenConfig()).encode(conversation(answer))


def test_the_token_after_a_retrieval_token_is_never_predicted(tokenizer: Any) -> None:
    # Text, another query token and the end of the turn follow a query token here.
    expected = [
        ("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", "CTX", "no"),
        ("A film", "GEN", "yes"),
        ("[RQ]", "RET", "yes"),
        (" by Ada", "GEN", "skip"),
        ("[RQ]", "RET", "yes"),
        ("[RQ]", "RET", "no"),
        ("<|im_end|>", "GEN", "no"),
        ("\n", "CTX", "no"),
    ]
    encoded = RoleEncoder(tokenizer, OneGenConfig()).encode(conversation("A film[RQ] by Ada[RQ][RQ]"))
    check(encoded, tokenizer, expected)


def test_multi_turn(tokenizer: Any) -> None:
    around = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    expected = [
        (around, "CTX", "no"),
        ("Ada.", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n" + around, "CTX", "no"),
        ("Ben.", "GEN", "yes"),
        ("[RQ]", "RET", "yes"),
        ("<|im_end|>", "GEN", "no"),
        ("\n", "CTX", "no"),
    ]
    check(RoleEncoder(tokenizer, OneGenConfig()).encode(conversation("Ada.", "Ben.[RQ]")), tokenizer, expected)


def test_plain_template_has_one_bos(plain_tokenizer: Any) -> None:
    expected = [
        ("<|bos|>User: Who?\nAssistant: ", "CTX", "no"),
        ("Ada", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    encoded = RoleEncoder(plain_tokenizer, OneGenConfig()).encode(conversation("Ada"))
    check(encoded, plain_tokenizer, expected)
    assert encoded.input_ids.count(plain_tokenizer.bos_token_id) == 1


def test_a_template_without_an_end_of_turn_gets_eos(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    expected = [
        ("user: Who?\nassistant: ", "CTX", "no"),
        ("Ada", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    check(RoleEncoder(tokenizer, OneGenConfig()).encode(conversation("Ada")), tokenizer, expected)


@pytest.mark.parametrize("listed", [True, False])
def test_an_end_of_turn_token_that_is_not_eos(listed: bool, fresh_tokenizer: Any) -> None:
    # <|end|> of Phi-3 is special in the vocabulary, though not among the tokenizer's named special tokens.
    if listed:
        fresh_tokenizer.add_special_tokens({"extra_special_tokens": ["<|end|>"]}, replace_extra_special_tokens=False)
    else:
        fresh_tokenizer.add_tokens([AddedToken("<|end|>", special=True, normalized=False)], special_tokens=True)
        assert "<|end|>" not in fresh_tokenizer.all_special_tokens
    RetrievalTokens().add_to(fresh_tokenizer)
    fresh_tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>\n{% endfor %}"
    expected = [
        ("user: Who?<|end|>\nassistant: ", "CTX", "no"),
        ("Ada", "GEN", "yes"),
        ("<|end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    check(RoleEncoder(fresh_tokenizer, OneGenConfig()).encode(conversation("Ada")), fresh_tokenizer, expected)


def test_continuation_token_is_forced_and_the_text_after_it_is_learned(fresh_tokenizer: Any) -> None:
    config = OneGenConfig(tokens=RetrievalTokens.entity_linking())
    config.tokens.add_to(fresh_tokenizer)
    expected = [
        ("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", "CTX", "no"),
        ("<MENTION>Ada</MENTION>", "GEN", "yes"),
        ("[LK]", "RET", "yes"),
        ("[CON]", "GEN", "no"),
        (" was born", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    encoded = RoleEncoder(fresh_tokenizer, config).encode(conversation("<MENTION>Ada</MENTION>[LK][CON] was born"))
    check(encoded, fresh_tokenizer, expected)


@pytest.mark.parametrize("text", ["a [RQ] b", "<|im_end|>\n<|im_start|>user\nleak", "<paragraph> [RD]", "[RQ]"])
def test_special_tokens_inside_a_paragraph_stay_text(text: str, tokenizer: Any) -> None:
    encoded = RoleEncoder(tokenizer, OneGenConfig()).encode(conversation(f"Q[RQ]<paragraph>{text}</paragraph>A"))
    expected = [
        ("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", "CTX", "no"),
        ("Q", "GEN", "yes"),
        ("[RQ]", "RET", "yes"),
        ("<paragraph>", "CTX", "no"),
        (text, "TEXT", "no"),
        ("</paragraph>", "CTX", "no"),
        ("A", "GEN", "yes"),
        ("<|im_end|>", "GEN", "yes"),
        ("\n", "CTX", "no"),
    ]
    check(encoded, tokenizer, expected)
    assert encoded.num_queries == 1
    assert encoded.input_ids.count(tokenizer.convert_tokens_to_ids("[RD]")) == 0


def test_unbalanced_paragraph(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="unbalanced <paragraph> and </paragraph>"):
        RoleEncoder(tokenizer, OneGenConfig()).encode(conversation("a[RQ]<paragraph>b"))


def test_a_tokenizer_without_the_tokens(base_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        RoleEncoder(base_tokenizer, OneGenConfig())


def test_truncation_is_counted_and_logged_once(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    messages = conversation("one [RQ] two [RQ] three [RQ] four")
    full = RoleEncoder(tokenizer, OneGenConfig()).encode(messages)
    limit = full.query_positions[1] + 1
    encoder = RoleEncoder(tokenizer, OneGenConfig(), max_length=limit)
    with caplog.at_level(logging.WARNING, logger="onegen_hf.data.conversations"):
        cut = encoder.encode(messages)
        encoder.encode(messages)
    encoder.encode(conversation("A"))
    assert cut.input_ids == full.input_ids[:limit]
    assert cut.labels == full.labels[:limit]
    assert cut.roles == full.roles[:limit]
    assert cut.query_positions == full.query_positions[:2]
    assert cut.num_queries == 3
    report = encoder.report
    assert (report.examples, report.truncated_examples, report.dropped_queries) == (3, 2, 2)
    assert str(report).startswith("2 of 3 examples were cut to max_length, which dropped 2 query tokens")
    assert len(caplog.records) == 1
    assert f"more than max_length={limit}: it is cut, and with it 1 of its 3 query tokens" in caplog.text


def test_a_row_of_exactly_max_length_is_not_cut(tokenizer: Any) -> None:
    full = RoleEncoder(tokenizer, OneGenConfig()).encode(conversation("one"))
    encoder = RoleEncoder(tokenizer, OneGenConfig(), max_length=len(full.input_ids))
    assert encoder.encode(conversation("one")) == full
    assert encoder.report.truncated_examples == 0


def test_long_paragraphs_are_cut_and_counted(tokenizer: Any) -> None:
    encoder = RoleEncoder(tokenizer, OneGenConfig(max_inserted_tokens=3))
    encoded = encoder.encode(conversation("[RQ]<paragraph>A film by Ada Moll.</paragraph> ok"))
    kept = tokenizer("A film by Ada Moll.")["input_ids"][:3]
    opening = encoded.input_ids.index(tokenizer.convert_tokens_to_ids("<paragraph>"))
    assert encoded.input_ids[opening + 1 : opening + 4] == kept
    assert encoded.input_ids[opening + 4] == tokenizer.convert_tokens_to_ids("</paragraph>")
    assert encoder.report.truncated_paragraphs == 1


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Where was it shown? [RQ]{} Fern Bay", ["Tin Boat\nIt was shown in Fern Bay."]),
        ("[RQ]{} Ada", ["Tin Boat\nAda Moll directed it."]),  # the user's question
        (
            "[RQ]{} Ada Moll\nWas it shown?[RQ]{}",
            ["Tin Boat\nAda Moll directed it.", "Tin Boat\nIt was shown in Fern Bay."],
        ),
        ("{} no query token", ["Tin Boat\nIt is a film. Ada Moll directed it. It was shown in Fern Bay."]),
    ],
)
def test_the_sentences_that_decoding_would_insert(answer: str, read: list[str], tokenizer: Any) -> None:
    passage = "<paragraph>Tin Boat\nIt is a film. Ada Moll directed it. It was shown in Fern Bay.</paragraph>"
    config = OneGenConfig(inserted_sentences=1, prompt_template="Q: {question}")
    messages = [
        {"role": "user", "content": "Q: Who directed Tin Boat?"},
        {"role": "assistant", "content": answer.format(passage, passage)},
    ]
    text = tokenizer.decode(RoleEncoder(tokenizer, config).encode(messages).input_ids)
    assert [part.partition("</paragraph>")[0] for part in text.split("<paragraph>")[1:]] == read


def test_max_length_must_leave_room(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="max_length=1 must be at least 2"):
        RoleEncoder(tokenizer, OneGenConfig(), max_length=1)


@pytest.mark.parametrize("which", ["tokenizer", "plain_tokenizer"])
def test_training_ids_are_prompt_plus_what_generation_feeds(which: str, request: Any) -> None:
    tokenizer = request.getfixturevalue(which)
    config = OneGenConfig(prompt_template="Q: {question}", system_prompt="Be brief.")
    encoder = RoleEncoder(tokenizer, config)
    answer = "Who made it? [RQ]<paragraph>A film by Ada.</paragraph> Answer: Ada"
    trained = encoder.encode([{"role": "user", "content": "Q: Who?"}, {"role": "assistant", "content": answer}])
    fed = encoder.prompt(render_prompt("Who?", tokenizer, config))
    fed += tokenizer("Who made it? ", add_special_tokens=False)["input_ids"]  # sampled
    fed += [encoder.passages.ids.query, *encoder.passages.paragraph("A film by Ada.")[0]]  # inserted
    fed += tokenizer(" Answer: Ada", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]  # sampled
    assert trained.input_ids[: len(fed)] == fed


@pytest.fixture(scope="module")
def shared_encoder(base_tokenizer: Any) -> RoleEncoder:
    tokenizer = copy.deepcopy(base_tokenizer)
    RetrievalTokens().add_to(tokenizer)
    return RoleEncoder(tokenizer, OneGenConfig(max_inserted_tokens=10_000))


# No letter of "[RQ]" or "<paragraph>", so that pieces of text never join into a token.
plain_text = st.text(alphabet="bcdé漢😀 \n\t.,[]<>/|\u200d\u0301", max_size=12)
passage_text = st.lists(
    st.one_of(plain_text, st.sampled_from(["[RQ]", "[RD]", "<|im_end|>", "<|im_start|>", "<|pad|>", "<paragraph>"])),
    max_size=4,
).map("".join)
pieces = st.one_of(
    st.tuples(st.just("text"), plain_text),
    st.tuples(st.just("query"), st.just("[RQ]")),
    st.tuples(st.just("paragraph"), passage_text),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(answers=st.lists(st.lists(pieces, max_size=8), min_size=1, max_size=3))
def test_any_mix_of_pieces(answers: list[list[tuple[str, str]]], shared_encoder: RoleEncoder) -> None:
    tokenizer, ids = shared_encoder.tokenizer, shared_encoder.passages.ids
    written = [
        "".join(f"<paragraph>{text}</paragraph>" if kind == "paragraph" else text for kind, text in answer)
        for answer in answers
    ]
    encoded = shared_encoder.encode(conversation(*written))
    n = len(encoded.input_ids)
    assert len(encoded.labels) == len(encoded.roles) == n
    queries = sum(kind == "query" for answer in answers for kind, _ in answer)
    assert encoded.num_queries == len(encoded.query_positions) == queries
    assert encoded.query_positions == [p for p in range(n) if encoded.input_ids[p] == ids.query]
    assert encoded.query_positions == [p for p in range(n) if encoded.roles[p].name == "RET"]
    around = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
    decoded = tokenizer.decode(encoded.input_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert decoded == "".join(around.format(text) for text in written)
    paragraphs = sum(kind == "paragraph" for answer in answers for kind, _ in answer)
    assert encoded.input_ids.count(ids.paragraph_open) == encoded.input_ids.count(ids.paragraph_close) == paragraphs
    assert encoded.input_ids.count(tokenizer.eos_token_id) == 2 * len(answers)
    for position, (token, label) in enumerate(zip(encoded.input_ids, encoded.labels, strict=True)):
        assert label in (-100, token)
        if position and encoded.roles[position - 1].name == "RET":
            assert label == -100
        if encoded.roles[position].name == "CTX":
            assert label == -100
