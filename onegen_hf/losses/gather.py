"""Negatives across processes: every process sees the passages of all, with gradients, each passage once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather as all_gather_with_gradient

from ..data.targets import IGNORED, NEGATIVE


@dataclass
class Candidates:
    """
    The passages that this process's anchors are compared with.

    Attributes:
        embeddings (`Tensor` of shape `(n_candidates, hidden)`)
        targets (`Tensor` of shape `(n_anchors, n_candidates)`): As [`ContrastiveLoss`] wants them.
    """

    embeddings: Tensor
    targets: Tensor


@dataclass
class Anchors:
    """
    The anchors of other processes.

    Attributes:
        embeddings (`Tensor` of shape `(n_anchors, hidden)`)
        targets (`Tensor` of shape `(n_anchors, n_candidates)`): Over the candidates of all processes.
    """

    embeddings: Tensor
    targets: Tensor


def gather_candidates(embeddings: Tensor, keys: Tensor, targets: Tensor) -> Candidates:
    """
    Join the candidates of all processes.

    The result is what one process with the joined batch would see: a passage that several processes hold counts once
    (its first copy), and a passage that is this process's positive is not a negative because another process holds it
    too. Without `torch.distributed` the input comes back.

    Args:
        embeddings (`Tensor` of shape `(n_candidates, hidden)`): Of this process.
        keys (`Tensor` of shape `(n_candidates,)`, int64): Equal for equal passages, on every process.
        targets (`Tensor` of shape `(n_anchors, n_candidates)`): Over this process's candidates.
    """
    if not _several_processes():
        return Candidates(embeddings, targets)
    # (n_all, hidden) and (n_all,), where n_all counts the candidates of every process
    embeddings = torch.cat(_gather_rows(embeddings, with_gradient=True))
    keys_of_all = torch.cat(_gather_rows(keys))

    if not keys_of_all.shape[0]:
        return Candidates(embeddings, targets)
    # (n_all, n_all): which copies are of the same passage
    same = keys_of_all.unsqueeze(1) == keys_of_all.unsqueeze(0)
    first_copy = same.int().argmax(dim=1) == torch.arange(keys_of_all.shape[0], device=keys_of_all.device)
    # A candidate takes this process's verdict on the passage with the same key, whichever process's copy it is.
    # (n_candidates, n_all)
    known = keys.unsqueeze(1) == keys_of_all.unsqueeze(0)
    # (n_anchors, n_all): a negative, unless this process knows better
    joined = torch.full((targets.shape[0], keys_of_all.shape[0]), NEGATIVE, dtype=targets.dtype, device=targets.device)
    if targets.shape[1]:
        joined = torch.where(known.any(dim=0), targets[:, known.int().argmax(dim=0)], joined)
    joined = joined.masked_fill(~first_copy, IGNORED)
    return Candidates(embeddings, joined)


def gather_other_anchors(embeddings: Tensor, targets: Tensor) -> Anchors | None:
    """
    The anchors of the other processes, for a loss that compares a passage with all anchors.

    Args:
        embeddings (`Tensor` of shape `(n_anchors, hidden)`): Of this process.
        targets (`Tensor` of shape `(n_anchors, n_candidates)`): From [`gather_candidates`], whose candidates are the
            same on every process.

    Returns:
        [`Anchors`], with gradients; `None` without `torch.distributed`.
    """
    if not _several_processes():
        return None
    rank = dist.get_rank()
    all_embeddings = _gather_rows(embeddings, with_gradient=True)
    all_targets = _gather_rows(targets)
    # The own ones take part in the exchange and its backward, and are left out here.
    all_embeddings[rank], all_targets[rank] = all_embeddings[rank][:0], all_targets[rank][:0]
    return Anchors(torch.cat(all_embeddings), torch.cat(all_targets))


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather_rows(values: Tensor, with_gradient: bool = False) -> list[Tensor]:
    """The rows of every process, in the order of their ranks; processes may hold different numbers of them."""
    rows = torch.tensor([values.shape[0]], device=values.device)
    sizes = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, rows)
    longest = int(max(sizes))
    padded = torch.cat([values, values.new_zeros((longest - values.shape[0], *values.shape[1:]))]).contiguous()
    if with_gradient:
        gathered = list(all_gather_with_gradient(padded))
    else:
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
    return [part[: int(size)] for part, size in zip(gathered, sizes, strict=True)]
