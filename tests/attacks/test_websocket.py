"""Attacks on rules for WebSocket messages (tests/lib/proxyrig.py), with frames written by hand: parts,
compression, binary, sizes, frames that are none; on connections of HTTP/1.1 and on streams of HTTP/2
(RFC 8441). What is allowed arrives byte for byte. (N20)"""
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import h2.exceptions
import h2rig
import proxyrig as rig

tap = gvmtest.Tap()
home = gvmtest.Home()
CHAT, FREE = "chat.example.test", "free.example.test"
MASK = b"\x11\x22\x33\x44"


def frame(payload, first=0x81, mask=MASK):
    n = len(payload)
    head = bytes([first, (0x80 if mask else 0) | (n if n < 126 else 126 if n < 65536 else 127)])
    head += b"" if n < 126 else struct.pack(">H", n) if n < 65536 else struct.pack(">Q", n)
    if not mask:
        return head + payload
    return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload))


class Peer:
    """A server that answers the handshake, keeps what it gets, and says what it is told to."""

    def __init__(self, extensions=""):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.extensions, self.got, self.conn = extensions, b"", None
        self.accept = None  # instead of the right answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            self.got, self.conn, self.ended = b"", s, False
            threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        head = rig.read_head(s)
        key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = self.accept or base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        more = f"Sec-WebSocket-Extensions: {self.extensions}\r\n".encode() if self.extensions else b""
        s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Accept: " + accept + b"\r\n" + more + b"\r\n")
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    break
                self.got += part
        except OSError:
            pass
        self.ended = True


chat, packed, free = Peer(), Peer("permessage-deflate"), Peer()
ZIP, ODD, LIAR = "zip.example.test", "odd.example.test", "liar.example.test"
odd, liar = Peer("x-unknown"), Peer()
rules = f"""
[policy]
default = "Deny"
"""
for host in (CHAT, ZIP, ODD, LIAR):
    rules += f"""
[[rules]]
name = "no transfers"
method = "GET"
pattern = "{host}/ws"
ws = {{ direction = "send", json = [{{ path = "$.op", value = "transfer" }}] }}
unverifiable = "next"
decision = {{ type = "Deny", reason = "no transfers" }}
[[rules]]
name = "no secrets"
method = "GET"
pattern = "{host}/ws"
ws = {{ text = "*gvm-ph-*" }}
max_body_bytes = 100000
decision = {{ type = "Deny", reason = "no secrets" }}
[[rules]]
method = "GET"
pattern = "{host}/ws"
decision = "Allow"
"""
rules += f"""
[[rules]]
method = "GET"
pattern = "{FREE}"
decision = "Allow"
"""
PEERS = {CHAT: chat, ZIP: packed, ODD: odd, FREE: free, LIAR: liar}
home.write_config(rules + "[upstream.resolve]\n" + "".join(f'"{h}" = "127.0.0.1:{p.port}"\n' for h, p in PEERS.items()))
daemon = rig.start_daemon(home)
run, over2 = None, False


class Stream:
    """A WebSocket on a stream of HTTP/2, to be used like a socket."""

    def __init__(self, host, path="/ws", fields=()):
        self.client = h2rig.Client(run.connect())
        gvmtest.wait_for(lambda: self.client.pump(0.1) and self.client.conn.remote_settings.enable_connect_protocol, 5)
        self.ident = self.client.begin(host, fields=[
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path), (":authority", host),
            ("sec-websocket-version", "13"), *fields], end=False)
        self.answer = self.client.wait(self.ident, until=lambda a: a.headers)
        self.taken = 0

    def sendall(self, data):
        try:
            self.client.send(self.ident, data)
        except h2.exceptions.ProtocolError:
            raise OSError("the stream has ended")

    def recv(self, n):
        a = self.client.wait(self.ident, 5, until=lambda a: len(a.body) > self.taken or a.ended)
        part = a.body[self.taken:self.taken + n]
        self.taken += len(part)
        return part

    def settimeout(self, seconds):
        pass

    def close(self):
        self.client.close()


def opened(host, path="/ws"):
    if over2:
        s = Stream(host, path)
        assert s.answer.status == 200, s.answer.headers
        return s
    s = run.connect()
    s.sendall(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
              f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}\r\n\r\n".encode())
    head = rig.read_head(s)
    assert head.startswith(b"HTTP/1.1 101"), head
    return s


def wait(check, seconds=5):
    end = time.monotonic() + seconds
    while not check() and time.monotonic() < end:
        time.sleep(0.01)
    return check()


def closed_with(s):
    """The code of the close frame that ends what is read, None without one."""
    data = b""
    s.settimeout(5)
    try:
        while True:
            part = s.recv(65536)
            if not part:
                break
            data += part
    except OSError:
        pass
    at = data.rfind(b"\x88")
    return struct.unpack(">H", data[at + 2:at + 4])[0] if at >= 0 and len(data) >= at + 4 else None


def deflated(text):
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (z.compress(text) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]


BAD = json.dumps({"op": "transfer", "to": "x"}).encode()
GOOD = json.dumps({"op": "look"}).encode()
SECRET = b"here: gvm-ph-1234"


def passes(host, peer, sent, name):
    s = opened(host)
    s.sendall(sent)
    tap.ok(wait(lambda: peer.got == sent), name + " arrives as it was sent", f"{peer.got[:200]!r}\n{rig.daemon_log(home)[-500:]}")
    s.close()


def denied(host, peer, sent, name, code=1008, leaks=()):
    s = opened(host)
    s.sendall(sent)
    got = closed_with(s)
    told = code != 1008 or wait(lambda: b"\x88" in peer.got[-2 - 4 - 2 - 130:])
    ok = got == code and told and wait(lambda: peer.ended) and not any(leak in peer.got for leak in leaks)
    last = peer.got[-2 - 4 - 2 - 130:]
    tap.ok(ok and (code != 1008 or b"\x88" in last), name + f" closes with {code}", f"{got} {peer.got!r}")
    s.close()


def test_send():
    passes(CHAT, chat, frame(GOOD) + frame(b"hello") + frame(b"\x00\x01", 0x82) + frame(b"p", 0x89), "an ordinary message")
    passes(CHAT, chat, frame(GOOD[:5], 0x01) + frame(GOOD[5:], 0x80), "a message in parts")
    hidden = (frame(BAD),)
    denied(CHAT, chat, frame(BAD), "a transfer", leaks=hidden)
    denied(CHAT, chat, frame(GOOD) + frame(BAD), "a transfer behind another message", leaks=hidden)
    denied(CHAT, chat, b"".join(frame(BAD[i:i + 1], (0x01 if i == 0 else 0) | (0x80 if i + 1 == len(BAD) else 0)) for i in range(len(BAD))),
           "a transfer a byte a frame")
    denied(CHAT, chat, frame(BAD, 0x82), "a transfer as binary", leaks=(frame(BAD, 0x82),))
    denied(CHAT, chat, frame(b'{"Op":"transfer"}'), "a transfer in another case")
    denied(CHAT, chat, frame(b'[{"op":"transfer"}]'), "a transfer in a list")
    denied(CHAT, chat, frame(SECRET, 0x82), "a secret in a binary frame")
    denied(CHAT, chat, frame(b"x" * 200000 + SECRET), "a message larger than is looked at")
    s = opened(CHAT)
    for b in frame(BAD):
        s.sendall(bytes([b]))
        time.sleep(0.002)
    tap.eq(closed_with(s), 1008, "a transfer a byte at a time")


def test_receive():
    s = opened(CHAT)
    said = frame(b"ok", mask=None) + frame(GOOD, 0x82, None)
    chat.conn.sendall(said)
    s.settimeout(5)
    tap.eq(rig.exactly(s, len(said)), said, "what the server says arrives as it was said")
    chat.conn.sendall(frame(BAD, mask=None))
    tap.eq(rig.exactly(s, len(frame(BAD, mask=None))), frame(BAD, mask=None), "a rule for one direction leaves the other")
    chat.conn.sendall(frame(SECRET, mask=None))
    tap.eq(closed_with(s), 1008, "a secret that comes back closes")


def test_deflate():
    passes(ZIP, packed, frame(deflated(GOOD), 0xc1) + frame(b"plain"), "a compressed message")
    denied(ZIP, packed, frame(deflated(BAD), 0xc1), "a compressed transfer")
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = (z.compress(GOOD) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]
    second = (z.compress(SECRET) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]
    denied(ZIP, packed, frame(first, 0xc1) + frame(second[:4], 0x41) + frame(second[4:], 0x80), "a secret with the window of another message")
    denied(ZIP, packed, frame(deflated(b"a" * 5000000), 0xc1), "a message that expands beyond its limit")
    denied(CHAT, chat, frame(deflated(GOOD), 0xc1), "compression that was not agreed on", 1002)
    denied(ODD, odd, frame(b"hello"), "any message under an unknown extension")


def test_broken():
    for name, sent in (("an unmasked frame", frame(GOOD, mask=None)), ("a reserved opcode", frame(b"", 0x83)),
                       ("a part of nothing", frame(b"x", 0x80)), ("a long ping", frame(b"x" * 126, 0x89)),
                       ("a message inside another", frame(b"x", 0x01) + frame(b"y", 0x81)),
                       ("HTTP behind the handshake", b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n")):
        denied(CHAT, chat, sent, name, 1002)
    passes(FREE, free, frame(GOOD) + frame(BAD) + frame(SECRET, 0x82), "without rules for messages, everything")
    s = opened(CHAT)
    s.sendall(frame(b"x" * 10, 0x01)[:8])
    s.close()
    tap.ok(wait(lambda: chat.ended) and chat.got == b"", "half a message of somebody who leaves is not passed on", chat.got)


def test_slow():
    """A server that talks to an agent that does not listen is held back, and loses nothing."""
    s = opened(FREE)
    data, sent = memoryview(frame(os.urandom(60000), 0x82, None) * 700), 0
    free.conn.settimeout(1)
    try:
        while sent < len(data):
            sent += free.conn.send(data[sent:sent + 65536])
    except OSError:
        pass
    tap.ok(sent < len(data) - (8 << 20), "an agent that does not read holds its server back", sent)
    got = b""
    s.settimeout(10)
    while len(got) < sent and (part := s.recv(1 << 20)):
        got += part
    tap.ok(got == data[:sent], "what was sent arrives when it does", (len(got), sent))
    s.close()


def test_records():
    run.finish()
    mine = [e for e in rig.entries(home) if e.get("run") == run.id]
    ends = [e["ws"] for e in mine if e["kind"] == "http.outcome" and "ws" in e]
    tap.ok(any(e["sent"] == 3 for e in ends) and any(e["received"] >= 4 for e in ends), "messages are counted in the outcome", ends)
    messages = [e for e in mine if e["kind"] == "ws.message"]
    tap.ok({"no transfers", "no secrets"} <= {e["rule"] for e in messages} and any(e["direction"] == "receive" for e in messages),
           "denied messages are in the ledger", messages)
    tap.ok("gvm-ph-1234" not in json.dumps(mine), "their content is not")


def test_streams():
    """What only HTTP/2 has."""
    a = Stream(CHAT, "/other").answer
    tap.eq(a.status, 403, "a handshake that no rule allows")
    a = Stream(CHAT, "/ws", [("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="), ("sec-websocket-protocol", "x")]).answer
    tap.eq((a.status, a.headers.get("sec-websocket-accept")), (200, None), "a key of the agent's own is of no use")
    for name, fields, end, want in (
            ("another protocol", [(":protocol", "connect-udp")], False, (501,)), ("a protocol for GET", [(":method", "GET")], False, (0, 400)),
            ("no path", [(":path", None)], False, (0, 400)), ("an end at once", [], True, (501,))):
        fields = {**{":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/ws", ":authority": CHAT}, **dict(fields)}
        with h2rig.Client(run.connect()) as c:
            c.pump(1)
            ident = c.begin(CHAT, fields=[(k, v) for k, v in fields.items() if v is not None], end=end)
            tap.ok(c.wait(ident).status in want, f"{name} is refused", c.streams[ident].headers)
    s = Stream(CHAT)
    other = s.client.begin(CHAT, fields=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"),
                                         (":authority", CHAT), ("sec-websocket-version", "13")], end=False)
    s.client.wait(other, until=lambda a: a.headers)
    second = chat.conn
    s.client.send(other, frame(BAD))
    a = s.client.wait(other, 5)
    tap.ok(b"\x88" in a.body and (a.ended or a.closed), "a denied message ends its stream", a.body)
    s.sendall(frame(b"still here"))
    second_got = wait(lambda: s.client.open and not s.client.streams[s.ident].ended)
    tap.ok(second_got and second is not None, "and no other of that connection")
    s.close()
    early = h2rig.Client(run.connect())
    early.pump(1)
    ident = early.begin(CHAT, fields=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"),
                                      (":authority", CHAT), ("sec-websocket-version", "13")], end=False)
    early.send(ident, frame(BAD))  # before the handshake is answered
    a = early.wait(ident)
    tap.ok(b"\x88" in a.body and wait(lambda: chat.ended) and frame(BAD) not in chat.got, "frames ahead of the answer are judged", a.body)
    early.close()
    liar.accept = b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="
    tap.eq(Stream(LIAR).answer.status, 502, "a server that answers another key")


for number, over2 in enumerate((False, True), 1):
    tap.prefix = "HTTP/2: " if over2 else "HTTP/1.1: "
    run = rig.Run(home, f"20260101T000000-{number:06x}")
    for test in (test_send, test_receive, test_deflate, test_broken, test_slow) + ((test_streams,) if over2 else ()) + (test_records,):
        try:
            test()
        except Exception as e:
            tap.ok(False, f"{test.__name__}: {e!r}", rig.daemon_log(home))
daemon.terminate()
daemon.wait(20)
tap.done()
