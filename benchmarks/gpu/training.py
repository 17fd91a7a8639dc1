"""
A joint training step against plain fine-tuning on as many real tokens, in tokens per second and MFU.

- `joint`: conversations and passages in one packed forward, both losses, and the optimizer.
- `plain`: transformers' own model and loss over as many tokens, in rows that need no padding at all.
- `padded`: what plain fine-tuning does with the rows of the joint step: conversations, and passages as texts, each
  padded to their longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.measuring import Budget, Measurement, in_turns, ratios
from benchmarks.gpu.models import joint_model, plain_model
from benchmarks.report import spread
from onegen_hf.modeling.fused_loss import has_plain_head
from onegen_hf.training.utilization import StepFlops, peak_tflops, work_of

Batch = dict[str, Tensor]
REPEATS = 5


@dataclass(frozen=True)
class Load:
    """
    A batch of random tokens.

    Attributes:
        shape (`str`): Of the model, see `benchmarks.gpu.models`.
        conversations (`int`), longest (`int`): Rows, and their greatest length; the shortest has half of it.
        passages (`int`), longest_passage (`int`): Likewise.
    """

    shape: str
    conversations: int
    longest: int
    passages: int
    longest_passage: int

    def batch(self, vocabulary: int, device: str) -> Batch:
        """The arguments of a joint forward: two query tokens in each conversation, whose answers have labels."""
        generator = torch.Generator().manual_seed(0)
        ids, mask = _rows(self.conversations, self.longest, vocabulary, generator)
        passage_ids, passage_mask = _rows(self.passages, self.longest_passage, vocabulary, generator)
        lengths = mask.sum(dim=1)
        labels = ids.masked_fill((mask == 0) | (torch.arange(self.longest) < self.longest // 8), -100)
        anchors = 2 * self.conversations
        targets = torch.zeros(anchors, self.passages, dtype=torch.int8)
        targets[torch.arange(anchors), torch.arange(anchors) % self.passages] = 1
        batch = {
            "input_ids": ids, "attention_mask": mask, "labels": labels,
            "retrieval_positions": torch.stack([lengths // 2, lengths - 2], dim=1),
            "passage_input_ids": passage_ids, "passage_attention_mask": passage_mask,
            "passage_retrieval_positions": passage_mask.sum(dim=1, keepdim=True) - 1,
            "passage_keys": torch.arange(self.passages), "retrieval_targets": targets,
        }  # fmt: skip
        return {name: values.to(device) for name, values in batch.items()}


LOADS = {
    "135M, 8 conversations": Load("135M", 8, 192, 24, 128),
    "135M, 64 conversations": Load("135M", 64, 192, 192, 128),
    "1B, 2048 tokens": Load("1B", 6, 2048, 24, 256),
}
QUICK = {"tiny": Load("tiny", 2, 32, 4, 16)}


def _rows(rows: int, longest: int, vocabulary: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    lengths = torch.randint(longest // 2, longest + 1, (rows,), generator=generator).sort().values
    lengths[-1] = longest
    mask = (torch.arange(longest) < lengths.unsqueeze(1)).long()
    return torch.randint(5, vocabulary, (rows, longest), generator=generator) * mask, mask


class Step:
    """Forward, backward and optimizer of one model; the learning rate is too small to change anything."""

    def __init__(self, model: Any, loss_of: Callable[[Any], Tensor]) -> None:
        self.model, self.loss_of = model.train(), loss_of
        fused = next(model.parameters()).device.type == "cuda"
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-12, fused=fused)

    def __call__(self) -> None:
        """One step."""
        self.loss_of(self.model).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def plain_rows(batch: Batch, longest: int) -> Batch:
    """As many tokens as a joint batch has, in rows of one length."""
    tokens = int(batch["attention_mask"].sum() + batch["passage_attention_mask"].sum())
    rows = max(1, round(tokens / longest))
    ids = torch.randint_like(batch["input_ids"][0, 0], 5, 1000).repeat(rows, max(1, tokens // rows)).contiguous()
    return {"input_ids": ids, "labels": ids}


def padded_loss(model: Any, batch: Batch) -> Tensor:
    """The language-model loss over conversations, and over passages as texts."""
    ids, mask = batch["passage_input_ids"], batch["passage_attention_mask"]
    texts = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    conversations = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    return model(**conversations, use_cache=False).loss + model(**texts, use_cache=False).loss


def flops_of(model: Any, batch: Batch) -> float:
    """Operations of a joint step."""
    parts = [work_of(batch[name]) for name in ("attention_mask", "passage_attention_mask")]
    tokens, squares = (sum(float(part[n]) for part in parts) for n in range(2))
    return float(StepFlops.of(model).total(tokens, squares, int((batch["labels"][:, 1:] != -100).sum())))


def measure_load(load: Load, device: str, dtype: torch.dtype, budget: Budget, liger: bool = False) -> dict[str, Any]:
    """Seconds, tokens per second and MFU of each kind of step."""
    model = joint_model(load.shape, device, dtype)
    plain = plain_model(load.shape, device, dtype)
    if liger:
        from transformers.integrations.liger import apply_liger_kernel

        # Plain fine-tuning as with `use_liger_kernel`, with Liger's fused loss; the joint step has its own use of it.
        apply_liger_kernel(plain, {})
        apply_liger_kernel(model, {"fused_linear_cross_entropy": False})
        model.fused_cross_entropy = has_plain_head(model)
    batch = load.batch(len(model.get_input_embeddings().weight) - 8, device)
    dense = plain_rows(batch, load.longest)
    step = Step(plain, lambda model: model(**dense, use_cache=False).loss)
    padded = Step(plain, lambda model: padded_loss(model, batch))
    padded.optimizer = step.optimizer
    kinds = {"joint": Step(model, lambda model: model(**batch).loss), "plain": step, "padded": padded}
    seconds = in_turns(kinds, REPEATS, device, budget, warm_up=2)
    tokens = int(batch["attention_mask"].sum() + batch["passage_attention_mask"].sum())
    result: dict[str, Any] = {
        "real_tokens": tokens,
        "rows": load.conversations + load.passages,
        "ms_per_step": {kind: spread([1e3 * value for value in taken]) for kind, taken in seconds.items()},
        "tokens_per_second": {kind: spread([tokens / value for value in v], 0) for kind, v in seconds.items()},
        "joint_over_plain": ratios(seconds, "joint", "plain"),
        "joint_over_padded": ratios(seconds, "joint", "padded"),
    }
    if (peak := peak_tflops(torch.device(device))) is not None:
        result["mfu_joint"] = spread([flops_of(model, batch) / value / peak / 1e12 for value in seconds["joint"]])
        result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    return result


def training(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[Measurement]:
    """
    Yields:
        [`Measurement`]: The name of a load, and the function that measures it.
    """
    for name, load in (QUICK if quick else LOADS).items():
        yield name, partial(measure_load, load, device, dtype, budget)


def training_with_liger(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[Measurement]:
    """
    As [`training`], with Liger's kernels and fused loss in both models. They replace functions of the whole process.

    Yields:
        [`Measurement`]: The name of a load, and the function that measures it.
    """
    if device == "cpu":  # Liger's kernels are Triton's
        return
    for name, load in LOADS.items():
        yield name, partial(measure_load, load, device, dtype, budget, liger=True)
