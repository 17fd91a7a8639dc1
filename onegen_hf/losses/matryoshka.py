"""Matryoshka representation learning: a contrastive loss whose embeddings can be cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import checked, instance, integer, list_of
from .contrastive import ContrastiveLoss
from .gather import Anchors


class MatryoshkaLoss(ContrastiveLoss):
    r"""
    The mean of a contrastive loss over prefixes of the embeddings.

    $$L = \frac{1}{|D|} \sum_{d \in D} L_{\text{inner}}(a_{1:d}, c_{1:d})$$

    Each prefix is normalised on its own. The whole embedding is always one of the prefixes, so an index may keep the
    first `d` numbers of an embedding, or all of them.

    Args:
        loss ([`ContrastiveLoss`]): The loss of each prefix, such as [`BPRLoss`] or [`InfoNCELoss`].
        dims (`list[int]`): Lengths of the prefixes, in any order; the full length need not be among them.

    References:
        - Matryoshka Representation Learning, https://arxiv.org/abs/2205.13147

    Relations:
        - [`DistillationLoss`] compares whole embeddings only.

    Example:

    ```python
    >>> loss = MatryoshkaLoss(InfoNCELoss(scale=20.0), dims=[64, 256])
    >>> loss(anchors, candidates, targets)   # (2, 576), (5, 576), (2, 5) -> 0-d; prefixes of 64, 256 and 576
    ```
    """

    @checked(loss=instance(ContrastiveLoss), dims=list_of(integer(least=1), distinct=True))
    def __init__(self, loss: ContrastiveLoss, dims: Sequence[int]) -> None:
        super().__init__(loss.scale)
        self.loss = loss
        self.dims = sorted(dims)
        self.compares_anchors = loss.compares_anchors

    def per_anchor(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.loss.per_anchor(scores, targets)

    def forward(
        self,
        anchors: Tensor,
        candidates: Tensor,
        targets: Tensor,
        num_anchors: int | Tensor | None = None,
        others: Anchors | None = None,
    ) -> Tensor:
        hidden = anchors.shape[-1]
        losses = []
        for dim in sorted({*check_dims(self.dims, hidden), hidden}):
            cut = None if others is None else Anchors(others.embeddings[:, :dim], others.targets)
            losses.append(self.loss(anchors[:, :dim], candidates[:, :dim], targets, num_anchors, cut))
        return torch.stack(losses).mean()

    def get_config_dict(self) -> dict[str, Any]:
        return {**self.loss.get_config_dict(), "matryoshka_dims": self.dims}

    @property
    def citation(self) -> str:
        return (
            f"{self.loss.citation}\n\n"
            "@inproceedings{kusupati2022matryoshka,\n"
            "  title = {Matryoshka Representation Learning},\n"
            "  author = {Kusupati, Aditya and Bhatt, Gantavya and Rege, Aniket and Wallingford, Matthew and\n"
            "            Sinha, Aditya and Ramanujan, Vivek and Howard-Snyder, William and Chen, Kaifeng and\n"
            "            Kakade, Sham and Jain, Prateek and Farhadi, Ali},\n"
            "  booktitle = {NeurIPS}, year = {2022}\n}"
        )


def check_dims(dims: Sequence[int], hidden: int) -> list[int]:
    """
    Args:
        dims (`list[int]`): Lengths of prefixes.
        hidden (`int`): Length of an embedding.

    Returns:
        `list[int]`: `dims`, ascending.

    Raises:
        `ValueError`: If a prefix is longer than the embedding.
    """
    if too_long := [dim for dim in dims if dim > hidden]:
        raise ValueError(
            f"matryoshka_dims={list(dims)} holds {too_long[0]}, but embeddings have {hidden} dimensions: give lengths "
            f"from 1 to {hidden}"
        )
    return sorted(dims)
