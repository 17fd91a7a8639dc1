"""Examples and documents → one batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from support.fixed_teacher import FixedTeacher

from onegen_hf import OneGenConfig, OneGenDataCollator
from onegen_hf.data.documents import DocumentStore, stable_key
from onegen_hf.data.passages import Passage, PassageEncoder


def decode_passages(batch: dict[str, Any], documents: Any, tokenizer: Any, config: OneGenConfig) -> list[int]:
    """The document that each passage row holds, found by its ids."""
    encoder = PassageEncoder(tokenizer, config)
    store = DocumentStore(documents)
    rows = {tuple(encoder.row(store[n]).input_ids): n for n in range(len(store))}
    lengths = batch["passage_attention_mask"].sum(dim=1).tolist()
    return [
        rows[tuple(ids[:length])] for ids, length in zip(batch["passage_input_ids"].tolist(), lengths, strict=True)
    ]


def messages(*answers: str) -> list[dict[str, str]]:
    """One user turn and one answer."""
    return [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "".join(answers)}]


@pytest.mark.parametrize("multiple", [None, 16])
def test_padded_to_what_the_batch_holds(multiple: int | None, tokenizer: Any, documents: Any, examples: Any) -> None:
    collator = OneGenDataCollator(tokenizer, documents, pad_to_multiple_of=multiple)
    encoded = [collator.encode_example(example) for example in examples]
    for chosen in ([0, 1, 2], [4, 5], [6]):
        batch = collator([examples[n] for n in chosen])
        longest = max(encoded[n]["length"] for n in chosen)
        width = longest if multiple is None else -(-longest // multiple) * multiple
        assert (
            batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (len(chosen), width)
        )
        for row, n in enumerate(chosen):
            length = encoded[n]["length"]
            assert batch["input_ids"][row, :length].tolist() == encoded[n]["input_ids"]
            assert batch["labels"][row, :length].tolist() == encoded[n]["labels"]
            assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (width - length)
            assert set(batch["input_ids"][row, length:].tolist()) <= {tokenizer.pad_token_id}
            assert set(batch["labels"][row, length:].tolist()) <= {-100}


@pytest.mark.parametrize("hard", [0, 1, 2])
@pytest.mark.parametrize("random_", [0, 2])
def test_every_passage_once_and_targets_as_by_hand(
    hard: int, random_: int, tokenizer: Any, documents: Any, examples: Any
) -> None:
    config = OneGenConfig()
    collator = OneGenDataCollator(tokenizer, documents, config, num_hard_negatives=hard, num_random_negatives=random_)
    batch = collator(examples)
    rows = decode_passages(batch, documents, tokenizer, config)
    assert len(set(rows)) == len(rows)
    widths = batch["passage_attention_mask"].sum(dim=1)
    assert widths.tolist() == sorted(widths.tolist())
    assert batch["passage_retrieval_positions"].squeeze(1).tolist() == (widths - 1).tolist()
    assert (batch["passage_input_ids"].gather(1, widths.unsqueeze(1) - 1) == 401).all()
    assert batch["passage_keys"].tolist() == [stable_key(f"d{row}#0") for row in rows]

    store = DocumentStore(documents)
    anchors = [
        {store.resolve(reference)[0] for reference in own}
        for example in examples for own in example["positives"] if own
    ]  # fmt: skip
    expected = [[int(row in own) for row in rows] for own in anchors]
    assert batch["retrieval_targets"].tolist() == expected
    assert (batch["retrieval_positions"] >= 0).sum() == len(anchors) == 7
    # Positives first come all; then at most so many per anchor.
    wanted = set().union(*anchors)
    assert wanted <= set(rows)
    assert len(rows) <= len(wanted) + len(anchors) * (hard + random_)
    if hard == random_ == 0:
        assert set(rows) == wanted
    if hard == 2 and not random_:
        named = {store.resolve(r)[0] for example in examples for own in example["negatives"] for r in own}
        assert set(rows) == wanted | named


def test_a_positive_is_never_its_own_negative(tokenizer: Any, documents: Any) -> None:
    example = {"messages": messages("[RQ]"), "positives": [["d1", "d1#0"]], "negatives": [["d1", "d1#1", "d2"]]}
    batch = OneGenDataCollator(tokenizer, documents, num_hard_negatives=5)([example])
    rows = decode_passages(batch, documents, tokenizer, OneGenConfig())
    assert sorted(rows) == [1, 2]
    assert batch["retrieval_targets"].tolist() == [[int(row == 1) for row in rows]]


def test_a_shared_passage_is_a_positive_of_both(tokenizer: Any, documents: Any, examples: Any) -> None:
    batch = OneGenDataCollator(tokenizer, documents, num_hard_negatives=0)([examples[0], examples[1]])
    rows = decode_passages(batch, documents, tokenizer, OneGenConfig())
    assert sorted(rows) == [0, 1]
    by_document = {row: batch["retrieval_targets"][:, column].tolist() for column, row in enumerate(rows)}
    assert by_document == {0: [1, 0, 0], 1: [0, 1, 1]}


def test_another_anchors_positive_is_a_negative(tokenizer: Any, documents: Any, examples: Any) -> None:
    batch = OneGenDataCollator(tokenizer, documents, num_hard_negatives=0)([examples[4], examples[5]])
    assert sorted(batch["retrieval_targets"].tolist()) == [[0, 1], [1, 0]]


def test_positions_hold_the_query_token(tokenizer: Any, documents: Any, examples: Any) -> None:
    batch = OneGenDataCollator(tokenizer, documents)(examples)
    rows, _ = (batch["retrieval_positions"] >= 0).nonzero(as_tuple=True)
    positions = batch["retrieval_positions"][batch["retrieval_positions"] >= 0]
    assert set(batch["input_ids"][rows, positions].tolist()) == {400}
    assert rows.tolist() == [0, 0, 1, 2, 4, 5, 7]  # e3 has a query token without positives, e6 none


def test_a_batch_without_positives(tokenizer: Any, documents: Any, examples: Any) -> None:
    batch = OneGenDataCollator(tokenizer, documents)([examples[3], examples[6]])
    assert set(batch) == {"input_ids", "attention_mask", "labels", "retrieval_positions"}
    assert batch["retrieval_positions"].tolist() == [[-1], [-1]]
    query = (batch["input_ids"] == 400).nonzero()[0]
    assert batch["labels"][tuple(query)] == 400  # still generated


def test_sentence_granularity(tokenizer: Any, documents: Any) -> None:
    config = OneGenConfig(granularity="sentence")
    first = {"messages": messages("[RQ]"), "positives": [["d3#1"]], "negatives": [["d1#1"]]}
    whole = {"messages": messages("[RQ]"), "positives": [["d3"]], "negatives": [[]]}
    batch = OneGenDataCollator(tokenizer, documents, config, num_hard_negatives=1)([first, whole])
    rows = decode_passages(batch, documents, tokenizer, config)
    columns = [(row, sentence) for row in rows for sentence in range(len(documents[row]["sentences"]))]
    assert sorted(columns) == [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    expected = {(1, 0): [0, 0], (1, 1): [0, 0], (3, 0): [-1, 1], (3, 1): [1, 1], (3, 2): [-1, 1]}
    assert batch["retrieval_targets"].T.tolist() == [expected[column] for column in columns]
    assert batch["passage_keys"].tolist() == [stable_key(f"d{row}#{sentence}") for row, sentence in columns]
    assert (batch["passage_retrieval_positions"] >= 0).sum(dim=1).tolist() == [
        len(documents[r]["sentences"]) for r in rows
    ]


def test_passage_granularity_reads_a_sentence_id_as_its_document(
    tokenizer: Any, documents: Any, examples: Any
) -> None:
    batch = OneGenDataCollator(tokenizer, documents)([examples[7]])
    rows = decode_passages(batch, documents, tokenizer, OneGenConfig())
    assert 3 in rows and len(rows) == 2
    assert batch["retrieval_targets"].tolist() == [[int(row == 3) for row in rows]]


@pytest.mark.timeout(30)
def test_more_random_negatives_than_the_corpus_has(tokenizer: Any, documents: Any) -> None:
    example = {"messages": messages("[RQ]"), "positives": [["d1"]], "negatives": [[]]}
    collator = OneGenDataCollator(tokenizer, documents[:3], num_random_negatives=50)
    batch = collator([example])
    assert batch["retrieval_targets"].sum() == 1
    assert batch["retrieval_targets"].shape == (1, 3)


def test_a_corpus_of_one_passage(tokenizer: Any) -> None:
    example = {"messages": messages("[RQ]"), "positives": [["0"]], "negatives": [["0"]]}
    batch = OneGenDataCollator(tokenizer, ["only one"], num_hard_negatives=3, num_random_negatives=3)([example])
    assert batch["retrieval_targets"].tolist() == [[1]]


@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_number_of_random_negatives(wanted: int, tokenizer: Any, documents: Any) -> None:
    example = {"messages": messages("[RQ]"), "positives": [["d1"]], "negatives": [["d2"]]}
    collator = OneGenDataCollator(tokenizer, documents, num_hard_negatives=1, num_random_negatives=wanted)
    assert collator([example])["retrieval_targets"].shape == (1, 2 + wanted)


def test_random_negatives_cover_the_corpus(tokenizer: Any, documents: Any) -> None:
    drawn: set[int] = set()
    for seed in range(40):
        example = {"messages": messages("[RQ]"), "positives": [["d1"]], "negatives": [[]]}
        collator = OneGenDataCollator(tokenizer, documents, num_random_negatives=2, seed=seed)
        drawn |= set(decode_passages(collator([example]), documents, tokenizer, OneGenConfig()))
    assert drawn == set(range(12))


def test_same_seed_same_batch(tokenizer: Any, documents: Any, examples: Any) -> None:
    def batch(seed: int) -> dict[str, torch.Tensor]:
        collator = OneGenDataCollator(tokenizer, documents, num_hard_negatives=1, num_random_negatives=2, seed=seed)
        collator(examples[:3])  # what was drawn before makes no difference
        return collator(examples)

    first, again, other = batch(1), batch(1), batch(2)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["passage_keys"].tolist() != other["passage_keys"].tolist()


def test_encoded_rows_give_the_same_batch(tokenizer: Any, documents: Any, examples: Any) -> None:
    collator = OneGenDataCollator(tokenizer, DocumentStore(Dataset.from_list(documents)))
    direct = collator(examples)
    encoded = collator([collator.encode_example(example) for example in examples])
    assert all(torch.equal(direct[name], encoded[name]) for name in direct)


def test_truncated_query_tokens_take_their_positives_along(tokenizer: Any, documents: Any, examples: Any) -> None:
    full = OneGenDataCollator(tokenizer, documents).encode_example(examples[0])
    cut = OneGenDataCollator(tokenizer, documents, num_hard_negatives=0, max_length=full["query_positions"][1])
    batch = cut([examples[0]])
    assert batch["retrieval_targets"].tolist() == [[1]]
    assert decode_passages(batch, documents, tokenizer, OneGenConfig()) == [0]


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_teacher_scores_every_column(
    encoded: bool, granularity: str, tokenizer: Any, documents: Any, examples: Any
) -> None:
    config, teacher = OneGenConfig(granularity=granularity), FixedTeacher()
    collator = OneGenDataCollator(tokenizer, documents, config, num_hard_negatives=2, teacher=teacher)
    plain = OneGenDataCollator(tokenizer, documents, config, num_hard_negatives=2)
    rows = [collator.encode_example(example) for example in examples] if encoded else examples
    batch, expected = collator(rows), plain(rows)
    scores = batch.pop("teacher_scores")
    assert batch.keys() == expected.keys() and all(torch.equal(batch[name], expected[name]) for name in batch)
    assert scores.dtype == torch.float32 and scores.shape == batch["retrieval_targets"].shape

    units = {}
    for document in documents:
        whole = granularity == "passage"
        parts = [" ".join(document["sentences"])] if whole else document["sentences"]
        for number, text in enumerate(parts):
            units[stable_key(f"{document['id']}#{number}")] = Passage("", document["title"], text)
    queries = ["Who made Tin Boat?", "Ada Moll. Where was she born?", "Where was Ada Moll born?", "Who made it?",
               "Where is Old Mill?", "Who sang it?", "Who paints?"]  # fmt: skip
    wanted = [[teacher.score(query, units[key]) for key in batch["passage_keys"].tolist()] for query in queries]
    torch.testing.assert_close(scores, torch.tensor(wanted), equal_nan=True, rtol=0, atol=0)


def test_a_teacher_needs_the_queries(tokenizer: Any, documents: Any, examples: Any) -> None:
    collator = OneGenDataCollator(tokenizer, documents, teacher=FixedTeacher())
    encoded = collator.encode_example(examples[0])
    del encoded["queries"]
    with pytest.raises(ValueError, match="an encoded example has no `queries`, which the teacher reads"):
        collator([encoded])
    assert "teacher_scores" not in OneGenDataCollator(tokenizer, documents)([encoded])
    assert "teacher_scores" not in collator([examples[6]])  # retrieves nothing
    with pytest.raises(TypeError, match="teacher='an encoder' must be a Teacher, got str"):
        OneGenDataCollator(tokenizer, documents, teacher="an encoder")


def test_missing_fields_mean_none(tokenizer: Any, documents: Any) -> None:
    collator = OneGenDataCollator(tokenizer, documents)
    assert collator.encode_example({"messages": messages("plain")})["positives"] == []
    rows = collator.encode_example({"messages": messages("[RQ]"), "positives": [["d1"]], "negatives": None})
    assert rows["negatives"] == [[]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"positives": [["d0"]]},
            r"example 'e0': 2 query tokens \[RQ\] .* but 1 lists of positives and 2 of negatives",
        ),
        ({"negatives": [["d0"]] * 3}, "2 query tokens .* but 2 lists of positives and 3 of negatives"),
        ({"positives": None, "negatives": None}, "2 query tokens .* but 0 lists of positives and 0 of negatives"),
        ({"positives": [["d0"], ["d77"]]}, "refers to the document 'd77', which is not among the 12 documents"),
        ({"negatives": [["d77"], ["d3"]]}, "refers to the document 'd77'"),
        ({"positives": [["d0"], ["d1#9"]]}, "refers to 'd1#9', but that document has fewer sentences"),
    ],
)
def test_wrong_examples(change: dict[str, Any], message: str, tokenizer: Any, documents: Any, examples: Any) -> None:
    with pytest.raises(ValueError, match=message):
        OneGenDataCollator(tokenizer, documents)([{**examples[0], **change}])


@pytest.mark.parametrize("name", ["num_hard_negatives", "num_random_negatives"])
def test_negative_numbers_of_negatives(name: str, tokenizer: Any, documents: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}=-1 must be at least 0"):
        OneGenDataCollator(tokenizer, documents, **{name: -1})


@pytest.mark.parametrize("field", ["positives", "negatives"])
@pytest.mark.parametrize("value", [["d1"], "d1", [5]])
def test_a_text_is_no_list_of_ids(field: str, value: Any, tokenizer: Any, documents: Any) -> None:
    example = {"messages": messages("[RQ]"), "positives": [["d1"]], "negatives": [[]], field: value}
    with pytest.raises(TypeError, match=rf"{field}\[0\]=.* must be a list of ids, such as \['doc'\]"):
        OneGenDataCollator(tokenizer, documents)([example])


def test_nothing_to_collate(tokenizer: Any, documents: Any) -> None:
    collator = OneGenDataCollator(tokenizer, documents)
    with pytest.raises(ValueError, match="features is empty"):
        collator([])
    with pytest.raises(ValueError, match=r"the example has the fields \['id'\] and no 'messages'"):
        collator([{"id": "a"}])
    with pytest.raises(TypeError, match="documents=5 is a int"):
        OneGenDataCollator(tokenizer, 5)  # type: ignore[arg-type]
