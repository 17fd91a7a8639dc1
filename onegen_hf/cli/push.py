"""`onegen-hf push KIND DIR REPO`: a model, an index or a dataset goes to the Hub, with its card."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from trl import TrlParser

from ..cards.training import RECORDS
from ..hub.commit import Upload
from ..hub.dataset import dataset_upload
from ..hub.layout import (
    CARD,
)
from ..index.publish import index_upload
from ..modeling.adapters import is_adapter
from ..modeling.auto import load_adapter
from ..modeling.publish import index_beside, model_upload
from ..modeling.tokenizers import load_tokenizer
from .check_reports import check_reports

KINDS = {"model": model_upload, "index": index_upload, "dataset": dataset_upload}
"""What can be pushed → what makes its [`Upload`]."""
USAGE = "usage: onegen-hf push {model,index,dataset} DIR REPO [--help] [--dry_run true] ..."


@dataclass
class PushArguments:
    """
    Options of `onegen-hf push`.

    Args:
        private (`bool`, *optional*, defaults to `False`): Make a new repository private; without it the organisation's
            default holds.
        revision (`str`, *optional*): Branch, made if it is missing.
        commit_message (`str`, *optional*)
        merge (`bool`, *optional*, defaults to `False`): Merge an adapter into its base and push the full model.
        reports (`list[str]`, *optional*): Output directories of `onegen-hf evaluate`, for the model's card.
        datasets (`list[str]`, *optional*): Training data, for the model's card.
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md that is there.
        dry_run (`bool`, *optional*, defaults to `False`): Show what would be pushed.
    """

    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    revision: str | None = field(default=None, metadata={"help": "Branch, made if it is missing; default: main."})
    commit_message: str | None = field(default=None, metadata={"help": "Message of the commit."})
    merge: bool = field(default=False, metadata={"help": "Merge an adapter into its base and push the full model."})
    reports: list[str] = field(
        default_factory=list, metadata={"help": "Output directories of `onegen-hf evaluate`, for the model's card."}
    )
    datasets: list[str] = field(default_factory=list, metadata={"help": "Training data, for the model's card."})
    keep_card: bool = field(default=False, metadata={"help": "Push the README.md that is there."})
    dry_run: bool = field(default=False, metadata={"help": "Show what would be pushed, and push nothing."})


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = TrlParser(PushArguments, prog="onegen-hf push", usage=USAGE.removeprefix("usage: "))
    if not arguments or {"-h", "--help"} & set(arguments):
        parser.print_help()
        sys.exit(0)
    positional, rest = list(arguments[:3]), list(arguments[3:])
    if len(positional) < 3 or any(argument.startswith("-") for argument in positional):
        raise ValueError(f"give what to push, its directory and the repository, then the options.\n{USAGE}")
    kind, directory, repo_id = positional
    if kind not in KINDS:
        raise ValueError(f"{kind!r} can't be pushed: choose one of {list(KINDS)}.\n{USAGE}")
    (options,) = parser.parse_args_and_config(rest)
    for name in ("merge", "reports", "datasets"):
        if kind != "model" and getattr(options, name):
            raise ValueError(f"--{name} is for a model, not for a {kind}: leave it out")
    with TemporaryDirectory() as merged:
        if options.merge:
            _merge(Path(directory), Path(merged))
        upload = _upload(kind, directory, merged if options.merge else None, repo_id, options)
        print(upload.describe())
        if options.dry_run:
            print(f"\n{upload.card}\n\nNothing was pushed (--dry_run).")
            return
        print(upload.push(options.private or None, options.revision, options.commit_message).commit_url)


def _upload(kind: str, directory: str, merged: str | None, repo_id: str, options: PushArguments) -> Upload:
    if kind == "index":
        return index_upload(directory, repo_id, options.keep_card)
    if kind == "dataset":
        return dataset_upload(directory, repo_id, options.keep_card)
    # Of an adapter that was merged, the reports are of the adapter.
    if options.reports and not options.keep_card:
        check_reports(directory, options.reports)
    if merged is None:
        return model_upload(directory, repo_id, options.reports, options.keep_card, datasets=options.datasets)
    return model_upload(
        merged, repo_id, options.reports, options.keep_card, merged_from=directory, datasets=options.datasets
    )


def _merge(adapter: Path, target: Path) -> None:
    if not is_adapter(adapter):
        raise ValueError(f"--merge: {adapter} holds no adapter (adapter_config.json), so there is nothing to merge")
    merged = load_adapter(adapter)
    merged.save_pretrained(target)
    load_tokenizer(adapter).save_pretrained(target)
    # The rest of an adapter's directory belongs to the adapter.
    for name in (*RECORDS, CARD):
        if (adapter / name).is_file():
            shutil.copy(adapter / name, target / name)
    for name in index_beside(adapter, merged.onegen_config.default_index):
        (target / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(adapter / name, target / name)
