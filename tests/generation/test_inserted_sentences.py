"""The sentences that share the most words with the query are inserted, if the checkpoint or the caller says so."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup
from support.index_fixtures import make_corpus
from transformers import LogitsProcessor, LogitsProcessorList

from onegen_hf import OneGenRagPipeline, Passage, PassageIndex
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.evaluation.rag import evaluate_rag
from onegen_hf.generation import Hit, OnePassDecoder

SENTENCES = (
    "The film is called Tin Boat.",
    "It is from 1954.",
    "Critics liked it.",
    "Much was shown in Fern Bay.",
    "Ada Moll made Tin Boat, and she was born there.",
    "She died there.",
)
FILM = Passage("film", "Tin Boat", " ".join(SENTENCES))
WHO_MADE = PROMPTS[1]


class AsksAtOnce(LogitsProcessor):
    """Retrieves before anything is written, so that the question is the query."""

    def __init__(self, query_token: int, hops: int) -> None:
        self.query_token, self.hops = query_token, hops

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        asks = int((input_ids == self.query_token).sum()) < self.hops
        scores[:, self.query_token] = 1e4 if asks else -torch.inf
        return scores


class Writes(LogitsProcessor):
    """Lets the model write given tokens, one after the other."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = iter(tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, next(self.tokens)] = 0.0
        return forced


class FindsTheFilm(OnePassDecoder):
    def retrieve(self, rows: Sequence[Any], embeddings: torch.Tensor) -> list[list[Hit]]:
        return [[Hit(FILM, 1.0, 0)] for _ in rows]


@pytest.fixture
def setup(llama: Setup) -> Setup:
    """The same model, with settings of its own and passages of up to four sentences."""
    model = copy.copy(llama.model)
    return Setup(
        model, llama.tokenizer, PassageIndex.build(model, llama.tokenizer, make_corpus(8), show_progress=False)
    )


def with_sentences(model: Any, count: int | None) -> None:
    model.onegen_config = dataclasses.replace(model.onegen_config, inserted_sentences=count)


@pytest.mark.parametrize(
    ("of_checkpoint", "asked", "expected"),
    [
        (None, None, range(6)),
        (2, None, [0, 4]),
        (2, 1, [4]),
        (2, 0, range(6)),
        (None, 2, [0, 4]),
    ],
)
def test_the_checkpoint_or_the_caller_says_how_many(
    llama: Setup, of_checkpoint: int | None, asked: int | None, expected: list[int]
) -> None:
    config = dataclasses.replace(llama.model.onegen_config, inserted_sentences=of_checkpoint)
    decoder = FindsTheFilm(llama.index, llama.tokenizer, config, questions=[WHO_MADE], inserted_sentences=asked)
    (row,) = llama.model.generate(
        **llama.tokenizer([WHO_MADE], return_tensors="pt"),
        custom_generate=decoder,
        max_new_tokens=8,
        logits_processor=LogitsProcessorList([AsksAtOnce(llama.query_token, 1)]),
        return_dict_in_generate=True,
    ).rows
    (retrieval,) = row.retrievals
    start = retrieval.position + 1
    read = dataclasses.replace(FILM, text=" ".join(SENTENCES[place] for place in expected))
    assert row.ids[start : start + retrieval.inserted] == decoder.passages.insertion([read])
    assert retrieval.hits[0].passage == FILM  # results show all of it


@pytest.mark.parametrize("count", [None, 1, 3])
@pytest.mark.parametrize("written", ["", "Who saw it there?", "Ada Moll\nWhich critics liked it?", "Ada Moll\n"])
def test_training_inserts_what_decoding_inserts(llama: Setup, count: int | None, written: str) -> None:
    config = dataclasses.replace(llama.model.onegen_config, inserted_sentences=count)
    decoder = FindsTheFilm(llama.index, llama.tokenizer, config, questions=["What is from 1954?"])
    first = llama.tokenizer("What is from 1954?", add_special_tokens=False)["input_ids"]
    then = llama.tokenizer(written, add_special_tokens=False)["input_ids"]
    script = [llama.query_token, *then, llama.query_token, llama.tokenizer.eos_token_id]
    (row,) = llama.model.generate(
        torch.tensor([first]),
        custom_generate=decoder,
        max_new_tokens=len(script),
        logits_processor=LogitsProcessorList([Writes(script)]),
        return_dict_in_generate=True,
    ).rows
    paragraph = f"<paragraph>{FILM.title}\n{FILM.text}</paragraph>"
    conversation = [
        {"role": "user", "content": config.prompt_template.format(question="What is from 1954?")},
        {"role": "assistant", "content": f"[RQ]{paragraph}{written}[RQ]{paragraph}"},
    ]
    trained = RoleEncoder(llama.tokenizer, config).encode(conversation)
    assert len(row.retrievals) == len(trained.query_positions) == 2
    for retrieval, position in zip(row.retrievals, trained.query_positions, strict=True):
        inserted = row.ids[retrieval.position + 1 :][: retrieval.inserted]
        assert trained.input_ids[position + 1 :][: retrieval.inserted] == inserted


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize(("of_checkpoint", "asked"), [(1, None), (None, 1), (3, 1), (1, 0)])
def test_the_next_turn_holds_what_was_inserted(
    setup: Setup, hops: int, of_checkpoint: int | None, asked: int | None
) -> None:
    rag = OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index)
    question = "Which kite is Item 8, Item 22, or Item 16?"
    options: dict[str, Any] = {} if asked is None else {"inserted_sentences": asked}
    asks = LogitsProcessorList([AsksAtOnce(setup.query_token, hops)])
    whole = rag(question, max_new_tokens=12, logits_processor=asks, inserted_sentences=0)
    with_sentences(setup.model, of_checkpoint)
    result = rag(question, max_new_tokens=12, logits_processor=asks, **options)
    assert (result.usage.retrieved_tokens < whole.usage.retrieved_tokens) == (asked != 0)
    chat = [{"role": "user", "content": question}, result.as_message(), {"role": "user", "content": "And?"}]
    prompt = rag.preprocess(chat, **options)["prompt"]
    assert paragraphs(setup.tokenizer.decode(prompt)) == paragraphs(result.text)
    options["max_new_tokens"] = 1
    answers = [rag(chat, **options), *rag([chat], **options), list(rag.stream(chat, **options))[-1].result]
    assert [answer.usage.prompt_tokens for answer in answers] == [len(prompt)] * 3


def paragraphs(text: str) -> list[str]:
    """What was inserted in a text."""
    return [part.partition("</paragraph>")[0] for part in text.split("<paragraph>")[1:]]


def test_an_evaluation_says_how_many(setup: Setup) -> None:
    rag = OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index)
    example = {
        "id": "0",
        "messages": [
            {"role": "user", "content": "Which kite is Item 8?"},
            {"role": "assistant", "content": "Which kite is Item 8? [RQ]\nAnswer: red"},
        ],
        "positives": [["p1"]],
        "negatives": [[]],
        "answers": ["red"],
    }
    options: dict[str, Any] = {"max_new_tokens": 8, "show_progress": False}
    assert "inserted_sentences" not in evaluate_rag(rag, [example], **options).settings
    assert evaluate_rag(rag, [example], inserted_sentences=2, **options).settings["inserted_sentences"] == 2
    with_sentences(setup.model, 3)
    assert evaluate_rag(rag, [example], **options).settings["inserted_sentences"] == 3
    assert "inserted_sentences" not in evaluate_rag(rag, [example], inserted_sentences=0, **options).settings
