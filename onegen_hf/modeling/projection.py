"""`RetrievalProjection`: from the hidden state at a retrieval token to its embedding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import cached_file

from ..files import atomic_file
from ..hub.layout import PROJECTION_FILE
from .tokenizers import HUB_OPTIONS

MODULE = "retrieval_projection"
"""Name of the projection in the model."""


class RetrievalProjection(nn.Module):
    """
    A linear map of retrieval states, after which embeddings are compared.

    It is no `nn.Linear`, so that neither adapters on "all linear layers" nor quantisation take it for a layer of the
    backbone. At the start it keeps the first `dim` numbers of a state.

    Args:
        hidden (`int`): Size of a hidden state.
        dim (`int`): Size of an embedding.
        device (`torch.device`, *optional*)
        dtype (`torch.dtype`, *optional*)

    Shapes: states `(..., hidden)` of any dtype → `(..., dim)` of the same dtype; computed in float32.
    """

    weight: nn.Parameter

    def __init__(
        self, hidden: int, dim: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim, hidden, device=device, dtype=dtype))

    def forward(self, states: Tensor) -> Tensor:
        # Neighbours differ by less than the products of bfloat16 can tell.
        with torch.autocast(states.device.type, enabled=False):
            weight = self.weight.to(states.device, torch.float32)
            return nn.functional.linear(states.float(), weight).to(states.dtype)


def embedding_size(model: Any) -> int:
    """The numbers in an embedding: those of a hidden state, or fewer where the model has a projection."""
    projection = getattr(model, MODULE, None)
    return int(model.config.get_text_config().hidden_size if projection is None else projection.weight.shape[0])


def set_projection(model: Any, dim: int | None) -> None:
    """
    Give a model a projection of `dim` dimensions, shorten the one that it has, or take it away.

    Args:
        model (`OneGenForCausalLM`): Changed in place.
        dim (`int`, *optional*): `None` for no projection.

    Raises:
        `ValueError`: If an embedding would be longer than a hidden state, or than what the model projects to now.
    """
    present: RetrievalProjection | None = model.retrieval_projection
    if dim is None:
        model.retrieval_projection = None
        return
    hidden = int(model.config.get_text_config().hidden_size)
    if dim > hidden:
        raise ValueError(f"projection_dim={dim} is more than the {hidden} numbers of a hidden state: lower it")
    if present is None:
        embeddings = model.get_input_embeddings().weight
        dtype = embeddings.dtype if embeddings.is_floating_point() else torch.float32
        device = None if embeddings.is_meta else embeddings.device
        model.retrieval_projection = RetrievalProjection(hidden, dim, device, dtype)
    elif dim > len(present.weight):
        raise ValueError(
            f"projection_dim={dim} is more than the {len(present.weight)} dimensions of the checkpoint's projection: "
            "lower it, or set it to None first for a new projection"
        )
    elif dim < len(present.weight):
        present.weight = nn.Parameter(present.weight.detach()[:dim].clone(), present.weight.requires_grad)


@contextmanager
def saved_apart(model: Any, options: dict[str, Any]) -> Iterator[Tensor | None]:
    """
    Inside the block the model has no projection and its weights are those of the backbone alone, as other libraries
    expect of a checkpoint.

    Args:
        model (`OneGenForCausalLM`)
        options (`dict[str, Any]`): Arguments of `save_pretrained`; the projection is taken out of a `state_dict`.

    Yields:
        `Tensor` of shape `(dim, hidden)`, *optional*: The weight of the projection.
    """
    projection = model.retrieval_projection
    weight = projection_weight(model, options.get("state_dict"))
    if options.get("state_dict") is not None:
        options["state_dict"] = {name: value for name, value in options["state_dict"].items() if not _is_ours(name)}
    model.retrieval_projection = None
    try:
        yield weight
    finally:
        model.retrieval_projection = projection


def projection_weight(model: Any, state_dict: Mapping[str, Tensor] | None = None) -> Tensor | None:
    """
    The weight of a model's projection, of shape `(dim, hidden)`; `None` if it has none.

    Args:
        model (`OneGenForCausalLM`)
        state_dict (`Mapping[str, Tensor]`, *optional*): The weights, where the model's own are sharded.
    """
    if model.retrieval_projection is None:
        return None
    gathered = [value for name, value in (state_dict or {}).items() if _is_ours(name)]
    weight: Tensor = gathered[0] if gathered else model.retrieval_projection.weight
    return weight.detach()


def _is_ours(name: str) -> bool:
    return name.endswith(f"{MODULE}.weight")


def write_projection(weight: Tensor | None, directory: str | os.PathLike[str]) -> None:
    """
    Write the weight of a projection beside those of a checkpoint, in one step.

    It has a folder of its own: other libraries take every file of weights in the checkpoint's folder for the
    backbone's.

    Args:
        weight (`Tensor` of shape `(dim, hidden)`, *optional*): `None` removes what an earlier one has left.
        directory (`str` or path): Of the checkpoint.
    """
    path = Path(directory) / PROJECTION_FILE
    if weight is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, SafetensorError) as temporary:
        save_file({"weight": weight.cpu().contiguous()}, temporary)


def read_projection(
    name_or_path: str | os.PathLike[str], dim: int, hidden: int, options: Mapping[str, Any] | None = None
) -> Tensor:
    """
    The weight of a saved projection, of shape `(dim, hidden)`.

    Args:
        name_or_path (`str` or path): The checkpoint.
        dim (`int`): As its settings say.
        hidden (`int`): Size of a hidden state.
        options (`Mapping[str, Any]`, *optional*): Where to look on the Hub: `revision`, `cache_dir`, `token`, ...

    Raises:
        `OSError`: If the file is missing or damaged.
        `ValueError`: If it is not that of this model.
    """
    places = {name: options[name] for name in HUB_OPTIONS if options and options.get(name) is not None}
    try:
        weight = load_file(cached_file(os.fspath(name_or_path), PROJECTION_FILE, **places))["weight"]
    except (EntryNotFoundError, OSError, KeyError, SafetensorError) as error:
        raise OSError(
            f"{name_or_path} has projection_dim={dim} in its settings, but no {PROJECTION_FILE} that can be read "
            f"({error}): copy or download the checkpoint again"
        ) from error
    if weight.shape != (dim, hidden):
        raise ValueError(
            f"{PROJECTION_FILE} of {name_or_path} has the shape {tuple(weight.shape)}, but projection_dim={dim} and "
            f"a hidden size of {hidden} need {(dim, hidden)}: copy or download the checkpoint again"
        )
    if not torch.isfinite(weight).all():
        raise ValueError(f"{PROJECTION_FILE} of {name_or_path} holds NaN or infinite numbers: restore the checkpoint")
    return weight


def use_projection(model: Any, weight: Tensor) -> None:
    """
    Let a model project with a given weight, in its own dtype and place.

    Args:
        model (`OneGenForCausalLM`): Changed in place.
        weight (`Tensor` of shape `(dim, hidden)`)
    """
    set_projection(model, len(weight))
    target = model.retrieval_projection.weight
    with torch.no_grad():
        target.copy_(weight.to(target.device, target.dtype))


def load_projection(
    model: Any, name_or_path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> None:
    """
    Read the projection of a checkpoint into a model, if its settings say that there is one.

    Args:
        model (`OneGenForCausalLM`): With the settings of the checkpoint.
        name_or_path (`str` or path): The checkpoint.
        options (`Mapping[str, Any]`, *optional*): As for [`read_projection`].

    Raises:
        `OSError` or `ValueError`: As [`read_projection`].
    """
    dim = model.onegen_config.projection_dim
    if dim is None:
        return
    use_projection(model, read_projection(name_or_path, dim, int(model.config.get_text_config().hidden_size), options))
