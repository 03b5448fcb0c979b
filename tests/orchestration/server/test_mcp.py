"""`isotrope mcp` as a program, called by the official SDK's own client over stdin and stdout."""

import asyncio
import base64
import json
import os
import sys
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

import isotrope
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, picture
from tests.helpers.served import Served


def call(path: object, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """The server's tools, and the answers to calls of them."""

    async def main() -> tuple[list[Any], list[Any]]:
        words = ["-m", "orchestration.cli.main", "mcp", "--corpus", str(path)]
        command = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
        async with Client(command) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in calls]

    return asyncio.run(main())


@pytest.mark.parametrize("where", ["path", "server"])
def test_an_assistant_can_search(where: str, stored: Workspace, server: Served) -> None:
    local = isotrope.open_corpus(stored.root)
    expected = local.search("a red square number 15").select("key", "caption", "part_id").limit(3)
    rows = expected.to_list()
    red = base64.b64encode(picture(COLOURS["red"], 15)).decode()
    both = [[{"text": "a red square number 15"}], [{"text": "a red square number 3"}]]
    tools, answers = call(
        stored.root if where == "path" else server.url,
        [
            ("search", {"text": "a red square number 15", "limit": 3}),
            ("search", {"image": red, "limit": 1, "select": ["key"]}),
            ("sample", {"id": rows[0]["id"]}),
            ("thumbnail", {"part_id": rows[0]["part_id"]}),
            ("release", {}),
            ("search", {"text": "a square", "hybrid": "red", "limit": 2}),
            ("search", {"query": {"queries": both, "compound": {"any": [0, 1]}, "limit": 2}}),
            ("search", {"text": "x", "where": "nonsense > 1"}),
            ("search", {"image": "/etc/passwd"}),
            ("search", {"text": "x", "limit": 100_000}),
            ("sample", {"id": "../../etc/passwd"}),
            ("search", {"query": {"inputs": [{"text": "x"}], "limit": 101}}),
            ("search", {"text": "x", "query": {"inputs": [{"text": "x"}]}}),
            ("search", {"query": {"inputs": [{"image": "/etc/passwd"}]}}),
        ],
    )
    assert {tool.name for tool in tools} == {"search", "sample", "thumbnail", "release"}
    assert all(tool.annotations.read_only_hint for tool in tools)
    found, by_image, sample, thumbnail, release, hybrid, compound, *wrong = answers
    assert found.structured_content["rows"] == rows
    assert by_image.structured_content["rows"][0]["key"] == "red-0015"
    assert sample.structured_content["text"] == "a red square number 15"
    assert thumbnail.content[0].mime_type == "image/jpeg"
    assert base64.b64decode(thumbnail.content[0].data) == local.thumbnail(rows[0]["part_id"])
    assert release.structured_content["modalities"] == ["image", "text"]
    assert hybrid.structured_content["rows"][0]["_text_score"] > 0
    joined = isotrope.any_of(*(local.search(inputs[0]["text"]) for inputs in both)).limit(2)
    keys = [row["key"] for row in compound.structured_content["rows"]]
    assert keys == [row["key"] for row in joined.to_list()]
    assert all(answer.is_error for answer in wrong)
    messages = [json.dumps(answer.content[0].text) for answer in wrong]
    assert "columns:" in messages[0]
    assert "base64" in messages[1]
    assert "is not an id" in messages[3]
