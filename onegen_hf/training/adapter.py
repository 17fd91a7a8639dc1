"""`add_adapter`: a PEFT adapter on a model, with the rows of the retrieval tokens trained beside it."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from transformers import PreTrainedTokenizerBase

from ..modeling.mergeable import check_kind, check_mergeable


def add_adapter(model: Any, tokenizer: PreTrainedTokenizerBase, peft_config: PeftConfig) -> PeftModel:
    """
    Put a PEFT adapter on a model.

    With LoRA, the rows of the retrieval tokens are trained beside it, in the embeddings and in an untied head, unless
    the adapter trains those matrices anyway. A projection of the embeddings is trained with any adapter.

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        peft_config (`PeftConfig`): Its `trainable_token_indices` is filled in when unset.

    Raises:
        `ValueError`: If the adapter could not be merged into what it trains, see [`check_mergeable`].
    """
    check_kind(peft_config)
    if isinstance(peft_config, LoraConfig) and peft_config.trainable_token_indices is None:
        peft_config.trainable_token_indices = _token_rows(model, tokenizer, peft_config)
    wrapped = get_peft_model(model, peft_config)
    if model.retrieval_projection is not None:
        model.retrieval_projection.requires_grad_(True)  # PEFT freezes all but the adapter
    try:
        check_mergeable(wrapped)
    except ValueError:
        wrapped.base_model.unload()  # the model is left as it was
        raise
    return wrapped


def _token_rows(
    model: Any, tokenizer: PreTrainedTokenizerBase, peft_config: LoraConfig
) -> list[int] | dict[str, list[int]] | None:
    """The rows of the retrieval tokens, for the matrices that the adapter does not train itself."""
    rows = sorted(tokenizer.convert_tokens_to_ids(model.onegen_config.tokens.all))
    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {module: name for name, module in model.named_modules() if module in (inputs, head)}
    embeddings, lm_head = names[inputs], names.get(head, "")
    saved = [name for name in names.values() if _is_saved(name, peft_config)]
    untrained = [name for name in names.values() if name not in saved and not _is_hit(name, peft_config)]
    if head is not None and head.weight is inputs.weight:
        if untrained == [embeddings, lm_head]:
            return rows  # PEFT lets the head follow
        if saved == [embeddings] and not peft_config.ensure_weight_tying:
            return {lm_head: rows}  # the two are no longer tied
        if saved == [lm_head] and not peft_config.ensure_weight_tying:
            raise ValueError(
                f"modules_to_save={peft_config.modules_to_save} names {lm_head} alone, which is tied to the "
                f"embeddings: name {embeddings} too, or set ensure_weight_tying=True"
            )
        return None
    if lm_head in untrained and getattr(head, "bias", None) is not None:
        untrained.remove(lm_head)  # PEFT trains no rows of a head that has a bias
    return rows if untrained == [embeddings] else {name: rows for name in untrained} or None


def _is_saved(name: str, peft_config: LoraConfig) -> bool:
    """Whether a module is trained as a whole, which PEFT decides by the end of its name."""
    return any(name.endswith(ending) for ending in peft_config.modules_to_save or ())


def _is_hit(name: str, peft_config: LoraConfig) -> bool:
    """Whether a module receives an adapter, by PEFT's own rules for names, lists and regular expressions."""
    # `None` stands for the architecture's usual layers, which never are the embeddings or the head.
    return peft_config.target_modules is not None and bool(check_target_module_exists(peft_config, name))
