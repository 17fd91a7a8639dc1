"""Guesses of mentions, from which drafts are made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.linking_setup import linking_setup

from onegen_hf.linking import CopyRule, MentionMarkup
from onegen_hf.linking.likely_mentions import TRIAL, LikelyMentions


@pytest.fixture(scope="module")
def markup(base_tokenizer: Any) -> MentionMarkup:
    return linking_setup(copy.deepcopy(base_tokenizer), "llama_tied").markup


def expected(markup: MentionMarkup, text: str, marked: tuple[str, ...] = (), stop: int = 0) -> list[str]:
    """The mentions that are expected once a text has been copied up to `stop` with these mentions marked."""
    rule = CopyRule(markup, text, markup.tokenizer.eos_token_id)
    spans = [(text.index(name), text.index(name) + len(name)) for name in marked]
    ids = markup.annotate(text, spans).ids
    for token in ids if stop is None else ids[: len(markup.annotate(text[:stop], spans).ids)]:
        rule.advance(token)
    assert rule.spans == spans
    return [text[start:end] for start, end in LikelyMentions(text).expected(rule).items()]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Ada Moll met Ben Oak in Fern Bay.", ["Ada Moll", "Ben Oak", "Fern Bay"]),
        ("A boat. The boat sank off Elm Hill", ["Elm Hill"]),
        ("Oak fell. They saw Oak fall.", ["Oak", "Oak"]),
        ("Oak fell. They saw Ben Oak fall.", ["Oak", "Ben Oak"]),
        ("the University of Fern Bay and the Duke of Elm", ["University of Fern Bay", "Duke of Elm"]),
        ("J. R. R. Moll spoke to David L. Oak", ["J. R. R. Moll", "David L. Oak"]),
        ("Ada Moll's boat and the Oaks’ house, by Elm’s", ["Ada Moll", "Oaks", "Elm"]),
        ("Then I left, and I'm glad, said King John I. to Ben", ["King John I.", "Ben"]),
        ("They met Oak on Friday in May.", ["Oak"]),
        ("The Fern Bay boat. Both Oak and Elm sank, both of them.", ["Fern Bay", "Oak", "Elm"]),
        ("no names at all", []),
        ("", []),
    ],
)
def test_capitalized_words(markup: MentionMarkup, text: str, names: list[str]) -> None:
    assert expected(markup, text) == names


def test_marked_names_are_expected_again(markup: MentionMarkup) -> None:
    text = "the sea, the boat, the sea and the seal"
    assert expected(markup, text) == []
    assert expected(markup, text, marked=("sea",), stop=10) == ["sea"]


def test_a_mention_that_is_open_is_no_name_that_was_passed(markup: MentionMarkup) -> None:
    text = "They met Ada Moll at the sea."
    rule = CopyRule(markup, text, markup.tokenizer.eos_token_id)
    ids = markup.annotate(text, [(9, 17)]).ids
    for token in ids[: ids.index(markup.open) + 1]:
        rule.advance(token)
    assert rule.inside == 9
    assert LikelyMentions(text).expected(rule) == {9: 17}


@pytest.mark.parametrize(
    ("text", "passed", "end"),
    [
        ("They saw Oak and Elm Hill, a farm.", "Oak ", "Oak and Elm Hill"),
        ("They saw Oak on a boat, at sea.", "Oak ", "Oak on a boat"),
        ("They saw Oak on a boat", "Oak on ", "Oak on a boat"),
        ('They saw "Oak 55" at sea.', "Oak ", "Oak 55"),
    ],
)
def test_a_mention_that_goes_on(markup: MentionMarkup, text: str, passed: str, end: str) -> None:
    start = text.index("Oak")
    rule = CopyRule(markup, text, markup.tokenizer.eos_token_id)
    for token in markup.annotate(text, [(start, start + len(end))]).ids:
        if rule.inside is not None and rule.next_end is not None and rule.next_end > start + len(passed):
            break
        rule.advance(token)
    assert rule.inside == start
    assert LikelyMentions(text).expected(rule)[start] == start + len(end)


def test_names_that_were_passed_are_not(markup: MentionMarkup) -> None:
    text = "in Oak and Elm, later in Oak and Elm"
    assert expected(markup, text, marked=("Elm",), stop=16) == ["Elm", "Elm"]


def test_guesses_end_after_too_many_wrong_ones(markup: MentionMarkup) -> None:
    text = "in " + " and ".join(f"Elm{letter}" for letter in "abcdefgh")
    assert len(expected(markup, text)) == 8
    assert expected(markup, text, stop=len(text) - 10) == [] and TRIAL < 6
