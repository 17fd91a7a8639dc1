"""String match and citations of long answers, by hand."""

from __future__ import annotations

import pytest

from onegen_hf.metrics import CitationScores, CitedSentence, citation_scores, shares_words, str_em
from onegen_hf.metrics.citations import split_into_sentences


@pytest.mark.parametrize(
    ("prediction", "short_answers", "expected"),
    [
        ("It opened in 1911, and again in 1930.", [["1911"], ["May 1930", "1930"], ["1950"]], 2 / 3),
        ("The Beatles sang it.", [["beatles"]], 1.0),  # articles, case and punctuation do not count
        ("A U.S. ship", [["US ship"]], 1.0),
        ("nineteen eleven", [["1911"], ["1930"]], 0.0),
        ("romeo", [["Rome"]], 1.0),  # letter by letter, as in ALCE
    ],
)
def test_str_em(prediction: str, short_answers: list[list[str]], expected: float) -> None:
    assert str_em(prediction, short_answers) == pytest.approx(expected)


def test_faulty_short_answers() -> None:
    with pytest.raises(ValueError, match="short_answers is empty"):
        str_em("text", [])
    with pytest.raises(ValueError, match="answers is empty"):
        str_em("text", [[]])
    with pytest.raises(TypeError, match="answers is the text '1911'"):
        str_em("text", ["1911"])


FACTS = {"p1": {"a"}, "p2": {"b"}, "p3": {"a", "b"}, "p4": set()}
"""Passage → the facts that it states; a claim names the facts that it needs."""


def supports(premise: str, claim: str) -> bool:
    return set(claim.split()) <= set().union(*(FACTS[name] for name in premise.split("\n")))


@pytest.mark.parametrize(
    ("sentences", "precision", "recall"),
    [
        ([("a", ["p1"])], 1, 1),
        ([("a", ["p2"])], 0, 0),  # unsupported: its citation is wrong
        ([("a", [])], 0, 0),  # nothing is cited
        ([("a", ["p1"]), ("b", [])], 1, 1 / 2),
        ([("a b", ["p1", "p2"])], 1, 1),  # neither is enough, both are needed
        ([("a", ["p1", "p2"])], 1 / 2, 1),  # the second says nothing of it, and the first is enough
        ([("a", ["p1", "p3"])], 1, 1),  # each is enough alone
        ([("a b", ["p3", "p4", "p1"])], 1 / 3, 1),  # p1 alone is not enough, and without it p3 still is
        ([("a b", ["p1", "p4"])], 0, 0),
        ([("a", ["p1"]), ("b", ["p1", "p2"]), ("a", ["p4"])], 2 / 4, 2 / 3),
        ([], 0, 0),
    ],
)
def test_citations(sentences: list[tuple[str, list[str]]], precision: float, recall: float) -> None:
    cited = [CitedSentence(text, tuple(passages)) for text, passages in sentences]
    assert citation_scores(cited, supports) == CitationScores(pytest.approx(precision), pytest.approx(recall))


def test_words_as_a_judge() -> None:
    assert shares_words("Boats\nThe boat is red and long.", "The boat is red.")
    assert not shares_words("The boat is red.", "The ship is green and wide.")
    assert shares_words("a b c d", "b c d e f", share=0.6) and not shares_words("a b c d", "b c d e f")
    assert not shares_words("anything", "the .")


def test_sentences() -> None:
    text = 'It is red. He said "no." Then 3 left! And so on'
    assert split_into_sentences(text) == ["It is red.", 'He said "no."', "Then 3 left!", "And so on"]
    assert split_into_sentences(" ") == []
