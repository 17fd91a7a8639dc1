"""
all-MiniLM-L6-v2 trained on the pairs of the retrieval stage, and its recall@1 before and after, for comparison.

```
python -m experiments.people.train_minilm --data data/people_tokens --out outputs/minilm \
  --results experiments/people/results/minilm_trained.json
```

Pairs are those of `retrieval.parquet` that `prepare` wrote: a question, a passage that answers it and, with
`--hard-negatives`, one that does not. The loss is `MultipleNegativesRankingLoss` of sentence-transformers, with the
other passages of a batch as negatives. The encoder is that of [`experiments.people.minilm`]. An interrupted run
goes on from its last checkpoint in `--out`.
"""

from __future__ import annotations

import json
import random
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_utils import get_last_checkpoint

from benchmarks.alternatives.encoder import load_minilm

from .minilm import recall_of_encoder

LABELLED = (
    "squad_part", "nq_wiki", "xquad_en", "boolq", "qamr", "fairytaleqa", "drop", "cmu_wikipedia", "hotpotqa", "bioasq",
    "covidqa", "quoref_contrast", "trivia_nq_retrieved", "onestopqa", "musique",
)  # fmt: skip
"""Families whose questions people wrote."""


def training_pairs(
    pairs: Dataset, documents: Dataset, families: list[str], hard_negatives: bool, limit: int | None, seed: int
) -> Dataset:
    """
    Questions with a passage that answers them: `anchor`, `positive`, and `negative` if asked for.

    Args:
        pairs, documents (`datasets.Dataset`): As `prepare` writes them.
        families (`list[str]`)
        hard_negatives (`bool`): Whether one of the mined negatives joins each pair.
        limit (`int`, *optional*): Pairs that are drawn at random.
        seed (`int`)
    """
    texts = {
        document["id"]: f"{document['title']}\n{document['text']}".strip()
        for document in documents.select_columns(["id", "title", "text"])
    }
    generator = random.Random(seed)
    rows = [
        {
            "anchor": pair["queries"][0],
            "positive": texts[generator.choice(pair["positives"][0])],
            **({"negative": texts[generator.choice(pair["negatives"][0])]} if hard_negatives else {}),
        }
        for pair in pairs.select_columns(["family", "queries", "positives", "negatives"])
        if pair["family"] in families and pair["negatives"][0]
    ]
    generator.shuffle(rows)
    return Dataset.from_list(rows[:limit])


def train(encoder: SentenceTransformer, pairs: Dataset, out: Path, options: dict[str, Any]) -> None:
    """Train in place, going on from the last checkpoint in `out`; see `SentenceTransformerTrainingArguments`."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        num_train_epochs=1,
        warmup_steps=0.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        logging_steps=5,
        save_steps=10,
        save_total_limit=1,
        report_to="none",
        **options,
    )
    trainer = SentenceTransformerTrainer(encoder, arguments, pairs, loss=MultipleNegativesRankingLoss(encoder))
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)) if out.is_dir() else None)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and of the trained encoder")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=list(LABELLED), help="whose pairs are trained on")
    parser.add_argument("--hard-negatives", action="store_true", help="a mined negative beside each pair")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a passage in training")
    parser.add_argument("--limit", type=int, help="pairs, drawn at random; by default all")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measured", nargs="+", default=["xquad_en", "squad_part", "nq_wiki"])
    arguments = parser.parse_args()
    retrieval, questions, documents = (
        Dataset.from_parquet(str(arguments.data / f"{part}.parquet"))
        for part in ("retrieval", "development", "documents")
    )
    encoder = load_minilm("float32", "cpu")
    before = recall_of_encoder(encoder, questions, documents, arguments.measured)
    pairs = training_pairs(
        retrieval, documents, arguments.families, arguments.hard_negatives, arguments.limit, arguments.seed
    )
    options = {
        "per_device_train_batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "seed": arguments.seed,
    }
    longest = encoder.max_seq_length
    encoder.max_seq_length = arguments.max_length
    train(encoder, pairs, arguments.out, options)
    encoder.max_seq_length = longest
    encoder.save_pretrained(str(arguments.out / "encoder"))
    after = recall_of_encoder(encoder, questions, documents, arguments.measured)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "encoder": "all-MiniLM-L6-v2",
        "pairs": len(pairs),
        "families": arguments.families,
        "hard_negatives": arguments.hard_negatives,
        "max_length": arguments.max_length,
        **options,
    }
    arguments.results.write_text(json.dumps({**result, "before": before, "after": after}, indent=1) + "\n")


if __name__ == "__main__":
    main()
