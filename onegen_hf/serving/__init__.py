"""Serving: a scheduler that decodes the requests of many clients together, and an HTTP API in front of it."""

from typing import TYPE_CHECKING

from ..importing import lazy_exports

if TYPE_CHECKING:
    from .limits import ServingLimits as ServingLimits
    from .refusals import Refusal as Refusal
    from .request import GenerationRequest as GenerationRequest
    from .scheduler import Scheduler as Scheduler

__all__ = ["GenerationRequest", "Refusal", "Scheduler", "ServingLimits"]

# The command line reads the limits before torch is imported.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GenerationRequest": "onegen_hf.serving.request",
        "Refusal": "onegen_hf.serving.refusals",
        "Scheduler": "onegen_hf.serving.scheduler",
        "ServingLimits": "onegen_hf.serving.limits",
    },
)
