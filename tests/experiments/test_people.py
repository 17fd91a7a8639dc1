"""The parts of `experiments.people`: the clock, the mixture, batches, recall."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from experiments.people import time_budget
from experiments.people.mixture import Share
from experiments.people.prepare import chosen, cut_after_query, prefixed
from experiments.people.retrieval import batches, scores
from experiments.people.time_budget import TimeBudget
from experiments.people.train_minilm import training_pairs
from onegen_hf.data.documents import DocumentStore


def test_the_learning_rate_and_the_end_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: now[0])
    logged: list[dict[str, Any]] = []
    budget = TimeBudget(50.0, warmup=0.2, report=logged.append)
    assert budget.learning_rate_factor(0) == 0.02
    state, control = SimpleNamespace(global_step=7), SimpleNamespace(should_training_stop=False)
    budget.on_train_begin(None, state, control)
    factors = {}
    for seconds in (0, 5, 10, 30, 50, 60):
        now[0] = 100.0 + seconds
        factors[seconds] = budget.learning_rate_factor(0)
    assert factors == pytest.approx({0: 0.02, 5: 0.5, 10: 1.0, 30: 0.5, 50: 0.0, 60: 0.0})
    for seconds, stops in ((49, False), (50, True)):
        now[0] = 100.0 + seconds
        budget.on_step_end(None, state, control)
        assert control.should_training_stop is stops
    budget.on_log(None, state, control, {"loss": 1.5})
    assert logged == [{"step": 7, "seconds": 50.0, "loss": 1.5}]


def test_the_rows_of_a_share() -> None:
    examples = Dataset.from_dict({"id": list(range(10))})
    assert chosen(examples, Share(times=2), random.Random(0)) == [*range(10), *range(10)]
    drawn = chosen(examples, Share(times=2, limit=3), random.Random(0))
    assert len(drawn) == 6 and drawn[:3] == drawn[3:] and len(set(drawn)) == 3


def test_a_pair_ends_with_its_first_query_token() -> None:
    encoded = {
        "input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, -100, 9], "query_positions": [2, 4],
        "positives": [["a"], ["b"]], "negatives": [["c"], []], "queries": ["asked", None], "length": 5,
    }  # fmt: skip
    assert cut_after_query(encoded) == {
        "input_ids": [5, 6, 7], "labels": [-100, -100, 7], "query_positions": [2], "positives": [["a"]],
        "negatives": [["c"]], "queries": ["asked"], "length": 3,
    }  # fmt: skip
    assert (prefixed("a", "a-1"), prefixed("b", "a-1")) == ("a-1", "b-a-1")


def test_batches_hold_rows_of_similar_length() -> None:
    assert batches([5, 1, 9, 2, 2], 6) == [[1, 3, 4], [0], [2]]


def test_scores() -> None:
    store = DocumentStore([{"id": name, "title": "", "text": name} for name in "abc"])
    passages = torch.eye(3)
    queries = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.5, 0.1], [0.0, 0.0, 1.0]])
    found = scores(queries, passages, [[["a"], ["b", "c"]], [["c"]]], store)
    assert found == {
        "questions": 2, "queries": 3, "passages": 3, "recall@1": pytest.approx(2 / 3), "recall@5": 1.0,
        "all_hops@1": 0.5,
    }  # fmt: skip


def test_pairs_for_a_sentence_encoder_have_the_texts_of_their_passages() -> None:
    documents = Dataset.from_list(
        [{"id": f"d{n}", "title": f"T{n}" if n else "", "text": f"text {n}", "family": "a"} for n in range(4)]
    )
    pairs = Dataset.from_list(
        [
            {"family": "a", "queries": ["Who?"], "positives": [["d0"]], "negatives": [["d1", "d2"]]},
            {"family": "a", "queries": ["Where?"], "positives": [["d3"]], "negatives": [["d2"]]},
            {"family": "b", "queries": ["What?"], "positives": [["d1"]], "negatives": [["d2"]]},
        ]
    )
    rows = training_pairs(pairs, documents, ["a"], True, None, 0)
    by_question = {row["anchor"]: row for row in rows}
    assert by_question["Where?"] == {"anchor": "Where?", "positive": "T3\ntext 3", "negative": "T2\ntext 2"}
    assert by_question["Who?"]["positive"] == "text 0" and set(by_question) == {"Who?", "Where?"}
    assert training_pairs(pairs, documents, ["b"], False, 1, 0).column_names == ["anchor", "positive"]
