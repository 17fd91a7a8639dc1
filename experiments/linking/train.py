"""
One stage of linker training for a given time, from an adapter.

```
python -m experiments.linking.train --data data/linking_tokens --start onegen_hf/default_linker --seconds 200 \
  --out outputs/linking
```

Made for a GPU that is lent for minutes, as `experiments.people.train` is: the data are token ids already, the learning
rate follows the clock, and a batch that does not fit the memory is halved. Saved is the adapter in bfloat16, in
safetensors files of at most `--part-megabytes`; `--join` puts them together where they were carried to.
"""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loader's processes are parallel already

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from data_builders.entity_linking.kinds import instruction_for
from experiments.people.train import Journal, save_records, train_stage
from onegen_hf.data.documents import DocumentStore
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.tokenizers import load_tokenizer

STAGES: dict[str, dict[str, Any]] = {
    "linking": {
        "per_device_train_batch_size": 96,
        "contrastive_chunk_size": None,
        "learning_rate": 5e-4,
        "lambda_gen": 1.0,
        "lambda_ret": 0.5,
        "num_hard_negatives": 1,
    }
}
"""
As `recipes/linked_titles.yaml`. A row is a text twice, 400 tokens on average, and its entities are as many tokens
again.
"""
ADAPTER = "adapter_model.safetensors"


def split_file(path: Path, most: int) -> list[Path]:
    """Replace a safetensors file by several of at most `most` bytes (or one tensor)."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in load_file(path).items():
        if parts[-1] and size + tensor.nbytes > most:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    files = [path.with_name(f"{path.stem}.part{number}{path.suffix}") for number in range(len(parts))]
    for file, tensors in zip(files, parts, strict=True):
        save_file(tensors, file, metadata={"format": "pt"})
    path.unlink()
    return files


def join_files(folder: Path, out: Path) -> None:
    """Copy an adapter whose weights [`split_file`] split, with the weights in one file."""
    out.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.iterdir()):
        if ".part" in file.name:
            tensors |= load_file(file)
        elif file.is_file():
            shutil.copyfile(file, out / file.name)
    save_file(tensors, out / ADAPTER, metadata={"format": "pt"})


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, help="Folder that `prepare` wrote.")
    parser.add_argument("--start", help="Adapter to go on from.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--join", type=Path, help="Only join the parts of this folder into `--out`.")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--batch-size", type=int, help="Instead of the stage's.")
    parser.add_argument("--learning-rate", type=float, help="Instead of the stage's.")
    parser.add_argument("--part-megabytes", type=float, default=11.0)
    parser.add_argument("--workers", type=int, default=12, help="Processes that make batches.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-steps", type=int, default=1_000_000, help="For a trial.")
    parser.add_argument("--shrink", type=int, default=1, help="Divide batches by this, for a trial.")
    parser.add_argument("--liger", action="store_true", help="Use Liger's kernels for norms, rotations and SwiGLU.")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="On a GPU always.")
    arguments = parser.parse_args()
    if arguments.join is not None:
        join_files(arguments.join, arguments.out)
        return
    if arguments.data is None or arguments.start is None:
        parser.error("--data and --start are needed to train")
    arguments.bf16 |= not arguments.cpu
    arguments.matryoshka, arguments.teacher = None, None
    arguments.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(arguments.out / "log.jsonl")
    journal("start", torch=torch.__version__, device="cpu" if arguments.cpu else torch.cuda.get_device_name())
    torch.backends.cuda.matmul.allow_tf32 = True
    tokenizer = load_tokenizer(arguments.start)
    model = load_adapter(
        arguments.start, merge=False, is_trainable=True, dtype=torch.float32 if arguments.cpu else torch.bfloat16
    )
    base = model.get_base_model()
    # The threshold was fitted to the weights before.
    base.set_onegen_config(
        replace(base.onegen_config, instruction=instruction_for("names"), link_threshold=None, default_index=None)
    )
    if not arguments.cpu:
        model.to("cuda")
    rows = Dataset.from_parquet(str(arguments.data / "documents.parquet"), cache_dir=str(arguments.out / "cache"))
    documents = DocumentStore(rows.to_list())
    journal("loaded", entities=len(documents))
    stage = dict(STAGES["linking"])
    for name, value in (
        ("per_device_train_batch_size", arguments.batch_size),
        ("learning_rate", arguments.learning_rate),
    ):
        stage[name] = stage[name] if value is None else value
    trainer = train_stage(
        "linking", arguments.seconds, model, tokenizer, documents, arguments, journal, stages={"linking": stage}
    )
    folder = arguments.out / "linker"
    save_adapter(model, tokenizer, folder, dtype=torch.bfloat16)
    save_records(trainer, folder)
    parts = split_file(folder / ADAPTER, int(arguments.part_megabytes * 2**20))
    shutil.rmtree(arguments.out / "cache", ignore_errors=True)
    shutil.rmtree(arguments.out / "trainer", ignore_errors=True)
    memory = 0 if arguments.cpu else torch.cuda.max_memory_allocated() / 2**30
    journal("end", peak_gib=round(memory, 1), parts=len(parts))


if __name__ == "__main__":
    main()
