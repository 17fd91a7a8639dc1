"""`PassageIndex`: the passages of a corpus, findable by embedding."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..checks import checked, choice, flag, integer, number, optional, path, text
from ..configuration import FUSIONS, Fusion
from ..data.passages import Passage
from ..data.splitting import pieces_of
from ..filters import PassageFilter, filter_rule
from ..hub.commit import check_repo_id
from ..modeling.embed import check_encoder
from ..modeling.projection import embedding_size
from .backends import MISSING, VectorBackend, backend_options, make_backend
from .backends.prefix import warn_of_untrained_prefixes
from .collection import Hybrid, PassageCollection
from .description import description_digest, model_description, read_description, require_same, require_unedited
from .encode import (
    Corpus,
    EncodedCorpus,
    as_document_store,
    check_settings,
    check_texts,
    encode_passages,
    split_store,
)
from .encode_checkpoint import remove_checkpoint
from .fingerprint import ModelFingerprint
from .from_embeddings import embeddings_per_passage, encoded_elsewhere
from .fusion import hybrid_settings
from .local_collection import LocalCollection
from .model_name import model_name
from .publish import collection_upload, index_upload
from .retrieved_passage import RetrievedPassage
from .search import unit_queries
from .storage import check_hub_options, locate
from .stores import is_store_url
from .stores.collection import StoredCollection
from .stores.opening import StoreTarget, open_collection
from .text_search import IndexModel, embed_query
from .update import (
    UpdatePlan,
    store_with_ids,
)

logger = logging.getLogger(__name__)

Backend = str | type[VectorBackend] | VectorBackend
_PATH = path()
_NAMES = {"model_id": optional(text()), "revision": optional(text())}


class PassageIndex:
    """
    Embeddings of a corpus, a way to search them, the passages themselves, and the fingerprint of the model.

    Make one with [`~PassageIndex.build`] or [`~PassageIndex.load`]; [`~PassageIndex.update`] and
    [`~PassageIndex.remove`] change its passages. `len(index)` and iteration count passages. A *row* is an embedding:
    with one embedding per passage it is the passage's number; with one per sentence a passage has several rows, and
    `index[row]` is the passage that the row belongs to.

    A saved or loaded index can be pickled and deep-copied, as worker processes need it: the copy loads the same files.

    Args:
        passages (`Sequence[Passage]`)
        backend ([`VectorBackend`]): Holds the vectors, in the order of the passages.
        counts (`np.ndarray` of shape `(n_passages,)`): Number of rows of each passage.
        fingerprint ([`ModelFingerprint`]): Of the model that made the embeddings.
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
        backend: VectorBackend,
        counts: np.ndarray,
        fingerprint: ModelFingerprint,
        model_id: str | None = None,
        revision: str | None = None,
    ) -> None:
        self._hold(LocalCollection(passages, backend, counts), IndexModel(fingerprint, model_id, revision))

    def _hold(self, collection: PassageCollection, model: IndexModel) -> None:
        dimension = model.fingerprint.probes.shape[1]
        if collection.dimension != dimension:
            raise ValueError(
                f"the vectors have dimension {collection.dimension} and the fingerprint of their model {dimension}: "
                "they come from different indexes. Build or download it again."
            )
        self._collection, self._model = collection, model
        self._checkpoint_dir: str | os.PathLike[str] | None = None
        # Where it lies on disk as it is in memory, and the digest of that index.json.
        self._saved: tuple[Path, str, bool] | None = None

    @classmethod
    @checked(
        factory=text(),
        precision=text(),
        dimensions=optional(integer(least=1)),
        checkpoint_dir=optional(_PATH),
        show_progress=flag(),
        batch_size=optional(integer(least=1)),
        words=optional(flag()),
        **_NAMES,
    )
    def build(
        cls,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        passages: Corpus,
        batch_size: int | None = None,
        factory: str = "Flat",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        show_progress: bool = True,
        model_id: str | None = None,
        revision: str | None = None,
        backend: Backend = "faiss",
        max_tokens_per_passage: int | None = None,
        dimensions: int | None = None,
        precision: str = "float32",
        words: bool | None = None,
        **encode_kwargs: Any,
    ) -> PassageIndex:
        """
        Embed a corpus and make it searchable.

        Args:
            model (`OneGenForCausalLM`): On any device, of any dtype.
            tokenizer (`PreTrainedTokenizerBase`)
            passages (`Iterable` or `datasets.Dataset`): `documents` rows, `{id, title, text}` mappings, strings or
                [`Passage`]s.
            batch_size (`int`, *optional*): Most passages per batch; by default 32, and no limit on a GPU.
            factory (`str`, *optional*, defaults to `"Flat"`): FAISS factory string. `"Flat"` is exact; `"HNSW32"` is
                faster and `"IVF4096,PQ64np"` also smaller, both approximate.
            checkpoint_dir (`str` or path, *optional*): Makes the encoding resumable: call again after an interruption.
                [`~PassageIndex.save`] deletes it.
            show_progress (`bool`, *optional*, defaults to `True`)
            model_id (`str`, *optional*): Name of the model, stored with the index; by default the repository that it
                was loaded from.
            revision (`str`, *optional*): Its revision, stored with the index; by default the commit.
            backend (`str`, [`VectorBackend`] or subclass, *optional*, defaults to `"faiss"`): What stores and searches
                the vectors. `"torch"` searches exactly, on the device of the model. The URL of a database, such as
                `"qdrant://localhost:6333/films"`, keeps the passages there as well (see [`StoreLocation`]).
            max_tokens_per_passage (`int`, *optional*): Split longer passages, at the ends of sentences where possible,
                into pieces with the ids `ID#0`, `ID#1`, ... that repeat the title and `meta` (see [`split_passage`]);
                says how many. By default longer passages are cut to what the model embeds.
            dimensions (`int`, *optional*): Keep the first this many numbers of each embedding. For models trained with
                `matryoshka_dims`; for others a warning says that recall may fall.
            precision (`str`, *optional*, defaults to `"float32"`): Of the numbers that are kept: `"float16"` or
                `"int8"` take half or a quarter of the bytes, and `"binary"` searches by one bit of each number first.
            words (`bool`, *optional*): Also read the words of the passages, for `hybrid`; see
                [`~PassageIndex.add_words`]. By default if the checkpoint searches by words (`onegen.hybrid`) and the
                passages do not go to a database.
            encode_kwargs: Further arguments of [`encode_passages`].

        Returns:
            [`PassageIndex`]

        Raises:
            `TypeError` or `ValueError`: As [`encode_passages`]; and, before any passage is encoded, if the backend or
                `factory` is unknown or does not fit this corpus, or `words` is asked of a database.
            `OSError`: If `checkpoint_dir` cannot be written to, or another process is writing to it.
        """
        if words and is_store_url(backend):
            raise ValueError(f"words=True: {backend} is searched by embedding only. Leave it out, or keep files")
        vectors = _target(backend, dimensions, factory, precision)
        check_settings(**encode_kwargs)
        check_encoder(model, tokenizer)
        store = as_document_store(passages)
        if max_tokens_per_passage is not None:
            store = split_store(store, model, tokenizer, max_tokens_per_passage, show_progress)
        count = int(embeddings_per_passage(store, model.onegen_config.granularity).sum())
        hidden = embedding_size(model)
        vectors.check(hidden, count)
        if isinstance(vectors, StoreTarget):
            vectors.check_passages(store)
        if dimensions is not None:
            warn_of_untrained_prefixes(dimensions, model.onegen_config.matryoshka_dims, hidden)
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
        index = cls._of_encoded(store, encoded, fingerprint, vectors, *model_name(model, model_id, revision))
        index._checkpoint_dir = checkpoint_dir
        index._model.remember(model, tokenizer)
        return index._with_words_of(model, words)

    @classmethod
    @checked(factory=text(), precision=text(), dimensions=optional(integer(least=1)), **_NAMES)
    def from_encoded(
        cls,
        passages: Sequence[Passage],
        encoded: EncodedCorpus,
        fingerprint: ModelFingerprint,
        factory: str = "Flat",
        model_id: str | None = None,
        revision: str | None = None,
        backend: Backend = "faiss",
        dimensions: int | None = None,
        precision: str = "float32",
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
            backend (`str`, [`VectorBackend`] or subclass, *optional*, defaults to `"faiss"`)
            dimensions (`int`, *optional*), precision (`str`, *optional*): As for [`~PassageIndex.build`].
        """
        vectors = _target(backend, dimensions, factory, precision)
        return cls._of_encoded(passages, encoded, fingerprint, vectors, model_id, revision)

    @classmethod
    @checked(
        factory=text(),
        precision=text(),
        dimensions=optional(integer(least=1)),
        num_checked=integer(least=0),
        **_NAMES,
    )
    def from_embeddings(
        cls,
        embeddings: torch.Tensor | np.ndarray,
        passages: Corpus,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        ids: Sequence[str] | None = None,
        factory: str = "Flat",
        num_checked: int = 4,
        model_id: str | None = None,
        revision: str | None = None,
        backend: Backend = "faiss",
        dimensions: int | None = None,
        precision: str = "float32",
    ) -> PassageIndex:
        """
        Make an index of embeddings that were computed elsewhere by the same model.

        A few passages are embedded again to see that it was the same model, and the same way of writing a passage.

        Args:
            embeddings (`Tensor` or `np.ndarray` of shape `(n_embeddings, hidden)`): Any floating dtype; need not be
                normalised. One per passage, or one per sentence if the model's `granularity` is that.
            passages (`Iterable` or `datasets.Dataset`): As for [`~PassageIndex.build`].
            model (`OneGenForCausalLM`): The one that made the embeddings.
            tokenizer (`PreTrainedTokenizerBase`)
            ids (`Sequence[str]`, *optional*): What each embedding belongs to: `doc`, or `doc#sentence` with one per
                sentence. By default they stand in the order of the passages.
            factory (`str`, *optional*, defaults to `"Flat"`): FAISS factory string.
            num_checked (`int`, *optional*, defaults to 4): Number of passages that are embedded again.
            model_id (`str`, *optional*): Name of the model, stored with the index; by default the repository that it
                was loaded from.
            revision (`str`, *optional*): Its revision, stored with the index; by default the commit.
            backend (`str`, [`VectorBackend`] or subclass, *optional*, defaults to `"faiss"`)
            dimensions (`int`, *optional*), precision (`str`, *optional*): As for [`~PassageIndex.build`].

        Returns:
            [`PassageIndex`]

        Raises:
            `TypeError`: If `model` is no OneGen model, or `embeddings` is no matrix of numbers.
            `ValueError`: If shape, dimension or number of the embeddings are wrong, one is zero or holds NaN, `ids`
                don't name each passage once, or the model embeds a passage in another way.

        Example:

        ```python
        >>> embeddings, ids = read_embeddings("embeddings.safetensors")
        >>> index = PassageIndex.from_embeddings(embeddings, entities, model, tokenizer, ids)
        ```
        """
        vectors = _target(backend, dimensions, factory, precision)
        check_encoder(model, tokenizer)
        store = as_document_store(passages)
        check_texts(store)
        encoded = encoded_elsewhere(embeddings, store, model, tokenizer, ids, num_checked)
        fingerprint = ModelFingerprint.of(model, tokenizer)
        index = cls._of_encoded(store, encoded, fingerprint, vectors, *model_name(model, model_id, revision))
        index._model.remember(model, tokenizer)
        return index._with_words_of(model)

    @classmethod
    def _of_encoded(
        cls,
        passages: Sequence[Passage],
        encoded: EncodedCorpus,
        fingerprint: ModelFingerprint,
        target: VectorBackend | StoreTarget,
        model_id: str | None,
        revision: str | None,
    ) -> PassageIndex:
        counts = np.bincount(encoded.owners, minlength=len(passages))
        if isinstance(target, StoreTarget):
            collection = target.fill(passages, counts, encoded.embeddings, fingerprint, model_id, revision)
            return cls._over(collection, IndexModel(fingerprint, model_id, revision))
        target.build(encoded.embeddings)
        return cls(passages, target, counts, fingerprint, model_id, revision)

    @classmethod
    def _over(cls, collection: PassageCollection, model: IndexModel) -> PassageIndex:
        index = cls.__new__(cls)
        index._hold(collection, model)
        return index

    def __len__(self) -> int:
        return len(self._collection)

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._collection)

    def __getitem__(self, row: int) -> Passage:
        return self._collection.passage(row)

    def __repr__(self) -> str:
        settings = "".join(f"{name}={value!r}, " for name, value in self._collection.settings.items())
        return (
            f"PassageIndex({len(self)} passages, {self.num_rows} rows of dimension {self.dimension}, "
            f"backend={self._collection.name!r}, {settings}model_id={self.model_id!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._collection, StoredCollection):
            return self._over_store, (self._collection.store.location.url,)
        if self._saved is None:
            raise TypeError(
                "an index is pickled and copied by the directory that it was saved to or loaded from, and this one is "
                "only in memory: call `index.save(directory)` first"
            )
        root, digest, mmap = self._saved
        return _load_again, (type(self), str(root), digest, mmap, self.search_parameters)

    def get(self, id: str, default: Passage | None = None) -> Passage | None:
        """
        The passage with an id.

        Args:
            id (`str`)
            default ([`Passage`], *optional*): What to return if there is no such passage.
        """
        passage = self._collection.get(id)
        return default if passage is None else passage

    @property
    def passages(self) -> Sequence[Passage]:
        """The passages, in order."""
        return self._collection.passages

    @property
    def fingerprint(self) -> ModelFingerprint:
        """Of the model that made the embeddings."""
        return self._model.fingerprint

    @property
    def model_id(self) -> str | None:
        """Name of that model."""
        return self._model.model_id

    @property
    def revision(self) -> str | None:
        """Its revision."""
        return self._model.revision

    @property
    def backend(self) -> VectorBackend:
        """What stores and searches the vectors."""
        return self._local("backend").backend

    @property
    def factory(self) -> str | None:
        """The FAISS factory string; `None` if another backend holds the vectors."""
        return self._collection.settings.get("factory")

    @property
    def num_rows(self) -> int:
        """Number of embeddings."""
        return self._collection.num_rows

    @property
    def dimension(self) -> int:
        """Size of an embedding."""
        return self._collection.dimension

    @property
    def granularity(self) -> str:
        """`"passage"` or `"sentence"`: what has an embedding."""
        return str(self.fingerprint.facts.get("granularity", "passage"))

    def reference(self, row: int) -> str:
        """What a row stands for, as examples refer to it: `doc`, or `doc#sentence` with one embedding per sentence."""
        identifier = self[row].id
        return f"{identifier}#{self._collection.part(row)}" if self.granularity == "sentence" else identifier

    @property
    def has_words(self) -> bool:
        """Whether the index holds a search by words, which a checkpoint's `onegen.hybrid` then uses."""
        return self._collection.has_words

    def add_words(self) -> PassageIndex:
        """
        Read the words of all passages, for a search by words (BM25) that is saved with the index and that a
        checkpoint's `onegen.hybrid` uses. Without it, the first search that asks for words reads them.

        Returns:
            [`PassageIndex`]: This index.

        Raises:
            `ValueError`: If the index is kept in a database.
        """
        self._local("add_words").add_words()
        return self

    @checked(k=integer(least=1), filter=optional(filter_rule), hybrid=number(least=0, most=1), fusion=choice(FUSIONS))
    def search(
        self,
        embeddings: torch.Tensor | np.ndarray,
        k: int,
        filter: Mapping[str, Any] | PassageFilter | None = None,
        hybrid: float = 0.0,
        texts: Sequence[str] | None = None,
        fusion: Fusion = "rrf",
        without: Sequence[Collection[str]] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        The best rows for each query, by cosine.

        With one embedding per sentence the result names `k` different passages, each by its best row.

        Args:
            embeddings (`Tensor` or `np.ndarray` of shape `(n, hidden)`): Any floating dtype and device; need not be
                normalised.
            k (`int`): Number of passages; more than there are gives all of them.
            filter (`Mapping[str, Any]`, *optional*): Search only the passages whose `meta` satisfies it, such as
                `{"lang": "en", "year": {"$gte": 2000}}` (see [`PassageFilter`]).
            hybrid (`float`, *optional*, defaults to 0.0): How much a search by words (BM25) counts beside the search
                by embedding, up to 1.0 for words alone.
            texts (`Sequence[str]`, *optional*): The text of each query, for `hybrid`.
            fusion (`str`, *optional*, defaults to `"rrf"`): How `hybrid` makes one ranking of the two. `"rrf"` fuses
                them by reciprocal rank; the scores that are returned stay cosines, and are then not in order.
                `"weighted"` sums the scores, for which a `hybrid` of 0.1 to 0.3 is much; returned is the cosine, less
                what a passage lacks of the best words (see [`less_missing_words`]).
            without (`Sequence[Collection[str]]`, *optional*): For each query the ids of passages that it does not
                find, as if the index did not have them.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Scores (float32, cosines; a compressed index approximates them) and rows
            (int64), both of shape `(n, min(k, len(index)))`, best first. An approximate or filtered search that finds
            fewer fills up with row -1 and score -inf.

        Raises:
            `TypeError`: If `embeddings` is no matrix of numbers, or `k` no integer.
            `ValueError`: If the shape or dimension is wrong, a query is zero or holds NaN, `k` is less than 1, or
                `filter` is no filter.
        """
        queries = unit_queries(embeddings, self.dimension)  # (n, hidden)
        if without is not None and len(without) != len(queries):
            raise ValueError(f"without has {len(without)} entries for {len(queries)} queries: give one per query")
        most = k + max(map(len, without or ()), default=0)
        both = _hybrid(hybrid, texts, len(queries), fusion, without)
        scores, rows = self._collection.search(queries, most, filter, both)  # type: ignore[arg-type]
        return (scores, rows) if without is None else self._others(scores, rows, without, k)

    def _others(
        self, scores: np.ndarray, rows: np.ndarray, without: Sequence[Collection[str]], k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first `k` of more results, without the passages that a query is not to find."""
        shape = len(rows), min(k, rows.shape[1])
        kept_scores, kept_rows = np.full(shape, -np.inf, np.float32), np.full(shape, MISSING, np.int64)
        for query, ids in enumerate(without):
            places = [n for n, row in enumerate(rows[query]) if row != MISSING and self[int(row)].id not in ids][:k]
            kept_scores[query, : len(places)] = scores[query, places]
            kept_rows[query, : len(places)] = rows[query, places]
        return kept_scores, kept_rows

    @checked(
        query=text(),
        k=integer(least=1),
        filter=optional(filter_rule),
        hybrid=optional(number(least=0, most=1)),
        fusion=optional(choice(FUSIONS)),
    )
    def search_text(
        self,
        query: str,
        k: int = 5,
        model: Any = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        filter: Mapping[str, Any] | PassageFilter | None = None,
        hybrid: float | None = None,
        fusion: Fusion | None = None,
    ) -> list[RetrievedPassage]:
        """
        The best passages for a text. One forward embeds it as the model's own sub-question; nothing is generated.

        Args:
            query (`str`): A question with one hop, or for an entity catalogue the name of an entity.
            k (`int`, *optional*, defaults to 5): Number of passages; more than there are gives all of them.
            model (`OneGenForCausalLM`, *optional*): The one that made the index. By default the one with which this
                index was built or checked (a pipeline does so), else that of the checkpoint in whose folder the index
                lies, else the repository that the index names, loaded once.
            tokenizer (`PreTrainedTokenizerBase`, *optional*): Goes with `model`.
            filter (`Mapping[str, Any]`, *optional*): As for [`~PassageIndex.search`].
            hybrid (`float`, *optional*), fusion (`str`, *optional*): As for [`~PassageIndex.search`]; by default the
                checkpoint's `onegen.hybrid` if the index [`has_words`], and its `onegen.fusion`.

        Returns:
            `list[RetrievedPassage]`: Best first, with `id`, `title`, `text`, `score` and, if it has any, `meta`.

        Raises:
            `ValueError`: If there is no model, it did not make the index, or `query` is empty or too long.

        Example:

        ```python
        >>> index.search_text("Who directed Titanic?", k=3)[0].title
        'Titanic'
        ```
        """
        if (model is None) != (tokenizer is None):
            raise ValueError("model and tokenizer go together: pass both, or neither")
        if model is not None and tokenizer is not None:
            self.check_model(model, tokenizer)
        encoder = self._model.encoder(None if self._saved is None else self._saved[0])
        hybrid, fusion = hybrid_settings(encoder[0].onegen_config, self, hybrid, fusion)
        scores, rows = self.search(embed_query(*encoder, query), k, filter, hybrid, [query], fusion)
        return [
            RetrievedPassage.of(self[int(row)], float(score))
            for score, row in zip(scores[0], rows[0], strict=True)
            if row != MISSING
        ]

    @property
    def search_parameters(self) -> dict[str, float]:
        """The present values, by the names that [`~PassageIndex.set_search_parameters`] takes; none if exact."""
        return dict(self._collection.search_parameters)

    def set_search_parameters(self, **parameters: float) -> None:
        """
        Trade speed for accuracy in an approximate index. Saved with the index, except what FAISS does not write:
        `max_codes`, and `ht` of an IVF index.

        Args:
            parameters: Of FAISS: `nprobe` (clusters of an IVF index to look into), `efSearch` (candidates in an HNSW
                graph), `quantizer_efSearch` (of the graph over clusters), `k_factor_rf` (how many times `k` candidates
                are refined), `ht` (a filter that needs a PQ made without `np`) and `max_codes`.

        Raises:
            `TypeError` or `ValueError`: If this kind of index has no such parameter, or the value is out of range.

        Example:

        ```python
        >>> index.set_search_parameters(nprobe=64)
        >>> index.search_parameters
        {'nprobe': 64, 'max_codes': 0}
        ```
        """
        self._collection.set_search_parameters(**parameters)

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
        self._model.check(model, tokenizer)

    @checked(batch_size=optional(integer(least=1)), show_progress=flag())
    def update(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        passages: Corpus,
        batch_size: int | None = None,
        show_progress: bool = True,
        max_tokens_per_passage: int | None = None,
        **encode_kwargs: Any,
    ) -> PassageIndex:
        """
        Add passages, and replace those whose id is there already. Only texts that the index does not have are encoded:
        a passage with another id, or with other `meta`, keeps its embeddings.

        The index changes in memory, also one that is mapped from a file; `save` puts it in place of the one on disk,
        in one step. Clusters (IVF) and codebooks (PQ) stay those of the first build: when most of a corpus has
        changed, build the index again. Not to be called while another thread searches the index.

        Args:
            model (`OneGenForCausalLM`): The one that made the index.
            tokenizer (`PreTrainedTokenizerBase`)
            passages (`Iterable` or `datasets.Dataset`): As for [`~PassageIndex.build`], each with an id. A replaced
                passage keeps its place, a new one goes to the end.
            batch_size (`int`, *optional*): As for [`~PassageIndex.build`].
            show_progress (`bool`, *optional*, defaults to `True`)
            max_tokens_per_passage (`int`, *optional*): As for [`~PassageIndex.build`]. Pieces of a passage that it no
                longer has are removed.
            encode_kwargs: Further arguments of [`encode_passages`].

        Returns:
            [`PassageIndex`]: This index.

        Raises:
            `ValueError`: If a passage has no id or no text, two share an id, the model is another one than that of
                the index, or its FAISS factory does not allow changes. The index is then as before.

        Example:

        ```python
        >>> index.update(model, tokenizer, [{"id": "rome", "title": "Rome", "text": "Capital of Italy since 1871."}])
        >>> index.remove(["paris"])
        >>> index.save("my-index")
        ```
        """
        check_settings(**encode_kwargs)
        self.check_model(model, tokenizer)
        store = store_with_ids(passages)
        check_texts(store)
        if max_tokens_per_passage is not None:
            whole_ids, store = store.ids, split_store(store, model, tokenizer, max_tokens_per_passage, show_progress)
            outdated = set(pieces_of(self._collection.ids().to_pylist(), whole_ids)).difference(store.ids)
            self.update(model, tokenizer, store, batch_size, show_progress, **encode_kwargs)
            return self.remove(outdated) if outdated else self
        plan = self._collection.changes(store)
        if not plan.new:
            logger.info("nothing to update: all %d passages stand in the index as they are", len(store))
            return self
        to_encode, counts = plan.to_encode, np.empty(0, np.int64)
        embeddings = np.empty((0, self.dimension), np.float32)
        if to_encode:
            encoded = encode_passages(
                model, tokenizer, to_encode, batch_size=batch_size, show_progress=show_progress, **encode_kwargs
            )
            counts, embeddings = np.bincount(encoded.owners, minlength=len(to_encode)), encoded.embeddings
        self._apply(plan, counts, embeddings)
        return self

    def remove(self, ids: Iterable[str]) -> PassageIndex:
        """
        Remove passages. No model is needed. Not to be called while another thread searches the index.

        Args:
            ids (`Iterable[str]`)

        Returns:
            [`PassageIndex`]: This index.

        Raises:
            `TypeError`: If `ids` is a single string.
            `ValueError`: If the index lacks one of them, no passage would be left, or its FAISS factory does not allow
                changes. The index is then as before.
        """
        plan = self._collection.removal(ids)
        if plan.removes:
            self._apply(plan, np.empty(0, np.int64), np.empty((0, self.dimension), np.float32))
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """
        Write the vectors, `passages.parquet` and `index.json` into a directory, and delete the build's checkpoint.

        An interrupted call leaves the old index, or none that loads; never a mixture.

        Args:
            directory (`str` or path): Created if it is missing; an index in it is replaced.

        Raises:
            `OSError`: If the directory cannot be written to, or another process is writing to it.
        """
        _PATH("directory", directory)
        root = self._write(directory)
        self._saved = (root.resolve(), description_digest(root), True)
        self._drop_checkpoint()

    @classmethod
    @checked(dir_or_repo=_PATH, revision=optional(text()), mmap=flag())
    def load(
        cls, dir_or_repo: str | os.PathLike[str], revision: str | None = None, mmap: bool = True, **hub_kwargs: Any
    ) -> PassageIndex:
        """
        Load an index without reading it: embeddings are mapped, passages read when they are asked for.

        Args:
            dir_or_repo (`str` or path): A directory, a dataset repository of the Hub, or the URL of a database, such
                as `"qdrant://localhost:6333/films"` (see [`StoreLocation`]).
            revision (`str`, *optional*): Branch, tag or commit of the repository.
            mmap (`bool`, *optional*, defaults to `True`): `False` reads the vectors into memory, for a file system
                that can't map files or a disk that is slow.
            hub_kwargs: As for `huggingface_hub.snapshot_download` (`token`, `cache_dir`, `local_files_only`, ...).

        Returns:
            [`PassageIndex`]

        Raises:
            `FileNotFoundError`: If there is no such index, or one of its files is missing.
            `ValueError`: If a file is damaged, of another index, or of a newer version of this package.
        """
        if is_store_url(dir_or_repo):
            return cls._over_store(str(dir_or_repo))
        check_hub_options(hub_kwargs)
        root = locate(dir_or_repo, revision, **hub_kwargs)
        while True:
            try:
                return cls._read(root, mmap)
            except (FileNotFoundError, ValueError):
                # Replaced twice meanwhile, an index has lost its files, and a newer one is there.
                newest = locate(dir_or_repo, revision, **hub_kwargs)
                if newest == root:
                    raise
                root = newest

    @classmethod
    def _read(cls, root: Path, mmap: bool) -> PassageIndex:
        description = read_description(root)
        fingerprint = ModelFingerprint.from_dict(description["fingerprint"])
        collection = LocalCollection.read(root, description, mmap)
        index = cls._over(
            collection, IndexModel(fingerprint, description.get("model_id"), description.get("revision"))
        )
        require_same(root, description, {"granularity": index.granularity})
        require_unedited(root, description)
        index._saved = (root.resolve(), description_digest(root), mmap)
        logger.info("loaded %r from %s", index, root)
        return index

    @classmethod
    def _over_store(cls, url: str) -> PassageIndex:
        collection = open_collection(url)
        properties = collection.properties
        index = cls._over(collection, IndexModel(properties.fingerprint, properties.model_id, properties.revision))
        logger.info("opened %r", index)
        return index

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """
        Send the index to a dataset repository of the Hub, with its card, as one commit: what `onegen-hf push index`
        does with a saved one. Of the databases only a Lance dataset can be sent; it is searched there without a
        download (`PassageIndex.load("hf://datasets/organisation/name/films.lance")`).

        Args:
            repo_id (`str`): Such as `"organisation/name"`; created if it is missing.
            kwargs: As for [`~onegen_hf.hub.Upload.push`]: `private`, `token`, `revision`, `commit_message`, ...

        Returns:
            `huggingface_hub.CommitInfo`
        """
        check_repo_id(repo_id)
        if isinstance(self._collection, StoredCollection):
            return collection_upload(self._collection, repo_id).push(**kwargs)
        with tempfile.TemporaryDirectory() as directory:
            self._write(directory)
            commit = index_upload(directory, repo_id).push(**kwargs)
        self._drop_checkpoint()  # not before: a failed upload must not cost the embeddings
        return commit

    def _write(self, directory: str | os.PathLike[str]) -> Path:
        collection = self._local("save")
        description = model_description(self.fingerprint, self.dimension, self.model_id, self.revision)
        return collection.write(directory, description)

    def _local(self, name: str) -> LocalCollection:
        if not isinstance(self._collection, LocalCollection):
            raise ValueError(f"{name}: {self!r} is kept in a database and not in files: there is nothing to save")
        return self._collection

    def _with_words_of(self, model: Any, words: bool | None = None) -> PassageIndex:
        """Read the words if that is asked for, or if the model searches by them."""
        if words is None:
            words = bool(model.onegen_config.hybrid) and isinstance(self._collection, LocalCollection)
        return self.add_words() if words else self

    def _drop_checkpoint(self) -> None:
        if self._checkpoint_dir is not None:
            remove_checkpoint(self._checkpoint_dir)
            self._checkpoint_dir = None

    def _apply(self, plan: UpdatePlan, counts: np.ndarray, embeddings: np.ndarray) -> None:
        self._collection.apply(plan, counts, embeddings)
        self._saved = None


def _target(backend: Backend, dimensions: int | None, factory: str, precision: str) -> VectorBackend | StoreTarget:
    """What is going to hold the vectors."""
    if not is_store_url(backend):
        return make_backend(backend, dimensions, **backend_options(factory, precision))
    if factory != "Flat":
        raise ValueError(f"factory={factory!r} is for FAISS, and the index goes to {backend!r}: leave it out")
    return StoreTarget(str(backend), dimensions, precision)


def _hybrid(
    weight: float,
    texts: Sequence[str] | None,
    count: int,
    fusion: Fusion,
    without: Sequence[Collection[str]] | None,
) -> Hybrid | None:
    if not weight:
        return None
    if texts is None or isinstance(texts, str) or len(texts) != count:
        raise ValueError(
            f"hybrid={weight}: a search by words needs the text of each of the {count} queries: pass `texts=[...]`, "
            "or search with `search_text`"
        )
    return Hybrid(weight, list(texts), fusion, without)


def _load_again(
    cls: type[PassageIndex], directory: str, digest: str, mmap: bool, search_parameters: Mapping[str, float]
) -> PassageIndex:
    """What a pickle of an index calls in the process that reads it."""
    index = cls.load(directory, mmap=mmap)
    if index._saved is None or index._saved[1] != digest:
        raise ValueError(
            f"the index in {directory} is another one than was there when this pickle or copy was made: save indexes "
            "that are in use to a directory of their own"
        )
    index.set_search_parameters(**search_parameters)
    return index
