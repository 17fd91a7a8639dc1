"""
A retrieval stage and a joint one, each for a given time, then recall on the development splits.

```
python -m experiments.people.train --data data/people_tokens --start onegen_hf/default_checkpoint \
  --retrieval-seconds 230 --joint-seconds 170 --out outputs/people
```

Made for a GPU that is lent for minutes: the data are token ids already, the learning rate follows the clock, every
stage is saved when it ends, and a later run goes on from any adapter (`--start outputs/people/joint
--retrieval-seconds 0`).
`recipes/people_1.yaml` and `recipes/people_2.yaml` are the same stages for `onegen-hf train`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loader's processes are parallel already

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR

from onegen_hf import OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.data.documents import DocumentStore
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.tokenizers import load_tokenizer

from .answers import answers, summary
from .retrieval import embedded_families, recall
from .time_budget import TimeBudget

STAGES: dict[str, dict[str, Any]] = {
    "retrieval": {
        "per_device_train_batch_size": 256,
        "contrastive_chunk_size": None,
        "learning_rate": 4e-4,
        "lambda_gen": 0.1,
        "lambda_ret": 1.0,
        "num_hard_negatives": 1,
    },
    "joint": {
        "per_device_train_batch_size": 128,
        "contrastive_chunk_size": None,
        "learning_rate": 4e-4,
        "lambda_gen": 1.0,
        "lambda_ret": 1.0,
        "num_hard_negatives": 1,
    },
}
"""
What differs between the stages; see `recipes/people_1.yaml` and `recipes/people_2.yaml`. Batches of 256 and 128
take some 45 GiB in one piece, a joint one of 160 does not fit 78 GiB. With a model of this size it is launching the
kernels that takes time, not arithmetic: on an H100 a step of 61,000 tokens took 0.65 s in one piece, and a joint step
of 80,000 tokens in chunks of 30,000 took 3.4 s.
"""


class Journal:
    """Prints what happens, with the seconds since the start, and keeps it in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.start = path, time.monotonic()

    def __call__(self, event: str, **values: Any) -> None:
        line = json.dumps({"at": round(time.monotonic() - self.start, 1), "event": event, **values})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def train_stage(
    name: str,
    seconds: float,
    model: Any,
    tokenizer: Any,
    documents: DocumentStore,
    arguments: Namespace,
    journal: Journal,
    stages: Mapping[str, Mapping[str, Any]] = STAGES,
) -> OneGenTrainer | None:
    """
    Train one stage for `seconds`. A chunk that does not fit the memory is halved, and the rest of the time is used.

    Args:
        name (`str`): A key of `stages`; its examples are `NAME.parquet`.
        seconds (`float`)
        model (`PeftModel`)
        tokenizer (`PreTrainedTokenizerBase`)
        documents (`DocumentStore`)
        arguments (`Namespace`): Of the command.
        journal ([`Journal`])
        stages (`Mapping[str, Mapping[str, Any]]`, *optional*, defaults to [`STAGES`]): Training arguments.
    """
    examples = Dataset.from_parquet(str(arguments.data / f"{name}.parquet"), cache_dir=str(arguments.out / "cache"))
    assert isinstance(examples, Dataset)
    settings = dict(stages[name])
    settings["per_device_train_batch_size"] = max(settings["per_device_train_batch_size"] // arguments.shrink, 2)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        budget = TimeBudget(left, report=lambda logs: journal(name, **logs))
        try:
            return _run(settings, budget, model, tokenizer, documents, examples, arguments)
        except torch.OutOfMemoryError:
            pass  # what the exception refers to is freed below, and not before
        chunk_size = settings["contrastive_chunk_size"] or settings["per_device_train_batch_size"]
        settings["contrastive_chunk_size"] = max(chunk_size // 2, 1)
        journal("out of memory", chunk=settings["contrastive_chunk_size"])
        gc.collect()
        torch.cuda.empty_cache()
    return None


def _run(
    settings: dict[str, Any],
    budget: TimeBudget,
    model: Any,
    tokenizer: Any,
    documents: DocumentStore,
    examples: Dataset,
    arguments: Namespace,
) -> OneGenTrainer:
    args = OneGenTrainingArguments(
        str(arguments.out / "trainer"),
        **settings,
        contrastive_loss="info_nce",
        info_nce_symmetric=True,
        max_steps=arguments.max_steps,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=arguments.bf16,
        use_cpu=arguments.cpu,
        train_sampling_strategy="random",
        dataloader_drop_last=True,
        dataloader_num_workers=arguments.workers,
        dataloader_persistent_workers=arguments.workers > 0,
        dataloader_prefetch_factor=4 if arguments.workers else None,
        use_liger_kernel=arguments.liger,
        matryoshka_dims=arguments.matryoshka,
        distill_from=arguments.teacher,
        logging_steps=5,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=arguments.seed,
    )
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=args.learning_rate, weight_decay=0.0, fused=not arguments.cpu)
    schedule = LambdaLR(optimizer, budget.learning_rate_factor)
    trainer = OneGenTrainer(
        model, args, train_dataset=examples, documents=documents, processing_class=tokenizer, callbacks=[budget],
        optimizers=(optimizer, schedule),
    )  # fmt: skip
    trainer.train()
    return trainer


def save_records(trainer: OneGenTrainer | None, folder: Path) -> None:
    """Write the arguments and the log of a training beside its adapter, where the checkpoint's card reads them."""
    if trainer is None:
        return
    arguments = json.loads(trainer.args.to_json_string())
    arguments.pop("output_dir")  # what a machine calls the folder says nothing to others
    (folder / "training_args.json").write_text(
        json.dumps(arguments, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    trainer.state.save_to_json(str(folder / "trainer_state.json"))


def measure(folder: Path, tokenizer: Any, arguments: Namespace, journal: Journal) -> dict[str, Any]:
    """Recall, and answers with and without the gold passages, of the development splits, by what was saved."""
    questions, documents = (
        Dataset.from_parquet(str(arguments.data / f"{part}.parquet"), cache_dir=str(arguments.out / "cache"))
        for part in ("development", "documents")
    )
    device, dtype = ("cpu", torch.float32) if arguments.cpu else ("cuda", torch.bfloat16)
    model = OneGenForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    results: dict[str, Any] = {}
    for family in embedded_families(
        model, tokenizer, questions, documents, arguments.families, max_passages=arguments.max_passages
    ):
        values = recall(model, tokenizer, family)
        journal("recall", after=folder.name, family=family.name, **rounded(values))
        results[family.name] = {"recall": values}
        for without_gold in (False, True) if arguments.max_answers else ():
            name = "answers without gold passages" if without_gold else "answers"
            records = answers(model, tokenizer, family, arguments.max_answers, without_gold=without_gold)
            with (arguments.out / "answers.jsonl").open("a", encoding="utf-8") as stream:
                for record in records:
                    stream.write(json.dumps({"without_gold": without_gold, **record}, ensure_ascii=False) + "\n")
            results[family.name][name] = summary(records)
            journal(name, after=folder.name, family=family.name, **rounded(results[family.name][name]))
    return results


def rounded(values: dict[str, float]) -> dict[str, float]:
    """For the journal."""
    return {key: round(value, 4) for key, value in values.items()}


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True, help="Folder that `prepare` wrote.")
    parser.add_argument("--start", required=True, help="Adapter to go on from.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--retrieval-seconds", type=float, default=230.0)
    parser.add_argument("--joint-seconds", type=float, default=170.0)
    parser.add_argument("--passage-tokens", type=int, default=256)
    parser.add_argument("--workers", type=int, default=12, help="Processes that make batches.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", nargs="+", help="Measure these only.")
    parser.add_argument("--max-passages", type=int, help="Measure among this many passages of a family only.")
    parser.add_argument("--max-steps", type=int, default=1_000_000, help="Of each stage, for a trial.")
    parser.add_argument("--shrink", type=int, default=1, help="Divide batches by this, for a trial.")
    parser.add_argument("--max-answers", type=int, default=200, help="Answer this many questions of each family.")
    parser.add_argument("--liger", action="store_true", help="Use Liger's kernels for norms, rotations and SwiGLU.")
    parser.add_argument("--matryoshka", type=int, nargs="*", help="Dimensions that embeddings may be cut to.")
    parser.add_argument("--teacher", help="SentenceTransformer to distil retrieval from.")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="On a GPU always.")
    arguments = parser.parse_args()
    arguments.bf16 |= not arguments.cpu
    arguments.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(arguments.out / "log.jsonl")
    journal("start", torch=torch.__version__, device="cpu" if arguments.cpu else torch.cuda.get_device_name())
    torch.backends.cuda.matmul.allow_tf32 = True
    tokenizer = load_tokenizer(arguments.start)
    model = load_adapter(
        arguments.start, merge=False, is_trainable=True, dtype=torch.float32 if arguments.cpu else torch.bfloat16
    )
    base = model.get_base_model()
    base.set_onegen_config(
        replace(
            base.onegen_config,
            max_embedded_tokens=arguments.passage_tokens,
            max_inserted_tokens=arguments.passage_tokens,
            default_index=None,
        )  # fmt: skip
    )
    if not arguments.cpu:
        model.to("cuda")
    passages = Dataset.from_parquet(str(arguments.data / "documents.parquet"), cache_dir=str(arguments.out / "cache"))
    documents = DocumentStore(passages.select_columns(["id", "title", "text"]).to_list())
    journal("loaded", passages=len(documents))
    stages = {"retrieval": arguments.retrieval_seconds, "joint": arguments.joint_seconds}
    for name, seconds in stages.items():
        if seconds <= 0:
            continue
        last = name
        trainer = train_stage(name, seconds, model, tokenizer, documents, arguments, journal)
        save_adapter(model, tokenizer, arguments.out / name, dtype=torch.bfloat16)
        save_records(trainer, arguments.out / name)
        del trainer  # and with it the state of the optimizer
        journal("saved", stage=name)
    memory = 0 if arguments.cpu else torch.cuda.max_memory_allocated() / 2**30
    journal("trained", peak_gib=round(memory, 1))
    del model, base
    gc.collect()
    results = measure(arguments.out / last, tokenizer, arguments, journal)
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    journal("end")


if __name__ == "__main__":
    main()
