"""`onegen-hf build NAME`: builds a dataset repository for training and evaluation from public files or your own."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from data_builders.registry import CONVERTERS, converter_class

from ..checks import checked_fields, choice, flag, integer, list_of, number, optional, path, text
from ..terminal.options import OptionParser
from ..terminal.usage import usage_errors

if TYPE_CHECKING:
    from data_builders.converter import Converter

FACTS = "facts"
RECIPES = {"own": "your_own_data", "entity-linking": "entity_linking_1", "entity-names": "entity_linking_1"}
"""Builder → the recipe to start with; `quick_start` for all others."""
# An entry of the section "Args" of a docstring: `name (type):`, and its text below.
_DOCUMENTED = re.compile(r"^    (\w+) \(`.*\):\n((?:        .*\n?)+)", re.MULTILINE)


@dataclass(kw_only=True)
class BuildArguments:
    """Options of `onegen-hf build NAME`, followed by those of the converter."""

    renamed: ClassVar[dict[str, str]] = {"out": "output_dir", "documents": "passages"}

    examples: list[str] = field(
        metadata={
            "help": "[SPLIT=]SOURCE: files, folders, or datasets on the Hub as org/name[:config[:split]]. Without "
            "SPLIT= they are train."
        }
    )
    output_dir: str = field(metadata={"help": "Folder of the dataset repository."})
    passages: list[str] = field(
        default_factory=list, metadata={"help": "Sources of passages that the examples don't contain themselves."}
    )
    on_error: str = field(
        default="raise",
        metadata={"help": "What to do with malformed rows: raise, or skip and count.", "choices": ["raise", "skip"]},
    )
    limit: int | None = field(default=None, metadata={"help": "Read at most N rows of each split."})
    seed: int = field(default=0, metadata={"help": "Seed for drawing samples."})
    sample: list[str] = field(
        default_factory=list, metadata={"help": "[SPLIT=]N: keep N examples of a split, preferring rare kinds."}
    )
    negatives: str | None = field(
        default=None, metadata={"help": "Mine hard negatives with bm25, or with the SentenceTransformer of this id."}
    )
    num_mined_negatives: int = field(
        default=5, metadata={"help": "Maximum number of mined negatives per query token."}
    )
    unanswerable_share: float = field(
        default=0.0,
        metadata={"help": "Share of the split train in which a hard negative takes the place of the passage."},
    )
    reflection: bool = field(
        default=False,
        metadata={"help": "Write Self-RAG's reflection tokens by a rule into questions with one passage."},
    )
    irrelevant_share: float = field(
        default=0.3,
        metadata={"help": "With --reflection: share of the split train with an irrelevant passage, a hard negative."},
    )
    given_share: float = field(
        default=0.2,
        metadata={"help": "With --reflection: share of the split train whose question brings its passage along."},
    )
    license: str | None = field(
        default=None,
        metadata={"help": "License of the data as the Hub names it, such as cc-by-sa-4.0."},
    )
    json: bool = field(default=False, metadata={"help": "Print the counts of report.json."})

    def __post_init__(self) -> None:
        checked_fields(
            self,
            examples=list_of(text()),
            output_dir=path(),
            passages=list_of(text(), empty=True),
            on_error=choice(["raise", "skip"]),
            limit=optional(integer(least=1)),
            seed=integer(),
            sample=list_of(text(), empty=True),
            negatives=optional(text()),
            num_mined_negatives=integer(least=0),
            unanswerable_share=number(least=0, most=1),
            reflection=flag(),
            irrelevant_share=number(least=0, most=1),
            given_share=number(least=0, most=1),
            license=optional(text()),
            json=flag(),
        )


@dataclass(kw_only=True)
class FactsArguments:
    """Options of `onegen-hf build facts`."""

    renamed: ClassVar[dict[str, str]] = {"out": "output_dir"}

    output_dir: str = field(metadata={"help": "Folder of the dataset repository."})
    train_size: int = field(default=3000, metadata={"help": "Number of training questions."})
    dev_size: int = field(default=300, metadata={"help": "Number of evaluation questions."})
    seed: int = field(default=0, metadata={"help": "Seed for the wording, the split and the choice of questions."})
    num_negatives: int = field(default=5, metadata={"help": "Maximum number of hard negatives per query token."})
    query_token: str = field(default="[RQ]", metadata={"help": "The token that asks for a retrieval."})
    write_order: bool = field(
        default=False,
        metadata={
            "help": "After a comparison of dates, also write which is earlier and which is later, so that a small "
            "model can copy the answer."
        },
    )
    json: bool = field(default=False, metadata={"help": "Print the counts of the report."})

    def __post_init__(self) -> None:
        checked_fields(
            self,
            output_dir=path(),
            train_size=integer(least=0),
            dev_size=integer(least=0),
            seed=integer(),
            num_negatives=integer(least=0),
            query_token=text(),
            write_order=flag(),
            json=flag(),
        )


def usage() -> str:
    """The text of `onegen-hf build --help`."""
    texts = {**{name: line for name, (_, line) in CONVERTERS.items()}, FACTS: "a corpus made from bundled tables"}
    width = max(map(len, texts))
    lines = [f"  {name:<{width}}  {line}" for name, line in texts.items()]
    return "\n".join(
        ["usage: onegen-hf build NAME --examples [SPLIT=]SOURCE ... --output-dir FOLDER [--help] ...", "", *lines]
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    name, *rest = [*arguments] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    command = parser(name)
    if name == FACTS:
        (options,) = command.parse(rest)
        report = _build_facts(options)
    else:
        options, converter = command.parse(rest)
        report = _build(options, converter)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else summary(name, options, report))


def parser(name: str) -> OptionParser:
    """
    The options of a builder.

    Raises:
        `ValueError`: If there is none of this name.
    """
    if name == FACTS:
        description = "Build a corpus of two-hop questions from bundled tables of facts."
        return OptionParser(FactsArguments, f"onegen-hf build {FACTS}", description=description)
    with usage_errors():
        converter_type = converter_class(name)
    made = OptionParser((BuildArguments, converter_type), f"onegen-hf build {name}", description=CONVERTERS[name][1])
    texts = documented_options(converter_type)
    for action in made._actions:
        action.help = action.help or texts.get(action.dest)
    return made


def summary(name: str, options: BuildArguments | FactsArguments, report: dict[str, Any]) -> str:
    """Where the dataset is and what comes next, in three lines."""
    splits = report.get("splits") or {split: counts for split, counts in report.items() if "examples" in counts}
    examples = " and ".join(f"{counts['examples']:,} {split}" for split, counts in splits.items())
    skipped = sum(sum(counts.get("dropped", {}).values()) for counts in splits.values())
    passages = report["documents"]["documents"] if "documents" in report else report.get("passages")
    over = f" over {passages:,} passages" if isinstance(passages, int) else ""
    left_out = f"; {skipped:,} rows were left out, see report.json" if skipped else ""
    folder = options.output_dir
    return (
        f"Wrote {examples} examples{over} to {folder}{left_out}\n"
        f"Look at it:  onegen-hf info {shlex.quote(folder)}\n"
        f"Train on it: onegen-hf train --config {RECIPES.get(name, 'quick_start')} --dataset {shlex.quote(folder)}"
    )


def _build_facts(options: FactsArguments) -> dict[str, Any]:
    from data_builders.facts.builder import write_facts

    return write_facts(
        options.output_dir,
        options.train_size,
        options.dev_size,
        options.seed,
        num_negatives=options.num_negatives,
        query_token=options.query_token,
        write_order=options.write_order,
    )


def _build(options: BuildArguments, converter: Converter) -> dict[str, Any]:
    from data_builders.build import build_repository
    from data_builders.hard_negatives import make_miner

    splits: dict[str, list[str]] = {}
    for argument in options.examples:
        split, source = split_argument(argument)
        splits.setdefault(split, []).append(source)
    mined = options.negatives and make_miner(options.negatives, options.num_mined_negatives, converter.query_token)
    return build_repository(
        converter,
        options.output_dir,
        splits,
        options.passages,
        on_error=options.on_error,
        limit=options.limit,
        seed=options.seed,
        sample={split: _number(size) for split, size in map(split_argument, options.sample)},
        miner=mined or None,
        unanswerable_share=options.unanswerable_share,
        reflection=options.reflection,
        irrelevant_share=options.irrelevant_share,
        given_share=options.given_share,
        license=options.license,
    )


def documented_options(converter_type: type[Converter]) -> dict[str, str]:
    """
    Read the descriptions of a converter's options from its docstring, for `--help`.

    Args:
        converter_type (`type[Converter]`): A converter.

    Returns:
        `dict[str, str]`: Option → text, for argparse.
    """
    texts: dict[str, str] = {}
    for base in reversed(converter_type.__mro__):
        for match in _DOCUMENTED.finditer(inspect.cleandoc(base.__doc__ or "")):
            texts[match[1]] = " ".join(match[2].split()).replace("%", "%%")
    return texts


def split_argument(argument: str) -> tuple[str, str]:
    """
    Split `[SPLIT=]VALUE`.

    Args:
        argument (`str`): Such as `dev=dev.jsonl`. A `=` after the first `/` belongs to the path.

    Returns:
        `tuple[str, str]`: The split, `"train"` by default, and the value.
    """
    split, mark, value = argument.partition("=")
    return (split, value) if mark and "/" not in split else ("train", argument)


def _number(value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"sample={value!r} must be [SPLIT=]N with a number N, such as train=1000")
    return int(value)
