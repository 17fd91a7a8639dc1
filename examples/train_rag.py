"""
Train a language model to retrieve and answer.

```
python examples/train_rag.py --output-dir outputs/examples/model
```

The defaults make four steps on questions over a built-in corpus of facts, which shows both losses and takes less than
a minute on a CPU. For a model that answers, raise `--max-steps` and `--train-size` (see recipes/quick_start.yaml), or
give your own data with `--dataset` (see docs/your_own_data.md).
"""

from __future__ import annotations

import argparse

from peft import LoraConfig

from data_builders.facts.builder import build_facts
from onegen_hf import OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.modeling import load_backbone


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="Hub id or folder of a decoder")
    parser.add_argument("--dataset", help="repository with documents and examples; by default the corpus of facts")
    parser.add_argument("--train-size", type=int, default=100, help="questions over the corpus of facts")
    parser.add_argument("--max-steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--output-dir", default="outputs/examples/model")
    return parser.parse_args()


def main() -> None:
    """Run the example."""
    options = parse()

    # 1. The data: passages, and conversations that mark each retrieval with `[RQ]` and name its passage.
    if options.dataset is None:
        documents, splits, _ = build_facts(train_size=options.train_size, dev_size=40)
        examples = splits["train"]
    else:
        documents, examples = load_documents(options.dataset), load_examples(options.dataset)

    # 2. The model: any decoder of transformers. It receives the retrieval tokens `[RQ]` and `[RD]`.
    backbone, tokenizer = load_backbone(options.model, dtype="float32")
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer)

    # 3. The objective: the language-model loss, plus a contrastive loss between queries and passages.
    args = OneGenTrainingArguments(
        options.output_dir,
        lambda_ret=1.0,
        contrastive_loss="bpr",
        num_hard_negatives=1,
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=5e-4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    )

    # 4. The trainer: that of transformers, here with a LoRA adapter.
    trainer = OneGenTrainer(
        model,
        args,
        examples,
        documents=documents,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
    )

    # 5. Train, and save the adapter with its tokenizer and model card.
    trainer.train()
    trainer.save_model()
    print(f"The adapter is in {options.output_dir}. Next: python examples/build_index.py --model {options.output_dir}")


if __name__ == "__main__":
    main()
