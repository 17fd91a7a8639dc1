"""Settings by name: the retrieval tokens of each task, and everything about the paper's released checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .configuration import OneGenConfig
from .tokens import RetrievalTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_CHECKPOINT = Path(__file__).resolve().parent / "default_checkpoint"
"""What `pipeline("onegen-rag")` loads when no model is named: a LoRA adapter and its index, part of the package."""
DEFAULT_LINKER = DEFAULT_CHECKPOINT.with_name("default_linker")
"""The same for `pipeline("onegen-entity-linking")`."""

TOKEN_PRESETS: dict[str, Callable[[], RetrievalTokens]] = {
    "multi-hop": RetrievalTokens.multi_hop,
    "self-rag": RetrievalTokens.self_rag,
    "entity-linking": RetrievalTokens.entity_linking,
    "multi-hop-paper": RetrievalTokens.multi_hop_paper,
    "self-rag-paper": RetrievalTokens.self_rag_paper,
    "entity-linking-paper": RetrievalTokens.entity_linking_paper,
}
"""Name → the retrieval tokens."""
PRESET_CHOICES = [None, *sorted(TOKEN_PRESETS)]
"""What an option of the command line may be."""

_AS_WRITTEN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} {{ eos_token }}{% endif %}{% endfor %}"
)
"""The authors' data hold whole prompts, so that nothing is put around them."""

_FRAGMENT = (
    "Represent the following document fragment and output it after the '[Document Fragment Representation]' token. \n"
    "Here are document fragment:\n"
)

# As in the configurations of the authors' repository, zjunlp/OneGen; lengths are those of its training.
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
    All settings of a preset.

    Args:
        name (`str`): `"multi-hop"`, `"self-rag"` or `"entity-linking"` for this package's own tokens and default
            settings; `"multi-hop-paper"`, `"self-rag-paper"` or `"entity-linking-paper"` for the checkpoints that the
            paper's authors released, with their prompts, passages and granularity.

    Raises:
        `ValueError`: If there is no such preset.

    Example:

    ```python
    >>> preset("entity-linking-paper").tokens.document
    '[SE]'
    ```
    """
    return with_tokens(OneGenConfig(), name)


def with_tokens(settings: OneGenConfig, tokens: str | RetrievalTokens | OneGenConfig) -> OneGenConfig:
    """
    The settings with what `tokens` says in place of their own.

    Args:
        settings ([`OneGenConfig`]): Left as they are.
        tokens (`str`, [`RetrievalTokens`] or [`OneGenConfig`]): The name of a [`preset`], whose tokens and, for the
            paper's, formats replace those of `settings`; the tokens alone; or all settings.

    Raises:
        `TypeError`: If `tokens` is something else.
        `ValueError`: If there is no preset of this name.
    """
    if isinstance(tokens, OneGenConfig):
        return tokens
    if isinstance(tokens, RetrievalTokens):
        return replace(settings, tokens=tokens)
    if not isinstance(tokens, str):
        raise TypeError(
            f"tokens must be the name of a preset, a RetrievalTokens or a OneGenConfig, got {type(tokens).__name__}"
        )
    if tokens not in TOKEN_PRESETS:
        raise ValueError(
            f"tokens={tokens!r} is unknown: choose one of {sorted(TOKEN_PRESETS)}, or pass RetrievalTokens"
        )
    return replace(settings, tokens=TOKEN_PRESETS[tokens](), **_PAPER_SETTINGS.get(tokens, {}))


def fitting_presets(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The presets all of whose tokens a tokenizer has; those with more tokens first."""
    vocabulary = tokenizer.get_vocab()
    tokens = {name: make().all for name, make in TOKEN_PRESETS.items()}
    fitting = [name for name, names in tokens.items() if all(token in vocabulary for token in names)]
    return sorted(fitting, key=lambda name: -len(tokens[name]))


def unknown_tokens(name_or_path: Any, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """What to tell who loads a checkpoint whose retrieval tokens are not known."""
    fitting = [] if tokenizer is None else fitting_presets(tokenizer)
    hint = f" Its tokenizer has the tokens of {' and '.join(map(repr, fitting))}." if fitting else ""
    return (
        f"{name_or_path}: config.json has no 'onegen' section, so the retrieval tokens are unknown. For a plain "
        "language model use `OneGenForCausalLM.from_backbone`; for a checkpoint trained elsewhere pass `tokens=`: a "
        f"preset ({', '.join(map(repr, TOKEN_PRESETS))}) or `RetrievalTokens(...)`.{hint}"
    )
