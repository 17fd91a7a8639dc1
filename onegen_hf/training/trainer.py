"""`OneGenTrainer`: the joint objective on transformers' Trainer, through its documented hooks only."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer

from ..cards import model_card
from ..cards.training_record import TrainingRun, base_model_of
from ..data.collator import OneGenDataCollator
from ..data.documents import DocumentStore
from ..data.encoding import encode_dataset, one_split
from ..data.targets import POSITIVE
from ..files import write_text_atomically
from ..losses.contrastive import count_anchors
from ..metrics.anchor_ranks import best_positive_ranks, rank_metrics
from ..modeling.adapters import save_adapter
from ..modeling.auto import OneGenForCausalLM
from ..modeling.outputs import OneGenOutput
from .arguments import OneGenTrainingArguments
from .checkpoint_push import CheckpointPushMixin
from .gradient_cache import GradientCache
from .resuming import ResumingMixin

UNUSED_OF_TRAINER = ("compute_metrics", "preprocess_logits_for_metrics", "compute_loss_func")
"""Arguments of `Trainer` that this one has no place for."""


class OneGenTrainer(CheckpointPushMixin, ResumingMixin, Trainer):
    """
    Trains a [`OneGenForCausalLM`] to generate and to retrieve (paper section 3.2).

    Logs `loss_gen`, `loss_ret` and `retrieval_accuracy` (in-batch) beside the loss; `evaluate()` reports both losses
    and recall@k and MRR of the evaluation's query tokens against all evaluation passages (the positives and negatives
    of its examples).

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
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=encode_dataset(one_split(train_dataset), data_collator),
            eval_dataset=encode_dataset(eval_dataset, data_collator),
            processing_class=processing_class,
            **kwargs,
        )
        self.training_run = TrainingRun(self.model, base_model_of(self.model))
        self.add_callback(self.training_run)
        self._totals: dict[str, Tensor] = {}
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
        return model if self._peft_config is None else add_adapter(model, self.processing_class, self._peft_config)

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

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if self.args.world_size > 1 and "passage_input_ids" not in inputs:
            inputs |= no_passages(inputs["input_ids"])
        training = model.training and self._anchors_in_batch is not None and num_items_in_batch is not None
        counts = {"num_items_in_batch": num_items_in_batch, "num_anchors_in_batch": self._anchors_in_batch}
        if training and self.args.contrastive_chunk_size is not None:
            outputs = self._in_chunks(model, inputs, counts)
        else:
            outputs = model(**inputs, **(counts if training else {}))
        loss = outputs.loss
        if training:
            # DDP averages gradients over processes, while the divisors already count all processes.
            router = 0.0 if outputs.loss_router is None else outputs.loss_router
            loss = (loss - router) * self.accelerator.num_processes + router / self.current_gradient_accumulation_steps
            self._add_totals(outputs, inputs)
        return (loss, outputs) if return_outputs else loss

    def _in_chunks(self, model: nn.Module, inputs: dict[str, Any], counts: dict[str, Any]) -> OneGenOutput:
        cache = GradientCache(
            self.args.contrastive_chunk_size,
            backward=lambda loss: self.accelerator.backward(loss * self.accelerator.num_processes),
            no_sync=lambda: self.accelerator.no_sync(model),
        )
        return cache(model, _joint_model(self.accelerator.unwrap_model(model)), inputs, **counts)

    def _add_totals(self, outputs: Any, inputs: dict[str, Any]) -> None:
        if not self._totals:
            self._logged_step = self.state.global_step  # not 0 where a run was resumed
        values = {name: getattr(outputs, name) for name in ("loss_gen", "loss_ret", "loss_router")}
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
        super().log(logs, start_time)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor | None, None, None]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        record: dict[str, Any] = {"tokens": int((inputs["labels"][:, 1:] != -100).sum()), "anchors": 0}
        record["loss_gen"] = outputs.loss_gen.item() * record["tokens"]
        if outputs.loss_ret is not None:
            targets = inputs["retrieval_targets"].cpu()
            keys = inputs["passage_keys"].tolist()
            anchors = outputs.retrieval_embeddings[inputs["retrieval_positions"] >= 0]
            record["anchors"] = int(count_anchors(targets))
            record["loss_ret"] = outputs.loss_ret.item() * record["anchors"]
            record["anchor_embeddings"] = anchors.float().cpu()
            record["positives"] = [[keys[c] for c in row.nonzero()[:, 0].tolist()] for row in targets == POSITIVE]
            record["passages"] = dict(zip(keys, outputs.passage_embeddings.float().cpu(), strict=True))
        self._evaluation.append(record)
        return loss.detach(), None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._evaluation = []
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
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
        output_dir = output_dir or self.args.output_dir
        os.makedirs(output_dir, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if isinstance(model, PeftModel):
            save_adapter(model, self.processing_class, output_dir)
        else:
            model.save_pretrained(output_dir, state_dict=state_dict)
            self.processing_class.save_pretrained(output_dir)
        write_text_atomically(Path(output_dir) / "training_args.json", self.args.to_json_string())
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


def add_adapter(model: Any, tokenizer: PreTrainedTokenizerBase, peft_config: PeftConfig) -> PeftModel:
    """
    Put a PEFT adapter on a model; with LoRA, the rows of the retrieval tokens are trained beside it (those of an
    untied head too, unless the adapter covers the head itself).

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        peft_config (`PeftConfig`): Its `trainable_token_indices` is filled in when unset.
    """
    if isinstance(peft_config, LoraConfig) and peft_config.trainable_token_indices is None:
        rows = sorted(tokenizer.convert_tokens_to_ids(model.onegen_config.tokens.all))
        inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
        names = {module: name for name, module in model.named_modules()}
        covered = {*(peft_config.target_modules or ()), *(peft_config.modules_to_save or ())}
        untied = head is not None and head.weight is not inputs.weight and getattr(head, "bias", None) is None
        if untied and names[head].rpartition(".")[2] not in covered:
            peft_config.trainable_token_indices = {names[inputs]: rows, names[head]: rows}
        else:
            peft_config.trainable_token_indices = rows
    return get_peft_model(model, peft_config)


def summarize_evaluation(records: list[dict[str, Any]], recall_at: Sequence[int]) -> dict[str, float]:
    """Join what the evaluation steps kept: both losses per token and per anchor, and retrieval over all passages."""
    tokens = sum(record["tokens"] for record in records)
    anchors = sum(record["anchors"] for record in records)
    metrics: dict[str, float] = {}
    if tokens:
        metrics["loss_gen"] = sum(record["loss_gen"] for record in records if record["tokens"]) / tokens
    if anchors:
        metrics["loss_ret"] = sum(record.get("loss_ret", 0.0) for record in records) / anchors
        passages: dict[int, Tensor] = {}
        for record in records:
            passages |= record.get("passages", {})
        row_of = {key: row for row, key in enumerate(passages)}
        embeddings = torch.cat([r["anchor_embeddings"] for r in records if "anchor_embeddings" in r])
        positives = [[row_of[key] for key in keys] for r in records for keys in r.get("positives", [])]
        ranks = best_positive_ranks(embeddings, torch.stack(list(passages.values())), positives)
        metrics |= rank_metrics(ranks, recall_at)
        metrics["num_passages"] = float(len(passages))
    return metrics
