"""`GenerationRequest`: what a client asks for, checked before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..checks import checked_fields, choice, integer, list_of, number, optional, text
from ..data.messages import Message
from ..filters import PassageFilter, filter_rule
from ..generation.critique import CritiqueSettings
from ..generation.critique.settings import critique_rule
from ..generation.policy import POLICIES

MOST_STOPS = 4
MOST_PASSAGES = 50
MOST_HOPS = 20


def _stops(name: str, value: Any) -> list[str]:
    strings = list_of(text(empty=True), empty=True)(name, value)
    if len(strings) > MOST_STOPS or not all(strings):
        raise ValueError(f"{name}={value!r} must be at most {MOST_STOPS} strings that are not empty")
    return strings


def _critique(name: str, value: Any) -> CritiqueSettings | None:
    """As [`critique_rule`]; a mapping holds settings by name."""
    if not isinstance(value, Mapping):
        return critique_rule(name, value)
    known = [setting.name for setting in fields(CritiqueSettings)]
    for setting in value:
        if setting not in known:
            raise ValueError(f"{name}: {setting!r} is unknown: it takes {', '.join(known)}")
    return CritiqueSettings(**value)


@dataclass(frozen=True)
class GenerationRequest:
    """
    One question with its settings, as the arguments of [`OneGenRagPipeline`].

    Args:
        question (`str` or `Sequence[Mapping]`): A question, or a chat.
        max_new_tokens (`int`, *optional*, defaults to 256)
        temperature (`float`, *optional*, defaults to 0.0): 0 is greedy decoding.
        top_p (`float`, *optional*, defaults to 1.0)
        seed (`int`, *optional*): Gives the sampled answer that the pipeline gives after `torch.manual_seed(seed)`.
        stop (`Sequence[str]`, *optional*): Strings after which the text ends.
        k (`int`, *optional*, defaults to 1): Passages per hop.
        max_hops (`int`, *optional*, defaults to 5)
        retrieval (`str`, *optional*, defaults to `"adaptive"`): `"adaptive"`, `"always"` or `"never"`.
        threshold (`float`, *optional*): With `"adaptive"`; see [`AdaptiveRetrieval`].
        critique (`bool`, `Mapping` or [`CritiqueSettings`], *optional*): Write a candidate after each of the `k`
            passages and keep the best, for checkpoints with reflection tokens; a mapping holds settings by name.
        filter (`Mapping`, *optional*): Which passages may be found; see [`PassageFilter`].
        readings (`int`, *optional*): How often passages are read at most; by default as the checkpoint says.
        answer_threshold (`float`, *optional*): An answer is withheld if the best passage of one of its hops has a
            lower score; by default the checkpoint's. -1, the least cosine, withholds nothing.
        timeout (`float`, *optional*): Seconds after which the answer is of no use any more.
        client (`str`, *optional*): Whose turn it is; clients take turns.

    Raises:
        `TypeError` or `ValueError`: Names the argument, its value and what it must be.
    """

    question: str | Sequence[Message]
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    k: int = 1
    max_hops: int = 5
    retrieval: str = "adaptive"
    threshold: float | None = None
    critique: bool | Mapping[str, Any] | CritiqueSettings | None = None
    filter: Mapping[str, Any] | PassageFilter | None = None
    readings: int | None = None
    answer_threshold: float | None = None
    timeout: float | None = None
    client: str = ""

    def __post_init__(self) -> None:
        checked_fields(
            self,
            max_new_tokens=integer(least=1),
            temperature=number(least=0, most=2),
            top_p=number(above=0, most=1),
            seed=optional(integer(least=0, most=2**63 - 1)),
            stop=_stops,
            k=integer(least=1, most=MOST_PASSAGES),
            max_hops=integer(least=0, most=MOST_HOPS),
            retrieval=choice(sorted(POLICIES)),
            threshold=optional(number(least=0, most=1)),
            critique=_critique,
            filter=optional(filter_rule),
            readings=optional(integer(least=1)),
            answer_threshold=optional(number()),
            timeout=optional(number(above=0)),
            client=text(empty=True),
        )
        if self.threshold is not None and self.retrieval != "adaptive":
            raise ValueError(f'threshold={self.threshold} is for retrieval="adaptive": leave it out')
        if self.filter is not None and self.retrieval == "never":
            raise ValueError('filter is for passages, and retrieval="never" looks for none: leave one of them out')
        if self.retrieval == "always" and self.max_hops == 0:
            raise ValueError('max_hops=0 must be at least 1 with retrieval="always"')

    @property
    def most_rows(self) -> int:
        """Rows that may be decoded for it at a time: with critique, one for each candidate."""
        settings: CritiqueSettings | None = self.critique  # type: ignore[assignment]
        if settings is None or self.most_retrievals == 0:
            return 1
        return self.k if settings.depth == 1 else self.k * settings.width

    @property
    def most_retrievals(self) -> int:
        """Of one row."""
        hops = 0 if self.retrieval == "never" else self.max_hops
        settings: CritiqueSettings | None = self.critique  # type: ignore[assignment]
        return hops if settings is None else min(hops, settings.depth)

    @property
    def passages_per_retrieval(self) -> int:
        """That one row reads: with critique, each candidate reads one."""
        return self.k if self.critique is None else 1

    def sampling_options(self) -> dict[str, Any]:
        """Arguments of `generate` for the choice of tokens and the end of the text."""
        options: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "do_sample": self.temperature > 0}
        if self.temperature > 0:
            options |= {"temperature": self.temperature, "top_p": self.top_p}
        if self.stop:
            options["stop_strings"] = list(self.stop)
        return options
