"""How the package is imported: names on first use, old paths, and pipelines as soon as they can exist."""

from .after_import import after_import
from .lazy import lazy_exports
from .moved import keep_old_paths

__all__ = ["after_import", "keep_old_paths", "lazy_exports"]
