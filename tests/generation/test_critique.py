"""Critique: candidates forked from one prefill against a slow reference of plain forwards, and the formula by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.decoding_setup import Setup, tokens_fed
from support.reflection_setup import criticise, random_prompts, reflection_setup

from onegen_hf.data.passages import PassageEncoder
from onegen_hf.generation import CritiqueDecoder, CritiqueSettings, OnePassDecoder, TransformersEngine, loop
from onegen_hf.generation.critique import score_segment
from onegen_hf.generation.memory import SequentialMemory
from onegen_hf.generation.reflection import ReflectionIds

Reflective = tuple[Setup, ReflectionIds]


@pytest.fixture(scope="module")
def reflective(base_tokenizer: Any) -> Reflective:
    return reflection_setup(base_tokenizer)


@dataclass
class Slow:
    """A candidate that was decoded alone, by plain forwards."""

    ids: list[int]
    passage: str
    score: float
    parts: tuple[float, float | None, float | None, float | None]
    suffix: int


@torch.no_grad()
def slow_candidates(
    setup: Setup, ids: ReflectionIds, prompt: list[int], k: int, max_new_tokens: int, settings: CritiqueSettings
) -> list[Slow]:
    """Every candidate with a prompt of its own, the whole text read again for every token."""
    encoder = PassageEncoder(setup.tokenizer, setup.model.onegen_config)
    statements = {ids.retrieve, ids.no_retrieve, ids.continue_evidence, setup.query_token}
    begin = [*prompt, ids.retrieve, setup.query_token]
    states = setup.model(input_ids=torch.tensor([begin]), output_hidden_states=True, use_cache=False)
    scores, numbers = setup.index.search(states.hidden_states[-1][:, -1], k)
    candidates = []
    for number in numbers[0]:
        passage = setup.index[int(number)]
        inserted = encoder.insertion([passage])
        row, logs, parts, generated = [*begin, *inserted], [], [None, None, None], 2
        start = len(row)
        while generated < max_new_tokens:
            logits = setup.model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].double()
            probabilities = logits.softmax(dim=-1)
            token = int(logits.argmax())
            if token in statements:
                break
            if not logs:
                parts[0] = probabilities[ids.relevance[0]] / probabilities[list(ids.relevance)].sum()
            if token in ids.support and parts[1] is None:
                full, partial, none = probabilities[list(ids.support)]
                parts[1] = (full + 0.5 * partial) / (full + partial + none)
            if token in ids.utility and parts[2] is None:
                judged = probabilities[list(ids.utility)]
                weights = torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=torch.float64)
                parts[2] = (weights * judged).sum() / judged.sum()
            logs.append(float(probabilities[token].log()))
            row.append(token)
            generated += 1
            if token == setup.tokenizer.eos_token_id:
                break
        probability = math.exp(sum(logs) / len(logs)) if logs else 0.0
        values = [None if part is None else float(part) for part in parts]
        weighted = zip((settings.w_rel, settings.w_sup, settings.w_use), values, strict=True)
        total = probability + sum(weight * (value or 0.0) for weight, value in weighted)
        suffix = len(inserted) + len(row) - start
        candidates.append(Slow(row[start:], passage.id, total, (probability, *values), suffix))
    return candidates


def assert_close(actual: float | None, expected: float | None) -> None:
    assert (actual is None) == (expected is None)
    if expected is not None:
        assert actual == pytest.approx(expected, abs=1e-4)


OTHERS = (("packed", "phi3"), ("sequential", "mistral"), ("sequential", "phi3"))


@pytest.mark.parametrize(
    ("memory", "architecture"),
    [
        ("packed", "llama_untied"),
        ("packed", "mistral"),
        ("sequential", "llama_untied"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS),
    ],
)
def test_scores_equal_a_slow_reference(
    base_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, architecture: str, memory: str
) -> None:
    setup, ids = reflection_setup(base_tokenizer, architecture)
    if memory == "sequential":
        monkeypatch.setattr(loop, "memory_for", SequentialMemory)
    settings = CritiqueSettings(w_rel=0.8, w_sup=1.3, w_use=0.4)
    prompts = random_prompts(1, 8)
    judged = [0, 0, 0]
    for prompt, row in zip(prompts, criticise(setup, prompts, critique=settings, retrieval="always"), strict=True):
        slow = slow_candidates(setup, ids, prompt, 5, 14, settings)
        assert len(row.candidates) == len(slow) == 5
        for candidate, expected in zip(row.candidates, slow, strict=True):
            segment, score = candidate.segment, candidate.segment.score
            assert segment.hit is not None and score is not None
            assert (candidate.ids, segment.hit.passage.id) == (expected.ids, expected.passage)
            for actual, part in zip(
                (score.probability, score.relevance, score.support, score.utility), expected.parts, strict=True
            ):
                assert_close(actual, part)
            assert score.total == pytest.approx(expected.score, abs=1e-4)
            judged = [count + (part is not None) for count, part in zip(judged, expected.parts[1:], strict=True)]
        best = max(slow, key=lambda candidate: candidate.score)
        assert row.score == pytest.approx(best.score, abs=1e-4)
        assert row.retrievals[0].hits[0].passage.id == best.passage
        assert [candidate.segment.kept for candidate in row.candidates].count(True) == 1
    assert min(judged) > 3, judged


def test_forwarded_tokens_are_one_prefill_and_the_suffixes(reflective: Reflective) -> None:
    setup, ids = reflective
    for prompt in random_prompts(2, 6):
        with tokens_fed(setup.model) as fed:
            (row,) = criticise(setup, [prompt], retrieval="always")
        slow = slow_candidates(setup, ids, prompt, 5, 14, CritiqueSettings())
        forwarded = sum(map(len, fed))
        assert row.usage.forwarded_tokens == forwarded
        # The last token of a text is never forwarded, unless a decision, which is not part of it, came after it.
        ended = [
            candidate.ids[-1:] == [setup.tokenizer.eos_token_id] or len(candidate.ids) == 12 for candidate in slow
        ]
        suffixes = sum(candidate.suffix - end for candidate, end in zip(slow, ended, strict=True))
        assert forwarded == len(prompt) + 2 + suffixes
        inserted = PassageEncoder(setup.tokenizer, setup.model.onegen_config).insertion
        passages = [setup.index.get(candidate.passage) for candidate in slow]
        assert row.usage.retrieved_tokens == sum(len(inserted([passage])) for passage in passages)
        assert row.usage.prompt_tokens == len(prompt) and row.usage.forward_calls == len(fed)


@pytest.mark.parametrize("settings", [CritiqueSettings(), CritiqueSettings(depth=3, width=2)])
@pytest.mark.parametrize(
    "options", [{"retrieval": "always"}, {"threshold": 0.5}, {"retrieval": "always", "max_rows": 2}]
)
def test_a_batch_equals_single_questions(reflective: Reflective, settings: Any, options: dict[str, Any]) -> None:
    setup, _ = reflective
    prompts = random_prompts(3, 8)
    rows = criticise(setup, prompts, 24, settings, **options)
    for prompt, row in zip(prompts, rows, strict=True):
        (alone,) = criticise(setup, [prompt], 24, settings, **options)
        assert (row.ids, row.stop_reason) == (alone.ids, alone.stop_reason)
        assert [candidate.ids for candidate in row.candidates] == [candidate.ids for candidate in alone.candidates]
        assert row.score == pytest.approx(alone.score, abs=1e-5)
        assert (row.usage.forwarded_tokens, row.usage.forward_calls) == (
            alone.usage.forwarded_tokens,
            alone.usage.forward_calls,
        )


def test_without_a_retrieval_nothing_forks(reflective: Reflective) -> None:
    setup, ids = reflective
    prompts = random_prompts(4, 10)
    plain = TransformersEngine(setup.model, setup.tokenizer).answer(
        prompts,
        OnePassDecoder(setup.index, setup.tokenizer, setup.model.onegen_config, retrieval="never"),
        max_new_tokens=10,
        do_sample=False,
    )
    for row, expected in zip(criticise(setup, prompts, 10, retrieval="never"), plain, strict=True):
        assert not row.retrievals and row.usage.retrieved_tokens == 0
        assert row.ids == expected.ids[: len(row.ids)]
        assert len(row.candidates) <= 1
        for candidate in row.candidates:
            assert candidate.segment.hit is None and candidate.segment.score is not None
            assert candidate.segment.score.relevance is None and ids.no_retrieve not in candidate.ids


@pytest.mark.parametrize(
    ("logs", "relevance", "support", "utility", "expected"),
    [
        # exp(mean) + 1.0 * 0.75 + 1.0 * (0.5 + 0.5 * 0.25) + 0.5 * 0.5
        ([math.log(0.5)] * 3, (0.6, 0.2), (0.4, 0.2, 0.2), (0, 0, 0, 0.3, 0), (0.5, 0.75, 0.625, 0.5, 2.125)),
        ([math.log(0.25), 0.0], (0.1, 0.1), (0.0, 0.3, 0.0), (0.2, 0, 0, 0, 0), (0.5, 0.5, 0.5, -1.0, 1.0)),
        ([0.0], (0.0, 0.5), (0.0, 0.0, 0.1), (0.1, 0.1, 0.1, 0.1, 0.1), (1.0, 0.0, 0.0, 0.0, 1.0)),
        ([0.0], (0.9, 0.0), (0.2, 0.0, 0.0), (0, 0, 0, 0, 0.7), (1.0, 1.0, 1.0, 1.0, 3.5)),
        ([0.0], (0.3, 0.1), (0.1, 0.1, 0.2), (0, 0.5, 0, 0, 0), (1.0, 0.75, 0.375, -0.5, 1.875)),
        ([math.log(0.5)], None, None, None, (0.5, None, None, None, 0.5)),
        ([], (0.5, 0.5), None, None, (0.0, 0.5, None, None, 0.5)),
    ],
)
def test_the_published_formula(logs: Any, relevance: Any, support: Any, utility: Any, expected: Any) -> None:
    score = score_segment(logs, relevance, support, utility, CritiqueSettings())
    for actual, value in zip(
        (score.probability, score.relevance, score.support, score.utility, score.total), expected, strict=True
    ):
        assert (actual is None) == (value is None) and (value is None or actual == pytest.approx(value))


def test_a_checkpoint_without_reflection_tokens_is_refused(llama: Setup) -> None:
    with pytest.raises(ValueError, match="critique=.* needs Self-RAG's reflection tokens, which"):
        CritiqueDecoder(llama.index, llama.tokenizer, llama.model.onegen_config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"w_rel": "1"}, "w_rel='1' must be a number"),
        ({"depth": 0}, "depth=0 must be at least 1"),
        ({"width": 0}, "width=0 must be at least 1"),
        ({"closed_set": True, "depth": 2}, "closed_set=True .* depth=2 must be 1"),
    ],
)
def test_faulty_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        CritiqueSettings(**options)


def test_drafts_are_refused(reflective: Reflective) -> None:
    setup, _ = reflective
    decoder = CritiqueDecoder(setup.index, setup.tokenizer, setup.model.onegen_config)
    with pytest.raises(ValueError, match="prompt_lookup_num_tokens=3 is not supported with critique"):
        TransformersEngine(setup.model, setup.tokenizer).answer(
            [[5]], decoder, prompt_lookup_num_tokens=3, max_new_tokens=5
        )
