"""Recall on development splits: the state at a query token, searched among all passages of its family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor

from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.modeling.embed import embed_rows, evaluation_mode
from onegen_hf.similarity import normalize


def batches(lengths: Sequence[int], num_tokens: int) -> list[list[int]]:
    """Rows in the order of their lengths, in batches of at most `num_tokens` tokens, padding included."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    found: list[list[int]] = [[]]
    for row in order:
        if found[-1] and (len(found[-1]) + 1) * lengths[row] > num_tokens:
            found.append([])
        found[-1].append(row)
    return found


@torch.inference_mode()
def embed_all(model: Any, rows: list[list[int]], positions: list[list[int]], num_tokens: int, pad: int) -> Tensor:
    """
    Unit-length embeddings at the positions of rows of any length, row by row: `Tensor` of shape `(n, hidden)`.

    Args:
        model ([`OneGenForCausalLM`])
        rows (`list[list[int]]`): Token ids.
        positions (`list[list[int]]`): Of the retrieval tokens in each row.
        num_tokens (`int`): Tokens that go through the model together.
        pad (`int`): Id of the padding token.
    """
    parts: list[Tensor | None] = [None] * len(rows)
    with evaluation_mode(model):
        for batch in batches([len(row) for row in rows], num_tokens):
            asked = [positions[row] for row in batch]
            embeddings = normalize(embed_rows(model, [rows[row] for row in batch], asked, pad))
            for row, part in zip(batch, embeddings.split([len(own) for own in asked]), strict=True):
                parts[row] = part
    return torch.cat([part for part in parts if part is not None])


class Family(NamedTuple):
    """A development split with its embedded passages: `embeddings` is a `Tensor` of shape `(n_passages, hidden)`."""

    name: str
    questions: Dataset
    documents: Dataset
    embeddings: Tensor


def embedded_families(
    model: Any,
    tokenizer: Any,
    questions: Dataset,
    documents: Dataset,
    families: Sequence[str] | None = None,
    num_tokens: int = 32768,
    max_passages: int | None = None,
) -> Iterator[Family]:
    """
    The development splits, one after the other, with their passages embedded.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        questions (`datasets.Dataset`): `family`, `input_ids`, `query_positions`, `positives`.
        documents (`datasets.Dataset`): `family`, `id`, `title`, `text`.
        families (`Sequence[str]`, *optional*): By default all.
        num_tokens (`int`, *optional*, defaults to 32768): Tokens that go through the model together.
        max_passages (`int`, *optional*): Search in this many passages of a family only, the positives among them.
    """
    encoder = PassageEncoder(tokenizer, model.onegen_config)
    for family in families or dict.fromkeys(questions["family"]):
        asked = questions.select([row for row, name in enumerate(questions["family"]) if name == family])
        corpus = documents.select([row for row, name in enumerate(documents["family"]) if name == family])
        if max_passages is not None:
            corpus = gold_first(corpus, asked, max_passages)
        rows = [encoder.row(passage) for passage in DocumentStore(corpus)]
        ids, positions = [row.input_ids for row in rows], [row.positions for row in rows]
        yield Family(family, asked, corpus, embed_all(model, ids, positions, num_tokens, tokenizer.pad_token_id))


def gold_first(corpus: Dataset, questions: Dataset, most: int) -> Dataset:
    """The passages that answer questions, followed by others: `most` altogether, or all gold ones."""
    gold = {reference for lists in questions["positives"] for references in lists for reference in references}
    is_gold = [identifier in gold for identifier in corpus["id"]]
    order = sorted(range(len(corpus)), key=is_gold.__getitem__, reverse=True)
    return corpus.select(order[: max(most, len(gold))])


def recall(model: Any, tokenizer: Any, family: Family, num_tokens: int = 32768) -> dict[str, float]:
    """
    Recall@1 and @5 per query token, and the share of questions whose query tokens all find their passage first.

    A hop is asked after the gold passages of those before it.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        family ([`Family`])
        num_tokens (`int`, *optional*, defaults to 32768): Tokens that go through the model together.
    """
    asked = family.questions
    queries = embed_all(model, asked["input_ids"], asked["query_positions"], num_tokens, tokenizer.pad_token_id)
    return scores(queries, family.embeddings, asked["positives"], DocumentStore(family.documents))


def scores(
    queries: Tensor, passages: Tensor, positives: Sequence[Sequence[Sequence[str]]], store: DocumentStore
) -> dict[str, float]:
    """See [`recall`]; `positives` has a list of references per query token of each question."""
    with torch.autocast(queries.device.type, enabled=False):  # neighbours differ by less than bfloat16 can tell
        best = (queries @ passages.T).topk(min(5, len(passages)), dim=1).indices.tolist()
    hits, all_first, place = [], [], 0
    for lists in positives:
        ranks = []
        for references in lists:
            gold = {store.resolve(reference)[0] for reference in references}
            ranks.append(next((rank for rank, row in enumerate(best[place]) if row in gold), None))
            place += 1
        hits += ranks
        all_first.append(all(rank == 0 for rank in ranks))
    return {
        "questions": len(all_first),
        "queries": len(hits),
        "passages": len(passages),
        "recall@1": sum(rank == 0 for rank in hits) / len(hits),
        "recall@5": sum(rank is not None for rank in hits) / len(hits),
        "all_hops@1": sum(all_first) / len(all_first),
    }
