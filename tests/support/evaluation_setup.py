"""A checkpoint that learned two questions by heart, with a dataset repository to evaluate it on; made once."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset

from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, OneGenTrainer, OneGenTrainingArguments, PassageIndex
from onegen_hf.modeling.tokenizers import load_tokenizer
from support.sample_corpus import DOCUMENTS, EXAMPLES, build_tokenizer
from support.tiny_models import tiny_model
from support.training_setup import QUIET

_FOLDER = tempfile.TemporaryDirectory(prefix="onegen-evaluation-")
ROOT = Path(_FOLDER.name)
NUMBERS = [0, 1, 4, 1, 0, 2, 5, 0, 1, 0]
"""Examples of the `dev` split; only 0 (two hops) and 1 (one hop) were learned."""


def as_retrieved(example: dict[str, Any]) -> dict[str, Any]:
    """The example with its paragraphs as the index has them: title and all sentences."""
    content = example["messages"][1]["content"]
    for document in DOCUMENTS:
        passage = f"{document['title']}\n{' '.join(document['sentences'])}"
        content = content.replace(f"<paragraph>{document['sentences'][0]}<", f"<paragraph>{passage}<")
    return {**example, "messages": [example["messages"][0], {"role": "assistant", "content": content}]}


def rows(numbers: list[int] = NUMBERS) -> list[dict[str, Any]]:
    """Rows of the `examples` config with ids of their own and a type: how many hops there are."""
    return [
        {
            **as_retrieved(EXAMPLES[number]),
            "id": f"q{place}",
            "meta": json.dumps({"type": f"{len(EXAMPLES[number]['positives'])} hops"}),
        }
        for place, number in enumerate(numbers)
    ]


@functools.cache
def checkpoint() -> Path:
    """The trained model, with an index of all documents in its folder `index`."""
    path = ROOT / "checkpoint"
    tokenizer = build_tokenizer()
    args = OneGenTrainingArguments(
        str(ROOT / "training"), **{**QUIET, "logging_steps": 30}, max_steps=60, per_device_train_batch_size=2,
        learning_rate=1e-2, num_random_negatives=4, bpr_negatives="sum",
    )  # fmt: skip
    learned = Dataset.from_list([as_retrieved(EXAMPLES[number]) for number in (0, 1)])
    model = tiny_model(tokenizer, seed=3)
    trainer = OneGenTrainer(model, args, learned, documents=DOCUMENTS, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(path))
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(path / "index")
    return path


@functools.cache
def pipeline() -> OneGenRagPipeline:
    """Model, tokenizer and index."""
    model = OneGenForCausalLM.from_pretrained(checkpoint())
    index = PassageIndex.load(checkpoint() / "index")
    return OneGenRagPipeline(model=model, tokenizer=load_tokenizer(checkpoint()), index=index)


@functools.cache
def repository() -> Path:
    """Documents in the split `train`, examples in `dev`."""
    root = ROOT / "two_questions"
    root.mkdir()
    Dataset.from_list(DOCUMENTS).to_parquet(root / "documents.parquet")
    Dataset.from_list(rows()).to_parquet(root / "dev.parquet")
    configs = [("documents", "train", "documents.parquet"), ("examples", "dev", "dev.parquet")]
    lines = ["---", "configs:"]
    for config, split, file in configs:
        lines += [f"- config_name: {config}", "  data_files:", f"  - split: {split}", f"    path: {file}"]
    (root / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return root
