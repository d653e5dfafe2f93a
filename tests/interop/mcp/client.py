"""Calls tools by the client of the public SDK and prints what came of each as JSON. client.py MODE URL
MODE: auto, legacy (streamable HTTP, by version of the protocol) or sse. Proxy and trust come from the environment."""
import asyncio
import json
import sys

from mcp import Client
from mcp.client.sse import sse_client

CALLS = (("add", {"a": 1, "b": 2}), ("pay", {"amount": 99.5, "to": "x"}), ("pay", {"amount": 100.01, "to": "x"}),
         ("pay", {"amount": 1e9, "to": "x"}), ("delete_file", {"path": "/x"}), ("add", {"a": 3, "b": 4}))
mode, url = sys.argv[1:]


async def call(client, tool, arguments):
    # The SDK's SSE client never ends a call whose message was answered with an error.
    lost = mode == "sse" and arguments.get("amount", 0) > 100
    try:
        result = await asyncio.wait_for(client.call_tool(tool, arguments), 2 if lost else 30)
        return "error" if result.is_error else result.content[0].text
    except Exception as error:
        return f"refused: {type(error).__name__}: {error}"


async def session(said, calls):
    where = sse_client(url) if mode == "sse" else url
    async with Client(where, mode="legacy" if mode == "sse" else mode) as client:
        said["tools"] = sorted(t.name for t in (await client.list_tools()).tools)
        said["calls"] += [await call(client, *c) for c in calls]


async def main():
    said = {"calls": []}
    # ... nor can its session be used after that.
    for calls in [[c] for c in (CALLS[0], CALLS[3])] if mode == "sse" else [CALLS]:
        await session(said, calls)
    print(json.dumps(said))

asyncio.run(main())
