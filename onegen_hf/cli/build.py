"""`onegen-hf build NAME`: public files, or your own, become a dataset repository to train and evaluate on."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from trl import TrlParser

from data_builders.build import build_repository
from data_builders.converter import Converter
from data_builders.facts.builder import write_facts
from data_builders.hard_negatives import make_miner
from data_builders.registry import CONVERTERS, converter_class

FACTS = "facts"
# An entry of the section "Args" of a docstring: `name (type):`, and its text below.
_DOCUMENTED = re.compile(r"^    (\w+) \(`.*\):\n((?:        .*\n?)+)", re.MULTILINE)


@dataclass
class BuildArguments:
    """
    Arguments of `onegen-hf build`; the converter's own follow.

    Args:
        examples (`list[str]`): Sources of examples, `[SPLIT=]SOURCE`: files, folders, or datasets on the Hub
            (`org/name[:config[:split]]`). Without `SPLIT=` they are `train`.
        out (`str`): Folder of the repository.
        documents (`list[str]`, *optional*): Sources of passages that the examples don't carry themselves.
        on_error (`str`, *optional*, defaults to `"raise"`): `raise`, or `skip` to leave malformed rows out.
        limit (`int`, *optional*): Read no more than so many rows of each split.
        seed (`int`, *optional*, defaults to 0): Chooses the samples.
        sample (`list[str]`, *optional*): `[SPLIT=]N`: keep so many examples, rare kinds preferred.
        negatives (`str`, *optional*): Mine hard negatives: `bm25`, or a SentenceTransformer.
        num_mined_negatives (`int`, *optional*, defaults to 5): The most of them per query token.
        license (`str`, *optional*): Of the data, as the Hub names it; for the README.
    """

    examples: list[str] = field(
        metadata={"help": "[SPLIT=]SOURCE: files, folders, or datasets on the Hub as org/name[:config[:split]]."}
    )
    out: str = field(metadata={"help": "Folder of the repository."})
    documents: list[str] = field(
        default_factory=list, metadata={"help": "Sources of passages that the examples don't carry themselves."}
    )
    on_error: str = field(
        default="raise",
        metadata={"help": "What to do with malformed rows: raise, or skip and count.", "choices": ["raise", "skip"]},
    )
    limit: int | None = field(default=None, metadata={"help": "Read no more than so many rows of each split."})
    seed: int = field(default=0, metadata={"help": "Chooses the samples."})
    sample: list[str] = field(
        default_factory=list, metadata={"help": "[SPLIT=]N: keep so many examples, rare kinds preferred."}
    )
    negatives: str | None = field(
        default=None, metadata={"help": "Mine hard negatives: bm25, or the id of a SentenceTransformer."}
    )
    num_mined_negatives: int = field(default=5, metadata={"help": "The most of them per query token."})
    license: str | None = field(
        default=None, metadata={"help": "Of the data, as the Hub names it (such as cc-by-sa-4.0); for the README."}
    )


@dataclass
class FactsArguments:
    """
    Arguments of `onegen-hf build facts`.

    Args:
        out (`str`): Folder of the repository.
        train_size (`int`, *optional*, defaults to 3000)
        dev_size (`int`, *optional*, defaults to 300)
        seed (`int`, *optional*, defaults to 0)
        num_negatives (`int`, *optional*, defaults to 5): The most hard negatives per query token.
        query_token (`str`, *optional*, defaults to `"[RQ]"`)
        write_order (`bool`, *optional*, defaults to `False`): Below a comparison of dates also write which of the two
            is later and which is earlier, from which a small model can copy the answer.
    """

    out: str = field(metadata={"help": "Folder of the repository."})
    train_size: int = field(default=3000, metadata={"help": "Questions to train on."})
    dev_size: int = field(default=300, metadata={"help": "Questions to evaluate on."})
    seed: int = field(default=0, metadata={"help": "Chooses wordings, the split and the questions."})
    num_negatives: int = field(default=5, metadata={"help": "The most hard negatives per query token."})
    query_token: str = field(default="[RQ]", metadata={"help": "The token that asks for a retrieval."})
    write_order: bool = field(
        default=False, metadata={"help": "Below a comparison of dates also write which one is later, which earlier."}
    )


def usage() -> str:
    """The text of `onegen-hf build --help`."""
    texts = {
        **{name: text for name, (_, text) in CONVERTERS.items()},
        FACTS: "a corpus made from tables that come along",
    }
    width = max(map(len, texts))
    lines = [f"  {name:<{width}}  {text}" for name, text in texts.items()]
    return "\n".join(
        ["usage: onegen-hf build NAME --examples [SPLIT=]SOURCE ... --out FOLDER [--help] ...", "", *lines]
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    name, *rest = [*arguments] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    prog = f"onegen-hf build {name}"
    if name == FACTS:
        (facts,) = TrlParser(FactsArguments, prog=prog).parse_args_and_config(rest)
        report = write_facts(
            facts.out,
            facts.train_size,
            facts.dev_size,
            facts.seed,
            num_negatives=facts.num_negatives,
            query_token=facts.query_token,
            write_order=facts.write_order,
        )
    else:
        converter_type = converter_class(name)
        parser = TrlParser((BuildArguments, converter_type), prog=prog)
        texts = documented_options(converter_type)
        for action in parser._actions:
            action.help = action.help or texts.get(action.dest)
        options, converter = parser.parse_args_and_config(rest)
        splits: dict[str, list[str]] = {}
        for argument in options.examples:
            split, source = split_argument(argument)
            splits.setdefault(split, []).append(source)
        sample = {split: _number(size) for split, size in map(split_argument, options.sample)}
        report = build_repository(
            converter,
            options.out,
            splits,
            options.documents,
            on_error=options.on_error,
            limit=options.limit,
            seed=options.seed,
            sample=sample,
            miner=make_miner(options.negatives, options.num_mined_negatives, converter.query_token)
            if options.negatives
            else None,
            license=options.license,
        )
    print(json.dumps(report, indent=2, ensure_ascii=False))


def documented_options(converter_type: type[Converter]) -> dict[str, str]:
    """
    Take what a converter's docstring says of its options, so that `--help` says it too.

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
    Take `[SPLIT=]VALUE` apart.

    Args:
        argument (`str`): Such as `dev=dev.jsonl`; a path may hold a `=` behind its first folder.

    Returns:
        `tuple[str, str]`: The split, `"train"` if none is named, and the value.
    """
    split, mark, value = argument.partition("=")
    return (split, value) if mark and "/" not in split else ("train", argument)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"`sample` must be [SPLIT=]N with a number N, got {text!r}.")
    return int(text)
