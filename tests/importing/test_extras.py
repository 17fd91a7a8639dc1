"""Optional packages."""

from __future__ import annotations

import importlib.util
import types

import pytest

from onegen_hf.importing import extras


def test_is_package_available() -> None:
    assert extras.is_package_available("json")
    assert not extras.is_package_available("surely_not_a_package")


def test_leftover_folder_is_not_a_package(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onegen_leftover" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("onegen_leftover") is not None
    assert not extras.is_package_available("onegen_leftover")


def test_module_without_spec_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = types.ModuleType("onegen_no_spec")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "onegen_no_spec", module)
    assert not extras.is_package_available("onegen_no_spec")


def test_require_accepts_what_is_installed() -> None:
    extras.require("json", extra="demo", purpose="Reading a file")


def test_require_names_purpose_package_and_extra() -> None:
    with pytest.raises(ImportError, match=r"Reading a GGUF file needs .*`nothing_here`.*'onegen-hf\[demo\]'"):
        extras.require("nothing_here", extra="demo", purpose="Reading a GGUF file")
