"""Probing optional packages, and the two FAISS builds that overwrite each other."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import types
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest

from onegen_hf.index.backends import faiss_installation

SetUp = Callable[..., None]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """Pretend that certain distributions are installed and that `import faiss` gives a certain module (or error)."""

    def apply(distributions: tuple[str, ...] = (), faiss: types.ModuleType | Exception | None = None) -> None:
        def version(name: str) -> str:
            if name not in distributions:
                raise importlib.metadata.PackageNotFoundError(name)
            return "1.15.1"

        def find_spec(name: str) -> ModuleSpec | None:
            assert name == "faiss"
            return None if faiss is None else ModuleSpec(name, loader=None, origin="faiss/__init__.py")

        def import_module(name: str) -> types.ModuleType:
            assert name == "faiss"
            if isinstance(faiss, Exception):
                raise faiss
            assert faiss is not None
            return faiss

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.setattr(importlib, "import_module", import_module)

    return apply


def faiss_module(gpu: bool) -> types.ModuleType:
    module = types.ModuleType("faiss")
    if gpu:
        module.StandardGpuResources = object  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("distributions", "gpu", "expected"),
    [
        (("faiss-cpu",), False, "cpu"),
        (("faiss-gpu",), True, "gpu"),
        (("faiss-gpu-cuvs",), True, "gpu"),
        ((), False, "cpu"),  # a build that pip knows nothing about
        ((), True, "gpu"),
    ],
)
def test_check_faiss_tells_the_build(set_up: SetUp, distributions: tuple[str, ...], gpu: bool, expected: str) -> None:
    set_up(distributions, faiss_module(gpu))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert faiss_installation.check_faiss() == expected


def test_check_faiss_on_this_machine() -> None:
    assert faiss_installation.check_faiss() in ("cpu", "gpu")


@pytest.mark.parametrize("gpu_in_force", [True, False])
def test_check_faiss_warns_when_both_are_installed(set_up: SetUp, gpu_in_force: bool) -> None:
    set_up(("faiss-cpu", "faiss-gpu"), faiss_module(gpu_in_force))
    build = "GPU" if gpu_in_force else "CPU"
    remedy = "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-gpu"
    with pytest.warns(UserWarning, match=f"the {build} build is in force.*{remedy}") as caught:
        assert faiss_installation.check_faiss() == build.lower()
    assert caught[0].filename == __file__


def test_check_faiss_without_faiss(set_up: SetUp) -> None:
    set_up()
    with pytest.raises(ImportError, match="pip install faiss-cpu.*pip install faiss-gpu.*only one"):
        faiss_installation.check_faiss()


def test_check_faiss_when_the_other_build_was_uninstalled(set_up: SetUp) -> None:
    set_up(("faiss-gpu",))
    with pytest.raises(ImportError, match="files are gone.*pip uninstall -y faiss-gpu && pip install faiss-gpu"):
        faiss_installation.check_faiss()


@pytest.mark.parametrize("kind", [ImportError, OSError, RuntimeError])
def test_check_faiss_that_does_not_load(set_up: SetUp, kind: type[Exception]) -> None:
    set_up(("faiss-gpu",), kind("libcublas.so.12: cannot open shared object file"))
    with pytest.raises(ImportError, match="does not load: libcublas.*pip install faiss-gpu") as raised:
        faiss_installation.check_faiss()
    assert isinstance(raised.value.__cause__, kind)
