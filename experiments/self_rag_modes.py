"""
What do retrieving always, adaptively or never, and criticising, bring and cost?

```
python -m experiments.self_rag_modes --model builtin --dataset data/self_rag_small --passages dev_passages.jsonl
python -m experiments.self_rag_modes --model outputs/self_rag_small --dataset data/self_rag_small
```

All questions are answered in each mode. Adaptive retrieval gets the threshold at which half of these questions
retrieve. Critique needs a checkpoint with reflection tokens, and is left out for others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from benchmarks.report import result_name, write_result
from benchmarks.tiny import tiny_backbone, tiny_repository
from experiments import RESULTS
from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, PassageIndex, RetrievalTokens
from onegen_hf.bundled.checkpoints import builtin_path
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.evaluation import calibrate_retrieval, evaluate_rag
from onegen_hf.generation.reflection import ReflectionIds
from onegen_hf.modeling.backbones import load_backbone
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
    return results


def load(options: argparse.Namespace) -> tuple[OneGenRagPipeline, Dataset]:
    """The pipeline over the passages, and the examples."""
    name = str(DEFAULT_CHECKPOINT) if options.model == "builtin" else builtin_path(options.model)
    dataset, model, tokenizer = options.dataset, None, None
    if options.quick:
        with tempfile.TemporaryDirectory() as directory:
            backbone, tokenizer = load_backbone(tiny_backbone(Path(directory), tied=False), dtype="float32")
            dataset = tiny_repository(Path(directory))
            documents = load_documents(dataset)
            examples = load_examples(dataset, options.split, options.limit)
            # Both are read into memory before the folder is gone.
            documents, examples = list(documents), Dataset.from_list(examples.to_list())
        model = OneGenForCausalLM.from_backbone(backbone, tokenizer, tokens=RetrievalTokens.self_rag())
    else:
        model, tokenizer = OneGenForCausalLM.from_pretrained(name, dtype="float32"), load_tokenizer(name)
        documents = load_documents(options.passages or dataset)
        examples = load_examples(dataset, options.split, options.limit)
    index = PassageIndex.build(model.eval(), tokenizer, documents, show_progress=False)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, device="cpu")
    # A part of the passages may be searched, and these scores need no positives.
    return rag, examples.remove_columns(["positives", "negatives"])


def main() -> None:
    """Load, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--dataset", default="data/self_rag_small")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--passages", help="file of the passages to search; by default those of the dataset")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--name", default="self_rag_modes", help="of the result file")
    parser.add_argument("--quick", action="store_true", help="two questions, a tiny random model")
    options = parser.parse_args()
    if options.quick:
        options.limit, options.max_new_tokens = 2, 8
    rag, examples = load(options)
    results = measure(rag, examples, options.max_new_tokens, options.batch_size)
    write_result(
        RESULTS / f"{result_name(options.name, options.quick)}.json",
        {
            "question": "What do the modes of retrieval, and critique, bring and cost?",
            "model": "tiny random" if options.quick else Path(options.model).name,
            "questions": len(examples),
            "passages": len(rag.index),
            "modes": [asdict(result) for result in results],
        },
    )


if __name__ == "__main__":
    main()
