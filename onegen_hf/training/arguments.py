"""`OneGenTrainingArguments`: everything about a training run, for Python, YAML and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from ..checks import (
    Rule,
    check,
    checked_fields,
    choice,
    flag,
    instance,
    integer,
    list_of,
    number,
    optional,
    path,
    rules_by_annotation,
    text,
)
from ..losses import CONTRASTIVE_LOSSES, loss_options

RESUMABLE_PUSHES = (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)
_BOUNDS: dict[str, Rule] = {
    "output_dir": optional(path()),
    "resume_from_checkpoint": optional(path()),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), integer(least=1)),
    "gradient_accumulation_steps": integer(least=1),
    "max_steps": integer(least=-1),  # -1: as many as the epochs have
    "num_train_epochs": number(above=0),
    **dict.fromkeys(("learning_rate", "weight_decay", "max_grad_norm", "eval_delay"), number(least=0)),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), number(least=0, below=1)),
    "adam_epsilon": number(least=0),
    "warmup_steps": number(least=0),
    **dict.fromkeys(("save_steps", "logging_steps"), number(above=0)),
    "eval_steps": optional(number(above=0)),
    **dict.fromkeys(("save_total_limit", "eval_accumulation_steps"), optional(integer(least=1))),
    "dataloader_num_workers": integer(least=0),
    "dataloader_prefetch_factor": optional(integer(least=1)),
    "seed": integer(least=0),
    "data_seed": optional(integer(least=0)),
    "report_to": optional(instance(str, list)),
    "deepspeed": optional(instance(str, dict)),
    "neftune_noise_alpha": optional(number(least=0)),
}
"""Bounds of the parent's fields, which it checks late or not at all."""


@dataclass
class OneGenTrainingArguments(TrainingArguments):
    """
    Arguments of [`OneGenTrainer`], on top of [`~transformers.TrainingArguments`].

    > Parameters that control the objective λg·Lg + λr·Lr (paper equation 1)

    Args:
        lambda_gen (`float`, *optional*, defaults to 1.0): λg, weight of the language-model loss.
        lambda_ret (`float`, *optional*, defaults to 1.0): λr, weight of the contrastive loss.
        contrastive_loss (`str`, *optional*, defaults to `"bpr"`): `"bpr"`, `"info_nce"` or another key of
            [`~onegen_hf.losses.CONTRASTIVE_LOSSES`].
        contrastive_scale (`float`, *optional*): Factor on the cosine; by default the checkpoint's (20).
        contrastive_chunk_size (`int`, *optional*): Run a batch through the model in chunks, each with the tokens of
            this many of its longest rows. The gradient stays that of the whole batch, with all its negatives, and
            memory that of a chunk, at the price of one more forward (see [`GradientCache`]). `None` runs the batch in
            one piece.
        bpr_negatives (`str`, *optional*, defaults to `"mean"`): How BPR reduces over an anchor's negatives.
        info_nce_symmetric (`bool`, *optional*, defaults to `False`): InfoNCE also from passages to query tokens.
        matryoshka_dims (`list[int]`, *optional*): Average the contrastive loss over these prefixes of the embeddings
            and the whole, so that an index may keep a prefix only ([`~onegen_hf.losses.MatryoshkaLoss`]). The
            checkpoint remembers them, and a training that goes on from it keeps them; an empty list turns it off.

    > Parameters that control distillation

    Args:
        distill_from (`str`, *optional*): Name or path of a SentenceTransformer or a CrossEncoder whose ranking of a
            batch's passages is learned too. It scores the training data before the training starts; see
            [`~onegen_hf.training.teacher.EmbeddingTeacher`].
        lambda_distill (`float`, *optional*, defaults to 1.0): Weight of the distillation loss.
        distill_temperature (`float`, *optional*, defaults to 0.05): Divides the teacher's scores. 0.05 suits cosines;
            for a cross-encoder, whose logits span some ten units, use about 1.

    > Parameters that control the data

    Args:
        num_hard_negatives (`int`, *optional*, defaults to 1): Per query token, from the data.
        num_random_negatives (`int`, *optional*, defaults to 0): Per query token, from the corpus.
        max_length (`int`, *optional*, defaults to 1024): Longest generation row in tokens.

    > Parameters that control speed and memory

    Args:
        fused_cross_entropy (`bool`, *optional*): Compute the language-model loss of a training step without its
            logits, by Liger's fused linear cross-entropy, from the hidden states of the same forward as the retrieval
            embeddings. By default with `use_liger_kernel`, unless `liger_kernel_config` has
            `fused_linear_cross_entropy=False`, where the backbone's head is a plain matrix product. Evaluation keeps
            its logits.

    > Parameters that control evaluation

    Args:
        eval_recall_at (`list[int]`, *optional*, defaults to `[1, 5]`): The k of recall@k.

    > Parameters that control where the run writes

    Args:
        overwrite_output_dir (`bool`, *optional*, defaults to `False`): Start afresh in a folder that holds an earlier
            training, whose checkpoints are deleted. Without it, a folder of other settings is refused.

    Defaults that differ from the parent: `learning_rate=5e-5` stays, `remove_unused_columns=False` (rows hold more
    than the forward's arguments), `train_sampling_strategy="group_by_length"` (less padding).
    """

    lambda_gen: float = field(default=1.0, metadata={"help": "Weight of the language-model loss."})
    lambda_ret: float = field(default=1.0, metadata={"help": "Weight of the contrastive loss."})
    contrastive_loss: str = field(
        default="bpr", metadata={"help": "Contrastive loss.", "choices": sorted(CONTRASTIVE_LOSSES)}
    )
    contrastive_scale: float | None = field(default=None, metadata={"help": "Factor on the cosine similarity."})
    bpr_negatives: str = field(
        default="mean", metadata={"help": "BPR's reduction over negatives.", "choices": ["mean", "sum"]}
    )
    info_nce_symmetric: bool = field(default=False, metadata={"help": "InfoNCE also from passages to query tokens."})
    matryoshka_dims: list[int] | None = field(
        default=None, metadata={"help": "Prefixes of the embeddings that are trained to be compared on their own."}
    )
    distill_from: str | None = field(
        default=None, metadata={"help": "SentenceTransformer or CrossEncoder to distil from; default: none."}
    )
    lambda_distill: float = field(default=1.0, metadata={"help": "Weight of the distillation loss."})
    distill_temperature: float = field(default=0.05, metadata={"help": "Divides the teacher's scores."})
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={"help": "Run a batch in chunks of this many rows; its gradient stays the same."},
    )
    num_hard_negatives: int = field(default=1, metadata={"help": "Hard negatives per query token."})
    num_random_negatives: int = field(default=0, metadata={"help": "Random negatives per query token."})
    max_length: int | None = field(default=1024, metadata={"help": "Longest generation row in tokens."})
    fused_cross_entropy: bool | None = field(
        default=None,
        metadata={"help": "Compute the language-model loss without logits; default: with use_liger_kernel."},
    )
    eval_recall_at: list[int] = field(default_factory=lambda: [1, 5], metadata={"help": "The k of recall@k."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete the checkpoints of an earlier training in output_dir, start afresh."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Rows hold more than forward's arguments."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "As in TrainingArguments.", "choices": ["random", "sequential", "group_by_length"]},
    )

    def __post_init__(self) -> None:
        # The parent's own checks leave out most fields, and it turns some into other types.
        check(vars(self), {**rules_by_annotation(type(self)), **_BOUNDS})
        super().__post_init__()
        checked_fields(
            self,
            lambda_gen=number(least=0),
            lambda_ret=number(least=0),
            contrastive_loss=choice(sorted(CONTRASTIVE_LOSSES)),
            contrastive_scale=optional(number(above=0)),
            bpr_negatives=choice(("mean", "sum")),
            num_hard_negatives=integer(least=0),
            num_random_negatives=integer(least=0),
            max_length=optional(integer(least=2)),
            info_nce_symmetric=flag(),
            matryoshka_dims=optional(list_of(integer(least=1), empty=True, distinct=True)),
            distill_from=optional(text()),
            lambda_distill=number(least=0),
            distill_temperature=number(above=0),
            contrastive_chunk_size=optional(integer(least=1)),
            eval_recall_at=list_of(integer(least=1)),
            overwrite_output_dir=flag(),
        )
        distills = self.distill_from is not None and self.lambda_distill > 0
        if self.lambda_gen + self.lambda_ret == 0 and not distills:
            raise ValueError("lambda_gen=0.0 and lambda_ret=0.0 leave nothing to learn: set one of them above 0")
        if self.push_to_hub and self.hub_strategy in RESUMABLE_PUSHES and (self.deepspeed or self.fsdp):
            raise ValueError(
                f"hub_strategy={self.hub_strategy.value!r} sends the files that resuming needs, but DeepSpeed and "
                "FSDP write these into folders of their own, which are not sent: choose 'every_save'"
            )
        if self.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor={self.label_smoothing_factor} is no part of the joint objective: leave it out"
            )
        if self.use_liger_kernel:
            self.liger_kernel_config = self._kernels_below_the_head()
        if self.accelerator_config.dispatch_batches:
            raise ValueError(
                "dispatch_batches=True would cut the passages of a batch by its rows: leave it out of "
                "accelerator_config; every process then collates its own examples, of a stream too"
            )
        self.accelerator_config.dispatch_batches = False  # the default of accelerate for streams is True

    def _kernels_below_the_head(self) -> dict[str, Any]:
        """Liger's kernels without its fused loss, which would replace the joint forward: the model has its own."""
        kernels: dict[str, Any] = dict(self.liger_kernel_config or {})  # type: ignore[has-type]
        fused = kernels.get("fused_linear_cross_entropy")
        if fused and self.fused_cross_entropy is False:
            raise ValueError(
                "fused_cross_entropy=False contradicts fused_linear_cross_entropy=True of liger_kernel_config: leave "
                "one of them out"
            )
        if self.fused_cross_entropy is None:
            self.fused_cross_entropy = fused is not False
        return {**kernels, "fused_linear_cross_entropy": False}

    def loss_options(self) -> dict[str, Any]:
        """Arguments for [`~OneGenForCausalLM.set_loss`]."""
        name = self.contrastive_loss
        return {
            "name": name,
            "lambda_gen": self.lambda_gen,
            "lambda_ret": self.lambda_ret,
            "matryoshka_dims": self.matryoshka_dims,
            "lambda_distill": self.lambda_distill,
            "distill_temperature": self.distill_temperature,
            **loss_options(name, CONTRASTIVE_LOSSES[name], vars(self)),
        }
