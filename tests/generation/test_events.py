"""The events of a streamed answer are plain, frozen data."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest

from onegen_hf.generation.events import (
    EVENT_CLASSES,
    AnswerEvent,
    DoneEvent,
    PassagesEvent,
    QueryEvent,
    StreamEvent,
    TokenEvent,
)

PASSAGE = {"id": "rome", "title": "Rome", "text": "Capital of Italy.", "score": 0.5, "meta": {"year": [1871]}}
EVENTS = [
    TokenEvent(" Rome", 7, 0),
    QueryEvent(0, "Where is Rome?", 0.25),
    PassagesEvent(0, "Where is Rome?", (PASSAGE,), "Rome: Capital of Italy.", 9),
    AnswerEvent("Italy", True, ({"hop": 0, "passage_id": "rome", "start": 11, "end": 16},)),
    DoneEvent({"prompt_tokens": 3}, "eos", {"answer": "Italy", "retrievals": [{"hop": 0, "passages": (PASSAGE,)}]}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_an_event_is_plain_data(event: StreamEvent) -> None:
    record = event.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["type"] == event.type and len(record) > 1
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(FrozenInstanceError):
        setattr(event, list(record)[1], None)


def test_each_type_has_its_class() -> None:
    assert {event.type: type(event) for event in EVENTS} == EVENT_CLASSES
    assert list(EVENT_CLASSES) == ["token", "query", "passages", "answer", "done"]
