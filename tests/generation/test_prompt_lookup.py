"""Drafts from the text (prompt lookup): the same text, in fewer forwards."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.decoding_setup import PROMPTS, Setup, assert_same_row, tokens_fed
from support.tiny_models import ARCHITECTURES
from transformers import GenerationConfig

from onegen_hf.generation.memory import SequentialMemory
from onegen_hf.generation.prompt_lookup import Drafter
from onegen_hf.generation.state import RowState


def counts_add_up(row: Any) -> None:
    usage = row.usage
    assert usage.forwarded_tokens == (
        usage.prompt_tokens + usage.generated_tokens + usage.retrieved_tokens - 1 + usage.rejected_tokens
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_text_is_the_same(setup_for: Any, architecture: str) -> None:
    setup: Setup = setup_for(architecture)
    for one, other in zip(
        setup.run(PROMPTS, prompt_lookup_num_tokens=12, max_new_tokens=24).rows,
        setup.run(PROMPTS, max_new_tokens=24).rows,
        strict=True,
    ):
        assert_same_row(one, other)
        counts_add_up(one)
        counts_add_up(other)
        assert other.usage.rejected_tokens == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4),
    hops=st.integers(0, 3),
    drafts=st.integers(1, 12),
    ngram=st.integers(1, 3),
    max_new_tokens=st.integers(1, 40),
    max_rows=st.none() | st.integers(1, 2),
)
def test_whatever_is_drafted(
    llama: Setup,
    prompts: list[str],
    hops: int,
    drafts: int,
    ngram: int,
    max_new_tokens: int,
    max_rows: int | None,
) -> None:
    plain = llama.run(prompts, hops=hops, max_new_tokens=max_new_tokens).rows
    drafted = llama.run(
        prompts, hops=hops, max_new_tokens=max_new_tokens, max_rows=max_rows, prompt_lookup_num_tokens=drafts,
        max_matching_ngram_size=ngram,
    ).rows  # fmt: skip
    for one, other in zip(drafted, plain, strict=True):
        assert_same_row(one, other)
        counts_add_up(one)
        assert one.usage.forward_calls <= other.usage.forward_calls


class Repeating:
    """Lets a model write the prompt again and again, which a lookup finds."""

    def __init__(self, period: list[int]) -> None:
        self.period = period

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        last = int(input_ids[0, -1])
        following = self.period[(self.period.index(last) + 1) % len(self.period)] if last in self.period else None
        scores = scores.clone()
        scores[:, self.period[0] if following is None else following] = 1e4
        return scores


@pytest.mark.parametrize("do_sample", [False, True])
def test_accepted_drafts_save_forwards(llama: Setup, do_sample: bool) -> None:
    period = llama.ids("abcdefgh")
    assert len(set(period)) == len(period) > 3
    with tokens_fed(llama.model) as fed:
        (row,) = llama.run(
            ["abcdefgh"], script=Repeating(period), max_new_tokens=24, prompt_lookup_num_tokens=5, do_sample=do_sample
        ).rows
    assert row.ids == [period[number % len(period)] for number in range(len(row.ids))]
    assert (row.usage.forward_calls, row.usage.forwarded_tokens) == (len(fed), sum(map(len, fed)))
    assert row.usage.generated_tokens == 24
    # The first forward has seen nothing twice yet; five tokens and the next one from then on.
    assert row.usage.forward_calls <= 1 + len(period) + 24 // 6
    counts_add_up(row)


def test_sampling_takes_the_same_path(llama: Setup) -> None:
    def sampled(**options: Any) -> Any:
        torch.manual_seed(3)
        return llama.run(PROMPTS[1:2], do_sample=True, temperature=0.3, max_new_tokens=40, **options).rows[0]

    assert_same_row(sampled(prompt_lookup_num_tokens=4), sampled())


def test_several_rows_share_the_drafts(llama: Setup) -> None:
    with tokens_fed(llama.model) as fed:
        rows = llama.run(["abcabcabcabc"] * 4, hops=0, max_new_tokens=20, prompt_lookup_num_tokens=3).rows
    assert all(row.usage.rejected_tokens == 0 for row in rows)
    assert max(map(len, fed[1:])) == 4


def test_end_and_limits_within_a_draft(llama: Setup) -> None:
    period = llama.ids("abcdefgh")
    for limit in range(1, 20):
        (row,) = llama.run(
            ["abcdefgh" * 2], script=Repeating(period), max_new_tokens=limit, prompt_lookup_num_tokens=7
        ).rows
        assert (row.usage.generated_tokens, row.stop_reason) == (limit, "max_new_tokens")
        counts_add_up(row)
        (row,) = llama.run(
            ["abcdefgh" * 2], script=Repeating(period), max_new_tokens=30, prompt_lookup_num_tokens=7,
            eos_token_id=period[limit % len(period)],
        ).rows  # fmt: skip
        assert (row.stop_reason, row.ids[-1]) == ("eos", period[limit % len(period)])
        assert row.usage.generated_tokens <= len(period)
        counts_add_up(row)


def test_processors_see_every_token(llama: Setup) -> None:
    options: dict[str, Any] = dict(
        repetition_penalty=1.3, no_repeat_ngram_size=4, min_new_tokens=20, max_new_tokens=30
    )
    for one, other in zip(
        llama.run(PROMPTS, prompt_lookup_num_tokens=16, **options).rows,
        llama.run(PROMPTS, **options).rows,
        strict=True,
    ):
        assert_same_row(one, other)


def test_states_that_cannot_be_taken_back_are_not_drafted_for(llama: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = llama.run(PROMPTS).rows
    monkeypatch.setattr("onegen_hf.generation.loop.memory_for", SequentialMemory)
    for one, other in zip(llama.run(PROMPTS, prompt_lookup_num_tokens=12).rows, plain, strict=True):
        assert_same_row(one, other)
        assert one.usage.rejected_tokens == 0


def test_a_full_context(setup_for: Any) -> None:
    setup = copy.copy(setup_for("llama_tied"))
    setup.model = copy.deepcopy(setup.model)
    setup.model.config.max_position_embeddings = 60
    for one, other in zip(
        setup.run(["abc" * 4] * 2, max_new_tokens=60, prompt_lookup_num_tokens=8).rows,
        setup.run(["abc" * 4] * 2, max_new_tokens=60).rows,
        strict=True,
    ):
        assert_same_row(one, other)
        assert one.stop_reason == "context_full"
        counts_add_up(one)


def test_a_draft_ends_before_tokens_that_it_must_not_hold() -> None:
    drafter = Drafter(num_tokens=8, ngram=2, never={9})
    assert drafter.draft(RowState.start(0, [1, 2, 3, 9, 4, 1, 2]), rows=1, room=20) == [3]
    assert drafter.draft(RowState.start(0, [1, 2, 3, 5, 4, 1, 2]), rows=1, room=20) == [3, 5, 4, 1, 2]
    assert drafter.draft(RowState.start(0, [1, 2, 3, 5, 4, 1, 2]), rows=1, room=2) == [3, 5]
    assert drafter.draft(RowState.start(0, [1, 2, 3, 5, 4, 1, 2]), rows=4, room=20) == [3, 5]
    assert drafter.draft(RowState.start(0, [1, 2, 3, 5, 4, 1, 2]), rows=9, room=20) == []
    assert drafter.draft(RowState.start(0, [1, 2, 3, 5, 4, 1, 2]), rows=1, room=0) == []
    assert drafter.draft(RowState.start(0, [1, 2, 3, 4]), rows=1, room=20) == []
    assert drafter.draft(RowState.start(0, [1]), rows=1, room=20) == []


def test_settings() -> None:
    assert Drafter.from_config(GenerationConfig(), set()) is None
    found = Drafter.from_config(GenerationConfig(prompt_lookup_num_tokens=3, max_matching_ngram_size=4), {1})
    assert found is not None and (found.num_tokens, found.ngram, found.never) == (3, 4, {1})
    with pytest.raises(ValueError, match="prompt_lookup_num_tokens=0 must be at least 1"):
        Drafter(0, 2, set())
    with pytest.raises(ValueError, match="max_matching_ngram_size=0 must be at least 1"):
        Drafter(1, 0, set())
