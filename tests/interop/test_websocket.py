#!/usr/bin/python3
"""Python's websockets and Node's ws talk through the data path, both as client and as server, with and
without permessage-deflate: echoes of many sizes arrive, a denied message closes with 1008."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig

tap = gvmtest.Tap()
PYTHON, NODE = "/usr/bin/python3", shutil.which("node")
NODE_PATH = "/usr/share/nodejs"
if subprocess.run([PYTHON, "-c", "import websockets"], stderr=subprocess.DEVNULL).returncode or not NODE or \
        not os.path.isdir(NODE_PATH + "/ws"):
    tap.skip("WebSocket libraries through the data path", "python3-websockets or node-ws is not installed")
    tap.done()
home = gvmtest.Home()

PY_SERVER = """
import asyncio, sys, websockets
async def echo(ws, path=None):
    async for m in ws:
        await ws.send(m)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as s:
        print(s.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"""
NODE_SERVER = """
const { WebSocketServer } = require("ws");
const s = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });
s.on("connection", c => c.on("message", (m, binary) => c.send(m, { binary })));
s.on("listening", () => console.log(s.address().port));
"""
# Each client sends the messages it gets as JSON on stdin one after the other over a tunnel that was opened
# for it, and prints one line of JSON: what came back, or the code of the close.
PY_CLIENT = """
import asyncio, json, socket, sys, websockets
host, port, deflate = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
async def main():
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"CONNECT {host}:80 HTTP/1.1\\r\\nHost: {host}:80\\r\\n\\r\\n".encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += s.recv(1)
    s.setblocking(False)
    out = {"back": [], "code": None}
    try:
        async with websockets.connect(f"ws://{host}/ws", sock=s, max_size=None, compression="deflate" if deflate else None) as ws:
            for m in json.load(sys.stdin):
                await ws.send(m)
                out["back"].append(len(await asyncio.wait_for(ws.recv(), 20)))
    except websockets.ConnectionClosed as e:
        out["code"] = e.code
    print(json.dumps(out))
asyncio.run(main())
"""
NODE_CLIENT = """
const WebSocket = require("ws"), net = require("net"), fs = require("fs"), http = require("http");
const [host, port, deflate] = process.argv.slice(1);
const messages = JSON.parse(fs.readFileSync(0));
const out = { back: [], code: null };
const s = net.connect(Number(port), "127.0.0.1", () => s.write(`CONNECT ${host}:80 HTTP/1.1\\r\\nHost: ${host}:80\\r\\n\\r\\n`));
s.once("data", () => {
  const agent = new http.Agent();
  agent.createConnection = () => s;
  const ws = new WebSocket(`ws://${host}/ws`, { agent, perMessageDeflate: deflate === "1" });
  ws.on("open", () => ws.send(messages[0]));
  ws.on("message", m => { out.back.push(m.length); if (out.back.length < messages.length) ws.send(messages[out.back.length]); else ws.close(1000); });
  ws.on("close", code => { if (code !== 1000) out.code = code; console.log(JSON.stringify(out)); process.exit(0); });
  ws.on("error", e => { out.error = String(e); });
});
"""
# The same on a stream of HTTP/2 (RFC 8441): Node's http2 opens it, ws speaks on it.
NODE2_CLIENT = """
const WebSocket = require("ws"), net = require("net"), fs = require("fs"), http2 = require("http2");
const [host, port] = process.argv.slice(1);
const messages = JSON.parse(fs.readFileSync(0));
const out = { back: [], code: null };
const fail = e => { out.code = String(e); console.log(JSON.stringify(out)); process.exit(0); };
const s = net.connect(Number(port), "127.0.0.1", () => s.write(`CONNECT ${host}:80 HTTP/1.1\\r\\nHost: ${host}:80\\r\\n\\r\\n`));
s.once("data", () => {
  const session = http2.connect(`http://${host}`, { createConnection: () => s });
  session.on("error", fail);
  session.once("remoteSettings", settings => {
    if (!settings.enableConnectProtocol) return fail("extended CONNECT is not offered");
    const stream = session.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/ws", "sec-websocket-version": "13" });
    stream.on("error", fail);
    stream.on("response", h => {
      if (h[":status"] !== 200) return fail(h[":status"]);
      const ws = new WebSocket(null);
      ws._isServer = false; // without an address it takes itself for one
      ws.on("message", m => { out.back.push(m.length); if (out.back.length < messages.length) ws.send(messages[out.back.length]); else ws.close(1000); });
      ws.on("close", code => { if (code !== 1000) out.code = code; console.log(JSON.stringify(out)); process.exit(0); });
      ws.on("error", fail);
      stream.setNoDelay = () => {}; // ws takes it for a socket
      ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 0, skipUTF8Validation: false });
      ws.send(messages[0]);
    });
  });
});
"""
started = []


def serve(argv, text):
    p = subprocess.Popen(argv + [text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         env=dict(os.environ, NODE_PATH=NODE_PATH))
    started.append(p)
    return int(p.stdout.readline())


HOSTS = {"py.example.test": serve([PYTHON, "-c"], PY_SERVER), "node.example.test": serve([NODE, "-e"], NODE_SERVER)}
rules = '[policy]\ndefault = "Deny"\n'
for host in HOSTS:
    rules += f"""
[[rules]]
name = "no transfers"
method = "GET"
pattern = "{host}/ws"
ws = {{ direction = "send", json = [{{ path = "$.op", value = "transfer" }}] }}
unverifiable = "next"
decision = "Deny"
[[rules]]
method = "GET"
pattern = "{host}/ws"
decision = "Allow"
"""
home.write_config(rules + "[upstream.resolve]\n" + "".join(f'"{h}" = "127.0.0.1:{p}"\n' for h, p in HOSTS.items()))
daemon = rig.start_daemon(home)
run = rig.Run(home)
SIZES = ["", "a", "x" * 125, "y" * 126, "z" * 65535, "w" * 65536, "v" * 300000, json.dumps({"op": "look", "text": "ä" * 2000})]


def ask(client, host, deflate, messages):
    argv = {"python": [PYTHON, "-c", PY_CLIENT], "node": [NODE, "-e", NODE_CLIENT, "--"],
            "node over HTTP/2": [NODE, "-e", NODE2_CLIENT, "--"]}[client]
    done = subprocess.run(argv + [host, str(run.port), "1" if deflate else "0"], input=json.dumps(messages), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, env=dict(os.environ, NODE_PATH=NODE_PATH))
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"back": [], "code": done.stdout + done.stderr}


for host in HOSTS:
    for client in ("python", "node", "node over HTTP/2"):
        for deflate in (False, True) if client != "node over HTTP/2" else (False,):
            what = f"{client} to {host}{' with deflate' if deflate else ''}"
            got = ask(client, host, deflate, SIZES)
            tap.ok(len(got["back"]) == len(SIZES) and got["code"] is None, f"{what}: messages of many sizes come back", got)
            got = ask(client, host, deflate, ['{"op":"look"}', '{"op":"transfer","n":1}', "after"])
            tap.ok(len(got["back"]) == 1 and got["code"] == 1008, f"{what}: a denied message closes with 1008", got)
run.finish()
counted = [e["ws"] for e in rig.entries(home, "http.outcome") if e.get("run") == run.id and "ws" in e]
tap.ok(sum(c["sent"] == len(SIZES) and c["received"] == len(SIZES) for c in counted) == 10, "every message is counted", counted)
daemon.terminate()
daemon.wait(20)
for p in started:
    p.kill()
    p.wait()
tap.done()
