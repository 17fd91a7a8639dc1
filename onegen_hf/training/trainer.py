"""`OneGenTrainer`: the joint objective on transformers' Trainer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftConfig, PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.trainer_utils import HubStrategy

from ..cards import model_card
from ..cards.curves import training_curves
from ..cards.training_record import TrainingRun, base_model_of
from ..checks import checked, instance, optional
from ..data.collator import OneGenDataCollator
from ..data.documents import DocumentStore
from ..data.encoding import encode_dataset, one_split
from ..data.targets import POSITIVE
from ..files import locked_folder, write_text_atomically
from ..hub.layout import CURVES_FILE
from ..losses.causal_lm import causal_lm_loss, shifted_targets
from ..losses.contrastive import count_anchors
from ..modeling.adapters import save_adapter
from ..modeling.auto import OneGenForCausalLM
from ..modeling.mergeable import check_mergeable
from ..modeling.outputs import OneGenOutput
from .adapter import add_adapter
from .arguments import OneGenTrainingArguments
from .checkpoint_push import push_checkpoint
from .earlier_run import ARGUMENTS_FILE, checkpoint_to_resume
from .evaluation import summarize_evaluation
from .finite import check_finite_loss, check_finite_weights, trained_weights
from .fused_loss import use_fused_loss
from .gradient_cache import GradientCache
from .labels import check_something_to_learn
from .lora_linear import use_fast_lora_layers
from .lost_process import lost_process_explained
from .quantized_base import keep_quantized_weights
from .resuming import restore_projection, restore_renamed_weights
from .sharding import (
    asks_for_sharding,
    check_sharding,
    load_sharded_adapter,
    most_on_any_process,
    passage_without_embedding,
    runs_equal_forwards,
    shard_tied_rows_once,
    without_step,
    without_tied_copies,
)
from .teacher import attach_teacher
from .utilization import Utilization

OBJECTIVE = ("loss_gen", "loss_ret", "loss_distill", "loss_router")
"""The parts of the objective that are logged."""
UNUSED_OF_TRAINER = ("compute_metrics", "preprocess_logits_for_metrics", "compute_loss_func")
"""Arguments of `Trainer` that this one has no place for."""


class OneGenTrainer(Trainer):
    """
    Trains a [`OneGenForCausalLM`] to generate and to retrieve (paper section 3.2).

    Logs `loss_gen`, `loss_ret`, `loss_distill` (with a teacher), `retrieval_accuracy` (in-batch), `tokens_per_second`
    (real tokens of all processes, since the last log) and on known GPUs `mfu` beside the loss;
    `evaluate()` reports the losses, and recall@k and MRR of the evaluation's query tokens against all evaluation
    passages (the positives and negatives of its examples).

    Gradient accumulation and several processes: the language-model loss is divided by the labelled tokens of the whole
    batch and the contrastive loss by its query tokens, so both weigh every token and anchor as one big batch would.
    Negatives come from all processes (with gradients), so several processes equal one with the joined batch. They do
    *not* come from other micro-batches: under accumulation an anchor sees fewer negatives than in the big batch, which
    no scaling can undo; raise `per_device_train_batch_size` or `num_random_negatives` where that matters. A mixture of
    experts' router loss is averaged over micro-batches and processes.

    Args:
        model (`OneGenForCausalLM`, `PeftModel` over one, or `str`): A string is loaded with `from_pretrained`. `None`
            with a `model_init`, which makes one for each training, as `hyperparameter_search` needs it (`lambda_ret`
            and the other arguments of the objective may be searched).
        args ([`OneGenTrainingArguments`], *optional*)
        train_dataset, eval_dataset (`datasets.Dataset`, *optional*): Rows of the `examples` configuration.
        documents (`DocumentStore` or rows of the `documents` configuration, *optional*): What the examples refer to;
            needed unless `data_collator` is given.
        processing_class (`PreTrainedTokenizerBase`, *optional*): The tokenizer, with the retrieval tokens.
        peft_config (`PeftConfig`, *optional*): Trains an adapter; the retrieval tokens' rows stay trainable.
        data_collator (`OneGenDataCollator`, *optional*)
        kwargs: As for [`~transformers.Trainer`], but for functions that compute metrics or the loss.
    """

    # The loss below is already divided by the whole batch's tokens and anchors.
    loss_is_scaled_for_ga = True

    @checked(
        args=optional(instance(OneGenTrainingArguments)),
        processing_class=optional(instance(PreTrainedTokenizerBase)),
        peft_config=optional(instance(PeftConfig)),
    )
    def __init__(
        self,
        model: Any = None,
        args: OneGenTrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        documents: DocumentStore | Sequence[Any] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        data_collator: OneGenDataCollator | None = None,
        **kwargs: Any,
    ) -> None:
        for name in UNUSED_OF_TRAINER:
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{name} would not be called: the loss is the model's (`lambda_ret`, `contrastive_loss`), and "
                    "evaluation reports losses, recall@k and MRR; use `onegen_hf.evaluation` for answers"
                )
        self.args = args = args or OneGenTrainingArguments("onegen-trainer")
        self.processing_class: Any = processing_class
        self._peft_config, self._first_model = peft_config, None
        if model is None and kwargs.get("model_init") is not None:
            self.model_init = kwargs["model_init"]
            self._first_model = self.call_model_init()
        elif isinstance(model, str):
            model = OneGenForCausalLM.from_pretrained(model)
        if model is not None:
            model = self._prepared(model)
        if data_collator is None:
            if documents is None:
                raise ValueError("documents is missing: pass the corpus that positives and negatives refer to")
            data_collator = OneGenDataCollator(
                processing_class,
                documents,
                _joint_model(model or self._first_model).onegen_config,
                num_hard_negatives=args.num_hard_negatives,
                num_random_negatives=args.num_random_negatives,
                max_length=args.max_length,
                seed=args.data_seed if args.data_seed is not None else args.seed,
            )
        if args.n_gpu > 1:
            # torch's DataParallel splits every tensor along its first axis, which passages and targets do not share.
            args._n_gpu = 1
        train_dataset = encode_dataset(one_split(train_dataset), data_collator)
        eval_dataset = encode_dataset(eval_dataset, data_collator, "eval_dataset")
        check_something_to_learn(train_dataset, args)
        if args.distill_from is not None:
            attach_teacher(data_collator, args, train_dataset, eval_dataset)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        check_sharding(self)
        shard_tied_rows_once(self)
        self.training_run = TrainingRun(self.model, base_model_of(self.model))
        self.add_callback(self.training_run)
        self._totals: dict[str, Tensor] = {}
        self._utilization: Utilization | None = None
        self._logged_step = 0
        self._anchors_in_batch: Tensor | None = None
        self._evaluation: list[dict[str, Any]] = []

    def _prepared(self, model: Any) -> Any:
        """The model with its objective, and with its adapter."""
        base = _joint_model(model)
        if self.processing_class is None:
            raise ValueError("processing_class is missing: pass the tokenizer that holds the retrieval tokens")
        base.check_tokenizer(self.processing_class)
        base.set_loss(**self.args.loss_options())
        if self.args.contrastive_chunk_size is not None and base.has_router:
            raise ValueError(
                f"contrastive_chunk_size={self.args.contrastive_chunk_size} cannot be combined with a mixture of "
                "experts, whose router's loss is not a sum over chunks: leave it out"
            )
        if self._peft_config is not None:
            model = add_adapter(model, self.processing_class, self._peft_config)
        elif isinstance(model, PeftModel):
            check_mergeable(model)
        keep_quantized_weights(base)
        base.equal_forwards = asks_for_sharding(self.args)
        use_fused_loss(base, self.args)
        if isinstance(model, PeftModel) and not asks_for_sharding(self.args):
            use_fast_lora_layers(model)
        return model

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """
        As [`~transformers.Trainer.train`], in a folder that no other training writes to meanwhile.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*): A checkpoint, or `True` for the last whole one in
                `output_dir`: one that a kill left half written is passed over.
            trial: Of a hyperparameter search.
            ignore_keys_for_eval (`list[str]`, *optional*): Not used: evaluation keeps no outputs.

        Raises:
            `FolderLockedError`: If another training writes to `output_dir`.
            `ValueError`: If there is no whole checkpoint to resume from, or if `output_dir` or the checkpoint belongs
                to a training with other settings.
        """
        optional(instance(str, bool, os.PathLike))("resume_from_checkpoint", resume_from_checkpoint)
        searching = trial is not None  # each trial has a folder of its own
        main = self.is_world_process_zero() and not searching
        with (
            locked_folder(str(self.args.output_dir), "training") if main else nullcontext(),
            lost_process_explained(self.args.output_dir, self.args.world_size),
        ):
            if not searching:
                resume_from_checkpoint = checkpoint_to_resume(self, resume_from_checkpoint)
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target = self.model if model is None else model
        if self.is_fsdp_enabled and load_sharded_adapter(target, resume_from_checkpoint):
            return
        if not restore_renamed_weights(target, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        restore_projection(target, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if not restore_renamed_weights(self.model, str(self.state.best_model_checkpoint)):
            super()._load_best_model()
        restore_projection(self.model, str(self.state.best_model_checkpoint))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Save a plain checkpoint, whose weights are gathered from all processes where they are sharded.

        Args:
            output_dir (`str`, *optional*): By default that of the arguments.
        """
        of_checkpoint = _internal_call and output_dir is not None  # that of a push has no folder
        if of_checkpoint or not self._saves_shards:
            return super().save_model(output_dir, _internal_call)
        # Trainer writes nothing with sharded state dicts; those of checkpoints stay sharded.
        plugin = self.accelerator.state.fsdp_plugin
        kind = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            plugin.set_state_dict_type(kind)

    @property
    def _saves_shards(self) -> bool:
        """Whether a checkpoint holds what each process has, and no plain model."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        return plugin is not None and "SHARDED" in str(plugin.state_dict_type)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._saves_shards and self.args.hub_strategy != HubStrategy.END:
            self.save_model(_internal_call=True)
        push_checkpoint(self, checkpoint_folder)

    def call_model_init(self, trial: Any = None) -> Any:
        model, self._first_model = self._first_model, None
        return self._prepared(super().call_model_init(trial)) if model is None else model

    def _hp_search_setup(self, trial: Any) -> None:
        super()._hp_search_setup(trial)
        _joint_model(self.model).set_loss(**self.args.loss_options())

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        samples, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        anchors = sum(
            (count_anchors(s["retrieval_targets"]) for s in samples if "retrieval_targets" in s), torch.tensor(0)
        )
        self._anchors_in_batch = self._over_processes(anchors.to(device)).clamp(min=1)
        return samples, num_items

    def _over_processes(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "sum") if self.args.world_size > 1 else value

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        # Trainer asks the same next and leaves such a loss out of the log (`logging_nan_inf_filter`).
        check_finite_loss(loss, self)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if self.args.world_size > 1 and "passage_input_ids" not in inputs:
            inputs |= no_passages(inputs["input_ids"])
            if runs_equal_forwards(self):
                inputs |= passage_without_embedding(inputs["input_ids"])
            if getattr(self.data_collator, "teacher", None) is not None:
                inputs["teacher_scores"] = inputs["input_ids"].new_zeros((0, 0), dtype=torch.float32)
        training = model.training and self._anchors_in_batch is not None and num_items_in_batch is not None
        counts = {"num_items_in_batch": num_items_in_batch, "num_anchors_in_batch": self._anchors_in_batch}
        if training and (chunk_size := self.args.contrastive_chunk_size) is not None:
            outputs = self._in_chunks(chunk_size, model, inputs, counts)
        else:
            outputs = model(**inputs, **(counts if training else {}))
        loss = outputs.loss
        if training:
            # DDP averages gradients over processes, while the divisors already count all processes.
            router = 0.0 if outputs.loss_router is None else outputs.loss_router
            loss = (loss - router) * self.accelerator.num_processes + router / self.current_gradient_accumulation_steps
            self._add_totals(outputs, inputs)
            if self._utilization is None:
                self._utilization = Utilization(self.model, self.args.device)
            self._utilization.add(inputs)
        return (loss, outputs) if return_outputs else loss

    def _in_chunks(
        self, chunk_size: int, model: nn.Module, inputs: dict[str, Any], counts: dict[str, Any]
    ) -> OneGenOutput:
        # As Trainer has it: the loss is divided by the whole batch already.
        scaling = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
        cache = GradientCache(
            chunk_size,
            backward=lambda loss: self.accelerator.backward(loss * self.accelerator.num_processes, **scaling),
            no_sync=lambda: without_step(self.accelerator, model),
            most_chunks=most_on_any_process if runs_equal_forwards(self) else None,
        )
        return cache(model, _joint_model(self.accelerator.unwrap_model(model)), inputs, **counts)

    def _add_totals(self, outputs: Any, inputs: dict[str, Any]) -> None:
        if not self._totals:
            self._logged_step = self.state.global_step  # not 0 where a run was resumed
        values = {name: getattr(outputs, name) for name in OBJECTIVE}
        if outputs.retrieval_accuracy is not None:
            anchors = count_anchors(inputs["retrieval_targets"])
            values["anchors"] = anchors
            values["correct"] = outputs.retrieval_accuracy.nan_to_num() * anchors
        for name, value in values.items():
            if value is not None:
                # Tensors, so that no step waits for the device.
                self._totals[name] = self._totals.get(name, 0) + value.detach().float()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        steps = self.state.global_step - self._logged_step
        if self._totals and "loss" in logs and steps > 0:
            totals = {name: self._over_processes(value).item() for name, value in sorted(self._totals.items())}
            anchors, correct = totals.pop("anchors", 0.0), totals.pop("correct", 0.0)
            if "loss_router" in totals:
                totals["loss_router"] /= self.accelerator.num_processes * self.args.gradient_accumulation_steps
            logs |= {name: value / steps for name, value in totals.items()}
            if anchors:
                logs["retrieval_accuracy"] = correct / anchors
            self._totals = {}
            if self._utilization is not None:
                logs |= self._utilization.summary(self._over_processes, self.accelerator.num_processes)
        super().log(logs, start_time)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor | None, None, None]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        rows = self._rows_that_count(inputs["labels"].shape[0])
        predicted = shifted_targets(inputs["labels"][:rows])
        loss_gen = outputs.loss_gen
        if rows < inputs["labels"].shape[0]:
            loss_gen = causal_lm_loss(outputs.logits[: predicted.numel()], predicted)
        record: dict[str, Any] = {"tokens": predicted.numel(), "anchors": 0}
        record["loss_gen"] = loss_gen.item() * record["tokens"]
        if outputs.loss_ret is not None:
            positions = inputs["retrieval_positions"][:rows]
            anchors = outputs.retrieval_embeddings[:rows][positions >= 0]
            targets = inputs["retrieval_targets"][: len(anchors)].cpu()
            keys = inputs["passage_keys"].tolist()
            record["anchors"] = int(count_anchors(targets))
            for name in ("loss_ret", "loss_distill"):
                if getattr(outputs, name) is not None:
                    record[name] = getattr(outputs, name).item() * record["anchors"]
            record["anchor_embeddings"] = anchors.float().cpu()
            record["positives"] = [[keys[c] for c in row.nonzero()[:, 0].tolist()] for row in targets == POSITIVE]
            record["passages"] = dict(zip(keys, outputs.passage_embeddings.float().cpu(), strict=True))
        self._evaluation.append(record)
        return loss.detach(), None, None

    def _rows_that_count(self, rows: int) -> int:
        """Rows of a batch without those that fill the last one, which accelerate repeats from the beginning."""
        state = self.accelerator.gradient_state
        if self.args.world_size == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return min(max(state.remainder - self.args.process_index * rows, 0), rows)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        self._evaluation = []
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
        )
        records = gather_object(self._evaluation) if self.args.world_size > 1 else self._evaluation
        metrics = summarize_evaluation(records, self.args.eval_recall_at)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        self._evaluation = []
        return output

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """An estimate for one batch: its rows, and the passages beside them."""
        total = int(super().floating_point_ops(inputs))
        if "passage_input_ids" in inputs:
            total += int(super().floating_point_ops({"input_ids": inputs["passage_input_ids"]}))
        return total

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Since transformers 5.23 every process comes here. One writes; the others stay only where the model was
        # sharded at load time, since its weights are gathered from all of them.
        main = bool(self.args.should_save)
        if not main and not getattr(self, "is_distributed_loading_by_transformers", False):
            return
        output_dir = str(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        check_finite_weights(trained_weights(model, state_dict), self)
        if main:
            os.makedirs(output_dir, exist_ok=True)
        if isinstance(model, PeftModel):
            save_adapter(model, self.processing_class, output_dir, state_dict=state_dict, is_main_process=main)
        else:
            if state_dict is not None:
                state_dict = without_tied_copies(model, state_dict)
            model.save_pretrained(output_dir, state_dict=state_dict, is_main_process=main)
        if not main:
            return
        if not isinstance(model, PeftModel):
            self.processing_class.save_pretrained(output_dir)
        write_text_atomically(Path(output_dir) / ARGUMENTS_FILE, self.args.to_json_string())
        self.training_run.write(output_dir, self)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """
        Write README.md into `output_dir`, where the model has to be saved already: see [`model_card`].

        Args:
            language, license (`str`, *optional*): As the Hub names them.
            tags, tasks (`str` or `list[str]`, *optional*): Further tags.
            model_name (`str`, *optional*): By default that of the repository or of `output_dir`.
            finetuned_from (`str`, *optional*): The base model; by default as recorded.
            dataset_tags, dataset (`str` or `list[str]`, *optional*): Names of the training data, on the Hub or not; by
                default as recorded.
            dataset_args: Not used: the card names no subsets.

        Raises:
            `FileNotFoundError`: If `output_dir` holds no model.
        """
        if not self.is_world_process_zero():
            return
        directory = Path(str(self.args.output_dir))
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"{directory} holds no model: call `save_model` before `create_model_card`")
        if dataset_args is not None:
            warnings.warn("dataset_args is ignored: the card names no subsets of datasets", stacklevel=2)
        self.save_state()
        curves = training_curves(self.state.log_history)
        if curves is not None:
            write_text_atomically(directory / CURVES_FILE, curves)
        card = model_card(
            directory,
            datasets=_names(dataset_tags) or _names(dataset),
            repo_id=self.hub_model_id or self.args.hub_model_id or model_name,
            base_model=finetuned_from,
            tags=[*_names(tags), *_names(tasks)],
            language=language,
            license=license,
        )
        write_text_atomically(directory / "README.md", str(card))


def _joint_model(model: Any) -> Any:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, OneGenForCausalLM):
        raise TypeError(
            f"model is a {type(base).__name__}, not a OneGenForCausalLM: load it with "
            "`OneGenForCausalLM.from_backbone` or `.from_pretrained`"
        )
    return base


def _names(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or [])


def no_passages(input_ids: Tensor) -> dict[str, Tensor]:
    """
    The passages of a batch without any, spelled out: every process must take part when passages are exchanged, also
    one whose rows happen to retrieve nothing.
    """
    none = input_ids.new_zeros((0, 1))
    return {
        "retrieval_positions": torch.full_like(input_ids[:, :1], -1),
        "passage_input_ids": none,
        "passage_attention_mask": none,
        "passage_retrieval_positions": none,
        "passage_keys": none[:, 0],
        "retrieval_targets": input_ids.new_zeros((0, 0), dtype=torch.int8),
    }
