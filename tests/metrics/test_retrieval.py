"""Rankings by hand, against trec_eval, and against the trainer's own computation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_hf.metrics.anchor_ranks import best_positive_ranks, rank_metrics
from onegen_hf.metrics.retrieval import hop_scores, mean_ranking_scores, ranking_scores

IDS = [f"p{n}" for n in range(8)]


def test_by_hand() -> None:
    scores = ranking_scores([["a", "b", "c"], ["a"], [], ["a"]], [["b", "x"], ["z"], ["a"], []], at=(1, 2))
    gain = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert scores[0] == pytest.approx(
        {
            "mrr": 0.5, "map": 0.25, "recall@1": 0.0, "recall@2": 0.5, "success@1": 0.0, "success@2": 1.0,
            "ndcg@1": 0.0, "ndcg@2": gain,
        }
    )  # fmt: skip
    assert set(scores[1].values()) == set(scores[2].values()) == {0.0}
    assert scores[1].keys() == scores[0].keys() == scores[2].keys()
    assert scores[3] == {}
    means = mean_ranking_scores([["a", "b", "c"], ["a"], [], ["a"]], [["b", "x"], ["z"], ["a"], []], at=(1, 2))
    assert means["queries"] == 3
    assert means["mrr"] == pytest.approx(0.5 / 3)


def test_grades_count_for_ndcg() -> None:
    found = ranking_scores([["a", "b"]], [{"b": 3, "a": 1, "c": 0}], at=(2,))[0]["ndcg@2"]
    assert found == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.permutations(IDS), st.integers(1, 8), st.sets(st.sampled_from([*IDS, "x"]), min_size=1)),
        min_size=1,
        max_size=5,
    )
)
def test_equals_trec_eval(queries: list[tuple[list[str], int, set[str]]]) -> None:
    rankings = [order[:length] for order, length, _ in queries]
    relevant = [sorted(wanted) for _, _, wanted in queries]
    evaluator = pytrec_eval.RelevanceEvaluator(
        {str(n): dict.fromkeys(wanted, 1) for n, wanted in enumerate(relevant)},
        {"recall.1,3", "ndcg_cut.1,3", "recip_rank", "map", "success.1,3"},
    )
    expected: Any = evaluator.evaluate(
        {str(n): {p: 1.0 / (r + 1) for r, p in enumerate(o)} for n, o in enumerate(rankings)}
    )
    names = {"recall@": "recall_", "ndcg@": "ndcg_cut_", "success@": "success_"}
    for number, scores in enumerate(ranking_scores(rankings, relevant, at=(1, 3))):
        official = expected[str(number)]
        assert scores["mrr"] == pytest.approx(official["recip_rank"], abs=1e-6)
        assert scores["map"] == pytest.approx(official["map"], abs=1e-6)
        for ours, theirs in names.items():
            for k in (1, 3):
                assert scores[f"{ours}{k}"] == pytest.approx(official[f"{theirs}{k}"], abs=1e-6)


def test_agrees_with_the_trainer() -> None:
    generator = torch.Generator().manual_seed(2)
    anchors, passages = torch.randn(12, 5, generator=generator), torch.randn(20, 5, generator=generator)
    positives = [[n, (3 * n + 1) % 20] for n in range(12)]
    order = torch.nn.functional.cosine_similarity(anchors[:, None], passages[None], dim=-1).argsort(1, descending=True)
    rankings = [[str(row) for row in rows.tolist()] for rows in order]
    official = mean_ranking_scores(rankings, [[str(row) for row in own] for own in positives], at=(1, 5))
    ours = rank_metrics(best_positive_ranks(anchors, passages, positives), recall_at=(1, 5))
    assert ours == pytest.approx(
        {"recall@1": official["success@1"], "recall@5": official["success@5"], "mrr": official["mrr"]}
    )


def test_hops() -> None:
    retrievals = [[["a", "b"], ["c"]], [["c"]], [["a"], ["b"], ["z"]]]
    positives = [[["b"], ["c"]], [["c"], ["d"]], [["a"], []]]
    scores = hop_scores(retrievals, positives, at=(1,))
    assert scores["queries"] == 5  # the hop without a positive is left out
    assert scores["recall@1"] == pytest.approx(3 / 5)  # the hop that was not taken counts as missed
    assert scores["hop_0/recall@1"] == pytest.approx(2 / 3)
    assert scores["hop_1/recall@1"] == pytest.approx(1 / 2)
    assert scores["hop_1/queries"] == 2
    assert scores["hop_count_accuracy"] == pytest.approx(1 / 3)
    assert hop_scores([], []) == {"queries": 0.0}
    assert hop_scores([[]], [[]]) == {"queries": 0.0, "hop_count_accuracy": 1.0}


@pytest.mark.parametrize(
    ("rankings", "relevant", "at", "error", "message"),
    [
        ([["a"]], [], (1,), ValueError, "rankings has 1 entries and relevant 0"),
        ([["a", "a"]], [["a"]], (1,), ValueError, "query 0: an id stands twice"),
        ([["a"]], [["a"]], (0,), ValueError, r"at\[0\]=0 must be at least 1"),
        ([["a"]], [{"a": -1}], (1,), ValueError, "the grade of .* must be at least 0"),
        (["abc"], [["a"]], (1,), TypeError, "query 0: give a list of ids"),
        ([["a"]], ["a"], (1,), TypeError, "query 0: give a list of ids"),
    ],
)
def test_errors(rankings: Any, relevant: Any, at: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ranking_scores(rankings, relevant, at)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rankings": None}, "rankings=None must be a list with an entry per query"),
        ({"relevant": "a"}, "relevant='a' must be a list with an entry per query"),
        ({"at": "5"}, "at='5' must be a list or tuple"),
        ({"at": (float("nan"),)}, r"at\[0\]=nan must be an integer"),
        ({"at": (0,)}, r"at\[0\]=0 must be at least 1"),
        ({"relevant": [{"a": "x"}]}, "query 0: the grade of 'a'='x' must be an integer"),
        ({"relevant": [{"a": -1}]}, "query 0: the grade of 'a'=-1 must be at least 0"),
    ],
)
def test_arguments_of_another_type(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ranking_scores(**{"rankings": [["a"]], "relevant": [["a"]], **arguments})
