"""`pipeline(task, model="org/adapter")` reads an adapter's own config and tokenizer, not those of its base."""

from __future__ import annotations

import functools
import json
from typing import Any

import transformers.pipelines
from transformers.utils import CONFIG_NAME, cached_file

from ..configuration import CONFIG_KEY


def read_adapters_like_models() -> None:
    """
    Let `transformers.pipeline` treat an adapter of this package on the Hub as it treats one in a directory.

    For an adapter on the Hub, transformers takes config and tokenizer from the repository of the base, which may be
    out of reach while its weights are installed (see [`packaged_smollm2`]). In a directory it uses the config.json
    beside the adapter if there is one, as our adapters have. Calling this again changes nothing.
    """
    find = transformers.pipelines.find_adapter_config_file
    if getattr(find, "skips_onegen", False):
        return

    @functools.wraps(find)
    def find_unless_complete(name: str, *args: Any, **kwargs: Any) -> str | None:
        path = find(name, *args, **kwargs)
        return None if path is not None and _is_complete(name, kwargs) else path

    find_unless_complete.skips_onegen = True  # type: ignore[attr-defined]
    transformers.pipelines.find_adapter_config_file = find_unless_complete


def _is_complete(name: str, options: dict[str, Any]) -> bool:
    """Whether the repository of an adapter has a config.json with an `onegen` section."""
    access = {key: options[key] for key in ("token", "revision") if key in options}
    path = cached_file(name, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **access)
    if path is None:
        return False
    with open(path, encoding="utf-8") as file:
        return CONFIG_KEY in json.load(file)
