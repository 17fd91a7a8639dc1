"""The options of commands that search an index: what is searched, and how much words count."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..checks import checked_fields, choice, number, optional
from ..configuration import FUSIONS, Fusion
from .model_arguments import INDEX
from .rules import json_filter


@dataclass(kw_only=True)
class HybridArguments:
    """How much a search by words counts beside the search by embedding."""

    group: ClassVar[str] = "search"

    hybrid: float | None = field(
        default=None,
        metadata={
            "help": "Weight of a search by words (BM25) beside the search by embedding, from 0 to 1; default: that of "
            "the model, if the index has a search by words."
        },
    )
    fusion: Fusion | None = field(
        default=None,
        metadata={
            "help": "Whether --hybrid fuses ranks (rrf) or scores (weighted); default: as the model says.",
            "choices": list(FUSIONS),
        },
    )

    def __post_init__(self) -> None:
        checked_fields(self, hybrid=optional(number(least=0, most=1)), fusion=optional(choice(FUSIONS)))


@dataclass(kw_only=True)
class SearchOptions(HybridArguments):
    """Which passages of which index are searched, and how."""

    group: ClassVar[str] = "search"

    index: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the index; default: the model's own."}
    )
    filter: str | None = field(
        default=None,
        metadata={"help": 'JSON: which passages may be found by their meta, as {"year": {"$gte": 2000}}.'},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(self, index=INDEX, filter=optional(json_filter()))

    def passage_filter(self) -> dict[str, Any] | None:
        """The filter, parsed."""
        return None if self.filter is None else json.loads(self.filter)
