"""`onegen-hf evaluate`: how well does a model retrieve and answer?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl import TrlParser

from ..data.loading import load_documents, load_examples
from ..evaluation import EvaluationReport, evaluate_rag, evaluate_retrieval, format_report
from ..evaluation.examples import read_examples
from ..evaluation.runs.run_directory import RunDirectory
from ..evaluation.runs.settings import sample_digest
from ..index import PassageIndex
from ..index.encode import as_document_store
from ..modeling.tokenizers import load_tokenizer
from ..pipelines import OneGenRagPipeline
from ..pipelines.checkpoint import where_it_is
from ..presets import DEFAULT_CHECKPOINT
from .evaluate_arguments import EvaluateArguments
from .linking_evaluation import LinkingArguments, evaluate_linking


def evaluate(options: EvaluateArguments) -> EvaluationReport:
    """Evaluate answers or retrieval; what can be found wrong without the model is found before it is loaded."""
    directory = RunDirectory(options.out)
    (data,) = options.data
    examples = load_examples(data, options.split, options.limit)
    index = None if options.index is None else PassageIndex.load(options.index)
    documents = None
    if index is None:
        documents = as_document_store(load_documents(data, options.documents_split))
        read_examples(examples, documents.ids, "documents")
    name = options.model or str(DEFAULT_CHECKPOINT)
    model = options.load_model(name)
    tokenizer = load_tokenizer(name)
    if index is None:
        index = _index_of(documents, Path(options.out), model, tokenizer, options.model)
    common: dict[str, Any] = {
        "output_dir": directory.path,
        "k": options.k,
        "batch_size": options.batch_size,
        "dataset": data,
        "split": options.split,
        "level": options.level,
    }
    if options.task == "retrieval":
        return evaluate_retrieval(model, tokenizer, index, examples, **common)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, **where_it_is(model))
    return evaluate_rag(
        rag,
        examples,
        max_hops=options.max_hops,
        max_new_tokens=options.max_new_tokens,
        gold_passages=options.gold_passages,
        **common,
    )


def _index_of(documents: Any, out: Path, model: Any, tokenizer: Any, model_id: str | None) -> PassageIndex:
    folder = out / "index"
    if not (folder / "index.json").is_file():
        checkpoint = out / "encoding"
        PassageIndex.build(model, tokenizer, documents, checkpoint_dir=checkpoint, model_id=model_id).save(folder)
    index = PassageIndex.load(folder)
    if len(index) != len(documents) or sample_digest(index.passages) != sample_digest(documents):
        raise ValueError(f"{folder} is the index of other documents: delete it, or give another output directory")
    return index


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = TrlParser((EvaluateArguments, LinkingArguments), prog="onegen-hf evaluate")
    options, linking = parser.parse_args_and_config(list(arguments))
    if options.task == "entity-linking":
        report: EvaluationReport = evaluate_linking(options, linking)
    else:
        linking.check_unused(options.task)
        report = evaluate(options)
    print(format_report(report))
    print(f"\nreport.json, model-index.yaml and the results are in {options.out}")
