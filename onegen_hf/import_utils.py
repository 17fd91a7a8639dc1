"""Which optional packages are installed, and the errors that name the remedy.

Nothing is imported here to find out, except FAISS in [`check_faiss`], where only the imported module tells its build.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from typing import Literal

FAISS_CPU_DISTRIBUTIONS = ("faiss-cpu",)
FAISS_GPU_DISTRIBUTIONS = ("faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs", "faiss-gpu-cu13-cuvs")


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


def is_gguf_available() -> bool:
    """Tell whether `gguf`, which reads GGUF weight files, is installed."""
    return is_package_available("gguf")


def is_peft_available() -> bool:
    """Tell whether `peft`, which holds the adapters, is installed."""
    return is_package_available("peft")


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
    >>> from onegen_hf.import_utils import require

    >>> require("gguf", extra="demo", purpose="Reading a GGUF file")
    ```
    """
    if not is_package_available(package):
        raise ImportError(
            f"{purpose} needs the package `{package}`, which is not installed. "
            f"Install it with: pip install 'onegen-hf[{extra}]'"
        )


def installed_distributions(names: tuple[str, ...]) -> list[str]:
    """
    Filter distribution names down to those that are installed.

    Args:
        names (`tuple[str, ...]`):
            Names as `pip` knows them.

    Returns:
        `list[str]`: The installed ones, in the given order.
    """
    found = []
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def check_faiss() -> Literal["cpu", "gpu"]:
    """
    Check that FAISS is usable and tell which build is imported.

    `faiss-cpu` and `faiss-gpu` install the same files, so with both in place the one installed last is in force, and
    uninstalling either removes files of the other.

    Returns:
        `str`: `"gpu"` if the imported build can use a GPU, `"cpu"` otherwise.

    Raises:
        `ImportError`: If FAISS is missing or does not load. The message holds the commands that mend it.

    Warns:
        `UserWarning`: If a CPU and a GPU distribution are installed side by side.
    """
    cpu = installed_distributions(FAISS_CPU_DISTRIBUTIONS)
    gpu = installed_distributions(FAISS_GPU_DISTRIBUTIONS)
    if not is_package_available("faiss"):
        raise ImportError(_missing_faiss_message(cpu + gpu))
    try:
        faiss = importlib.import_module("faiss")
    except (ImportError, OSError, RuntimeError) as error:  # faiss-gpu without its CUDA libraries: RuntimeError
        raise ImportError(
            f"FAISS is installed ({', '.join(cpu + gpu) or 'not by pip'}) but does not load: {error}. "
            f"{_reinstall_remedy(cpu + gpu)}"
        ) from error
    # Only a GPU build defines this class, whatever the metadata of the distributions say.
    build: Literal["cpu", "gpu"] = "gpu" if hasattr(faiss, "StandardGpuResources") else "cpu"
    if cpu and gpu:
        warnings.warn(
            f"{' and '.join(cpu + gpu)} are both installed. They overwrite each other's files; the {build.upper()} "
            f"build is in force now. Keep one. {_reinstall_remedy(cpu + gpu)}",
            UserWarning,
            stacklevel=2,
        )
    return build


def _missing_faiss_message(distributions: list[str]) -> str:
    if not distributions:
        return (
            "FAISS is not installed. For a CPU: pip install faiss-cpu. "
            "For an NVIDIA GPU: pip install faiss-gpu. Install only one of the two."
        )
    return (
        f"{' and '.join(distributions)} should provide the package `faiss`, but its files are gone, as happens when "
        f"one of two FAISS builds is uninstalled. {_reinstall_remedy(distributions)}"
    )


def _reinstall_remedy(distributions: list[str]) -> str:
    """Commands that leave one build: uninstalling first, as the files are shared, then installing the one wanted."""
    keep = next((name for name in distributions if name in FAISS_GPU_DISTRIBUTIONS), "faiss-cpu")
    other = " (or faiss-cpu, for a CPU)" if keep != "faiss-cpu" else ""
    uninstall = " ".join(distributions) or "faiss-cpu faiss-gpu"
    return f"Run: pip uninstall -y {uninstall} && pip install {keep}{other}"
