"""`Engine`: turns prompts into decoded rows, for pipelines, evaluation and servers alike."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from ..data.padding import pad_ids
from .decoder import OnePassDecoder
from .decoding import Decoding
from .state import RowState


class Engine(Protocol):
    """Decodes prompts in one pass."""

    def answer(self, prompts: Sequence[Sequence[int]], decoder: OnePassDecoder, **options: Any) -> list[RowState]:
        """
        Decode prompts together.

        Args:
            prompts (`Sequence[Sequence[int]]`): Token ids, at least one each.
            decoder ([`OnePassDecoder`]): Holds the index and decides when to search it.
            options: Arguments of `generate`: `max_new_tokens`, `do_sample`, `streamer`, ...

        Returns:
            `list[RowState]`: One per prompt, in order, or `num_return_sequences` per prompt if that is set.
        """

    def steps(
        self, prompts: Sequence[Sequence[int]], decoder: OnePassDecoder, **options: Any
    ) -> Generator[list[RowState], None, None]:
        """
        The same run, one step at a time. All arguments are checked before this returns; a caller that stops asking for
        steps ends the decoding.

        Yields:
            `list[RowState]`: The rows that took part in the step, with what they wrote and received in it.
        """


class TransformersEngine:
    """
    The engine over transformers' `generate`.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`): With a padding token.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def answer(self, prompts: Sequence[Sequence[int]], decoder: OnePassDecoder, **options: Any) -> list[RowState]:
        """See [`Engine.answer`]."""
        return list(self._generate(prompts, decoder, options).rows)

    def steps(
        self, prompts: Sequence[Sequence[int]], decoder: OnePassDecoder, **options: Any
    ) -> Generator[list[RowState], None, None]:
        """See [`Engine.steps`]."""
        steps: Generator[list[RowState], None, None] = self._generate(prompts, decoder.steps, options)
        return steps

    def prepare(
        self, prompts: Sequence[Sequence[int]], decoder: OnePassDecoder, **options: Any
    ) -> tuple[Decoding[RowState], list[RowState]]:
        """What joins a running [`DecodingLoop`] to give the rows of [`~TransformersEngine.answer`]; same arguments."""
        prepared: tuple[Decoding[RowState], list[RowState]] = self._generate(prompts, decoder.prepare, options)
        return prepared

    def _generate(
        self, prompts: Sequence[Sequence[int]], custom_generate: Callable[..., Any], options: dict[str, Any]
    ) -> Any:
        pad_token_id = int(self.tokenizer.pad_token_id)  # type: ignore[arg-type]
        input_ids, attention_mask = pad_ids(prompts, pad_token_id, left=True)
        required = {"pad_token_id": options.get("pad_token_id", pad_token_id), "return_dict_in_generate": True}
        if (config := options.get("generation_config")) is not None:
            # `generate` deprecates passing settings next to a configuration.
            options["generation_config"] = config = copy.deepcopy(config)
            config.update(**required)
        else:
            options |= required
        return self.model.generate(
            input_ids=input_ids.to(self.model.device),
            attention_mask=attention_mask.to(self.model.device),
            custom_generate=custom_generate,
            **options,
        )
