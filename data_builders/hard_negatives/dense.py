"""Hard negatives by embeddings: passages that a SentenceTransformer finds close to the query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset

from data_builders.hard_negatives.corpus import Corpus, passage_text
from data_builders.hard_negatives.miner import HardNegativeMiner, Request, Search

_QUERIES_AT_ONCE = 256
"""Bounds the matrix of similarities between queries and corpus."""


@dataclass
class DenseMiner(HardNegativeMiner):
    """
    Searches with `mine_hard_negatives` of sentence-transformers.

    The corpus is embedded once; its texts and embeddings are held in memory, and the embeddings in a temporary folder.

    Args:
        model (`str` or `SentenceTransformer`):
            The model, its id or its folder.
        relative_margin (`float`, *optional*, defaults to 0.05):
            As NV-Retriever (arXiv 2407.15831) recommends; see [`HardNegativeMiner`].
        batch_size (`int`, *optional*, defaults to 32):
            Texts embedded at a time.
        use_faiss (`bool`, *optional*, defaults to `False`):
            Whether FAISS searches.
        kwargs:
            See [`HardNegativeMiner`].

    Raises:
        `ValueError`: If there is no model.
    """

    relative_margin: float | None = 0.05
    model: Any = ""
    batch_size: int = 32
    use_faiss: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.model, str) and not self.model:
            raise ValueError("`model` is empty; give the id or the folder of a SentenceTransformer.")

    def describe(self) -> dict[str, Any]:
        """The method and its settings, as `meta` records them."""
        return {"method": "sentence-transformers", "model": _model_name(self.model)}

    @contextmanager
    def open(self, corpus: Corpus) -> Iterator[Search]:
        """Embed the corpus, see [`~HardNegativeMiner.open`]."""
        # Here, because it brings in torch, which a build without mined negatives can do without.
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.util import mine_hard_negatives

        try:
            model = SentenceTransformer(self.model) if isinstance(self.model, str) else self.model
        except (OSError, ValueError) as error:
            raise ValueError(
                f"the miner's `model` {self.model!r} cannot be loaded ({error}); give the id or folder of a "
                'SentenceTransformer, or mine with "bm25".'
            ) from error
        texts = [passage_text(document) for document in corpus]
        rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            rows.setdefault(text, row)

        with TemporaryDirectory() as cache:

            def search(requests: Sequence[Request]) -> list[list[int]]:
                pairs = [(r.anchor.query, texts[row]) for r in requests for row in sorted(r.positives)]
                found = mine_hard_negatives(
                    Dataset.from_dict({"query": [q for q, _ in pairs], "passage": [p for _, p in pairs]}),
                    model,
                    corpus=texts,
                    range_max=self.depth,
                    num_negatives=self.depth,
                    relative_margin=self.relative_margin,
                    output_format="labeled-pair",
                    output_scores=True,
                    batch_size=self.batch_size,
                    faiss_batch_size=_QUERIES_AT_ONCE,
                    use_faiss=self.use_faiss,
                    cache_folder=cache,
                    verbose=False,
                )
                ranked: dict[str, list[tuple[float, int]]] = {}
                for query, text, score in zip(found["query"], found["passage"], found["score"], strict=True):
                    ranked.setdefault(query, []).append((-score, rows[text]))
                # Positives are among them; whoever asked leaves them out.
                return [[row for _, row in sorted(ranked.get(r.anchor.query, []))] for r in requests]

            yield search


def _model_name(model: Any) -> str:
    if not isinstance(model, str):
        card = getattr(model, "model_card_data", None)
        model = getattr(card, "base_model", None) or type(model).__name__
    # A folder's place on this machine means nothing elsewhere.
    return Path(model).name if Path(model).is_dir() else model
