"""`MultiHopConverter`: HotpotQA, 2WikiMultihopQA, MuSiQue, and any record with a decomposition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from data_builders.converter import Converter
from data_builders.documents import DocumentStore, read_context
from data_builders.errors import Dropped, RecordError
from data_builders.multi_hop.aliases import EntityAliases
from data_builders.multi_hop.conversion import add_context, make_example, read_question, record_id
from data_builders.multi_hop.decomposition import as_question
from data_builders.multi_hop.fields import decode_record, match_title, read_answers, required_text, supporting_facts
from data_builders.multi_hop.llm import LlmDecomposer, Question
from data_builders.multi_hop.musique import check_answerable, is_musique
from data_builders.multi_hop.side_file import SideFile
from data_builders.records import Located
from data_builders.title_neighbours import TitleNeighbours


@dataclass
class MultiHopConverter(Converter):
    """
    Questions over several passages: every hop is a sub-question, the query token, the passage, and the sub-answer.

    Reads HotpotQA (pairs, and the columns of its Parquet files), 2WikiMultihopQA (also where fields are JSON texts),
    MuSiQue, FlashRAG's versions of them, and any record with a `decomposition`. An example's `meta.decomposition` says
    where its hops are from:

    | `meta.decomposition` | hops |
    |---|---|
    | `side_file` | `decompositions`, by the record's id |
    | `given` | the record's `decomposition`, `[{sub_question, answer, title}, ...]` |
    | `musique` | MuSiQue's `question_decomposition` |
    | `evidences` | 2WikiMultihopQA's facts, by a template per relation |
    | `llm` | the model at `llm_url` |
    | `heuristic` | a hop per supporting passage, see [`heuristic_hops`] |

    `meta` keeps `type`, `level`, `supporting_facts` (titles and numbers of the document's sentences) and `evidences`
    for evaluation. A question without an answer, or marked as not answerable, is dropped.

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop, from the record's own context.
        num_title_negatives (`int`, *optional*, defaults to 0):
            Further ones, the passages with the most similar titles. Compares all titles with each other: for corpora
            of up to some 50,000 passages.
        write_order (`bool`, *optional*, defaults to `False`):
            Below a comparison of dates also write which of the two is later, which is earlier, and the one of these
            lines that is asked for, from which a small model can copy the answer.
        write_query (`bool`, *optional*, defaults to `True`):
            Write a sub-question in front of every query token. Without it the query is the state after the question,
            and then after the passage and the answer of the hop before.
        id_prefix (`str`, *optional*, defaults to `""`):
            Stands in front of the ids of all passages, so that several corpora can be trained on together.
        decompositions (`str`, *optional*):
            A file of decompositions by question id, see [`SideFile`].
        entity_aliases (`str`, *optional*):
            2WikiMultihopQA's `id_aliases.json`: adds the aliases of the answer's entity to `answers`.
        llm_url (`str`, *optional*):
            An OpenAI-compatible endpoint that decomposes the other questions, e.g. `http://localhost:8000/v1`.
        llm_model (`str`, *optional*):
            Its model; needed with `llm_url`.
        llm_cache (`str`, *optional*):
            The file that keeps its replies; needed with `llm_url`.
        llm_api_key_env (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            The environment variable with its key.
        llm_workers (`int`, *optional*, defaults to 8):
            How many requests are under way at a time.

    Raises:
        `ValueError`: If an option is out of its range, or one that another needs is missing.
    """

    num_title_negatives: int = 0
    write_order: bool = False
    write_query: bool = True
    id_prefix: str = ""
    decompositions: str | None = None
    entity_aliases: str | None = None
    llm_url: str | None = None
    llm_model: str | None = None
    llm_cache: str | None = None
    llm_api_key_env: str = "OPENAI_API_KEY"
    llm_workers: int = 8

    name: ClassVar[str] = "multi-hop"
    title: ClassVar[str] = "Multi-hop questions for OneGen"
    path_options: ClassVar[tuple[str, ...]] = ("decompositions", "entity_aliases", "llm_url", "llm_cache")
    counted_meta: ClassVar[tuple[str, ...]] = ("decomposition", "decomposition_failure", "type", "comparison")

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("num_negatives", "num_title_negatives"):
            if getattr(self, option) < 0:
                raise ValueError(f"`{option}` must not be negative, got {getattr(self, option)}.")
        if self.llm_workers < 1:
            raise ValueError(f"`llm_workers` must be at least 1, got {self.llm_workers}.")
        if self.llm_url and not (self.llm_model and self.llm_cache):
            raise ValueError("`llm_url` needs `llm_model` and `llm_cache`; name the model and a file for its replies.")
        self._side_file = SideFile(self.decompositions) if self.decompositions else None
        self._aliases = EntityAliases(self.entity_aliases) if self.entity_aliases else None
        self._llm = (
            LlmDecomposer(
                self.llm_url,
                self.llm_model,
                self.llm_cache,
                api_key_env=self.llm_api_key_env,
                workers=self.llm_workers,
            )
            if self.llm_url and self.llm_model and self.llm_cache
            else None
        )
        self._neighbours: TitleNeighbours | None = None
        self._has_corpus = False

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put one record of a corpus file into `store`; contexts are then looked up and add nothing."""
        super().add_corpus_record(record, store)
        self._has_corpus = True

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """
        Put the passages of a row's context into `store`, unless there is a corpus.

        Raises:
            `RecordError`: If they are malformed.
        """
        if not self._has_corpus:
            add_context(decode_record(record), store)

    def _decode(self, record: Mapping[str, Any]) -> dict[str, Any]:
        decoded = decode_record(record)
        if self._has_corpus and all(decoded.get(name) is None for name in ("context", "context_titles", "paragraphs")):
            decoded["context"] = []  # the corpus has the passages; the record offers no negatives
        return decoded

    def prepare(self, rows: Iterable[Located], store: DocumentStore) -> None:
        """Let the model, if there is one, decompose many questions at a time."""
        if self._llm is not None:
            self._llm.prepare(self._questions(rows, store))

    def _questions(self, rows: Iterable[Located], store: DocumentStore) -> Iterator[Question]:
        for located in rows:
            try:
                record = self._decode(located.record)
                question_id = record_id(record, "")
                if is_musique(record) or any(record.get(name) for name in ("decomposition", "evidences", "evidence")):
                    continue
                if self._side_file is not None and self._side_file.get(question_id):
                    continue
                read_answers(record)
                # The texts as the conversion looks them up: by the rule, which asks no one.
                read = read_question(record, store)
                texts = {passage.title: passage.text for passage in read.passages}
                yield as_question(record, lambda title, texts=texts: _text(texts, title), question_id)  # type: ignore[misc]
            except (Dropped, RecordError, KeyError, TypeError):
                continue  # reported, or counted, when the row is converted

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn one question into one example.

        Raises:
            `RecordError`: If a field is missing or malformed, or a title has no document.
            `Dropped`: If the question has no answer (`no_answer`) or can't be answered (`unanswerable`).
        """
        record = self._decode(record)
        required_text(record, "question")
        check_answerable(record)
        answers = read_answers(record)
        if self._aliases is not None:
            answers = list(dict.fromkeys([*answers, *self._aliases(record.get("answer_id"))]))
        if self.num_title_negatives and self._neighbours is None:
            self._neighbours = TitleNeighbours(store, self.num_title_negatives)
        question_id = record_id(record, default_id)
        read = read_question(record, store, question_id=question_id, side_file=self._side_file, llm=self._llm)
        return make_example(
            record,
            read,
            example_id=question_id,
            answers=answers,
            num_negatives=self.num_negatives,
            query_token=self.query_token,
            neighbours=self._neighbours,
            write_order=self.write_order,
            write_query=self.write_query,
            meta=_kept(record, read.decomposition.failure),
        )


def _kept(record: Mapping[str, Any], failure: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if failure is not None:
        kept["decomposition_failure"] = failure
    if record.get("supporting_facts"):
        kept["supporting_facts"] = _facts_in_documents(record)
    if record.get("evidences"):
        kept["evidences"] = record["evidences"]
    return kept


def _text(texts: Mapping[str, str], title: str) -> str:
    same = match_title(title, list(texts))
    return texts[same] if same is not None else texts[title]


def _facts_in_documents(record: Mapping[str, Any]) -> list[list[Any]]:
    """The supporting facts with the numbers of the documents' sentences: those leave the source's empty ones out."""
    texts = {title: sentences for title, sentences in read_context(record) if sentences is not None}
    return [
        [title, number if number is None or title not in texts else _filled(texts[title][:number])]
        for title, number in supporting_facts(record)
    ]


def _filled(sentences: Sequence[str]) -> int:
    return sum(bool(sentence.strip()) for sentence in sentences)
