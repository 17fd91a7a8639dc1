"""`evaluate_entity_linking`: benchmarks linked in one pass and scored as the paper's table has them."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...checks import checked, choice, flag, instance, integer, mapping, number, optional
from ...linking.prior_weight import fit_prior_weight as best_prior_weight
from ...linking.threshold import fit_threshold as best_threshold
from ...pipelines import OneGenEntityLinkingPipeline
from ..runs.runner import RUN_RULES, evaluation_run, identity
from ..runs.settings import digest
from .documents import LinkingDocument, read_linking_documents
from .report import AVERAGE, LinkingReport
from .scores import (
    Ratios,
    detection_ratios,
    final_mentions,
    linking_ratios,
    linking_results,
    prior_sample,
    threshold_sample,
)

MODES = ("full", "given", "detection")
LINKS_FILE = "{}.links.jsonl"
PREDICTIONS_FILE = "{}.predictions.jsonl"
_NAME = re.compile(r"[\w.-]+")


@checked(
    linker=instance(OneGenEntityLinkingPipeline),
    datasets=mapping(empty=False),
    mode=choice(MODES),
    groups=optional(mapping()),
    top_k=integer(least=1),
    threshold=optional(number(infinite=True)),
    prior_weight=number(least=0),
    call_options=optional(mapping()),
    **dict.fromkeys(("fit_threshold", "fit_prior_weight", "coreferences"), flag()),
    **{name: rule for name, rule in RUN_RULES.items() if name not in ("dataset", "split")},
)
def evaluate_entity_linking(
    linker: OneGenEntityLinkingPipeline,
    datasets: Mapping[str, Iterable[Mapping[str, Any]]],
    output_dir: str | os.PathLike[str] | None = None,
    mode: str = "full",
    groups: Mapping[str, str] | None = None,
    top_k: int = 10,
    threshold: float | None = None,
    prior_weight: float = 0.0,
    fit_threshold: bool = False,
    fit_prior_weight: bool = False,
    coreferences: bool = True,
    batch_size: int = 8,
    call_options: Mapping[str, Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    show_progress: bool = True,
) -> LinkingReport:
    """
    Link the texts of benchmarks and score what was found: InKB micro-F1 with strong matching, per data set and
    averaged over data sets. Labels whose entity the catalogue lacks are left out of the score.

    It is killed and resumed like [`evaluate_rag`]. Threshold and prior are applied to candidates that are kept, so
    other values of them compute nothing anew.

    Args:
        linker ([`OneGenEntityLinkingPipeline`]): Model, tokenizer and entity catalogue; without one (made with
            `mode="detection"`) detection alone can be evaluated.
        datasets (`Mapping[str, Iterable[Mapping]]`): Name → rows in ELEVANT's layout, such as those of
            [`load_linking_rows`].
        output_dir (`str` or path, *optional*): Receives `settings.json`, per data set `NAME.links.jsonl` (all mentions
            with their candidates) and `NAME.predictions.jsonl` (the mentions that are scored), `report.json` and
            `model-index.yaml`. By default nothing is kept.
        mode (`str`, *optional*, defaults to `"full"`): `"given"`: the gold mentions are given and only have to be
            disambiguated, in one forward (nested ones in one more). `"detection"`: spans alone are scored.
        groups (`Mapping[str, str]`, *optional*): Data set → group, such as `"in-domain"`, for averages of groups.
        top_k (`int`, *optional*, defaults to 10): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL; by default the checkpoint's
            `onegen.link_threshold` for mentions that the model finds (`mode="full"`).
        prior_weight (`float`, *optional*, defaults to 0.0): Of the linker's `aliases`.
        fit_threshold (`bool`, *optional*, defaults to `False`): Take the threshold with the highest micro-F1 over all
            mentions of these data sets, which are then development data.
        fit_prior_weight (`bool`, *optional*, defaults to `False`): Likewise, before the threshold, the weight.
        coreferences (`bool`, *optional*, defaults to `True`): `False` drops labels of pronouns and the like.
        batch_size (`int`, *optional*, defaults to 8): Texts linked at a time.
        call_options (`Mapping[str, Any]`, *optional*): Further call arguments of the pipeline, JSON-serialisable:
            `decoding`, `boundaries`, `num_beams`, ...
        level (`float`, *optional*, defaults to 0.95): Of the bootstrap confidence intervals.
        seed (`int`, *optional*, defaults to 0): Of the bootstrap.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`LinkingReport`]: Metrics are explained at [`linking_ratios`].

    Raises:
        `OSError`: If nothing can be written into `output_dir`.
        `ValueError`: If an argument is out of range, a data set has no label whose entity is in the catalogue, or
            `output_dir` holds results of other settings.

    Example:

    ```python
    >>> rows = load_linking_rows("kore50.benchmark.jsonl")
    >>> report = evaluate_entity_linking(linker, {"kore50": rows}, "outputs/linking", mode="given")
    >>> report.results["kore50"].all.metrics["micro_f1"].value
    ```
    """
    groups = dict(groups or {})
    options = dict(call_options or {})
    linker.check_call_arguments(options)
    _check(linker, datasets, mode, groups, prior_weight, fit_threshold, fit_prior_weight)
    catalogue = _Catalogue(linker)
    read = {name: _read(name, list(rows), catalogue, coreferences) for name, rows in datasets.items()}
    linking = _Linking(linker, mode, top_k, batch_size, options)
    settings = {
        "task": "entity-linking",
        "mode": mode,
        "k": top_k,
        "batch_size": batch_size,
        "call": linking.call_options,
        "aliases": None if linker.priors is None else digest(linker.priors.table),
    }
    examples = {name: identity(documents) for name, documents in read.items()}
    with evaluation_run(
        output_dir, linker.model, linker.tokenizer, linker.index, examples, settings, show_progress
    ) as run:
        links = {
            name: run.results(LINKS_FILE.format(name), documents, batch_size, linking.link)
            for name, documents in read.items()
        }
        found = {name: [one["mentions"] for one in results] for name, results in links.items()}
        if threshold is None and mode == "full":
            threshold = linker.model.onegen_config.link_threshold
        scoring = _scoring(read, found, threshold, prior_weight, fit_threshold, fit_prior_weight)
        ratios: dict[str, Ratios] = {}
        for name, documents in read.items():
            if mode == "detection":
                own = detection_ratios(documents, found[name])
            else:
                final = [final_mentions(one, scoring["threshold"], scoring["prior_weight"]) for one in found[name]]
                run.directory.write(PREDICTIONS_FILE.format(name), _lines(documents, final))
                own = linking_ratios(documents, final, top_k, given=mode == "given")
            if mode != "given":
                own["aligned"] = [(one["aligned"], 1) for one in links[name]]
            ratios[name] = own
        report = LinkingReport(
            task="entity-linking",
            model=run.model,
            dataset=", ".join(read),
            split=None,
            level=level,
            settings=run.settings,
            results=linking_results(read, ratios, groups, level, seed),
            groups=groups,
            scoring=scoring,
            left_out={name: _total(one.left_out for one in documents) for name, documents in read.items()},
        )
        return run.write(report)


class _Catalogue:
    """Id and name of every entity, as often as they are asked for."""

    def __init__(self, linker: OneGenEntityLinkingPipeline) -> None:
        self.index = linker.index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((entity.id, entity.title) for entity in self.index or ())


class _Linking:
    """Links a block of texts."""

    def __init__(
        self, linker: OneGenEntityLinkingPipeline, mode: str, top_k: int, batch_size: int, options: dict[str, Any]
    ) -> None:
        self.linker, self.mode = linker, mode
        self.call_options = options
        # Results keep what threshold and prior are applied to.
        self.fixed: dict[str, Any] = {"top_k": top_k, "batch_size": batch_size, "return_dict": True}
        self.fixed |= {"mode": "detection"} if mode == "detection" else {"threshold": -math.inf, "prior_weight": 0.0}

    def link(self, documents: Sequence[LinkingDocument]) -> list[dict[str, Any]]:
        if self.mode != "given":
            return self._call([{"text": document.text} for document in documents])
        layers = [layers_of([label[:2] for label in document.gold]) for document in documents]
        inputs = [
            {"text": document.text, "spans": [list(span) for span in layer]}
            for document, own in zip(documents, layers, strict=True)
            for layer in own
        ]
        found = iter(self._call(inputs))
        results = []
        for own in layers:
            mentions = [mention for _ in own for mention in next(found)["mentions"]]
            results.append({"mentions": sorted(mentions, key=lambda mention: (mention["start"], mention["end"]))})
        return results

    def _call(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.linker(inputs, **self.fixed, **self.call_options) if inputs else []


def layers_of(spans: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Spans as few lists without overlaps, in the order of the text; the outer ones of nested spans come first."""
    layers: list[list[tuple[int, int]]] = []
    for span in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        layer = next((layer for layer in layers if layer[-1][1] <= span[0]), None)
        if layer is None:
            layers.append([span])
        else:
            layer.append(span)
    return layers


def _check(
    linker: OneGenEntityLinkingPipeline,
    datasets: Mapping[str, Any],
    mode: str,
    groups: Mapping[str, str],
    prior_weight: float,
    fit_threshold: bool,
    fit_prior_weight: bool,
) -> None:
    for name in datasets:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == AVERAGE:
            raise ValueError(
                f"the data set's name {name!r} names files: use letters, digits, '.', '-' and '_', and not {AVERAGE!r}"
            )
    unknown = sorted(set(groups) - set(datasets))
    if unknown:
        raise ValueError(f"groups has {unknown}, but the data sets are {sorted(datasets)}")
    if mode == "detection":
        if fit_threshold or fit_prior_weight:
            raise ValueError('mode="detection" links nothing: there is no threshold and no weight to fit')
    elif linker.index is None:
        raise ValueError(f"mode={mode!r} needs an entity catalogue: make the pipeline with `index=...`")
    if (prior_weight or fit_prior_weight) and linker.priors is None:
        raise ValueError("a weight of priors needs an alias table: make the pipeline with `aliases=...`")


def _read(
    name: str, rows: Sequence[Mapping[str, Any]], catalogue: _Catalogue, coreferences: bool
) -> list[LinkingDocument]:
    documents = read_linking_documents(rows, catalogue if catalogue.index is not None else None, coreferences)
    if not any(not label.optional for document in documents for label in document.gold):
        raise ValueError(
            f"no label of the data set {name!r} has an entity of the catalogue: give the index of the catalogue that "
            "its ids come from"
        )
    return documents


def _scoring(
    documents: Mapping[str, Sequence[LinkingDocument]],
    found: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    threshold: float | None,
    prior_weight: float,
    fit_threshold: bool,
    fit_prior_weight: bool,
) -> dict[str, Any]:
    every = [document for own in documents.values() for document in own]
    mentions = [one for own in found.values() for one in own]
    if fit_prior_weight:
        prior_weight = best_prior_weight(*prior_sample(every, mentions))
    if fit_threshold:
        weighted = [final_mentions(one, None, prior_weight) for one in mentions]
        threshold = best_threshold(*threshold_sample(every, weighted))
    fitted = [name for name, done in (("threshold", fit_threshold), ("prior_weight", fit_prior_weight)) if done]
    return {"threshold": threshold, "prior_weight": prior_weight, "fitted": fitted}


def _lines(documents: Sequence[LinkingDocument], mentions: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    shown = ("mention", "start", "end", "entity_id", "name", "score")
    return "".join(
        json.dumps({"id": one.id, "mentions": [{name: m[name] for name in shown} for m in own]}, ensure_ascii=False)
        + "\n"
        for one, own in zip(documents, mentions, strict=True)
    )


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for own in counts:
        for reason, count in own.items():
            total[reason] = total.get(reason, 0) + count
    return dict(sorted(total.items()))
