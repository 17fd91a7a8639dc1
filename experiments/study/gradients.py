"""`GradientCosines`: do the two losses pull the weights of a layer in the same direction while a model is trained?"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

_LAYER = re.compile(r"\.layers\.(\d+)\.")


class GradientCosines(TrainerCallback):
    """
    Before some steps, the cosine of the gradients of Lg and Lr on held-out batches, over the trained weights of each
    layer, and the ratio of their lengths (λ = 1 for both).

    Args:
        batches (`Sequence[Mapping]`): As the collator makes them; the cosine is the mean over them.
        steps (`Sequence[int]`): Numbers of finished steps.
        path (`Path`): Receives the record when training ends: step → layer → `[cosine, |∇Lr| / |∇Lg|]`.
    """

    def __init__(self, batches: Sequence[Mapping[str, Tensor]], steps: Sequence[int], path: Path) -> None:
        self.batches, self.steps, self.path = batches, set(steps), path
        self.record: dict[str, dict[str, list[float]]] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step in self.steps:
            self.record[str(state.global_step)] = self._measure(model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.record[str(state.global_step)] = self._measure(model)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.record), encoding="utf-8")

    def _measure(self, model: Any) -> dict[str, list[float]]:
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for batch in self.batches:
            output = model(**{name: value.to(model.device) for name, value in batch.items()})
            gradients = [
                torch.autograd.grad(
                    loss, list(trained.values()), retain_graph=loss is output.loss_gen, allow_unused=True
                )
                for loss in (output.loss_gen, output.loss_ret)
            ]
            for layer, (gen, ret) in by_layer(list(trained), *gradients).items():
                lengths = float(gen.norm()), float(ret.norm())
                if min(lengths) > 0:
                    sums[layer][0] += float(gen @ ret) / (lengths[0] * lengths[1]) / len(self.batches)
                    sums[layer][1] += lengths[1] / lengths[0] / len(self.batches)
        return {layer: [round(value, 4) for value in both] for layer, both in sums.items()}


def by_layer(
    names: Sequence[str], gen: Sequence[Tensor | None], ret: Sequence[Tensor | None]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Both gradients as vectors over the weights of each layer; what is in none of them is `outside`."""
    parts: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for name, one, other in zip(names, gen, ret, strict=True):
        found = _LAYER.search(name)
        known = one if one is not None else other
        if known is not None:
            pair = [(torch.zeros_like(known) if own is None else own).flatten().float() for own in (one, other)]
            parts[found.group(1) if found else "outside"].append((pair[0], pair[1]))
    return {
        layer: (torch.cat([one for one, _ in own]), torch.cat([other for _, other in own]))
        for layer, own in parts.items()
    }
