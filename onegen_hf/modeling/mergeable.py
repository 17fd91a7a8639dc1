"""Whether an adapter can be merged: loading merges it, so the merged model has to equal the one that was trained."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch
from peft import PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig, PeftModel
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

CHOOSE_ANOTHER = "choose an adapter that changes the weights of linear layers, such as LoraConfig"


def check_kind(config: PeftConfig) -> None:
    """
    Refuse the kinds of adapters that change no weights, before one is put on a model.

    Args:
        config (`PeftConfig`)

    Raises:
        `ValueError`: For prompt learning and what else has nothing to merge.
    """
    kind = getattr(config.peft_type, "value", config.peft_type)
    if config.is_prompt_learning:
        raise ValueError(
            f"peft_config={type(config).__name__} ({kind}) learns virtual tokens, which can't be merged into the "
            f"weights and would shift the retrieval positions: {CHOOSE_ANOTHER}"
        )
    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type)
    if tuner is None or not issubclass(tuner, BaseTuner):
        raise ValueError(
            f"peft_config={type(config).__name__} ({kind}) can't be merged into the weights: {CHOOSE_ANOTHER}"
        )


def check_mergeable(model: PeftModel) -> None:
    """
    Refuse an adapter whose merged weights would not be those that it trains.

    Args:
        model (`PeftModel`)

    Raises:
        `ValueError`: If a layer can't be merged, or if its weight is shared with a layer that the merge would change
            too, as the head's is with tied embeddings.
    """
    for config in model.peft_config.values():
        check_kind(config)
    _check_shared_weights(model)
    tried: set[tuple[Any, ...]] = set()
    for name, layer in _adapted_layers(model).items():
        base = layer.get_base_layer()
        sort = (type(layer), type(base), getattr(base, "bias", None) is None)
        if sort in tried or _is_elsewhere(layer):
            continue
        tried.add(sort)
        try:
            _merged_copy(layer)
        except Exception as error:  # PEFT raises what it likes here; each means the same to us
            raise ValueError(
                f"the adapter ({_kinds(model)}) on {name} can't be merged into its weights ({error}): {CHOOSE_ANOTHER}"
            ) from error


@torch.no_grad()
def merging_errors(model: PeftModel, input_ids: Tensor) -> dict[str, float]:
    """
    Compare the output of each adapted layer with that of the same layer merged, in one forward.

    No weight of the model changes: each layer is merged in a copy of its own, which is dropped at once.

    Args:
        model (`PeftModel`): Its mode (training or not) is kept.
        input_ids (`Tensor` of shape `(batch, sequence)`)

    Returns:
        `dict[str, float]`: Layer → largest difference, relative to the largest output, of the layers where it exceeds
        rounding.
    """
    errors: dict[str, float] = {}

    def compare(name: str) -> Any:
        def hook(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
            expected, merged = _first(output), _first(_merged_copy(layer)(*args, **kwargs))
            scale = expected.abs().max().clamp(min=1e-6)
            error = float((expected - merged).abs().max() / scale)
            # Half of the digits: a merged weight is rounded, what the adapter adds at run time is not.
            if not error <= torch.finfo(expected.dtype).eps ** 0.5:
                errors[name] = max(error, errors.get(name, 0.0))

        return hook

    layers = {name: layer for name, layer in _adapted_layers(model).items() if not _is_elsewhere(layer)}
    hooks = [layer.register_forward_hook(compare(name), with_kwargs=True) for name, layer in layers.items()]
    training = model.training
    try:
        model.eval()
        model(input_ids=input_ids)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return errors


def _adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that an adapter changes, by their names in the backbone."""
    return {_name(name): module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def _check_shared_weights(model: PeftModel) -> None:
    users: dict[int, dict[str, nn.Module]] = defaultdict(dict)
    for name, module in model.named_modules(remove_duplicate=False):
        if ".original_module" not in name:  # replaced by a trained copy of its own
            for parameter in module.parameters(recurse=False):
                users[id(parameter)][_name(name)] = module
    for name, layer in _adapted_layers(model).items():
        for parameter in layer.get_base_layer().parameters(recurse=False):
            others = sorted(set(users[id(parameter)]) - {name})
            rows = all(isinstance(_adapted_layers(model).get(user), TrainableTokensLayer) for user in [name, *others])
            if others and not rows:  # rows of tokens are trained once for all users of the matrix
                raise ValueError(
                    f"the adapter ({_kinds(model)}) targets {name}, whose weight is shared with {', '.join(others)}: "
                    "merging would change both, so the loaded model would not be the trained one. Leave it out of "
                    "target_modules, name both in modules_to_save, or untie the head before training"
                )


def _merged_copy(layer: Any) -> Any:
    made = copy.deepcopy(layer)
    made._forward_hooks.clear()
    made._forward_hooks_with_kwargs.clear()
    made.merge()
    return made


def _is_elsewhere(layer: nn.Module) -> bool:
    """Whether its weights are not all here as they are: quantised, or sharded over processes."""
    return any(
        hasattr(parameter, "ds_id")
        or hasattr(parameter, "device_mesh")
        or hasattr(parameter, "quant_state")
        or parameter.is_meta
        or not parameter.is_floating_point()
        for parameter in layer.parameters()
    )


def _name(name: str) -> str:
    for part in (".base_layer", ".token_adapter"):
        name = name.replace(part, "")
    return name.removeprefix("base_model.model.")


def _kinds(model: PeftModel) -> str:
    return ", ".join(sorted({type(config).__name__ for config in model.peft_config.values()}))


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
