"""The retrieval modes of a checkpoint with reflection tokens, recomputed by plain forwards."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.decoding_setup import Setup
from support.reflection_setup import random_prompts, reflection_setup

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.generation import AdaptiveRetrieval, OnePassDecoder, RowState, TransformersEngine
from onegen_hf.generation.reflection import ReflectionIds

CASES = 320


@pytest.fixture(scope="module")
def reflective(base_tokenizer: Any) -> tuple[Setup, ReflectionIds]:
    return reflection_setup(base_tokenizer)


def decode(setup: Setup, prompts: list[list[int]], max_new_tokens: int = 10, **options: Any) -> list[RowState]:
    decoder = OnePassDecoder(setup.index, setup.tokenizer, setup.model.onegen_config, **options)
    return TransformersEngine(setup.model, setup.tokenizer).answer(
        prompts, decoder, max_new_tokens=max_new_tokens, do_sample=False
    )


def decisions(setup: Setup, ids: ReflectionIds, row: RowState) -> list[tuple[int, float]]:
    """By one plain forward over all that a row holds: its decision points, and the probability of a retrieval."""
    with torch.no_grad():
        logits = setup.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float()
    quiet = [ids.no_retrieve, ids.continue_evidence]
    statements = [ids.retrieve, setup.query_token, *quiet]
    spans = row.written_spans()
    written = [position for span in spans for position in range(*span)]
    # The query token after `[Retrieval]` is no choice.
    positions = [p for p in written if p == row.usage.prompt_tokens or row.ids[p - 1] != ids.retrieve]
    points = []
    for position in positions:
        scores = logits[position - 1].clone()
        first = position == row.usage.prompt_tokens
        if not first and row.ids[position - 1] in quiet:
            scores[statements] = -torch.inf
        if first or int(scores.argmax()) in statements:
            yes, no = logits[position - 1][[ids.retrieve, ids.no_retrieve]].softmax(dim=0).tolist()
            points.append((position, yes / (yes + no)))
    return points


def test_never_retrieves_nothing(reflective: tuple[Setup, ReflectionIds]) -> None:
    setup, ids = reflective
    for row in decode(setup, random_prompts(1, 200), retrieval="never"):
        assert not row.retrievals and not row.usage.retrieved_tokens
        assert ids.retrieve not in row.ids and setup.query_token not in row.ids[row.usage.prompt_tokens :]
        assert row.ids[row.usage.prompt_tokens] in (ids.no_retrieve, ids.continue_evidence)
        assert row.retrieval_stopped == "never" and not any(each.retrieves for each in row.decisions)


def test_always_retrieves_at_every_decision_point(reflective: tuple[Setup, ReflectionIds]) -> None:
    setup, ids = reflective
    later = 0
    for row in decode(setup, random_prompts(2, 80), retrieval="always", max_hops=20, max_new_tokens=20):
        points = [position for position, _ in decisions(setup, ids, row)]
        assert points[0] == row.usage.prompt_tokens and [each.position for each in row.decisions] == points
        assert all(row.ids[position] == ids.retrieve for position in points)
        asked = [retrieval.position for retrieval in row.retrievals]
        # The last one may be cut off by the end of the text.
        assert asked == [position + 1 for position in points][: len(asked)] and len(points) - len(asked) <= 1
        later += len(points) - 1
    assert later > 20


def test_adaptive_retrieves_exactly_above_its_threshold(reflective: tuple[Setup, ReflectionIds]) -> None:
    setup, ids = reflective
    checked = {True: 0, False: 0}
    for block, threshold in enumerate([0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95]):
        for row in decode(setup, random_prompts(3 + block, CASES // 8), threshold=threshold, max_hops=20):
            points = decisions(setup, ids, row)
            assert [each.position for each in row.decisions] == [position for position, _ in points]
            for (position, probability), recorded in zip(points, row.decisions, strict=True):
                assert recorded.probability == pytest.approx(probability, abs=1e-4)
                assert recorded.retrieves == (row.ids[position] == ids.retrieve) == (probability > threshold)
                checked[recorded.retrieves] += 1
            for retrieval in row.retrievals:
                assert row.ids[retrieval.position - 1] == ids.retrieve
    assert sum(checked.values()) > CASES and min(checked.values()) > 60


@pytest.mark.parametrize("options", [{"retrieval": "always"}, {"threshold": 0.5}, {}])
def test_a_batch_equals_single_questions(reflective: tuple[Setup, ReflectionIds], options: dict[str, Any]) -> None:
    setup, _ = reflective
    prompts = random_prompts(20, 8)
    for prompt, row in zip(prompts, decode(setup, prompts, **options), strict=True):
        (alone,) = decode(setup, [prompt], **options)
        assert row.ids == alone.ids
        assert [each.position for each in row.decisions] == [each.position for each in alone.decisions]


def test_the_query_token_follows_the_decision(reflective: tuple[Setup, ReflectionIds]) -> None:
    setup, ids = reflective
    retrieved = 0
    for row in decode(setup, random_prompts(30, 200)):
        for retrieval in row.retrievals:
            assert row.ids[retrieval.position] == setup.query_token
            retrieved += row.ids[retrieval.position - 1] == ids.retrieve
        for before, after in zip(
            row.ids[row.usage.prompt_tokens :], row.ids[row.usage.prompt_tokens + 1 :], strict=False
        ):
            assert before != ids.retrieve or after == setup.query_token
    assert retrieved > 20


def test_the_checkpoints_threshold_is_the_default(reflective: tuple[Setup, ReflectionIds]) -> None:
    setup, _ = reflective
    config = copy.copy(setup.model.onegen_config)
    config.retrieval_threshold = 0.7
    make = lambda **options: OnePassDecoder(setup.index, setup.tokenizer, config, **options).policy  # noqa: E731
    assert make().threshold == 0.7 and make(threshold=0.1).threshold == 0.1
    assert make(retrieval=AdaptiveRetrieval()).threshold is None
    assert not hasattr(make(retrieval="always"), "threshold")


def test_a_checkpoint_without_reflection_tokens_decides_at_every_token(llama: Setup) -> None:
    """The probability is that of the query token; 1,000 random decisions against a plain forward."""
    rows = decode(llama, random_prompts(40, 120), retrieval="never", query_probability=True)
    highest = torch.tensor([max(each.probability for each in row.decisions) for row in rows])
    threshold = float(highest.quantile(0.5))
    decided = 0
    for row in decode(llama, random_prompts(40, 120), threshold=threshold, max_hops=20):
        with torch.no_grad():
            logits = llama.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float()
        for each in row.decisions:
            expected = float(logits[each.position - 1].softmax(dim=-1)[llama.query_token])
            assert each.probability == pytest.approx(expected, abs=1e-5)
            assert each.retrieves == (each.probability > threshold) == (row.ids[each.position] == llama.query_token)
            decided += 1
    assert decided > CASES


@pytest.mark.parametrize(("tokens", "has_them"), [("self_rag", True), ("self_rag_paper", True), ("multi_hop", False)])
def test_which_checkpoints_have_reflection_tokens(base_tokenizer: Any, tokens: str, has_them: bool) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    config = OneGenConfig(tokens=getattr(RetrievalTokens, tokens)())
    config.tokens.add_to(tokenizer)
    ids = ReflectionIds.of(config.tokens, tokenizer)
    assert (ids is not None) == has_them
    if ids is not None:
        names = tokenizer.convert_ids_to_tokens([ids.retrieve, ids.no_retrieve, *ids.relevance, *ids.support])
        assert names == [
            "[Retrieval]", "[No Retrieval]", "[Relevant]", "[Irrelevant]", "[Fully supported]",
            "[Partially supported]", "[No support / Contradictory]",
        ]  # fmt: skip
        assert tokenizer.convert_ids_to_tokens(list(ids.utility)) == [f"[Utility:{n}]" for n in range(1, 6)]
