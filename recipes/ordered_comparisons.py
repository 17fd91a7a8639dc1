"""
Keeps the comparisons of a data set that put two dates in order, and a few other examples, for a stage of training
that is about them.

```
onegen-hf build facts --write-order --train-size 4000 --seed 1 --output-dir data/facts_4000
python recipes/ordered_comparisons.py data/facts_4000 --ordered 700 --others 100 --out data/facts_order_4
```
"""

from __future__ import annotations

import argparse
from typing import Any

from datasets import concatenate_datasets

from data_builders.parquet_export import write_repository
from onegen_hf.data.loading import load_documents, load_examples


def is_ordered(example: dict[str, Any]) -> bool:
    """Whether its answer says which of two is later, as `--write_order` has it."""
    return "\nLater: " in example["messages"][-1]["content"]


def main() -> None:
    """Write the smaller data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="built with --write_order true")
    parser.add_argument("--ordered", type=int, required=True, help="comparisons to keep: the first so many")
    parser.add_argument("--others", type=int, default=0, help="other examples to keep: the first so many")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    examples = load_examples(options.data, "train")
    kept = []
    for name, wanted, ordered in (("ordered", options.ordered, True), ("others", options.others, False)):
        found = [number for number, example in enumerate(examples) if is_ordered(example) is ordered]
        if len(found) < wanted:
            raise SystemExit(
                f"--{name} {wanted}: {options.data} has {len(found)}; build it with a larger --train_size"
            )
        kept.append(examples.select(found[:wanted]))
    documents = load_documents(options.data)
    write_repository(
        options.out,
        documents,
        {"train": concatenate_datasets(kept)},
        title="Comparisons of dates",
        description=__doc__,
    )


if __name__ == "__main__":
    main()
