"""A Lance dataset in a repository of the Hub is searched there, and only what a search needs is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.hub_processes import TOKEN, run
from support.loopback import LoopbackHub
from support.store_engines import require_engine

BUILD = """
import sys
import numpy as np
sys.path[:0] = sys.argv[3:]
from support.index_places import IndexPlace
from support.store_passages import unit
from onegen_hf import Passage
from onegen_hf.index.fingerprint import ModelFingerprint

url, count, hidden = sys.argv[1], 20_000, 64
vectors = unit(40, seed=3, hidden=hidden)[np.arange(count) % 40] + 0.5 * unit(count, hidden=hidden)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
letters = np.random.default_rng(1).integers(97, 123, (count, 400), np.uint8)
corpus = [Passage(f"p{n}", f"Title {n}", bytes(text).decode(), (), {"n": n}) for n, text in enumerate(letters)]
fingerprint = ModelFingerprint({"granularity": "passage"}, unit(4, hidden=hidden))
place = IndexPlace("lance", url)
index = place.fill(corpus, vectors, fingerprint=fingerprint)
place.remove(index, ["p7", "p8"])
np.save(sys.argv[2], vectors)
index.push_to_hub("org/films", private=True)
index.push_to_hub("org/films")
"""
SEARCH = """
import json, sys
import numpy as np
sys.path[:0] = sys.argv[3:]
from support.index_places import search
from onegen_hf import PassageIndex

vectors = np.load(sys.argv[2])
index = PassageIndex.load(sys.argv[1])
found = [search(index, vectors[n : n + 1], 3)[0] for n in range(100, 120)]
filtered = search(index, vectors[100:101], 3, {"n": {"$lt": 50}})
print(json.dumps({"found": found, "filtered": filtered, "count": len(index), "title": index.get("p9").title,
                  "model": index.model_id, "shown": repr(index)}))
"""
REFUSED = """
import json, sys
from onegen_hf import PassageIndex
from onegen_hf.index.stores.opening import StoreTarget

def refusal(use, name):
    try:
        use(name)
    except (ValueError, OSError) as error:
        return str(error)

uses = {"open": PassageIndex.load, "build": StoreTarget, "remove": lambda name: PassageIndex.load(name).remove(["p1"])}
print(json.dumps([refusal(uses[use], name) for use, name in json.loads(sys.argv[1])]))
"""
ROOT = Path(__file__).resolve().parents[2]
PATHS = (str(ROOT), str(ROOT / "tests"))


NAME = "hf://datasets/org/films/films.lance"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "?index=IVF_FLAT", "?index=IVF_PQ"])
def test_a_repository_is_searched_without_a_download(hub: LoopbackHub, tmp_path: Path, kind: str) -> None:
    require_engine("lance")
    vectors, cache = str(tmp_path / "vectors.npy"), tmp_path / "empty"
    run(hub, tmp_path / "cache", "-c", BUILD, f"lance://{tmp_path}/films{kind}", vectors, *PATHS)
    files = hub.repositories["datasets/org/films"]["main"]
    assert NAME.encode() in files["README.md"]
    assert len([name for name in files if name.startswith("films.lance/_versions/") and "manifest" in name]) == 1
    whole = sum(len(content) for content in files.values())
    hub.sent.clear()
    answer = json.loads(run(hub, cache, "-c", SEARCH, NAME, vectors, *PATHS))
    recall = sum(ids[0] == f"p{n}" for n, ids in enumerate(answer["found"], start=100)) / len(answer["found"])
    assert recall == 1 if kind != "?index=IVF_PQ" else recall >= 0.85
    assert all(int(identifier[1:]) < 50 for identifier in answer["filtered"][0])
    assert (answer["count"], answer["title"], answer["model"]) == (19_998, "Title 9", "org/m")
    assert TOKEN not in answer["shown"] and not list(cache.rglob("*.lance"))  # nothing is kept on disk
    if kind == "?index=IVF_PQ":
        searches = len(answer["found"]) + 1
        assert sum(hub.sent.values()) / searches < whole / 4


@pytest.mark.slow
def test_a_small_one_and_what_goes_wrong(hub: LoopbackHub, tmp_path: Path) -> None:
    require_engine("lance")
    vectors, cache = str(tmp_path / "vectors.npy"), tmp_path / "empty"
    build = BUILD.replace("20_000", "200")
    run(hub, tmp_path / "cache", "-c", build, f"lance://{tmp_path}/films?index=IVF_PQ", vectors, *PATHS)
    commit = next(revision for revision in hub.repositories["datasets/org/films"] if revision != "main")
    pinned = NAME.replace("films/", f"films@{commit}/", 1)
    answer = json.loads(run(hub, cache, "-c", SEARCH, pinned, vectors, *PATHS))
    assert [ids[0] for ids in answer["found"]] == [f"p{n}" for n in range(100, 120)]

    def refusals(*attempts: tuple[str, str], **changed: str) -> list[str]:
        return list(json.loads(run(hub, cache, "-c", REFUSED, json.dumps(attempts), **changed)))

    expected = {
        ("remove", NAME): "is only searched: change the dataset where it was built",
        ("build", NAME): "is only searched: build the index at lance://./folder/films",
        ("open", NAME.replace("films.lance", "other.lance")): "there is no such collection",
        ("open", NAME.replace("org", "nowhere")): "RepositoryNotFoundError",
        ("open", NAME.replace("films/", "films@never/", 1)): "RevisionNotFoundError",
    }
    for message, refusal in zip(expected.values(), refusals(*expected), strict=True):
        assert message in refusal
    (private,) = refusals(("open", NAME), HF_TOKEN="")
    (gone,) = refusals(("open", NAME), HF_ENDPOINT="http://127.0.0.1:9")
    assert "RepositoryNotFoundError" in private and "ConnectError" in gone
