"""`OneGenDataCollator`: examples and their passages → one batch, padded to what it holds, each passage once."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..checks import checked, instance, integer, optional, shown
from ..configuration import OneGenConfig
from .conversations import RoleEncoder
from .documents import Corpus, check_container, stable_key
from .padding import pad_ids, pad_positions, pad_rows
from .passages import PassageEncoder
from .queries import query_texts
from .targets import IGNORE_INDEX, IGNORED, NEGATIVE, POSITIVE
from .teacher import Teacher, embedded_units


def _references(example: Mapping[str, Any], field: str) -> list[list[str]]:
    """The lists of ids in a field of an example; a text in the place of a list would be read letter by letter."""
    lists = example.get(field) or ()
    for hop, ids in enumerate(lists):
        if isinstance(lists, (str, bytes)) or isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise TypeError(
                f"example {example.get('id', '')!r}: {field}[{hop}]={shown(ids)} must be a list of ids, such as "
                "['doc'], one list per query token"
            )
    return [list(ids) for ids in lists]


class OneGenDataCollator:
    """
    Builds the tensors of [`OneGenForCausalLM`]'s forward from dataset rows.

    The passages of a batch are the positives of its query tokens, then hard negatives from the data, then random ones.
    Each distinct passage is encoded once, and rows are sorted by length. Every passage of the batch is a negative for
    an anchor unless it is one of its positives. A query token without positives is trained as a generated token only.

    Sampling depends only on `seed` and the examples of the batch, so resumed runs, other numbers of workers and
    repeated calls give the same batches.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        documents ([`Corpus`] or rows): The corpus that `positives` and `negatives` refer to.
        config (`OneGenConfig`, *optional*)
        num_hard_negatives (`int`, *optional*, defaults to 1): Per query token, drawn from its `negatives`.
        num_random_negatives (`int`, *optional*, defaults to 0): Per query token, drawn from the corpus; fewer when the
            corpus has no more.
        max_length (`int`, *optional*): Longest generation row.
        pad_to_multiple_of (`int`, *optional*)
        seed (`int`, *optional*, defaults to 42)
        teacher ([`Teacher`], *optional*): Its scores of a batch's passages become `teacher_scores`, from which the
            model distils.
    """

    @checked(
        tokenizer=instance(PreTrainedTokenizerBase),
        config=optional(instance(OneGenConfig)),
        num_hard_negatives=integer(least=0),
        num_random_negatives=integer(least=0),
        max_length=optional(integer(least=2)),
        pad_to_multiple_of=optional(integer(least=1)),
        seed=integer(),
        teacher=optional(instance(Teacher)),
    )
    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        documents: Corpus | Sequence[Any],
        config: OneGenConfig | None = None,
        num_hard_negatives: int = 1,
        num_random_negatives: int = 0,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        seed: int = 42,
        teacher: Teacher | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config or OneGenConfig()
        check_container(documents, "documents")
        self.documents = documents if isinstance(documents, Corpus) else Corpus(documents)
        self.roles = RoleEncoder(tokenizer, self.config, max_length)
        self.passages = PassageEncoder(tokenizer, self.config)
        self.num_hard_negatives = num_hard_negatives
        self.num_random_negatives = num_random_negatives
        self.pad_to_multiple_of = pad_to_multiple_of
        self.seed = seed
        self.teacher = teacher
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.pad_token_id: int = 0 if pad is None else pad

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """
        Args:
            features (`Sequence[Mapping]`): Rows with `messages`, or already encoded ones (see [`~encode_example`]).

        Returns:
            `dict[str, Tensor]`: The arguments of the model's forward.

        Raises:
            `ValueError`: If query tokens and positives do not match, a document is unknown, or encoded rows lack the
                `queries` that a teacher reads.
        """
        if not len(features):
            raise ValueError("features is empty: give at least one example")
        rows = [feature if "input_ids" in feature else self.encode_example(feature) for feature in features]
        input_ids, attention_mask = self._pad([row["input_ids"] for row in rows])
        labels = pad_rows([row["labels"] for row in rows], IGNORE_INDEX, multiple_of=self.pad_to_multiple_of)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        anchors = [
            (number, position, positives, negatives, query)
            for number, row in enumerate(rows)
            for position, positives, negatives, query in zip(
                # Truncation drops query tokens from the end; their positives go with them.
                row["query_positions"],
                row["positives"],
                row["negatives"],
                self._queries(row),
                strict=False,
            )
            if positives
        ]
        positions: list[list[int]] = [[] for _ in rows]
        for number, position, *_ in anchors:
            positions[number].append(position)
        batch["retrieval_positions"] = pad_positions(positions)
        if anchors:
            batch |= self._passages([(p, n) for _, _, p, n, _ in anchors], [query for *_, query in anchors])
        return batch

    def encode_example(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """
        Encode an `examples` row: `input_ids`, `labels`, `query_positions`, `positives`, `negatives`, `queries` (the
        text of each query token, see [`query_texts`]), `length`.

        Raises:
            `ValueError`: If the number of query tokens differs from the number of positives.
        """
        if "messages" not in example:
            raise ValueError(f"the example has the fields {sorted(example)} and no 'messages': add the conversation")
        encoded = self.roles.encode(example["messages"])
        positives = _references(example, "positives") or []
        negatives = _references(example, "negatives") or [[] for _ in positives]
        if not len(positives) == len(negatives) == encoded.num_queries:
            raise ValueError(
                f"example {example.get('id', '')!r}: {encoded.num_queries} query tokens "
                f"{self.config.tokens.query} in the assistant's turns, but {len(positives)} lists of positives and "
                f"{len(negatives)} of negatives. Give one list per query token; an empty one for no retrieval loss."
            )
        return {
            "input_ids": encoded.input_ids,
            "labels": encoded.labels,
            "query_positions": encoded.query_positions,
            "positives": positives,
            "negatives": negatives,
            "queries": query_texts(example["messages"], self.config),
            "length": len(encoded.input_ids),
        }

    def _queries(self, row: Mapping[str, Any]) -> Sequence[str | None]:
        if self.teacher is None:
            return [None] * len(row["positives"])
        if row.get("queries") is None:
            raise ValueError(
                "an encoded example has no `queries`, which the teacher reads: encode the examples again, or leave "
                "the teacher out"
            )
        return row["queries"]

    def _passages(self, anchors: list[tuple[list[str], list[str]]], queries: list[str | None]) -> dict[str, Tensor]:
        resolve = self.documents.resolve
        positives = [[resolve(reference) for reference in references] for references, _ in anchors]
        rng = random.Random(f"{self.seed}|{anchors}")
        wanted = {row: None for references in positives for row, _ in references}
        for (_, hard), own in zip(anchors, positives, strict=True):
            wanted |= dict.fromkeys(self._draw_negatives(hard, {row for row, _ in own}, rng))

        documents = {row: self.documents[row] for row in wanted}
        encoded = [(row, self.passages.row(document)) for row, document in documents.items()]
        encoded.sort(key=lambda item: len(item[1].input_ids))
        columns = [(row, sentence) for row, passage in encoded for sentence in range(len(passage.positions))]
        targets = torch.full((len(anchors), len(columns)), NEGATIVE, dtype=torch.int8)
        for anchor, references in enumerate(positives):
            whole = {row for row, sentence in references if sentence is None or self.config.granularity == "passage"}
            parts = set(references)
            touched = {row for row, _ in references}
            for column, (row, sentence) in enumerate(columns):
                if row in whole or (row, sentence) in parts:
                    targets[anchor, column] = POSITIVE
                elif row in touched:
                    # Another sentence of a gold passage may well be right: neither positive nor negative.
                    targets[anchor, column] = IGNORED
        input_ids, attention_mask = self._pad([passage.input_ids for _, passage in encoded])
        keys = [stable_key(f"{self.documents.ids[row]}#{sentence}") for row, sentence in columns]
        batch = {
            "passage_input_ids": input_ids,
            "passage_attention_mask": attention_mask,
            "passage_retrieval_positions": pad_positions([passage.positions for _, passage in encoded]),
            "passage_keys": torch.tensor(keys, dtype=torch.int64),
            "retrieval_targets": targets,
        }
        if self.teacher is not None:
            units = [unit for row, _ in encoded for unit in embedded_units(documents[row], self.config)]
            batch["teacher_scores"] = self.teacher.scores(queries, units).float()
        return batch

    def _draw_negatives(self, hard: list[str], positives: set[int], rng: random.Random) -> list[int]:
        candidates = dict.fromkeys(self.documents.resolve(reference)[0] for reference in hard)
        allowed = [row for row in candidates if row not in positives]
        drawn = rng.sample(allowed, min(self.num_hard_negatives, len(allowed)))
        # A draw without replacement of a few more than needed: it ends also where the corpus is smaller than that.
        excluded = positives | set(drawn)
        size = min(self.num_random_negatives + len(excluded), len(self.documents)) if self.num_random_negatives else 0
        random_rows = [row for row in rng.sample(range(len(self.documents)), size) if row not in excluded]
        return drawn + random_rows[: self.num_random_negatives]

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        return pad_ids(rows, self.pad_token_id, multiple_of=self.pad_to_multiple_of)
