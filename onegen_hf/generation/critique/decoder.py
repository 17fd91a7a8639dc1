"""`CritiqueDecoder`: one-pass decoding that tries every retrieved passage and keeps the best."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ...checks import instance
from ..decoder import OnePassDecoder
from ..decoding import Decoding
from ..retrieval_task import RetrievalTask
from ..state import RowState
from .row import CritiqueRow
from .settings import CritiqueSettings
from .task import CritiqueTask


class CritiqueDecoder(OnePassDecoder):
    """
    Self-RAG's inference (arXiv 2310.11511, section 3.3) in one pass.

    Where a row retrieves, each of the `k` passages gets a continuation of its own. All of them go on from one prefill:
    what was read so far is shared, and only the passage and the text after it are forwarded for each. Reflection
    tokens that the model writes judge the passage and the text; see [`score_segment`] for the score. With
    `CritiqueSettings.depth` above 1, the best `width` candidates go on with a further segment, for which the model
    states a new query.

    Args:
        args, kwargs: As for [`OnePassDecoder`].
        critique ([`CritiqueSettings`], *optional*): By default, the paper's weights and its short form.

    Raises:
        `ValueError`: If the checkpoint has no reflection tokens.
    """

    def __init__(self, *args: Any, critique: CritiqueSettings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = self.passages.config.tokens.known_ids(self.tokenizer).values()
        self._control_tokens = {*known, *self.tokenizer.all_special_ids}
        self.critique = instance(CritiqueSettings)("critique", critique or CritiqueSettings())
        if self.reflection is None:
            raise ValueError(
                f"critique={self.critique} needs Self-RAG's reflection tokens, which the checkpoint does not have: "
                'leave it out, or train with the preset "self-rag"'
            )

    def steps(self, model: Any, input_ids: Tensor, **kwargs: Any) -> Generator[list[RowState], None, None]:
        """Not supported: which text is the answer is known only at the end."""
        raise ValueError(
            "critique: an answer that is chosen at the end can't be streamed: leave it out, or don't stream"
        )

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
        """See [`OnePassDecoder.prepare`]."""
        drafted = generation_config.prompt_lookup_num_tokens
        if drafted is not None:
            raise ValueError(f"prompt_lookup_num_tokens={drafted} is not supported with critique: leave it out")
        if streamer is not None:
            raise ValueError("streamer: with critique, the answer is chosen at the end. Leave it out")
        return super().prepare(
            model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs
        )

    def start_row(self, number: int, prompt: list[int]) -> CritiqueRow:
        """See [`OnePassDecoder.start_row`]."""
        return CritiqueRow.start(number, prompt)

    def make_task(self, model: Any, max_new_tokens: int, end_tokens: Sequence[int]) -> RetrievalTask:
        """See [`OnePassDecoder.make_task`]."""
        assert self.reflection is not None
        return CritiqueTask(self, model, max_new_tokens, end_tokens, self.reflection, self.critique)

    def results(self, task: Any, rows: Sequence[RowState]) -> list[RowState]:
        """The chosen candidate of each question."""
        return [task.searches[row.number].result(self._plain_text) for row in rows]

    def _plain_text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode([token for token in ids if token not in self._control_tokens]))
