"""`evaluate_rag`: answers questions in one pass, and optionally again with the gold passages."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..checks import checked, choice, flag, instance, integer, number, optional, subclass
from ..configuration import FUSIONS, Fusion
from ..data.passages import Passage
from ..generation import CritiqueDecoder, CritiqueSettings, OnePassDecoder
from ..generation.critique.settings import critique_rule
from ..generation.policy import make_policy, retrieval_rule
from ..index.fusion import hybrid_settings
from ..modeling.positions import context_length
from ..pipelines import OneGenRagPipeline
from ..pipelines.describe import RowDescriber
from ..pipelines.rag import BATCHES_AT_A_TIME
from .examples import EvaluationExample, read_examples
from .gold_decoder import GoldPassageDecoder
from .report import GOLD, EvaluationReport, RunResult
from .runs.runner import RUN_RULES, dataset_facts, evaluation_run, identity
from .runs.settings import hybrid_facts
from .scoring import score_rag
from .without_gold_decoder import WithoutGoldDecoder

ANSWERS_FILE = "answers.jsonl"
GOLD_ANSWERS_FILE = "answers_gold_passages.jsonl"


@checked(
    rag=instance(OneGenRagPipeline),
    k=integer(least=1),
    max_hops=integer(least=0),
    max_new_tokens=integer(least=1),
    gold_passages=flag(),
    decoder_class=subclass(OnePassDecoder),
    retrieval=retrieval_rule,
    threshold=optional(number(least=0, most=1)),
    answer_threshold=optional(number(infinite=True)),
    hybrid=optional(number(least=0, most=1)),
    fusion=optional(choice(FUSIONS)),
    inserted_sentences=optional(integer(least=0)),
    readings=optional(integer(least=1)),
    critique=critique_rule,
    **RUN_RULES,
)
def evaluate_rag(
    rag: OneGenRagPipeline,
    examples: Iterable[Mapping[str, Any]],
    output_dir: str | os.PathLike[str] | None = None,
    k: int = 1,
    max_hops: int = 5,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    gold_passages: bool = False,
    decoder_class: type[OnePassDecoder] = OnePassDecoder,
    retrieval: str = "adaptive",
    threshold: float | None = None,
    answer_threshold: float | None = None,
    hybrid: float | None = None,
    fusion: Fusion | None = None,
    inserted_sentences: int | None = None,
    readings: int | None = None,
    critique: bool | CritiqueSettings | None = None,
    dataset: str | None = None,
    split: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    show_progress: bool = True,
) -> EvaluationReport:
    """
    Answer the questions of a dataset, greedily, and score answers and retrieval.

    To continue an interrupted evaluation, call it again with the same arguments. On the same machine, the resulting
    files are identical to the byte; another machine may round differently.

    Args:
        rag ([`OneGenRagPipeline`]): Model, tokenizer and index.
        examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config.
        output_dir (`str` or path, *optional*): Receives `settings.json`, `answers.jsonl` (one line per example, as the
            pipeline returns it without a threshold, in the order of the examples), `report.json` and
            `model-index.yaml`. By default nothing is written.
        k (`int`, *optional*, defaults to 1): Passages per hop.
        max_hops (`int`, *optional*, defaults to 5)
        max_new_tokens (`int`, *optional*, defaults to 256)
        batch_size (`int`, *optional*, defaults to 8): Questions decoded at a time. Results are written after every
            four batches, which share a call of `generate` (after every question if `batch_size=1`).
        gold_passages (`bool`, *optional*, defaults to `False`): Also answer with the gold passages inserted, the upper
            bound for any retrieval. Writes `answers_gold_passages.jsonl`, and can be added in a later call.
        retrieval (`str`, *optional*, defaults to `"adaptive"`): When the model retrieves: `"always"`, `"adaptive"` or
            `"never"`.
        threshold (`float`, *optional*): See [`~onegen_hf.generation.AdaptiveRetrieval`].
        answer_threshold (`float`, *optional*): Answers with a lower `retrieval_confidence` count as withheld; by
            default the checkpoint's `onegen.answer_threshold`. `-math.inf` for none. It is applied to the stored
            results, so trying another one costs nothing.
        hybrid (`float`, *optional*), fusion (`str`, *optional*): How much a search by words counts, and how; see
            [`PassageIndex.search`]. By default the checkpoint's, if the index has a search by words.
        inserted_sentences (`int`, *optional*): Sentences of a passage that are inserted, 0 for all; see
            [`OnePassDecoder`]. By default the checkpoint's.
        readings (`int`, *optional*): How often a passage is read, see [`OnePassDecoder`]. By default the checkpoint's.
        critique (`bool` or [`CritiqueSettings`], *optional*): Weigh a candidate for each of the `k` passages, see
            [`CritiqueDecoder`]; not with `gold_passages` or a `decoder_class`. Examples whose `meta.metric` is
            `"accuracy"` are answered with `closed_set`, as in the paper.
        dataset (`str`, *optional*): Name of the data in the report; of a path, only the last part is used.
        split (`str`, *optional*): By default the split of a `datasets.Dataset`.
        level (`float`, *optional*, defaults to 0.95): Level of the bootstrap confidence intervals.
        seed (`int`, *optional*, defaults to 0): Seed of the bootstrap.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`EvaluationReport`]

    Raises:
        `OSError`: If `output_dir` is not writable.
        `ValueError`: If there are no examples, a positive is not in the index, a question does not fit into the
            model's context, or `output_dir` contains results of other settings.

    Example:

    ```python
    >>> rag = pipeline("onegen-rag", model="org/model", index=index)
    >>> report = evaluate_rag(rag, load_examples("org/dataset", "dev"), "outputs/evaluation", gold_passages=True)
    >>> report.results["retrieved"].all.metrics["exact_match"]
    Estimate(value=0.816, low=0.782, high=0.85)
    ```
    """
    make_policy(retrieval, max_hops, threshold)  # a threshold for another mode than "adaptive" is refused
    if answer_threshold is None:
        answer_threshold = rag.model.onegen_config.answer_threshold
    read = read_examples(examples, (passage.id for passage in rag.index))
    if critique is not None and (gold_passages or decoder_class is not OnePassDecoder):
        raise ValueError(
            f"critique={critique} can't be combined with gold_passages={gold_passages} and decoder_class="
            f"{decoder_class.__name__}: leave these out"
        )
    answering = Answering(
        rag, k, max_hops, max_new_tokens, batch_size, decoder_class, retrieval, threshold, hybrid, fusion,
        inserted_sentences, readings, critique,
    )  # fmt: skip
    answering.check_prompts(read)
    block_size = answering.block_size
    with evaluation_run(
        output_dir, rag.model, rag.tokenizer, rag.index, identity(read), answering.settings, show_progress
    ) as run:
        found = run.results(ANSWERS_FILE, read, block_size, answering.answer)
        results = {
            "retrieved": RunResult.of(score_rag(read, found, k, answer_threshold=answer_threshold), level, seed)
        }
        if gold_passages:
            found = run.results(GOLD_ANSWERS_FILE, read, block_size, answering.with_gold_passages(read))
            results[GOLD] = RunResult.of(score_rag(read, found, k, retrieved=False), level, seed)
        facts = dataset_facts(examples, dataset, split)
        settings = dict(run.settings)
        if answer_threshold not in (None, -math.inf):
            settings["answer_threshold"] = answer_threshold
        return run.write(EvaluationReport("rag", run.model, *facts, level, settings, results))


class Answering:
    """
    Answers a block of examples with one call of `generate`.

    Args:
        rag ([`OneGenRagPipeline`])
        k, max_hops, max_new_tokens, batch_size, decoder_class, retrieval, threshold, hybrid, fusion,
        inserted_sentences, readings, critique: As for [`evaluate_rag`]; `critique` as [`CritiqueSettings`].

    Attributes:
        settings (`dict[str, Any]`): What the answers depend on, beside model, index and examples.
        block_size (`int`): Examples to answer together.
    """

    def __init__(
        self,
        rag: OneGenRagPipeline,
        k: int,
        max_hops: int,
        max_new_tokens: int,
        batch_size: int,
        decoder_class: type[OnePassDecoder] = OnePassDecoder,
        retrieval: str = "adaptive",
        threshold: float | None = None,
        hybrid: float | None = None,
        fusion: Fusion | None = None,
        inserted_sentences: int | None = None,
        readings: int | None = None,
        critique: Any = None,
    ) -> None:
        self.rag = rag
        self.decoder_class = decoder_class
        self.max_new_tokens = max_new_tokens
        hybrid, fusion = hybrid_settings(rag.model.onegen_config, rag.index, hybrid, fusion)
        self.decoder_options: dict[str, Any] = {
            "k": k, "max_hops": max_hops, "max_rows": batch_size, "retrieval": retrieval, "threshold": threshold,
            "hybrid": hybrid, "fusion": fusion, "inserted_sentences": inserted_sentences,
            "readings": readings,
        }  # fmt: skip
        self.settings: dict[str, Any] = {
            "task": "rag", "k": k, "max_hops": max_hops, "max_new_tokens": max_new_tokens, "batch_size": batch_size,
        }  # fmt: skip
        # Only what differs from the defaults, so that evaluations of earlier releases can be continued.
        if decoder_class is not OnePassDecoder:
            self.settings["decoder"] = decoder_class.__name__
        if (retrieval, threshold) != ("adaptive", None):
            self.settings |= {"retrieval": retrieval, "threshold": threshold}
        self.settings |= hybrid_facts(hybrid, fusion)
        if inserted_sentences is None:
            inserted_sentences = rag.model.onegen_config.inserted_sentences
        if inserted_sentences:
            self.settings["inserted_sentences"] = inserted_sentences
        if readings is None:
            readings = rag.model.onegen_config.readings
        if (readings or 1) > 1 and critique is None:
            self.settings["readings"] = readings
        if critique is not None:
            self.decoder_class = CritiqueDecoder
            self.settings["critique"] = asdict(critique)
        self.critique = critique
        # Single questions gain nothing from waiting for others.
        self.block_size = 1 if batch_size == 1 else batch_size * BATCHES_AT_A_TIME
        self.by_sentence = rag.index.granularity == "sentence"
        # Results keep what a threshold is applied to.
        self.describer = RowDescriber(rag.tokenizer, rag.model.onegen_config, -math.inf)

    def check_prompts(self, examples: Sequence[EvaluationExample]) -> None:
        """Raise a `ValueError` if a prompt does not fit into the model's context."""
        limit = context_length(self.rag.model)
        for example in examples:
            length = len(self._prompt_ids(example))
            if limit is not None and length >= limit:
                raise ValueError(
                    f"the prompt of example {example.id!r} takes {length} tokens, but the model's context holds "
                    f"{limit}: drop or shorten the example"
                )

    def answer(self, examples: Sequence[EvaluationExample]) -> list[dict[str, Any]]:
        """Answers over the whole index."""
        if self.critique is None:
            return self._generate(examples, self._decoder(self.decoder_class))
        # The sums of equal answers are for labels.
        closed = [self.critique.depth == 1 and example.meta.get("metric") == "accuracy" for example in examples]
        results: list[dict[str, Any]] = [{}] * len(examples)
        for closed_set in set(closed):
            places = [place for place, each in enumerate(closed) if each == closed_set]
            critique = replace(self.critique, closed_set=closed_set or self.critique.closed_set)
            decoder = self._decoder(self.decoder_class, critique=critique)
            for place, result in zip(
                places, self._generate([examples[place] for place in places], decoder), strict=True
            ):
                results[place] = result
        return results

    def with_gold_passages(
        self, all_examples: Sequence[EvaluationExample]
    ) -> Callable[[Sequence[EvaluationExample]], list[dict[str, Any]]]:
        """A function like [`answer`] that inserts the gold passages; reads those of all examples from the index."""
        gold_ids = {identifier for example in all_examples for hop in example.positives for identifier in hop}
        passages: dict[str, Passage] = {passage.id: passage for passage in self.rag.index if passage.id in gold_ids}

        def answer(examples: Sequence[EvaluationExample]) -> list[dict[str, Any]]:
            gold = [example.positives for example in examples]
            return self._generate(examples, self._decoder(GoldPassageDecoder, gold=gold, passages_by_id=passages))

        return answer

    def without_gold_passages(self, examples: Sequence[EvaluationExample]) -> list[dict[str, Any]]:
        """Answers over the index without the gold passages of each example."""
        gold = [example.positives for example in examples]
        return self._generate(examples, self._decoder(WithoutGoldDecoder, gold=gold))

    def _decoder(self, decoder_class: type[OnePassDecoder], **options: Any) -> OnePassDecoder:
        rag = self.rag
        return decoder_class(rag.index, rag.tokenizer, rag.model.onegen_config, **self.decoder_options, **options)

    def _prompt_ids(self, example: EvaluationExample) -> list[int]:
        return example.prompt_ids(self.rag.tokenizer, self.rag.model.onegen_config)

    def _generate(self, examples: Sequence[EvaluationExample], decoder: OnePassDecoder) -> list[dict[str, Any]]:
        prompts = [self._prompt_ids(example) for example in examples]
        decoder.questions = [example.asked for example in examples]
        rows = self.rag.engine.answer(prompts, decoder, max_new_tokens=self.max_new_tokens, do_sample=False)
        return [self._describe(row, example) for row, example in zip(rows, examples, strict=True)]

    def _describe(self, row: Any, example: EvaluationExample) -> dict[str, Any]:
        result = self.describer.describe(row, example.asked)
        if self.by_sentence:
            for described, retrieval in zip(result["retrievals"], row.retrievals, strict=True):
                for passage, hit in zip(described["passages"], retrieval.hits, strict=True):
                    if hit.row >= 0:
                        passage["sentence"] = int(self.rag.index.reference(hit.row).rpartition("#")[2])
        return result
