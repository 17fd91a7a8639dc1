"""A passage is read with more sentences and with fewer, and the most probable answer is the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from onegen_hf import OneGenRagPipeline, Passage
from onegen_hf.generation import Hit, OnePassDecoder, RowState
from onegen_hf.generation.readings import Reading

SENTENCES = ("Tin Boat was shown in Fern Bay.", "Critics liked Tin Boat.", "Ada Moll made it in 1954.")
FILM = Passage("film", "Tin Boat", " ".join(SENTENCES))
SHORT = Passage("short", "Tin Boat", "A film.")
OPTIONS: dict[str, Any] = {"max_new_tokens": 10, "return_dict_in_generate": True}


class AsksAtOnce(LogitsProcessor):
    """Retrieves before anything is written, and again later if there are more hops."""

    def __init__(self, query_token: int, hops: int = 1) -> None:
        self.query_token, self.hops = query_token, hops

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        for row, ids in enumerate(input_ids):
            asked = int((ids == self.query_token).sum())
            asks = asked < self.hops and (asked == 0 or len(ids) > 40)
            scores[row, self.query_token] = 1e4 if asks else -torch.inf
        return scores


class Finds(OnePassDecoder):
    """Finds the same passage for all."""

    passage = FILM

    def retrieve(self, rows: Sequence[RowState], embeddings: torch.Tensor) -> list[list[Hit]]:
        return [[Hit(self.passage, 0.9, 0)] for _ in rows]


class FindsShort(Finds):
    passage = SHORT


def decoded(
    llama: Setup,
    prompts: list[str],
    sentences: int,
    readings: int | None,
    kind: type[Finds] = Finds,
    hops: int = 1,
    max_rows: int | None = None,
    **options: Any,
) -> tuple[list[RowState], OnePassDecoder]:
    """The rows of prompts, and the decoder."""
    config = dataclasses.replace(llama.model.onegen_config, answer_prefix="")
    decoder = kind(
        llama.index,
        llama.tokenizer,
        config,
        questions=["What did critics say of Tin Boat in Fern Bay in 1954?"] * len(prompts),
        inserted_sentences=sentences,
        readings=readings,
        max_rows=max_rows,
    )
    rows = llama.model.generate(
        **llama.tokenizer(prompts, return_tensors="pt", padding=True),
        custom_generate=decoder,
        logits_processor=LogitsProcessorList([AsksAtOnce(llama.query_token, hops)]),
        **{**OPTIONS, **options},
    ).rows
    return rows, decoder


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize(("max_rows", "drafted"), [(None, None), (1, None), (2, None), (1, 4)])
def test_the_most_probable_of_the_single_readings_is_taken(
    llama: Setup, hops: int, max_rows: int | None, drafted: int | None
) -> None:
    single = [decoded(llama, PROMPTS, count, 1, hops=hops, max_new_tokens=24)[0] for count in (3, 2, 1)]
    rows, decoder = decoded(
        llama,
        PROMPTS,
        3,
        3,
        hops=hops,
        max_rows=max_rows,
        max_new_tokens=24,
        prompt_lookup_num_tokens=drafted,
    )
    taken = []
    for place, row in enumerate(rows):
        readings = [of_count[place] for of_count in single]
        # Where the first asks again it goes on alone; where another does, that one does not count.
        rivals = [reading for reading in readings if len(reading.retrievals) == 1]
        first_goes_on = len(readings[0].retrievals) > 1
        best = readings[0] if first_goes_on else max(rivals, key=lambda one: decoder.confidence(one) or 0.0)
        assert row.ids == best.ids and row.stop_reason == best.stop_reason
        assert row.retrieval_stopped == best.retrieval_stopped
        assert [hop.inserted for hop in row.retrievals] == [hop.inserted for hop in best.retrievals]
        assert row.log_probabilities == pytest.approx(best.log_probabilities, abs=1e-4)
        assert decoder.confidence(row) == pytest.approx(decoder.confidence(best), abs=1e-5)
        assert row.number == place and not row.waiting and not row.pending
        taken.append("first of several hops" if first_goes_on else readings.index(best))
    assert set(taken) != {0}  # or this test could not tell
    assert ("first of several hops" in taken) == (hops > 1)


def test_fewer_readings_than_sentences(llama: Setup) -> None:
    config = llama.model.onegen_config

    def counts(sentences: int | None, readings: int | None) -> list[int | None]:
        return OnePassDecoder(
            llama.index, llama.tokenizer, config, inserted_sentences=sentences, readings=readings
        ).sentence_counts

    assert counts(4, 2) == [4, 3]
    assert counts(2, 5) == [2, 1]
    assert counts(3, None) == [3]
    assert counts(None, 3) == counts(0, 3) == [None]  # whole passages are all alike
    config = dataclasses.replace(config, inserted_sentences=2, readings=2)
    assert counts(None, None) == [2, 1]
    assert counts(None, 1) == [2]


def test_what_all_readings_share_is_read_once(llama: Setup) -> None:
    (row,), _ = decoded(llama, PROMPTS[:1], 3, 3)
    single = [decoded(llama, PROMPTS[:1], count, 1)[0][0].usage for count in (3, 2, 1)]
    prompt = row.usage.prompt_tokens
    asked = 1  # the query token, which is read with the prompt's keys and values
    assert row.usage.retrieved_tokens == sum(usage.retrieved_tokens for usage in single)
    assert row.usage.generated_tokens == asked + sum(usage.generated_tokens - asked for usage in single)
    alone = sum(usage.forwarded_tokens - prompt - asked for usage in single)
    assert row.usage.forwarded_tokens == prompt + asked + alone
    assert row.usage.forward_calls == max(usage.forward_calls for usage in single)


def test_a_passage_of_one_sentence_is_read_once(llama: Setup) -> None:
    (row,), _ = decoded(llama, PROMPTS[:1], 3, 3, kind=FindsShort)
    (plain,), _ = decoded(llama, PROMPTS[:1], 3, 1, kind=FindsShort)
    assert isinstance(row, Reading) and row.usage == plain.usage and row.ids == plain.ids


def test_sampled_readings_are_reproducible(llama: Setup) -> None:
    torch.manual_seed(7)
    first = decoded(llama, PROMPTS, 3, 3, do_sample=True, temperature=2.0)[0]
    torch.manual_seed(7)
    again = decoded(llama, PROMPTS, 3, 3, do_sample=True, temperature=2.0)[0]
    assert [row.ids for row in first] == [row.ids for row in again]


def test_text_is_streamed_when_it_is_chosen(llama: Setup) -> None:
    rag = OneGenRagPipeline(model=llama.model, tokenizer=llama.tokenizer, index=llama.index)
    asks = LogitsProcessorList([AsksAtOnce(llama.query_token)])
    options: dict[str, Any] = {
        "max_new_tokens": 10, "logits_processor": asks, "inserted_sentences": 2, "readings": 2,
    }  # fmt: skip
    for question in PROMPTS:
        called = rag(question, **options)
        events = list(rag.stream(question, **options))
        assert events[-1].result == called
        assert "".join(event.text for event in events if event.type == "token") == called.content
        assert [event.type for event in events].count("passages") == len(called.retrievals) == 1
        assert rag.retrieve(question, k=1, **options) == called.retrievals[0].passages
        batched = rag([question, PROMPTS[0]], batch_size=2, **options)[0]
        assert (batched.text, batched.usage.forwarded_tokens) == (called.text, called.usage.forwarded_tokens)


def test_a_streamer_of_generate_gets_what_is_chosen(llama: Setup) -> None:
    for prompt in PROMPTS:
        streamer = Collects()
        (row,), _ = decoded(llama, [prompt], 3, 3, streamer=streamer)
        assert streamer.tokens == row.ids


class Collects(BaseStreamer):
    """Keeps all tokens."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        pass
