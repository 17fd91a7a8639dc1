"""Which sentences of a passage a query asks about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf import Passage
from onegen_hf.data.sentence_selection import best_sentences

SENTENCES = (
    "Tin Boat is a film of 1954.",
    "Ada Moll directed it in Fern Bay.",
    "Critics liked the film.",
    "It lost money in 1955.",
    "A second film was never made.",
    "Its music is by Leo Arndt.",
)
FILM = Passage("7", "Tin Boat", " ".join(SENTENCES), meta={"year": 1954})


@pytest.mark.parametrize(
    ("query", "count", "expected"),
    [
        ("Whose music is it?", 1, [4, 5]),
        ("Who directed the film?", 1, [0, 1, 2]),
        ("What happened in 1955?", 1, [2, 3, 4]),
        ("Who directed it, and whose music is it?", 2, [0, 1, 2, 4, 5]),
        ("Did critics see how it lost money?", 2, [1, 2, 3, 4]),
        ("MUSIC", 1, [4, 5]),
        ("Leo", 1, [4, 5]),  # a query of short words counts them
        ("Who directed it?", 6, range(6)),
        ("Wer führte Regie?", 1, range(6)),  # no word in common: the passage stays whole
        ("", 1, range(6)),
    ],
)
def test_sentences_with_the_words_of_the_query_stay_with_their_neighbours(
    query: str, count: int, expected: list[int]
) -> None:
    assert best_sentences(FILM, query, count) == replace(FILM, text=" ".join(SENTENCES[n] for n in expected))


def test_a_word_of_all_sentences_tells_nothing() -> None:
    passage = Passage("0", "", "Moll made films. Moll ran. Moll slept. Moll made an opera with Moll.")
    assert (
        best_sentences(passage, "Which opera did Moll write?", 1).text == "Moll slept. Moll made an opera with Moll."
    )
    assert best_sentences(passage, "Which films did Moll write?", 1).text == "Moll made films. Moll ran."


def test_the_sentences_of_a_passage_that_has_them_are_taken() -> None:
    sentences = ("ends in no stop", "neither does the second", "third", "fourth")
    passage = Passage("0", "", " ".join(sentences), sentences)
    chosen = best_sentences(passage, "the fourth", 1)
    assert (chosen.text, chosen.sentences) == ("third fourth", ("third", "fourth"))


TEXTS = st.lists(st.sampled_from(["Ada Moll ran.", "It rained in Fern Bay!", "Who? Nobody.", "In 1954 all ended."]))


@given(TEXTS, st.sampled_from(["Who ran?", "Fern Bay 1954", "rain", ""]), st.integers(1, 4))
def test_nothing_is_written_that_does_not_stand_in_the_passage(parts: list[str], query: str, count: int) -> None:
    passage = Passage("0", "", " ".join(parts))
    rest = passage.text
    for word in best_sentences(passage, query, count).text.split():
        assert word in rest
        rest = rest[rest.index(word) + len(word) :]
