"""The corpus by position and by id."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from onegen_hf import Passage
from onegen_hf.data.documents import Corpus, DocumentStore, stable_key


@pytest.mark.parametrize("kind", ["list", "dataset", "passages", "generator", "stream"])
def test_same_store_whatever_the_container(kind: str, documents: list[dict[str, Any]]) -> None:
    containers: dict[str, Any] = {
        "list": documents,
        "dataset": Dataset.from_list(documents),
        "passages": [Passage.from_record(row, n) for n, row in enumerate(documents)],
        "generator": iter(documents),
        "stream": Dataset.from_list(documents).to_iterable_dataset(),
    }
    store = DocumentStore(containers[kind])
    assert len(store) == 12
    assert store.ids == [f"d{n}" for n in range(12)]
    assert store[3] == Passage(
        "d3", "Ben Oak", "Ben Oak was born in Elm Hill. He paints. He sings.",
        ("Ben Oak was born in Elm Hill.", "He paints.", "He sings."),
    )  # fmt: skip
    assert [passage.id for passage in store] == store.ids
    assert store.resolve("d3") == (3, None)
    assert store.resolve("d3#2") == (3, 2)


def test_strings_are_numbered() -> None:
    store = DocumentStore(["first", "second"])
    assert store[1] == Passage("1", "", "second")
    assert store.resolve("1") == (1, None)
    assert store.resolve("1#0") == (1, 0)


def test_an_id_with_a_hash_sign_is_found_before_a_sentence() -> None:
    store = DocumentStore([{"id": "C#1", "text": "x"}, {"id": "C", "sentences": ["a", "b"]}])
    assert store.resolve("C#1") == (0, None)
    assert store.resolve("C#0") == (1, 0)
    assert store.resolve("C#1#0") == (0, 0)


@pytest.mark.parametrize("reference", ["d99", "d99#0", "d3#x", "d3#", "d3#-1", "#1", ""])
def test_unknown_references(reference: str, documents: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="refers to the document .* not among the 12 documents. Rebuild"):
        DocumentStore(documents).resolve(reference)


@pytest.mark.parametrize("reference", ["d3#3", "d2#1"])
def test_a_sentence_too_many(reference: str, documents: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=f"refers to '{reference}', but that document has fewer sentences"):
        DocumentStore(documents).resolve(reference)


def test_containers_that_are_iterated_over_in_other_pieces(documents: list[dict[str, Any]]) -> None:
    dataset = Dataset.from_list(documents)
    with pytest.raises(TypeError, match="passages is a single text: give a list"):
        DocumentStore("One passage.")
    with pytest.raises(TypeError, match=r"keys \['train'\]: give a list of passages, or one split"):
        DocumentStore(DatasetDict(train=dataset))
    with pytest.raises(TypeError, match=r"is a DataFrame, whose columns .* give `datasets.Dataset.from_pandas"):
        DocumentStore(dataset.to_pandas())
    assert DocumentStore(Dataset.from_pandas(dataset.to_pandas())).ids == DocumentStore(dataset).ids


def test_ids_of_a_dataset_have_any_name_and_are_text() -> None:
    assert DocumentStore is Corpus
    assert Corpus(Dataset.from_dict({"_id": ["a", "b"], "text": ["x", "y"]})).ids == ["a", "b"]
    assert Corpus(Dataset.from_dict({"docid": [7, 8], "contents": ["x", "y"]})).ids == ["7", "8"]
    holes = Corpus(Dataset.from_dict({"id": ["a", None], "text": ["x", "y"], "title": [None, "T"]}))
    assert holes.ids == ["a", "1"] == [passage.id for passage in holes] and holes[0].title == ""
    with pytest.raises(ValueError, match="though 'page_key' looks like one"):
        Corpus(Dataset.from_dict({"page_key": ["a"], "text": ["x"]}))
    with pytest.raises(ValueError, match="'None'|no text"):
        Corpus(Dataset.from_dict({"id": [None], "text": [None]}))


def test_bad_corpora() -> None:
    with pytest.raises(ValueError, match="the corpus is empty"):
        DocumentStore([])
    with pytest.raises(ValueError, match="the id 'b' stands for more than one passage"):
        DocumentStore([{"id": i, "text": "x"} for i in "abcb"])
    with pytest.raises(ValueError, match=r"passage 1 \(id None\) has no text"):
        DocumentStore(["x", {"title": ""}])


def test_stable_key_does_not_depend_on_the_process() -> None:
    # Python's own hash of a string does: the value is written out.
    assert stable_key("d0#0") == -8780983668321464801
    assert stable_key("d0#0") != stable_key("d0#1")
    assert all(-(2**63) <= stable_key(str(n)) < 2**63 for n in range(100))
