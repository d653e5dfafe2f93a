#!/usr/bin/python3
"""Node's HTTP parser (llhttp) as oracle for ours: what we accept, Node must read in the same way.

Every request that our parser takes from a connection must be seen by Node with the same method, target,
fields and body, and when we took a whole connection Node must see no request more. Being stricter is
allowed. Where Node refuses what we take, the reason stands in STRICTER_NODE.
"""
import collections
import json
import os
import random
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = int(os.environ.get("GVM_INTEROP_CASES", "2500"))

# What Node refuses although RFC 9112 allows it, by its error code.
STRICTER_NODE = {
    "HPE_INVALID_METHOD": "llhttp knows a fixed list of methods; RFC 9110 9.1 lets any token be one, and a "
                          "rule with method \"*\" must see them (attack P8)",
    "HPE_INVALID_URL": "llhttp takes no bytes above 0x7f and only some characters in some URL forms; we take "
                       "them and forward them percent-encoded",
    "HPE_INVALID_CONTENT_LENGTH": "llhttp takes spaces but no tab behind the number; RFC 9110 5.6.3 OWS has both",
    "HPE_CLOSED_CONNECTION": "the same tab behind the options of Connection; excused only with one",
    "upgrade with a body": "llhttp hands the body of a request with Upgrade to the new protocol; we do not see such a "
                           "request as an upgrade and forward it without its hop-by-hop fields",
}


def find_probe():
    base = os.environ.get("GVM_BIN") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
    for path in (os.path.join(base, "wire_probe"), os.path.join(base, "tests/unit/wire/wire_probe")):
        if os.access(path, os.X_OK):
            return path
    return None


HOST = b"Host: a.example\r\n"
BASES = [
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /a/b?c=d HTTP/1.1\r\n" + HOST + b"Accept: */*\r\nX-Empty:\r\nX-Two:  a b \t\r\n\r\n",
    b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /p HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
    b"PUT /p HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTrailer: T\r\n\r\na\r\n0123456789\r\n0\r\n"
    b"T: v\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET http://a.example/x HTTP/1.1\r\n" + HOST + b"\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST /p HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    b"DELETE /x HTTP/1.1\r\nhost:a.example\r\nContent-Length: 0\r\n\r\n",
    b"PROPFIND /x HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"X: \xc3\xa9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
]
# Heads and bodies that must not be read in two ways; we refuse each.
SMUGGLING = [
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a.example\n\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rGET /2 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
]
PIECES = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x7f", b"\xff", b",", b";", b"0", b"1", b"a", b"%2e", b"/",
          b"\r\n ", b"HTTP/1.1", b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
          b"Connection: close\r\n", b"X: y\r\n", b"\"", b"#", b"?", b"*"]


def mutate(rng):
    data = bytearray(b"".join(rng.choice(BASES) for _ in range(rng.choice((1, 1, 2, 3)))))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del data[at:at + rng.choice((1, 1, 2, 5))]
        elif kind == 2:
            data[at:at + 1] = rng.choice(PIECES)
        else:
            # At the start of a line, where fields go.
            lines = bytes(data).split(b"\r\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(PIECES).strip(b"\r\n"))
            data = bytearray(b"\r\n".join(lines))
    return bytes(data)


def ask(command, prefix, cases):
    text = "".join(prefix + c.hex() + "\n" for c in cases)
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def plain_headers(message):
    return [[h["name"], h["value"]] for h in message["headers"]]


def has_framing(message):
    names = {bytes.fromhex(h["name"]).lower() for h in message["headers"]}
    return bool(names & {b"content-length", b"transfer-encoding"})


def compare(data, ours, node, excused):
    """None when Node agrees, else what differs."""
    for i, mine in enumerate(ours["messages"]):
        if mine["body_end"] == "refused":
            return None
        if i >= len(node["messages"]):
            tab = b"\t\r\n" in data and node["error"] == "HPE_CLOSED_CONNECTION"
            if tab or node["error"] in STRICTER_NODE and node["error"] != "HPE_CLOSED_CONNECTION":
                excused[node["error"]] += 1
                return None
            return f"Node did not see request {i + 1} ({node['error']}, {node['status']})"
        his = node["messages"][i]
        if his["how"] == "upgrade" and not mine["upgrade"] and has_framing(mine):
            excused["upgrade with a body"] += 1
            return None
        for key in ("method", "target", "minor", "body"):
            if mine[key] != his[key]:
                return f"request {i + 1}: {key} {mine[key]} here, {his[key]} there"
        if plain_headers(mine) != his["headers"]:
            return f"request {i + 1}: fields {plain_headers(mine)} here, {his['headers']} there"
        if (mine["body_end"] == "done") != his["complete"]:
            return f"request {i + 1}: body {mine['body_end']} here, complete={his['complete']} there"
    if ours["end"] == "done" and len(node["messages"]) > len(ours["messages"]):
        return "Node sees a request more"
    return None


def main():
    probe, node = find_probe(), shutil.which("node")
    if not probe or not node:
        print("ok 1 - http1 against Node # SKIP " + ("no node" if probe else "no wire_probe"))
        print("1..1")
        return 0
    rng = random.Random(int(os.environ.get("GVM_INTEROP_SEED", "20261123")))
    cases = BASES + SMUGGLING + [mutate(rng) for _ in range(CASES)]
    ours = ask([probe], "requests ", cases)
    theirs = ask([node, os.path.join(HERE, "http1_oracle.js")], "", cases)
    excused = collections.Counter()
    failures, accepted = [], 0
    for data, mine, his in zip(cases, ours, theirs):
        accepted += bool(mine["messages"])
        why = compare(data, mine, his, excused)
        if why:
            failures.append((data, why))
    results = [
        ("every answer came back", len(ours) == len(theirs) == len(cases)),
        ("ordinary requests are taken whole", all(o["end"] == "done" and o["messages"] for o in ours[:len(BASES)])),
        ("smuggling is refused", all(o["end"] == "refused" for o in ours[len(BASES):len(BASES) + len(SMUGGLING)])),
        (f"Node reads {accepted} of {len(cases)} connections as we do", not failures),
        ("the cases reach both sides of the border", CASES // 10 < accepted < len(cases)),
    ]
    for i, (name, good) in enumerate(results, 1):
        print(f"{'' if good else 'not '}ok {i} - {name}")
    for data, why in failures[:20]:
        print(f"# {why}\n#   {data!r}")
    for code, count in sorted(excused.items()):
        print(f"# {count} x {code}: {STRICTER_NODE[code]}")
    print(f"1..{len(results)}")
    return 0 if all(good for _, good in results) else 1


if __name__ == "__main__":
    sys.exit(main())
