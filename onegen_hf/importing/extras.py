"""Optional packages: whether they are installed, and the error that names the extra that brings them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util


def is_package_available(package: str) -> bool:
    """
    Tell whether a package can be imported, without importing it.

    Args:
        package (`str`):
            Name of the top-level package, as in an import statement.

    Returns:
        `bool`: Whether the package is there. A folder left behind by an uninstalled package does not count.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # ValueError: a module placed in sys.modules by hand, without a spec
        return False
    # A namespace package has no origin: that is what a folder with nothing but old bytecode looks like.
    return spec is not None and spec.origin is not None


def require(package: str, extra: str, purpose: str) -> None:
    """
    Raise unless an optional package is installed.

    Args:
        package (`str`):
            Name of the top-level package, as in an import statement.
        extra (`str`):
            The extra of `onegen-hf` that installs it.
        purpose (`str`):
            What needs the package; the error message starts with it.

    Raises:
        `ImportError`: If the package is missing. The message names the extra to install.

    Examples:

    ```python
    >>> from onegen_hf.importing.extras import require

    >>> require("gguf", extra="demo", purpose="Reading a GGUF file")
    ```
    """
    if not is_package_available(package):
        raise ImportError(
            f"{purpose} needs the package `{package}`, which is not installed. "
            f"Install it with: pip install 'onegen-hf[{extra}]'"
        )
