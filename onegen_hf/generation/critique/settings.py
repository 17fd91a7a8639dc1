"""`CritiqueSettings`: how candidates are weighed against each other, and how far the search goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...checks import checked_fields, flag, instance, integer, number


@dataclass(frozen=True)
class CritiqueSettings:
    """
    How Self-RAG's critique chooses among candidates (arXiv 2310.11511, section 3.3).

    Args:
        w_rel (`float`, *optional*, defaults to 1.0): Weight of ISREL, whether the passage is relevant.
        w_sup (`float`, *optional*, defaults to 1.0): Weight of ISSUP, whether the passage supports the text.
        w_use (`float`, *optional*, defaults to 0.5): Weight of ISUSE, how useful the text is. The defaults of all
            three are those of the paper (appendix A.3) and of its scripts.
        closed_set (`bool`, *optional*, defaults to `False`): Add up the scores of candidates that give the same
            answer, and choose the answer with the highest sum, as the paper does where answers are labels (PubHealth,
            ARC-Challenge). Needs `depth=1`.
        depth (`int`, *optional*, defaults to 1): Most segments of an answer. A segment ends where the model decides
            anew whether to retrieve, or at the end of the text. 1 is the paper's short form, more its long form.
        width (`int`, *optional*, defaults to 2): Beams that go on after each segment.
        ignore_continue (`bool`, *optional*, defaults to `False`): Leave segments out of the answer that the model
            itself calls `[No support / Contradictory]`; later segments were still written after them. It is the option
            `--ignore_cont` of the paper's scripts.

    Raises:
        `TypeError` or `ValueError`: Names the argument, its value and what it must be.
    """

    w_rel: float = 1.0
    w_sup: float = 1.0
    w_use: float = 0.5
    closed_set: bool = False
    depth: int = 1
    width: int = 2
    ignore_continue: bool = False

    def __post_init__(self) -> None:
        checked_fields(
            self,
            w_rel=number(),
            w_sup=number(),
            w_use=number(),
            closed_set=flag(),
            depth=integer(least=1),
            width=integer(least=1),
            ignore_continue=flag(),
        )
        if self.closed_set and self.depth > 1:
            raise ValueError(
                f"closed_set=True adds up whole answers, which have one segment: depth={self.depth} must be 1"
            )


def critique_rule(name: str, value: Any) -> CritiqueSettings | None:
    """A rule of [`~onegen_hf.checks`]: settings, `True` for the default ones, `False` or `None` for no critique."""
    if value is None or value is False:
        return None
    return CritiqueSettings() if value is True else instance(CritiqueSettings)(name, value)
