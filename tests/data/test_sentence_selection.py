"""Which sentences of a passage a query asks about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf import Passage
from onegen_hf.data.sentence_selection import best_sentences

FILM = Passage(
    "7",
    "Tin Boat",
    "Tin Boat is a film of 1954. Ada Moll directed it in Fern Bay. Critics liked the film. It lost money in 1955.",
    meta={"year": 1954},
)


@pytest.mark.parametrize(
    ("query", "count", "expected"),
    [
        ("Who directed the film?", 1, "Ada Moll directed it in Fern Bay."),
        ("Who directed Tin Boat, a film of 1954?", 2, "Tin Boat is a film of 1954. Ada Moll directed it in Fern Bay."),
        ("What happened in 1955?", 1, "It lost money in 1955."),
        ("Did critics see how it lost money?", 2, "Critics liked the film. It lost money in 1955."),
        ("CRITICS", 1, "Critics liked the film."),
        ("Ada", 1, "Ada Moll directed it in Fern Bay."),  # a query of short words counts them
        ("Who directed it?", 4, FILM.text),
        ("Wer führte Regie?", 1, FILM.text),  # no word in common: the passage stays whole
        ("", 1, FILM.text),
    ],
)
def test_sentences_with_the_words_of_the_query_stay_in_their_order(query: str, count: int, expected: str) -> None:
    assert best_sentences(FILM, query, count) == replace(FILM, text=expected)


def test_a_word_of_all_sentences_tells_nothing() -> None:
    passage = Passage("0", "", "Moll made films. Moll made boats. Moll made an opera with Moll.")
    assert best_sentences(passage, "Which opera did Moll write?", 1).text == "Moll made an opera with Moll."
    assert best_sentences(passage, "Which boats did Moll write?", 1).text == "Moll made boats."


def test_the_sentences_of_a_passage_that_has_them_are_taken() -> None:
    sentences = ("ends in no stop", "neither does the second", "third")
    passage = Passage("0", "", " ".join(sentences), sentences)
    chosen = best_sentences(passage, "the second", 1)
    assert (chosen.text, chosen.sentences) == (sentences[1], (sentences[1],))


TEXTS = st.lists(st.sampled_from(["Ada Moll ran.", "It rained in Fern Bay!", "Who? Nobody.", "In 1954 all ended."]))


@given(TEXTS, st.sampled_from(["Who ran?", "Fern Bay 1954", "rain", ""]), st.integers(1, 4))
def test_nothing_is_written_that_does_not_stand_in_the_passage(parts: list[str], query: str, count: int) -> None:
    passage = Passage("0", "", " ".join(parts))
    chosen = best_sentences(passage, query, count)
    rest = passage.text
    for word in chosen.text.split():
        assert word in rest
        rest = rest[rest.index(word) + len(word) :]
    assert best_sentences(chosen, query, count) == chosen
