"""Ways to answer with retrieval, all with the same weights: one pass, and what it is measured against."""

from __future__ import annotations

from collections.abc import Callable

from .components import Components
from .one_pass import OnePass
from .pipeline import Pipeline
from .re_reading import ReReading
from .stateless_pipeline import StatelessPipeline
from .task import Alternative, Script, Task
from .two_pass import TwoPass

ALTERNATIVES: dict[str, Callable[[Components], Alternative]] = {
    "one_pass": OnePass,
    "pipeline": Pipeline,
    "stateless_pipeline": StatelessPipeline,
    "two_pass": TwoPass,
    "re_reading": ReReading,
}
"""Name → factory that takes the components. One pass comes first: the others are compared with it."""

__all__ = ["ALTERNATIVES", "Alternative", "Components", "Script", "Task"]
