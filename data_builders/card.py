"""The card of a dataset repository, which is its README: from the report of the build."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from datasets import Features
from huggingface_hub import DatasetCard, DatasetCardData

from data_builders.dataset_info import content_digest, dataset_infos
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES

# Names the repository in the code of a card until it has a name on the Hub; `datasets` does not take ".".
_IMPORT_HERE, _HERE = "import os\n\n", "os.getcwd()"
TASKS = {"entity-linking": ("text-retrieval", "token-classification")}
"""Builder → what the Hub calls its task, if it is not question answering."""
_QUESTION_ANSWERING = ("question-answering", "text-retrieval")
_BOUNDS = {10**3: "1K", 10**4: "10K", 10**5: "100K", 10**6: "1M", 10**7: "10M", 10**8: "100M", 10**9: "1B"}
_FIELDS = {
    "id": "of the example or passage",
    "title": "heading of the passage, may be empty",
    "sentences": "the passage, one sentence each",
    "messages": "the conversation, with query tokens and retrieved text in the assistant's content",
    "positives": "a list for each query token, in order: ids of passages (`doc`) or sentences (`doc#0`) to find",
    "negatives": "the same: ids that are close, but wrong",
    "question": "the user's question",
    "answers": "accepted answers",
    "meta": "JSON: what else the source says",
}


def dataset_card(
    report: Mapping[str, Any],
    paths: Mapping[str, str],
    title: str,
    description: str = "",
    license: str | None = None,
    folder: Path | None = None,
) -> DatasetCard:
    """
    Make the card. Its code loads the dataset from the folder it stands in; [`named`] gives it the name on the Hub.

    Args:
        report (`Mapping[str, Any]`):
            As [`build_repository`] makes it; what is not in it is left out. Needed are the numbers of `documents` and
            of the `examples` of each split.
        paths (`Mapping[str, str]`):
            `documents`, and each split → its files, as a path or a pattern.
        title (`str`):
            Heading.
        description (`str`, *optional*, defaults to `""`):
            Text below it.
        license (`str`, *optional*):
            As the Hub names it, such as `"cc-by-sa-4.0"`.
        folder (`Path`, *optional*):
            Where the files lie; then the front matter tells features, sizes and a digest of them.

    Returns:
        `DatasetCard`: The front matter names the files of both configs.
    """
    splits = report["splits"]
    rows = report["documents"]["documents"] + sum(counts["examples"] for counts in splits.values())
    builder = report.get("builder")
    data = DatasetCardData(
        pretty_name=title,
        license=license,
        task_categories=list(TASKS.get(builder or "", _QUESTION_ANSWERING)),
        size_categories=[size_category(rows)],
        tags=["onegen", *([builder] if builder else [])],
        configs=[
            _config("documents", {"train": paths["documents"]}, folder),
            _config("examples", {split: paths[split] for split in splits}, folder),
        ],
    )
    if folder is not None:
        dataset_infos(folder, paths).to_dataset_card_data(data)
    with as_file(files("model_cards") / "dataset.md") as template:
        return DatasetCard.from_template(
            data,
            template_path=str(template),
            title=title,
            description=description,
            repository=_HERE,
            report=report,
            paths=paths,
            split=next(iter(splits), None),
            fields={"documents": _columns(DOCUMENTS_FEATURES), "examples": _columns(EXAMPLES_FEATURES)},
            license=license,
        )


def named(card: str, repo_id: str) -> str:
    """
    Let the code in a card load the dataset from the Hub.

    Args:
        card (`str`):
            The README of a folder.
        repo_id (`str`):
            Where the folder goes.
    """
    return card.replace(_IMPORT_HERE, "", 1).replace(f"load_dataset({_HERE}", f'load_dataset("{repo_id}"')


def _config(name: str, paths: Mapping[str, str], folder: Path | None) -> dict[str, Any]:
    config = {
        "config_name": name,
        "data_files": [{"split": split, "path": path} for split, path in paths.items()],
    }
    if folder is not None:
        config["description"] = f"Digest of the files: {content_digest(folder, paths.values())}"
    return config


def size_category(rows: int) -> str:
    """The Hub's size category for a number of rows, such as `"1K<n<10K"`."""
    below = [name for bound, name in _BOUNDS.items() if rows < bound]
    if len(below) == len(_BOUNDS):
        return f"n<{below[0]}"
    names = list(_BOUNDS.values())
    return f"{names[-len(below) - 1]}<n<{below[0]}" if below else f"n>{names[-1]}"


def _columns(features: Features) -> dict[str, tuple[str, str]]:
    return {name: (_type(feature), _FIELDS[name]) for name, feature in features.items()}


def _type(feature: Any) -> str:
    if hasattr(feature, "feature"):
        return f"list of {_type(feature.feature)}"
    return "{" + ", ".join(feature) + "}" if isinstance(feature, Mapping) else str(feature.dtype)
