"""`OneGenConfig`: everything beyond the weights that training and inference must agree on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .importing.renamed import renamed_arguments
from .tokens import RetrievalTokens

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

RENAMED = {"max_passage_length": "max_inserted_tokens", "max_embedded_length": "max_embedded_tokens"}
"""Old name of a setting → the one of today; checkpoints and indexes keep the old ones."""
CONFIG_KEY = "onegen"
"""Name of the section in a checkpoint's `config.json`."""


@dataclass
class OneGenConfig:
    """
    The `onegen` section of a checkpoint's `config.json`.

    A checkpoint keeps its backbone's `model_type`, so that it opens without this package; this section is what the
    package adds.

    Args:
        tokens (`RetrievalTokens`, *optional*, defaults to `RetrievalTokens.multi_hop()`):
            The retrieval tokens.
        similarity (`str`, *optional*, defaults to `"cosine"`):
            How a query and a passage embedding are compared, in training and in search.
        scale (`float`, *optional*, defaults to 20.0):
            Factor on the similarity inside the contrastive loss. A bare cosine difference is at most 2, where BPR's
            gradient never gets small for solved pairs nor large for wrong ones; 20 is the common inverse temperature.
        passage_template (`str`, *optional*, defaults to `"{title}\\n{text}"`):
            How a passage is written, both when it is embedded and when it is inserted.
        embedding_template (`str`, *optional*):
            How a passage is written when it is embedded, if that is another way: the document token follows it. Here
            names of special tokens stand for the tokens, and the begin token has to be written out.
        sentence_connector (`str`, *optional*):
            Stands between the sentences of a passage. `None` takes the text as it is, where it is a space.
        prompt_template (`str`, *optional*, defaults to `"{question}"`):
            The user's turn.
        instruction (`str`, *optional*):
            Stands before a text to link, with an empty line between; empty if it is part of `prompt_template`. `None`
            for the one of the builder `entity-linking`.
        mention_tags (`str`, *optional*, defaults to `"token"`):
            What `<MENTION>` and `</MENTION>` are to an entity linker: each a `"token"`, or `"text"` like any other.
        system_prompt (`str`, *optional*):
            System turn for conversations that have none. `None` leaves it to the chat template.
        chat_template (`str`, *optional*):
            Jinja template of a conversation. `None` for the tokenizer's.
        answer_prefix (`str`, *optional*, defaults to `"Answer:"`):
            The final answer is the generated text after its last occurrence; empty for all of the text.
        answer_suffix (`str`, *optional*, defaults to `""`):
            The final answer ends before it.
        max_inserted_tokens (`int`, *optional*, defaults to 128):
            Tokens of a passage that are inserted into a generation, without the tags around it.
        max_embedded_tokens (`int`, *optional*):
            Tokens of a passage that are embedded; `None` for `max_inserted_tokens`.
        granularity (`str`, *optional*, defaults to `"passage"`):
            `"passage"`: one embedding per passage. `"sentence"`: one after each sentence, ids `doc#sentence`.
        default_index (`str`, *optional*):
            Directory or Hub repository of the index that goes with the checkpoint; `./name` is a folder beside its
            weights.
        link_threshold (`float`, *optional*):
            Entity linking: a mention that the model finds is NIL if its best score is lower. Fitted on a development
            set by [`~onegen_hf.linking.threshold.fit_threshold`].
    """

    tokens: RetrievalTokens = field(default_factory=RetrievalTokens.multi_hop)
    similarity: str = "cosine"
    scale: float = 20.0
    passage_template: str = "{title}\n{text}"
    embedding_template: str | None = None
    sentence_connector: str | None = None
    prompt_template: str = "{question}"
    instruction: str | None = None
    mention_tags: str = "token"
    system_prompt: str | None = None
    chat_template: str | None = None
    answer_prefix: str = "Answer:"
    answer_suffix: str = ""
    max_inserted_tokens: int = 128
    max_embedded_tokens: int | None = None
    granularity: str = "passage"
    default_index: str | None = None
    link_threshold: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tokens, Mapping):
            self.tokens = RetrievalTokens.from_dict(self.tokens)
        if self.similarity != "cosine":
            raise ValueError(f"similarity={self.similarity!r} is not supported: use 'cosine'")
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale} must be positive")
        if self.granularity not in ("passage", "sentence"):
            raise ValueError(f"granularity={self.granularity!r} must be 'passage' or 'sentence'")
        if self.mention_tags not in ("token", "text"):
            raise ValueError(f"mention_tags={self.mention_tags!r} must be 'token' or 'text'")
        for name in ("max_inserted_tokens", "max_embedded_tokens"):
            length = getattr(self, name)
            if length is not None and length < 1:
                raise ValueError(f"{name}={length} must be at least 1 token")
        if self.link_threshold is not None and not math.isfinite(self.link_threshold):
            raise ValueError(f"link_threshold={self.link_threshold} must be a finite score, or None for no threshold")
        templates = {"passage_template": "{text}", "embedding_template": "{text}", "prompt_template": "{question}"}
        for name, needed in templates.items():
            template = getattr(self, name)
            if template is not None and needed not in template:
                raise ValueError(f"{name}={template!r} must contain {needed}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {**asdict(self), "tokens": self.tokens.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OneGenConfig:
        """Inverse of [`~OneGenConfig.to_dict`]. Unknown keys (of a newer version) are ignored with a warning."""
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            warnings.warn(f"the checkpoint's onegen section has unknown settings {unknown}: ignored", stacklevel=2)
        return cls(**{key: value for key, value in values.items() if key in known})

    @classmethod
    def of(cls, config: PreTrainedConfig) -> OneGenConfig | None:
        """
        Read the section of a backbone's config, or `None` when it has none.

        Raises:
            `ValueError`: If the section cannot be read; names the checkpoint and the setting.
        """
        section = getattr(config, CONFIG_KEY, None)
        if section is None:
            return None
        where = f"{config.name_or_path}: config.json" if getattr(config, "name_or_path", "") else "the config"
        if not isinstance(section, Mapping):
            raise ValueError(f"{where} has {CONFIG_KEY}={section!r}, which must be a section of settings (an object)")
        try:
            return cls.from_dict(section)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} has an {CONFIG_KEY!r} section that cannot be read: {error}") from error

    def attach_to(self, config: PreTrainedConfig) -> None:
        """Write the section into a backbone's config, so that `save_pretrained` keeps it."""
        setattr(config, CONFIG_KEY, self.to_dict())


OneGenConfig.__init__ = renamed_arguments(**RENAMED)(OneGenConfig.__init__)  # type: ignore[method-assign]
