"""Gradient caching: the loss of a large batch, at the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from ..modeling.outputs import OneGenOutput

OVER_EMBEDDINGS = ("loss_ret", "loss_distill")
"""The losses that are computed from the embeddings of the whole batch."""


class RandomState:
    """
    The state of the random generators before a forward, so that its repetition draws the same dropout.

    Args:
        tensor (`Tensor`): On the device whose generator is kept beside the CPU's.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(tensor)
        self.device_type = "cuda" if tensor.device.type == "cpu" else tensor.device.type

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Inside the block the generators continue from this state; afterwards from where they were."""
        with torch.random.fork_rng(devices=self.devices, device_type=self.device_type):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.device_type)
            yield


@dataclass
class Chunk:
    """
    Rows of a batch that go through the model together.

    Attributes:
        rows (`Tensor` of shape `(n,)`, int64): Their places in the batch.
        inputs (`dict[str, Tensor]`): `input_ids`, `attention_mask` and `retrieval_positions` of these rows, trimmed to
            the longest of them.
        labels (`Tensor`, *optional*): Of these rows, where they are trained to be generated.
        random_state ([`RandomState`], *optional*): Before the first forward.
    """

    rows: Tensor
    inputs: dict[str, Tensor]
    labels: Tensor | None = None
    random_state: RandomState | None = None

    @torch.no_grad()
    def embed(self, model: nn.Module) -> Tensor:
        """The first forward, without gradients: `Tensor` of shape `(n, m, hidden)`."""
        self.random_state = RandomState(self.inputs["input_ids"])
        return model(**self.inputs, **without_head(self.inputs["input_ids"])).retrieval_embeddings

    def replay(self, model: nn.Module, gradient: Tensor, num_items: int | Tensor | None) -> OneGenOutput:
        """
        The second forward, with gradients.

        Args:
            model (`nn.Module`)
            gradient (`Tensor` of shape `(n, m, hidden)`): Of the losses over embeddings, with respect to these.
            num_items (`int` or 0-d `Tensor`, *optional*): Labelled tokens by which the language-model loss is divided.

        Returns:
            [`OneGenOutput`]: Its `loss` has the gradient of the joint objective, not its value.
        """
        assert self.random_state is not None
        with self.random_state.restored():
            if self.labels is None:
                output = model(**self.inputs, **without_head(self.inputs["input_ids"]))
            else:
                output = model(**self.inputs, labels=self.labels, num_items_in_batch=num_items)
        contrastive = (output.retrieval_embeddings.float() * gradient).sum()
        output.loss = contrastive if output.loss is None else output.loss + contrastive
        return output


def without_head(input_ids: Tensor) -> dict[str, Any]:
    """Arguments of a forward that is only asked for embeddings, so that the language-model head does not run."""
    return {"logits_to_keep": torch.zeros_like(input_ids, dtype=torch.bool), "use_cache": False}


def cut_into_chunks(
    input_ids: Tensor, attention_mask: Tensor, positions: Tensor, num_tokens: int, labels: Tensor | None = None
) -> list[Chunk]:
    """
    Cut right-padded rows into chunks of similar cost, the shortest rows first, so that little padding is left.

    Args:
        input_ids, attention_mask (`Tensor` of shape `(rows, length)`)
        positions (`Tensor` of shape `(rows, m)`): Retrieval positions, padded with -1.
        num_tokens (`int`): The most tokens of a chunk, padding included; a longer row is a chunk of its own.
        labels (`Tensor` of shape `(rows, length)`, *optional*)
    """
    lengths = attention_mask.sum(dim=1)
    order = lengths.argsort(stable=True)
    ascending = lengths[order].clamp(min=1).tolist()
    chunks, start = [], 0
    for end, width in enumerate(ascending, start=1):
        is_full = end == len(ascending) or (end - start + 1) * ascending[end] > num_tokens
        if not is_full:
            continue
        rows = order[start:end]
        inputs = {
            "input_ids": input_ids[rows, :width],
            "attention_mask": attention_mask[rows, :width],
            "retrieval_positions": positions[rows],
        }
        chunks.append(Chunk(rows, inputs, None if labels is None else labels[rows, :width]))
        start = end
    return chunks


class CachedEmbeddings:
    """
    Embeddings of all chunks, cut off from the graph, and then their gradients.

    Args:
        model (`nn.Module`)
        chunks (`list[Chunk]`): At least one.
        positions (`Tensor` of shape `(rows, m)`): Of the whole batch; an embedding stands where it is not negative.
    """

    def __init__(self, model: nn.Module, chunks: list[Chunk], positions: Tensor) -> None:
        self.chunks, self.present = chunks, positions >= 0
        states = torch.cat([chunk.embed(model) for chunk in chunks])  # (rows, m, hidden), shortest row first
        places = torch.cat([chunk.rows for chunk in chunks])
        self.all = torch.empty_like(states, dtype=torch.float32)
        self.all[places] = states.float()
        self.leaves = self.all[self.present].requires_grad_()  # (n_embeddings, hidden), in the order of the batch

    def gradients(self, gradient: Tensor) -> list[Tensor]:
        """Hand the gradient of `leaves` out to the chunks: one `Tensor` of shape `(n, m, hidden)` for each."""
        everywhere = torch.zeros_like(self.all)
        everywhere[self.present] = gradient
        return [everywhere[chunk.rows] for chunk in self.chunks]


class GradientCache:
    """
    Computes the joint objective of a batch, and its gradient, chunk by chunk.

    1. All rows are embedded without gradients, a chunk at a time.
    2. The losses over all embeddings, contrastive and of distillation, give the gradient of each embedding.
    3. Every chunk goes through the model again, now with gradients: the language-model loss is computed there, and the
       gradient of the embeddings takes the place of the losses over them.

    So an anchor is compared with the passages of the whole batch, and of all processes, while activations are kept for
    one chunk only. The gradient is that of the batch in one piece; the price is one more forward.

    Args:
        chunk_size (`int`): A chunk has the tokens of this many of the batch's longest rows; of shorter ones, more.
        backward (`Callable`): Takes the loss of a chunk and adds its gradient.
        no_sync (`Callable`, *optional*): A context in which processes do not exchange gradients; they do once, after
            the last chunk.
        most_chunks (`Callable`, *optional*): Takes a number of chunks and a device, and returns the largest number of
            any process, for processes that must run equally many: those with fewer repeat a row without effect.

    References:
        - Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, https://arxiv.org/abs/2101.06983
    """

    def __init__(
        self,
        chunk_size: int,
        backward: Callable[[Tensor], None],
        no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
        most_chunks: Callable[[int, torch.device], int] | None = None,
    ) -> None:
        self.chunk_size = chunk_size
        self.backward = backward
        self.no_sync = no_sync
        self.most_chunks = most_chunks

    def __call__(
        self,
        model: nn.Module,
        joint: Any,
        inputs: dict[str, Tensor],
        num_items_in_batch: int | Tensor | None = None,
        num_anchors_in_batch: int | Tensor | None = None,
    ) -> OneGenOutput:
        """
        Args:
            model (`nn.Module`): As it is trained: with an adapter, or distributed.
            joint ([`OneGenForCausalLM`]): The same without what is wrapped around it.
            inputs (`dict[str, Tensor]`): As [`OneGenDataCollator`] makes them.
            num_items_in_batch, num_anchors_in_batch: As for the model's forward.

        Returns:
            [`OneGenOutput`]: The losses of the batch. `backward` was called for all chunks but the last, whose part is
            still to come from `loss.backward()`.
        """
        positions = inputs["retrieval_positions"]
        masks = [inputs[name] for name in ("attention_mask", "passage_attention_mask") if name in inputs]
        num_tokens = self.chunk_size * max(int(mask.sum(dim=1).max()) for mask in masks if mask.shape[0])
        rows = cut_into_chunks(
            inputs["input_ids"], inputs["attention_mask"], positions, num_tokens, inputs.get("labels")
        )
        passage_rows = self._passage_rows(inputs, num_tokens)
        # Processes agree on the number of forwards before the first one, and run all before they exchange embeddings.
        fillers = self._fillers(len(rows) + len(passage_rows), rows[0])
        anchors = CachedEmbeddings(model, rows, positions)
        passages = None
        if passage_rows:
            passages = CachedEmbeddings(model, passage_rows, inputs["passage_retrieval_positions"])
        without_effect = [(filler, torch.zeros_like(filler.embed(model), dtype=torch.float32)) for filler in fillers]
        found: dict[str, Tensor] = {}
        pending = list(zip(rows, anchors.gradients(torch.zeros_like(anchors.leaves)), strict=True))
        if "retrieval_targets" in inputs:
            leaves = anchors.leaves.new_zeros((0, anchors.leaves.shape[-1])).requires_grad_()  # no passages here
            if passages is not None:
                leaves = passages.leaves
            found = joint.contrast(
                anchors.leaves, leaves, inputs["retrieval_targets"], inputs.get("passage_keys"), num_anchors_in_batch,
                inputs.get("teacher_scores"),
            )  # fmt: skip
            weighted = [joint.loss_weights[name] * found[name] for name in OVER_EMBEDDINGS if name in found]
            objective = torch.stack(weighted).sum()
            gradient, gradient_of_passages = torch.autograd.grad(objective, (anchors.leaves, leaves))
            pending = list(zip(rows, anchors.gradients(gradient), strict=True))
            if passages is not None:
                pending = [*zip(passages.chunks, passages.gradients(gradient_of_passages), strict=True), *pending]
        pending = [*without_effect, *pending]
        loss, loss_gen = self._replay(model, pending, num_items_in_batch)
        value = joint.lambda_gen * loss_gen
        for name in OVER_EMBEDDINGS:
            if name in found:
                found[name] = found[name].detach()
                value = value + joint.loss_weights[name] * found[name]
        return OneGenOutput(loss=loss + (value - loss).detach(), loss_gen=loss_gen, **found)

    def _passage_rows(self, inputs: dict[str, Tensor], num_tokens: int) -> list[Chunk]:
        if "passage_input_ids" not in inputs or not inputs["passage_input_ids"].shape[0]:
            return []
        positions = inputs["passage_retrieval_positions"]
        return cut_into_chunks(inputs["passage_input_ids"], inputs["passage_attention_mask"], positions, num_tokens)

    def _fillers(self, count: int, chunk: Chunk) -> list[Chunk]:
        """As many chunks as this process lacks, each with the first row of `chunk` and no labels."""
        if self.most_chunks is None:
            return []
        inputs = {name: values[:1] for name, values in chunk.inputs.items()}
        missing = self.most_chunks(count, chunk.inputs["input_ids"].device) - count
        return [Chunk(chunk.rows[:1], inputs) for _ in range(missing)]

    def _replay(
        self, model: nn.Module, pending: list[tuple[Chunk, Tensor]], num_items: int | Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run the chunks again; returns the last one's loss, with its graph, and the language-model loss of all."""
        loss_gen: Tensor | None = None
        for number, (chunk, gradient) in enumerate(pending, start=1):
            is_last = number == len(pending)
            with nullcontext() if is_last else self.no_sync():
                output = chunk.replay(model, gradient, num_items)
                if output.loss_gen is not None:
                    part = output.loss_gen.detach()
                    loss_gen = part if loss_gen is None else loss_gen + part
                loss = output.loss
                if not is_last:
                    self.backward(loss)
            del output  # its activations
        return loss, torch.zeros_like(loss).detach() if loss_gen is None else loss_gen
