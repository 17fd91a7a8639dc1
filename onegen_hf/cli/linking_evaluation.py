"""What `onegen-hf evaluate --task entity-linking` evaluates on, and how it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundled.checkpoints import is_builtin
from ..configuration import OneGenConfig
from .evaluate_arguments import EvaluateArguments
from .linking_arguments import LinkingArguments

if TYPE_CHECKING:
    from ..evaluation import LinkingReport
    from ..index import PassageIndex

IN_DOMAIN, OUT_OF_DOMAIN = "in-domain", "out-of-domain"
_SUFFIXES = (".gz", ".jsonl", ".json", ".tsv", ".txt", ".benchmark")


@dataclass(frozen=True)
class DataSet:
    """
    A data set as the command line names it: `[GROUP=]PATH[:SPLIT]`.

    Attributes:
        name (`str`): The file's name without its extensions.
        source (`str`): A file, a dataset repository, or a local copy of one.
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
        Read `[GROUP=]PATH[:SPLIT]`. If a file of this very name exists, its `=` and `:` are part of the name.

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
            raise ValueError(f"dataset={text!r} must be [GROUP=]PATH[:SPLIT]")
        return cls(name, source, split or None, group or None)

    def rows(self, split: str, config: OneGenConfig, limit: int | None) -> list[dict[str, Any]]:
        """The texts with their labels; `split` applies to a repository without a split of its own."""
        from ..data.loading import load_examples
        from ..evaluation import load_linking_rows
        from ..evaluation.linking.documents import row_of_example

        if Path(self.source).is_file():
            return load_linking_rows(self.source, self.split)[:limit]
        examples = load_examples(self.source, self.split or split, limit)
        return [row_of_example(example, config) for example in examples]


def parse_data_sets(texts: Sequence[str], in_domain: Sequence[str] = ()) -> list[DataSet]:
    """
    Read the data sets of a command line.

    Args:
        texts (`Sequence[str]`): Each `[GROUP=]PATH[:SPLIT]`.
        in_domain (`Sequence[str]`, *optional*): Names of those in the domain of the training data. All others without
            a group are then out of domain.

    Raises:
        `ValueError`: If two have the same name, or `in_domain` names one that is not among them.
    """
    data_sets = [DataSet.parse(text) for text in texts]
    names = [data_set.name for data_set in data_sets]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"dataset: {repeated} name more than one data set, but results go by name: rename a file")
    unknown = sorted(set(in_domain) - set(names))
    if unknown:
        raise ValueError(f"in_domain={unknown} are none of the data sets {names}")
    if not in_domain:
        return data_sets
    return [
        DataSet(
            data_set.name,
            data_set.source,
            data_set.split,
            data_set.group or (IN_DOMAIN if data_set.name in in_domain else OUT_OF_DOMAIN),
        )
        for data_set in data_sets
    ]


def evaluate_linking(options: EvaluateArguments, linking: LinkingArguments) -> LinkingReport:
    """Evaluate entity linking; what is fitted is written into the checkpoint."""
    data_sets = parse_data_sets(options.dataset, linking.in_domain)
    name = options.checkpoint()
    fitted = [option for option in ("fit_threshold", "fit_opening_bias") if getattr(linking, option)]
    if fitted and (is_builtin(name) or not (Path(name) / "config.json").is_file()):
        raise ValueError(
            f"{fitted[0]} writes into the checkpoint, but model={options.model!r} is no directory of yours: name one"
        )
    if options.html is not None and linking.mode == "detection":
        raise ValueError("html shows entities, and mode='detection' links none: leave one of them out")
    from ..evaluation import evaluate_entity_linking, fit_opening_bias
    from ..evaluation.runs.run_directory import RunDirectory
    from ..linking.threshold import write_threshold
    from ..pipelines import OneGenEntityLinkingPipeline
    from ..pipelines.checkpoint import where_it_is

    directory = RunDirectory(options.output_dir)
    model = options.load_model()
    linker = OneGenEntityLinkingPipeline(
        model=model,
        tokenizer=options.load_tokenizer(),
        index=options.index,
        aliases=linking.aliases,
        **where_it_is(model),
        **({"mode": "detection"} if linking.mode == "detection" and options.index is None else {}),
    )
    assert options.top_k is not None
    rows = {data_set.name: data_set.rows(options.split, model.onegen_config, options.limit) for data_set in data_sets}
    call_options: dict[str, Any] = {"decoding": linking.decoding, "boundaries": linking.boundaries}
    if linking.kinds:
        call_options["kinds"] = linking.kinds
    threshold = linking.nil_threshold
    if linking.fit_opening_bias:
        bias = fit_opening_bias(
            linker,
            rows,
            call_options=call_options,
            top_k=options.top_k,
            coreferences=linking.coreferences,
            batch_size=options.batch_size,
        )
        bias.write(name)
        model.onegen_config.opening_bias, threshold = bias.bias, bias.threshold
    elif linking.opening_bias is not None:
        call_options["opening_bias"] = linking.opening_bias
    report = evaluate_entity_linking(
        linker,
        rows,
        directory.path,
        mode=linking.mode,
        groups={data_set.name: data_set.group for data_set in data_sets if data_set.group is not None},
        top_k=options.top_k,
        threshold=threshold,
        prior_weight=linking.prior_weight,
        fit_threshold=linking.fit_threshold,
        fit_prior_weight=linking.fit_prior_weight,
        coreferences=linking.coreferences,
        batch_size=options.batch_size,
        call_options=call_options,
        level=options.confidence_level,
    )
    if linking.fit_threshold:
        write_threshold(name, report.scoring["threshold"])
    if options.html is not None:
        _write_page(options, linking, report, rows, linker.index)
    return report


def _write_page(
    options: EvaluateArguments,
    linking: LinkingArguments,
    report: LinkingReport,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    catalogue: PassageIndex,
) -> None:
    """Write the page that `--html` asks for, from what the evaluation left in its directory."""
    from ..evaluation.display import linking_page
    from ..evaluation.linking.documents import read_linking_documents
    from ..evaluation.linking.evaluate import PREDICTIONS_FILE
    from .page_file import write_page

    names = [(entity.id, entity.title) for entity in catalogue]
    documents = {name: read_linking_documents(of_name, names, linking.coreferences) for name, of_name in rows.items()}
    predictions = {}
    for name in rows:
        text = (Path(options.output_dir) / PREDICTIONS_FILE.format(name)).read_text(encoding="utf-8")
        predictions[name] = [json.loads(line)["mentions"] for line in text.splitlines()]
    assert options.html is not None
    write_page(options.html, linking_page(report, documents, predictions, catalogue.get))
