"""`onegen-hf evaluate`: how well does a model retrieve and answer?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..terminal.options import OptionParser
from ..terminal.usage import usage_errors
from .evaluate_arguments import EvaluateArguments
from .linking_arguments import LinkingArguments
from .linking_evaluation import evaluate_linking

if TYPE_CHECKING:
    from ..evaluation import EvaluationReport
    from ..evaluation.runs.run_directory import RunDirectory
    from ..index import PassageIndex
    from ..pipelines import OneGenRagPipeline
    from .calibrate_arguments import CalibrateArguments


@dataclass(frozen=True)
class Inputs:
    """What an evaluation reads before it begins."""

    directory: RunDirectory
    examples: Any
    index: PassageIndex
    model: Any
    tokenizer: Any

    @classmethod
    def read(cls, options: EvaluateArguments | CalibrateArguments, dataset: str) -> Inputs:
        """
        Load examples, index and model.

        Args:
            options ([`EvaluateArguments`] or [`CalibrateArguments`])
            dataset (`str`)

        Raises:
            `ValueError` or `OSError`: Errors that can be found without the model are raised before it is loaded.
        """
        options.checkpoint()
        from ..data.loading import load_examples
        from ..evaluation.examples import read_examples
        from ..evaluation.runs.run_directory import RunDirectory
        from ..index import PassageIndex
        from ..index.encode import as_document_store

        directory = RunDirectory(options.output_dir)
        examples = load_examples(dataset, options.split, options.limit)
        index = None if options.index is None else PassageIndex.load(options.index)
        documents = None
        if index is None:
            documents = as_document_store(_documents(dataset, options.passages_split))
            read_examples(examples, documents.ids, "documents")
        model, tokenizer = options.load_model(), options.load_tokenizer()
        if index is None:
            index = _index_of(documents, Path(options.output_dir), model, tokenizer, options.model_name())
        return cls(directory, examples, index, model, tokenizer)

    def pipeline(self) -> OneGenRagPipeline:
        """A pipeline of model and index."""
        from ..pipelines import OneGenRagPipeline
        from ..pipelines.checkpoint import where_it_is

        return OneGenRagPipeline(
            model=self.model, tokenizer=self.tokenizer, index=self.index, **where_it_is(self.model)
        )


def _documents(dataset: str, split: str) -> Any:
    """The passages of a dataset, which a file of questions lacks."""
    from ..data.loading import load_documents
    from ..data.plain_files import is_plain

    try:
        return load_documents(dataset, split)
    except ValueError as error:
        if not is_plain(dataset):
            raise
        raise ValueError(
            f"{dataset} holds questions and no passages ({error}): name an index of passages with --index; "
            "`onegen-hf index` builds one"
        ) from error


def evaluate(options: EvaluateArguments) -> EvaluationReport:
    """Evaluate answers or retrieval. Errors that can be found without the model are raised before it is loaded."""
    from ..evaluation import evaluate_rag, evaluate_retrieval

    (dataset,) = options.dataset
    inputs = Inputs.read(options, dataset)
    examples, index = inputs.examples, inputs.index
    common: dict[str, Any] = {
        "output_dir": inputs.directory.path,
        "k": options.top_k,
        "batch_size": options.batch_size,
        "hybrid": options.hybrid,
        "fusion": options.fusion,
        "dataset": dataset,
        "split": options.split,
        "level": options.confidence_level,
    }
    if options.task == "retrieval":
        report = evaluate_retrieval(inputs.model, inputs.tokenizer, index, examples, **common)
        return _with_page(options, report, examples, index)
    report = evaluate_rag(
        inputs.pipeline(),
        examples,
        max_hops=options.max_hops,
        max_new_tokens=options.max_new_tokens,
        gold_passages=options.gold_passages,
        retrieval=options.retrieval,
        threshold=options.retrieval_threshold,
        answer_threshold=options.answer_threshold,
        **options.reading_options(),
        critique=options.critique_settings(),
        **common,
    )
    return _with_page(options, report, examples, index)


def _with_page(options: EvaluateArguments, report: EvaluationReport, examples: Any, index: PassageIndex) -> Any:
    """Write the page that `--html` asks for, from what the evaluation left in its directory."""
    if options.html is None:
        return report
    from ..evaluation.display import evaluation_page
    from ..evaluation.examples import read_examples
    from ..evaluation.rag import ANSWERS_FILE
    from ..evaluation.retrieval import RETRIEVALS_FILE
    from ..pipelines.confidence import withhold
    from .page_file import write_page

    path = Path(options.output_dir) / (RETRIEVALS_FILE if report.task == "retrieval" else ANSWERS_FILE)
    stored = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    results = [withhold(result, report.settings.get("answer_threshold")) for result in stored]
    read = read_examples(examples, (passage.id for passage in index))
    write_page(options.html, evaluation_page(report, read, results, index.get))
    return report


def _index_of(documents: Any, output_dir: Path, model: Any, tokenizer: Any, model_id: str) -> PassageIndex:
    from ..evaluation.runs.settings import sample_digest
    from ..index import PassageIndex

    folder = output_dir / "index"
    if not (folder / "index.json").is_file():
        if (own := _own_index(documents, model, tokenizer)) is not None:
            return own
        checkpoint = output_dir / "encoding"
        PassageIndex.build(model, tokenizer, documents, checkpoint_dir=checkpoint, model_id=model_id).save(folder)
    index = PassageIndex.load(folder)
    if len(index) != len(documents) or sample_digest(index.passages) != sample_digest(documents):
        raise ValueError(f"{folder} is the index of other documents: delete it, or give another output directory")
    return index


def _own_index(documents: Any, model: Any, tokenizer: Any) -> PassageIndex | None:
    """The checkpoint's own index, if it is one of these documents."""
    from ..pipelines.checkpoint import open_index

    try:
        index = open_index(None, model, tokenizer)
    except (OSError, ValueError):  # it has none, or one that another model built
        return None
    same = len(index) == len(documents) and all(
        (indexed.id, indexed.title, indexed.sentences) == (document.id, document.title, document.sentences)
        for indexed, document in zip(index.passages, documents, strict=True)
    )
    return index if same else None


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        (EvaluateArguments, LinkingArguments),
        "onegen-hf evaluate",
        description="Score the retrieval and the answers of a model, or its entity linking.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, linking = parser().parse(arguments)
    if options.task != "entity-linking":
        with usage_errors():
            linking.check_unused(options.task)
    report: EvaluationReport
    report = evaluate_linking(options, linking) if options.task == "entity-linking" else evaluate(options)
    from .score_tables import print_report

    print_report(report)
    print(f"\nreport.json, model-index.yaml and the results are in {options.output_dir}")
