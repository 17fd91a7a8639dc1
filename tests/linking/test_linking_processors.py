"""The rules as logits processors of plain `generate`: greedy, sampling, beams, batches."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
import torch
from support.linking_setup import INSTRUCTION, LinkingSetup, linking_setup

from onegen_hf.linking import CopyProcessor, CopyRule, LinkContinuationProcessor, find_boundaries

TEXTS = ["Ada Moll met Ben Oak.", "A boat", "", "In Elm Hill \U0001f600 [LK]"]


@pytest.fixture(scope="module")
def setup(base_tokenizer: Any) -> LinkingSetup:
    return linking_setup(copy.deepcopy(base_tokenizer))


def copying(setup: LinkingSetup, texts: list[str], width: int, **options: Any) -> CopyProcessor:
    end = setup.tokenizer.eos_token_id
    return CopyProcessor([CopyRule(setup.markup, text, end) for text in texts], width, **options)


def generate(setup: LinkingSetup, texts: list[str], processor: Any = None, **options: Any) -> tuple[Any, Any]:
    prompts = [setup.markup.prompt(text, INSTRUCTION) for text in texts]
    width = max(map(len, prompts))
    processor = copying(setup, texts, width) if processor is None else processor
    sequences = setup.model.generate(
        input_ids=torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
        logits_processor=[processor],
        **{"max_new_tokens": 150, "do_sample": False, "pad_token_id": 0, **options},
    )
    return sequences, processor


def written(setup: LinkingSetup, sequence: Any, text: str) -> list[int]:
    """The ids behind the prompt up to the end token."""
    ids = sequence.tolist()
    prompt = setup.markup.prompt(text, INSTRUCTION)
    begin = next(n for n in range(len(ids)) if ids[n : n + len(prompt)] == prompt) + len(prompt)
    return ids[begin : ids.index(setup.tokenizer.eos_token_id, begin)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True, "temperature": 3.0},
        {"do_sample": True, "top_k": 3, "top_p": 0.7, "num_return_sequences": 2},
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.0, "early_stopping": True},
    ],
    ids=str,
)
def test_every_output_is_an_annotation_of_its_text(setup: LinkingSetup, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    sequences, processor = generate(setup, TEXTS, **options)
    texts = [text for text in TEXTS for _ in range(options.get("num_return_sequences", 1))]
    found = processor.spans_of(sequences)
    assert len(found) == len(texts)
    for text, sequence, spans in zip(texts, sequences, found, strict=True):
        assert written(setup, sequence, text) == setup.markup.annotate(text, spans).ids


def test_greedy_equals_the_decoder(setup: LinkingSetup) -> None:
    sequences, processor = generate(setup, TEXTS)
    assert processor.spans_of(sequences) == [row.spans for row in setup.generate(TEXTS).rows]


def test_rows_may_come_in_any_order(setup: LinkingSetup) -> None:
    text = TEXTS[0]
    ends = find_boundaries(text).ends
    rows = [setup.markup.annotate(text, [(0, end)]).ids for end in ends]
    processor = copying(setup, [text], 0)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, min(map(len, rows))):
        drawn = [rows[int(n)] for n in torch.randint(len(rows), (6,), generator=generator)]
        scores = torch.zeros(6, len(setup.tokenizer))
        found = processor(torch.tensor([ids[:step] for ids in drawn]), scores)
        fresh = copying(setup, [text], 0)(torch.tensor([ids[:step] for ids in drawn]), scores)
        torch.testing.assert_close(found, fresh)
        assert all(found[row, ids[step]] > -torch.inf for row, ids in enumerate(drawn))
        torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(6))


@torch.no_grad()
def log_probability(setup: LinkingSetup, text: str, ids: list[int]) -> float:
    """Of an annotation: the sum over its choices among legal tokens."""
    prompt = setup.markup.prompt(text, INSTRUCTION)
    logits = setup.model(input_ids=torch.tensor([prompt + ids])).logits[0]
    rule = CopyRule(setup.markup, text, setup.tokenizer.eos_token_id)
    total = 0.0
    for number, token in enumerate(ids):
        legal = rule.allowed_tokens()
        scores = logits[len(prompt) + number - 1, legal].log_softmax(dim=0)
        total += float(scores[legal.index(token)])
        rule.advance(token)
    return total


@pytest.mark.parametrize("text", ["Ada met Ben", "a boat", "In Elm Hill"])
def test_enough_beams_find_the_most_probable_annotation(setup: LinkingSetup, text: str) -> None:
    boundaries = find_boundaries(text)
    single = [(a, b) for a, b in product(boundaries.starts, boundaries.ends) if a < b]
    pairs = [(one, other) for one, other in product(single, single) if one[1] <= other[0]]
    triples = [(*pair, last) for pair, last in product(pairs, single) if pair[1][1] <= last[0]]
    every = [[], *([span] for span in single), *map(list, pairs), *map(list, triples)]
    end = setup.tokenizer.eos_token_id
    scores = [log_probability(setup, text, [*setup.markup.annotate(text, spans).ids, end]) for spans in every]
    best = every[max(range(len(every)), key=scores.__getitem__)]
    sequences, processor = generate(setup, [text], num_beams=64, length_penalty=0.0)
    assert processor.spans_of(sequences) == [best]
    assert sum(map(lambda score: torch.tensor(score).exp().item(), scores)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "temperature": 5.0}, {"num_beams": 3}], ids=str)
def test_continuation(setup: LinkingSetup, options: dict[str, Any]) -> None:
    markup = setup.markup
    torch.manual_seed(0)
    processor = LinkContinuationProcessor(markup)

    def likes_queries(input_ids: Any, scores: Any, **_: Any) -> Any:
        scores = scores.clone()
        scores[:, markup.query] += 3.0
        return processor(input_ids, scores)

    sequences, _ = generate(setup, TEXTS, likes_queries, max_new_tokens=40, **options)
    count = 0
    for ids in sequences.tolist():
        for one, other in zip(ids, ids[1:], strict=False):
            if one == markup.query:
                assert other == markup.continuation
                count += 1
    assert count > 3


def test_no_mention_without_room(setup: LinkingSetup) -> None:
    text = TEXTS[0]
    ids = torch.zeros(1, 0, dtype=torch.int64)
    scores = torch.zeros(1, len(setup.tokenizer))
    for context, may_open in ((200, True), (10, False)):
        found = copying(setup, [text], 0, context=context)(ids, scores)
        assert bool(found[0, setup.markup.open] > -torch.inf) == may_open


def test_faulty_use(setup: LinkingSetup) -> None:
    with pytest.raises(ValueError, match="rules is empty"):
        CopyProcessor([], 0)
    scores = torch.zeros(3, len(setup.tokenizer))
    with pytest.raises(ValueError, match="there are 3 rows and 2 rules"):
        copying(setup, ["a", "b"], 0)(torch.zeros(3, 0, dtype=torch.int64), scores)
    with pytest.raises(ValueError, match="is not legal here"):
        copying(setup, ["a"], 0)(torch.tensor([[setup.markup.close]]), scores[:1])
