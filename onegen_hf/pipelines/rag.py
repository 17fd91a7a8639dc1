"""`pipeline("onegen-rag")`: question in, answer with its retrievals out, in one pass."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import GenerationConfig, Pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import ModelOutput

from ..checks import Rule, check, choice, integer, number, shown
from ..configuration import FUSIONS, Fusion
from ..data.messages import Message, is_message
from ..data.prompts import prompt_ids
from ..filters import PassageFilter, filter_rule
from ..generation import (
    CritiqueDecoder,
    CritiqueSettings,
    OnePassDecoder,
    RetrievalPolicy,
    RowState,
    TransformersEngine,
)
from ..generation.critique.settings import critique_rule
from ..generation.events import PassagesEvent, StreamEvent
from ..generation.options import check_generation_options
from ..generation.policy import retrieval_rule
from ..importing.renamed import renamed_arguments
from ..index.retrieved_passage import RetrievedPassage
from ..modeling.adapters import adapter_tokenizer
from ..modeling.positions import context_length
from .checkpoint import check_parts, open_index, prepare_checkpoint, with_device
from .describe import RowDescriber
from .results import RagResult
from .row_events import events_of
from .saving import SavedWithIndex

BATCHES_AT_A_TIME = 4
"""Batches that share one call of `generate`: a row that ends is replaced by a question of the next batch."""


_RULES: dict[str, Rule] = {
    "k": integer(least=1),
    "max_hops": integer(least=0),
    "threshold": number(least=0, most=1),
    "retrieval": retrieval_rule,
    "answer_threshold": number(infinite=True),
    "filter": filter_rule,
    "hybrid": number(least=0, most=1),
    "fusion": choice(FUSIONS),
    "inserted_sentences": integer(least=0),
    "readings": integer(least=1),
    "critique": critique_rule,
    "batch_size": integer(least=1),
    "num_workers": integer(least=0),
}
"""Of the pipeline's call arguments; those of `generate` have theirs in `GENERATION_RULES`."""
_OF_BATCHES = frozenset({"batch_size", "num_workers"})


@dataclass(frozen=True)
class _Prompt:
    """
    A question that has been tokenized, and its text: what a retrieval asks for if the answer begins with it.

    Its filter says which passages are searched, in the place of the call's.
    """

    ids: list[int]
    question: str
    filter: PassageFilter | None = None


class OneGenRagPipeline(SavedWithIndex, Pipeline):
    """
    Retrieval-augmented question answering with one model and one pass.

    Example:

    ```python
    >>> import onegen_hf
    >>> from transformers import pipeline

    >>> rag = pipeline("onegen-rag")
    >>> rag("Where was the director of the film Metropolis born?")["answer"]
    ```

    Args:
        index ([`PassageIndex`], `str` or path, *optional*): What to search; by default the checkpoint's own
            (`onegen.default_index`).
        preset (`str`, [`RetrievalTokens`] or [`OneGenConfig`], *optional*): For a checkpoint without an `onegen`
            section, such as those of the paper: `"multi-hop-paper"` or `"self-rag-paper"` (see [`with_preset`]).
        kwargs: As for [`~transformers.Pipeline`]: `model`, `tokenizer`, `device`, `batch_size`, ...

    Call arguments:
        inputs (`str`, a chat, a mapping with the key `"question"`, a list of these, or a dataset with the column
            `"question"` or `"messages"`): A chat is a list of messages with `"role"` and `"content"`, such as a system
            turn and several turns of user and assistant, that ends with the user's. What was retrieved in earlier
            turns stays if these are the messages of results ([`RagResult.as_message`]). A mapping may have a
            `"filter"` of its own.
        k (`int`, *optional*, defaults to 1): Passages per hop.
        max_hops (`int`, *optional*, defaults to 5): Retrievals per answer.
        retrieval (`str`, *optional*, defaults to `"adaptive"`): `"adaptive"` lets the model decide when to retrieve,
            `"always"` makes it retrieve, `"never"` keeps it from retrieving (see [`RetrievalPolicy`]).
        threshold (`float`, *optional*): With `"adaptive"`: retrieve exactly where the probability of a retrieval
            exceeds this number between 0 and 1 (see [`DecisionPoints`]); by default the checkpoint's
            `onegen.retrieval_threshold`, without which the model decides.
        critique (`bool` or [`CritiqueSettings`], *optional*, defaults to `False`): Write a candidate after each of the
            `k` passages and keep the one that the model's reflection tokens judge best (see [`CritiqueDecoder`]). The
            result then holds `candidates` and `segments` as well. Not for `stream`.
        answer_threshold (`float`, *optional*): An answer is withheld if the best passage of one of its hops has a
            lower score; by default the checkpoint's `onegen.answer_threshold`, without which none is. `-math.inf` for
            none.
        filter (`Mapping[str, Any]`, *optional*): Search only the passages whose `meta` satisfies it, such as
            `{"lang": "en", "year": {"$gte": 2000}}` (see [`PassageFilter`]).
        hybrid (`float`, *optional*): How much a search by words (BM25) counts beside the search by embedding, from 0
            to 1 (see [`PassageIndex.search`]); by default the checkpoint's `onegen.hybrid` if the index has a search
            by words, else 0.
        fusion (`str`, *optional*): Whether `hybrid` fuses ranks (`"rrf"`) or scores (`"weighted"`); by default the
            checkpoint's `onegen.fusion`.
        inserted_sentences (`int`, *optional*): Sentences of a passage that the model reads: those that share the most
            words with the query; 0 for all. By default the checkpoint's `onegen.inserted_sentences`, without which it
            reads all, up to `onegen.max_inserted_tokens`. The earlier turns of a chat are read likewise.
        readings (`int`, *optional*): How often it reads a passage: with so many sentences, and with one less each
            further time. What it writes after the reading whose answer is the most probable to it is the result. By
            default the checkpoint's `onegen.readings`, without which it reads once.
        max_new_tokens (`int`, *optional*, defaults to 256): Generated tokens; inserted passages do not count.
        batch_size (`int`, *optional*, defaults to 1): Questions decoded at a time. A question that ends is replaced by
            the next one, so results of a dataset arrive some batches at a time.
        streamer (`BaseStreamer`, *optional*): Single questions only.
        prompt_lookup_num_tokens (`int`, *optional*): Tokens drafted from the text per forward: faster where few
            questions are decoded together, with the same text (see [`OnePassDecoder`]).
        generation arguments: `do_sample`, `temperature`, `logits_processor`, `stopping_criteria`, ...

    Returns of a call: [`RagResult`] (a list of them for several questions; for each question a list of them with
    `num_return_sequences` above 1), a `dict` whose items are attributes as well: `answer`, `answered`,
    `confidence`, `retrieval_confidence`, `answer_confidence`, `answer_threshold`, `citations` (`hop`, `passage_id`,
    `start`, `end`), `content` (all that the model wrote), `text` (the same with the inserted paragraphs), `retrievals`
    (per hop: `hop`, `query`, `position` in `content`, `passages` with `id`, `title`, `text`, `score` and, if it has
    any, `meta`), `usage`,
    `stop_reason` (`"eos"`, `"max_new_tokens"`, `"context_full"`, `"stopping_criteria"`) and `retrieval_stopped`
    (`"max_hops"`, `"context_full"`, `"never"` or `None`).
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256, do_sample=False)

    @renamed_arguments(tokens="preset")
    def __init__(self, *args: Any, index: Any = None, preset: Any = None, **kwargs: Any) -> None:
        check({name: value for name, value in kwargs.items() if value is not None}, _RULES)
        check_parts(kwargs)
        super().__init__(*args, **with_device(kwargs, *args))
        self.tokenizer: Any = adapter_tokenizer(self.model, self.tokenizer)
        self.model: Any = prepare_checkpoint(self.model, self.tokenizer, preset)
        self.tokenizer.padding_side = "left"  # type: ignore[union-attr]
        self.index = open_index(index, self.model, self.tokenizer)
        self.engine = TransformersEngine(self.model, self.tokenizer)

    @property
    def describer(self) -> RowDescriber:
        """Turns decoded rows into results, with the settings that the model has now."""
        return self._describer()

    def _describer(self, answer_threshold: float | None = None) -> RowDescriber:
        return RowDescriber(self.tokenizer, self.model.onegen_config, answer_threshold)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        check_generation_options(kwargs, _RULES)  # `batch_size` and `num_workers` do not reach _sanitize_parameters
        if isinstance(inputs, (list, tuple, Dataset)) and not len(inputs):
            return []
        if isinstance(inputs, (Dataset, IterableDataset)):
            column = question_column(inputs)
            rows = (row[column] for row in inputs)
            inputs = KeyDataset(inputs, column) if isinstance(inputs, Dataset) else rows
        elif isinstance(inputs, (list, tuple)) and not is_message(inputs[0]):
            # All questions are checked before the first one is decoded.
            sentences = {**self._preprocess_params, **kwargs}.get("inserted_sentences")
            inputs = [self._prompt(question, sentences) for question in inputs]
        return super().__call__(inputs, *args, **kwargs)

    def stream(self, question: Any, **options: Any) -> Generator[StreamEvent, None, None]:
        """
        Answer one question and tell what happens while it happens.

        Decoding runs in the caller's thread, between one event and the next; a caller that stops asking for events has
        stopped the decoding.

        Args:
            question (`str`, a chat, or a mapping with the key `"question"`)
            options: As for a call, except for `streamer` and `num_return_sequences`.

        Returns:
            `Iterator[StreamEvent]`: See [`~onegen_hf.generation.events`]. The last event, [`DoneEvent`], holds the
            result, which equals that of a call.

        Raises:
            `TypeError` or `ValueError`: As a call, before the first event; also for several questions.

        Example:

        ```python
        >>> for event in rag.stream("Where was the director of the film Metropolis born?"):
        ...     if event.type == "token":
        ...         print(event.text, end="", flush=True)
        ...     elif event.type == "passages":
        ...         print(f"[{event.passages[0].title}: {event.passages[0].score:.2f}]")
        ```
        """
        options = {**self._forward_params, **self._postprocess_params, **check_generation_options(options, _RULES)}
        if options.get("streamer") is not None:
            raise ValueError("streamer: `stream` gives the tokens itself, as events: leave it out")
        if options.pop("critique", None) is not None:
            raise ValueError("critique: which text is the answer is known only at the end. Leave it out, or call")
        if options.get("num_return_sequences", 1) > 1:
            raise ValueError(
                f"num_return_sequences={options['num_return_sequences']}: one answer can be streamed: leave it out"
            )
        if isinstance(question, (Dataset, IterableDataset)) or (
            isinstance(question, (list, tuple)) and not (question and is_message(question[0]))
        ):
            raise TypeError(
                f"question={shown(question)} must be a single question or chat: stream several one after the other"
            )
        prompt = self._prompt(question, options.get("inserted_sentences"))
        describer = self._describer(options.pop("answer_threshold", None))
        steps = self._steps(prompt, **{name: options[name] for name in options if name not in _OF_BATCHES})
        return events_of(steps, describer, prompt.question, self.device_placement)

    def _steps(
        self,
        prompt: _Prompt,
        k: int = 1,
        max_hops: int = 5,
        retrieval: str | RetrievalPolicy = "adaptive",
        threshold: float | None = None,
        filter: PassageFilter | None = None,
        hybrid: float | None = None,
        fusion: Fusion | None = None,
        inserted_sentences: int | None = None,
        readings: int | None = None,
        **generate_kwargs: Any,
    ) -> Generator[list[RowState], None, None]:
        decoder = OnePassDecoder(
            self.index,
            self.tokenizer,
            self.model.onegen_config,
            k,
            max_hops,
            retrieval=retrieval,
            threshold=threshold,
            query_probability=True,
            filters=[prompt.filter or filter],
            hybrid=hybrid,
            fusion=fusion,
            questions=[prompt.question],
            inserted_sentences=inserted_sentences,
            readings=readings,
        )
        with self.device_placement():
            return self.engine.steps([prompt.ids], decoder, **self._prepare_generate_kwargs(generate_kwargs))

    def retrieve(self, question: Any, k: int = 5, **options: Any) -> list[RetrievedPassage]:
        """
        Find passages for a question. The model writes what it asks for first, and nothing more.

        Args:
            question (`str`, a chat, or a mapping with the key `"question"`)
            k (`int`, *optional*, defaults to 5): Number of passages.
            options: As for [`~OneGenRagPipeline.stream`]; `retrieval` is `"always"` by default, so that the model does
                search.

        Returns:
            `list[RetrievedPassage]`: Best first, with `id`, `title`, `text`, `score` and, if it has any, `meta`. Empty
            if the model asked for nothing within `max_new_tokens`.

        Example:

        ```python
        >>> [passage.title for passage in rag.retrieve("Where was the director of the film Metropolis born?", k=3)]
        ```
        """
        events = self.stream(question, k=k, **{"retrieval": "always", "readings": 1, **options})
        with closing(events):
            passages = next((event.passages for event in events if isinstance(event, PassagesEvent)), ())
        return [RetrievedPassage(passage) for passage in passages]

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        checked = check_generation_options(options, _RULES)
        of_results = {name: checked.pop(name) for name in ("answer_threshold",) if name in checked}
        of_prompts = {name: checked[name] for name in ("inserted_sentences",) if name in checked}
        return of_prompts, checked, of_results

    def get_iterator(
        self, inputs: Any, num_workers: int, batch_size: int, preprocess_params: Any, forward_params: Any, *args: Any
    ) -> Any:
        if batch_size > 1:
            forward_params = {**forward_params, "max_rows": batch_size}
            batch_size *= BATCHES_AT_A_TIME
        return super().get_iterator(inputs, num_workers, batch_size, preprocess_params, forward_params, *args)

    def preprocess(self, inputs: Any, inserted_sentences: int | None = None, **_: Any) -> dict[str, Any]:
        prompt = inputs if isinstance(inputs, _Prompt) else self._prompt(inputs, inserted_sentences)
        return {"prompt": prompt.ids, "question": prompt.question, "filter": prompt.filter}

    def _prompt(self, question: Any, inserted_sentences: int | None = None) -> _Prompt:
        """A question or a chat, whose earlier turns hold as many sentences of passages, within the model's context."""
        filter = None
        if isinstance(question, Mapping):
            if "question" not in question:
                raise ValueError(
                    f"a question must be text, a chat, or a mapping with 'question'; got {str(question)[:200]!r}"
                )
            if question.get("filter") is not None:
                filter = filter_rule("filter", question["filter"])
            question = question["question"]
        question = getattr(question, "messages", question)
        config = self.model.onegen_config
        if inserted_sentences is not None:
            config = replace(config, inserted_sentences=inserted_sentences or None)
        ids = prompt_ids(self.tokenizer, config, question)
        limit = context_length(self.model)
        if limit is not None and len(ids) >= limit:
            raise ValueError(
                f"the question takes {len(ids)} tokens, but the model's context holds {limit}: shorten the question "
                f"{str(question)[:60]!r}"
            )
        return _Prompt(ids, last_question(question), filter)

    def _forward(
        self,
        model_inputs: Any,
        k: int = 1,
        max_hops: int = 5,
        max_rows: int | None = None,
        retrieval: str | RetrievalPolicy = "adaptive",
        threshold: float | None = None,
        filter: PassageFilter | None = None,
        hybrid: float | None = None,
        fusion: Fusion | None = None,
        inserted_sentences: int | None = None,
        readings: int | None = None,
        critique: CritiqueSettings | None = None,
        **generate_kwargs: Any,
    ) -> ModelOutput:
        prompt, question, filters = (model_inputs[name] for name in ("prompt", "question", "filter"))
        if not isinstance(prompt[0], list):  # a single question, not a batch
            prompt, question, filters = [prompt], [question], [filters]
        prompts, questions = prompt, question
        setup = (self.index, self.tokenizer, self.model.onegen_config, k, max_hops, max_rows, retrieval, threshold)
        searching: dict[str, Any] = {
            "filters": [of_question or filter for of_question in filters],
            "hybrid": hybrid,
            "fusion": fusion,
            "questions": questions,
            "inserted_sentences": inserted_sentences,
            "readings": readings,
        }
        if critique is None:
            decoder = OnePassDecoder(*setup, **searching)
        else:
            decoder = CritiqueDecoder(*setup, **searching, critique=critique)
        rows = self.engine.answer(prompts, decoder, **self._prepare_generate_kwargs(generate_kwargs))
        # With `num_return_sequences` several rows belong to a question, one after the other.
        each = len(rows) // len(prompts)
        # A tensor per question, so that the pipeline can cut the batch into single results.
        answers = [rows[start : start + each] for start in range(0, len(rows), each)]
        return ModelOutput(rows=answers, questions=questions, number=torch.arange(len(answers)))

    def postprocess(
        self, model_outputs: Any, answer_threshold: float | None = None, **_: Any
    ) -> RagResult | list[RagResult]:
        rows, question = model_outputs["rows"], model_outputs["questions"]
        if isinstance(question, list):  # a single question, not yet cut out of its batch
            rows, question = rows[0], question[0]
        describer = self._describer(answer_threshold)
        results = [describer.describe(row, question) for row in rows]
        return results[0] if len(results) == 1 else results

    def describe(self, row: RowState, question: str = "") -> RagResult:
        """
        The result of one row; see [`RowDescriber.describe`].

        Args:
            row ([`RowState`])
            question (`str`, *optional*): The query of a retrieval before which the model wrote nothing.
        """
        return self.describer.describe(row, question)


def last_question(question: str | Sequence[Message]) -> str:
    """The text that asks: a question itself, or the last turn of the user in a chat."""
    if isinstance(question, str):
        return question
    return next((turn["content"] for turn in reversed(question) if turn["role"] == "user"), "")


def question_column(dataset: Dataset | IterableDataset) -> str:
    """
    The column of a dataset that holds questions or chats.

    Raises:
        `ValueError`: If there is none.
    """
    names = dataset.column_names
    column = next((name for name in ("question", "messages") if names is None or name in names), None)
    if column is None:
        raise ValueError(
            f"the dataset has the columns {names}, none of which is 'question' or 'messages': rename the one with the "
            "questions"
        )
    return column
