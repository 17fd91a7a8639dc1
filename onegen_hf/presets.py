"""Presets: the retrieval tokens of each task, and all settings of the checkpoints released with the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .bundled.checkpoints import DEFAULT_CHECKPOINT as DEFAULT_CHECKPOINT
from .bundled.checkpoints import DEFAULT_LINKER as DEFAULT_LINKER
from .configuration import OneGenConfig
from .tokens import RetrievalTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKEN_PRESETS: dict[str, Callable[[], RetrievalTokens]] = {
    "multi-hop": RetrievalTokens.multi_hop,
    "self-rag": RetrievalTokens.self_rag,
    "entity-linking": RetrievalTokens.entity_linking,
    "multi-hop-paper": RetrievalTokens.multi_hop_paper,
    "self-rag-paper": RetrievalTokens.self_rag_paper,
    "entity-linking-paper": RetrievalTokens.entity_linking_paper,
}
"""Name → the retrieval tokens."""
PRESET_CHOICES = sorted(TOKEN_PRESETS)
"""The values of the option `--preset`."""

_AS_WRITTEN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} {{ eos_token }}{% endif %}{% endfor %}"
)
"""The data of the authors contains complete prompts, so nothing is added around them."""

_FRAGMENT = (
    "Represent the following document fragment and output it after the '[Document Fragment Representation]' token. \n"
    "Here are document fragment:\n"
)

# Taken from the configurations in the authors' repository, zjunlp/OneGen; lengths are those of its training.
_PAPER_SETTINGS: dict[str, dict[str, Any]] = {
    "multi-hop-paper": {
        "chat_template": _AS_WRITTEN,
        "prompt_template": (
            "You are good at multi-step reasoning in QA. For complex questions, break down the process. Generate and "
            "answer sub-questions step-by-step, using retrieved documents at each stage. Output the final answer "
            "wrapped by <FINAL-ANSWER></FINAL-ANSWER>. Here is a question: {question}"
        ),
        "passage_template": "wiki title: {title}\ncontent: {text}",
        "embedding_template": _FRAGMENT + "wiki title: {title}\ncontent: {text}",
        "sentence_connector": "",
        "granularity": "sentence",
        "answer_prefix": "<FINAL-ANSWER>",
        "answer_suffix": "</FINAL-ANSWER>",
        "max_inserted_tokens": 1200,
    },
    "self-rag-paper": {
        "chat_template": _AS_WRITTEN,
        "prompt_template": "### Instruction:\n{question}\n\n### Response:\n",
        "passage_template": "{title}\n{text}",
        "embedding_template": _FRAGMENT + "{title}\n{text}",
        "answer_prefix": "",
        "max_inserted_tokens": 2048,
    },
    "entity-linking-paper": {
        "chat_template": _AS_WRITTEN,
        "prompt_template": (
            "[INST] You are good at mention detection. Identify and extract mentions of entities from the text. "
            "Please output the original text with annotations. Here, the annotation for each mention should be "
            "formatted as `<MENTION>{{mention in text}}</MENTION>` when displayed. \n\nTEST TEXT:\n{question} [/INST]"
        ),
        "instruction": "",
        "mention_tags": "text",
        "passage_template": "{title}\n{text}",
        "embedding_template": (
            "<s>Represent the entity based on its description and output it after the '[SE]' token.\n"
            "The description of {title} is as follows:\n{text}"
        ),
        "max_inserted_tokens": 1300,
    },
}


def preset(name: str) -> OneGenConfig:
    """
    The settings of a preset.

    Args:
        name (`str`): `"multi-hop"`, `"self-rag"` or `"entity-linking"` for the tokens of this package with default
            settings; `"multi-hop-paper"`, `"self-rag-paper"` or `"entity-linking-paper"` for the checkpoints released
            by the authors of the paper, with their prompts, passage templates and granularity.

    Returns:
        [`OneGenConfig`]

    Raises:
        `ValueError`: If no preset has this name.

    Example:

    ```python
    >>> preset("entity-linking-paper").tokens.document
    '[SE]'
    ```
    """
    return with_preset(OneGenConfig(), name)


def with_preset(settings: OneGenConfig, preset: str | RetrievalTokens | OneGenConfig) -> OneGenConfig:
    """
    Apply a preset to settings.

    Args:
        settings ([`OneGenConfig`]): Not modified.
        preset (`str`, [`RetrievalTokens`] or [`OneGenConfig`]): The name of a [`preset`], whose tokens replace those
            of `settings`, and for the paper's presets the formats too; tokens alone; or complete settings.

    Returns:
        [`OneGenConfig`]

    Raises:
        `TypeError`: If `preset` is something else.
        `ValueError`: If no preset has this name.
    """
    if isinstance(preset, OneGenConfig):
        return preset
    if isinstance(preset, RetrievalTokens):
        return replace(settings, tokens=preset)
    if not isinstance(preset, str):
        raise TypeError(
            f"preset={preset!r} must be the name of a preset, a RetrievalTokens or a OneGenConfig, got "
            f"{type(preset).__name__}"
        )
    if preset not in TOKEN_PRESETS:
        raise ValueError(
            f"preset={preset!r} is unknown: choose one of {', '.join(PRESET_CHOICES)}, or pass RetrievalTokens"
        )
    return replace(settings, tokens=TOKEN_PRESETS[preset](), **_PAPER_SETTINGS.get(preset, {}))


def fitting_presets(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The presets whose tokens are all in a tokenizer, those with the most tokens first."""
    vocabulary = tokenizer.get_vocab()
    tokens = {name: make().all for name, make in TOKEN_PRESETS.items()}
    fitting = [name for name, names in tokens.items() if all(token in vocabulary for token in names)]
    return sorted(fitting, key=lambda name: -len(tokens[name]))


def unknown_tokens(name_or_path: Any, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """The error message for a checkpoint whose retrieval tokens are unknown."""
    fitting = [] if tokenizer is None else fitting_presets(tokenizer)
    hint = f" Its tokenizer has the tokens of {' and '.join(map(repr, fitting))}." if fitting else ""
    return (
        f"{name_or_path}: config.json has no 'onegen' section, so the retrieval tokens are unknown. For a plain "
        "language model use `OneGenForCausalLM.from_backbone`; for a checkpoint trained elsewhere pass `preset=`: one "
        f"of {', '.join(map(repr, TOKEN_PRESETS))}, or `RetrievalTokens(...)`.{hint}"
    )
