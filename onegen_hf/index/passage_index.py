"""`PassageIndex`: the passages of a corpus, findable by embedding."""

from __future__ import annotations

import logging
import operator
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..data.passages import Passage
from ..hub.layout import INDEX_FILE, PASSAGES_FILE
from ..similarity import check_finite, normalize
from .backends.faiss import MISSING, build_faiss, read_faiss, search_faiss, write_faiss
from .distinct import search_distinct
from .encode import Corpus, EncodedCorpus, as_document_store, encode_passages
from .encode_checkpoint import remove_checkpoint
from .fingerprint import ModelFingerprint
from .from_embeddings import FromEmbeddingsMixin
from .model_name import model_name
from .passage_table import PassageTable, write_passages
from .search_parameters import SearchParametersMixin
from .storage import locate, read_description, write_directory
from .update import IndexUpdateMixin

logger = logging.getLogger(__name__)


class PassageIndex(IndexUpdateMixin, SearchParametersMixin, FromEmbeddingsMixin):
    """
    Embeddings of a corpus, a way to search them, the passages themselves, and the fingerprint of the model.

    Make one with [`~PassageIndex.build`] or [`~PassageIndex.load`]; [`~PassageIndex.update`] and
    [`~PassageIndex.remove`] change its passages. `len(index)` and iteration count passages. A *row*
    is an embedding: with one embedding per passage it is the passage's number; with one per sentence a passage has
    several rows, and `index[row]` is the passage that the row belongs to.

    Args:
        passages (`Sequence[Passage]`)
        faiss_index (`faiss.Index`): Over unit vectors, for the inner product.
        counts (`np.ndarray` of shape `(n_passages,)`): How many rows each passage has; they stand in its order.
        fingerprint (`ModelFingerprint`): Of the model that made the embeddings.
        factory (`str`): What the FAISS index was made with.
        model_id (`str`, *optional*): Name of the model, for whoever finds the index.
        revision (`str`, *optional*): Of the model.

    Raises:
        `ValueError`: If the number of rows or the dimension do not agree.

    Example:

    ```python
    >>> index = PassageIndex.build(model, tokenizer, [{"id": "rome", "title": "Rome", "text": "Capital of Italy."}])
    >>> scores, rows = index.search(query_embeddings, k=1)
    >>> index[rows[0, 0]].title
    'Rome'
    ```
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        faiss_index: Any,
        counts: np.ndarray,
        fingerprint: ModelFingerprint,
        factory: str = "Flat",
        model_id: str | None = None,
        revision: str | None = None,
    ) -> None:
        if len(counts) != len(passages) or int(counts.sum()) != faiss_index.ntotal:
            raise ValueError(
                f"{len(passages)} passages with {int(counts.sum())} embeddings do not go with a FAISS index of "
                f"{faiss_index.ntotal} rows: they come from different indexes. Build, save or download it again."
            )
        if faiss_index.d != fingerprint.probes.shape[1]:
            raise ValueError(
                f"the FAISS index has dimension {faiss_index.d} and the fingerprint of its model "
                f"{fingerprint.probes.shape[1]}: they come from different indexes. Build or download it again."
            )
        self.passages = passages
        self.fingerprint = fingerprint
        self.factory, self.model_id, self.revision = factory, model_id, revision
        self._faiss = faiss_index
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        self._most_rows = int(counts.max())
        self._checkpoint_dir: str | os.PathLike[str] | None = None

    @classmethod
    def build(
        cls,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        passages: Corpus,
        batch_size: int = 32,
        factory: str = "Flat",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        show_progress: bool = True,
        model_id: str | None = None,
        revision: str | None = None,
        **encode_kwargs: Any,
    ) -> PassageIndex:
        """
        Embed a corpus and make it searchable.

        Args:
            model (`OneGenForCausalLM`): On any device, of any dtype.
            tokenizer (`PreTrainedTokenizerBase`)
            passages (`Iterable` or `datasets.Dataset`): `documents` rows, `{id, title, text}` mappings, strings or
                [`Passage`]s.
            batch_size (`int`, *optional*, defaults to 32): Most passages per batch.
            factory (`str`, *optional*, defaults to `"Flat"`): FAISS factory string. `"Flat"` is exact; `"HNSW32"` is
                faster and `"IVF4096,PQ64np"` also smaller, both approximate.
            checkpoint_dir (`str` or path, *optional*): Makes the encoding resumable: call again after an interruption.
                [`~PassageIndex.save`] deletes it.
            show_progress (`bool`, *optional*, defaults to `True`)
            model_id (`str`, *optional*): Name of the model, stored with the index; by default the repository that it
                was loaded from.
            revision (`str`, *optional*): Its revision, stored with the index; by default the commit.
            encode_kwargs: Further arguments of [`encode_passages`].

        Returns:
            [`PassageIndex`]

        Raises:
            `TypeError` or `ValueError`: As [`encode_passages`]; and if FAISS refuses `factory` for this corpus.
        """
        store = as_document_store(passages)
        fingerprint = ModelFingerprint.of(model, tokenizer)
        encoded = encode_passages(
            model,
            tokenizer,
            store,
            batch_size=batch_size,
            checkpoint_dir=checkpoint_dir,
            show_progress=show_progress,
            **encode_kwargs,
        )
        index = cls.from_encoded(store, encoded, fingerprint, factory, *model_name(model, model_id, revision))
        index._checkpoint_dir = checkpoint_dir
        return index

    @classmethod
    def from_encoded(
        cls,
        passages: Sequence[Passage],
        encoded: EncodedCorpus,
        fingerprint: ModelFingerprint,
        factory: str = "Flat",
        model_id: str | None = None,
        revision: str | None = None,
    ) -> PassageIndex:
        """
        Make an index of embeddings that are there already, for instance to try several factories.

        Args:
            passages (`Sequence[Passage]`): The encoded corpus.
            encoded ([`EncodedCorpus`]): Result of [`encode_passages`].
            fingerprint ([`ModelFingerprint`]): Of the model that encoded it.
            factory (`str`, *optional*, defaults to `"Flat"`)
            model_id (`str`, *optional*)
            revision (`str`, *optional*)
        """
        counts = np.bincount(encoded.owners, minlength=len(passages))
        return cls(
            passages, build_faiss(encoded.embeddings, factory), counts, fingerprint, factory, model_id, revision
        )

    def __len__(self) -> int:
        return len(self.passages)

    def __iter__(self) -> Iterator[Passage]:
        return (self.passages[number] for number in range(len(self)))

    def __getitem__(self, row: int) -> Passage:
        return self.passages[self._owner(row)]

    def __repr__(self) -> str:
        return (
            f"PassageIndex({len(self)} passages, {self.num_rows} rows of dimension {self.dimension}, "
            f"factory={self.factory!r}, model_id={self.model_id!r})"
        )

    @property
    def num_rows(self) -> int:
        """How many embeddings there are."""
        return int(self._faiss.ntotal)

    @property
    def dimension(self) -> int:
        """Size of an embedding."""
        return int(self._faiss.d)

    @property
    def granularity(self) -> str:
        """`"passage"` or `"sentence"`: what has an embedding."""
        return str(self.fingerprint.facts.get("granularity", "passage"))

    def reference(self, row: int) -> str:
        """What a row stands for, as examples refer to it: `doc`, or `doc#sentence` with one embedding per sentence."""
        owner = self._owner(row)
        identifier = self.passages[owner].id
        return f"{identifier}#{int(row) - int(self._starts[owner])}" if self.granularity == "sentence" else identifier

    def search(self, embeddings: torch.Tensor | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """
        The best rows for each query, by cosine.

        With one embedding per sentence the result names `k` different passages, each by its best row.

        Args:
            embeddings (`Tensor` or `np.ndarray` of shape `(n, hidden)`): Any floating dtype and device; need not be
                normalised.
            k (`int`): How many passages; more than there are gives all of them.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Scores (float32, cosines; a compressed index approximates them) and rows
            (int64), both of shape `(n, min(k, len(index)))`, best first. An approximate index that finds fewer fills
            up with row -1 and score -inf.

        Raises:
            `ValueError`: If the shape or dimension is wrong, a query holds NaN, or `k` is less than 1.
        """
        queries = self._queries(embeddings)
        if operator.index(k) < 1:
            raise ValueError(f"k={k} must be at least 1: how many passages to find")
        k = min(operator.index(k), len(self))
        if self._most_rows == 1:
            scores, rows = search_faiss(self._faiss, queries, k)
        else:
            scores, rows = search_distinct(self._faiss, self._starts, queries, k)
        return np.where(rows == MISSING, np.float32(-np.inf), scores), rows

    def check_model(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Make sure that a model's queries can be compared with this index.

        Args:
            model (`OneGenForCausalLM`)
            tokenizer (`PreTrainedTokenizerBase`)

        Raises:
            `TypeError`: If `model` is no OneGen model.
            `ValueError`: If it is not the model that made the index; says what differs.

        Warns:
            `UserWarning`: Instead of the error, if only the weights differ and `model.approximate_base` says why.
        """
        found = ModelFingerprint.of(model, tokenizer)
        difference = self.fingerprint.difference(found)
        if difference is not None and model.approximate_base and dict(found.facts) == dict(self.fingerprint.facts):
            warnings.warn(
                f"the adapter's base has weights close to, but not, those of the index ({difference}): retrieval is "
                "less exact. Install the base that the adapter was trained on, or build the index again.",
                UserWarning,
                stacklevel=2,
            )
        elif difference is not None:
            made_by = (
                f" ({self.model_id}{f', revision {self.revision}' if self.revision else ''})" if self.model_id else ""
            )
            raise ValueError(
                f"the index was made by another model{made_by} than the one that is to search it. Index against "
                f"model: {difference}. Load the model of the index, or build the index again."
            )

    def save(self, directory: str | os.PathLike[str]) -> None:
        """
        Write `index.faiss`, `passages.parquet` and `index.json` into a directory, and delete the build's checkpoint.

        An interrupted call leaves the old index, or none that loads; never a mixture.

        Args:
            directory (`str` or path): Created if it is missing; an index in it is replaced.
        """
        self._write(directory)
        self._drop_checkpoint()

    def _write(self, directory: str | os.PathLike[str]) -> None:
        counts = np.diff(self._starts)
        writers = {
            INDEX_FILE: lambda path: write_faiss(self._faiss, path),
            PASSAGES_FILE: lambda path: write_passages(self.passages, counts, path),
        }
        description = {
            "fingerprint": self.fingerprint.to_dict(),
            "dimension": self.dimension,
            "metric": "inner_product",
            "factory": self.factory,
            "passages": len(self),
            "embeddings": self.num_rows,
            "granularity": self.granularity,
            "model_id": self.model_id,
            "revision": self.revision,
        }
        write_directory(directory, writers, description)

    def _drop_checkpoint(self) -> None:
        if self._checkpoint_dir is not None:
            remove_checkpoint(self._checkpoint_dir)
            self._checkpoint_dir = None

    @classmethod
    def load(
        cls, dir_or_repo: str | os.PathLike[str], revision: str | None = None, mmap: bool = True, **hub_kwargs: Any
    ) -> PassageIndex:
        """
        Load an index without reading it: embeddings are mapped, passages read when they are asked for.

        Args:
            dir_or_repo (`str` or path): A directory, or a dataset repository of the Hub.
            revision (`str`, *optional*): Branch, tag or commit of the repository.
            mmap (`bool`, *optional*, defaults to `True`): `False` reads the FAISS index into memory, for a file system
                that can't map files or a disk that is slow.
            hub_kwargs: As for `huggingface_hub.snapshot_download` (`token`, `cache_dir`, `local_files_only`, ...).

        Returns:
            [`PassageIndex`]

        Raises:
            `FileNotFoundError`: If there is no such index, or one of its files is missing.
            `ValueError`: If a file is damaged, of another index, or of a newer version of this package.
        """
        root = locate(dir_or_repo, revision, **hub_kwargs)
        description = read_description(root)
        passages = PassageTable(root / PASSAGES_FILE)
        faiss_index = read_faiss(root / INDEX_FILE, mmap)
        found = {"passages": len(passages), "embeddings": faiss_index.ntotal, "dimension": faiss_index.d}
        wrong = [
            f"{key}: {found[key]} instead of {description[key]}" for key in found if found[key] != description[key]
        ]
        if wrong:
            raise ValueError(
                f"{root}: the files disagree with index.json ({', '.join(wrong)}): they come from different indexes. "
                "Save or download the index again."
            )
        index = cls(
            passages,
            faiss_index,
            passages.counts(),
            ModelFingerprint.from_dict(description["fingerprint"]),
            description["factory"],
            description.get("model_id"),
            description.get("revision"),
        )
        logger.info("loaded %r from %s", index, root)
        return index

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """
        Send the index to a dataset repository of the Hub, with its card, as one commit: what `onegen-hf push index`
        does with a saved one.

        Args:
            repo_id (`str`): Such as `"organisation/name"`; created if it is missing.
            kwargs: As for [`~onegen_hf.hub.Upload.push`]: `private`, `token`, `revision`, `commit_message`, ...

        Returns:
            `huggingface_hub.CommitInfo`
        """
        from ..hub import index_upload  # which comes after the index in the flow of data

        with tempfile.TemporaryDirectory() as directory:
            self._write(directory)
            commit = index_upload(directory, repo_id).push(**kwargs)
        self._drop_checkpoint()  # not before: a failed upload must not cost the embeddings
        return commit

    def _owner(self, row: int) -> int:
        if not 0 <= row < self.num_rows:
            hint = ": an approximate search found too few, see `set_search_parameters`" if row == MISSING else ""
            raise IndexError(f"row {row} of an index with {self.num_rows} rows{hint}")
        if self._most_rows == 1:
            return int(row)
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _queries(self, embeddings: torch.Tensor | np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(embeddings).detach()
        if tensor.ndim != 2:
            raise ValueError(
                f"embeddings has shape {tuple(tensor.shape)}, expected (n, {self.dimension}): one row per query, also "
                "for a single one"
            )
        if tensor.shape[1] != self.dimension:
            raise ValueError(
                f"the queries have dimension {tensor.shape[1]} and the index {self.dimension}: they come from "
                "different models. Load the index that was built with this model, or build it again."
            )
        check_finite(tensor, "queries")
        return normalize(tensor).cpu().numpy()
