"""What a pipeline retrieves with: a sentence encoder or BM25, asked with the text that the language model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from datasets import Dataset
from torch import Tensor

from data_builders.hard_negatives.bm25 import import_bm25s
from onegen_hf import Passage
from onegen_hf.generation import Hit, OnePassDecoder, RowState

from .data import StudyData


class Retriever(Protocol):
    """Texts → for each the numbers and scores of the `k` best passages, best first."""

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]: ...


class EncoderRetriever:
    """
    Cosine of sentence embeddings, exact.

    Args:
        encoder (`SentenceTransformer`)
        passages (`Sequence[Passage]`)
    """

    def __init__(self, encoder: Any, passages: Sequence[Passage]) -> None:
        self.encoder = encoder
        self.embeddings = self._encode([text_of(passage) for passage in passages])

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.encode(list(texts), normalize_embeddings=True, batch_size=64, show_progress_bar=False)

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        scores = self._encode(texts) @ self.embeddings.T
        return [[(int(row), float(own[row])) for row in np.argsort(-own, kind="stable")[:k]] for own in scores]


class Bm25Retriever:
    """
    BM25 with English stop words, as bm25s computes it.

    Args:
        passages (`Sequence[Passage]`)
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        bm25s = import_bm25s()
        self._tokenize = bm25s.tokenize
        self._bm25 = bm25s.BM25()
        self._bm25.index(self._tokens([text_of(passage) for passage in passages]), show_progress=False)

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self._tokenize(list(texts), stopwords="en", show_progress=False)

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        rows, scores = self._bm25.retrieve(self._tokens(texts), k=k, show_progress=False)
        return [[(int(r), float(s)) for r, s in zip(*pair, strict=True)] for pair in zip(rows, scores, strict=True)]


def text_of(passage: Passage) -> str:
    """What a retriever reads of a passage."""
    return f"{passage.title}\n{passage.text}"


def pipeline_decoder(retriever: Retriever) -> type[OnePassDecoder]:
    """
    A decoder that retrieves as a pipeline does: with the question that the model has written before the query token,
    or the user's where it has written none.

    Args:
        retriever ([`Retriever`]): Its passages are those of the index, in that order.
    """

    class PipelineDecoder(OnePassDecoder):
        def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
            found = retriever.search([self.query_text(row) for row in rows], self.k)
            return [[Hit(self.index[number], score, number) for number, score in own] for own in found]

    return PipelineDecoder


def fine_tuned(encoder: Any, data: StudyData, examples: int, output_dir: Path, seed: int) -> Any:
    """
    The encoder after one epoch on the pairs (question before a query token, gold passage, hard negative if there are
    any) of the very examples that OneGen sees, with in-batch negatives. No batch holds a passage twice.

    Args:
        encoder (`SentenceTransformer`): Changed in place.
        data ([`StudyData`])
        examples (`int`)
        output_dir (`Path`): For what the trainer leaves behind.
        seed (`int`): Of the examples' order, as [`train_variant`]'s.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    args = SentenceTransformerTrainingArguments(
        str(output_dir), num_train_epochs=1, per_device_train_batch_size=16, learning_rate=5e-5, warmup_steps=0.1,
        report_to="none", save_strategy="no", disable_tqdm=True, seed=seed, use_cpu=encoder.device.type == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
    )  # fmt: skip
    seen = data.train.shuffle(seed=seed).select(range(examples))
    trainer = SentenceTransformerTrainer(
        encoder, args, pairs_of(seen, data), loss=MultipleNegativesRankingLoss(encoder)
    )
    trainer.train()
    return encoder.eval()


def pairs_of(examples: Dataset, data: StudyData) -> Dataset:
    """`anchor`, `positive` and, where the examples name any, `negative` of every query token that has all of them."""
    store = data.store()
    mined = any(negatives for example in examples for negatives in example["negatives"])
    rows = []
    for example in examples:
        written = example["messages"][-1]["content"]
        questions = [part.strip().rpartition("\n")[2] for part in written.split("[RQ]")[:-1]]
        hops = zip(questions, example["positives"], example["negatives"], strict=True)
        for question, positives, negatives in hops:
            named = {"positive": positives, **({"negative": negatives} if mined else {})}
            if all(named.values()):
                texts = {name: text_of(store[store.resolve(one[0])[0]]) for name, one in named.items()}
                rows.append({"anchor": question, **texts})
    return Dataset.from_list(rows)
