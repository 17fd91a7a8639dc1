"""`TextTokenizer`: text as token ids that can't hold a control token, and templates as ids that can."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from ..checks import text as text_rule
from ..tokens import RetrievalTokens

Span = tuple[int, int]
"""Start and end in code points."""
_WORDS = re.compile(r"[\w\s\u2581.'-]*|.", flags=re.DOTALL)
"""Added tokens of ordinary text, unless they are special: domain words and, in several tokenizers, runs of spaces."""


class TextTokenizer:
    """
    Tokenizes text and templates side by side, in any number of threads.

    Calling a fast tokenizer with `split_special_tokens=True` switches a flag of the one Rust object that all threads
    share. This class never switches anything: it holds two copies, one that always reads the names of added tokens and
    one that never does.

    *Control tokens* are the special tokens, the retrieval tokens, and other added tokens that look like markup
    (`<think>`, `[INST]`). Added words and runs of spaces are ordinary text. The unknown token is not control: it only
    says that a character has no token.

    Args:
        tokenizer (`PreTrainedTokenizerBase` or `tokenizers.Tokenizer`): Copied; later changes to it have no effect.
        reserved (`Iterable[str]`, *optional*): Tokens that are control whatever they look like.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | Tokenizer, reserved: Iterable[str] = ()) -> None:
        self.reserved = tuple(reserved)
        backend = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
        self._backend: _RustBackend | _PythonBackend
        if isinstance(backend, Tokenizer):
            self._backend = _RustBackend(backend, self.reserved)
        else:
            self._backend = _PythonBackend(tokenizer, self.reserved)
        control = self._backend.control
        self._control_ids = frozenset(control.values()) - {self._backend.unknown_id}
        self._names = _any_of(control)
        self._starts = re.compile(f"(?=({self._names.pattern}))")
        live = {name for name in control if name in self.reserved or name not in self._backend.special}
        self._generated = _any_of(live)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, tokens: RetrievalTokens) -> TextTokenizer:
        """The one that goes with a tokenizer; made anew when tokens have been added since the last call."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        reserved = tuple(tokens.all)
        if not isinstance(backend, Tokenizer):
            return cls(tokenizer, reserved)
        stamp = (id(backend), backend.get_vocab_size(with_added_tokens=True))
        made = _CACHE.get(tokenizer, {}).get(reserved)
        if made is not None and made[0] == stamp:
            return made[1]
        with _CACHE_LOCK:
            made = _CACHE.get(tokenizer, {}).get(reserved)
            if made is None or made[0] != stamp:
                made = stamp, cls(backend, reserved)
                _CACHE[tokenizer] = {**_CACHE.get(tokenizer, {}), reserved: made}
        return made[1]

    def __reduce__(self) -> Any:
        return type(self), (self._backend.source, self.reserved)

    def text_ids(self, text: str) -> list[int]:
        """
        Ids of text, in which no control token can stand.

        Raises:
            `TypeError` or `ValueError`: If `text` is no `str`, or holds half of a surrogate pair.
        """
        return self._word_ids([_encodable(text)])[0]

    def ids_of_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """
        The same for many texts, which a tokenizer in Rust reads on all cores.

        Raises:
            `TypeError` or `ValueError`: As [`~TextTokenizer.text_ids`].
        """
        ids = self._backend.ids_of_texts([_encodable(text) for text in texts])
        return [
            row if row is not None and self._control_ids.isdisjoint(row) else self.text_ids(text)
            for text, row in zip(texts, ids, strict=True)
        ]

    def template_ids(self, text: str) -> list[int]:
        """Ids of a template's own text: names of added tokens stand for the tokens."""
        return self._backend.template_ids(_encodable(text))

    def mixed_ids(self, text: str, spans: Sequence[Span]) -> list[int]:
        """
        Ids of a filled-in template.

        Where no control token stands in the text that was filled in, these are the ids of the whole string, read at
        once: tokens may reach across the borders of the spans.

        Args:
            text (`str`)
            spans (`Sequence[tuple[int, int]]`): The parts that are text and no template, ascending.
        """
        if not spans:
            return self.template_ids(text)
        ids, touched = self._backend.read(_encodable(text), self._control_ids, self._names)
        if not any(start < b and a < end for start, end in touched for a, b in spans):
            return ids
        pieces, control = self._pieces(text, spans)
        pieces_ids = self._word_ids(pieces)
        return [
            token
            for piece, between in zip(pieces_ids, [*control, None], strict=True)
            for token in (piece if between is None else [*piece, between])
        ]

    def generated_ids(self, text: str) -> list[int]:
        """
        Ids of text that a model is trained to write: retrieval tokens and markup such as `<think>` are tokens, the
        special tokens of the tokenizer (ends of turns, padding) are words.
        """
        return self.mixed_ids(text, list(_gaps(text, [match.span() for match in self._generated.finditer(text)])))

    def control_ids(self, text: str) -> list[int]:
        """The control tokens that stand in a template's text, in order."""
        return [token for token in self.template_ids(text) if token in self._control_ids]

    def names_control(self, text: str) -> bool:
        """Whether the name of a control token stands in `text`."""
        return self._names.search(text) is not None

    def _pieces(self, text: str, spans: Sequence[Span]) -> tuple[list[str], list[int]]:
        """What stands between the control tokens of the template's own parts, and these tokens."""
        matches = []
        for start, end in _gaps(text, spans):
            matches += [(start + m.start(), start + m.end(), m[0]) for m in self._names.finditer(text[start:end])]
        edges = list(_gaps(text, [(start, end) for start, end, _ in matches], empty=True))
        pieces = [text[start:end] for start, end in edges]
        for n, (_, _, name) in enumerate(matches):
            left, right = self._backend.strips.get(name, (False, False))
            pieces[n] = pieces[n].rstrip() if left else pieces[n]
            pieces[n + 1] = pieces[n + 1].lstrip() if right else pieces[n + 1]
        return pieces, [self._backend.control[name] for _, _, name in matches]

    def _word_ids(self, pieces: Sequence[str]) -> list[list[int]]:
        """Ids of the pieces into which control tokens cut a text, each without a control token."""
        ids = self._backend.word_ids(pieces)
        if all(self._control_ids.isdisjoint(piece) for piece in ids):
            return ids
        # The model's own vocabulary holds a name: cut inside of it, and drop what cannot be cut.
        cut = [_cut_inside(self._starts, piece) for piece in pieces]
        parts = iter(self._backend.word_ids([part for parts in cut for part in parts]))
        joined = [[token for _ in parts_of for token in next(parts)] for parts_of in cut]
        return [[token for token in piece if token not in self._control_ids] for piece in joined]


class _RustBackend:
    """Two copies of a `tokenizers.Tokenizer`, whose flags are set once."""

    def __init__(self, backend: Tokenizer, reserved: Sequence[str]) -> None:
        description = json.loads(backend.to_str())
        description |= {"truncation": None, "padding": None, "post_processor": None}
        self.source = Tokenizer.from_str(json.dumps(description))  # never called with another flag than False
        added = description["added_tokens"]
        self.control = {t["content"]: t["id"] for t in added if _is_control(t["content"], t["special"], reserved)}
        for name in reserved:
            if name not in self.control and (number := backend.token_to_id(name)) is not None:
                self.control[name] = number
        self.special = {token["content"] for token in added if token["special"]}
        self.strips = {t["content"]: (t["lstrip"], t["rstrip"]) for t in added if t["lstrip"] or t["rstrip"]}
        self.unknown_id = self._unknown_id(description["model"])
        for token in added:
            token["special"] = token["content"] in self.control
        self._words = Tokenizer.from_str(json.dumps(description))
        self._words.encode_special_tokens = True  # special tokens are read as text; the mark is none
        self._mark = f"mark{secrets.randbits(128):032x}"
        self._words.add_tokens([AddedToken(self._mark, special=False, normalized=False)])
        self._mark_id = self._words.token_to_id(self._mark)

    def _unknown_id(self, model: dict[str, Any]) -> int | None:
        name = model.get("unk_token")
        return self.source.token_to_id(name) if name is not None else model.get("unk_id")

    def template_ids(self, text: str) -> list[int]:
        return self.source.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def read(self, text: str, control: frozenset[int], names: re.Pattern[str]) -> tuple[list[int], list[Span]]:
        """The ids of a text, and where control tokens stand in it, without the space that they swallow."""
        encoding = self.source.encode(text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        if control.isdisjoint(ids):
            return ids, []
        found = [span for token, span in zip(ids, encoding.offsets, strict=True) if token in control]
        return ids, [_without_space(text, span) for span in found]

    def word_ids(self, pieces: Sequence[str]) -> list[list[int]]:
        # One text with marks between the pieces: some tokenizers read the begin of a text in another way.
        text = self._mark.join(pieces)
        split: list[list[int]] = [[]]
        for token in self._words.encode_batch_fast([text], add_special_tokens=False)[0].ids:
            if token == self._mark_id:
                split.append([])
            else:
                split[-1].append(token)
        if len(split) != len(pieces):
            raise ValueError("the text holds the random mark of this process: tokenize it again")
        return split

    def ids_of_texts(self, texts: Sequence[str]) -> Sequence[list[int] | None]:
        """Ids of texts; `None` for one that holds the mark."""
        rows = [encoding.ids for encoding in self._words.encode_batch_fast(list(texts), add_special_tokens=False)]
        return [None if self._mark_id in row else row for row in rows]


class _PythonBackend:
    """A tokenizer without a Rust backend, which takes the flag with each call and keeps no state."""

    def __init__(self, tokenizer: Any, reserved: Sequence[str]) -> None:
        self.source = tokenizer
        added = {str(token): (number, token) for number, token in tokenizer.added_tokens_decoder.items()}
        self.control = {n: i for n, (i, token) in added.items() if _is_control(n, token.special, reserved)}
        vocabulary = {name: tokenizer.convert_tokens_to_ids(name) for name in reserved}
        self.control |= {n: i for n, i in vocabulary.items() if i is not None and i != tokenizer.unk_token_id}
        self.special = {name for name, (_, token) in added.items() if token.special}
        self.strips = {name: (token.lstrip, token.rstrip) for name, (_, token) in added.items()}
        self.unknown_id = tokenizer.unk_token_id

    def template_ids(self, text: str) -> list[int]:
        return self.source(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]

    def read(self, text: str, control: frozenset[int], names: re.Pattern[str]) -> tuple[list[int], list[Span]]:
        return self.template_ids(text), [match.span() for match in names.finditer(text)]

    def word_ids(self, pieces: Sequence[str]) -> list[list[int]]:
        return [self.source(p, add_special_tokens=False, split_special_tokens=True)["input_ids"] for p in pieces]

    def ids_of_texts(self, texts: Sequence[str]) -> Sequence[list[int] | None]:
        return self.word_ids(texts)


_CACHE: WeakKeyDictionary[Any, dict[tuple[str, ...], tuple[Any, TextTokenizer]]] = WeakKeyDictionary()
_CACHE_LOCK = threading.Lock()


def _is_control(name: str, special: bool, reserved: Sequence[str]) -> bool:
    return special or name in reserved or _WORDS.fullmatch(name) is None


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of the names that stand at a place, as tokenizers do."""
    ordered = sorted((name for name in names if name), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or "(?!)")


def _gaps(text: str, spans: Iterable[Span], empty: bool = False) -> Iterator[Span]:
    """The spans between the given ones."""
    last = 0
    for start, end in [*spans, (len(text), len(text))]:
        if empty or last < start:
            yield last, start
        last = end


def _without_space(text: str, span: Span) -> Span:
    start, end = span
    if text[start:end].isspace():
        return span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _cut_inside(starts: re.Pattern[str], piece: str) -> list[str]:
    """A text in parts, none of which holds a name of more than one character; names may overlap."""
    cuts = [0, *(match.start() + 1 for match in starts.finditer(piece) if len(match[1]) > 1), len(piece)]
    return [piece[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]


def _encodable(text: str) -> str:
    return text_rule(empty=True)("text", text)
