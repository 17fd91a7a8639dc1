"""`rag.stream` and `rag.retrieve`: events in the order in which things happen, from the run that a call makes."""

from __future__ import annotations

import copy
import re
import threading
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from support.decoding_setup import PROMPTS, Script, Setup, tokens_fed
from transformers import LogitsProcessorList, TextIteratorStreamer, pipeline

from onegen_hf.generation.events import StreamEvent
from onegen_hf.pipelines.text_pieces import TextPieces

OPTIONS: list[dict[str, Any]] = [
    {},
    {"k": 3, "max_hops": 1},
    {"retrieval": "never"},
    {"retrieval": "always", "max_hops": 2},
    {"threshold": 0.0, "max_hops": 2},
    {"prompt_lookup_num_tokens": 4},
    {"do_sample": True, "temperature": 2.0},
    {"max_new_tokens": 1},
    {"stop_strings": ["e", "an"]},
]


@pytest.fixture(scope="module")
def rag(llama: Setup) -> Any:
    return pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index)


@pytest.fixture
def asks(llama: Setup) -> Any:
    """A random model asks for nothing by itself: with this it retrieves twice."""
    return LogitsProcessorList([llama.script(hops=2)])


def letters(events: list[StreamEvent]) -> str:
    """One letter per event: t, q, p, a, d."""
    return "".join(event.type[0] for event in events)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("question", PROMPTS)
def test_the_last_event_holds_what_a_call_returns(rag: Any, asks: Any, question: str, options: dict[str, Any]) -> None:
    options = {"max_new_tokens": 24, "logits_processor": asks, **options}
    torch.manual_seed(0)
    expected = rag(question, **options)
    torch.manual_seed(0)
    events = list(rag.stream(question, **options))
    done = events[-1]
    assert done.result == expected and done.usage == expected.usage and done.stop_reason == expected.stop_reason
    assert events[-2].to_dict() == {"type": "answer", **{n: expected[n] for n in ("answer", "answered", "citations")}}
    # Every token in its place: those of a hop, its query, its passages.
    assert re.fullmatch(r"(t+qp)*t*ad", letters(events))
    assert letters(events).count("t") == expected.usage.generated_tokens
    found = [event for event in events if event.type == "passages"]
    assert [(e.hop, e.query, e.passages) for e in found] == [(r.hop, r.query, r.passages) for r in expected.retrievals]
    written = ["".join(e.text for e in events if e.type == "token" and e.hop <= hop) for hop in range(len(found))]
    assert [retrieval.position for retrieval in expected.retrievals] == [len(text) for text in written]
    assert expected.content == "".join(event.text for event in events if event.type == "token")
    assert sum(event.inserted_tokens for event in found) == expected.usage.retrieved_tokens
    queries = [event for event in events if event.type == "query"]
    assert [(event.hop, event.text) for event in queries] == [(event.hop, event.query) for event in found]
    assert all(0 < event.probability <= 1 for event in queries)


def test_the_pieces_are_the_text(rag: Any, asks: Any) -> None:
    events = list(rag.stream(PROMPTS[0], max_new_tokens=24, logits_processor=asks))
    hops = len(events[-1].result.retrievals)
    assert hops == 2
    for hop in range(hops + 1):
        tokens = [event for event in events if event.type == "token" and event.hop == hop]
        control = rag.describer.control_tokens
        ids = [event.token_id for event in tokens if event.token_id not in control]
        assert "".join(event.text for event in tokens) == rag.tokenizer.decode(ids)
        assert all(event.text == "" for event in tokens if event.token_id in control)


def test_what_was_inserted(rag: Any, asks: Any) -> None:
    """Without tags, and cut as the model read it."""
    settings = rag.model.onegen_config
    settings.max_inserted_tokens, whole = 5, settings.max_inserted_tokens
    try:
        event = next(e for e in rag.stream(PROMPTS[0], logits_processor=asks) if e.type == "passages")
    finally:
        settings.max_inserted_tokens = whole
    (passage,) = event.passages
    assert event.inserted_tokens == 5 + 2
    assert len(event.inserted_text) > 5 and f"{passage.title}\n{passage.text}".startswith(event.inserted_text)


def test_whoever_stops_asking_stops_the_decoding(rag: Any, asks: Any, llama: Setup) -> None:
    threads = threading.active_count()
    with tokens_fed(llama.model) as fed:
        events = rag.stream(PROMPTS[0], max_new_tokens=200, logits_processor=asks)
        assert not fed  # nothing happens before the first event is asked for
        next(events)
        assert torch.is_grad_enabled()  # the caller's own mode between two events
        assert len(fed) == 1
        next(events)
        assert len(fed) == 2
        events.close()
        assert list(events) == []
    assert len(fed) == 2
    assert threading.active_count() == threads


def test_an_exception_of_the_consumer_stops_the_decoding(rag: Any, llama: Setup) -> None:
    with tokens_fed(llama.model) as fed, pytest.raises(KeyboardInterrupt):
        for event in rag.stream(PROMPTS[0], max_new_tokens=200):
            if event.type == "token":
                raise KeyboardInterrupt
    assert len(fed) == 1


def test_two_streams_at_a_time(rag: Any, asks: Any) -> None:
    options = {"max_new_tokens": 24, "logits_processor": asks}
    streams = [rag.stream(question, **options) for question in PROMPTS[:2]]
    ended: list[Any] = []
    while streams:
        for stream in list(streams):
            event = next(stream)
            if event.type == "done":
                streams.remove(stream)
                ended.append(event.result)
    assert sorted(r.text for r in ended) == sorted(r.text for r in rag(PROMPTS[:2], **options))


@pytest.mark.parametrize(
    ("question", "options", "match"),
    [
        ("", {}, "question"),
        (["Who?", "Where?"], {}, "single question"),
        ([], {}, "single question"),
        (Dataset.from_dict({"question": ["Who?"]}), {}, "single question"),
        ("Who?", {"k": 0}, "k=0"),
        ("Who?", {"no_such": 1}, "no_such"),
        ("Who?", {"num_return_sequences": 2, "do_sample": True}, "num_return_sequences=2"),
        ("Who?", {"num_beams": 2}, "num_beams"),
        ("Who?", {"threshold": 0.5, "retrieval": "never"}, "threshold"),
    ],
)
def test_errors_come_before_the_first_event(rag: Any, question: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        rag.stream(question, **options)


def test_a_streamer_is_refused(rag: Any) -> None:
    with pytest.raises(ValueError, match="streamer"):
        rag.stream("Who?", streamer=TextIteratorStreamer(rag.tokenizer))


def test_a_chat_and_a_mapping(rag: Any) -> None:
    for question in ({"question": "Who?"}, [{"role": "user", "content": "Who?"}]):
        assert list(rag.stream(question, max_new_tokens=3))[-1].result == rag(question, max_new_tokens=3)


def test_options_of_the_pipeline_hold(llama: Setup) -> None:
    rag = pipeline(
        "onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index,
        max_new_tokens=3, batch_size=4,
    )  # fmt: skip
    assert list(rag.stream("Who?"))[-1].usage.generated_tokens == 3
    assert list(rag.stream("Who?", max_new_tokens=2))[-1].usage.generated_tokens == 2


@pytest.mark.parametrize("k", [1, 3])
def test_retrieve(rag: Any, asks: Any, llama: Setup, k: int) -> None:
    expected = rag(PROMPTS[0], k=k, max_new_tokens=24, logits_processor=asks).retrievals[0].passages
    with tokens_fed(llama.model) as fed:
        passages = rag.retrieve(PROMPTS[0], k, max_new_tokens=24, logits_processor=asks)
    assert passages == expected and len(passages) == k and passages[0].title == expected[0]["title"]
    # The prompt, and the tokens up to the query token: no passage was read.
    events = rag.stream(PROMPTS[0], max_new_tokens=24, logits_processor=asks)
    written = 0
    for event in events:
        if event.type == "query":
            break
        written += 1
    assert sum(map(len, fed)) == len(rag._prompt(PROMPTS[0]).ids) + written
    assert int(fed[-1][-1]) == llama.query_token


def test_retrieve_makes_the_model_search(rag: Any, llama: Setup) -> None:
    """At the end of the first line, also a model that asks for nothing by itself."""
    (line_end,) = llama.ids("\n")
    ends_lines = LogitsProcessorList([Script(line_end, rag.tokenizer.eos_token_id, hops=9)])
    options = {"max_new_tokens": 12, "logits_processor": ends_lines}
    assert rag(PROMPTS[0], **options).retrievals == []
    assert len(rag.retrieve(PROMPTS[0], 2, **options)) == 2
    assert rag.retrieve(PROMPTS[0], 2, retrieval="never", **options) == []


@given(text=st.text(max_size=40))
def test_pieces_joined_are_the_text(base_tokenizer: Any, text: str) -> None:
    ids = base_tokenizer(text)["input_ids"]
    pieces = TextPieces(base_tokenizer.decode)
    parts = [pieces.add(token) for token in ids]
    assert "".join(parts) + pieces.finish() == base_tokenizer.decode(ids)
    assert pieces.finish() == ""


def test_a_piece_waits_for_the_rest_of_its_character(base_tokenizer: Any) -> None:
    ids = base_tokenizer("a\N{SNOWMAN}b")["input_ids"]
    pieces = TextPieces(base_tokenizer.decode)
    assert [pieces.add(token) for token in ids] == ["a", *[""] * (len(ids) - 3), "\N{SNOWMAN}", "b"]
    cut = TextPieces(base_tokenizer.decode)
    assert [cut.add(token) for token in ids[:2]] == ["a", ""] and cut.finish() == "\N{REPLACEMENT CHARACTER}"
