"""Everything that a result depends on, in a form that can be stored and compared: model, index, examples, versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ...configuration import Fusion
from ...data.passages import Passage
from ...index import PassageIndex

_LIBRARIES = ("onegen-hf", "torch", "transformers")
_SAMPLED_PASSAGES = 1024
_VERSION = "transformers_version"
# The index, how it is searched and what is inserted are told by themselves, and these thresholds are applied to
# results, not part of what made them.
_UNRELATED = (
    "default_index", "link_threshold", "draft_tokens", "answer_threshold", "hybrid", "fusion", "inserted_sentences",
    "readings",
)  # fmt: skip
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def hybrid_facts(hybrid: float, fusion: Fusion) -> dict[str, Any]:
    """What a run says of a search by words: nothing if it has none."""
    if not hybrid:
        return {}
    return {"hybrid": hybrid} if fusion == "rrf" else {"hybrid": hybrid, "fusion": fusion}


def model_settings(model: Any, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """
    Identify a model exactly.

    An index accepts any model that embeds alike, but half an evaluation of another training step is no evaluation; so
    this is stricter than [`ModelFingerprint`]. The name is no part of it: a directory may be moved.

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
    """
    generation = model.generation_config.to_diff_dict()
    return {
        "weights": weights_checksum(model),
        "dtype": _precision(model),
        "device": model.device.type,
        "attention": getattr(model.config, "_attn_implementation", None),
        "onegen": {name: value for name, value in model.onegen_config.to_dict().items() if name not in _UNRELATED},
        "generation": {name: value for name, value in generation.items() if name[0] != "_" and name != _VERSION},
        "tokenizer": digest([sorted(tokenizer.get_vocab().items()), tokenizer.chat_template]),
    }


def _precision(model: Any) -> str:
    """The dtype, or the name of the quantization."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return str(model.dtype).removeprefix("torch.")
    method = quantizer.quantization_config.quant_method
    return str(getattr(method, "value", method))  # transformers uses an enumeration for its own methods


def index_settings(index: PassageIndex) -> dict[str, Any]:
    """
    Identify an index: its kind and size, how it is searched, the model that made it, and a sample of its passages.

    Args:
        index ([`PassageIndex`])
    """
    return {
        "passages": len(index),
        "embeddings": index.num_rows,
        "factory": index.factory,
        "search_parameters": index.search_parameters,
        "granularity": index.granularity,
        "fingerprint": digest(index.fingerprint.to_dict()["probes"]),
        "sampled_passages": sample_digest(index.passages),
    }


def sample_digest(passages: Sequence[Passage]) -> str:
    """A hash of up to 1,024 passages, spread evenly: reading all of a large corpus would take minutes."""
    sample = np.unique(np.linspace(0, len(passages) - 1, num=min(len(passages), _SAMPLED_PASSAGES), dtype=np.int64))
    chosen = (passages[int(number)] for number in sample)
    return digest([passage.id, passage.title, passage.text] for passage in chosen)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that affect results."""
    return {name: version(name) for name in _LIBRARIES}


def weights_checksum(model: torch.nn.Module) -> str:
    """
    An exact checksum of all weights, as fast as reading them, on any device.

    The bits of each tensor are summed as integers, which, unlike a sum of floats, does not depend on the order.
    """
    sums: list[tuple[str, list[int], int]] = []
    for name, tensor in sorted(model.state_dict().items()):
        total = 0 if tensor.is_meta else int(tensor.detach().view(_INTEGERS[tensor.element_size()]).sum().item())
        sums.append((name, list(tensor.shape), total))
    return digest(sums)


def digest(values: Iterable[Any]) -> str:
    """A short hash of JSON-serialisable values, taken one at a time."""
    found = hashlib.blake2b(digest_size=12)
    for value in values:
        found.update(json.dumps(value, ensure_ascii=False, sort_keys=True).encode())
        found.update(b"\n")
    return found.hexdigest()
