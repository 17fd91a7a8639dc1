"""Work that is the same for all alternatives: prompts of a given length, and answers with a given number of hops."""

from __future__ import annotations

import os
import random

from onegen_hf import Passage
from onegen_hf.data.chat_rendering import render_prompt
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.modeling.positions import context_length

from .components import Components
from .task import Script, Task

QUESTION = "What have they in common?"


def scripted_task(components: Components, prompt_tokens: int, hops: int, batch_size: int, seed: int = 0) -> Task:
    """
    Make a batch of prompts, and the answer that all rows write.

    A prompt is a question behind passages that have nothing to do with it, others in every row. In each hop the answer
    asks about a passage, retrieves it and says a few words.

    Args:
        components ([`Components`])
        prompt_tokens (`int`): Length of each prompt, exactly.
        hops (`int`)
        batch_size (`int`)
        seed (`int`, *optional*, defaults to 0): Chooses the passages.

    Returns:
        [`Task`]

    Raises:
        `ValueError`: If the prompt is too short for the question, or prompt and answer too long for the model.
    """
    generator = random.Random(seed)
    script = _script(components, generator.sample(list(components.index), hops))
    limit = context_length(components.model)
    if limit is not None and prompt_tokens + len(script.ids) > limit:
        raise ValueError(
            f"prompt_tokens={prompt_tokens} and an answer of {len(script.ids)} tokens ({hops} hops) do not fit into "
            f"the model's context of {limit}: ask for less"
        )
    return Task.scripted([_prompt(components, prompt_tokens, generator) for _ in range(batch_size)], script)


def _prompt(components: Components, length: int, generator: random.Random) -> list[int]:
    question, other = (_prompt_ids(components, text) for text in (QUESTION, "Why?"))
    if length < len(question):
        raise ValueError(
            f"prompt_tokens={length} must be at least {len(question)}, the length of the question's prompt"
        )
    # What the template writes before the question; there the passages go in, cut to the token.
    before = len(os.path.commonprefix([question, other]))
    distraction: list[int] = []
    while len(distraction) < length - len(question):
        passage = components.index[generator.randrange(len(components.index))]
        distraction += components.tokenizer(f"{passage.text}\n", add_special_tokens=False)["input_ids"]
    return [*question[:before], *distraction[: length - len(question)], *question[before:]]


def _prompt_ids(components: Components, question: str) -> list[int]:
    text = render_prompt(question, components.tokenizer, components.model.onegen_config)
    return components.tokenizer(text, add_special_tokens=False)["input_ids"]


def _script(components: Components, passages: list[Passage]) -> Script:
    encoder = PassageEncoder(components.tokenizer, components.model.onegen_config)
    ids, generated = [], 0
    for passage in passages:
        asked = [*encoder.text_ids(f"What is said of {passage.title}?"), encoder.ids.query]
        said = encoder.text_ids(f" {passage.title} is known.\n")
        ids += [*asked, *encoder.insertion([passage]), *said]
        generated += len(asked) + len(said)
    end = components.model.generation_config.eos_token_id
    answer = [*encoder.text_ids("Answer: nothing"), end if isinstance(end, int) else end[0]]
    return Script([*ids, *answer], generated + len(answer), passages)
