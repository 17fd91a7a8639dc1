"""`evaluate_retrieval`: scores the retrieval of gold conversations, with one forward and no generation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..checks import checked, choice, instance, integer, number, optional
from ..configuration import FUSIONS, Fusion
from ..data.conversations import EncodedExample, RoleEncoder
from ..data.queries import query_texts
from ..index import PassageIndex
from ..index.fusion import hybrid_settings
from ..modeling.embed import embed_rows, evaluation_mode
from ..modeling.positions import context_length
from .examples import EvaluationExample, read_examples
from .report import EvaluationReport, RunResult
from .runs.runner import RUN_RULES, dataset_facts, evaluation_run, identity
from .runs.settings import hybrid_facts
from .scoring import score_retrieval

RETRIEVALS_FILE = "retrievals.jsonl"


@checked(
    index=instance(PassageIndex),
    k=integer(least=1),
    hybrid=optional(number(least=0, most=1)),
    fusion=optional(choice(FUSIONS)),
    **RUN_RULES,
)
def evaluate_retrieval(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    index: PassageIndex,
    examples: Iterable[Mapping[str, Any]],
    output_dir: str | os.PathLike[str] | None = None,
    k: int = 100,
    batch_size: int = 8,
    hybrid: float | None = None,
    fusion: Fusion | None = None,
    dataset: str | None = None,
    split: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    show_progress: bool = True,
) -> EvaluationReport:
    """
    Score the retrieval of gold conversations: the embedding at each query token is searched in the index.

    Each hop follows the gold text of the earlier hops, so their errors do not affect it. An interrupted evaluation can
    be resumed like [`evaluate_rag`].

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        index ([`PassageIndex`])
        examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config. Query tokens without
            positives are not scored; query tokens beyond the model's context retrieve nothing.
        output_dir (`str` or path, *optional*): Receives `settings.json`, `retrievals.jsonl` (the retrieved
            passages per example and query token), `report.json` and `model-index.yaml`.
        k (`int`, *optional*, defaults to 100): Passages per query token.
        batch_size (`int`, *optional*, defaults to 8): Conversations per forward.
        hybrid (`float`, *optional*), fusion (`str`, *optional*): How much a search by words counts, and how (see
            [`PassageIndex.search`]). The words are those of the line that the model writes before the query token,
            else those of the question. By default the checkpoint's, if the index has a search by words.
        dataset, split, level, seed, show_progress: As for [`evaluate_rag`].

    Returns:
        [`EvaluationReport`]: `recall@k`, `success@k`, `mrr` and `ndcg@10` per hop.

    Raises:
        `TypeError`: If `model` is not a OneGen model.
        `ValueError`: As [`evaluate_rag`]; also if the index was built by another model, no query token has positives,
            or the number of query tokens in an example differs from the number of its lists of positives.

    Example:

    ```python
    >>> report = evaluate_retrieval(model, tokenizer, index, load_examples("org/dataset", "dev"))
    >>> report.results["retrieved"].by_hop["2"].metrics["recall@1"].value
    0.973
    ```
    """
    index.check_model(model, tokenizer)
    read = read_examples(examples, (passage.id for passage in index))
    _check_queries(read, model)
    hybrid, fusion = hybrid_settings(model.onegen_config, index, hybrid, fusion)
    querying = _Querying(model, tokenizer, index, k, hybrid, fusion)
    options: dict[str, Any] = {
        "task": "retrieval", "k": k, "batch_size": batch_size, **hybrid_facts(hybrid, fusion)
    }  # fmt: skip
    with (
        evaluation_run(output_dir, model, tokenizer, index, identity(read), options, show_progress) as run,
        evaluation_mode(model),
        torch.inference_mode(),
    ):
        found = run.results(RETRIEVALS_FILE, read, batch_size, querying.search)
        results = {"retrieved": RunResult.of(score_retrieval(read, found, k), level, seed)}
        facts = dataset_facts(examples, dataset, split)
        return run.write(EvaluationReport("retrieval", run.model, *facts, level, run.settings, results))


def _check_queries(examples: Sequence[EvaluationExample], model: Any) -> None:
    query_token = model.onegen_config.tokens.query
    for example in examples:
        queries = example.num_queries(model.onegen_config)
        if queries != len(example.positives):
            raise ValueError(
                f"example {example.id!r} has {queries} query tokens {query_token} and {len(example.positives)} lists "
                "of positives: give one list per query token, or load the model whose query token the data has"
            )
    if not any(positives for example in examples for positives in example.positives):
        raise ValueError(f"examples: no query token {query_token} has positives, so there is nothing to find")


class _Querying:
    """Encodes a block of gold conversations and searches for the embeddings at their query tokens."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        index: PassageIndex,
        k: int,
        hybrid: float,
        fusion: Fusion,
    ) -> None:
        self.model, self.tokenizer, self.index, self.k = model, tokenizer, index, k
        self.hybrid, self.fusion = hybrid, fusion
        self.encoder = RoleEncoder(tokenizer, model.onegen_config, context_length(model))

    def search(self, examples: Sequence[EvaluationExample]) -> list[dict[str, Any]]:
        # Examples without query tokens have no messages or nothing to search.
        encoded = [self.encoder.encode(example.messages) if example.positives else None for example in examples]
        querying = [
            (row, example)
            for row, example in zip(encoded, examples, strict=True)
            if row is not None and row.query_positions
        ]
        hits = iter(self._hits(querying))
        results = []
        for row in encoded:
            searched, queries = (0, 0) if row is None else (len(row.query_positions), row.num_queries)
            hops = [next(hits) for _ in range(searched)] + [[] for _ in range(queries - searched)]
            results.append({"retrievals": [{"hop": hop, "passages": passages} for hop, passages in enumerate(hops)]})
        return results

    def _hits(self, querying: Sequence[tuple[EncodedExample, EvaluationExample]]) -> list[list[dict[str, Any]]]:
        """What each query token of the rows finds."""
        if not querying:
            return []
        ids, positions = ([getattr(row, name) for row, _ in querying] for name in ("input_ids", "query_positions"))
        embeddings = embed_rows(self.model, ids, positions, self.tokenizer.pad_token_id)
        texts = [text for row, example in querying for text in self._query_texts(example, len(row.query_positions))]
        found = self.index.search(embeddings, self.k, hybrid=self.hybrid, texts=texts, fusion=self.fusion)
        return [
            [
                {"id": self.index[int(row)].id, "score": round(float(score), 6)}
                for score, row in zip(*pair, strict=True)
                if row >= 0
            ]
            for pair in zip(*found, strict=True)
        ]

    def _query_texts(self, example: EvaluationExample, count: int) -> list[str]:
        """The words of its first query tokens, as [`OnePassDecoder.query_text`] has them."""
        return [text or example.asked for text in query_texts(example.messages, self.model.onegen_config)[:count]]
