"""Negatives across processes: every process sees the passages of all, with gradients, each passage once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather as all_gather_with_gradient
from torch.nn.functional import pad

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
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return Candidates(embeddings, targets)
    rows = torch.tensor([embeddings.shape[0]], device=embeddings.device)
    sizes = [torch.empty_like(rows) for _ in range(dist.get_world_size())]  # (1,) per process
    dist.all_gather(sizes, rows)
    longest = int(max(sizes))
    # all_gather takes tensors of one shape: pad to the longest process, and cut afterwards.
    padded_embeddings = pad(embeddings, (0, 0, 0, longest - embeddings.shape[0]))  # (longest, hidden)
    padded_keys = pad(keys, (0, longest - keys.shape[0]))  # (longest,)
    all_keys = [torch.empty_like(padded_keys) for _ in sizes]
    dist.all_gather(all_keys, padded_keys.contiguous())
    gathered = all_gather_with_gradient(padded_embeddings.contiguous())  # (longest, hidden) per process
    # (n_all, hidden) and (n_all,), where n_all counts the candidates of every process
    embeddings = torch.cat([part[: int(size)] for part, size in zip(gathered, sizes, strict=True)])
    keys_of_all = torch.cat([part[: int(size)] for part, size in zip(all_keys, sizes, strict=True)])

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
