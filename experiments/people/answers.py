"""Answers on development splits, over the embedded passages of their family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset

from onegen_hf import PassageIndex
from onegen_hf.metrics.answers import answer_f1, exact_match
from onegen_hf.pipelines import OneGenRagPipeline

from .retrieval import Family


def answers(
    model: Any,
    tokenizer: Any,
    family: Family,
    limit: int | None = None,
    batch_size: int = 256,
    max_new_tokens: int = 64,
    without_gold: bool = False,
) -> list[dict[str, Any]]:
    """
    Answer the questions of a development split.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        family ([`Family`])
        limit (`int`, *optional*): Of the questions, the first ones.
        batch_size (`int`, *optional*, defaults to 256)
        max_new_tokens (`int`, *optional*, defaults to 64)
        without_gold (`bool`, *optional*, defaults to `False`): Take the passages that answer these questions out of
            the index, so that none of them can be answered.

    Returns:
        `list[dict]`: Per question `family`, `question`, `answers`, `answer`, `text` without its passages, the `found`
        passages and their `scores` by hop, `gold`, `exact_match`, `f1` and whether it was `answered`.
    """
    asked = family.questions.select(range(min(limit or len(family.questions), len(family.questions))))
    corpus, embeddings = family.documents, family.embeddings
    if without_gold:
        gold = {reference for lists in asked["positives"] for references in lists for reference in references}
        kept = [row for row, identifier in enumerate(corpus["id"]) if identifier not in gold]
        corpus, embeddings = corpus.select(kept), embeddings[kept]
    index = PassageIndex.from_embeddings(
        embeddings, rows_of(corpus), model, tokenizer, num_checked=0, backend="torch", model_id="experiment"
    )
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
    results = rag(list(asked["question"]), batch_size=batch_size, max_new_tokens=max_new_tokens)
    return [record(family.name, row, result) for row, result in zip(asked, results, strict=True)]


def rows_of(corpus: Dataset) -> list[dict[str, str]]:
    """What an index keeps of the documents."""
    return [{name: row[name] for name in ("id", "title", "text")} for row in corpus]


def record(family: str, asked: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """See [`answers`]."""
    given = result["answer"]
    written = result["text"]
    for retrieval in result["retrievals"]:
        for passage in retrieval["passages"]:
            written = written.replace(f"{passage['title']}\n{passage['text']}".strip(), "...")
    return {
        "family": family,
        "question": asked["question"],
        "answers": asked["answers"],
        "answer": given,
        "text": written[:400],
        "answered": result["answered"],
        "found": [[passage["id"] for passage in retrieval["passages"]] for retrieval in result["retrievals"]],
        "scores": [[passage["score"] for passage in retrieval["passages"]] for retrieval in result["retrievals"]],
        "gold": asked["positives"],
        "exact_match": exact_match(given, asked["answers"]),
        "f1": answer_f1(given, asked["answers"]),
    }


def summary(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Averages over questions."""
    return {
        "questions": len(records),
        "exact_match": _mean(record["exact_match"] for record in records),
        "f1": _mean(record["f1"] for record in records),
        "answered": _mean(record["answered"] for record in records),
        "all_found": _mean(all_found(record) for record in records),
    }


def _mean(values: Iterable[float]) -> float:
    numbers = [float(value) for value in values]
    return sum(numbers) / max(len(numbers), 1)


def all_found(record: dict[str, Any]) -> bool:
    """Whether every gold passage is among those retrieved, whatever the order of the hops."""
    found = {identifier for hop in record["found"] for identifier in hop}
    return all(set(references) & found for references in record["gold"])
