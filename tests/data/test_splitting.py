"""Long passages become several: nothing is lost, every piece fits, sentences stay whole where they can."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_hf import OneGenConfig, Passage, RetrievalTokens
from onegen_hf.data.documents import Corpus
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.data.splitting import pieces_of, split_long_passages, split_passage

TEMPLATES: list[dict[str, Any]] = [
    {},
    {"embedding_template": "T: {title} [RD] {text}"},
    {"granularity": "sentence"},
    {"passage_template": "{text}"},
]


def encoder(tokenizer: Any, **options: Any) -> PassageEncoder:
    return PassageEncoder(tokenizer, OneGenConfig(**{"max_embedded_tokens": 40, **options}))


def dense(text: str) -> str:
    return "".join(text.split())


@pytest.fixture(scope="module")
def tokenizer(base_tokenizer: Any) -> Any:
    import copy

    tokenizer = copy.deepcopy(base_tokenizer)
    RetrievalTokens.multi_hop().add_to(tokenizer)
    return tokenizer


@pytest.mark.parametrize("options", TEMPLATES, ids=str)
@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(st.sampled_from(["Ada made it.", "Who?", "\n\n", "x" * 90, "a b c d", "Dr. Ada.", "é", " "])),
    by_sentence=st.booleans(),
    max_tokens=st.integers(16, 40),
)
def test_nothing_is_lost_and_every_piece_fits(
    tokenizer: Any, options: dict[str, Any], text: list[str], by_sentence: bool, max_tokens: int
) -> None:
    whole = " ".join(text)
    if not whole.strip():
        return
    ours = encoder(tokenizer, **options)
    passage = Passage("d", "Tin", whole, tuple(text) if by_sentence else (), {"year": 1})
    pieces = split_passage(passage, ours, max_tokens)
    assert dense("".join(piece.text for piece in pieces)) == dense(whole)
    for number, piece in enumerate(pieces):
        row = ours.row(piece)
        assert not row.truncated
        assert len(row.input_ids) - len(row.positions) - len(ours.prefix) <= max_tokens
        assert (piece.title, piece.meta) == ("Tin", {"year": 1})
        assert piece.id == (f"d#{number}" if len(pieces) > 1 else "d")
        assert not piece.sentences or " ".join(piece.sentences) == piece.text
    if by_sentence and not options.get("granularity"):
        assert dense("".join("".join(piece.sentences) for piece in pieces)) == dense(whole)


def test_sentences_stay_whole(tokenizer: Any) -> None:
    sentences = [f"The boat number {n} is made of tin." for n in range(12)]
    pieces = split_passage(Passage("d", "Tin Boat", " ".join(sentences)), encoder(tokenizer), 40)
    assert len(pieces) > 2
    assert all(piece.text.startswith("The") and piece.text.endswith(".") for piece in pieces)
    # Greedy: no piece has room for the first sentence of the next.
    ours = encoder(tokenizer)
    for piece, following in zip(pieces, pieces[1:], strict=False):
        longer = Passage("d", "Tin Boat", f"{piece.text} {following.text.partition('. ')[0]}")
        tokens = ours.embedded_tokens(longer)
        assert tokens is None or tokens > 40


def test_the_white_space_inside_of_a_piece_stays(tokenizer: Any) -> None:
    text = "A boat.\n\nA  mill.\n" * 20
    for piece in split_passage(Passage("d", "", text), encoder(tokenizer), 40):
        assert piece.text in text


@pytest.mark.parametrize("text", ["Ada made it. ", "boat mill song ", "x"], ids=["sentences", "words", "one word"])
def test_the_work_grows_with_the_text(tokenizer: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with its square: a book is tokenized a few times, not once for each of its pieces."""
    ours, tokenized = encoder(tokenizer), 0
    text_ids = ours.text_ids

    def counted(text: str) -> list[int]:
        nonlocal tokenized
        tokenized += len(text)
        return text_ids(text)

    monkeypatch.setattr(ours, "text_ids", counted)
    whole = text * (50_000 // len(text))
    pieces = split_passage(Passage("d", "", whole), ours, 40)
    assert len(pieces) > 250 and dense("".join(piece.text for piece in pieces)) == dense(whole)
    assert tokenized < 30 * len(whole)


def test_a_short_passage_stays_as_it_is(tokenizer: Any) -> None:
    passage = Passage("d", "T", "Short.")
    assert split_passage(passage, encoder(tokenizer), 40) == [passage]


def test_white_space_alone_does_not_split(tokenizer: Any) -> None:
    ours = encoder(tokenizer)
    corpus = Corpus([{"id": "d", "title": "T", "text": "\n\n" * 40 + "Short."}])
    assert ours.row(corpus[0]).truncated
    split, counts = split_long_passages(corpus, ours, 40, show_progress=False)
    assert counts == {} and [(p.id, p.text) for p in split] == [("d", "Short.")]
    title = Passage("d", "Tin Boat " * 40, " ")
    assert split_passage(title, ours, 40) == [title]  # there is no text to split


def test_a_corpus(tokenizer: Any) -> None:
    long = "The boat is made of tin. " * 8
    corpus = Corpus([{"id": "a", "text": "Short."}, {"id": "b", "text": long}, {"id": "c", "text": "Short."}])
    split, counts = split_long_passages(corpus, encoder(tokenizer), 40, show_progress=False)
    assert list(counts) == ["b"] and counts["b"] > 1
    assert split.ids == ["a", *(f"b#{n}" for n in range(counts["b"])), "c"] == [passage.id for passage in split]
    assert len(split) == 2 + counts["b"]
    assert split.resolve("b#1") == (2, None) and split.resolve("c") == (len(split) - 1, None)
    unsplit, none = split_long_passages(Corpus(["Short."]), encoder(tokenizer), 40, show_progress=False)
    assert none == {} and len(unsplit) == 1


def test_an_id_of_a_piece_must_be_new(tokenizer: Any) -> None:
    corpus = Corpus([{"id": "a", "text": "The boat is made of tin. " * 8}, {"id": "a#1", "text": "Short."}])
    with pytest.raises(ValueError, match="'a#1' stands for more than one"):
        split_long_passages(corpus, encoder(tokenizer), 40, show_progress=False)


def test_a_title_that_leaves_no_room(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"passage 'd': its title .* leaves no room .*=20"):
        split_passage(Passage("d", "The boat is made of tin " * 4, "Text. " * 40), encoder(tokenizer), 20)


@pytest.mark.parametrize(
    ("max_tokens", "match"), [(41, "41: the model embeds 40"), (0, "at least 1"), ("9", "integer")]
)
def test_limits(tokenizer: Any, max_tokens: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"max_tokens_per_passage=.*{match}"):
        split_long_passages(Corpus(["a"]), encoder(tokenizer), max_tokens, show_progress=False)


def test_pieces_of() -> None:
    ids = ["a", "a#0", "a#12", "a#x", "b", "b#0", "aa#0", "a#0#1"]
    assert list(pieces_of(ids, ["a"])) == ["a", "a#0", "a#12"]
