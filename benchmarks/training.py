"""
How many more examples per second does joint training take than the paper's recipe, and what does it cost over plain
fine-tuning?

```
python -m benchmarks.training --data data/wiki2hop
```

One model, one LoRA adapter, one optimizer (with a learning rate of 0, so that all see the same weights), the same
examples with the same passages; those of `onegen-hf build facts` without `--data`. Kinds of step take turns within
each batch, in changing order, and ratios are taken per batch:

- `joint`: [`OneGenTrainer`]'s forward, which runs real tokens only, and the head where a token has a label.
- `recipe`: as the scripts of the paper's authors train. Conversations and passages are rows of one batch, padded to
  `--max-length` tokens (1,100 in their multi-hop setting), and the head runs on every position of every row.
- `longest`: the recipe with rows padded to the longest of the batch only.
- `plain`: the backbone's own loss over as many real tokens: the same conversations with the same labels, and the same
  passages as further rows of text that are learnt too, each set padded to its longest.

`joint`, `recipe` and `longest` have the same loss, which the result states: they do the same work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from benchmarks import RESULTS
from benchmarks.alternatives.components import tiny_components
from benchmarks.plot import Panel, plot_bars
from benchmarks.report import result_name, spread, write_result
from data_builders.facts.builder import build_facts
from onegen_hf import OneGenConfig, OneGenDataCollator, OneGenForCausalLM
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.losses import BPRLoss
from onegen_hf.modeling import backbone_class_of
from onegen_hf.modeling.backbones import SMOLLM2, load_backbone
from onegen_hf.training.trainer import add_adapter

NAME = "training"
KINDS = ("joint", "recipe", "longest", "plain")
Batch = dict[str, Tensor]


def real_tokens(batch: Batch) -> int:
    """Tokens of conversations and passages, padding aside."""
    return int(batch["attention_mask"].sum() + batch["passage_attention_mask"].sum())


class Steps:
    """
    Each kind of step of one model, forward and backward.

    Args:
        model ([`OneGenForCausalLM`]): In which the adapter lies.
        adapted (`PeftModel`): The model with its adapter.
        max_length (`int`): To which the recipe pads.
    """

    def __init__(self, model: Any, adapted: Any, max_length: int) -> None:
        self.model, self.adapted, self.max_length = model, adapted, max_length
        self.plain_forward = backbone_class_of(type(model)).forward  # type: ignore[attr-defined]
        self.contrastive = BPRLoss(model.onegen_config.scale)

    def run(self, kind: str, batch: Batch) -> float:
        """One step; returns its loss."""
        kinds: dict[str, Callable[[Batch], Tensor]] = {
            "joint": lambda batch: self.adapted(**batch).loss,
            "recipe": lambda batch: self.recipe(batch, self.max_length),
            "longest": lambda batch: self.recipe(batch, 0),
            "plain": self.plain,
        }
        loss = kinds[kind](batch)
        loss.backward()
        return loss.item()

    def recipe(self, batch: Batch, length: int) -> Tensor:
        """The joint loss over rows that are all padded to `length`, or to the longest of them."""
        parts = [batch["input_ids"], batch["passage_input_ids"]]
        length = max(length, *(part.shape[1] for part in parts))
        input_ids = torch.cat([pad(part, (0, length - part.shape[1])) for part in parts])
        labels = torch.full_like(input_ids, -100)
        conversations = batch["labels"]
        labels[: len(conversations), : conversations.shape[1]] = conversations
        # No attention mask: in a causal decoder, padding on the right is seen by padding alone.
        output = self.plain_forward(self.model, input_ids=input_ids, use_cache=False, output_hidden_states=True)
        logits = output.logits.float()
        loss_gen = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        hidden = output.hidden_states[-1]
        anchors, passages = hidden[: len(conversations)], hidden[len(conversations) :]
        rows, columns = (batch["retrieval_positions"] >= 0).nonzero(as_tuple=True)
        anchors = anchors[rows, batch["retrieval_positions"][rows, columns]]
        rows, columns = (batch["passage_retrieval_positions"] >= 0).nonzero(as_tuple=True)
        passages = passages[rows, batch["passage_retrieval_positions"][rows, columns]]
        return loss_gen + self.contrastive(anchors, passages, batch["retrieval_targets"])

    def plain(self, batch: Batch) -> Tensor:
        """The language-model loss over conversations, and over passages as texts."""
        ids, mask = batch["passage_input_ids"], batch["passage_attention_mask"]
        parts = [
            {name: batch[name] for name in ("input_ids", "attention_mask", "labels")},
            {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)},
        ]
        return sum(self.plain_forward(self.model, **part, use_cache=False).loss for part in parts)  # type: ignore[return-value]


def load_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model and its tokenizer; random and tiny with `--quick`."""
    if options.quick:
        components = tiny_components("float32", options.device)
        return components.model, components.tokenizer
    backbone, tokenizer = load_backbone(SMOLLM2, dtype=options.dtype)
    settings = OneGenConfig(max_embedded_tokens=options.max_embedded_tokens)
    return OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=settings).to(options.device), tokenizer


def load_data(options: argparse.Namespace) -> tuple[Any, Any]:
    """Documents, and as many examples as are used."""
    needed = options.batch_size * (options.batches + 1)
    if options.data is not None:
        return load_documents(options.data), load_examples(options.data, limit=needed)
    documents, examples, _ = build_facts(train_size=max(needed, 100))
    return documents, examples["train"]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and losses of every kind of step on the same batches, in turns, and what each batch holds."""
    model, tokenizer = load_model(options)
    adapted = add_adapter(model, tokenizer, LoraConfig(r=32, lora_alpha=32, target_modules="all-linear")).train()
    steps = Steps(model, adapted, options.max_length)
    documents, examples = load_data(options)
    collator = OneGenDataCollator(
        tokenizer, documents, model.onegen_config, num_hard_negatives=options.negatives, max_length=options.max_length
    )
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.0)
    seconds: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    losses: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    tokens, rows = [], []
    for number in range(options.batches + 1):
        chosen = examples.select(range(number * options.batch_size, (number + 1) * options.batch_size))
        batch = {name: tensor.to(options.device) for name, tensor in collator(list(chosen)).items()}
        turn = number % len(options.kinds)
        for kind in [*options.kinds[turn:], *options.kinds[:turn]]:
            start = time.perf_counter()
            loss = steps.run(kind, batch)
            optimizer.step()
            optimizer.zero_grad()
            if options.device != "cpu":
                torch.cuda.synchronize()
            if number:  # the first batch warms up
                seconds[kind].append(time.perf_counter() - start)
                losses[kind].append(loss)
        if number:
            tokens.append(real_tokens(batch))
            rows.append(len(batch["input_ids"]) + len(batch["passage_input_ids"]))
    return {"seconds": seconds, "losses": losses, "tokens": tokens, "rows": rows}


def peak_memory(device: str) -> float:
    """MiB of this process so far, on the device that it trains on."""
    if device == "cpu":
        # Not getrusage: the peak that it tells of a process starts with that of its parent.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    return torch.cuda.max_memory_allocated() / 2**20


def peak_of(kind: str, arguments: Sequence[str]) -> int:
    """Peak memory of a process that makes one kind of step only."""
    command = [sys.executable, "-m", "benchmarks.training", *arguments, "--kinds", kind, "--peak"]
    return round(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))


def summary(found: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """What is said of a measurement."""
    seconds, losses = found["seconds"], found["losses"]
    ratios = {
        kind: [other / own for own, other in zip(seconds["joint"], taken, strict=True)]
        for kind, taken in seconds.items()
        if kind != "joint"
    }
    return {
        "real_tokens_per_step": spread(found["tokens"]),
        "rows_per_step": spread(found["rows"]),
        "examples_per_second": {k: spread([batch_size / second for second in v]) for k, v in seconds.items()},
        "joint_is_faster_by": {kind: spread(values) for kind, values in ratios.items()},
        "largest_difference_of_losses": {
            kind: round(max(abs(a - b) for a, b in zip(losses["joint"], losses[kind], strict=True)), 4)
            for kind in ("recipe", "longest")
            if kind in losses
        },
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="dataset repository with documents and examples; by default the fact corpus")
    parser.add_argument("--batch-size", type=int, default=2, help="conversations in a step")
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--negatives", type=int, default=1, help="hard negatives per query token")
    parser.add_argument("--max-length", type=int, default=1100, help="to which the recipe pads")
    parser.add_argument("--max-embedded-tokens", type=int, default=64, help="longest passage, in tokens")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, which starts a process each")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a tiny random model and few steps, to see that it runs")
    options = parser.parse_args(arguments)
    if "joint" not in options.kinds and not options.peak:
        parser.error(f"--kinds {' '.join(options.kinds)}: joint is what the others are compared with, add it")
    if options.quick:
        options.batches, options.max_length, options.dtype, options.no_memory = 2, 256, "float32", True
    return options


def main() -> None:
    """Run the measurement."""
    options = parse()
    found = measure(options)
    if options.peak:
        print(peak_memory(options.device))
        return
    name = result_name(options.name, options.quick)
    result = {
        "question": "How many more examples per second does joint training take than the paper's recipe?",
        "dtype": options.dtype,
        "batch_size": options.batch_size,
        "negatives": options.negatives,
        "recipe_pads_to": options.max_length,
        **summary(found, options.batch_size),
    }
    if not options.no_memory:
        result["peak_memory_mib"] = {kind: peak_of(kind, sys.argv[1:]) for kind in options.kinds}
    write_result(RESULTS / f"{name}.json", result)
    bars = {kind: {kind: values} for kind, values in result["examples_per_second"].items()}
    plot_bars(RESULTS / f"{name}.svg", Panel("Training", "kind of step", "examples per second", bars))


if __name__ == "__main__":
    main()
