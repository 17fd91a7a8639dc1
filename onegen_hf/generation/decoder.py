"""`OnePassDecoder`: the decoding loop that retrieves while it generates, for `generate(custom_generate=...)`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase, StoppingCriteriaList

from ..checks import checked, choice, flag, instance, integer, list_of, number, optional, shown, text
from ..configuration import FUSIONS, Fusion, OneGenConfig
from ..data.passages import PassageEncoder
from ..data.sentence_selection import shortened
from ..filters import PassageFilter, filter_rule
from ..index.fusion import hybrid_settings
from ..index.retriever import Retriever
from .answer_confidence import answer_confidence
from .arguments import check_supported, end_token_ids, padding_id, prompt_ids
from .choice import TokenSampler
from .decoding import Decoding
from .loop import DecodingLoop
from .policy import AdaptiveRetrieval, RetrievalPolicy, make_policy
from .prompt_lookup import Drafter
from .readings import Reading, ReadingTask
from .reflection import ReflectionIds
from .retrieval_task import RetrievalTask
from .state import Hit, OnePassOutput, RowState, as_sequences


class OnePassDecoder:
    """
    Greedy or sampled decoding in which the model decides when to retrieve (paper section 3.4).

    When the model emits the query token, the last hidden state of that step is the query embedding; the retrieved
    passages are appended to the same cache and generation continues. Nothing is read twice: each position of a row
    (prompt, inserted passages, all generated tokens but the last) is forwarded once, whatever the number of hops.

    Rows are independent: with greedy decoding each result equals decoding the row alone. Sampled rows share the random
    numbers of their batch, so what a seed gives depends on the rows beside it.

    With `prompt_lookup_num_tokens` among the arguments of `generate`, each forward also reads that many guessed tokens
    (shared by the rows) and keeps those that the model would have written: the same text from fewer forwards, which
    pays off when few rows run. Wrong guesses are counted in `usage.rejected_tokens`.

    Args:
        index ([`PassageIndex`])
        tokenizer (`PreTrainedTokenizerBase`)
        config ([`OneGenConfig`])
        k (`int`, *optional*, defaults to 1): Passages inserted per hop.
        max_hops (`int`, *optional*, defaults to 5): Retrievals in a row, after which the query token is banned.
        max_rows (`int`, *optional*): Rows decoded at a time. Each of the others starts as soon as a row ends
            (continuous batching), so one long answer does not hold up the rest. By default all rows start together.
        retrieval (`str` or [`RetrievalPolicy`], *optional*, defaults to `"adaptive"`): `"adaptive"` lets the model
            decide, `"always"` makes every row retrieve, `"never"` none.
        threshold (`float`, *optional*): With `"adaptive"`: retrieve exactly where the probability of a retrieval
            exceeds it. [`DecisionPoints`] says where that is. By default that of `config`, if it has one; pass
            [`AdaptiveRetrieval`] itself to decode without any.
        query_probability (`bool`, *optional*, defaults to `False`): Compute the probability of a retrieval at every
            decision point, also where the retrieval mode does not need it.
        filters (`Sequence[PassageFilter | None]`, *optional*): Of each prompt: which passages its retrievals may find.
        hybrid (`float`, *optional*), fusion (`str`, *optional*): See [`PassageIndex.search`]; the words are those of
            the line before the query token. By default those of `config`, `hybrid` only if the index has a search by
            words.
        questions (`Sequence[str]`, *optional*): Of each prompt: the words to search for where that line is empty.
        inserted_sentences (`int`, *optional*): Sentences of a passage that are inserted: those that share the most
            words with that line, or with the question. 0 for whole passages. By default that of `config`.
        readings (`int`, *optional*): How often a passage is read: with so many sentences, and with one less each
            further time. All readings go on from one prefill, each as a row of its own, and the one whose answer is
            the most probable becomes the result, see
            [`~onegen_hf.generation.answer_confidence.answer_confidence`]. By default that of `config`.

    Raises:
        `TypeError` or `ValueError`: If `index` can't be searched, an argument is out of range, or `tokenizer` lacks
            the retrieval tokens.

    Example:

    ```python
    >>> decoder = OnePassDecoder(index, tokenizer, model.onegen_config)
    >>> model.generate(**tokenizer(prompts, return_tensors="pt", padding=True), custom_generate=decoder)
    ```
    """

    @checked(
        tokenizer=instance(PreTrainedTokenizerBase),
        config=instance(OneGenConfig),
        k=integer(least=1),
        max_rows=optional(integer(least=1)),
        query_probability=flag(),
        filters=optional(list_of(optional(filter_rule))),
        hybrid=optional(number(least=0, most=1)),
        fusion=optional(choice(FUSIONS)),
        questions=optional(list_of(text(empty=True))),
        inserted_sentences=optional(integer(least=0)),
        readings=optional(integer(least=1)),
    )
    def __init__(
        self,
        index: Retriever,
        tokenizer: PreTrainedTokenizerBase,
        config: OneGenConfig,
        k: int = 1,
        max_hops: int = 5,
        max_rows: int | None = None,
        retrieval: str | RetrievalPolicy = "adaptive",
        threshold: float | None = None,
        query_probability: bool = False,
        filters: Sequence[PassageFilter | None] | None = None,
        hybrid: float | None = None,
        questions: Sequence[str] | None = None,
        fusion: Fusion | None = None,
        inserted_sentences: int | None = None,
        readings: int | None = None,
    ) -> None:
        if not callable(getattr(index, "search", None)):
            raise TypeError(
                f"index must be a PassageIndex (or have its `search`), got {type(index).__name__} {shown(index)}: "
                "load one with `PassageIndex.load(folder)`"
            )
        self.index = index
        self.tokenizer = tokenizer
        self.passages = PassageEncoder(tokenizer, config)
        self.query_token = self.passages.ids.query
        self.paragraph_close = self.passages.paragraph("")[0][-1]
        if retrieval == AdaptiveRetrieval.name and threshold is None:
            threshold = config.retrieval_threshold
        self.policy = make_policy(retrieval, max_hops, threshold)
        self.query_probability = query_probability
        self.reflection = ReflectionIds.of(config.tokens, tokenizer)
        self.k = k
        self.max_rows = max_rows
        self.filters, self.questions = filters, questions
        self.hybrid, self.fusion = hybrid_settings(config, index, hybrid, fusion)
        self.inserted_sentences = config.inserted_sentences if inserted_sentences is None else inserted_sentences
        self.readings = config.readings if readings is None else readings
        retrieval_tokens = frozenset(tokenizer.convert_tokens_to_ids(config.tokens.all))
        self._control_ids = retrieval_tokens.union(tokenizer.all_special_ids)
        self._hidden_ids = self._control_ids - retrieval_tokens

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        *,
        generation_config: GenerationConfig,
        streamer: Any = None,
        **kwargs: Any,
    ) -> OnePassOutput | Tensor:
        """Called by `generate`; see its documentation for the arguments."""
        decoding, rows = self.prepare(
            model, input_ids, generation_config=generation_config, streamer=streamer, **kwargs
        )
        if streamer is not None:
            streamer.put(input_ids.cpu())
        DecodingLoop(model).run(decoding, rows, self.max_rows)
        rows = self.results(decoding.task, rows)
        if streamer is not None:
            streamer.end()
        sequences = as_sequences(rows, input_ids.shape[1], padding_id(generation_config)).to(input_ids.device)
        return OnePassOutput(sequences, rows) if generation_config.return_dict_in_generate else sequences

    def steps(self, model: Any, input_ids: Tensor, **kwargs: Any) -> Generator[list[RowState], None, None]:
        """
        The same run, one step at a time: `generate(..., custom_generate=decoder.steps)` returns the iterator of
        [`DecodingLoop.steps`]. All arguments are checked before; nothing is decoded until the first step is asked for.
        """
        decoding, rows = self.prepare(model, input_ids, **kwargs)
        return DecodingLoop(model).steps(decoding, rows, self.max_rows)

    def prepare(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        streamer: Any = None,
        **model_kwargs: Any,
    ) -> tuple[Decoding[RowState], list[RowState]]:
        """
        Check the arguments of a call without decoding anything: with `generate(custom_generate=decoder.prepare)`, what
        it returns joins a running [`DecodingLoop`].
        """
        check_supported(model, generation_config, model_kwargs, streamer, input_ids.shape[0])
        if (generation_config.num_beams or 1) > 1:
            raise ValueError(f"num_beams={generation_config.num_beams}: beams cannot retrieve. Use num_beams=1.")
        prompts = prompt_ids(input_ids, model_kwargs.get("attention_mask"))
        rows = [self.start_row(number, prompt) for number, prompt in enumerate(prompts)]
        for name, values in (("filter", self.filters), ("question", self.questions)):
            for row, value in zip(rows, self._of_rows(name, values, len(rows)), strict=False):
                setattr(row, name, value)
        width, end_tokens = input_ids.shape[1], end_token_ids(generation_config)
        task = self.make_task(model, generation_config.max_length - width, end_tokens)
        sampler = TokenSampler(
            logits_processor,
            stopping_criteria,
            bool(generation_config.do_sample),
            padding_id(generation_config),
            width,
            log_probabilities=True,
        )
        drafter = Drafter.from_config(generation_config, {self.query_token, *end_tokens})
        task.decoding = Decoding(task, sampler, drafter, streamer)
        return task.decoding, rows

    def start_row(self, number: int, prompt: list[int]) -> RowState:
        """The row of a prompt. Subclasses may keep more in it."""
        return (Reading if len(self.sentence_counts) > 1 else RowState).start(number, prompt)

    def make_task(self, model: Any, max_new_tokens: int, end_tokens: Sequence[int]) -> RetrievalTask:
        """What rows write. Subclasses may let them write something else."""
        if len(self.sentence_counts) > 1:
            return ReadingTask(self, model, max_new_tokens, end_tokens)
        return RetrievalTask(self, model, max_new_tokens, end_tokens)

    @property
    def sentence_counts(self) -> list[int | None]:
        """Sentences that each reading inserts; `None` for whole passages."""
        most = self.inserted_sentences or None
        return [None] if most is None else [*range(most, max(most - (self.readings or 1), 0), -1)]

    def results(self, task: Any, rows: Sequence[RowState]) -> list[RowState]:
        """The rows to return for those that have been decoded."""
        for row in rows:
            if isinstance(row, Reading) and row.readings:  # ended from outside
                task.take_best(row)
        return list(rows)

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        """
        Find the passages to insert. Subclasses may choose others (gold passages, a second index, none).

        Args:
            rows (`Sequence[RowState]`): The rows that retrieve, each with the query token as its last id.
            embeddings (`Tensor` of shape `(rows, hidden)`): Their query embeddings.

        Returns:
            `list[list[Hit]]`: The `k` nearest passages of each, best first.
        """
        return self.search(embeddings, self.k, rows)

    def search(self, embeddings: Tensor, k: int, rows: Sequence[RowState]) -> list[list[Hit]]:
        """
        Search the index for each row with its own filter; rows with equal ones are searched together.

        Args:
            embeddings (`Tensor` of shape `(n, hidden)`)
            k (`int`)
            rows (`Sequence[RowState]`): Of the embeddings.

        Returns:
            `list[list[Hit]]`: The `k` nearest passages of each embedding, best first.
        """
        groups: dict[PassageFilter | None, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.filter, []).append(place)
        hits: list[list[Hit]] = [[] for _ in rows]
        search: Any = self.index.search  # with options that only some retrievers have
        for filter, places in groups.items():
            options = self.search_options([rows[place] for place in places])
            if filter is not None:
                options["filter"] = filter
            together = embeddings if len(places) == len(rows) else embeddings[places]
            for place, *best in zip(places, *search(together, k, **options), strict=True):
                hits[place] = [
                    Hit(self.index[int(row)], float(score), int(row))
                    for score, row in zip(*best, strict=True)
                    if row >= 0
                ]
        return hits

    def search_options(self, rows: Sequence[RowState]) -> dict[str, Any]:
        """Further arguments of the search for some rows. Subclasses may add others of their index."""
        if not self.hybrid:
            return {}
        return {"hybrid": self.hybrid, "texts": [self.query_text(row) for row in rows], "fusion": self.fusion}

    def insertion(self, row: RowState, hits: Sequence[Hit]) -> list[int]:
        """The ids of passages that follow the query token, a row's last id."""
        count = self.sentence_counts[row.place if isinstance(row, Reading) else 0]
        query = self.query_text(row) if count else ""
        return self.passages.insertion(shortened([hit.passage for hit in hits], query, count))

    def confidence(self, row: RowState) -> float | None:
        """How probable the answer of a row is to the model; `None` without one."""
        return answer_confidence(row, self._text, self.passages.config, self.query_token)

    def _text(self, ids: Sequence[int]) -> str:
        """Ids as text, with the retrieval tokens."""
        return str(self.tokenizer.decode([token for token in ids if token not in self._hidden_ids]))

    def query_text(self, row: RowState) -> str:
        """What a row with the query token as its last id asks for: the line before it, else the row's question."""
        start, stop = row.written_spans()[len(row.retrievals)]
        ids = [token for token in row.ids[start:stop] if token not in self._control_ids]
        return str(self.tokenizer.decode(ids)).strip().rpartition("\n")[2] or row.question

    def _of_rows(self, name: str, values: Sequence[Any] | None, count: int) -> list[Any]:
        """The value of each row, where `num_return_sequences` rows belong to a prompt."""
        if values is None:
            return []
        each, rest = divmod(count, len(values)) if values else (0, count)
        if rest:
            raise ValueError(
                f"{name}s has {len(values)} entries, which do not go with {count} rows: give one per prompt"
            )
        return [value for value in values for _ in range(each)]
