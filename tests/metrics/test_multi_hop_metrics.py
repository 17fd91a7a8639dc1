"""HotpotQA's and 2WikiMultihopQA's scores on examples worked out by hand from the official scripts."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf.metrics.hotpotqa import hotpotqa_example_scores, hotpotqa_scores
from onegen_hf.metrics.supporting_facts import read_supporting_facts
from onegen_hf.metrics.two_wiki import read_aliases, two_wiki_example_scores, two_wiki_scores

GOLD_FACTS = [["Tin Boat", 0], ["Ada Moll", 1]]


def part(scores: dict[str, float], prefix: str) -> list[float]:
    return [scores[f"{prefix}{name}"] for name in ("em", "f1", "prec", "recall")]


@pytest.mark.parametrize(
    ("prediction", "facts", "answer", "own", "sp", "joint"),
    [
        ("Fern Bay", GOLD_FACTS, "fern bay", [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]),
        # Precision 1/2, recall 1 of the answer; 1/3 and 1/2 of the facts.
        (
            "Fern Bay town hall",
            [["Tin Boat", 0], ["Tin Boat", 1], ["x", 0], ["x", 0]],
            "Fern Bay",
            [0, 2 / 3, 1 / 2, 1],
            [0, 0.4, 1 / 3, 1 / 2],
            [0, 2 * (1 / 6) * (1 / 2) / (1 / 6 + 1 / 2), 1 / 6, 1 / 2],
        ),
        ("yes it is", GOLD_FACTS, "yes", [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]),
        ("yes", [["tin boat", 0]], "yes", [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]),  # titles with their case
        (None, GOLD_FACTS, "yes", [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]),
        ("yes", None, "yes", [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("", [], "yes", [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_hotpotqa_example(
    prediction: str | None, facts: Any, answer: str, own: list[float], sp: list[float], joint: list[float]
) -> None:
    scores = hotpotqa_example_scores(prediction, facts, answer, GOLD_FACTS)
    assert part(scores, "") == pytest.approx(own)
    assert part(scores, "sp_") == pytest.approx(sp)
    assert part(scores, "joint_") == pytest.approx(joint)


def test_no_facts_where_none_are_wanted_match_exactly() -> None:
    scores = hotpotqa_example_scores("a", [], "a", [])
    assert part(scores, "sp_") == [1, 0, 0, 0]
    assert part(scores, "joint_") == [1, 0, 0, 0]


def test_hotpotqa_divides_by_all_gold_records() -> None:
    gold = [
        {"_id": "1", "answer": "yes", "supporting_facts": GOLD_FACTS},
        {"id": "2", "answer": "no", "supporting_facts": {"title": ["Red Kite"], "sent_id": [0]}},  # the Hub's columns
        {"_id": "3", "answer": "Elm Hill", "supporting_facts": GOLD_FACTS},
        {"_id": "4", "answer": "Elm Hill", "supporting_facts": GOLD_FACTS},
    ]
    predictions = {"answer": {"1": "Yes.", "2": "no", "3": "Elm"}, "sp": {"1": GOLD_FACTS, "2": [["Red Kite", 0]]}}
    scores = hotpotqa_scores(predictions, gold)
    assert part(scores, "") == pytest.approx([2 / 4, (2 + 2 / 3) / 4, 3 / 4, 2.5 / 4])
    assert part(scores, "sp_") == part(scores, "joint_") == pytest.approx([2 / 4] * 4)


def test_layouts_of_supporting_facts() -> None:
    expected = [("Tin Boat", 0), ("Ada Moll", 1)]
    assert read_supporting_facts(GOLD_FACTS) == expected
    assert read_supporting_facts({"title": ["Tin Boat", "Ada Moll"], "sent_id": [0, 1]}) == expected
    assert read_supporting_facts([{"title": "Tin Boat", "sent_id": 0}, ("Ada Moll", 1)]) == expected


@pytest.mark.parametrize("facts", ["Tin Boat", [["Tin Boat"]], [[0, "Tin Boat"]], {"title": ["a"], "sent_id": []}, 3])
def test_malformed_supporting_facts(facts: Any) -> None:
    with pytest.raises(ValueError, match="supporting fact"):
        read_supporting_facts(facts)


WIKI: dict[str, Any] = {
    "_id": "w",
    "answer": "Fern Bay",
    "answer_id": "Q1",
    "supporting_facts": GOLD_FACTS,
    "evidences": [["Tin Boat", "director", "Ada Moll"], ["Ada Moll", "place of birth", "Fern Bay"]],
    "evidences_id": [["Q3", "director", "Q2"], ["Q2", "place of birth", "Q1"]],
}
ALIASES = read_aliases(
    [
        {"Q_id": "Q1", "aliases": ["The Bay of Ferns"], "demonyms": ["Fernish"]},
        {"Q_id": "Q2", "aliases": ["A. Moll"], "demonyms": []},
    ]
)


def test_two_wiki_everything_right_by_aliases() -> None:
    evidences = [["tin boat", "director", "a moll"], ["A Moll", "Place of birth", "FERNISH"]]
    facts = [["tin boat", 0], ["ADA MOLL", 1]]  # case does not matter
    scores = two_wiki_example_scores("bay of ferns", facts, evidences, WIKI, ALIASES)
    assert all(value == 1 for value in scores.values()), scores
    without = two_wiki_example_scores("bay of ferns", facts, evidences, WIKI)
    assert part(without, "") == pytest.approx([0, 0.4, 1 / 3, 1 / 2])
    assert part(without, "evi_") == [0, 0, 0, 0]


def test_two_wiki_best_precision_and_recall_come_from_different_answers() -> None:
    gold = {**WIKI, "answer": "a b c d", "answer_id": "Q9"}
    scores = two_wiki_example_scores("b c x", None, None, gold, {"Q9": {"b c x y z"}})
    # "a" is an article: of "b c d" two words are shared; of "b c x y z" three.
    assert part(scores, "") == pytest.approx([0, max(2 / 3, 2 * 0.6 / 1.6), 1.0, 2 / 3])


def test_two_wiki_evidence_counts_as_officially() -> None:
    # Two names of one gold triple are two hits, so that recall is 2 of 2 and the match exact.
    evidences = [["Tin Boat", "director", "Ada Moll"], ["Tin Boat", "director", "A. Moll"]]
    assert part(two_wiki_example_scores("x", None, evidences, WIKI, ALIASES), "evi_") == [1, 1, 1, 1]
    # Articles are kept, unlike in answers.
    evidences = [["the Tin Boat", "director", "Ada Moll"], ["Ada Moll", "place of birth", "Fern Bay"]]
    assert part(two_wiki_example_scores("x", None, evidences, WIKI, ALIASES), "evi_") == pytest.approx(
        [0, 0.5, 0.5, 0.5]
    )
    assert part(two_wiki_example_scores("x", None, [], WIKI), "evi_") == [0, 0, 0, 0]
    none = {**WIKI, "evidences": [], "evidences_id": []}
    assert part(two_wiki_example_scores("x", None, [], none), "evi_") == [1, 0, 0, 0]


def test_two_wiki_facts_that_differ_in_case_stay_two() -> None:
    scores = two_wiki_example_scores("x", [["Tin Boat", 0], ["tin boat", 0], ["y", 1]], None, WIKI)
    assert part(scores, "sp_") == pytest.approx([0, 2 / 3, 2 / 3, 2 / 3])  # 2 of 3 right; 2 found, 1 missed


def test_two_wiki_joint_needs_all_three_and_divides_by_all() -> None:
    predictions = {
        "answer": {"w": "Fern Bay", "v": "Fern Bay"},
        "sp": {"w": GOLD_FACTS, "v": GOLD_FACTS},
        "evidence": {"w": [["Tin Boat", "director", "Ada Moll"]]},
    }
    scores = two_wiki_scores(predictions, [WIKI, {**WIKI, "_id": "v"}, {**WIKI, "_id": "u"}])
    assert part(scores, "") == part(scores, "sp_") == pytest.approx([2 / 3] * 4)
    assert part(scores, "evi_") == pytest.approx([0, 2 / 9, 1 / 3, 1 / 6])
    assert part(scores, "joint_") == pytest.approx([0, 2 / 9, 1 / 3, 1 / 6])


def test_errors() -> None:
    with pytest.raises(ValueError, match="gold is empty"):
        hotpotqa_scores({"answer": {}, "sp": {}}, [])
    with pytest.raises(ValueError, match="'sp' is missing"):
        hotpotqa_scores({"answer": {}}, [WIKI])
    with pytest.raises(ValueError, match="no `_id` or `id`"):
        hotpotqa_scores({"answer": {}, "sp": {}}, [{"answer": "a", "supporting_facts": []}])
    with pytest.raises(ValueError, match="'w' has 2 evidences and 1 evidences_id"):
        two_wiki_example_scores("x", None, [], {**WIKI, "evidences_id": [["Q1", "director", "Q2"]]})
