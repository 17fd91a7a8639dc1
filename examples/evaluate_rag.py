"""
Measure retrieval and answers, with confidence intervals.

```
python examples/evaluate_rag.py --limit 2 --output-dir outputs/examples/evaluation
```

By default the built-in checkpoint answers two questions over its built-in passages. `--dataset` takes a repository
with the config `examples`; raise `--limit` for intervals that say something.
"""

from __future__ import annotations

import argparse

from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from data_builders.facts.builder import build_facts
from onegen_hf.data.loading import load_examples
from onegen_hf.evaluation import evaluate_rag, format_report


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="by default the built-in checkpoint")
    parser.add_argument("--index", help="by default the model's own")
    parser.add_argument("--dataset", help="repository with examples; by default questions over the corpus of facts")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, default=2, help="number of questions")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--output-dir", default="outputs/examples/evaluation", help="an interrupted run resumes here")
    return parser.parse_args()


def main() -> None:
    """Run the example."""
    options = parse()

    # 1. The questions, with their answers and the passages that hold them.
    if options.dataset is None:
        _, splits, _ = build_facts(train_size=12, dev_size=max(options.limit, 40))
        examples = splits["dev"].select(range(options.limit))
    else:
        examples = load_examples(options.dataset, options.split, limit=options.limit)

    # 2. The pipeline.
    rag = pipeline("onegen-rag", model=options.model, index=options.index)

    # 3. The answers with retrieved passages, and with the gold passages as the upper bound.
    report = evaluate_rag(
        rag,
        examples,
        options.output_dir,
        gold_passages=True,
        max_new_tokens=options.max_new_tokens,
        split=options.split,
    )

    # 4. The report: recall, exact match and F1 with 95 % intervals. The folder also holds every answer.
    print(format_report(report))


if __name__ == "__main__":
    main()
