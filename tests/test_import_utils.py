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

from onegen_hf import import_utils

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


def test_is_package_available() -> None:
    assert import_utils.is_package_available("json")
    assert not import_utils.is_package_available("surely_not_a_package")


def test_leftover_folder_is_not_a_package(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onegen_leftover" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("onegen_leftover") is not None
    assert not import_utils.is_package_available("onegen_leftover")


def test_module_without_spec_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = types.ModuleType("onegen_no_spec")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "onegen_no_spec", module)
    assert not import_utils.is_package_available("onegen_no_spec")


@pytest.mark.parametrize("package", ["gguf", "peft"])
@pytest.mark.parametrize("present", [True, False])
def test_named_probes(package: str, present: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, loader=None, origin="somewhere") if present and name == package else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    probe = {"gguf": import_utils.is_gguf_available, "peft": import_utils.is_peft_available}[package]
    assert probe() is present


def test_require_accepts_what_is_installed() -> None:
    import_utils.require("json", extra="demo", purpose="Reading a file")


def test_require_names_purpose_package_and_extra() -> None:
    with pytest.raises(ImportError, match=r"Reading a GGUF file needs .*`nothing_here`.*'onegen-hf\[demo\]'"):
        import_utils.require("nothing_here", extra="demo", purpose="Reading a GGUF file")


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
        assert import_utils.check_faiss() == expected


def test_check_faiss_on_this_machine() -> None:
    assert import_utils.check_faiss() in ("cpu", "gpu")


@pytest.mark.parametrize("gpu_in_force", [True, False])
def test_check_faiss_warns_when_both_are_installed(set_up: SetUp, gpu_in_force: bool) -> None:
    set_up(("faiss-cpu", "faiss-gpu"), faiss_module(gpu_in_force))
    build = "GPU" if gpu_in_force else "CPU"
    remedy = "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-gpu"
    with pytest.warns(UserWarning, match=f"the {build} build is in force.*{remedy}") as caught:
        assert import_utils.check_faiss() == build.lower()
    assert caught[0].filename == __file__


def test_check_faiss_without_faiss(set_up: SetUp) -> None:
    set_up()
    with pytest.raises(ImportError, match="pip install faiss-cpu.*pip install faiss-gpu.*only one"):
        import_utils.check_faiss()


def test_check_faiss_when_the_other_build_was_uninstalled(set_up: SetUp) -> None:
    set_up(("faiss-gpu",))
    with pytest.raises(ImportError, match="files are gone.*pip uninstall -y faiss-gpu && pip install faiss-gpu"):
        import_utils.check_faiss()


@pytest.mark.parametrize("kind", [ImportError, OSError, RuntimeError])
def test_check_faiss_that_does_not_load(set_up: SetUp, kind: type[Exception]) -> None:
    set_up(("faiss-gpu",), kind("libcublas.so.12: cannot open shared object file"))
    with pytest.raises(ImportError, match="does not load: libcublas.*pip install faiss-gpu") as raised:
        import_utils.check_faiss()
    assert isinstance(raised.value.__cause__, kind)
