"""The one place that imports FAISS: which build is installed, and the errors that name the commands that mend it."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import warnings
from typing import Any, Literal

from ...importing.extras import is_package_available

FAISS_CPU_DISTRIBUTIONS = ("faiss-cpu",)
FAISS_GPU_DISTRIBUTIONS = ("faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs", "faiss-gpu-cu13-cuvs")


@functools.cache
def import_faiss() -> Any:
    """
    The module `faiss`; a mixed or broken installation is reported once.

    Raises:
        `ImportError`: If FAISS is missing or does not load.
    """
    check_faiss()
    return importlib.import_module("faiss")


def faiss_message(error: BaseException) -> str:
    """What FAISS says in an error, without the C++ signature before it."""
    return str(error).strip().splitlines()[-1].split(": ", 1)[-1]


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
