"""An MCP server of the public SDK, over TLS: streamable HTTP at /mcp, SSE at /sse. server.py PORT CERT KEY LOG"""
import contextlib
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

port, certificate, key, log = sys.argv[1:]
server = MCPServer("bank")


def ran(text):
    with open(log, "a") as f:
        f.write(text + "\n")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    ran(f"add {a} {b}")
    return a + b


@server.tool()
def pay(amount: float, to: str) -> str:
    """Moves money."""
    ran(f"pay {amount} {to}")
    return f"paid {amount} to {to}"


@server.tool()
def delete_file(path: str) -> str:
    """Removes a file."""
    ran(f"delete_file {path}")
    return "gone"


anywhere = TransportSecuritySettings(enable_dns_rebinding_protection=False)
http = server.streamable_http_app(transport_security=anywhere)
sse = server.sse_app(transport_security=anywhere)


@contextlib.asynccontextmanager
async def lifespan(app):
    async with http.router.lifespan_context(http):
        yield

app = Starlette(routes=[*http.routes, *sse.routes], lifespan=lifespan)
uvicorn.run(app, host="127.0.0.1", port=int(port), ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
