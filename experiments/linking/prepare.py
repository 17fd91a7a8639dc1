"""
Dataset repositories → token ids and entities for `experiments.linking.train`.

```
python -m experiments.linking.prepare --repositories data --model onegen_hf/default_linker --out data/linking_tokens
```

`--repositories` holds the builds that `experiments.linking.mixture` names, as `recipes/linked_titles.yaml` says how to
make them. Written are `linking.parquet` (encoded examples) and `documents.parquet` (the entities that they refer to).
"""

from __future__ import annotations

import logging
import random
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig

from data_builders.seeding import seeded_number
from experiments.people.mixture import Share
from experiments.people.prepare import chosen, write
from onegen_hf import OneGenConfig, OneGenDataCollator
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.linking.aliases import AliasTable
from onegen_hf.modeling.tokenizers import load_tokenizer

from .mixture import LABELLED, NAME_ONLY_SHARE, TITLES

logger = logging.getLogger(__name__)


def entity_ids(repositories: Path) -> dict[str, str]:
    """
    Title → the entity of the labelled catalogue that it is, so that no entity is its own negative.

    A title is the entity that alone has this name, or that its labels alone call so.
    """
    names, aliases = AliasTable(), AliasTable()
    labelled = repositories / "labelled_names"
    names.add_documents(load_documents(labelled))
    aliases.add_examples(load_examples(labelled))
    same: dict[str, str] = {}
    for title in load_documents(repositories / next(iter(TITLES)))["title"]:
        for table in (names, aliases):
            candidates = table.priors(title)
            if len(candidates) == 1:
                same[title] = next(iter(candidates))
                break
    return same


def encoded_examples(
    repositories: Path, shares: Mapping[str, Share], collator: OneGenDataCollator, same: Mapping[str, str], seed: int
) -> Iterator[dict[str, Any]]:
    """The encoded examples of all builds."""
    rng = random.Random(seed)
    for name, share in shares.items():
        examples = load_examples(repositories / name)
        rows = chosen(examples, share, rng)
        logger.info("%s: %d of %d examples", name, len(rows), len(examples))
        for row in rows:
            encoded = collator.encode_example(examples[row])
            del encoded["queries"]
            if name in TITLES:
                positives = [[same.get(one, one) for one in ids] for ids in encoded["positives"]]
                negatives = [
                    [other for one in ids if (other := same.get(one, one)) not in right]
                    for ids, right in zip(encoded["negatives"], positives, strict=True)
                ]
                encoded |= {"positives": positives, "negatives": negatives}
            yield {"family": name, **encoded}


def described(repositories: Path, referred: set[str], seed: int) -> Iterator[dict[str, str]]:
    """The entities that examples refer to; some titles without their description."""
    for name in ("labelled_names", next(iter(TITLES))):
        for document in load_documents(repositories / name):
            if document["id"] in referred:
                drawn = seeded_number(seed, document["id"]) % 1000 < 1000 * NAME_ONLY_SHARE
                text = document["title"] if name in TITLES and drawn else " ".join(document["sentences"])
                yield {"id": document["id"], "title": document["title"], "text": text}


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--repositories", type=Path, required=True)
    parser.add_argument("--model", required=True, help="Checkpoint whose tokenizer and settings are used.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--shrink", type=int, default=1, help="Take this part of the titles only, for a trial.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = OneGenConfig.of(AutoConfig.from_pretrained(arguments.model)) or OneGenConfig()
    tokenizer = load_tokenizer(arguments.model)
    collator = OneGenDataCollator(tokenizer, ["Nothing is embedded."], settings, max_length=arguments.max_length)
    titles = {
        name: share if share.limit is None else share._replace(limit=share.limit // arguments.shrink)
        for name, share in TITLES.items()
    }
    same = entity_ids(arguments.repositories)
    logger.info("%d titles are entities of the labelled catalogue", len(same))
    rows = list(encoded_examples(arguments.repositories, {**LABELLED, **titles}, collator, same, arguments.seed))
    examples = Dataset.from_list(rows)
    referred = {one for row in rows for column in ("positives", "negatives") for ids in row[column] for one in ids}
    documents = Dataset.from_list(list(described(arguments.repositories, referred, arguments.seed)))
    logger.info("%d examples, %d tokens, %d entities", len(examples), sum(examples["length"]), len(documents))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(examples, arguments.out / "linking.parquet")
    write(documents, arguments.out / "documents.parquet")


if __name__ == "__main__":
    main()
