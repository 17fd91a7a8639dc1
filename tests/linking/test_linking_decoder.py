"""Copying with marks in one pass: spans, embeddings and token counts, alone and in batches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.linking_setup import INSTRUCTION, LinkingSetup, linking_setup
from transformers import LogitsProcessor, LogitsProcessorList, SuppressTokensLogitsProcessor

from onegen_hf.generation.memory import PackedMemory, SequentialMemory
from onegen_hf.linking import CopyRule, LinkingDecoder
from onegen_hf.linking.copy_drafts import expected_tokens
from onegen_hf.linking.copying import LONGEST_NAME
from onegen_hf.linking.likely_mentions import TRIAL, LikelyMentions

TEXTS = [
    "Ada Moll met Ben Oak in Fern Bay, by the sea.",
    "A boat",
    "",
    "In Elm Hill \U0001f600 <MENTION>x</MENTION> [LK]",
]


@pytest.fixture(scope="module")
def setups(base_tokenizer: Any) -> Any:
    made: dict[str, LinkingSetup] = {}

    def get(architecture: str) -> LinkingSetup:
        if architecture not in made:
            made[architecture] = linking_setup(copy.deepcopy(base_tokenizer), architecture)
        return made[architecture]

    return get


@pytest.fixture
def setup(setups: Any) -> LinkingSetup:
    return setups("llama_tied")


@torch.no_grad()
def plain_embeddings(setup: LinkingSetup, row: Any) -> torch.Tensor:
    """The states at the generated query tokens in an ordinary forward over everything."""
    hidden = setup.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states[-1][0]
    begin = row.usage.prompt_tokens
    return hidden[[n for n, token in enumerate(row.ids) if n >= begin and token == setup.markup.query]]


@pytest.mark.parametrize("architecture", ["llama_tied", "mistral", "gpt2", "qwen3_moe", "gemma2"])
@pytest.mark.parametrize("mentions", [None, 1, 3])
def test_embeddings_and_counts(setups: Any, architecture: str, mentions: int | None) -> None:
    setup = setups(architecture)
    for row, text in zip(setup.generate(TEXTS, mentions).rows, TEXTS, strict=True):
        annotation = setup.markup.annotate(text, row.spans)
        assert row.ids[row.usage.prompt_tokens :] == [*annotation.ids, setup.tokenizer.eos_token_id]
        assert row.stop_reason == "eos"
        assert row.usage.forwarded_tokens == row.usage.prompt_tokens + row.usage.generated_tokens - 1 - row.unread
        assert row.usage.generated_tokens == len(annotation.ids) + 1
        expected = plain_embeddings(setup, row)
        assert len(expected) == len(row.spans) == len(row.embeddings)
        if row.spans:
            torch.testing.assert_close(torch.stack(row.embeddings), expected, atol=1e-4, rtol=1e-4)


def test_fifty_mentions(setup: LinkingSetup) -> None:
    setup = copy.deepcopy(setup)
    setup.model.config.max_position_embeddings = 2048
    text = " ".join(["sea"] * 50)
    for mentions in (1, 50):
        (row,) = setup.generate([text], mentions, max_new_tokens=1000).rows
        assert len(row.spans) == mentions
        assert row.usage.forwarded_tokens == row.usage.prompt_tokens + row.usage.generated_tokens - 1 - row.unread
        torch.testing.assert_close(torch.stack(row.embeddings), plain_embeddings(setup, row), atol=1e-4, rtol=1e-4)


def test_mentions_that_were_asked_for(setup: LinkingSetup) -> None:
    rows = setup.generate(["Ada met Ben.", " a, b"], 2).rows
    assert [row.spans for row in rows] == [[(0, 3), (4, 7)], [(1, 2), (2, 3)]]


@pytest.mark.parametrize("mentions", [None, 2])
def test_a_batch_equals_its_rows_alone(setup: LinkingSetup, mentions: int | None) -> None:
    together = setup.generate(TEXTS, mentions).rows
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = setup.generate([text], mentions).rows
        assert alone.ids == row.ids
        assert alone.usage == row.usage
        for one, other in zip(alone.embeddings, row.embeddings, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_forced_tokens_share_a_forward(setup: LinkingSetup) -> None:
    (row,) = setup.generate(["xqzjvkw"]).rows
    assert row.usage.forward_calls < row.usage.generated_tokens


@torch.no_grad()
def test_greedy_choice_is_the_best_legal_token(setup: LinkingSetup) -> None:
    (row,) = setup.generate([TEXTS[0]]).rows
    logits = setup.model(input_ids=torch.tensor([row.ids])).logits[0]
    rule = CopyRule(setup.markup, TEXTS[0], setup.tokenizer.eos_token_id)
    for position in range(row.usage.prompt_tokens, len(row.ids)):
        legal = rule.allowed_tokens()
        best = legal[int(logits[position - 1, legal].argmax())]
        assert row.ids[position] == best
        rule.advance(best)


def test_sampling_aligns_and_varies(setup: LinkingSetup) -> None:
    torch.manual_seed(0)
    outputs = [setup.generate(TEXTS, do_sample=True, temperature=2.0, top_k=20).rows for _ in range(6)]
    for rows in outputs:
        for row, text in zip(rows, TEXTS, strict=True):
            assert row.ids[row.usage.prompt_tokens : -1] == setup.markup.annotate(text, row.spans).ids
    assert len({tuple(rows[0].spans) for rows in outputs}) > 1


def test_too_few_new_tokens(setup: LinkingSetup) -> None:
    (row,) = setup.generate([TEXTS[0]], 1, max_new_tokens=9).rows
    assert row.stop_reason == "max_new_tokens"
    assert row.usage.generated_tokens == 9
    assert row.usage.forwarded_tokens == row.usage.prompt_tokens + 9
    assert row.spans == [(0, 3)]


def test_a_full_context_ends_the_mentions_and_not_the_copy(setup: LinkingSetup) -> None:
    text = " ".join(["sea"] * 60)
    (row,) = setup.generate([text], 1000, max_new_tokens=1000).rows
    assert row.stop_reason == "eos"
    assert row.mentions_stopped == "context_full"
    assert 0 < len(row.spans) < 60
    assert len(row.ids) <= 512


def test_a_processor_that_forbids_the_text(setup: LinkingSetup) -> None:
    everything = SuppressTokensLogitsProcessor(list(range(len(setup.tokenizer))))
    with pytest.raises(ValueError, match="logits_processor leaves none of the tokens"):
        setup.generate(["Ada met Ben."], logits_processor=LogitsProcessorList([everything]))


def test_other_texts_than_prompts(setup: LinkingSetup) -> None:
    prompt = torch.tensor([setup.markup.prompt("a", INSTRUCTION)])
    with pytest.raises(ValueError, match="there are 1 prompts and 2 texts"):
        setup.model.generate(prompt, custom_generate=LinkingDecoder(setup.markup, ["a", "b"]), max_new_tokens=9)


@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2", "gemma2"])
@pytest.mark.parametrize("mentions", [None, 2])
def test_beams(setups: Any, architecture: str, mentions: int | None) -> None:
    setup = setups(architecture)
    for row, text in zip(setup.generate(TEXTS, mentions, num_beams=3).rows, TEXTS, strict=True):
        assert row.ids[row.usage.prompt_tokens :] == [
            *setup.markup.annotate(text, row.spans).ids,
            setup.tokenizer.eos_token_id,
        ]
        assert (row.stop_reason, row.aligned) == ("eos", True)
        expected = plain_embeddings(setup, row)
        assert len(expected) == len(row.spans) == len(row.embeddings)
        if row.spans:
            torch.testing.assert_close(torch.stack(row.embeddings), expected, atol=1e-4, rtol=1e-4)
        (alone,) = setup.generate([text], mentions, num_beams=3).rows
        assert alone.ids == row.ids


def test_one_pass_with_beams(setup: LinkingSetup) -> None:
    fed: list[int] = []
    hook = setup.model.get_input_embeddings().register_forward_hook(lambda *a: fed.append(a[1][0].numel()))
    try:
        (row,) = setup.generate([TEXTS[0]], 3, num_beams=2).rows
    finally:
        hook.remove()
    assert (row.usage.forwarded_tokens, row.usage.forward_calls) == (sum(fed), len(fed))
    assert row.usage.forwarded_tokens == 2 * (row.usage.prompt_tokens + len(fed) - 1)


def test_beams_are_cut_off_like_others(setup: LinkingSetup) -> None:
    (row,) = setup.generate([TEXTS[0]], num_beams=2, max_new_tokens=6).rows
    assert (row.stop_reason, row.usage.generated_tokens, row.aligned) == ("max_new_tokens", 6, False)
    assert len(row.spans) == len(row.embeddings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_sample": True}, "do_sample=True with num_beams=2"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 must be 1"),
    ],
)
def test_faulty_beams(setup: LinkingSetup, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        setup.generate(["a"], num_beams=2, **options)


@pytest.mark.parametrize("architecture", ["llama_tied", "gemma2"])
@pytest.mark.parametrize("mentions", [None, 3])
def test_forced_tokens_together_and_one_by_one(setups: Any, architecture: str, mentions: int | None) -> None:
    setup = setups(architecture)
    together = setup.generate(TEXTS, mentions).rows
    singly = setup.generate(TEXTS, mentions, feed_forced_together=False).rows
    for one, other in zip(together, singly, strict=True):
        assert (one.ids, one.spans) == (other.ids, other.spans)
        assert one.usage.forwarded_tokens + one.unread == other.usage.forwarded_tokens + other.unread
        # One by one: the prompt, then every generated token but the last ones.
        assert other.usage.forward_calls == other.usage.generated_tokens - other.unread
        assert one.usage.forward_calls <= other.usage.forward_calls - 2 * len(one.spans)
        for a, b in zip(one.embeddings, other.embeddings, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama_tied", "gemma2", "qwen3_moe"])
@pytest.mark.parametrize("options", [{}, {"opening_bias": -3.0}, {"opening_bias": -1e4}, {"mentions": 3}], ids=str)
@pytest.mark.parametrize("draft_tokens", [1, 5, 64])
def test_drafts_change_nothing_but_the_forwards(
    setups: Any, architecture: str, options: dict[str, Any], draft_tokens: int
) -> None:
    setup = setups(architecture)
    plain = setup.generate(TEXTS, **options).rows
    drafted = setup.generate(TEXTS, draft_tokens=draft_tokens, **options).rows
    for one, other in zip(plain, drafted, strict=True):
        assert (one.ids, one.spans, one.stop_reason) == (other.ids, other.spans, other.stop_reason)
        read = other.usage.forwarded_tokens - other.usage.rejected_tokens
        assert read + other.unread == one.usage.forwarded_tokens + one.unread
        assert other.usage.forward_calls <= one.usage.forward_calls
        for a, b in zip(one.embeddings, other.embeddings, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_drafts_copy_a_text_without_mentions_in_a_few_forwards(setup: LinkingSetup) -> None:
    (row,) = setup.generate(["a boat by the sea"], draft_tokens=64, opening_bias=-1e4).rows
    assert row.spans == [] and row.usage.forward_calls <= 2 and row.usage.rejected_tokens == 0


def test_drafts_end_where_a_second_new_name_begins(setup: LinkingSetup) -> None:
    text = "Ada Moll met Ben Oak. Ada Moll saw Elm Hill."
    rule = CopyRule(setup.markup, text, setup.tokenizer.eos_token_id)
    opened = setup.markup.annotate(text, [(0, 8), (13, 20)]).ids
    drafted = expected_tokens(rule, LikelyMentions(text), 1000, new_names=2)
    assert drafted == opened[: len(opened) - opened[::-1].index(setup.markup.open)]
    for token in drafted:
        rule.advance(token)
    # Ben Oak is open, hence marked soon, and Ada Moll is not new.
    again = expected_tokens(rule, LikelyMentions(text), 1000, new_names=2)
    assert again.count(setup.markup.open) == 2


@pytest.mark.parametrize("opening_bias", [0.0, -1e-30])
@pytest.mark.parametrize("draft_tokens", [0, 16])
def test_the_choice_among_a_few_tokens_is_that_among_all(
    setup: LinkingSetup, draft_tokens: int, opening_bias: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias, however small, takes the logits of all tokens."""
    few = setup.generate(TEXTS, draft_tokens=draft_tokens, opening_bias=opening_bias).rows
    monkeypatch.setattr("onegen_hf.modeling.token_head.TokenHead.of", lambda model: None)
    every = setup.generate(TEXTS, draft_tokens=draft_tokens).rows
    assert [(row.ids, row.spans, row.usage) for row in few] == [(row.ids, row.spans, row.usage) for row in every]


def test_the_instruction_is_read_once_for_all_rows(setup: LinkingSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = [setup.generate([text], 2).rows[0] for text in TEXTS]
    monkeypatch.setattr("onegen_hf.generation.shared_prefix.LEAST_SAVING", 1)
    together = setup.generate(TEXTS, 2).rows
    assert [(row.ids, row.spans, row.stop_reason) for row in together] == [
        (row.ids, row.spans, row.stop_reason) for row in apart
    ]
    pairs = list(zip(together, apart, strict=True))
    for row, alone in pairs:
        for one, other in zip(row.embeddings, alone.embeddings, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert together[0].usage.forwarded_tokens == apart[0].usage.forwarded_tokens
    saved = {alone.usage.forwarded_tokens - row.usage.forwarded_tokens for row, alone in pairs}
    assert len(saved) == 2 and max(saved) > len(setup.tokenizer(INSTRUCTION)["input_ids"]) // 2


@pytest.mark.parametrize("options", [{}, {"draft_tokens": 16}, {"num_beams": 3}, {"opening_bias": 1e-30}], ids=str)
@pytest.mark.parametrize("mentions", [None, 2, 50])
def test_a_copy_ends_where_the_wanted_mentions_do(
    setup: LinkingSetup, mentions: int | None, options: dict[str, Any]
) -> None:
    texts = [TEXTS[0], "A boat", "Ben Oak met Ada Moll by the sea, a boat and a bay away.", "a b c d"]
    until: list[int | None] = [9, 0, 20, None]
    whole = setup.generate(texts, mentions, **options).rows
    parts = setup.generate(texts, mentions, until=until, **options).rows
    for row, part, text, place in zip(whole, parts, texts, until, strict=True):
        wanted = [span for span in row.spans if place is None or span[0] < place]
        # Beams are compared by all that they hold, so those that end early are others.
        assert part.spans[: len(wanted)] == wanted or "num_beams" in options
        assert all(start < (place or 0) for start, _ in part.spans[:-1]) or place is None
        assert (part.stop_reason, part.aligned, part.ids[-1]) == ("eos", True, setup.tokenizer.eos_token_id)
        begin = part.usage.prompt_tokens
        annotation = setup.markup.annotate(text, part.spans)
        assert annotation.ids[: len(part.ids) - begin - 1] == part.ids[begin:-1]
        assert len(part.spans) == len(part.embeddings)
    assert parts[0].usage.generated_tokens < whole[0].usage.generated_tokens


@pytest.mark.parametrize("until", [[1], [1, -1]])
def test_faulty_ends(setup: LinkingSetup, until: list[int]) -> None:
    with pytest.raises(ValueError, match="until"):
        setup.generate(["a", "b"], until=until)


def test_no_ends_for_free_decoding(setup: LinkingSetup) -> None:
    with pytest.raises(ValueError, match="constrained"):
        setup.generate(["a"], until=[1], decoding="free")


class NeverClose(LogitsProcessor):
    """Opens a mention wherever fewer than `tokens` of the text are written, and closes none."""

    def __init__(self, markup: Any, prompt_length: int, tokens: int) -> None:
        self.markup, self.most = markup, prompt_length + tokens
        self.space = markup.tokenizer.convert_tokens_to_ids("\u0120")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, [self.markup.open, self.space]] = 1e4 if input_ids.shape[1] < self.most else -1e4
        scores[:, self.markup.close] = -1e4
        return scores


@pytest.mark.parametrize("draft_tokens", [0, 40])
@pytest.mark.parametrize("tokens", [1, 6, 1000])
@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2"])
def test_a_mention_that_runs_on_is_taken_back(setups: Any, architecture: str, tokens: int, draft_tokens: int) -> None:
    setup = setups(architecture)
    text = "Ada Moll met Ben Oak in Fern Bay, by the sea, " * 3
    processor = NeverClose(setup.markup, len(setup.markup.prompt(text, INSTRUCTION)), tokens)
    (row,) = setup.generate([text], logits_processor=[processor], draft_tokens=draft_tokens).rows
    # Where openings go on, only so many are taken back.
    assert len(row.spans) == (tokens == 1000) and row.aligned and row.stop_reason == "eos"
    annotation = setup.markup.annotate(text, row.spans)
    assert row.ids[row.usage.prompt_tokens :] == [*annotation.ids, setup.tokenizer.eos_token_id]
    usage = row.usage
    assert usage.generated_tokens == len(annotation.ids) + 1
    read = usage.forwarded_tokens - usage.rejected_tokens
    assert read == usage.prompt_tokens + usage.generated_tokens - 1 - row.unread
    if row.spans:
        torch.testing.assert_close(torch.stack(row.embeddings), plain_embeddings(setup, row), atol=1e-4, rtol=1e-4)


def test_declined_openings(setup: LinkingSetup) -> None:
    text = "They met Ada Moll by the sea, " + "and a boat " * 9
    rule = CopyRule(setup.markup, text, setup.tokenizer.eos_token_id)
    ids = setup.markup.annotate(text, [(9, len(text) - 1)]).ids
    written = ids[: ids.index(setup.markup.open) + 1]
    for token in written:
        rule.advance(token)
    for token in ids[len(written) :]:
        if rule.runs_on:
            break
        rule.advance(token)
        written.append(token)
    assert text.startswith("Ada Moll by the sea, and a boat and a", 9) and rule.runs_on
    assert setup.markup.text_of(written[written.index(setup.markup.open) + 1 :]).count(" ") == LONGEST_NAME
    del written[-rule.decline() :]
    assert rule.inside is None and not rule.runs_on
    plain = setup.markup.annotate(text, []).ids
    assert written == plain[: len(written)]
    assert rule.has_passed(9) and not rule.has_passed(13)
    for token in plain[len(written) :]:
        rule.advance(token)
    assert rule.spans == []


def test_wrong_guesses_of_mentions_come_to_an_end(setup: LinkingSetup) -> None:
    text = " ".join(["Ada Moll met", "Ben Oak in", "Fern Bay by", "Elm Hill near"] * 4)
    (plain,) = setup.generate([text], opening_bias=-1e4).rows
    (row,) = setup.generate([text], draft_tokens=200, opening_bias=-1e4).rows
    assert row.ids == plain.ids
    assert row.usage.forward_calls <= 3 + TRIAL


@pytest.mark.parametrize("spans", [[(0, 8), (13, 20), (24, 32)], [(0, 8), (13, 20)], []], ids=str)
def test_drafts_hold_the_marks_of_likely_mentions(setup: LinkingSetup, spans: list[tuple[int, int]]) -> None:
    text = "Ada Moll met Ben Oak in Fern Bay, by the sea."
    rule = CopyRule(setup.markup, text, setup.tokenizer.eos_token_id)
    likely = LikelyMentions(text)
    likely._ends = dict(spans)
    drafted = expected_tokens(rule, likely, 1000)
    assert drafted == setup.markup.annotate(text, spans).ids
    assert rule.allowed_tokens() and rule.spans == []
    assert expected_tokens(rule, likely, 3) == drafted[:3]


def test_drafts_with_marks_take_a_forward_or_two(setup: LinkingSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right guesses, the states at query tokens are those of drafts."""
    (plain,) = setup.generate([TEXTS[0]], 3).rows
    monkeypatch.setattr(LikelyMentions, "expected", lambda self, rule: dict(plain.spans))
    (row,) = setup.generate([TEXTS[0]], 3, draft_tokens=200).rows
    assert (row.ids, row.spans) == (plain.ids, plain.spans)
    assert row.usage.forward_calls <= 2 and row.usage.rejected_tokens == 0
    torch.testing.assert_close(torch.stack(row.embeddings), plain_embeddings(setup, row), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 2])
def test_the_bias_decides_how_many_mentions_are_opened(setup: LinkingSetup, beams: int) -> None:
    counts = [
        len(setup.generate([TEXTS[0]], opening_bias=bias, num_beams=beams).rows[0].spans) for bias in (-1e4, 0.0, 1e4)
    ]
    assert counts[0] == 0 and counts[0] <= counts[1] <= counts[2] and counts[2] > 1


def test_a_bias_needs_constrained_decoding(setup: LinkingSetup) -> None:
    with pytest.raises(ValueError, match="opening_bias=1.0 is for constrained decoding"):
        LinkingDecoder(setup.markup, TEXTS, decoding="free", opening_bias=1.0)


@pytest.mark.parametrize("memory", [PackedMemory, SequentialMemory])
@torch.no_grad()
def test_states_at_further_positions(setup: LinkingSetup, memory: Any) -> None:
    chunks = [[[5, 6, 7, 8], [9], [10, 11]], [[12], [13, 14, 15], [16]]]
    wanted = [[[0, 2], [], [1]], [[0], [1, 0], []]]
    rows = memory(setup.model, [0, 1, 2])
    fed: list[list[int]] = [[], [], []]
    for own_chunks, positions in zip(chunks, wanted, strict=True):
        output = rows.append([2, 0, 1], own_chunks, positions)
        for place, row in enumerate([2, 0, 1]):
            begin = len(fed[row])
            fed[row] += own_chunks[place]
            plain = setup.model(input_ids=torch.tensor([fed[row]]), output_hidden_states=True).hidden_states[-1][0]
            expected = plain[[begin + position for position in positions[place]]]
            torch.testing.assert_close(output.states[place], expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(output.hidden[place], plain[-1], atol=1e-5, rtol=1e-5)


def test_a_prompt_with_names_of_tokens_reads_them_as_words(setup: LinkingSetup) -> None:
    markup = setup.markup
    text = "a <MENTION> [LK] <|im_end|> b"
    ids = markup.prompt(text, INSTRUCTION)
    assert not {markup.open, markup.query} & set(ids)
    assert ids.count(setup.tokenizer.eos_token_id) == markup.prompt("a", INSTRUCTION).count(
        setup.tokenizer.eos_token_id
    )
    assert text in setup.tokenizer.decode(ids)
