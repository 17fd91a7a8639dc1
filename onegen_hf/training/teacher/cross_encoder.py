"""`CrossEncoderTeacher`: distillation from a cross-encoder's scores of positives and hard negatives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...checks import checked, integer
from ...data.passages import Passage
from ...data.teacher import teacher_text
from ...similarity import check_finite
from .embedding import description_of
from .keyed_rows import KeyedRows, load_tables, save_tables, text_keys

SCORES_FILE = "scores.safetensors"
_MIX = -7046029254386353131  # odd, so that no two queries are multiplied to the same number: 2^64 / golden ratio


class CrossEncoderTeacher:
    """
    Scores pairs of a query and a passage by a cross-encoder that ran beforehand.

    A cross-encoder reads every pair anew, so only pairs from the data are scored, each anchor's positives and hard
    negatives. The other passages of a batch have no score and take no part in the distillation.

    Args:
        pairs ([`KeyedRows`]): Logits in float32, of width 1.

    Example:

    ```python
    >>> teacher = CrossEncoderTeacher.build("cross-encoder/ms-marco-MiniLM-L6-v2", [(question, passage), ...])
    ```
    """

    def __init__(self, pairs: KeyedRows) -> None:
        self.pairs = pairs

    @classmethod
    @checked(batch_size=integer(least=1))
    def build(
        cls,
        model: Any,
        pairs: Iterable[tuple[str | None, Passage]],
        batch_size: int = 128,
        device: str | torch.device | None = None,
        folder: str | os.PathLike[str] | None = None,
        show_progress: bool = True,
    ) -> CrossEncoderTeacher:
        """
        Score every distinct pair.

        Args:
            model (`CrossEncoder`, `str` or path): With a single output; its logits are the scores.
            pairs (`Iterable[tuple[str | None, Passage]]`): Pairs without a query are left out.
            batch_size (`int`, *optional*, defaults to 128)
            device (`str`, *optional*): Where a model that is named is loaded.
            folder (`str` or path, *optional*): Keep the scores there, and compute only those that it does not hold yet
                of this model.
            show_progress (`bool`, *optional*, defaults to `True`)

        Raises:
            `ValueError`: If there are no pairs, the model cannot be loaded, has several outputs or computes NaN.
        """
        texts = [(query, teacher_text(passage)) for query, passage in pairs if query is not None]
        if not texts:
            raise ValueError("pairs is empty: give the queries and passages that the teacher is to score")
        encoder = load_cross_encoder(model, device)
        file = None if folder is None else Path(folder) / SCORES_FILE
        about = {} if file is None else description_of(encoder)
        known = {} if file is None else load_tables(file, about)

        def compute(places: list[int]) -> Tensor:
            scores = encoder.predict(
                [texts[place] for place in places], batch_size=batch_size, activation_fn=nn.Identity(),
                convert_to_tensor=True, show_progress_bar=show_progress,
            )  # fmt: skip
            check_finite(scores.unsqueeze(1), "the teacher")
            return scores.float().cpu().unsqueeze(1)

        keys = pair_keys(text_keys(query for query, _ in texts), text_keys(text for _, text in texts))
        table = known.get("pairs", KeyedRows.empty()).extended(keys, compute)
        if file is not None and table is not known.get("pairs"):
            save_tables(file, {"pairs": table}, about)
        return cls(table)

    def scores(self, queries: Sequence[str | None], passages: Sequence[Passage]) -> Tensor:
        """
        Logits; see [`~onegen_hf.data.teacher.Teacher`].

        Returns:
            `Tensor` of shape `(n_queries, n_passages)`, float32: NaN for a pair that was not scored.
        """
        texts = [teacher_text(passage) for passage in passages]
        keys = pair_keys(text_keys(queries).unsqueeze(1), text_keys(texts).unsqueeze(0))
        return self.pairs[keys.flatten()].view(keys.shape)


def pair_keys(queries: Tensor, passages: Tensor) -> Tensor:
    """Keys of pairs from those of their parts, int64; shapes are broadcast, and sums wrap around."""
    return queries * _MIX + passages


def load_cross_encoder(model: Any, device: str | torch.device | None = None) -> Any:
    """
    Args:
        model (`CrossEncoder`, `str` or path)
        device (`str`, *optional*)

    Returns:
        `CrossEncoder`: In evaluation mode.

    Raises:
        `TypeError` or `ValueError`: If it is neither, cannot be loaded, or has several outputs.
    """
    from sentence_transformers import CrossEncoder

    name = type(model).__name__
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        try:
            model = CrossEncoder(name, device=None if device is None else str(device))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"the teacher {name!r} cannot be loaded as a CrossEncoder ({error}): give the name or path of one"
            ) from error
    if not isinstance(model, CrossEncoder):
        raise TypeError(f"the teacher is a {name}: give a CrossEncoder, its name or its path")
    if model.num_labels != 1:
        raise ValueError(
            f"the teacher {name!r} has {model.num_labels} outputs, so no single score of a pair: give a cross-encoder "
            "that was trained to rank"
        )
    return model.eval()
