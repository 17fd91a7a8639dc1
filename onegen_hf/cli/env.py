"""`onegen-hf env`: the versions of this environment, for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..bundled.weights import WEIGHTS_REQUIREMENT, packaged_smollm2
from ..checks import checked_fields, flag
from ..terminal.options import OptionParser

PACKAGES = (
    "onegen-hf", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "huggingface-hub",
    "sentence-transformers", "safetensors", "numpy", "pyarrow",
)  # fmt: skip
VARIABLES = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass
class EnvArguments:
    """Options of `onegen-hf env`."""

    json: bool = field(default=False, metadata={"help": "Print a JSON object."})

    def __post_init__(self) -> None:
        checked_fields(self, json=flag())


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        EnvArguments, "onegen-hf env", description="Print the versions of this environment, for bug reports."
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    facts = environment()
    if options.json:
        import json

        print(json.dumps(facts, indent=2))
        return
    print("Copy this into your bug report:\n")
    for name, value in facts.items():
        print(f"- {name}: {value}")


def environment() -> dict[str, str]:
    """
    Versions, devices and settings that a bug may depend on. No path and no token is among them.

    Returns:
        `dict[str, str]`: Name → value.
    """
    facts = {"python": platform.python_version(), "platform": platform.platform(), "processors": str(os.cpu_count())}
    facts |= {name: version_of(name) for name in PACKAGES}
    facts["faiss"] = next((f"{name} {version_of(name)}" for name in _faiss_builds()), "not installed")
    facts["weights of the bundled models"] = WEIGHTS_REQUIREMENT if packaged_smollm2() else "not installed"
    facts["devices"] = devices()
    facts |= {name: "set" if name == "HF_HOME" else os.environ[name] for name in VARIABLES if name in os.environ}
    return facts


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def devices() -> str:
    """The accelerators that torch sees."""
    try:
        import torch
    except Exception as error:  # a broken installation is what the report is about
        return f"torch can't be imported: {type(error).__name__}: {error}"
    if not torch.accelerator.is_available():
        return f"cpu with {torch.get_num_threads()} threads"
    kind = torch.accelerator.current_accelerator()
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{kind.type if kind else '?'}: {', '.join(names) or torch.accelerator.device_count()}"


def _faiss_builds() -> list[str]:
    known = {distribution.metadata["Name"] or "" for distribution in importlib.metadata.distributions()}
    return sorted(name for name in known if name.lower().startswith("faiss"))


if __name__ == "__main__":
    main(sys.argv[1:])
