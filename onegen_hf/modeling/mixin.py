"""`OneGenMixin`: one forward for logits, retrieval embeddings and the joint loss, over any decoder of transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..checks import checked, choice, instance, integer, list_of, number, optional
from ..configuration import OneGenConfig
from ..data.padding import pad_positions
from ..hub.origin import Origin
from ..losses import (
    CONTRASTIVE_LOSSES,
    ContrastiveLoss,
    DistillationLoss,
    MatryoshkaLoss,
    causal_lm_loss,
    gather_candidates,
    gather_other_anchors,
)
from ..losses.causal_lm import averaged, predicting_positions, shifted_targets
from ..losses.contrastive import in_batch_accuracy
from ..losses.matryoshka import check_dims
from .backbone_check import padding_is_harmless
from .devices import input_device
from .fused_loss import HeadProduct, loss_in_the_head
from .outputs import CACHE, OneGenOutput
from .packing import LastStates, packed_rows, packs_rows
from .projection import MODULE, embedding_size, set_projection
from .row_attention import install_row_attention

PADDING_WASTE = 0.15
"""Share of the positions of a batch that may be padding."""
_capture = threading.local()


def _keep_last_hidden_state(module: nn.Module, args: Any, output: Any) -> None:
    # Per thread, so that two requests served by one model do not read each other's states.
    if getattr(_capture, "wanted", False):
        _capture.hidden = output[0]


class OneGenMixin:
    """
    Mixed in before a backbone's own `XForCausalLM` (paper section 3); see [`OneGenForCausalLM`] for how to get one.

    The backbone's forward does the work, with its own head, soft caps and router; the mixin catches the decoder's
    output on the way to the head.
    """

    config: Any
    training: bool
    lambda_gen: float = 1.0
    lambda_ret: float = 1.0
    lambda_distill: float = 1.0
    contrastive_loss: ContrastiveLoss | None = None
    distillation_loss: DistillationLoss | None = None
    equal_forwards: bool = False
    """Whether every batch takes equally many forwards, whatever it holds, as weights sharded over processes need."""
    fused_cross_entropy: bool = False
    """Whether the language-model loss of a training step is computed without logits, see [`loss_in_the_head`]."""
    approximate_base: bool = False
    """Whether an adapter was merged into a base close to, but not, the one it was trained on."""
    origin: Origin | None = None
    """The Hub's repository that the model was loaded from and has not been trained since."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self.attach()

    def attach(self) -> None:
        """Prepare an initialised backbone: read its `onegen` section and listen to its decoder."""
        self.onegen_config = OneGenConfig.of(self.config) or OneGenConfig()
        decoder_of(self).register_forward_hook(_keep_last_hidden_state)
        self.register_module(MODULE, None)  # type: ignore[attr-defined]
        if not self.get_input_embeddings().weight.is_meta:  # type: ignore[attr-defined]
            set_projection(self, self.onegen_config.projection_dim)
        if getattr(self, "_supports_attention_backend", False):
            # Other decoders compare the name of the implementation with those that they know.
            install_row_attention(self.modules())  # type: ignore[attr-defined]

    @property
    def is_gradient_checkpointing(self) -> bool:
        """PEFT asks for it by this name, which transformers 5.24 still has but warns about."""
        if hasattr(type(self), "is_activation_checkpointing"):
            return self.is_activation_checkpointing  # type: ignore[attr-defined]
        return super().is_gradient_checkpointing  # type: ignore[misc]

    @property
    def device(self) -> torch.device:
        """That of the weights; that of the input where accelerate keeps the weights elsewhere."""
        device: torch.device = super().device  # type: ignore[misc]
        return input_device(self) if device.type == "meta" else device

    def train(self, mode: bool = True) -> Any:
        """As `nn.Module.train`; a model that is trained is no longer that of its repository."""
        if mode:
            self.origin = None
        return super().train(mode)  # type: ignore[misc]

    @checked(
        name=choice(sorted(CONTRASTIVE_LOSSES)),
        lambda_gen=number(least=0),
        lambda_ret=number(least=0),
        matryoshka_dims=optional(list_of(integer(least=1), empty=True, distinct=True)),
        lambda_distill=number(least=0),
        distill_temperature=number(above=0),
    )
    def set_loss(
        self,
        name: str = "bpr",
        lambda_gen: float = 1.0,
        lambda_ret: float = 1.0,
        matryoshka_dims: Sequence[int] | None = None,
        lambda_distill: float = 1.0,
        distill_temperature: float = 0.05,
        **options: Any,
    ) -> None:
        """
        Choose the training objective λg·Lg + λr·Lr (paper equation 1), and λd·Ld where a teacher's scores are given.

        Args:
            name (`str`, *optional*, defaults to `"bpr"`): A key of [`~onegen_hf.losses.CONTRASTIVE_LOSSES`].
            lambda_gen (`float`, *optional*, defaults to 1.0): λg.
            lambda_ret (`float`, *optional*, defaults to 1.0): λr.
            matryoshka_dims (`list[int]`, *optional*): Average the contrastive loss over these prefixes of the
                embeddings and the whole ([`MatryoshkaLoss`]). Kept in the checkpoint's settings, which are also the
                default; an empty list turns it off.
            lambda_distill (`float`, *optional*, defaults to 1.0): λd.
            distill_temperature (`float`, *optional*, defaults to 0.05): Divides the teacher's scores.
            options: Passed to the loss; `scale` defaults to the checkpoint's `onegen.scale`.

        Raises:
            `ValueError`: For an unknown name, a weight or scale that is negative, NaN or infinite, or a prefix that is
                longer than an embedding.
        """
        loss: ContrastiveLoss = CONTRASTIVE_LOSSES[name](**{"scale": self.onegen_config.scale, **options})
        dims = self.onegen_config.matryoshka_dims if matryoshka_dims is None else matryoshka_dims
        dims = check_dims(dims or [], embedding_size(self)) or None
        if dims != self.onegen_config.matryoshka_dims:
            self.onegen_config = replace(self.onegen_config, matryoshka_dims=dims)
            self.onegen_config.attach_to(self.config)
        self.lambda_gen, self.lambda_ret, self.lambda_distill = lambda_gen, lambda_ret, lambda_distill
        # Past nn.Module's registry: the objective has no weights and is no part of the checkpoint.
        self.__dict__["contrastive_loss"] = loss if dims is None else MatryoshkaLoss(loss, dims)
        self.__dict__["distillation_loss"] = DistillationLoss(loss.scale, distill_temperature)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        retrieval_positions: Tensor | Sequence[Sequence[int]] | None = None,
        passage_input_ids: Tensor | None = None,
        passage_attention_mask: Tensor | None = None,
        passage_retrieval_positions: Tensor | None = None,
        passage_keys: Tensor | None = None,
        retrieval_targets: Tensor | None = None,
        teacher_scores: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
        num_anchors_in_batch: int | Tensor | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """
        The backbone's forward, extended. Without the arguments below it *is* the backbone's forward.

        Args:
            labels (`Tensor` of shape `(batch, sequence)`, *optional*): Token ids, -100 where there is no loss; not
                shifted.
            retrieval_positions (`Tensor` or lists, *optional*): Where embeddings are read: int64 of shape
                `(batch, n)`, padded with -1, or `(batch,)`, or a bool mask `(batch, sequence)`.
            passage_input_ids (`Tensor` of shape `(n_rows, passage_length)`, *optional*): Passages to compare with,
                right-padded. They go through the decoder in one forward with `input_ids` where rows are packed (see
                [`packs_rows`]), else in groups of similar length, for which rows sorted by length are cheapest.
            passage_attention_mask (`Tensor` of the same shape, *optional*)
            passage_retrieval_positions (`Tensor` of shape `(n_rows, m)`, *optional*): Document tokens, -1 as padding.
            passage_keys (`Tensor` of shape `(n_passages,)`, int64, *optional*): Identity of each document token's
                passage across processes; n_passages counts the document tokens, row by row.
            retrieval_targets (`Tensor` of shape `(n_anchors, n_passages)`, *optional*): 1 positive, 0 negative,
                -1 ignored; the anchors are the retrieval positions, row by row.
            teacher_scores (`Tensor` of shape `(n_anchors, n_passages)`, float32, *optional*): What a teacher thinks of
                this process's own passages, NaN where unknown; adds `loss_distill`. Passages of other processes have
                no teacher score, so each process distils over its own.
            num_items_in_batch (`int` or 0-d `Tensor`, *optional*): Labelled tokens by which `loss_gen` is divided.
            num_anchors_in_batch (`int` or 0-d `Tensor`, *optional*): Anchors by which `loss_ret` and
                `loss_distill` are divided.
            cache (`Cache`, *optional*): What `past_key_values` is called since transformers 5.24; either name will do.

        Returns:
            [`OneGenOutput`], or the backbone's own output when nothing of the above is asked for.

        Raises:
            `ValueError`: If both names of the cache are given, or passages without their document tokens.
        """
        if cache is not None and past_key_values is not None:
            raise ValueError("cache and past_key_values are two names of the same argument: give one of them")
        backbone_inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            CACHE: past_key_values if cache is None else cache,
            "inputs_embeds": inputs_embeds,
            "use_cache": use_cache,
            **kwargs,
        }
        if labels is None and retrieval_positions is None and passage_input_ids is None:
            return super().forward(**backbone_inputs, logits_to_keep=logits_to_keep)  # type: ignore[misc]

        if passage_input_ids is not None and passage_retrieval_positions is None:
            raise ValueError("passage_input_ids needs passage_retrieval_positions: where are the document tokens?")
        passage_rows = None
        if passage_input_ids is not None and passage_input_ids.shape[0]:
            if passage_attention_mask is None:
                passage_attention_mask = torch.ones_like(passage_input_ids)
            passage_rows = passage_input_ids, passage_attention_mask
        head: AbstractContextManager[HeadProduct | None] = nullcontext()
        if labels is not None:
            logits_to_keep = predicting_positions(labels)
            if self.fused_cross_entropy and self.training and not torch.compiler.is_compiling():
                head = loss_in_the_head(self, shifted_targets(labels))
            backbone_inputs["use_cache"] = bool(use_cache)
        if self.has_router and self.training:
            backbone_inputs["output_router_logits"] = True
        backbone_inputs["logits_to_keep"] = logits_to_keep
        # Each batch has a router's loss of its own.
        apart = passage_rows is None or (self.has_router and self.training) or not self._may_share_a_forward
        with head as fused:
            output, states = self._decode(None if apart else passage_rows, **backbone_inputs)
        total = None if fused is None else fused.loss
        router_losses = [output.aux_loss] if getattr(output, "aux_loss", None) is not None else []
        found: dict[str, Tensor] = {}
        if labels is not None:
            targets = shifted_targets(labels).to(output.logits.device)
            if total is None:
                found["loss_gen"] = causal_lm_loss(output.logits, targets, num_items_in_batch)
            else:
                found["loss_gen"] = averaged(total, targets, num_items_in_batch)
        if retrieval_positions is not None:
            if not isinstance(retrieval_positions, Tensor):
                retrieval_positions = pad_positions(retrieval_positions).to(states.hidden.device)
            found["retrieval_embeddings"] = self._projected(states.at(retrieval_positions))
        if passage_input_ids is not None:
            assert passage_retrieval_positions is not None
            if passage_rows is None:
                # This process has no passages, but takes part in the exchange with those that have, and its backward.
                found["passage_embeddings"] = self._projected(states.hidden[0, :0])
            else:
                if states.batches == 2:
                    embedded = self._projected(states.at(passage_retrieval_positions, batch=1))
                else:
                    embedded = self.embed(*passage_rows, passage_retrieval_positions, router_losses)
                found["passage_embeddings"] = embedded[passage_retrieval_positions >= 0]
            if retrieval_targets is not None and retrieval_positions is not None:
                anchors = found["retrieval_embeddings"]
                if retrieval_positions.dtype != torch.bool:
                    anchors = anchors[retrieval_positions >= 0]
                passages = found["passage_embeddings"]
                found |= self.contrast(
                    anchors, passages, retrieval_targets, passage_keys, num_anchors_in_batch, teacher_scores
                )
        found |= self._join(found, router_losses)
        return OneGenOutput(
            logits=output.logits if total is None else None,
            # Not every decoder has all of them.
            **{name: getattr(output, name, None) for name in ("hidden_states", "attentions", CACHE)},
            **found,
        )

    def embed(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        retrieval_positions: Tensor,
        router_losses: list[Tensor] | None = None,
    ) -> Tensor:
        """
        Embeddings at retrieval positions, without the language-model head: hidden states, projected where the model
        has a projection.

        Args:
            input_ids (`Tensor` of shape `(n_rows, length)`): Right-padded. Run without padding where [`packs_rows`]
                allows it; otherwise neighbouring rows of similar length are run together, trimmed to their own length.
            attention_mask (`Tensor` of the same shape, *optional*)
            retrieval_positions (`Tensor` of shape `(n_rows, m)`, int64): Padded with -1.
            router_losses (`list[Tensor]`, *optional*): Receives the router's loss of each group.

        Returns:
            `Tensor` of shape `(n_rows, m, dim)`, the model's dtype, not normalised; zeros at padding.
        """
        instance(Tensor)("input_ids", input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        parts = []
        nothing = torch.zeros_like(input_ids, dtype=torch.bool)
        lengths = attention_mask.sum(dim=1).tolist()
        # A router's loss is made of whole rows.
        whole = packs_rows(self, input_ids.shape[1]) and not (self.has_router and self.training)
        if whole or (self.equal_forwards and padding_is_harmless(self)):
            groups = [(0, len(lengths), input_ids.shape[1])]
        else:
            # Where padding changes a row, only rows of one length are run together.
            groups = _groups_of_similar_length(lengths, PADDING_WASTE if padding_is_harmless(self) else 0.0)
        for start, stop, length in groups:
            mask = attention_mask[start:stop, :length]
            output, states = self._decode(
                None,
                input_ids=input_ids[start:stop, :length],
                attention_mask=mask,
                use_cache=False,
                logits_to_keep=nothing[start:stop, :length],
                **({"output_router_logits": True} if self.has_router and self.training else {}),
            )
            if router_losses is not None and getattr(output, "aux_loss", None) is not None:
                router_losses.append(output.aux_loss)
            parts.append(self._projected(states.at(retrieval_positions[start:stop])))
        return torch.cat(parts)

    def _decode(self, passages: tuple[Tensor, Tensor] | None = None, **inputs: Any) -> tuple[Any, LastStates]:
        """
        Run the backbone and catch the decoder's last hidden state (after the final norm) on its way to the head.

        Args:
            passages (`tuple[Tensor, Tensor]`, *optional*): Token ids and attention mask of a second batch, which goes
                through the decoder in the same forward where rows are packed, and is left out elsewhere.
            inputs: Of the backbone's forward; rows with padding on the right are run without it where possible.
        """
        rows = packed_rows(self, inputs, passages)
        if rows is None and passages is not None:
            passages, rows = None, packed_rows(self, inputs)
        if rows is not None:
            ids, kept = [inputs["input_ids"]], [inputs["logits_to_keep"]]
            if passages is not None:
                ids.append(passages[0])
                kept.append(torch.zeros_like(passages[0], dtype=torch.bool))
            inputs |= rows.inputs(ids, kept)
        _capture.wanted = True
        try:
            output = super().forward(**inputs)  # type: ignore[misc]
            return output, LastStates(_capture.hidden, rows)
        finally:
            _capture.wanted, _capture.hidden = False, None

    def _projected(self, states: Tensor) -> Tensor:
        projection = getattr(self, MODULE)
        return states if projection is None else projection(states)

    @property
    def _may_share_a_forward(self) -> bool:
        """Whether a batch and its passages may be packed together: rows beyond a window are not."""
        config = self.config.get_text_config()
        return not self.equal_forwards or getattr(config, "sliding_window", None) is None

    def contrast(
        self,
        anchors: Tensor,
        passages: Tensor,
        targets: Tensor,
        keys: Tensor | None = None,
        num_anchors: int | Tensor | None = None,
        teacher_scores: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """
        The losses over embeddings: the contrastive one with the passages of all processes, and distillation with those
        of this process, whose teacher scores alone are known.

        Args:
            anchors (`Tensor` of shape `(n_anchors, hidden)`)
            passages (`Tensor` of shape `(n_passages, hidden)`)
            targets (`Tensor` of shape `(n_anchors, n_passages)`): As `retrieval_targets` of the forward.
            keys (`Tensor` of shape `(n_passages,)`, *optional*): As `passage_keys`.
            num_anchors (`int` or 0-d `Tensor`, *optional*): As `num_anchors_in_batch`.
            teacher_scores (`Tensor` of shape `(n_anchors, n_passages)`, *optional*): As for the forward.

        Returns:
            `dict[str, Tensor]`: `loss_ret`, `retrieval_accuracy`, and `loss_distill` with `teacher_scores`.
        """
        if self.contrastive_loss is None:
            self.set_loss()
        assert self.contrastive_loss is not None and self.distillation_loss is not None
        if keys is None:
            keys = torch.arange(passages.shape[0], device=anchors.device)
        candidates = gather_candidates(passages, keys, targets)
        others = None
        if self.contrastive_loss.compares_anchors:
            others = gather_other_anchors(anchors, candidates.targets)
        loss = self.contrastive_loss(anchors, candidates.embeddings, candidates.targets, num_anchors, others)
        accuracy = in_batch_accuracy(anchors.detach(), candidates.embeddings.detach(), candidates.targets)
        losses = {"loss_ret": loss, "retrieval_accuracy": accuracy}
        if teacher_scores is not None:
            losses["loss_distill"] = self.distillation_loss(anchors, passages, targets, teacher_scores, num_anchors)
        return losses

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of the parts of the objective, by their names in [`OneGenOutput`]."""
        return {"loss_gen": self.lambda_gen, "loss_ret": self.lambda_ret, "loss_distill": self.lambda_distill}

    def _join(self, found: dict[str, Tensor], router_losses: list[Tensor]) -> dict[str, Tensor]:
        joined: dict[str, Tensor] = {}
        parts = [weight * found[name] for name, weight in self.loss_weights.items() if name in found]
        if parts and router_losses:
            coefficient = self.config.get_text_config().router_aux_loss_coef  # type: ignore[attr-defined]
            joined["loss_router"] = (
                coefficient * torch.stack([part.to(parts[0].device) for part in router_losses]).mean()
            )
            parts.append(joined["loss_router"])
        if parts:
            joined["loss"] = torch.stack(parts).sum()
        return joined

    @property
    def has_router(self) -> bool:
        """Whether the backbone is a mixture of experts, whose router has a loss of its own."""
        config = self.config.get_text_config()  # type: ignore[attr-defined]
        return hasattr(config, "output_router_logits") and hasattr(config, "router_aux_loss_coef")


def decoder_of(model: Any) -> nn.Module:
    """
    The part of a causal language model below its head.

    Raises:
        `ValueError`: If there is no such part.
    """
    decoder = model.get_decoder()
    if decoder is model or decoder is None:  # as for some text parts of models of several modalities
        decoder = getattr(model, model.base_model_prefix, None) or getattr(model, "model", None)
    if not isinstance(decoder, nn.Module):
        raise ValueError(
            f"{type(model).__name__} has no decoder below its head whose last hidden state could be an embedding: "
            "choose another backbone"
        )
    return decoder


def _groups_of_similar_length(lengths: list[int], waste: float = PADDING_WASTE) -> list[tuple[int, int, int]]:
    """
    Cut rows into consecutive groups in which padding stays below a share of the positions.

    Returns:
        `list[tuple[int, int, int]]`: (start, stop, longest) of each group.
    """
    groups: list[tuple[int, int, int]] = []
    start, total, longest = 0, 0, 0
    for row, length in enumerate(lengths):
        new_longest = max(longest, length, 1)
        size = row - start + 1
        if row > start and total + length < (1 - waste) * size * new_longest:
            groups.append((start, row, longest))
            start, total, new_longest = row, 0, max(length, 1)
        total, longest = total + length, new_longest
    if lengths:
        groups.append((start, len(lengths), longest))
    return groups
