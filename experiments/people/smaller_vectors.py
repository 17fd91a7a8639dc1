"""
Recall and bytes of indexes that keep fewer numbers of an embedding, or smaller ones.

```
python -m experiments.people.smaller_vectors --data data/people_tokens --model outputs/people/joint \
  --families xquad_en squad_part nq_wiki hotpotqa --max-passages 1148 --without-projection \
  --out experiments/people/results/smaller_vectors.json
```
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.modeling.tokenizers import load_tokenizer

from .answers import rows_of
from .retrieval import Family, embed_all, embedded_families

PRECISIONS = ("float32", "float16", "int8", "binary")


def measure(
    model: Any, tokenizer: Any, family: Family, queries: torch.Tensor, dimensions: int, precision: str
) -> dict[str, Any]:
    """
    Recall@1 per query token, and the bytes of the vectors on disk per passage.

    Args:
        model ([`OneGenForCausalLM`]), tokenizer (`PreTrainedTokenizerBase`)
        family ([`Family`])
        queries (`Tensor` of shape `(n_queries, hidden)`): Row by row of the questions.
        dimensions (`int`), precision (`str`): As for [`PassageIndex.build`].
    """
    index = PassageIndex.from_embeddings(
        family.embeddings, rows_of(family.documents), model, tokenizer, num_checked=0, model_id="experiment",
        dimensions=dimensions, precision=precision,
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        index.save(folder)
        size = (Path(folder) / index.backend.file_name).stat().st_size
    found = [index[row].id for row in index.search(queries, 1)[1][:, 0]]
    gold = [set(references) for lists in family.questions["positives"] for references in lists]
    hits = [identifier in references for identifier, references in zip(found, gold, strict=True)]
    return {
        "family": family.name,
        "projection": "none" if model.onegen_config.projection_dim is None else "principal axes",
        "dimensions": dimensions,
        "precision": precision,
        "queries": len(hits),
        "recall@1": sum(hits) / len(hits),
        "bytes_per_passage": round(size / len(index), 1),
    }


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True, help="Folder that `prepare` wrote.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--families", nargs="+")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[64, 128, 256, 576])
    parser.add_argument("--max-passages", type=int, help="Search in this many passages of a family only.")
    parser.add_argument("--without-projection", action="store_true", help="Measure the hidden states themselves too.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model, tokenizer = OneGenForCausalLM.from_pretrained(arguments.model).eval(), load_tokenizer(arguments.model)
    questions, documents = (
        Dataset.from_parquet(str(arguments.data / f"{part}.parquet")) for part in ("development", "documents")
    )
    results = []
    for projected in (True, False) if arguments.without_projection else (True,):
        if not projected:
            model.set_onegen_config(replace(model.onegen_config, projection_dim=None))
        for family in embedded_families(
            model, tokenizer, questions, documents, arguments.families, 8192, arguments.max_passages
        ):
            asked = family.questions
            queries = embed_all(model, asked["input_ids"], asked["query_positions"], 8192, tokenizer.pad_token_id)
            for dimensions in arguments.dimensions:
                for precision in PRECISIONS:
                    results.append(measure(model, tokenizer, family, queries, dimensions, precision))
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
