"""Items come one at a time, whatever the layout of the file."""

from __future__ import annotations

import io
import json

from data_builders.json_stream import iterate_json
from data_builders.report import SplitReport


def test_an_array_on_one_line_is_not_read_as_a_whole() -> None:
    stream = io.BytesIO(json.dumps([{"n": n, "text": "x" * 1000} for n in range(3000)]).encode())
    items = iterate_json(stream)
    assert next(items)[1]["n"] == 0
    assert stream.tell() < 300_000
    assert [item["n"] for _, item in items] == list(range(1, 3000))


def test_a_first_line_longer_than_the_buffer() -> None:
    records = [{"text": "y" * 200_000}, {"text": "z"}]
    lines = "\n".join(json.dumps(record) for record in records).encode()
    assert list(iterate_json(io.BytesIO(b"\n\n" + lines))) == [(3, records[0]), (4, records[1])]


def test_the_report_adds_up_counts_inside_meta() -> None:
    report = SplitReport(counted_meta=("labels",))
    for counts in ({"mention": 2, "nil": 1}, {"mention": 1}):
        report.add({"positives": [], "negatives": [], "meta": json.dumps({"labels": counts})})
    assert report.as_dict()["meta"] == {"labels": {"mention": 3, "nil": 1}}
