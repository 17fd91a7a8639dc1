"""LoRA adapters as checkpoints: small files, loaded on their base and merged."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, PreTrainedTokenizerBase
from transformers.utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS_NAME, CONFIG_NAME
from transformers.utils.peft_utils import find_adapter_config_file

from ..bundled.checkpoints import builtin_path
from ..bundled.weights import SMOLLM2, packaged_smollm2, require_weights
from ..configuration import OneGenConfig
from ..hub.origin import Origin
from .backbones import load_backbone
from .loading_options import RESTORE_HINT, broken_config_explained, broken_weights_explained, model_source
from .mergeable import merging_errors
from .projection import load_projection, projection_weight, write_projection
from .tokenizers import HUB_OPTIONS, load_tokenizer

logger = logging.getLogger(__name__)

_SNAPSHOT_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
_DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*/index.faiss", "*/passages.parquet")


def save_adapter(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    is_main_process: bool = True,
) -> None:
    """
    Save an adapter with its tokenizer and the model's config.json, without the embedding matrix.

    PEFT writes no config.json; here it holds the `onegen` section, and lets `pipeline("onegen-rag", model=directory)`
    find the directory complete instead of looking for the base model's config.

    Args:
        model (`PeftModel`): Over a [`OneGenForCausalLM`].
        tokenizer (`PreTrainedTokenizerBase`)
        directory (`str` or path)
        dtype (`torch.dtype`, *optional*): Store the adapter's weights in this dtype instead of their own.
        state_dict (`Mapping[str, Tensor]`, *optional*): The weights, where the model's own are sharded.
        is_main_process (`bool`, *optional*, defaults to `True`): Whether this process writes.

    Warns:
        `UserWarning`: If the adapter does not merge into what was trained, so that loading it gives another model.
    """
    path = Path(directory)
    state = state_dict
    if dtype is not None:
        weights = model.state_dict() if state is None else state
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    card = path / "README.md"
    had_card = card.exists()
    # PEFT would add the whole resized embedding matrix; the new tokens' rows are saved in any case.
    model.save_pretrained(str(path), save_embedding_layers=False, state_dict=state, is_main_process=is_main_process)
    if not is_main_process:
        return
    if not had_card:
        card.unlink(missing_ok=True)  # PEFT's is a form that nobody has filled in
    tokenizer.save_pretrained(str(path))
    base = model.get_base_model()
    weight = projection_weight(base, state_dict)
    write_projection(weight if weight is None or dtype is None else weight.to(dtype), path)
    config = copy.copy(base.config)
    # Loading merges the adapter into the base as it is published, not as it was quantised for the training.
    config.__dict__.pop("quantization_config", None)
    config.save_pretrained(str(path))
    base.describe_as_backbone(path, remote_code=False)
    if state_dict is None:  # else one process does not hold the model
        _warn_of_merging(model, tokenizer, path)


def _warn_of_merging(model: PeftModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Loading merges: try what that gives on a few tokens, the retrieval tokens among them."""
    base = model.get_base_model()
    tokens = sorted(base.onegen_config.tokens.known_ids(tokenizer).values())
    probe = torch.tensor([[*range(8), *tokens]], device=base.device)
    errors = merging_errors(model, probe)
    if errors:
        layer, error = max(errors.items(), key=lambda entry: entry[1])
        warnings.warn(
            f"the adapter saved in {path} does not merge into what was trained: the outputs of {len(errors)} layers "
            f"differ, those of {layer} by {error:.1%}. Load it with `load_adapter(..., merge=False)`",
            stacklevel=3,
        )


def is_adapter(name_or_path: str | os.PathLike[str], **kwargs: Any) -> bool:
    """
    Whether a directory or a Hub repository holds a PEFT adapter.

    Args:
        name_or_path (`str` or path): Or the name of a bundled checkpoint (see [`BUILTIN`]).
        kwargs: Where to look on the Hub: `revision`, `token`, `cache_dir`, `local_files_only`, ... Others are ignored.

    Raises:
        `OSError`: If there is no such repository, or it can't be read with this token.
    """
    name_or_path = builtin_path(name_or_path)
    if os.path.isabs(name_or_path) or os.path.isdir(name_or_path):
        return os.path.isfile(os.path.join(name_or_path, ADAPTER_CONFIG_NAME))
    options = _with_own_revision({name: kwargs[name] for name in HUB_OPTIONS if name in kwargs})
    return find_adapter_config_file(str(name_or_path), **options) is not None


def open_adapter(
    model_class: Any,
    name_or_path: str | os.PathLike[str],
    merge: bool = True,
    is_trainable: bool = False,
    **kwargs: Any,
) -> Any:
    """
    What [`~onegen_hf.modeling.load_adapter`] does.

    Args:
        model_class (`type`): [`OneGenForCausalLM`], which calls this and so can't be imported here.
        name_or_path, merge, is_trainable, kwargs: As there.

    Raises:
        `WeightsMissingError`: If it is a bundled adapter, and the weights of its base are not installed.
    """
    model_source()("name_or_path", name_or_path)
    name_or_path = builtin_path(name_or_path)
    require_weights(name_or_path)
    is_local, options = os.path.isdir(name_or_path), dict(kwargs)
    path = Path(name_or_path) if is_local else _download(str(name_or_path), kwargs)
    for name in ("revision", "force_download"):
        kwargs.pop(name, None)
    if not (path / CONFIG_NAME).is_file():
        raise FileNotFoundError(f"{path} has an adapter but no {CONFIG_NAME}: it was not saved by `save_adapter`")
    with broken_config_explained(path):
        settings = OneGenConfig.of(AutoConfig.from_pretrained(path))
    if settings is None:
        raise ValueError(f"{path / CONFIG_NAME} has no 'onegen' section: the adapter was not saved by `save_adapter`")
    adapter = _adapter_config(path)
    if kwargs.get("use_safetensors", True) and not (path / ADAPTER_SAFE_WEIGHTS_NAME).is_file():
        raise FileNotFoundError(
            f"{path} has no {ADAPTER_SAFE_WEIGHTS_NAME}. Weights as a pickle (*.bin) are not read unless you ask for "
            "them: pass use_safetensors=False if you trust the adapter"
        )
    name = adapter.base_model_name_or_path
    if adapter.revision is not None:
        kwargs["revision"] = adapter.revision
    backbone, _ = load_backbone(name, tokenizer=False, **kwargs)
    base = model_class.from_backbone(backbone, load_tokenizer(path), onegen_config=settings)
    load_projection(base, path)
    with broken_weights_explained(path, kwargs):
        model = PeftModel.from_pretrained(base, str(path), is_trainable=is_trainable)
    if base.retrieval_projection is not None:
        base.retrieval_projection.requires_grad_(is_trainable)  # PEFT freezes all but the adapter
    if not merge:
        return model
    merged = model.merge_and_unload()
    # Where a relative `default_index` is looked for, and what an index names as its model.
    merged.name_or_path = str(path)
    merged.adapter_base = name
    # A snapshot is called by its commit.
    merged.origin = None if is_local else Origin.of(str(name_or_path), path.name, options)
    merged.approximate_base = name == SMOLLM2 and packaged_smollm2() is None
    return merged


def _adapter_config(path: Path) -> PeftConfig:
    """
    Raises:
        `ValueError`: If adapter_config.json is damaged or names no base model.
    """
    file = path / ADAPTER_CONFIG_NAME
    try:
        adapter = PeftConfig.from_pretrained(str(path))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged, or not that of an adapter ({error}): {RESTORE_HINT}") from error
    if not adapter.base_model_name_or_path:
        raise ValueError(f"{file} names no base model (base_model_name_or_path): add it, or {RESTORE_HINT}")
    return adapter


def adapter_tokenizer(model: Any, tokenizer: Any) -> Any:
    """
    The tokenizer that was saved with an adapter, where `tokenizer` is that of its base; else `tokenizer`.

    For an adapter on the Hub `pipeline` loads the tokenizer of the base, because most adapters come without one.

    Args:
        model (`OneGenForCausalLM`): From [`open_adapter`] or not.
        tokenizer (`PreTrainedTokenizerBase`, *optional*)
    """
    base = getattr(model, "adapter_base", None)
    if tokenizer is None or base is None or tokenizer.name_or_path != base:
        return tokenizer
    logger.info("the tokenizer of the adapter %s is used instead of that of its base %s", model.name_or_path, base)
    return load_tokenizer(model.name_or_path)


def _with_own_revision(options: dict[str, Any]) -> dict[str, Any]:
    """`pipeline` resolves the revision in the repository of the base and passes it on: take what was asked for."""
    revision: Any = options.get("revision")
    return {**options, "revision": revision.initial} if hasattr(revision, "initial") else options


def _download(repo_id: str, options: dict[str, Any]) -> Path:
    found = _with_own_revision({name: options[name] for name in _SNAPSHOT_OPTIONS if name in options})
    # Skip the trainer's checkpoints, and weights as a pickle unless the caller asked for them.
    pickle = () if options.get("use_safetensors", True) else (ADAPTER_WEIGHTS_NAME,)
    return Path(
        snapshot_download(repo_id, allow_patterns=[*_DOWNLOADED, *pickle], ignore_patterns="checkpoint-*/*", **found)
    )
