"""
What retrieving always, adaptively, never, and criticising cost and bring, for one checkpoint on one dataset.

```
python -m experiments.self_rag_modes --model builtin --dataset data/self_rag_small --passages dev_passages.jsonl
```

Adaptive retrieval gets the threshold at which half of these questions retrieve. Critique needs a checkpoint with
reflection tokens and is left out for others. The table goes to the terminal and, with `--output`, into a JSON file.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, PassageIndex
from onegen_hf.bundled.checkpoints import builtin_path
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.evaluation import calibrate_retrieval, evaluate_rag
from onegen_hf.generation.reflection import ReflectionIds
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.presets import DEFAULT_CHECKPOINT

FREQUENCY = 0.5
"""Share of the questions that adaptive retrieval is asked to retrieve for."""


@dataclass(frozen=True)
class ModeResult:
    """One way to answer: its scores from 0 to 1, and what an answer costs on average."""

    mode: str
    f1: float
    exact_match: float
    retrieval_frequency: float
    forwarded_tokens: float
    seconds: float


def measure(rag: OneGenRagPipeline, examples: Dataset, max_new_tokens: int, batch_size: int) -> list[ModeResult]:
    """
    Answer all questions in each mode.

    Args:
        rag ([`OneGenRagPipeline`])
        examples (`datasets.Dataset`): Rows of the `examples` config.
        max_new_tokens, batch_size (`int`): As for [`evaluate_rag`].
    """
    shared: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "show_progress": False}
    threshold = calibrate_retrieval(rag, examples, FREQUENCY, **shared).chosen.threshold
    modes: dict[str, dict[str, Any]] = {
        "always": {"retrieval": "always"},
        "model decides": {},
        f"adaptive, {FREQUENCY:.0%} wished": {"threshold": threshold},
        "never": {"retrieval": "never"},
    }
    if ReflectionIds.of(rag.model.onegen_config.tokens, rag.tokenizer) is not None:
        modes["critique, k=5"] = {"retrieval": "always", "critique": True, "k": 5}
    results = []
    for mode, options in modes.items():
        start = time.perf_counter()
        report = evaluate_rag(rag, examples, **{**shared, **options})
        seconds = time.perf_counter() - start
        metrics = {name: estimate.value for name, estimate in report.results["retrieved"].all.metrics.items()}
        shown = {name: round(value, 4) for name, value in metrics.items() if name in ModeResult.__annotations__}
        results.append(ModeResult(mode=mode, seconds=round(seconds, 1), **shown))
        print(results[-1], flush=True)
    return results


def main() -> None:
    """Load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--passages", help="JSON lines of the passages to search; default: those of the dataset")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output")
    options = parser.parse_args()
    name = str(DEFAULT_CHECKPOINT) if options.model == "builtin" else builtin_path(options.model)
    model, tokenizer = OneGenForCausalLM.from_pretrained(name, dtype="float32").eval(), load_tokenizer(name)
    index = PassageIndex.build(model, tokenizer, load_documents(options.passages or options.dataset))
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, device="cpu")
    examples = load_examples(options.dataset, options.split, options.limit)
    # Ids of passages in a subset differ from those of the dataset; these metrics need no positives.
    examples = examples.remove_columns(["positives", "negatives"])
    results = measure(rag, examples, options.max_new_tokens, options.batch_size)
    if options.output:
        record = {"questions": len(examples), "passages": len(index), "modes": [asdict(result) for result in results]}
        Path(options.output).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
