"""The tools of `onegen-hf mcp`, asked by the official client over standard input and output."""

from __future__ import annotations

import asyncio
import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="mcp is not installed (make test-integrations)")

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from support.linking_setup import ENTITIES
from support.tiny_models import tiny_model
from transformers import pipeline

from onegen_hf import PassageIndex, RetrievalTokens

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def linking_checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = copy.deepcopy(base_tokenizer)
    tokenizer.padding_side = "left"
    model = tiny_model(tokenizer, tokens=RetrievalTokens.entity_linking())
    index = PassageIndex.build(model, tokenizer, ENTITIES, show_progress=False)
    directory = tmp_path_factory.mktemp("linker")
    pipeline("onegen-entity-linking", model=model, tokenizer=tokenizer, index=index).save_pretrained(directory)
    return directory


def test_the_tools(rag: Any, checkpoint: Path, linking_checkpoint: Path) -> None:
    options = ["--model", str(checkpoint), "--linker", str(linking_checkpoint)]
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "onegen_hf", "mcp", *options], env={"PYTHONPATH": str(ROOT)}
    )
    calls: dict[str, Any] = {}

    async def talk() -> None:
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            await session.initialize()
            calls["tools"] = (await session.list_tools()).tools
            for name, arguments in (
                ("search", {"query": "Who made Tin Boat?", "k": 3}),
                ("ask", {"question": "Where is it?", "k": 2}),
                ("link", {"text": "Ada Moll was born in Fern Bay."}),
                ("search", {"query": "", "k": 3}),
                ("search", {"query": "Who?", "k": 1000}),
            ):
                calls[f"{name} {arguments}"] = await session.call_tool(name, arguments)

    asyncio.run(talk())
    tools, searched, asked, linked, empty, many = calls.values()
    assert [tool.name for tool in tools] == ["search", "ask", "link"]
    assert all(tool.description for tool in tools)

    def content(result: Any) -> Any:
        assert not result.is_error, result
        return json.loads(result.content[0].text)

    passages = content(searched)["passages"]
    assert [p["id"] for p in passages] == [p.id for p in rag.index.search_text("Who made Tin Boat?", 3)]
    expected = rag("Where is it?", k=2)
    assert content(asked)["answer"] == expected.answer
    assert [r["query"] for r in content(asked)["retrievals"]] == [r.query for r in expected.retrievals]
    assert set(content(linked)) == {"mentions"}
    assert empty.is_error and many.is_error and "less than or equal to 50" in many.content[0].text
