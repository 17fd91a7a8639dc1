"""When rows retrieve: never, when the model asks or its probability says so, always."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup

from onegen_hf.generation import AdaptiveRetrieval, AlwaysRetrieval, NeverRetrieval, OnePassDecoder, RetrievalPolicy
from onegen_hf.generation.policy import Decision, make_policy


@pytest.fixture
def llama(setup_for: Any) -> Setup:
    return setup_for("llama_tied")


def decode(setup: Setup, prompts: list[str], max_new_tokens: int = 14, **options: Any) -> list[Any]:
    """Greedy decoding without a script: what the random model writes by itself."""
    encoded = setup.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    decoder = OnePassDecoder(setup.index, setup.tokenizer, setup.model.onegen_config, **options)
    output = setup.model.generate(
        **encoded,
        custom_generate=decoder,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        return_dict_in_generate=True,
    )
    return list(output.rows)


def query_probabilities(setup: Setup, row: Any) -> list[tuple[int, float]]:
    """By one plain forward over all that a row holds: (position, probability of the query token) where it chose."""
    with torch.no_grad():
        logits = setup.model(input_ids=torch.tensor([row.ids])).logits[0].float()
    probabilities = logits.softmax(dim=-1)[:, setup.query_token].tolist()
    spans = row.written_spans()
    # The query token at the end of each span was chosen too, save behind the last one.
    chosen = [p for start, stop in spans[:-1] for p in range(start, stop + 1)] + list(range(*spans[-1]))
    return [(position, probabilities[position - 1]) for position in chosen]


def test_never(llama: Setup) -> None:
    script = llama.script(hops=3)  # asks three times, where it may
    assert all(len(row.retrievals) == 3 for row in llama.run(PROMPTS, script=script, max_new_tokens=24).rows)
    for row in decode(llama, PROMPTS, retrieval="never"):
        assert not row.retrievals and llama.query_token not in row.ids
        assert row.retrieval_stopped == "never" and row.usage.retrieved_tokens == 0


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_adaptive_retrieves_exactly_above_its_threshold(llama: Setup, quantile: float) -> None:
    rows = decode(llama, PROMPTS, max_new_tokens=20, retrieval="never")
    probabilities = torch.tensor([p for row in rows for _, p in query_probabilities(llama, row)])
    # Between two probabilities of the sample, so that rounding decides nothing.
    threshold = {0.0: 0.0, 1.0: 1.0}.get(quantile, float(probabilities.quantile(quantile)))
    retrieved = declined = 0
    for row in decode(llama, PROMPTS, max_new_tokens=20, max_hops=4, threshold=threshold):
        hops = 0
        for position, probability in query_probabilities(llama, row):
            if hops == 4:
                break
            retrieves = row.ids[position] == llama.query_token
            assert retrieves == (probability > threshold), (position, probability, threshold)
            hops += retrieves
            declined += not retrieves
        retrieved += hops
    assert (retrieved > 0) == (quantile < 1) and (declined > 0) == (quantile > 0)


def test_a_threshold_gives_the_same_in_a_batch(llama: Setup) -> None:
    together = decode(llama, PROMPTS, threshold=0.0025)
    for prompt, row in zip(PROMPTS, together, strict=True):
        assert row.ids == decode(llama, [prompt], threshold=0.0025)[0].ids


class WritesLines:
    """Lets a row write a newline as every fifth token, and otherwise what it likes but the end."""

    def __init__(self, setup: Setup) -> None:
        self.newline = setup.tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
        self.others = [setup.query_token, setup.tokenizer.eos_token_id]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, [*self.others, self.newline]] = -1e4
        scores[:, self.newline] += 2e4 * (input_ids.shape[1] % 5 == 0)
        return scores


def test_always_retrieves_at_the_end_of_the_first_line(llama: Setup) -> None:
    lines = WritesLines(llama)
    rows = llama.run(PROMPTS, script=[lines], max_new_tokens=12, retrieval="always").rows
    for plain, row in zip(llama.run(PROMPTS, script=[lines], max_new_tokens=12).rows, rows, strict=True):
        assert not plain.retrievals and len(row.retrievals) == 1
        first_line_ends = plain.ids.index(lines.newline, plain.usage.prompt_tokens)
        assert row.retrievals[0].position == first_line_ends
        assert row.ids[:first_line_ends] == plain.ids[:first_line_ends]
        assert lines.newline in row.ids[first_line_ends + 1 + row.retrievals[0].inserted :]  # not replaced later


def test_always_takes_the_place_of_the_end(llama: Setup) -> None:
    class EndsAtOnce:
        def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
            scores = torch.full_like(scores, -1e4)
            scores[:, llama.tokenizer.eos_token_id] = 0
            return scores

    for retrieval, hops in (("adaptive", 0), ("always", 1)):
        encoded = llama.tokenizer(PROMPTS[:1], return_tensors="pt")
        decoder = OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config, retrieval=retrieval)
        row = llama.model.generate(
            **encoded,
            custom_generate=decoder,
            logits_processor=[EndsAtOnce()],
            max_new_tokens=5,
            return_dict_in_generate=True,
        ).rows[0]
        assert (len(row.retrievals), row.stop_reason) == (hops, "eos")
        assert row.usage.generated_tokens == 1 + hops


def test_a_policy_of_ones_own(llama: Setup) -> None:
    class EveryThird(RetrievalPolicy):
        name = "every-third"

        def decide(self, row: Any, probability: float | None) -> Decision:
            return Decision.FORCED if row.usage.generated_tokens % 3 == 2 else Decision.BANNED

    for row in decode(llama, PROMPTS, retrieval=EveryThird(max_hops=2), max_new_tokens=10):
        starts = [row.usage.prompt_tokens + 2, row.retrievals[0].position + 1 + row.retrievals[0].inserted + 2]
        assert [retrieval.position for retrieval in row.retrievals] == starts
        assert row.retrieval_stopped == "max_hops"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retrieval": "sometimes"}, "retrieval='sometimes' is unknown: choose one of 'adaptive', 'always', 'never'"),
        ({"retrieval": "never", "threshold": 0.5}, 'threshold=0.5 is for retrieval="adaptive"'),
        ({"threshold": 1.5}, "threshold=1.5 must be from 0 to 1"),
        ({"threshold": float("nan")}, "threshold=nan must be a finite number"),
        ({"retrieval": "always", "max_hops": 0}, "max_hops=0 must be at least 1"),
        ({"max_hops": -1}, "max_hops=-1 must be at least 0"),
    ],
)
def test_faulty_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_policy(**options)


def test_modes_by_name() -> None:
    assert isinstance(make_policy(), AdaptiveRetrieval) and isinstance(make_policy("never"), NeverRetrieval)
    policy = AlwaysRetrieval(2)
    assert make_policy(policy) is policy and make_policy("always", 3).max_hops == 3
