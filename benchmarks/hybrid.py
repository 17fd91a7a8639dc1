"""
What does a search by words (BM25) add to the search by embedding, fused how, and with which weight?

```
python -m benchmarks.hybrid --corpora data/xquad_en data/squad
```

A corpus is a folder with `corpus.jsonl` (`id`, `title`, `text`) and `dev.jsonl` (`question`, `passage_id`). The
question is searched for as it stands, as at a first hop: weight 0 is the embedding alone, weight 1 the words alone.
Fused are ranks (`rrf`) or scores (`weighted`).
`mrr` is that of the first 100 passages. The intervals are of the difference to the embedding alone over the same
questions (bootstrap, 95 %).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks import RESULTS
from benchmarks.index_memory import load_model
from benchmarks.report import result_name, write_result
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.configuration import Fusion
from onegen_hf.index.text_search import embed_query
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

WEIGHTS: dict[Fusion, tuple[float, ...]] = {
    "rrf": (0.0, 0.1, 0.3, 0.5, 0.6, 0.8, 1.0),
    "weighted": (0.05, 0.1, 0.13, 0.16, 0.2, 0.3, 0.5),
}
DEPTH = 100
RESAMPLES = 2_000


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def gold_ranks(
    index: PassageIndex, queries: torch.Tensor, questions: Sequence[dict[str, Any]], weight: float, fusion: Fusion
) -> np.ndarray:
    """The place of the gold passage for each question, counted from 1; infinite if it is not among the first 100."""
    texts = [question["question"] for question in questions]
    _, rows = index.search(queries, DEPTH, hybrid=weight, texts=texts, fusion=fusion)
    found = [[index[int(row)].id for row in of_query if row >= 0] for of_query in rows]
    gold = [str(question["passage_id"]) for question in questions]
    return np.asarray([ids.index(g) + 1 if g in ids else np.inf for ids, g in zip(found, gold, strict=True)])


def scores(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """What each question scores."""
    return {"recall@1": ranks <= 1, "recall@5": ranks <= 5, "mrr": 1 / ranks}


def difference(better: np.ndarray, base: np.ndarray) -> list[float]:
    """The 95 % interval of the mean difference of two scores over the same questions."""
    gains = better.astype(float) - base.astype(float)
    drawn = np.random.default_rng(0).integers(0, len(gains), (RESAMPLES, len(gains)))
    return [round(float(bound), 4) for bound in np.quantile(gains[drawn].mean(1), (0.025, 0.975))]


def measure(index: PassageIndex, queries: torch.Tensor, questions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each weight and way of fusing."""
    results: list[dict[str, Any]] = []
    base: dict[str, np.ndarray] = {}
    for fusion, weight in ((fusion, weight) for fusion, weights in WEIGHTS.items() for weight in weights):
        start = time.perf_counter()
        of_questions = scores(gold_ranks(index, queries, questions, weight, fusion))
        base = base or of_questions
        results.append(
            {
                "fusion": fusion,
                "hybrid": weight,
                **{name: round(float(values.mean()), 4) for name, values in of_questions.items()},
                "recall@1_gain": difference(of_questions["recall@1"], base["recall@1"]),
                "mrr_gain": difference(of_questions["mrr"], base["mrr"]),
                "ms_per_query": round(1000 * (time.perf_counter() - start) / len(questions), 2),
            }
        )
    return results


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, nargs="+", default=[], help="folders, see above")
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT))
    parser.add_argument(
        "--embeddings",
        type=Path,
        help="folder with NAME.safetensors for each corpus: the tensors `passages` and `questions`, in the order of "
        "the files; by default they are computed",
    )
    parser.add_argument("--name", default="hybrid", help="of the result")
    parser.add_argument("--quick", action="store_true", help="a random model and a few passages, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        model, tokenizer = load_model(quick=True)
        words = np.random.default_rng(0).integers(0, 500, (40, 12))
        texts = [" ".join(f"w{word}" for word in row) for row in words]
        sets: dict[str, Any] = {
            "made up": (
                [{"id": n, "title": f"Title {n}", "text": text} for n, text in enumerate(texts)],
                [{"question": text[:12], "passage_id": n} for n, text in enumerate(texts)],
            )
        }
    else:
        if not options.corpora:
            parser.error("--corpora: name at least one folder")
        model, tokenizer = OneGenForCausalLM.from_pretrained(options.model).eval(), load_tokenizer(options.model)
        sets = {
            folder.name: (read_lines(folder / "corpus.jsonl"), read_lines(folder / "dev.jsonl"))
            for folder in options.corpora
        }
    corpora = {}
    for name, (passages, questions) in sets.items():
        documents = [{"id": str(p["id"]), "title": p["title"], "text": p["text"]} for p in passages]
        if options.embeddings is None:
            index = PassageIndex.build(model, tokenizer, documents)
            queries = torch.cat([embed_query(model, tokenizer, question["question"]) for question in questions])
        else:
            tensors = load_file(options.embeddings / f"{name}.safetensors")
            index = PassageIndex.from_embeddings(tensors["passages"].float(), documents, model, tokenizer)
            queries = tensors["questions"].float()
        results = measure(index, queries, questions)
        corpora[name] = {"passages": len(index), "questions": len(questions), "weights": results}
        write_result(
            RESULTS / f"{result_name(options.name, options.quick)}.json",
            {"question": "What does a search by words add to the search by embedding?", "corpora": corpora},
        )


if __name__ == "__main__":
    main()
