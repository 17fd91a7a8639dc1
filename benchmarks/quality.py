"""
How well does a checkpoint retrieve and answer, and how well would it answer with the right passages?

```
python -m benchmarks.quality --data wiki2hop --split dev
```

Recall@1 per hop: the share of the gold hops whose passage was the first one retrieved at that hop; a hop that the
model did not take counts as missed. The upper bound inserts the gold passage at every hop, whatever the search says.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.report import write_result
from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, PassageIndex
from onegen_hf.auto import load_tokenizer
from onegen_hf.corpora import load_documents, load_examples
from onegen_hf.generation import Hit, OnePassDecoder, RowState
from onegen_hf.metrics.answers import answer_f1, exact_match
from onegen_hf.pipelines import DEFAULT_CHECKPOINT
from onegen_hf.rendering import render_prompt


class GoldDecoder(OnePassDecoder):
    """Inserts the gold passage of every hop; `gold[number]` lists those of a row. Hops beyond them are searched."""

    gold: Sequence[Sequence[str]]
    rows_by_id: dict[str, int]

    def retrieve(self, rows: Sequence[RowState], embeddings: torch.Tensor) -> list[list[Hit]]:
        found = super().retrieve(rows, embeddings)
        for place, row in enumerate(rows):
            if len(row.retrievals) < len(self.gold[row.number]):
                number = self.rows_by_id[self.gold[row.number][len(row.retrievals)]]
                found[place] = [Hit(self.index[number], 1.0, number)]
        return found


def answer_all(
    rag: OneGenRagPipeline, examples: Any, decoder_class: type[OnePassDecoder], batch_size: int, path: Path
) -> list[dict[str, Any]]:
    """Answer every question, most hops first; `path` keeps results as they come, and what it holds is not redone."""
    model, tokenizer = rag.model, rag.tokenizer
    done: dict[str, dict[str, Any]] = {}
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        done = {record["id"]: record for record in map(json.loads, lines)}
    todo = sorted((e for e in examples if e["id"] not in done), key=lambda e: -len(e["positives"]))
    rows_by_id = {passage.id: row for row, passage in enumerate(rag.index)}
    with path.open("a", encoding="utf-8") as stream, tqdm(total=len(todo), desc=decoder_class.__name__) as bar:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            prompts = [render_prompt(example["question"], tokenizer, model.onegen_config) for example in batch]
            encoded = tokenizer(prompts, add_special_tokens=False, return_tensors="pt", padding=True)
            decoder = decoder_class(rag.index, tokenizer, model.onegen_config)
            if isinstance(decoder, GoldDecoder):
                decoder.gold = [[ids[0] for ids in example["positives"]] for example in batch]
                decoder.rows_by_id = rows_by_id
            output = model.generate(
                input_ids=encoded["input_ids"].to(model.device),
                attention_mask=encoded["attention_mask"].to(model.device),
                custom_generate=decoder,
                max_new_tokens=256,
                do_sample=False,
                return_dict_in_generate=True,
                pad_token_id=tokenizer.pad_token_id,
            )
            for example, row in zip(batch, output.rows, strict=True):
                result = {"id": example["id"], **rag.describe(row)}
                done[example["id"]] = result
                stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()
            bar.update(len(batch))
    return [done[example["id"]] for example in examples]


def score(example: dict[str, Any], result: dict[str, Any]) -> dict[str, float]:
    """EM, F1, the gold hops, and how many of them brought the gold passage first."""
    found = [[passage["id"] for passage in retrieval["passages"]] for retrieval in result["retrievals"]]
    hits = [gold[0] in ids[:1] for gold, ids in zip(example["positives"], found, strict=False)]
    return {
        "exact_match": exact_match(result["answer"], example["answers"]),
        "f1": answer_f1(result["answer"], example["answers"]),
        "hops": len(example["positives"]),
        "hits": sum(hits),
        "as_many_hops": float(len(found) == len(example["positives"])),
    }


def summarize(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over questions; recall over hops."""
    number = len(scores)
    means = {name: sum(s[name] for s in scores) / number for name in ("exact_match", "f1", "as_many_hops")}
    recall = sum(s["hits"] for s in scores) / sum(s["hops"] for s in scores)
    return {"questions": number, "recall@1_per_hop": round(recall, 4), **{n: round(v, 4) for n, v in means.items()}}


def by_type(examples: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary over all questions and over those of each type."""
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    for example, result in zip(examples, results, strict=True):
        scored = score(example, result)
        groups["all"].append(scored)
        groups[json.loads(example["meta"]).get("type", "none")].append(scored)
    return {name: summarize(group) for name, group in sorted(groups.items())}


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT))
    parser.add_argument("--data", required=True, help="dataset repository with documents and examples")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--work", type=Path, default=Path("outputs/quality"), help="index and answers; resumable")
    parser.add_argument("--name", default="quality", help="of the result file")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = OneGenForCausalLM.from_pretrained(options.model, dtype=options.dtype).eval()
    tokenizer = load_tokenizer(options.model)
    start = time.perf_counter()
    folder = options.work / "index"
    if not (folder / "index.json").is_file():
        documents = load_documents(options.data)
        checkpoint = options.work / "encoding"
        PassageIndex.build(model, tokenizer, documents, batch_size=64, checkpoint_dir=checkpoint).save(folder)
    index = PassageIndex.load(folder)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
    examples = list(load_examples(options.data, options.split, options.limit))
    found = answer_all(rag, examples, OnePassDecoder, options.batch_size, options.work / "answers.jsonl")
    gold = answer_all(rag, examples, GoldDecoder, options.batch_size, options.work / "answers_gold.jsonl")
    result = {
        "question": "How well does the checkpoint retrieve and answer?",
        "passages": len(index),
        "dtype": options.dtype,
        "retrieved": by_type(examples, found),
        "gold_passages": by_type(examples, gold),
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }
    write_result(options.name, result)


if __name__ == "__main__":
    main()
