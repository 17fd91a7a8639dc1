"""`OneGenConfig`: everything beyond the weights that training and inference must agree on."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from .checks import Rule, checked_fields, choice, instance, integer, list_of, number, optional, template, text
from .files import atomic_file
from .importing.renamed import renamed_arguments
from .tokens import RetrievalTokens

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

RENAMED = {"max_passage_length": "max_inserted_tokens", "max_embedded_length": "max_embedded_tokens"}
"""Old name of a setting → the one of today; checkpoints and indexes keep the old ones."""
CONFIG_KEY = "onegen"
"""Name of the section in a checkpoint's `config.json`."""
Fusion = Literal["rrf", "weighted"]
"""How a search by words and one by embedding become one ranking: by rank, or by score."""
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


_PASSAGE = template(["title", "text"], needed="text")
_TEXT_OR_NONE, _ANY_TEXT = optional(text()), text(empty=True)
_RULES: dict[str, Rule] = {
    "tokens": instance(RetrievalTokens),
    "similarity": choice(["cosine"]),
    "scale": number(above=0),
    "passage_template": _PASSAGE,
    "embedding_template": optional(_PASSAGE),
    "sentence_connector": optional(_ANY_TEXT),
    "prompt_template": template(["question"], needed="question"),
    "instruction": optional(_ANY_TEXT),
    "mention_tags": choice(["token", "text"]),
    "system_prompt": optional(_ANY_TEXT),
    "chat_template": _TEXT_OR_NONE,
    "answer_prefix": _ANY_TEXT,
    "answer_suffix": _ANY_TEXT,
    "max_inserted_tokens": integer(least=1),
    "max_embedded_tokens": optional(integer(least=1)),
    "inserted_sentences": optional(integer(least=1)),
    "readings": optional(integer(least=1)),
    "granularity": choice(["passage", "sentence"]),
    "default_index": _TEXT_OR_NONE,
    "link_threshold": optional(number()),
    "opening_bias": optional(number()),
    "draft_tokens": optional(integer(least=0)),
    "answer_threshold": optional(number()),
    "retrieval_threshold": optional(number(least=0, most=1)),
    "hybrid": optional(number(least=0, most=1)),
    "fusion": choice(FUSIONS),
    "matryoshka_dims": optional(list_of(integer(least=1), distinct=True)),
    "projection_dim": optional(integer(least=1)),
}
"""By name, what each setting of [`OneGenConfig`] must be."""


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
            How a passage is written when it is embedded, if it differs from `passage_template`; the document token
            follows. Special tokens may be written by name in the template, and the begin token must be.
        sentence_connector (`str`, *optional*):
            Joins the sentences of a passage. `None` keeps the text as it is, joined by spaces.
        prompt_template (`str`, *optional*, defaults to `"{question}"`):
            The user's turn.
        instruction (`str`, *optional*):
            Precedes a text to link, separated by an empty line; empty if `prompt_template` already contains it. `None`
            for the instruction of the builder `entity-linking`.
        mention_tags (`str`, *optional*, defaults to `"token"`):
            Whether an entity linker reads `<MENTION>` and `</MENTION>` as a `"token"` each, or as ordinary `"text"`.
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
        inserted_sentences (`int`, *optional*):
            Sentences of a passage that are inserted into a generation: those that share the most words with the query,
            see [`~onegen_hf.data.sentence_selection.best_sentences`]. `None` for all. Training inserts the same.
        readings (`int`, *optional*):
            How often a passage is read: with `inserted_sentences`, and with one sentence less each further time. The
            reading whose answer is the most probable becomes the result. `None` for once.
        granularity (`str`, *optional*, defaults to `"passage"`):
            `"passage"`: one embedding per passage. `"sentence"`: one after each sentence, ids `doc#sentence`.
        default_index (`str`, *optional*):
            Directory or Hub repository of the index that goes with the checkpoint; `./name` is a folder beside its
            weights.
        link_threshold (`float`, *optional*):
            Entity linking: a mention that the model finds is NIL if its best score is lower. Fitted on a development
            set by [`~onegen_hf.linking.threshold.fit_threshold`].
        opening_bias (`float`, *optional*):
            Entity linking: added to the logit of every token that opens a mention, so that more are found (or fewer).
            Fitted on a development set by [`~onegen_hf.evaluation.linking.opening_bias.fit_opening_bias`].
        draft_tokens (`int`, *optional*):
            Entity linking: tokens of the text that are read ahead per forward, see [`LinkingDecoder`]. They pay off
            where the model opens mentions for good reasons, as a trained one does.
        answer_threshold (`float`, *optional*):
            Answers: one is withheld if the best passage of one of its hops has a lower score. Fitted on a development
            set by [`~onegen_hf.evaluation.calibrate_answers`].
        retrieval_threshold (`float`, *optional*):
            Adaptive retrieval: retrieve exactly where the probability of a retrieval is higher. `None` lets the model
            decide. Fitted on a development set by [`~onegen_hf.evaluation.calibrate_retrieval`].
        hybrid (`float`, *optional*):
            How much a search by words (BM25) counts beside the search by embedding, from 0 to 1, in indexes that have
            one; an index in files that this checkpoint builds does. `None` searches by embedding.
        fusion (`str`, *optional*, defaults to `"rrf"`):
            How `hybrid` makes one ranking of the two: by rank (`"rrf"`) or score (`"weighted"`), see
            [`PassageIndex.search`].
        matryoshka_dims (`list[int]`, *optional*):
            Prefixes of an embedding that were trained to be compared on their own, beside the whole. Set by a training
            with `matryoshka_dims`; an index over another prefix loses accuracy.
        projection_dim (`int`, *optional*):
            Size of an embedding, to which a linear map of `retrieval_projection/model.safetensors` takes the hidden
            state at a retrieval token. `None`: the hidden state itself is the embedding.
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
    inserted_sentences: int | None = None
    readings: int | None = None
    granularity: str = "passage"
    default_index: str | None = None
    link_threshold: float | None = None
    opening_bias: float | None = None
    draft_tokens: int | None = None
    answer_threshold: float | None = None
    retrieval_threshold: float | None = None
    hybrid: float | None = None
    fusion: Fusion = "rrf"
    matryoshka_dims: list[int] | None = None
    projection_dim: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tokens, Mapping):
            self.tokens = RetrievalTokens.from_dict(self.tokens)
        checked_fields(self, **_RULES)

    @property
    def embedded_tokens(self) -> int:
        """Tokens of a passage that are embedded: `max_embedded_tokens`, or where that is unset as many as inserted."""
        return self.max_embedded_tokens or self.max_inserted_tokens

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {**asdict(self), "tokens": self.tokens.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OneGenConfig:
        """
        Inverse of [`~OneGenConfig.to_dict`].

        Raises:
            `ValueError`: If `values` is no mapping, or a setting is wrong or misspelt; the message names
                `onegen.<setting>`.

        Warns:
            `UserWarning`: If a setting is unknown and resembles none that is known, as those of a newer version do.
                It has no effect.
        """
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise ValueError(
                f"{CONFIG_KEY}={values!r:.200} must be a mapping of settings: mend the section {CONFIG_KEY!r} of "
                "config.json, or load the checkpoint with a preset"
            )
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        known = {f.name for f in fields(cls)}
        _check_names(set(values) - known, known)
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{CONFIG_KEY}.{error}") from error

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
        try:
            return cls.from_dict(section)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} has an {CONFIG_KEY!r} section that cannot be read: {error}") from error

    def attach_to(self, config: PreTrainedConfig) -> None:
        """Write the section into a backbone's config, so that `save_pretrained` keeps it."""
        setattr(config, CONFIG_KEY, self.to_dict())


def write_setting(checkpoint: str | os.PathLike[str], name: str, value: Any) -> None:
    """
    Change one setting of a saved checkpoint, in one step.

    Args:
        checkpoint (`str` or path): A directory with a `config.json` that has an `onegen` section.
        name (`str`): Of the setting.
        value: As [`OneGenConfig`] takes it.

    Raises:
        `ValueError`: If the directory is not a OneGen checkpoint, or the value is not what the setting must be.
    """
    path = Path(checkpoint) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if CONFIG_KEY not in config:
        raise ValueError(
            f"{checkpoint} is no directory of a OneGen checkpoint (its config.json has no section {CONFIG_KEY!r}): "
            f"download or save the checkpoint first, {name} is written into it"
        )
    section = OneGenConfig.from_dict({**config[CONFIG_KEY], name: value})
    config[CONFIG_KEY] = {**config[CONFIG_KEY], name: section.to_dict()[name]}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_names(unknown: set[str], known: set[str]) -> None:
    """Refuse misspelt settings, and warn of those that a newer version may have written."""
    for name in sorted(unknown):
        similar = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8)
        if similar:
            raise ValueError(
                f"{CONFIG_KEY}.{name} is no setting, did you mean {similar[0]!r}? Correct the name in the section "
                f"{CONFIG_KEY!r} of config.json; if a newer version wrote it, `pip install --upgrade onegen-hf`"
            )
    if unknown:
        release = importlib.metadata.version("onegen-hf")
        warnings.warn(
            f"the checkpoint's section {CONFIG_KEY!r} has the settings {sorted(unknown)}, which onegen-hf {release} "
            "does not know and ignores. A newer version wrote them: `pip install --upgrade onegen-hf` to honour them, "
            "or delete them from config.json",
            stacklevel=4,
        )


OneGenConfig.__init__ = renamed_arguments(**RENAMED)(OneGenConfig.__init__)  # type: ignore[method-assign]
