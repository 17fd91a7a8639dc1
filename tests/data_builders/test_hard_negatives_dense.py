"""Negatives from a SentenceTransformer, one whose embeddings are counts of words, so that the right ones are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from data_builders.documents import Document, DocumentStore
from data_builders.hard_negatives import DenseMiner

TEXTS = {
    "boat": "film boat tin moll",
    "near": "film boat tin oak",
    "far": "film elm",
    "off": "kite",
    "told": "film boat tin ada",
}


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    names = ["film", "boat", "tin", "moll", "oak", "elm", "kite", "ada", "[UNK]"]
    tokenizer = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.eye(len(names), dtype=np.float32)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def store() -> DocumentStore:
    documents = DocumentStore()
    for document_id, text in TEXTS.items():
        documents.put(Document(document_id, "", (text,)))
    return documents


def example(number: int = 0, query: str = "film boat tin moll", answer: str = "ada") -> dict[str, Any]:
    content = f"{query}[RQ]<paragraph>film boat tin moll</paragraph> {answer}\n[RQ]"
    return {
        "id": str(number),
        "messages": [{"role": "assistant", "content": content}],
        "positives": [["boat#0"], []],
        "negatives": [["off"], []],
        "question": "film",
        "answers": [],
        "meta": "{}",
    }


def test_the_closest_true_negatives_are_found(model: SentenceTransformer) -> None:
    (mined,) = DenseMiner(model=model)([example()], store())
    # "told" holds the answer, "off" is there already, and what has no word in common comes last.
    assert mined["negatives"] == [["off", "near", "far"], []]
    (mined,) = DenseMiner(model=model, num_negatives=1, exclude_answers=False)([example()], store())
    assert mined["negatives"][0] == ["off", "near"]  # as close as "told", and before it
    assert json.loads(mined["meta"])["negatives"]["method"] == "sentence-transformers"


def test_margin_to_the_positive(model: SentenceTransformer) -> None:
    close = example(query="film boat tin")  # the positive is no closer than "near"
    assert next(iter(DenseMiner(model=model)([close], store())))["negatives"][0] == ["off", "far"]
    (mined,) = DenseMiner(model=model, relative_margin=None)([close], store())
    assert mined["negatives"][0] == ["off", "near", "far"]


def test_batches_do_not_matter(model: SentenceTransformer) -> None:
    examples = [example(number, query) for number, query in enumerate(["film boat", "tin oak", "film boat", "elm"])]
    expected = list(DenseMiner(model=model)(examples, store()))
    assert list(DenseMiner(model=model, examples_per_batch=1)(examples, store())) == expected
    assert len(expected) == 4


def test_model_from_a_folder(model: SentenceTransformer, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path / "counter"))
    (mined,) = DenseMiner(model=str(tmp_path / "counter"))([example()], store())
    assert mined["negatives"][0] == ["off", "near", "far"]
    assert json.loads(mined["meta"])["negatives"]["model"] == "counter"
