"""
Does one model answer people's questions better than with another retriever in its place?

```
python -m experiments.people.against_pipeline --data data/people_tokens --model onegen_hf/default_checkpoint \
  --families xquad_en squad_part nq_wiki hotpotqa --max-passages 800 --out outputs/people_pipeline
```

The language model, the passages and the questions are the same for all contenders; only who retrieves differs: the
model itself (by embedding alone, and with the search by words that its checkpoint asks for), all-MiniLM-L6-v2 (alone,
and with the same search by words), BM25, and the gold passages as the upper bound. One passage is inserted per
retrieval, of which all contenders read as many sentences as the checkpoint says and as often (for comparison, one
reads them once, and two read whole passages, as pipelines do), and nothing is declined. Indexes and answers are kept
in `--out`, where an interrupted run goes on. Of questions with one hop, a contender that finds the passage of an
earlier one that reads likewise gets its answer, as decoding is greedy.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm

from benchmarks.alternatives.encoder import load_minilm
from benchmarks.report import write_result
from experiments.study.retrievers import Bm25Retriever, EncoderRetriever, Retriever, pipeline_decoder
from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, PassageIndex
from onegen_hf.data.prompts import prompt_ids
from onegen_hf.evaluation.gold_decoder import GoldPassageDecoder
from onegen_hf.generation import Hit, OnePassDecoder, RowState
from onegen_hf.index.fusion import less_missing_words
from onegen_hf.index.words import WordIndex
from onegen_hf.metrics import ratio_confidence_interval
from onegen_hf.modeling.tokenizers import load_tokenizer

from .answers import all_found, record, rows_of
from .retrieval import gold_first

RESULTS = Path(__file__).parent / "results"
ONE_MODEL, EMBEDDINGS_ALONE, GOLD = "one model", "one model, embeddings alone", "gold passages"
ONCE, WHOLE = "one model, one reading", "one model, whole passages"
PIPELINE = "MiniLM, whole passages"
WORDS_WITH_MINILM = 0.17
"""Weight of the words beside MiniLM: the best of 0.05 to 0.29 for Natural Questions. For XQuAD more weight finds more,
as it does for the one model."""
BLOCK, ROWS = 32, 8
"""Questions between two writes, and those decoded together."""
Decoder = Callable[..., OnePassDecoder]


class EncoderAndWords:
    """
    A sentence encoder and BM25, whose scores are summed as [`PassageIndex.search`] does.

    Args:
        encoder ([`EncoderRetriever`])
        words ([`WordIndex`])
        weight (`float`): Of the words.
    """

    def __init__(self, encoder: EncoderRetriever, words: WordIndex, weight: float) -> None:
        self.encoder, self.words, self.weight = encoder, words, weight

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        found = []
        for text, near in zip(texts, self.encoder.search(texts, len(self.words)), strict=True):
            cosines = dict(near)
            found.append(list(less_missing_words(cosines, self.words.scores(text), self.weight).items())[:k])
        return found


def contenders(index: PassageIndex, encoder: Any, questions: Dataset) -> dict[str, Decoder]:
    """Who retrieves, by name."""
    passages = list(index)
    minilm = EncoderRetriever(encoder, passages)
    words = WordIndex.build(passages)
    retrievers: dict[str, Retriever] = {
        "MiniLM": minilm,
        "MiniLM and words": EncoderAndWords(minilm, words, WORDS_WITH_MINILM),
        "BM25": Bm25Retriever(passages),
    }
    by_id = {passage.id: passage for passage in passages}
    gold = {row["question"]: row["positives"] for row in questions}

    def with_gold(*args: Any, questions: Sequence[str], **options: Any) -> OnePassDecoder:
        of_rows = [gold[question] for question in questions]
        return GoldPassageDecoder(*args, questions=questions, gold=of_rows, passages_by_id=by_id, **options)

    pipelines = {name: pipeline_decoder(retriever) for name, retriever in retrievers.items()}
    return {
        ONE_MODEL: OnePassDecoder,
        EMBEDDINGS_ALONE: partial(OnePassDecoder, hybrid=0.0),
        **pipelines,
        GOLD: with_gold,
        ONCE: partial(OnePassDecoder, readings=1),
        WHOLE: partial(OnePassDecoder, inserted_sentences=0),
        PIPELINE: partial(pipelines["MiniLM"], inserted_sentences=0),
    }


def first_passages(rag: OneGenRagPipeline, decoder: Decoder, questions: Sequence[str]) -> list[list[str] | None]:
    """Ids of the passages that a contender finds first for each question; `None` where it retrieves nothing."""
    made = decoder(rag.index, rag.tokenizer, rag.model.onegen_config, max_hops=1, questions=questions)
    retrieve = made.retrieve

    def only_find(rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        found.update({row.number: hits for row, hits in zip(rows, retrieve(rows, embeddings), strict=True)})
        return [[] for _ in rows]

    found: dict[int, list[Hit]] = {}
    made.retrieve = only_find  # type: ignore[method-assign]
    prompts = [prompt_ids(rag.tokenizer, rag.model.onegen_config, question) for question in questions]
    rag.engine.answer(prompts, made, max_new_tokens=1, do_sample=False)
    return [[hit.passage.id for hit in found[row]] if row in found else None for row in range(len(questions))]


def answer(
    rag: OneGenRagPipeline, family: str, questions: Dataset, decoder: Decoder, path: Path, known: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """
    The records of a contender, kept in a file line by line.

    Args:
        rag ([`OneGenRagPipeline`])
        family (`str`)
        questions (`datasets.Dataset`): `question`, `answers`, `positives`.
        decoder (`Callable`)
        path (`Path`)
        known (`list[dict]`): Records of earlier contenders.
    """
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    of_one_hop = {(one["question"], *one["found"][0]): one for one in known if len(one["found"]) == 1}
    config, describer = rag.model.onegen_config, rag.describer.with_answer_threshold(-math.inf)
    with path.open("a", encoding="utf-8") as file, tqdm(total=len(questions), desc=f"{family}, {path.stem}") as bar:
        bar.update(len(records))
        for start in range(len(records), len(questions), BLOCK):
            block = [questions[row] for row in range(start, min(start + BLOCK, len(questions)))]
            found: list[dict[str, Any] | None] = [None] * len(block)
            if known and all(len(asked["positives"]) == 1 for asked in block):
                first = first_passages(rag, decoder, [asked["question"] for asked in block])
                found = [
                    None if ids is None else of_one_hop.get((asked["question"], *ids))
                    for asked, ids in zip(block, first, strict=True)
                ]
            left = [place for place, own in enumerate(found) if own is None]
            texts = [block[place]["question"] for place in left]
            if texts:
                made = decoder(rag.index, rag.tokenizer, config, max_rows=ROWS, questions=texts)
                prompts = [prompt_ids(rag.tokenizer, config, text) for text in texts]
                rows = rag.engine.answer(prompts, made, max_new_tokens=96, do_sample=False)
                for place, row in zip(left, rows, strict=True):
                    asked = block[place]
                    found[place] = record(family, asked, describer.describe(row, asked["question"]))
            done = [own for own in found if own is not None]
            records += done
            file.writelines(json.dumps(own, ensure_ascii=False) + "\n" for own in done)
            file.flush()
            bar.update(len(block))
    return records


def interval(values: Sequence[float]) -> list[float]:
    """Mean, lower and upper bound (95 %, bootstrap over questions)."""
    low, high = ratio_confidence_interval(values, [1.0] * len(values))
    return [round(value, 4) for value in (float(np.mean(values)), low, high)]


def summary(records: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Scores of the contenders on one family, and the lead of the one model over each, paired by question."""
    own = [one["f1"] for one in records[ONE_MODEL]]
    return {
        name: {
            "all_found": interval([all_found(one) for one in of_one]),
            "exact_match": interval([one["exact_match"] for one in of_one]),
            "f1": interval([one["f1"] for one in of_one]),
            "points_of_f1_behind_the_one_model": interval(
                [100 * (a - one["f1"]) for a, one in zip(own, of_one, strict=True)]
            ),
        }
        for name, of_one in records.items()
    }


def main() -> None:
    """Run the measurement."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, required=True, help="what experiments.people.prepare wrote")
    parser.add_argument("--model", required=True)
    parser.add_argument("--families", nargs="+", required=True)
    parser.add_argument("--questions", type=int, help="of a family, the first ones; default: all")
    parser.add_argument("--max-passages", type=int, help="searched per family, the gold ones among them; default: all")
    parser.add_argument("--out", type=Path, required=True, help="for indexes and answers")
    parser.add_argument("--name", default="against_pipeline", help="of the result")
    options = parser.parse_args()
    model, tokenizer = OneGenForCausalLM.from_pretrained(options.model).eval(), load_tokenizer(options.model)
    encoder = load_minilm("float32", "cpu")
    development, documents = (
        Dataset.from_parquet(str(options.data / f"{name}.parquet")) for name in ("development", "documents")
    )
    results: dict[str, Any] = {}
    for family in options.families:
        asked = development.filter(lambda name, wanted=family: name == wanted, input_columns="family")
        asked = asked.select(range(min(options.questions or len(asked), len(asked))))
        folder = options.out / family
        if not (folder / "index" / "index.json").is_file():
            corpus = documents.filter(lambda name, wanted=family: name == wanted, input_columns="family")
            if options.max_passages is not None:
                corpus = gold_first(corpus, asked, options.max_passages)
            rows = rows_of(corpus)
            PassageIndex.build(model, tokenizer, rows, checkpoint_dir=folder / "encoding").save(folder / "index")
        index = PassageIndex.load(folder / "index")
        rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
        records: dict[str, list[dict[str, Any]]] = {}
        for name, decoder in contenders(index, encoder, asked).items():
            path = folder / f"{name.replace(',', '').replace(' ', '_')}.jsonl"
            # Who reads otherwise answers differently.
            alike = {ONCE: [], WHOLE: [], PIPELINE: [WHOLE]}.get(name, list(records))
            known = [one for other in alike for one in records[other]]
            records[name] = answer(rag, family, asked, decoder, path, known)
        results[family] = {"questions": len(asked), "passages": len(index), "contenders": summary(records)}
        write_result(
            RESULTS / f"{options.name}.json",
            {
                "question": "Does one model answer better than with another retriever in its place?",
                "families": results,
            },
        )


if __name__ == "__main__":
    main()
