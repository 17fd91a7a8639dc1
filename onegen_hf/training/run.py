"""
Training from the command line, on one process or many.

```
onegen-hf train --config quick_start
accelerate launch -m onegen_hf.train --config quick_start
torchrun --nproc_per_node 2 -m onegen_hf.train --config quick_start --use-cpu
```
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from ..bundled.recipes import recipes
from ..cards.training_record import changed_options
from ..checks import checked_fields, choice, integer, list_of, optional, text
from ..configuration import RENAMED, OneGenConfig
from ..data.loading import join, load_documents, load_examples
from ..files import locked_folder
from ..modeling.adapters import is_adapter
from ..modeling.auto import OneGenForCausalLM, load_adapter
from ..modeling.backbones import load_backbone
from ..modeling.tokenizers import load_tokenizer
from ..presets import PRESET_CHOICES, with_preset
from ..terminal.options import OptionParser
from .arguments import OneGenTrainingArguments
from .earlier_run import check_same_training, settings_of
from .model_options import adapter_config, check_model_options, loading_options
from .resuming import last_whole_checkpoint
from .sharding import loaded_whole
from .trainer import OneGenTrainer

logger = logging.getLogger(__name__)


@dataclass
class DataArguments:
    """What to train and evaluate on."""

    renamed: ClassVar[dict[str, str]] = {"datasets": "dataset"}

    dataset: list[str] = field(
        metadata={
            "help": "Dataset repositories (local or on the Hub) with the configs `documents` and `examples`. Their "
            "documents form one corpus."
        }
    )
    num_examples: list[int] | None = field(
        default=None, metadata={"help": "Number of training examples from each dataset; default: all."}
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str | None = field(
        default=None, metadata={"help": "Split to evaluate on, in the datasets that have it; default: no evaluation."}
    )
    num_eval_examples: int | None = field(
        default=None, metadata={"help": "Number of evaluation examples from each dataset; default: all."}
    )

    def __post_init__(self) -> None:
        checked_fields(
            self,
            dataset=list_of(text()),
            num_examples=optional(list_of(integer(least=1))),
            train_split=text(),
            eval_split=optional(text()),
            num_eval_examples=optional(integer(least=1)),
        )
        if self.num_examples is not None and len(self.num_examples) != len(self.dataset):
            raise ValueError(
                f"num_examples={self.num_examples} needs one number for each of the {len(self.dataset)} datasets"
            )

    def documents(self) -> Dataset:
        """The joint corpus."""
        return join([load_documents(name) for name in self.dataset])

    def train_examples(self) -> Dataset:
        """The training examples of all datasets, concatenated."""
        limits: Sequence[int | None] = self.num_examples or [None for _ in self.dataset]
        return join(
            [load_examples(name, self.train_split, limit) for name, limit in zip(self.dataset, limits, strict=True)]
        )

    def eval_examples(self) -> Dataset | None:
        """The evaluation examples, or `None` without an `eval_split`."""
        if self.eval_split is None:
            return None
        return join([load_examples(name, self.eval_split, self.num_eval_examples) for name in self.dataset])


@dataclass
class FormatArguments:
    """Settings of [`OneGenConfig`]. Those left out stay as in the checkpoint, or at their defaults."""

    renamed: ClassVar[dict[str, str]] = {"tokens": "preset", **RENAMED}

    preset: str | None = field(
        default=None,
        metadata={
            "help": "Retrieval tokens by the name of a preset; those of the paper set the formats too.",
            "choices": PRESET_CHOICES,
        },
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message for conversations without one."})
    passage_template: str | None = field(
        default=None, metadata={"help": "Template of a passage, with {title} and {text}."}
    )
    prompt_template: str | None = field(default=None, metadata={"help": "Template of a question, with {question}."})
    answer_prefix: str | None = field(default=None, metadata={"help": "Text before the final answer."})
    granularity: str | None = field(default=None, metadata={"help": "What has an embedding: passage or sentence."})
    default_index: str | None = field(default=None, metadata={"help": "The index that belongs to the checkpoint."})
    max_inserted_tokens: int | None = field(
        default=None, metadata={"help": "Maximum number of tokens of an inserted passage."}
    )
    max_embedded_tokens: int | None = field(
        default=None, metadata={"help": "Maximum number of tokens of an embedded passage."}
    )
    inserted_sentences: int | None = field(
        default=None,
        metadata={"help": "Sentences inserted of a passage: those with most words of the query; default: all."},
    )
    projection_dim: int | None = field(
        default=None,
        metadata={"help": "Size of an embedding, projected from the hidden state; default: the hidden state itself."},
    )

    def __post_init__(self) -> None:
        checked_fields(self, preset=optional(choice(PRESET_CHOICES)))

    def apply_to(self, settings: OneGenConfig) -> OneGenConfig:
        """The settings with these changes."""
        changes = {name: value for name, value in asdict(self).items() if value is not None}
        if self.preset is not None:
            settings = with_preset(settings, changes.pop("preset"))
        return OneGenConfig.from_dict({**settings.to_dict(), **changes})


def load_for_training(
    model_config: ModelConfig, format_arguments: FormatArguments
) -> tuple[Any, PreTrainedTokenizerBase, Any]:
    """
    Load what a run starts from: a plain language model, a OneGen checkpoint, or an adapter that is trained further.

    Args:
        model_config (`trl.ModelConfig`): `model_name_or_path`, `dtype`, `attn_implementation`, `load_in_4bit`, LoRA
            settings, ...
        format_arguments ([`FormatArguments`])

    Returns:
        `tuple`: Model, tokenizer, and the `PeftConfig` of a new adapter or `None`.

    Raises:
        `ValueError`: If no model is named, or an option would have no effect.
        `ImportError`: If a quantised base is asked for, and bitsandbytes is not installed.
    """
    name = model_config.model_name_or_path
    if not name:
        raise ValueError("model_name_or_path is missing: name the language model to start from")
    from_adapter = is_adapter(name, revision=model_config.model_revision)
    check_model_options(model_config, from_adapter)
    options = loading_options(model_config)
    if from_adapter:
        model = load_adapter(name, merge=False, is_trainable=True, **options)
        base = model.get_base_model()
        base.set_onegen_config(format_arguments.apply_to(base.onegen_config))
        return model, load_tokenizer(name), None
    backbone, tokenizer = load_backbone(name, **options)
    assert tokenizer is not None
    settings = format_arguments.apply_to(OneGenConfig.of(backbone.config) or OneGenConfig())
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=settings)
    return model, tokenizer, adapter_config(model_config)


def run(
    data: DataArguments, format_arguments: FormatArguments, args: OneGenTrainingArguments, model_config: ModelConfig
) -> OneGenTrainer:
    """
    Train and save. A run that was interrupted goes on from the last whole checkpoint in `output_dir`, if it has the
    same settings.

    Returns:
        [`OneGenTrainer`]: After training.

    Raises:
        `FolderLockedError`: If another training writes to `output_dir`.
        `ValueError`: If `output_dir` holds a training with other settings, see [`check_same_training`].
    """
    with locked_folder(str(args.output_dir), "training") if args.process_index == 0 else nullcontext():
        return _run(data, format_arguments, args, model_config)


def _run(
    data: DataArguments, format_arguments: FormatArguments, args: OneGenTrainingArguments, model_config: ModelConfig
) -> OneGenTrainer:
    if model_config.model_name_or_path:
        # Before any data is read.
        check_model_options(
            model_config, is_adapter(model_config.model_name_or_path, revision=model_config.model_revision)
        )
    output_dir = str(args.output_dir)
    recipe = {**changed_options(model_config), **changed_options(format_arguments), **changed_options(data)}
    checkpoint = args.resume_from_checkpoint
    if checkpoint is None and not args.overwrite_output_dir:
        checkpoint = last_whole_checkpoint(output_dir)
    if args.resume_from_checkpoint is None and not args.overwrite_output_dir:
        # The trainer asks again, when it knows the data and the model; here nothing has been loaded yet.
        check_same_training(settings_of(args, recipe), output_dir)
    documents, train_examples, eval_examples = data.documents(), data.train_examples(), data.eval_examples()
    with loaded_whole():
        model, tokenizer, peft_config = load_for_training(model_config, format_arguments)
    trainer = OneGenTrainer(
        model,
        args,
        train_dataset=train_examples,
        eval_dataset=eval_examples,
        documents=documents,
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    trainer.training_run.datasets = data.dataset
    trainer.training_run.recipe = recipe
    if checkpoint is not None:
        logger.warning("going on from %s; give another output_dir to start afresh", checkpoint)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    trainer.save_state()
    trainer.save_metrics("train", result.metrics)
    if eval_examples is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if args.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.create_model_card()
    return trainer


def parse(
    arguments: Sequence[str],
) -> tuple[DataArguments, FormatArguments, OneGenTrainingArguments, ModelConfig]:
    """Read the options and the recipe that they name."""
    parser = OptionParser(
        (DataArguments, FormatArguments, OneGenTrainingArguments, ModelConfig),
        "onegen-hf train",
        description="Train a model to generate and retrieve.",
        synonyms={"model": "model_name_or_path"},
        configs=recipes(),
    )
    return parser.parse(arguments)  # type: ignore[return-value]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are those of the process by default."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    trainer = run(*parse(sys.argv[1:] if arguments is None else arguments))
    trainer.end()


if __name__ == "__main__":
    main()
