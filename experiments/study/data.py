"""`StudyData`: the examples that runs are trained on, and the questions and passages that they are measured on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from datasets import Dataset

from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.loading import load_documents, load_examples


@dataclass(frozen=True)
class StudyData:
    """
    A dataset repository, cut to what a study uses. The same for all its runs.

    Args:
        documents (`Dataset`): All passages, for training.
        train (`Dataset`): Shuffled; each run's seed shuffles it anew and takes as many from the front as it needs.
        questions (`Dataset`): Held out, an even sample.
        searched (`Dataset`): The passages that are searched: all that the questions need, and others by chance.
    """

    documents: Dataset
    train: Dataset
    questions: Dataset
    searched: Dataset

    @classmethod
    def load(cls, source: str, questions: int, passages: int, seed: int = 0) -> StudyData:
        """
        Read them.

        Args:
            source (`str`): A dataset repository with the splits `train` and `dev`.
            questions, passages (`int`): As many are used at most; of the passages at least those that are needed.
            seed (`int`, *optional*, defaults to 0): Of the shuffle and of the samples.
        """
        documents, dev = load_documents(source), load_examples(source, "dev")
        asked = dev.shuffle(seed=seed).select(range(min(questions, len(dev))))
        rows = {identifier: row for row, identifier in enumerate(documents["id"])}
        needed = {rows[identifier] for hops in asked["positives"] for hop in hops for identifier in hop}
        others = [row for row in range(len(documents)) if row not in needed]
        random.Random(seed).shuffle(others)
        chosen = sorted([*needed, *others[: max(0, passages - len(needed))]])
        return cls(documents, load_examples(source).shuffle(seed=seed), asked, documents.select(chosen))

    def store(self) -> DocumentStore:
        """All passages, as training wants them."""
        return DocumentStore(self.documents)

    def searched_store(self) -> DocumentStore:
        """The passages that are searched, in the order of an index of them."""
        return DocumentStore(self.searched)
