"""Long form: the beam search over segments against a slow one by plain forwards, with a new query for each segment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from support.decoding_setup import Setup
from support.reflection_setup import criticise, random_prompts, reflection_setup

from onegen_hf.data.passages import PassageEncoder
from onegen_hf.generation import CritiqueSettings
from onegen_hf.generation.critique import score_segment
from onegen_hf.generation.reflection import ReflectionIds

Reflective = tuple[Setup, ReflectionIds]


@pytest.fixture(scope="module")
def reflective(base_tokenizer: Any) -> Reflective:
    return reflection_setup(base_tokenizer)


@dataclass
class Beam:
    ids: list[int]
    generated: int
    totals: list[float] = field(default_factory=list)
    passages: list[str | None] = field(default_factory=list)
    queries: list[torch.Tensor] = field(default_factory=list)
    ended: bool = False

    @property
    def score(self) -> float:
        return sum(self.totals) / len(self.totals) if self.totals else 0.0


class SlowSearch:
    """The same search with one plain forward over the whole text per token."""

    def __init__(self, setup: Setup, ids: ReflectionIds, settings: CritiqueSettings, threshold: float, k: int) -> None:
        self.setup, self.ids, self.settings, self.threshold, self.k = setup, ids, settings, threshold, k
        self.quiet = [ids.no_retrieve, ids.continue_evidence]
        self.statements = [ids.retrieve, setup.query_token, *self.quiet]
        self.encoder = PassageEncoder(setup.tokenizer, setup.model.onegen_config)

    @torch.no_grad()
    def run(self, prompt: list[int], max_new_tokens: int) -> Beam:
        self.most = max_new_tokens
        beams = [Beam(list(prompt), 0)]
        while not all(beam.ended for beam in beams):
            children = [child for beam in beams for child in ([beam] if beam.ended else self.expand(beam))]
            beams = sorted(children, key=lambda beam: -beam.score)[: self.settings.width]
        return beams[0]

    def logits(self, ids: list[int]) -> torch.Tensor:
        return self.setup.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()

    def decision(self, ids: list[int], chosen: int, last: bool) -> int:
        yes, no = self.logits(ids)[[self.ids.retrieve, self.ids.no_retrieve]].softmax(dim=0).tolist()
        if yes > self.threshold and not last:
            return self.ids.retrieve
        return chosen if chosen in self.quiet else self.ids.no_retrieve

    def expand(self, beam: Beam) -> list[Beam]:
        if not beam.generated:
            beam.ids.append(self.decision(beam.ids, int(self.logits(beam.ids).argmax()), last=False))
            beam.generated = 1
        if beam.generated >= self.most:
            beam.ended = True
            return [beam]
        if beam.ids[-1] != self.ids.retrieve:
            return [self.segment(beam, None)]
        beam.ids.append(self.setup.query_token)
        beam.generated += 1
        if beam.generated >= self.most:
            beam.ended = True
            return [beam]
        output = self.setup.model(input_ids=torch.tensor([beam.ids]), output_hidden_states=True, use_cache=False)
        query = output.hidden_states[-1][:, -1]
        beam.queries = [*beam.queries, query[0]]
        return [
            self.segment(beam, self.setup.index[int(number)])
            for number in self.setup.index.search(query, self.k)[1][0]
        ]

    def segment(self, beam: Beam, passage: Any) -> Beam:
        child = replace(
            beam, ids=[*beam.ids, *(self.encoder.insertion([passage]) if passage else [])], totals=list(beam.totals)
        )
        logs: list[float] = []
        relevance = support = utility = None
        end = self.setup.tokenizer.eos_token_id
        while not child.ended:
            probabilities = self.logits(child.ids).double().softmax(dim=-1)
            allowed = probabilities.clone()
            if child.ids[-1] in self.quiet and not logs:
                allowed[self.statements] = -1
            token = int(allowed.argmax())
            if token in self.statements:
                last = len(child.totals) + 1 >= self.settings.depth
                child.ids.append(self.decision(child.ids, token, last))
                child.generated += 1
                child.ended = last or child.generated >= self.most
                break
            if passage is not None and not logs:
                relevance = probabilities[list(self.ids.relevance)].tolist()
            if token in self.ids.support and support is None:
                support = probabilities[list(self.ids.support)].tolist()
            if token in self.ids.utility and utility is None:
                utility = probabilities[list(self.ids.utility)].tolist()
            logs.append(float(probabilities[token].log()))
            child.ids.append(token)
            child.generated += 1
            child.ended = token == end or child.generated >= self.most
        child.totals.append(score_segment(logs, relevance, support, utility, self.settings).total)
        child.passages = [*beam.passages, None if passage is None else passage.id]
        return child


@pytest.mark.parametrize(
    ("settings", "retrieval"),
    [
        (CritiqueSettings(depth=3, width=2), {"retrieval": "always"}),
        (CritiqueSettings(depth=4, width=1), {"retrieval": "always"}),
        (CritiqueSettings(depth=2, width=3, w_use=1.0), {"threshold": 0.5}),
        (CritiqueSettings(depth=5, width=2), {"threshold": 0.7}),
    ],
)
def test_the_search_equals_a_slow_one(reflective: Reflective, settings: Any, retrieval: dict[str, Any]) -> None:
    setup, ids = reflective
    search = SlowSearch(setup, ids, settings, retrieval.get("threshold", -1.0), k=3)
    prompts = random_prompts(11, 16)
    segments = without = 0
    for prompt, row in zip(
        prompts, criticise(setup, prompts, 30, settings, k=3, max_hops=9, **retrieval), strict=True
    ):
        expected = search.run(prompt, 30)
        assert row.ids == expected.ids
        assert row.score == pytest.approx(expected.score, abs=1e-4)
        found = [segment.hit and segment.hit.passage.id for segment in row.segments]
        assert found == expected.passages and len(found) <= settings.depth
        # Each retrieval has its own query, the state at its own query token.
        for retrieval_of_row, query in zip(row.retrievals, expected.queries, strict=False):
            torch.testing.assert_close(retrieval_of_row.embedding, query, rtol=1e-4, atol=1e-4)
        segments += len(found)
        without += found.count(None)
    assert segments > len(prompts) * 1.3
    assert without > 0 or retrieval == {"retrieval": "always"}


def test_every_segment_that_was_weighed_is_kept_in_the_result(reflective: Reflective) -> None:
    setup, _ = reflective
    options = {"k": 3, "max_hops": 9, "retrieval": "always"}
    for row in criticise(setup, random_prompts(12, 8), 30, CritiqueSettings(depth=3), **options):
        assert {candidate.depth for candidate in row.candidates} >= set(range(len(row.segments)))
        assert all(candidate.segment.score is not None for candidate in row.candidates)
        kept = [candidate.segment for candidate in row.candidates if candidate.segment.kept]
        assert len(kept) == len(row.segments)
        for candidate in row.candidates:
            assert (candidate.parent is None) == (candidate.depth == 0)
        queries = [retrieval.embedding for retrieval in row.retrievals]
        for one, other in zip(queries, queries[1:], strict=False):
            assert not torch.allclose(one, other)
