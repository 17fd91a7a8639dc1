"""Versions: what pyproject.toml allows, and the two files of constraints that tests are run with."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["demo"]]]
CAPPED = {"accelerate", "datasets", "huggingface-hub", "peft", "sentence-transformers", "transformers", "trl"}
"""They change behaviour in minor releases."""


def pins(name: str) -> dict[str, str]:
    """Package → version, of a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    parsed = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in parsed}


def bounds(requirement: Requirement) -> dict[str, str]:
    """Operator → version."""
    return {specifier.operator: specifier.version for specifier in requirement.specifier}


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    assert pins("constraints-lowest.txt") == {canonicalize_name(one.name): bounds(one)[">="] for one in RUNTIME}


@pytest.mark.parametrize("requirement", RUNTIME, ids=lambda one: one.name)
def test_the_pinned_version_is_allowed(requirement: Requirement) -> None:
    pinned = pins("constraints.txt").get(canonicalize_name(requirement.name))
    assert pinned is None or requirement.specifier.contains(pinned)


def test_libraries_that_break_by_minor_release_are_capped() -> None:
    assert {one.name for one in RUNTIME if "<" in bounds(one)} == CAPPED
