"""`RowDescriber`: reads a decoded row as text and plain types."""

from __future__ import annotations

import copy
from itertools import accumulate
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..configuration import OneGenConfig
from ..generation import RowState
from ..generation.answer_confidence import answer_confidence
from ..generation.critique import CritiqueRow
from ..index.retrieved_passage import RetrievedPassage
from .citations import cite
from .confidence import retrieval_confidence, withhold
from .critique import critique_of
from .results import RagResult, RetrievalResult, UsageResult


class RowDescriber:
    """
    Turns rows into results.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        config ([`OneGenConfig`])
        answer_threshold (`float`, *optional*): See [`withhold`]; by default that of `config`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, answer_threshold: float | None = None
    ) -> None:
        self.tokenizer: Any = tokenizer
        self.config = config
        self.answer_threshold = config.answer_threshold if answer_threshold is None else answer_threshold
        self.ids = config.tokens.ids(tokenizer)
        retrieval_tokens = set(self.tokenizer.convert_tokens_to_ids(config.tokens.all))
        self.control_tokens = frozenset(retrieval_tokens.union(tokenizer.all_special_ids))
        """Ids that stand for no text: retrieval tokens, and the tokenizer's special tokens."""
        self._hidden = self.control_tokens - retrieval_tokens

    def with_answer_threshold(self, threshold: float | None) -> RowDescriber:
        """The same with another threshold; with `None` this one."""
        if threshold is None:
            return self
        other = copy.copy(self)
        other.answer_threshold = threshold
        return other

    def describe(self, row: RowState, question: str = "") -> RagResult:
        """
        The result of a row.

        Args:
            row ([`RowState`])
            question (`str`, *optional*): The query of a retrieval before which the model wrote nothing.
        """
        answer = extract_answer(self._written(row), self.config)
        contents = [self.plain_text(row.ids[start:stop]) for start, stop in row.written_spans()]
        positions = list(accumulate(map(len, contents)))
        inserted = [self.inserted_texts(row, hop) for hop in range(len(row.retrievals))]
        retrieval = retrieval_confidence(hop.hits[0].score if hop.hits else None for hop in row.retrievals)
        probability = answer_confidence(row, self.text, self.config, self.ids.query) if answer else None
        result = RagResult(
            answer=answer,
            answered=bool(answer),
            confidence=None if retrieval is None or probability is None else retrieval * probability,
            retrieval_confidence=retrieval,
            answer_confidence=probability,
            answer_threshold=None,
            citations=cite(answer, row.retrievals, inserted),
            content="".join(contents),
            text=self.text(row.ids[row.usage.prompt_tokens :]),
            retrievals=[
                RetrievalResult(
                    hop=hop.hop,
                    query=self.query(row, hop.hop, question),
                    position=positions[place],
                    passages=self.passages(row, place),
                )
                for place, hop in enumerate(row.retrievals)
            ],
            usage=UsageResult(row.usage.to_dict()),
            stop_reason=row.stop_reason,
            retrieval_stopped=row.retrieval_stopped,
        )
        if isinstance(row, CritiqueRow):
            result.update(critique_of(row, self))
        return withhold(result, self.answer_threshold)

    def _written(self, row: RowState) -> str:
        """What the model wrote, without what critique leaves out."""
        if isinstance(row, CritiqueRow):
            kept = [row.ids_of(segment) for segment in row.segments if not segment.left_out]
            return " ".join(self.text(ids).strip() for ids in kept)  # sentences, mostly
        return "".join(self.text(row.ids[start:stop]) for start, stop in row.written_spans())

    def text(self, ids: list[int]) -> str:
        """Ids as text, with the retrieval tokens and without the special tokens of the backbone."""
        return str(self.tokenizer.decode([token for token in ids if token not in self._hidden]))

    def plain_text(self, ids: list[int]) -> str:
        """Ids as text without any control token."""
        return str(self.tokenizer.decode([token for token in ids if token not in self.control_tokens]))

    def query(self, row: RowState, hop: int, question: str = "") -> str:
        """
        What a retrieval asks for: the line before its query token, or the question if that is empty.

        Args:
            row ([`RowState`])
            hop (`int`): Of the retrieval; also the one that comes next, if the query token is the row's last id.
            question (`str`, *optional*)
        """
        start, stop = row.written_spans()[hop]
        if hop == len(row.retrievals):
            stop -= 1
        return self.text(row.ids[start:stop]).strip().rpartition("\n")[2] or question.strip()

    def passages(self, row: RowState, hop: int) -> list[RetrievedPassage]:
        """The passages of a hop, best first."""
        return [RetrievedPassage.of(hit.passage, hit.score) for hit in row.retrievals[hop].hits]

    def inserted_texts(self, row: RowState, hop: int) -> list[str]:
        """What was inserted in a hop, one text per passage that fitted."""
        retrieval = row.retrievals[hop]
        texts: list[str] = []
        ids: list[int] = []
        for token in row.ids[retrieval.position + 1 : retrieval.position + 1 + retrieval.inserted]:
            ids.append(token)
            if token == self.ids.paragraph_close:
                texts.append(self.plain_text(ids))
                ids = []
        return texts


def extract_answer(text: str, config: OneGenConfig) -> str:
    """
    The final answer in a generated text: between the answer's prefix and suffix, without reflection tokens.

    Args:
        text (`str`)
        config ([`OneGenConfig`])

    Returns:
        `str`: Empty if the text does not contain the prefix. Without a prefix in `config`, all text is the answer.
    """
    if config.answer_prefix:
        _, prefix, text = text.rpartition(config.answer_prefix)
        if not prefix:
            return ""
    if config.answer_suffix:
        text = text.partition(config.answer_suffix)[0]
    for token in config.tokens.generation:
        text = text.replace(token, "")
    return text.strip()
