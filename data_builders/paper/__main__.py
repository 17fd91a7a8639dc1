"""Write a dataset repository as the paper's files: `python -m data_builders.paper REPOSITORY OUT`."""

from __future__ import annotations

import argparse

from data_builders.paper.db_records import DOCUMENT_TOKENS
from data_builders.paper.export import to_paper_files


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.paper", description=__doc__)
    parser.add_argument("repository", help="a folder or a Hub id with the configs documents and examples")
    parser.add_argument("out", help="the folder for db.jsonl and train.jsonl")
    parser.add_argument(
        "--document-token",
        default=DOCUMENT_TOKENS[0],
        help="stands after each sentence of documents that don't come from the paper (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    for path in to_paper_files(options.repository, options.out, document_token=options.document_token):
        print(path)


if __name__ == "__main__":
    main()
