"""
What a threshold on the retrieval score declines, and what it costs.

```
python -m experiments.people.declining --data data/people_tokens --model onegen_hf/default_checkpoint \
  --families xquad_en squad_part --questions 176 120 --out experiments/people/results/declining.json
```

The questions of a family are asked over all of its passages, and once more over those that answer none of them.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

from onegen_hf import OneGenForCausalLM
from onegen_hf.evaluation import ScoredAnswers
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines.confidence import retrieval_confidence

from .answers import answers
from .retrieval import embedded_families

THRESHOLDS = (0.4, 0.45, 0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.62)


def declining(
    with_gold: Sequence[dict[str, Any]], without_gold: Sequence[dict[str, Any]], thresholds: Iterable[float]
) -> list[dict[str, float]]:
    """
    Per threshold, the share of unanswerable questions and of others that it declines, and the points of F1 lost.

    Args:
        with_gold (`Sequence[dict]`): Records of [`answers`] over all passages.
        without_gold (`Sequence[dict]`): Over all but the gold ones.
        thresholds (`Iterable[float]`)
    """
    scores, others = ([_score(record) for record in records] for records in (with_gold, without_gold))
    answered = ScoredAnswers(scores, [record["f1"] for record in with_gold], others)
    return [
        {name: round(value, 1 if name == "f1_lost" else 3) for name, value in asdict(answered.at(threshold)).items()}
        for threshold in thresholds
    ]


def _score(record: dict[str, Any]) -> float:
    best = retrieval_confidence(scores[0] if scores else None for scores in record["scores"])
    return -1.0 if best is None or not record["answered"] else best


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True, help="Folder that `prepare` wrote.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--families", nargs="+", required=True)
    parser.add_argument("--questions", type=int, nargs="+", required=True, help="Of each family, the first ones.")
    parser.add_argument("--max-passages", type=int, help="Search in this many passages of a family only.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model, tokenizer = OneGenForCausalLM.from_pretrained(arguments.model).eval(), load_tokenizer(arguments.model)
    # The threshold in question is not to be applied already.
    model.onegen_config.answer_threshold = None
    questions, documents = (
        Dataset.from_parquet(str(arguments.data / f"{part}.parquet")) for part in ("development", "documents")
    )
    families = embedded_families(
        model, tokenizer, questions, documents, arguments.families, 8192, arguments.max_passages
    )
    results = []
    for family, limit in zip(families, arguments.questions, strict=True):
        asked, unanswerable = (
            answers(model, tokenizer, family, limit, batch_size=16, max_new_tokens=296, without_gold=without)
            for without in (False, True)
        )
        table = declining(asked, unanswerable, THRESHOLDS)
        f1 = sum(record["f1"] for record in asked) / len(asked)
        results.append({"family": family.name, "questions": len(asked), "f1": round(f1, 3), "thresholds": table})
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
