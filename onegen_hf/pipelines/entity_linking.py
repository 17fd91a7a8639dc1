"""`pipeline("onegen-entity-linking")`: text in, linked mentions out, in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor
from transformers import GenerationConfig
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.pt_utils import KeyDataset

from data_builders.entity_linking.converter import INSTRUCTION

from ..auto import context_length
from ..linking import LinkingDecoder, LinkingRow, MentionMarkup
from ..linking.aliases import AliasTable
from ..linking.boundaries import check_boundaries
from ..linking.decoder import MENTION_RESERVE
from ..linking.entities import EntityPriors, link_mentions
from ..linking.inputs import WindowInput, WindowMentions, check_spans, check_text
from ..linking.windows import assign_spans, merge_spans, split_windows
from .checkpoint import open_index, prepare_checkpoint

TOKENS_PER_CHARACTER = 8
"""More are never generated: a code point is at most 4 bytes, and a mention brings 4 tokens."""
MINIMAL_WINDOW = 16


class OneGenEntityLinkingPipeline(ChunkPipeline):
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
        tokens (`str`, [`RetrievalTokens`] or [`OneGenConfig`], *optional*): For a checkpoint without an `onegen`
            section, such as that of the paper: `"entity-linking-paper"` (see [`with_tokens`]).
        kwargs: As for [`~transformers.Pipeline`]: `model`, `tokenizer`, `device`, `batch_size`, ...

    Call arguments:
        inputs (`str`, a mapping with `"text"`, a list of them, or a dataset with that column): With `"spans"`
            (`[[start, end], ...]`, in code points, without overlaps) these mentions are linked, in one forward and
            without generating anything.
        top_k (`int`, *optional*, defaults to 5): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower gets the id `"NIL"`; by default the
            checkpoint's `onegen.link_threshold`, without which none does. `-math.inf` for none.
        prior_weight (`float`, *optional*, defaults to 0.0): A candidate's score is its cosine plus so many times its
            prior. Needs `aliases`.
        boundaries (`str`, *optional*, defaults to `"word"`): Where mentions may begin and end; `"character"` reaches
            those inside of words.
        instruction (`str`, *optional*): Stands before the text, as in training; by default the checkpoint's
            (`onegen.instruction`), or that of the builder `entity-linking`.
        max_window_tokens (`int`, *optional*, defaults to 512): A longer text is linked in windows. Where the model's
            context holds less, they are smaller.
        window_overlap (`int`, *optional*, defaults to 64): Tokens that neighbouring windows share; at most half of
            them are.
        batch_size (`int`, *optional*, defaults to 1): Windows, of one text or of several, decoded at a time.
        generation arguments: `do_sample`, `temperature`, `logits_processor`, ...

    Returns of a call: `list[dict]` per text, in its order (that of `spans` if they are given): `mention`, `start`,
    `end` (in code points), `entity_id`, `name`, `score` (cosine) and `candidates`; empty without a mention.
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(do_sample=False)

    def __init__(self, *args: Any, index: Any = None, aliases: Any = None, tokens: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model: Any = prepare_checkpoint(self.model, self.tokenizer, tokens)
        if self.model.onegen_config.instruction is not None:
            self._preprocess_params.setdefault("instruction", self.model.onegen_config.instruction)
        self.markup = MentionMarkup(self.tokenizer, self.model.onegen_config)  # type: ignore[arg-type]
        self.index = open_index(index, self.model, self.tokenizer)
        if aliases is not None and not isinstance(aliases, AliasTable):
            aliases = AliasTable.load(aliases)
        self.priors = None if aliases is None else EntityPriors(aliases, self.index)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, (list, tuple)) and not inputs:
            return []
        if isinstance(inputs, Dataset) and "spans" not in inputs.column_names:
            inputs = KeyDataset(inputs, "text")
        elif isinstance(inputs, (Dataset, IterableDataset)):
            inputs = ({name: row[name] for name in ("text", "spans") if name in row} for row in inputs)
        return super().__call__(inputs, *args, **kwargs)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        threshold: float | None = None,
        prior_weight: float | None = None,
        boundaries: str | None = None,
        instruction: str | None = None,
        max_window_tokens: int | None = None,
        window_overlap: int | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k={top_k} must be at least 1 candidate")
        if boundaries is not None:
            check_boundaries(boundaries)
        windows = {
            "instruction": instruction,
            "max_window_tokens": max_window_tokens,
            "window_overlap": window_overlap,
        }
        search = {"top_k": top_k, "threshold": threshold, "prior_weight": prior_weight}
        return (
            {name: value for name, value in windows.items() if value is not None},
            generate_kwargs | ({} if boundaries is None else {"boundaries": boundaries}),
            {name: value for name, value in search.items() if value is not None},
        )

    def preprocess(
        self,
        inputs: Any,
        instruction: str = INSTRUCTION,
        max_window_tokens: int = 512,
        window_overlap: int = 64,
        **_: Any,
    ) -> Iterator[dict[str, Any]]:
        given = inputs.get("spans") if isinstance(inputs, Mapping) else None
        text = check_text(inputs.get("text") if isinstance(inputs, Mapping) else inputs)
        order = None if given is None else check_spans(given, text)
        size = self._window_size(max_window_tokens, instruction)
        plain = not self.markup.reserves(text)
        windows = split_windows(
            text, lambda pieces: [len(ids) for ids in self.markup.text_pieces(pieces, plain)], size,
            min(window_overlap, size // 2),
        )  # fmt: skip
        spans = None if order is None else assign_spans(sorted(order), windows)
        for number, window in enumerate(windows):
            prompt = self.markup.prompt(text[window.start : window.end], instruction)
            own = WindowInput(text, window, prompt, None if spans is None else spans[number], order)
            yield {"window": own, "is_last": number == len(windows) - 1}

    def _window_size(self, wanted: int, instruction: str) -> int:
        if wanted < MINIMAL_WINDOW:
            raise ValueError(f"max_window_tokens={wanted} must be at least {MINIMAL_WINDOW}")
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

    def _forward(self, model_inputs: Any, boundaries: str = "word", **generate_kwargs: Any) -> dict[str, Any]:
        windows = model_inputs["window"]
        batch = windows if isinstance(windows, list) else [windows]
        unmarked = [window for window in batch if window.spans is None]
        marked = [window for window in batch if window.spans is not None]
        found = iter(self._find(unmarked, boundaries, generate_kwargs) if unmarked else [])
        given = iter(self._embed(marked) if marked else [])
        mentions = [next(found if window.spans is None else given) for window in batch]
        return {
            "mentions": mentions if isinstance(windows, list) else mentions[0],
            "is_last": model_inputs["is_last"],
        }

    def _find(
        self, batch: list[WindowInput], boundaries: str, generate_kwargs: dict[str, Any]
    ) -> list[WindowMentions]:
        """Copy the texts and mark their mentions."""
        input_ids, attention_mask = self._padded([window.prompt for window in batch], left=True)
        longest = max(len(window.part) for window in batch)
        output = self.model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            custom_generate=LinkingDecoder(self.markup, [window.part for window in batch], boundaries),
            **self._prepare_generate_kwargs(
                {"max_new_tokens": TOKENS_PER_CHARACTER * (longest + 2), **generate_kwargs},
                pad_token_id=self._pad_token_id,
                return_dict_in_generate=True,
            ),
        )
        return [self._mentions(window, row) for window, row in zip(batch, output.rows, strict=True)]

    def _mentions(self, window: WindowInput, row: LinkingRow) -> WindowMentions:
        if row.mentions_stopped or row.stop_reason == "context_full":
            warnings.warn(
                "the model's context was full before all mentions of a text were marked: lower `max_window_tokens`",
                stacklevel=2,
            )
        elif row.stop_reason == "max_new_tokens":
            warnings.warn("a text was not copied to its end: raise `max_new_tokens`, or leave it out", stacklevel=2)
        offset = window.window.start
        spans = [(start + offset, end + offset) for start, end in row.spans]
        owned = [n for n, span in enumerate(spans) if window.window.owns(span)]
        return WindowMentions(window, [spans[n] for n in owned], [row.embeddings[n] for n in owned])

    def _embed(self, batch: list[WindowInput]) -> list[WindowMentions]:
        """One forward over the annotated texts; nothing is generated."""
        rows, positions = [], []
        for window in batch:
            offset = window.window.start
            spans = window.spans or []
            annotation = self.markup.annotate(window.part, [(start - offset, end - offset) for start, end in spans])
            positions.append([len(window.prompt) + position for position in annotation.query_positions])
            rows.append([*window.prompt, *annotation.ids][: positions[-1][-1] + 1 if spans else 1])
            context = context_length(self.model)
            if context is not None and len(rows[-1]) > context:
                raise ValueError(
                    f"a window with its {len(spans)} mentions takes {len(rows[-1])} tokens, but the model's context "
                    f"holds {context}: lower `max_window_tokens`"
                )
        input_ids, attention_mask = self._padded(rows, left=False)
        most = max(max(map(len, positions)), 1)
        padded = torch.tensor([[*own, *[-1] * (most - len(own))] for own in positions], device=self.model.device)
        embedded = self.model.embed(input_ids, attention_mask, padded)
        return [
            WindowMentions(w, w.spans or [], list(e)[: len(w.spans or [])])
            for w, e in zip(batch, embedded, strict=True)
        ]

    def postprocess(
        self,
        model_outputs: Any,
        top_k: int = 5,
        threshold: float | None = None,
        prior_weight: float = 0.0,
        **_: Any,
    ) -> list[dict[str, Any]]:
        parts: list[WindowMentions] = [output["mentions"] for output in model_outputs]
        source = parts[0].source
        spans = [span for part in parts for span in part.spans]
        embeddings = [embedding for part in parts for embedding in part.embeddings]
        if source.order is None:
            kept = merge_spans(spans)
        else:
            number_of = {span: number for number, span in enumerate(spans)}
            kept = [number_of[span] for span in source.order]
        if not kept:
            return []
        stacked = torch.stack([embeddings[number] for number in kept])
        if threshold is None:
            threshold = self.model.onegen_config.link_threshold
        kept_spans = [spans[number] for number in kept]
        return link_mentions(self.index, source.text, kept_spans, stacked, top_k, threshold, self.priors, prior_weight)

    @property
    def _pad_token_id(self) -> int:
        assert self.tokenizer is not None
        return int(self.tokenizer.pad_token_id)  # type: ignore[arg-type]

    def _padded(self, rows: Sequence[list[int]], left: bool) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        ids, mask = [], []
        for row in rows:
            empty = width - len(row)
            ids.append([*[self._pad_token_id] * empty * left, *row, *[self._pad_token_id] * empty * (not left)])
            mask.append([*[0] * empty * left, *[1] * len(row), *[0] * empty * (not left)])
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
