"""
What does a step of joint training cost over a step of plain fine-tuning on the same real tokens?

```
python -m benchmarks.training_step --data wiki2hop
```

One model, one LoRA adapter, one optimizer. The joint step runs [`OneGenTrainer`]'s forward: conversations with labels,
and their passages. The plain step runs the backbone's own loss over as many real tokens: the same conversations with
the same labels, and the same passages as further rows of text that are learnt too. Both pad to what they hold and take
turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor

from benchmarks.report import write_result
from onegen_hf import OneGenConfig, OneGenDataCollator, OneGenForCausalLM
from onegen_hf.auto import class_under
from onegen_hf.backbones import SMOLLM2, load_backbone
from onegen_hf.corpora import load_documents, load_examples
from onegen_hf.trainer import add_adapter


def real_tokens(batch: dict[str, Tensor]) -> int:
    """Tokens of conversations and passages, padding aside."""
    return int(batch["attention_mask"].sum() + batch["passage_attention_mask"].sum())


def plain_batches(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The joint batch as two batches of ordinary causal-language-model rows, each padded to its own longest row."""
    passages = batch["passage_input_ids"]
    labels = passages.masked_fill(batch["passage_attention_mask"] == 0, -100)
    return [
        {name: batch[name] for name in ("input_ids", "attention_mask", "labels")},
        {"input_ids": passages, "attention_mask": batch["passage_attention_mask"], "labels": labels},
    ]


def joint_step(model: Any, batch: dict[str, Tensor]) -> None:
    """Forward and backward of the joint loss."""
    model(**batch).loss.backward()


def plain_step(model: Any, plain_class: type, batch: dict[str, Tensor]) -> None:
    """Forward and backward of the backbone's own loss, through the backbone's own forward."""
    for part in plain_batches(batch):
        plain_class.forward(model, **part, use_cache=False).loss.backward()  # type: ignore[attr-defined]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both kinds of step on the same batches, in turns, and the real tokens of each batch."""
    backbone, tokenizer = load_backbone(SMOLLM2, dtype=options.dtype)
    settings = OneGenConfig(max_embedded_length=64)
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=settings).to(options.device)
    adapted = add_adapter(model, tokenizer, LoraConfig(r=32, lora_alpha=32, target_modules="all-linear")).train()
    plain_class = class_under(type(model))
    collator = OneGenDataCollator(tokenizer, load_documents(options.data), settings)
    examples = load_examples(options.data, limit=options.batch_size * (options.batches + 1))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4)
    kinds: dict[str, Callable[[dict[str, Tensor]], None]] = {
        "joint": lambda batch: joint_step(adapted, batch),
        "plain": lambda batch: plain_step(model, plain_class, batch),
    }
    if options.only:
        kinds = {options.only: kinds[options.only]}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    tokens = []
    for number in range(options.batches + 1):
        rows = examples.select(range(number * options.batch_size, (number + 1) * options.batch_size))
        batch = {name: tensor.to(options.device) for name, tensor in collator(list(rows)).items()}
        for name in sorted(kinds, reverse=bool(number % 2)):
            start = time.perf_counter()
            kinds[name](batch)
            optimizer.step()
            optimizer.zero_grad()
            if options.device != "cpu":
                torch.cuda.synchronize()
            if number:  # the first batch warms up
                seconds[name].append(time.perf_counter() - start)
        if number:
            tokens.append(real_tokens(batch))
    return {"seconds": seconds, "tokens": tokens}


def peak_memory(device: str) -> float:
    """MiB of this process so far, on the device that it trains on."""
    if device == "cpu":
        # Not getrusage: the peak that it tells of a process starts with that of its parent.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    return torch.cuda.max_memory_allocated() / 2**20


def peak_of(name: str, arguments: list[str]) -> float:
    """Peak memory of a process that makes one kind of step only."""
    command = [sys.executable, "-m", "benchmarks.training_step", *arguments, "--only", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="dataset repository with documents and examples")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", choices=("joint", "plain"), help="one kind of step; prints its peak memory in MiB")
    options = parser.parse_args()
    if options.only:
        measure(options)
        print(peak_memory(options.device))
        return
    found = measure(options)
    seconds, tokens = found["seconds"], found["tokens"]
    ratios = [joint / plain for joint, plain in zip(seconds["joint"], seconds["plain"], strict=True)]
    arguments = sys.argv[1:]
    write_result(
        "training_step",
        {
            "question": "What does a joint step cost over a plain step of the same real tokens?",
            "dtype": options.dtype,
            "batch_size": options.batch_size,
            "real_tokens_per_step": [min(tokens), statistics.median(tokens), max(tokens)],
            "joint_over_plain": [round(v, 3) for v in (min(ratios), statistics.median(ratios), max(ratios))],
            "peak_memory_mib": {name: round(peak_of(name, arguments)) for name in ("joint", "plain")},
        },
    )


if __name__ == "__main__":
    main()
