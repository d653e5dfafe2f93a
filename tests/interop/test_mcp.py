"""MCP through the proxy: server and client of the public SDK, over streamable HTTP (both generations of the
protocol) and SSE; rules by tool and by typed argument; batches."""
import atexit
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig
import speak

HERE = os.path.dirname(os.path.abspath(__file__))
SDK = "mcp==2.3.0"
HOST = "mcp.example.test"
tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
venv = os.path.join(home.top, "venv")
python = os.path.join(venv, "bin", "python")
made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True)
if made.returncode == 0:
    made = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", SDK], capture_output=True,
                          text=True, timeout=300)
if made.returncode:
    if gvmtest.MUST_WORK:
        tap.ok(False, "the SDK is installed", made.stdout + made.stderr)
    else:
        tap.skip("MCP", "the SDK cannot be installed here")
    tap.done()
port, log = gvmtest.free_port(), os.path.join(home.top, "tools.log")
open(log, "w").close()
server = subprocess.Popen([python, os.path.join(HERE, "mcp", "server.py"), str(port), *certs.issue(HOST), log],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
atexit.register(server.kill)
home.write_config(f"""
[policy]
default = {{ type = "Deny", reason = "not on the list" }}
[[rules]]
name = "no deletions"
method = "POST"
pattern = "{HOST}"
mcp = {{ tool = "delete_*" }}
decision = {{ type = "Deny", reason = "nothing is deleted" }}
[[rules]]
name = "small payments"
method = "POST"
pattern = "{HOST}"
mcp = {{ tool = "pay", args = [{{ path = "$.amount", op = ">", value = 100 }}] }}
decision = {{ type = "Deny", reason = "at most 100" }}
[[rules]]
name = "tools"
method = "POST"
pattern = "{HOST}"
mcp = {{ tool = ["add", "pay"] }}
decision = "Allow"
[[rules]]
name = "the session"
method = "POST"
pattern = "{HOST}"
mcp = {{ method = ["initialize", "server/discover", "ping", "tools/list", "notifications/*"] }}
decision = "Allow"
[[rules]]
name = "its streams"
method = ["GET", "DELETE"]
pattern = "{HOST}"
decision = "Allow"
""" + gvmtest.upstream_config(certs.ca, {HOST: port}))
daemon = rig.start_daemon(home)
run = rig.Run(home)
up = gvmtest.wait_for(lambda: speak.Http1.ask(run, HOST, "/nothing").status == 404, 30, 0.2)
tap.ok(up, "the server is up", "" if up or server.poll() is None else server.stderr.read())


def ran():
    """Tools that the server ran since the last question."""
    with open(log) as f:
        lines = f.read().splitlines()
    open(log, "w").close()
    return lines


def agent(mode, path):
    env = {k: v for k, v in os.environ.items() if k.lower() not in ("no_proxy", "all_proxy")}
    env.update(HTTPS_PROXY=f"http://127.0.0.1:{run.port}", HTTP_PROXY=f"http://127.0.0.1:{run.port}", SSL_CERT_FILE=run.ca)
    out = subprocess.run([python, os.path.join(HERE, "mcp", "client.py"), mode, f"https://{HOST}{path}"], env=env,
                         capture_output=True, text=True, timeout=120)
    try:
        return json.loads(out.stdout.splitlines()[-1]), out.stderr
    except (IndexError, ValueError):
        return {}, out.stdout + out.stderr


NAMES = ["add", "delete_file", "pay"]
for mode in ("auto", "legacy"):
    ran()
    said, errors = agent(mode, "/mcp")
    tap.eq(said.get("tools"), NAMES, f"{mode}: tools are listed", errors[-2000:])
    calls = said.get("calls") or [""] * 6
    tap.eq((calls[0], calls[1], calls[5]), ("3", "paid 99.5 to x", "7"), f"{mode}: what the rules allow is called", calls)
    tap.ok(all(c.startswith("refused") for c in calls[2:5]) and "at most 100" in calls[2] and "nothing is deleted" in calls[4],
           f"{mode}: what they do not is refused, each call by itself, and the client is told why", calls)
    tap.eq(ran(), ["add 1 2", "pay 99.5 x", "add 3 4"], f"{mode}: nothing else ran")
said, errors = agent("sse", "/sse")
tap.eq((said.get("tools"), (said.get("calls") or [""])[0]), (NAMES, "3"), "sse: a tool is called", errors[-2000:])
tap.ok(said["calls"][1].startswith("refused") and ran() == ["add 1 2"], "sse: a large payment is not made", said)


def message(tool, ident=1, **arguments):
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def post(body, how, more=()):
    fields = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"), *more]
    return how.ask(run, HOST, "/mcp", "POST", fields, json.dumps(body).encode() if not isinstance(body, bytes) else body)


BAD, GOOD = message("delete_file", 2, path="/x"), message("add", 1, a=1, b=1)
for how in speak.BOTH[:1]:  # uvicorn speaks no HTTP/2
    for name, body, more, rule in (
            ("a call", BAD, (), "no deletions"), ("a batch that hides one", [GOOD, BAD], (), "no deletions"),
            ("a batch with a large payment", [GOOD, message("pay", 3, amount=101, to="x")], (), "small payments"),
            ("an amount as a text", message("pay", amount="101", to="x"), (), "small payments"),
            ("an amount as a list", message("pay", amount=[101], to="x"), (), "small payments"),
            ("two names", b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","name":"delete_file","arguments":{}}}',
             (), "no deletions"),
            ("a name that a field contradicts", BAD, [("Mcp-Method", "tools/call"), ("Mcp-Name", "add")], "no deletions"),
            ("another tool", message("shutdown"), (), "default"), ("another method", {**GOOD, "method": "resources/read"}, (), "default")):
        ran()
        a = post(body, how, more)
        told = a.json().get("error", {})
        tap.ok(a.status == 403 and told.get("data", {}).get("rule") == rule and not ran(), f"{name} is denied", a.raw + a.body)
run.finish()
seen = [e for e in rig.entries(home, "http.decision") if e["run"] == run.id]
rules = {e["rule"] for e in seen}
tap.ok({"no deletions", "small payments", "tools", "the session"} <= rules, "the record names the rules", rules)
tap.ok("99.5" not in json.dumps(seen) and "delete_file" not in json.dumps(seen), "and holds no body")
server.terminate()
gvmtest.end(daemon, 10)
tap.done()
