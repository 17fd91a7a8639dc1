"""Serving: a scheduler that decodes the requests of many clients together, and an HTTP API in front of it."""

from .limits import ServingLimits
from .refusals import Refusal
from .request import GenerationRequest
from .scheduler import Scheduler

__all__ = ["GenerationRequest", "Refusal", "Scheduler", "ServingLimits"]
