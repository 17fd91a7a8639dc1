"""`onegen-hf index --update`: brings an index up to date with a corpus, and puts it in place of the old one."""

from __future__ import annotations

import logging
from typing import Any

from ..files import locked_folder
from .index_arguments import IndexArguments

logger = logging.getLogger(__name__)


def update_index(options: IndexArguments) -> Any:
    """
    Add the passages of a corpus to an index, and replace those that have changed.

    Args:
        options ([`IndexArguments`])

    Returns:
        [`PassageIndex`]
    """
    from ..data.loading import load_documents

    documents = load_documents(options.passages, options.split)
    from ..index import PassageIndex
    from ..index.encode import as_document_store
    from ..index.update import missing_ids
    from ..index.versions import publish_version

    with locked_folder(options.output_dir, "indexing"):
        index = PassageIndex.load(options.output_dir)
        _require_same_storage(options, index)
        store = as_document_store(documents)
        model = options.load_model()
        piece_tokens = options.piece_tokens(model.onegen_config)
        missing = missing_ids(index.passages, store.ids, piece_tokens is not None)
        index.update(
            model,
            options.load_tokenizer(),
            store,
            batch_size=options.batch_size,
            max_tokens_per_passage=piece_tokens,
        )
        if missing and options.remove_missing:
            index.remove(missing)
        elif missing:
            logger.warning(
                "%d passages of the index, such as %r, are not among the passages given: they stay. --remove-missing "
                "removes them.",
                len(missing),
                missing[0],
            )
        with publish_version(options.output_dir) as version:
            index.save(version)
    return PassageIndex.load(options.output_dir)


def _require_same_storage(options: IndexArguments, index: Any) -> None:
    """Refuse options that ask for another way of storing the vectors than the index has."""
    from ..index.backends import backend_options, make_backend

    storage = backend_options(options.factory, options.precision)
    asked = make_backend(options.backend, options.dimensions, **storage)
    is_default = not storage and options.backend == "faiss" and options.dimensions is None
    if not is_default and (asked.name, asked.settings) != (index.backend.name, index.backend.settings):
        raise ValueError(
            f"--update keeps how vectors are stored ({index.backend.name}, {dict(index.backend.settings)}), and the "
            f"options ask for {asked.name}, {dict(asked.settings)}: leave them out, or build the index again"
        )
