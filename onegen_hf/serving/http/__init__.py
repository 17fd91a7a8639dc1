"""The HTTP side of the server: an API that clients of OpenAI's know."""

from .app import create_app
from .services import Services

__all__ = ["Services", "create_app"]
