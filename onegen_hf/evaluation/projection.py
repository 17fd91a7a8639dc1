"""`fit_projection`: turns embeddings so that their first numbers say the most, on development data."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ..checks import checked, flag, integer, optional
from ..data.conversations import RoleEncoder
from ..data.documents import Corpus, DocumentStore
from ..index.encode import as_document_store, encode_passages
from ..modeling.embed import check_encoder, embed_rows, evaluation_mode
from ..modeling.positions import context_length
from ..modeling.projection import embedding_size, projection_weight, use_projection
from ..similarity import normalize, similarity_matrix
from .examples import EvaluationExample, read_examples

PREFIXES = (32, 64, 128, 256, 512)
"""Lengths for which recall is measured before and after, as far as embeddings are longer."""


@dataclass(frozen=True)
class PrefixRecall:
    """
    What an index finds that keeps the first numbers of each embedding.

    Attributes:
        dimensions (`int`)
        before (`float`), after (`float`): Recall@1 without and with the projection.
    """

    dimensions: int
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class ProjectionFit:
    """
    A fitted projection, and what it does to queries that it was not fitted on.

    Attributes:
        weight (`Tensor` of shape `(dim, hidden)`, float32)
        passages (`int`): Among which it was fitted and queries were searched.
        fitted_queries (`int`), measured_queries (`int`): Halves of the queries.
        prefixes (`list[PrefixRecall]`): From the shortest; the last one is the whole embedding.
    """

    weight: Tensor
    passages: int
    fitted_queries: int
    measured_queries: int
    prefixes: list[PrefixRecall]

    def __str__(self) -> str:
        lines = [
            f"fitted on {self.fitted_queries} queries and {self.passages} passages; "
            f"recall@1 of {self.measured_queries} others",
            "",
            f"{'dimensions':>10}  {'before':>6}  {'after':>6}",
            *(f"{each.dimensions:>10}  {each.before:>6.3f}  {each.after:>6.3f}" for each in self.prefixes),
        ]
        return "\n".join(lines)


@checked(
    dim=optional(integer(least=1)),
    num_passages=integer(least=2),
    num_examples=integer(least=2),
    batch_size=integer(least=1),
    seed=integer(least=0),
    show_progress=flag(),
)
def fit_projection(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    documents: Corpus,
    examples: Iterable[Mapping[str, Any]],
    dim: int | None = None,
    num_passages: int = 2000,
    num_examples: int = 1000,
    batch_size: int = 8,
    seed: int = 0,
    show_progress: bool = True,
) -> ProjectionFit:
    """
    Give a model a projection to the principal axes of its embeddings, the most important one first.

    With all axes it is a rotation: every cosine stays what it was. An index that keeps the first numbers of an
    embedding then loses far less than without it, as the axes that are left out tell passages least apart. A
    projection that the model has already is turned on.

    The axes are the eigenvectors of the mean of u uᵀ over unit embeddings u, with queries and passages counting half
    each. It is not centred, since cosines are not.

    Args:
        model ([`OneGenForCausalLM`]): Its `projection_dim` and projection are changed in place. Indexes that it made
            before no longer fit.
        tokenizer (`PreTrainedTokenizerBase`)
        documents (`datasets.Dataset` or `Iterable`): As for [`DocumentStore`].
        examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config whose query tokens have
            positives. The axes are fitted on one half of them, and recall is measured on the other.
        dim (`int`, *optional*): Numbers that an embedding keeps; all by default.
        num_passages (`int`, *optional*, defaults to 2000): Passages to embed, positives first, drawn at random.
        num_examples (`int`, *optional*, defaults to 1000): Examples to embed, drawn at random.
        batch_size (`int`, *optional*, defaults to 8): Conversations per forward.
        seed (`int`, *optional*, defaults to 0)
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`ProjectionFit`]

    Raises:
        `TypeError`: If `model` is not a OneGen model.
        `ValueError`: If `dim` is more than the numbers of an embedding, or there are not two examples with positives.

    Example:

    ```python
    >>> print(fit_projection(model, tokenizer, load_documents("org/dataset"), load_examples("org/dataset", "dev")))
    >>> PassageIndex.build(model, tokenizer, corpus, dimensions=256, precision="int8")
    ```
    """
    check_encoder(model, tokenizer)
    size = embedding_size(model)
    if dim is not None and dim > size:
        raise ValueError(f"dim={dim} is more than the {size} numbers of an embedding: lower it")
    store = as_document_store(documents)
    rng = random.Random(seed)
    asked = [row for row in read_examples(examples, store.ids, "documents") if row.messages and any(row.positives)]
    if len(asked) < 2:
        raise ValueError(
            f"examples has {len(asked)} rows whose query tokens have positives: two are needed, one to fit and one to "
            "measure"
        )
    asked = rng.sample(asked, min(len(asked), num_examples))
    corpus = _sampled(store, asked, num_passages, rng)
    encoded = encode_passages(model, tokenizer, corpus, show_progress=show_progress)
    passages = torch.from_numpy(encoded.embeddings)  # (embeddings, size)
    queries, numbers, positives = _queries(model, tokenizer, asked, batch_size, show_progress)
    fitted = torch.tensor(numbers) < len(asked) // 2
    axes = principal_axes(queries[fitted], passages)

    owners = [corpus.ids[owner] for owner in encoded.owners]
    golds = [gold for gold, known in zip(positives, fitted.tolist(), strict=True) if not known]
    prefixes = []
    for length in [*(length for length in PREFIXES if length < size), size]:
        turns = (torch.eye(size)[:length], axes[:length])
        recalls = (_recall(queries[~fitted], passages, turn, owners, golds) for turn in turns)
        prefixes.append(PrefixRecall(length, *recalls))
    weight = axes[:dim]
    present = projection_weight(model)
    if present is not None:
        weight = weight @ present.cpu().float()
    model.set_onegen_config(replace(model.onegen_config, projection_dim=len(weight)))
    use_projection(model, weight)
    return ProjectionFit(weight, len(corpus), int(fitted.sum()), len(golds), prefixes)


def principal_axes(queries: Tensor, passages: Tensor) -> Tensor:
    """
    The directions along which embeddings differ from zero the most.

    Args:
        queries (`Tensor` of shape `(n_queries, size)`): Of unit length.
        passages (`Tensor` of shape `(n_passages, size)`): Of unit length.

    Returns:
        `Tensor` of shape `(size, size)`, float32: Rows of unit length, at right angles, in falling order.
    """
    moments = [vectors.double().T @ vectors.double() / len(vectors) for vectors in (queries, passages)]
    _, vectors = torch.linalg.eigh(moments[0] + moments[1])  # columns, in rising order
    return vectors.flip(1).T.contiguous().float()


def _sampled(store: Corpus, asked: Sequence[EvaluationExample], limit: int, rng: random.Random) -> Corpus:
    """The positives of the examples, and other passages up to the limit."""
    wanted = {identifier for example in asked for hop in example.positives for identifier in hop}
    rows = [row for row, identifier in enumerate(store.ids) if identifier in wanted]
    others = [row for row, identifier in enumerate(store.ids) if identifier not in wanted]
    rows += rng.sample(others, min(max(limit - len(rows), 0), len(others)))
    return DocumentStore([store[row] for row in sorted(rows)])


@torch.inference_mode()
def _queries(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[EvaluationExample],
    batch_size: int,
    show_progress: bool,
) -> tuple[Tensor, list[int], list[tuple[str, ...]]]:
    """
    The embeddings at the query tokens that have positives.

    Returns:
        `tuple`: Unit embeddings of shape `(n_queries, size)`, and for each the number of its example, and its
        positives.
    """
    encoder = RoleEncoder(tokenizer, model.onegen_config, context_length(model))
    rows, ends, numbers, positives = [], [], [], []
    for number, example in enumerate(asked):
        encoded = encoder.encode(example.messages)
        queries = [
            (position, hop) for position, hop in zip(encoded.query_positions, example.positives, strict=False) if hop
        ]  # query tokens beyond the model's context are cut off
        rows.append(encoded.input_ids)
        ends.append([position for position, _ in queries])
        numbers += [number] * len(queries)
        positives += [hop for _, hop in queries]
    parts = []
    with evaluation_mode(model), tqdm(total=len(rows), desc="Asking", disable=not show_progress) as bar:
        for start in range(0, len(rows), batch_size):
            batch = slice(start, start + batch_size)
            parts.append(normalize(embed_rows(model, rows[batch], ends[batch], tokenizer.pad_token_id)).cpu())
            bar.update(len(rows[batch]))
    return torch.cat(parts), numbers, positives


def _recall(
    queries: Tensor, passages: Tensor, turn: Tensor, owners: Sequence[str], golds: Sequence[Collection[str]]
) -> float:
    """Recall@1 of embeddings that are turned and cut by a matrix of shape `(length, size)`."""
    best = similarity_matrix(queries @ turn.T, passages @ turn.T).argmax(dim=1).tolist()
    hits = [owners[row] in gold for row, gold in zip(best, golds, strict=True)]
    return sum(hits) / max(len(hits), 1)
