"""`WordIndex`: which passages share words with a text (BM25), beside the search by embedding."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..data.passages import Passage

WRITE_ERRORS = (SafetensorError,)
_WORD = r"(?u)\w+"
_ARRAYS = {"data": np.float32, "indices": np.int32, "indptr": np.int64}


class WordIndex:
    """
    Scores passages by the words of their title and text: in lower case, with every word counted and no stemming, so
    that no language is favoured. Words are runs of letters and digits; scripts without spaces gain little.

    Args:
        model (`bm25s.BM25`)
        count (`int`): Number of passages.
    """

    def __init__(self, model: Any, count: int) -> None:
        self._model, self._count = model, count

    @classmethod
    def build(cls, passages: Iterable[Passage]) -> WordIndex:
        """
        Read a corpus.

        Args:
            passages (`Iterable[Passage]`)
        """
        texts = [f"{passage.title}\n{passage.text}" for passage in passages]
        model = _bm25s().BM25()
        model.index(_tokenized(texts), show_progress=False)
        return cls(model, len(texts))

    def __len__(self) -> int:
        return self._count

    def scores(self, text: str, allowed: np.ndarray | None = None) -> np.ndarray:
        """
        The BM25 score of each passage for a text.

        Args:
            text (`str`)
            allowed (`np.ndarray` of shape `(n_passages,)`, bool, *optional*): The passages that may have one.

        Returns:
            `np.ndarray` of shape `(n_passages,)`, float32: 0 for a passage that has none of the words.
        """
        words = _tokenized([text], return_ids=False)[0]
        known = [word for word in words if word and word in self._model.vocab_dict]
        if not known:
            return np.zeros(self._count, np.float32)
        scores: np.ndarray = self._model.get_scores(known)
        return scores if allowed is None else np.where(allowed, scores, np.float32(0))

    @staticmethod
    def best(scores: np.ndarray, k: int) -> np.ndarray:
        """
        The passages with the best scores.

        Args:
            scores (`np.ndarray` of shape `(n_passages,)`): See [`~WordIndex.scores`].
            k (`int`)

        Returns:
            `np.ndarray`: Numbers of at most `k` passages, best first; none that has none of the words.
        """
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        best = best[np.lexsort((best, -scores[best]))]  # equal scores in the order of the passages
        return best[scores[best] > 0]

    def write(self, path: Path) -> None:
        """Write it to a safetensors file: the scores of each word, and the words as JSON."""
        # Without the empty word, which bm25s adds and no passage has.
        places = {word: place for word, place in self._model.vocab_dict.items() if word}
        vocabulary = json.dumps(places, ensure_ascii=False).encode()
        tensors = {name: np.asarray(self._model.scores[name], kind) for name, kind in _ARRAYS.items()}
        save_file({**tensors, "vocabulary": np.frombuffer(vocabulary, np.uint8)}, path)

    @classmethod
    def read(cls, path: Path, count: int) -> WordIndex:
        """
        Read what [`~WordIndex.write`] has written. The file may come from a stranger.

        Args:
            path (`Path`)
            count (`int`): Number of passages of the index.

        Raises:
            `ValueError`: If it is damaged, or belongs to another index.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in (*_ARRAYS, "vocabulary")}
            vocabulary = json.loads(arrays.pop("vocabulary").tobytes())
            _check(arrays, vocabulary, count)
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is no readable index of words ({error}): build or download it again") from error
        model = _bm25s().BM25()
        model.scores = {**arrays, "num_docs": count}
        model.vocab_dict = vocabulary
        model.unique_token_ids_set = set(vocabulary.values())
        model.nonoccurrence_array = None  # of a variant of BM25 that is not used
        return cls(model, count)


def _bm25s() -> Any:
    """Imported when it is used: where numba is installed it imports that, beside which vLLM's workers do not start."""
    import bm25s

    return bm25s


def _tokenized(texts: list[str], **options: Any) -> Any:
    return _bm25s().tokenize(texts, stopwords=None, token_pattern=_WORD, show_progress=False, **options)


def _check(arrays: dict[str, np.ndarray], vocabulary: Any, count: int) -> None:
    for name, kind in _ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} is {arrays[name].dtype} of {arrays[name].ndim} dimensions")
    starts, indices = arrays["indptr"], arrays["indices"]
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != len(indices) or (np.diff(starts) < 0).any():
        raise ValueError("its words have no consistent places")
    if len(indices) != len(arrays["data"]) or (len(indices) and not 0 <= indices.min() <= indices.max() < count):
        raise ValueError(f"it names passages that an index of {count} does not have")
    if not np.isfinite(arrays["data"]).all():
        raise ValueError("it holds scores that are no numbers")
    if not all(isinstance(place, int) and 0 <= place < len(starts) - 1 for place in vocabulary.values()):
        raise ValueError("its vocabulary leads nowhere")
