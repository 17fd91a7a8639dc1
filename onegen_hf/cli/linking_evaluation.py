"""What `onegen-hf evaluate --task entity-linking` is given, and what it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import OneGenConfig
from ..data.loading import load_examples
from ..evaluation import LinkingReport, evaluate_entity_linking, load_linking_rows
from ..evaluation.linking.documents import row_of_example
from ..evaluation.linking.evaluate import MODES
from ..evaluation.runs.run_directory import RunDirectory
from ..linking.threshold import write_threshold
from ..modeling.tokenizers import load_tokenizer
from ..pipelines import OneGenEntityLinkingPipeline
from ..pipelines.checkpoint import where_it_is
from ..presets import DEFAULT_LINKER

if TYPE_CHECKING:
    from .evaluate_arguments import EvaluateArguments

IN_DOMAIN, OUT_OF_DOMAIN = "in-domain", "out-of-domain"
_SUFFIXES = (".gz", ".jsonl", ".json", ".tsv", ".txt", ".benchmark")


@dataclass
class LinkingArguments:
    """
    Arguments of `onegen-hf evaluate --task entity-linking`, beside [`EvaluateArguments`].

    Args:
        mode (`str`, *optional*, defaults to `"full"`): `"given"`: gold mentions are given, to be disambiguated.
            `"detection"`: spans alone are scored.
        in_domain (`list[str]`, *optional*): Names of the data sets in the domain of the training data; averages are
            then also told for these and for the others.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL; by default the checkpoint's.
        fit_threshold (`bool`, *optional*, defaults to `False`): Fit it on this data, development data then, and write
            it into the checkpoint, a local directory.
        aliases (`str`, *optional*): An alias table, see [`AliasTable`].
        prior_weight (`float`, *optional*, defaults to 0.0): Of its priors.
        fit_prior_weight (`bool`, *optional*, defaults to `False`): Fit it on this data; it is told, not written.
        coreferences (`bool`, *optional*, defaults to `True`): Whether labels of pronouns and the like count.
        decoding (`str`, *optional*, defaults to `"constrained"`): Or `"free"`, as the paper has it.
        boundaries (`str`, *optional*, defaults to `"word"`): `"character"` finds mentions inside of words too.
    """

    mode: str = field(default="full", metadata={"help": "Entity linking: what is done.", "choices": list(MODES)})
    in_domain: list[str] = field(
        default_factory=list, metadata={"help": "Names of data sets in the domain of the training data."}
    )
    threshold: float | None = field(
        default=None, metadata={"help": "A mention whose best score is lower is NIL; default: the checkpoint's."}
    )
    fit_threshold: bool = field(
        default=False, metadata={"help": "Fit the threshold on this data and write it into the checkpoint."}
    )
    aliases: str | None = field(default=None, metadata={"help": "Alias table (.json or .parquet)."})
    prior_weight: float = field(default=0.0, metadata={"help": "Weight of the alias table's priors."})
    fit_prior_weight: bool = field(default=False, metadata={"help": "Fit the weight on this data."})
    coreferences: bool = field(default=True, metadata={"help": "Whether labels of pronouns and the like count."})
    decoding: str = field(default="constrained", metadata={"help": "constrained, or free as in the paper."})
    boundaries: str = field(default="word", metadata={"help": "Where mentions begin and end: word or character."})

    def check_unused(self, task: str) -> None:
        """
        Raises:
            `ValueError`: If one of these was given for another task.
        """
        used = [one.name for one in fields(self) if getattr(self, one.name) != getattr(LinkingArguments(), one.name)]
        if used:
            raise ValueError(f"{', '.join(used)}: for task=entity-linking only, but task={task}")


@dataclass(frozen=True)
class DataSet:
    """
    A data set as the command line names it: `[GROUP=]PATH[:SPLIT]`.

    Attributes:
        name (`str`): The file's name without its endings.
        source (`str`): File, dataset repository, or folder of one.
        split (`str`, *optional*)
        group (`str`, *optional*)
    """

    name: str
    source: str
    split: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """
        Read `[GROUP=]PATH[:SPLIT]`; a file whose own name holds these signs is taken as it is.

        Raises:
            `ValueError`: If the path is missing.
        """
        group, source, split = None, text, None
        if not os.path.exists(source) and "=" in source:
            group, _, source = source.partition("=")
        if not os.path.exists(source) and ":" in source:
            source, _, split = source.rpartition(":")
        name = Path(source).name
        while name.endswith(_SUFFIXES):
            name = name[: name.rindex(".")]
        if not name:
            raise ValueError(f"data={text!r} must be [GROUP=]PATH[:SPLIT]")
        return cls(name, source, split or None, group or None)

    def rows(self, split: str, config: OneGenConfig, limit: int | None) -> list[dict[str, Any]]:
        """The texts with their labels; `split` is that of a repository if none was named."""
        if Path(self.source).is_file():
            return load_linking_rows(self.source, self.split)[:limit]
        examples = load_examples(self.source, self.split or split, limit)
        return [row_of_example(example, config) for example in examples]


def parse_data_sets(texts: Sequence[str], in_domain: Sequence[str] = ()) -> list[DataSet]:
    """
    Read the data sets of a command line.

    Args:
        texts (`Sequence[str]`): Each `[GROUP=]PATH[:SPLIT]`.
        in_domain (`Sequence[str]`, *optional*): Names of those in the domain of the training data; the others without
            a group of their own are then out of it.

    Raises:
        `ValueError`: If two have one name, or `in_domain` names one that is not there.
    """
    read = [DataSet.parse(text) for text in texts]
    names = [one.name for one in read]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"data: {repeated} stand for more than one data set; results go by name, so rename a file")
    unknown = sorted(set(in_domain) - set(names))
    if unknown:
        raise ValueError(f"in_domain={unknown} are none of the data sets {names}")
    if not in_domain:
        return read
    groups = {one.name: one.group or (IN_DOMAIN if one.name in in_domain else OUT_OF_DOMAIN) for one in read}
    return [DataSet(one.name, one.source, one.split, groups[one.name]) for one in read]


def evaluate_linking(options: EvaluateArguments, linking: LinkingArguments) -> LinkingReport:
    """Evaluate entity linking; a fitted threshold is written into the checkpoint."""
    data_sets = parse_data_sets(options.data, linking.in_domain)
    name = options.model or str(DEFAULT_LINKER)
    if linking.fit_threshold and (options.model is None or not (Path(name) / "config.json").is_file()):
        raise ValueError(
            f"fit_threshold writes into the checkpoint, but model={options.model!r} is no directory of yours: name one"
        )
    directory = RunDirectory(options.out)
    model = options.load_model(name)
    linker = OneGenEntityLinkingPipeline(
        model=model,
        tokenizer=load_tokenizer(name),
        index=options.index,
        aliases=linking.aliases,
        **where_it_is(model),
        **({"mode": "detection"} if linking.mode == "detection" and options.index is None else {}),
    )
    assert options.k is not None
    report = evaluate_entity_linking(
        linker,
        {one.name: one.rows(options.split, model.onegen_config, options.limit) for one in data_sets},
        directory.path,
        mode=linking.mode,
        groups={one.name: one.group for one in data_sets if one.group is not None},
        top_k=options.k,
        threshold=linking.threshold,
        prior_weight=linking.prior_weight,
        fit_threshold=linking.fit_threshold,
        fit_prior_weight=linking.fit_prior_weight,
        coreferences=linking.coreferences,
        batch_size=options.batch_size,
        call_options={"decoding": linking.decoding, "boundaries": linking.boundaries},
        level=options.level,
    )
    if linking.fit_threshold:
        write_threshold(name, report.scoring["threshold"])
    return report
