"""`pipeline("onegen-entity-linking")`: text in, linked mentions out, in one pass."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import GenerationConfig
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.pt_utils import KeyDataset

from data_builders.entity_linking.kinds import INSTRUCTION, check_kinds, instruction_for

from ..checks import Rule, check, choice, flag, instance, integer, number, shown, text
from ..data.attribute_dict import AttributeDict, with_attributes
from ..data.padding import pad_ids
from ..generation import Usage
from ..generation.options import check_generation_options
from ..importing.renamed import renamed_arguments
from ..linking import LinkingDecoder, LinkingRow, MentionMarkup
from ..linking.aliases import AliasTable
from ..linking.boundaries import BOUNDARIES
from ..linking.copying import MENTION_RESERVE
from ..linking.decoder import DECODINGS
from ..linking.embed_mentions import embed_given
from ..linking.entities import EntityPriors, link_mentions
from ..linking.window_inputs import WindowInput, WindowMentions, check_spans, check_text
from ..linking.windows import assign_spans, merge_spans, split_windows
from ..modeling.adapters import adapter_tokenizer
from ..modeling.positions import context_length
from .checkpoint import check_parts, open_index, prepare_checkpoint, with_device
from .saving import SavedWithIndex

MODES = ("linking", "detection")
TOKENS_PER_CHARACTER = 8
"""More are never generated: a code point is at most 4 bytes, and a mention brings 4 tokens."""
TOKENS_PER_TOKEN = 5
"""More are not waited for when a text is written freely: every token may be a mention, which brings 4."""
MINIMAL_WINDOW = 16
WINDOWS_TOGETHER = 8
"""Windows of one text that are decoded at a time by default: their forwards share the reading of the weights."""


def _kinds(name: str, value: Any) -> tuple[str, ...]:
    """The rule for kinds of mentions."""
    if not isinstance(value, (str, list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{name}={shown(value)} must be kinds of mentions, such as 'names' or ['persons', 'places']")
    return check_kinds(value)


_RULES: dict[str, Rule] = {
    "top_k": integer(least=1),
    "threshold": number(infinite=True),
    "prior_weight": number(least=0),
    "boundaries": choice(BOUNDARIES),
    "decoding": choice(DECODINGS),
    "opening_bias": number(),
    "draft_tokens": integer(least=0),
    "kinds": _kinds,
    "mode": choice(MODES),
    "instruction": text(empty=True),
    "max_window_tokens": integer(least=MINIMAL_WINDOW),
    "window_overlap": integer(least=0),
    "return_dict": flag(),
    "batch_size": integer(least=1),
    "num_workers": integer(least=0),
}
"""Of the pipeline's call arguments; those of `generate` have theirs in `GENERATION_RULES`."""
_WINDOWS = frozenset({"instruction", "max_window_tokens", "window_overlap", "mode"})
_SEARCH = frozenset({"top_k", "threshold", "prior_weight", "mode", "return_dict"})


class OneGenEntityLinkingPipeline(SavedWithIndex, ChunkPipeline):
    """
    Entity linking with one model and one pass: the model copies the text, marks its mentions, and the hidden state
    after each is the query for its entity. Nothing but the text can be copied, so spans are exact.

    Example:

    ```python
    >>> import onegen_hf
    >>> from transformers import pipeline

    >>> link = pipeline("onegen-entity-linking", model="my-linker", index="my-catalogue")
    >>> link("Ada Moll lives in Fern Bay.")[0]["entity_id"]
    >>> link({"text": "Ada Moll lives in Fern Bay.", "spans": [[18, 26]]})[0]["name"]
    ```

    Args:
        index ([`PassageIndex`], `str` or path, *optional*): The entity catalogue; by default the checkpoint's own
            (`onegen.default_index`).
        aliases ([`AliasTable`], `str` or path, *optional*): Surface forms with the entities that they name in training
            data: these become candidates, each with its `similarity` and its `prior`.
        preset (`str`, [`RetrievalTokens`] or [`OneGenConfig`], *optional*): For a checkpoint without an `onegen`
            section, such as that of the paper: `"entity-linking-paper"` (see [`with_preset`]).
        kwargs: As for [`~transformers.Pipeline`]: `model`, `tokenizer`, `device`, `batch_size`, ...

    Call arguments:
        inputs (`str`, a mapping with `"text"`, a list of them, or a dataset with that column): With `"spans"`
            (`[[start, end], ...]`, in code points, without overlaps) these mentions are linked, in one forward and
            without generating anything.
        mode (`str`, *optional*, defaults to `"linking"`): `"detection"` finds mentions without linking them, and needs
            no index: the pipeline is then made with it.
        decoding (`str`, *optional*, defaults to `"constrained"`): `"free"` lets the model write the text anew as the
            paper does, and drops what does not align with it.
        top_k (`int`, *optional*, defaults to 5): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower gets the id `"NIL"`; by default the
            checkpoint's `onegen.link_threshold`, without which none does. That one is fitted to the mentions that the
            model finds, and does not concern `spans`. `-math.inf` for none.
        prior_weight (`float`, *optional*, defaults to 0.0): Weight of the prior in a
            candidate's score, which is its cosine plus the weighted prior. Needs `aliases`.
        boundaries (`str`, *optional*, defaults to `"word"`): Where mentions may begin and end; `"character"` reaches
            those inside of words.
        kinds (`str` or `list[str]`, *optional*): What counts as a mention, for a checkpoint that was trained with
            instructions that say so, as the bundled one was: some of `"persons"`, `"places"`, `"organizations"`,
            `"others"` (these four are `"names"`), `"demonyms"`, `"nouns"`, `"coreferences"` and `"dates"`, or `"all"`.
            Takes the place of `instruction`; by default the checkpoint's, which asks the bundled one for `"names"`.
        opening_bias (`float`, *optional*): Added to the logit of every token that opens a mention: positive values
            find more. By default the checkpoint's `onegen.opening_bias`, without which there is none.
        draft_tokens (`int`, *optional*): Tokens of the text that are read ahead per forward: the same mentions in
            fewer forwards. By default the checkpoint's `onegen.draft_tokens`, without which there are none.
        instruction (`str`, *optional*): Stands before the text, as in training; by default the checkpoint's
            (`onegen.instruction`), or that of the builder `entity-linking`.
        max_window_tokens (`int`, *optional*, defaults to 512): A longer text is linked in windows. Where the model's
            context holds less, they are smaller.
        window_overlap (`int`, *optional*, defaults to 64): Tokens that neighbouring windows share; at most half of
            them are.
        return_dict (`bool`, *optional*, defaults to `False`): Return a `dict` per text, see below.
        batch_size (`int`, *optional*): Windows, of one text or of several, decoded at a time. By default those of one
            text, up to 8; of a list or a dataset of texts, one at a time.
        generation arguments: `num_beams`, `do_sample`, `temperature`, `logits_processor`, ...

    Returns of a call: `list[dict]` per text, in its order (that of `spans` if they are given): `mention`, `start`,
    `end` (in code points), `entity_id`, `name`, `score` (cosine) and `candidates`; empty without a mention. In
    `mode="detection"`: `mention`, `start` and `end`. With `return_dict=True` this list is `mentions` of a `dict` with
    `aligned` (whether what was written is the text) and `usage` (`prompt_tokens`, `generated_tokens`,
    `forwarded_tokens`, `forward_calls`, ... over all windows). Items of all these are attributes as well
    (`mention.entity_id`).
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(do_sample=False)

    @renamed_arguments(tokens="preset")
    def __init__(self, *args: Any, index: Any = None, aliases: Any = None, preset: Any = None, **kwargs: Any) -> None:
        check({name: value for name, value in kwargs.items() if value is not None}, _RULES)
        if aliases is not None:
            instance(AliasTable, str, os.PathLike)("aliases", aliases)
        check_parts(kwargs)
        super().__init__(*args, **with_device(kwargs, *args))
        self.tokenizer: Any = adapter_tokenizer(self.model, self.tokenizer)
        self.model: Any = prepare_checkpoint(self.model, self.tokenizer, preset)
        if self.model.onegen_config.instruction is not None:
            self._preprocess_params.setdefault("instruction", self.model.onegen_config.instruction)
        self.markup = MentionMarkup(self.tokenizer, self.model.onegen_config)  # type: ignore[arg-type]
        detects = index is None and kwargs.get("mode") == "detection"
        self.index = None if detects else open_index(index, self.model, self.tokenizer)
        if aliases is not None and not isinstance(aliases, AliasTable):
            aliases = AliasTable.load(aliases)
        self.priors = None if aliases is None or self.index is None else EntityPriors(aliases, self.index)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.check_call_arguments(kwargs)  # `batch_size` and `num_workers` do not reach _sanitize_parameters
        if isinstance(inputs, (list, tuple, Dataset)) and not len(inputs):
            return []
        if isinstance(inputs, (str, Mapping)) and self._batch_size is None:
            kwargs.setdefault("batch_size", WINDOWS_TOGETHER)
        names = inputs.column_names if isinstance(inputs, (Dataset, IterableDataset)) else None
        if names is not None and "text" not in names:
            raise ValueError(
                f"the dataset has the columns {names}, none of which is 'text': rename the one with the texts"
            )
        if isinstance(inputs, Dataset) and "spans" not in inputs.column_names:
            inputs = KeyDataset(inputs, "text")
        elif isinstance(inputs, (Dataset, IterableDataset)):
            inputs = ({name: row[name] for name in ("text", "spans") if name in row} for row in inputs)
        return super().__call__(inputs, *args, **kwargs)

    @staticmethod
    def check_call_arguments(options: Mapping[str, Any]) -> None:
        """
        Raises:
            `TypeError` or `ValueError`: If one is unknown or out of range; names it with its value.
        """
        check_generation_options(options, _RULES)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        options = check_generation_options(options, _RULES)
        if options.get("prior_weight") and getattr(self, "priors", None) is None and hasattr(self, "priors"):
            raise ValueError(
                f"prior_weight={options['prior_weight']} needs the pipeline to be made with `aliases=...`: pass them "
                "to it, or leave prior_weight out"
            )
        if options.get("kinds") is not None:
            if options.get("instruction") is not None:
                raise ValueError(
                    f"kinds={options['kinds']} and instruction={options['instruction']!r:.60} both say what to mark: "
                    "leave out one of both"
                )
            options["instruction"] = instruction_for(options["kinds"])
        options.pop("kinds", None)
        forward = {name: value for name, value in options.items() if name not in _WINDOWS | _SEARCH}
        return _among(options, _WINDOWS), forward, _among(options, _SEARCH)

    def preprocess(
        self,
        inputs: Any,
        instruction: str = INSTRUCTION,
        max_window_tokens: int = 512,
        window_overlap: int = 64,
        mode: str = "linking",
        **_: Any,
    ) -> Iterator[dict[str, Any]]:
        given = inputs.get("spans") if isinstance(inputs, Mapping) else None
        text = check_text(inputs.get("text") if isinstance(inputs, Mapping) else inputs)
        order = None if given is None else check_spans(given, text)
        if mode == "detection" and order is not None:
            raise ValueError('spans are given, but mode="detection" is to find them: leave out one of both')
        if mode == "linking" and self.index is None:
            raise ValueError(
                'mode="linking" needs the index without which the pipeline was made: pass `index=...` to it'
            )
        size = self._window_size(max_window_tokens, instruction)
        plain = not self.markup.reserves(text)
        windows = split_windows(
            text, lambda pieces: [len(ids) for ids in self.markup.text_pieces(pieces, plain)], size,
            min(window_overlap, size // 2),
        )  # fmt: skip
        spans = None if order is None else assign_spans(sorted(order), windows)
        for place, window in enumerate(windows):
            prompt = self.markup.prompt(text[window.start : window.end], instruction)
            own = WindowInput(text, window, prompt, None if spans is None else spans[place], order)
            yield {"window": own, "is_last": place == len(windows) - 1}

    def _window_size(self, wanted: int, instruction: str) -> int:
        context = context_length(self.model)
        if context is None:
            return wanted
        # The text stands in the prompt and in the copy, where its marks take as many tokens again.
        room = (context - len(self.markup.prompt("", instruction)) - MENTION_RESERVE) // 3
        if room < MINIMAL_WINDOW:
            raise ValueError(
                f"the model's context of {context} tokens leaves no room for a text beside the prompt: shorten "
                f"`instruction` ({instruction!r:.60})"
            )
        return min(wanted, room)

    def _forward(
        self,
        model_inputs: Any,
        boundaries: str = "word",
        decoding: str = "constrained",
        opening_bias: float | None = None,
        draft_tokens: int | None = None,
        **generate_kwargs: Any,
    ) -> dict[str, Any]:
        settings = self.model.onegen_config
        if opening_bias is None:
            opening_bias = (settings.opening_bias or 0.0) if decoding == "constrained" else 0.0
        marking = {
            "boundaries": boundaries,
            "decoding": decoding,
            "opening_bias": opening_bias,
            "draft_tokens": (settings.draft_tokens or 0) if draft_tokens is None else draft_tokens,
        }
        windows = model_inputs["window"]
        batch = windows if isinstance(windows, list) else [windows]
        unmarked = [window for window in batch if window.spans is None]
        marked = [window for window in batch if window.spans is not None]
        found = iter(self._find(unmarked, marking, generate_kwargs) if unmarked else [])
        given = iter(embed_given(self.model, self.markup, marked, self._pad_token_id) if marked else [])
        mentions = [next(found if window.spans is None else given) for window in batch]
        return {
            "mentions": mentions if isinstance(windows, list) else mentions[0],
            "is_last": model_inputs["is_last"],
        }

    def _find(
        self, batch: list[WindowInput], marking: dict[str, Any], generate_kwargs: dict[str, Any]
    ) -> list[WindowMentions]:
        """Write the texts down again and mark their mentions."""
        input_ids, attention_mask = pad_ids([window.prompt for window in batch], self._pad_token_id, left=True)
        texts = [window.part for window in batch]
        if marking["decoding"] == "constrained":
            # What follows belongs to the next window.
            marking = {**marking, "until": [window.owned_end for window in batch]}
        output = self.model.generate(
            input_ids=input_ids.to(self.model.device),
            attention_mask=attention_mask.to(self.model.device),
            custom_generate=LinkingDecoder(self.markup, texts, **marking),
            **self._prepare_generate_kwargs(
                {"max_new_tokens": self._max_new_tokens(texts, marking["decoding"]), **generate_kwargs},
                pad_token_id=self._pad_token_id,
                return_dict_in_generate=True,
            ),
        )
        return [_mentions(window, row) for window, row in zip(batch, output.rows, strict=True)]

    def _max_new_tokens(self, texts: list[str], decoding: str) -> int:
        if decoding == "constrained":
            return TOKENS_PER_CHARACTER * (max(map(len, texts)) + 2)
        return TOKENS_PER_TOKEN * (max(map(len, self.markup.text_pieces(texts, plain=True))) + 2)

    def postprocess(
        self,
        model_outputs: Any,
        top_k: int = 5,
        threshold: float | None = None,
        prior_weight: float = 0.0,
        mode: str = "linking",
        return_dict: bool = False,
        **_: Any,
    ) -> list[AttributeDict] | AttributeDict:
        parts: list[WindowMentions] = [output["mentions"] for output in model_outputs]
        source = parts[0].source
        spans = [span for part in parts for span in part.spans]
        embeddings = [embedding for part in parts for embedding in part.embeddings]
        if source.order is None:
            kept = merge_spans(spans)
        else:
            number_of = {span: number for number, span in enumerate(spans)}
            kept = [number_of[span] for span in source.order]
        kept_spans = [spans[number] for number in kept]
        if mode == "detection":
            mentions = [{"mention": source.text[start:end], "start": start, "end": end} for start, end in kept_spans]
        elif kept:
            assert self.index is not None
            stacked = torch.stack([embeddings[number] for number in kept])
            if threshold is None and source.order is None:
                threshold = self.model.onegen_config.link_threshold
            mentions = link_mentions(
                self.index, source.text, kept_spans, stacked, top_k, threshold, self.priors, prior_weight
            )
        else:
            mentions = []
        described: list[AttributeDict] = with_attributes(mentions)
        if not return_dict:
            return described
        usage = sum((part.usage for part in parts), Usage())
        return AttributeDict(
            mentions=described,
            aligned=all(part.aligned for part in parts),
            usage=AttributeDict(usage.to_dict()),
        )

    @property
    def _pad_token_id(self) -> int:
        assert self.tokenizer is not None
        return int(self.tokenizer.pad_token_id)  # type: ignore[arg-type]


def _among(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _mentions(window: WindowInput, row: LinkingRow) -> WindowMentions:
    if row.mentions_stopped or row.stop_reason == "context_full":
        warnings.warn(
            "the model's context was full before all mentions of a text were marked: lower `max_window_tokens`",
            stacklevel=2,
        )
    elif row.stop_reason == "max_new_tokens":
        warnings.warn("a text was not written to its end: raise `max_new_tokens`, or leave it out", stacklevel=2)
    offset = window.window.start
    spans = [(start + offset, end + offset) for start, end in row.spans]
    owned = [n for n, span in enumerate(spans) if window.window.owns(span)]
    return WindowMentions(
        window, [spans[n] for n in owned], [row.embeddings[n] for n in owned], row.usage, row.aligned
    )
