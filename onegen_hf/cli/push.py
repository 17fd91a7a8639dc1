"""`onegen-hf push KIND DIR REPO`: uploads a model, an index or a dataset to the Hub, with its card."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from ..checks import checked_fields, flag, list_of, optional, text
from ..terminal.options import OptionParser
from ..terminal.usage import usage_errors

if TYPE_CHECKING:
    from ..hub.commit import Upload

KINDS = ("model", "index", "dataset")
USAGE = "onegen-hf push {model,index,dataset} DIR REPO [options]"


@dataclass
class PushArguments:
    """Options of `onegen-hf push`."""

    renamed: ClassVar[dict[str, str]] = {"datasets": "dataset"}

    private: bool = field(
        default=False, metadata={"help": "Make a new repository private; default: the organization's setting."}
    )
    revision: str | None = field(
        default=None, metadata={"help": "Branch, created if it does not exist; default: main."}
    )
    commit_message: str | None = field(default=None, metadata={"help": "Message of the commit."})
    merge: bool = field(default=False, metadata={"help": "Merge an adapter into its base and push the full model."})
    reports: list[str] = field(
        default_factory=list, metadata={"help": "Output directories of `onegen-hf evaluate`, for the model card."}
    )
    dataset: list[str] = field(
        default_factory=list, metadata={"help": "Datasets the model was trained on, for the model card."}
    )
    keep_card: bool = field(default=False, metadata={"help": "Push the existing README.md instead of a new card."})
    dry_run: bool = field(default=False, metadata={"help": "Show what would be pushed, and push nothing."})

    def __post_init__(self) -> None:
        checked_fields(
            self,
            private=flag(),
            revision=optional(text()),
            commit_message=optional(text()),
            merge=flag(),
            reports=list_of(text(), empty=True),
            dataset=list_of(text(), empty=True),
            keep_card=flag(),
            dry_run=flag(),
        )


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        PushArguments,
        "onegen-hf push",
        USAGE.removeprefix("onegen-hf push ").removesuffix(" [options]"),
        "Upload a model, an index or a dataset to the Hub, with its card.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    command = parser()
    if not arguments or {"-h", "--help"} & set(arguments):
        command.print_help()
        sys.exit(0)
    positional, rest = list(arguments[:3]), list(arguments[3:])
    if len(positional) < 3 or any(argument.startswith("-") for argument in positional):
        command.error(f"give what to push, its directory and the repository, then the options: {USAGE}")
    kind, directory, repo_id = positional
    if kind not in KINDS:
        command.error(f"{kind!r} can't be pushed: choose one of {', '.join(KINDS)}")
    (options,) = command.parse(rest)
    for name in ("merge", "reports", "dataset"):
        if kind != "model" and getattr(options, name):
            command.error(f"--{name} is for a model, not for a {kind}: leave it out")
    with usage_errors():
        check_repo_id(repo_id)
    with TemporaryDirectory() as merged:
        if options.merge:
            _merge(Path(directory), Path(merged))
        upload = _upload(kind, directory, merged if options.merge else None, repo_id, options)
        print(upload.describe())
        if options.dry_run:
            print(f"\n{upload.card}\n\nNothing was pushed (--dry-run).")
            return
        print(upload.push(options.private or None, options.revision, options.commit_message).commit_url)


def check_repo_id(repo_id: str) -> None:
    """
    Check the name of a repository before anything is read or sent.

    Raises:
        `ValueError`: If the Hub could not have a repository of this name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repository {repo_id!r} is not a valid name, such as org/name: {error}") from error


def _upload(kind: str, directory: str, merged: str | None, repo_id: str, options: PushArguments) -> Upload:
    if kind == "index":
        from ..index.publish import collection_upload, index_upload
        from ..index.stores import is_store_url
        from ..index.stores.opening import open_collection

        if is_store_url(directory):
            if options.keep_card:
                raise ValueError("keep_card=True is for an index in files: a database has no README.md. Leave it out")
            return collection_upload(open_collection(directory), repo_id)
        return index_upload(directory, repo_id, options.keep_card)
    if kind == "dataset":
        from ..hub.dataset import dataset_upload

        return dataset_upload(directory, repo_id, options.keep_card)
    from ..modeling.publish import model_upload
    from .check_reports import check_reports

    # Reports on an adapter that was merged name the adapter.
    if options.reports and not options.keep_card:
        check_reports(directory, options.reports)
    if merged is None:
        return model_upload(directory, repo_id, options.reports, options.keep_card, datasets=options.dataset)
    return model_upload(
        merged, repo_id, options.reports, options.keep_card, merged_from=directory, datasets=options.dataset
    )


def _merge(adapter: Path, target: Path) -> None:
    from ..cards.training import RECORDS
    from ..hub.layout import CARD
    from ..modeling.adapters import is_adapter
    from ..modeling.auto import load_adapter
    from ..modeling.publish import index_beside
    from ..modeling.tokenizers import load_tokenizer

    if not is_adapter(adapter):
        raise ValueError(f"--merge: {adapter} holds no adapter (adapter_config.json), so there is nothing to merge")
    merged = load_adapter(adapter)
    merged.save_pretrained(target)
    load_tokenizer(adapter).save_pretrained(target)
    # The records of the training and the card stay valid for the merged model.
    for name in (*RECORDS, CARD):
        if (adapter / name).is_file():
            shutil.copy(adapter / name, target / name)
    for name in index_beside(adapter, merged.onegen_config.default_index):
        (target / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(adapter / name, target / name)
