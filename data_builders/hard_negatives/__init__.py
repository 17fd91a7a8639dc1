"""
Hard negatives for examples that are built: the passages that a retriever takes for the right ones.

A miner is called with the examples and the documents and gives the examples back, one by one, with more `negatives`:

```python
>>> miner = make_miner("bm25", num_negatives=5)              # or the id of a SentenceTransformer
>>> for example in miner(examples, documents):               # DocumentStore, or rows of the `documents` config
...     example["negatives"]
```

What every miner keeps to:

- The query is the sub-question in front of the query token; where the line holds none, the question.
- Mined negatives come after those that are there. None is a positive of any query token of the example, nor is one
  named twice.
- False negatives are left out: passages that hold the answer of the hop, that read like a positive, or that score too
  high (see [`HardNegativeMiner`]).
- A query token without positives takes part in no retrieval loss and is left as it is.
- The same examples and documents give the same negatives; equal scores stand in the order of the documents.
- `meta` says how: `{"negatives": {"method": "bm25", ..., "mined": [5, 4]}}`, the last numbers per query token.

Random negatives are not written into the data: `OneGenDataCollator(num_random_negatives=...)` draws them.
"""

from data_builders.hard_negatives.bm25 import Bm25Miner
from data_builders.hard_negatives.dense import DenseMiner
from data_builders.hard_negatives.miner import HardNegativeMiner

__all__ = ["Bm25Miner", "DenseMiner", "HardNegativeMiner", "make_miner"]


def make_miner(method: str, num_negatives: int = 5, query_token: str = "[RQ]") -> HardNegativeMiner:
    """
    Choose a miner by name.

    Args:
        method (`str`):
            `"bm25"`, or the id or folder of a SentenceTransformer.
        num_negatives (`int`, *optional*, defaults to 5):
            The most negatives mined per query token.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.

    Returns:
        `HardNegativeMiner`: The miner.

    Raises:
        `ValueError`: If `method` is empty or `num_negatives` is negative.
    """
    if not method.strip():
        raise ValueError('`method` is empty; give "bm25" or the id of a SentenceTransformer.')
    if method.lower() == "bm25":
        return Bm25Miner(num_negatives=num_negatives, query_token=query_token)
    return DenseMiner(num_negatives=num_negatives, query_token=query_token, model=method)
