"""`EmbeddingTeacher`: distillation from the cosine similarities of a SentenceTransformer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ...checks import checked, integer
from ...data.passages import Passage
from ...data.teacher import teacher_text
from ...similarity import check_finite, normalize
from .keyed_rows import KeyedRows, distinct_texts, load_tables, save_tables, text_keys

EMBEDDINGS_FILE = "embeddings.safetensors"
_TEXTS_AT_ONCE = 8192


class EmbeddingTeacher:
    """
    Scores passages by the cosine of their embeddings with the query's, by a SentenceTransformer that ran beforehand.

    All texts are embedded once by [`~EmbeddingTeacher.build`]. Afterwards [`~EmbeddingTeacher.scores`] is a lookup
    and a product of two small matrices, quick enough for the processes of a data loader, and the model is not kept.

    Args:
        queries, passages ([`KeyedRows`]): Normalised embeddings in float16, by text.

    Example:

    ```python
    >>> teacher = EmbeddingTeacher.build("sentence-transformers/all-MiniLM-L6-v2", questions, documents)
    >>> collator = OneGenDataCollator(tokenizer, documents, teacher=teacher)
    ```
    """

    def __init__(self, queries: KeyedRows, passages: KeyedRows) -> None:
        self.queries, self.passages = queries, passages

    @classmethod
    @checked(batch_size=integer(least=1))
    def build(
        cls,
        model: Any,
        queries: Iterable[str | None],
        passages: Iterable[Passage | Mapping[str, Any] | str],
        batch_size: int = 128,
        device: str | torch.device | None = None,
        folder: str | os.PathLike[str] | None = None,
        show_progress: bool = True,
    ) -> EmbeddingTeacher:
        """
        Embed every distinct query and passage.

        Args:
            model (`SentenceTransformer`, `str` or path): Its prompts for queries and documents are used. On a GPU it
                runs in float16 where that does not overflow.
            queries (`Iterable[str | None]`): `None`s are left out.
            passages (`Iterable`): [`Passage`]s, or records as [`Passage.from_record`] reads them. Title and text are
                embedded, separated by a space.
            batch_size (`int`, *optional*, defaults to 128)
            device (`str`, *optional*): Where a model that is named is loaded; by default the one that
                sentence-transformers picks.
            folder (`str` or path, *optional*): Keep the embeddings there, and embed only those that it does not hold
                yet of this model.
            show_progress (`bool`, *optional*, defaults to `True`)

        Raises:
            `ValueError`: If there are no queries or no passages, the model cannot be loaded, or it computes NaN.
        """
        questions = distinct_texts(list(queries))
        texts = distinct_texts([teacher_text(Passage.from_record(p, number)) for number, p in enumerate(passages)])
        for name, values in (("queries", questions), ("passages", texts)):
            if not values:
                raise ValueError(f"{name} is empty: give the texts that the teacher is to score")
        encoder = load_encoder(model, device)
        file = None if folder is None else Path(folder) / EMBEDDINGS_FILE
        about = {} if file is None else description_of(encoder)
        known = {} if file is None else load_tables(file, about)

        def table_of(name: str, values: list[str], encode: Callable[..., Any]) -> KeyedRows:
            def compute(places: list[int]) -> Tensor:
                missing = [values[place] for place in places]
                return embed_texts(encode, missing, batch_size, encoder.device, name, show_progress)

            return known.get(name, KeyedRows.empty()).extended(text_keys(values), compute)

        tables = {
            "queries": table_of("queries", questions, encoder.encode_query),
            "passages": table_of("passages", texts, encoder.encode_document),
        }
        if file is not None and any(tables[name] is not known.get(name) for name in tables):
            save_tables(file, tables, about)
        return cls(**tables)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> EmbeddingTeacher:
        """
        Read the embeddings that [`~EmbeddingTeacher.build`] or [`~EmbeddingTeacher.save`] kept.

        Raises:
            `FileNotFoundError`: If `folder` holds none.
        """
        tables = load_tables(Path(folder) / EMBEDDINGS_FILE)
        if not {"queries", "passages"} <= set(tables):
            raise FileNotFoundError(
                f"{folder} holds no embeddings of a teacher: make them with EmbeddingTeacher.build(..., folder=...)"
            )
        return cls(tables["queries"], tables["passages"])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Keep the embeddings for [`~EmbeddingTeacher.load`], in one safetensors file."""
        save_tables(Path(folder) / EMBEDDINGS_FILE, {"queries": self.queries, "passages": self.passages}, {})

    def scores(self, queries: Sequence[str | None], passages: Sequence[Passage]) -> Tensor:
        """
        Cosine similarities; see [`~onegen_hf.data.teacher.Teacher`].

        Returns:
            `Tensor` of shape `(n_queries, n_passages)`, float32: NaN for a text that was not embedded.
        """
        texts = [teacher_text(passage) for passage in passages]
        return self.queries[text_keys(queries)] @ self.passages[text_keys(texts)].T


def load_encoder(model: Any, device: str | torch.device | None = None) -> Any:
    """
    Args:
        model (`SentenceTransformer`, `str` or path)
        device (`str`, *optional*)

    Returns:
        `SentenceTransformer`: In evaluation mode.

    Raises:
        `TypeError` or `ValueError`: If it is neither, or cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    if isinstance(model, (str, os.PathLike)):
        try:
            model = SentenceTransformer(os.fspath(model), device=None if device is None else str(device))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"the teacher {os.fspath(model)!r} cannot be loaded as a SentenceTransformer ({error}): give the "
                "name or path of one"
            ) from error
    if not isinstance(model, SentenceTransformer):
        raise TypeError(f"the teacher is a {type(model).__name__}: give a SentenceTransformer, its name or its path")
    return model.eval()


@torch.inference_mode()
def embed_texts(
    encode: Callable[..., Any],
    texts: list[str],
    batch_size: int,
    device: torch.device,
    name: str,
    show_progress: bool = True,
) -> Tensor:
    """
    Args:
        encode (`Callable`): `encode_query` or `encode_document` of a SentenceTransformer.
        texts (`list[str]`)
        batch_size (`int`)
        device (`torch.device`): Of the model.
        name (`str`): What the texts are, for the progress bar.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        `Tensor` of shape `(n, dimensions)`, float16 and normalised, on the CPU.

    Raises:
        `ValueError`: If the model computes NaN or infinite values.
    """
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]), reverse=True)
    parts = []
    with tqdm(total=len(texts), desc=f"Teacher: {name}", disable=not show_progress) as bar:
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            some = [texts[place] for place in order[start : start + _TEXTS_AT_ONCE]]
            options = {"batch_size": batch_size, "convert_to_tensor": True, "show_progress_bar": False}
            half = torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()
            with half:
                embeddings = encode(some, **options)
            if not torch.isfinite(embeddings).all():  # float16 overflows in some models
                embeddings = encode(some, **options)
            check_finite(embeddings, "the teacher")
            parts.append(normalize(embeddings).half().cpu())
            bar.update(len(some))
    joined = torch.cat(parts)
    result = torch.empty_like(joined)
    result[torch.tensor(order)] = joined
    return result


def description_of(model: nn.Module) -> dict[str, Any]:
    """
    What the scores of a teacher depend on: a hash of its weights, and its settings.

    Args:
        model (`SentenceTransformer` or `CrossEncoder`)

    Returns:
        `dict[str, Any]`: JSON-serialisable.
    """
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {
        "weights": weights.hexdigest(),
        "max_seq_length": getattr(model, "max_seq_length", None),
        "prompts": dict(getattr(model, "prompts", None) or {}),
    }
