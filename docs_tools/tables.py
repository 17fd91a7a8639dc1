"""
Tables that are taken from the code, and from results of the benchmarks.

A page holds a table between `<!-- table: NAME -->` and `<!-- end of table -->`. `python -m docs_tools --tables` writes
it anew, and a test compares it with the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable

from transformers import TrainingArguments

import onegen_hf
from onegen_hf.configuration import OneGenConfig
from onegen_hf.losses import CONTRASTIVE_LOSSES
from onegen_hf.metrics import modules
from onegen_hf.presets import TOKEN_PRESETS, preset
from onegen_hf.training.arguments import OneGenTrainingArguments
from onegen_hf.training.run import DataArguments, FormatArguments

from .cells import documented_arguments, summary, table
from .commands import command_sections, command_table, field_table
from .measurements import stores

_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(markdown: str) -> str:
    """
    A page with its tables as the code has them today.

    Raises:
        `ValueError`: If a table has an unknown name.
    """

    def write(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ValueError(f"there is no table {match[2]!r}: choose one of {', '.join(TABLES)}")
        return f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}"

    return _TABLE.sub(write, markdown)


def public_names() -> str:
    """What `from onegen_hf import ...` offers."""
    rows = [[f"[`{name}`][onegen_hf.{name}]", summary(getattr(onegen_hf, name))] for name in onegen_hf.__all__]
    return table(["name", ""], rows)


def losses() -> str:
    """The contrastive losses."""
    rows = []
    for name, kind in CONTRASTIVE_LOSSES.items():
        options = [f"`{option.name}={option.default!r}`" for option in inspect.signature(kind).parameters.values()]
        link = f"[`{kind.__name__}`][onegen_hf.losses.{kind.__name__}]"
        rows.append([f"`{name}`", link, summary(kind), ", ".join(options)])
    return table(["`contrastive_loss=`", "class", "what it optimises", "options"], rows)


def presets() -> str:
    """The presets with their retrieval tokens."""
    rows = []
    for name, make_tokens in TOKEN_PRESETS.items():
        tokens = make_tokens()
        cells: list[tuple[str | None, ...]] = [(name,), (tokens.query,), (tokens.document,), (tokens.continuation,)]
        cells.append((tokens.paragraph_open, tokens.paragraph_close))
        shown = [" ".join(f"`{text}`" for text in texts if text) for texts in cells]
        rows.append([*shown, preset(name).granularity])
    header = ["preset", "query token", "document token", "continue token", "around passages", "one embedding per"]
    return table(header, rows)


def settings() -> str:
    """The settings of a checkpoint."""
    texts = documented_arguments(OneGenConfig)
    rows = []
    for field in dataclasses.fields(OneGenConfig):
        value = "RetrievalTokens.multi_hop()" if field.name == "tokens" else repr(field.default)
        rows.append([f"`{field.name}`", f"`{value}`", texts[field.name]])
    return table(["setting", "default", ""], rows)


def metrics() -> str:
    """The metric classes."""
    rows = [
        [f"[`{name}`][onegen_hf.metrics.modules.{name}]", summary(getattr(modules, name))] for name in modules.__all__
    ]
    return table(["class", "scores"], rows)


def training_options() -> str:
    """The options of `onegen-hf train` that are this package's own, by the dataclass that holds them."""
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    own = set(OneGenTrainingArguments.__annotations__) - {"renamed"}  # new ones, and those with another default
    sections = [
        ("Data", field_table(DataArguments)),
        ("Tokens and formats", field_table(FormatArguments)),
        ("Objective and batches", field_table(OneGenTrainingArguments, lambda n: n not in inherited or n in own)),
    ]
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


TABLES: dict[str, Callable[[], str]] = {
    "public_names": public_names,
    "losses": losses,
    "presets": presets,
    "settings": settings,
    "metrics": metrics,
    "commands": command_table,
    "command_options": command_sections,
    "training_options": training_options,
    "stores": stores,
}
"""Name on a page → what writes the table."""
