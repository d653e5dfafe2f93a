"""Attacks on the data path, driven without a sandbox (tests/lib/proxyrig.py): names that disagree,
smuggling, decisions reused, spellings of addresses and paths, approvals, opaque streams. Each refusal
stands beside the ordinary case."""
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig
import spellings

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
GOOD, EVIL, KEY, PAY, PLAIN = ("good.example.test", "evil.example.test", "key.example.test",
                               "pay.example.test", "plain.example.test")
SECRET = "sk-real-credential-4711"
good, evil, key, pay = (gvmtest.Echo(certs.issue(n)) for n in (GOOD, EVIL, KEY, PAY))
plain, local = gvmtest.Echo(), gvmtest.Echo()
bare = gvmtest.Echo(certs.issue("127.0.0.1"))
wrong = gvmtest.Echo(certs.issue("another.example.test"))


class Lines:
    """A TCP server that greets and echoes: the sort of thing a tcp rule is for."""

    def __init__(self, greet=b""):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.greet, self.got = greet, b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        try:
            if self.greet:
                s.sendall(self.greet)
            while True:
                part = s.recv(65536)
                if not part:
                    break
                self.got += part
                s.sendall(part)
            s.sendall(b"bye")
            s.close()
        except OSError:
            pass


class Scripted:
    """Answers each connection's requests with what script(number, head) returns; None hangs up."""

    def __init__(self, script):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.script, self.heads, self.connections = script, [], 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            self.connections += 1
            threading.Thread(target=self._one, args=(s, self.connections), daemon=True).start()

    def _one(self, s, number):
        try:
            while True:
                head = rig.read_head(s)
                if not head:
                    break
                self.heads.append(head)
                said = self.script(number, head, s)
                if said is None:
                    break
                s.sendall(said)
        except OSError:
            pass
        s.close()


ssh = Lines(b"SSH-2.0-server\r\n")
tcp = Lines()
closed_port = gvmtest.free_port()
EVERYTHING = f"""
[policy]
default = {{ type = "Delay", milliseconds = 1 }}
[timeouts]
approval = "3s"
head = "2s"
[[rules]]
name = "bare address"
method = "*"
pattern = "127.0.0.1:{bare.port}/**"
private = true
decision = {{ type = "Allow" }}
[[rules]]
name = "admin"
method = "*"
pattern = "{GOOD}/admin"
decision = {{ type = "Deny", reason = "not the admin pages" }}
[[rules]]
name = "admin below"
method = "*"
pattern = "{GOOD}/admin/**"
decision = {{ type = "Deny", reason = "not the admin pages" }}
[[rules]]
name = "plain admin"
method = "*"
pattern = "{PLAIN}/admin/**"
decision = {{ type = "Deny" }}
[[rules]]
name = "public"
method = "*"
pattern = "{GOOD}/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "ask"
method = "*"
pattern = "{PAY}/**"
decision = {{ type = "RequireApproval", reason = "money" }}
[[rules]]
name = "audited"
method = "*"
pattern = "{PLAIN}/audited"
decision = {{ type = "AuditOnly" }}
[[rules]]
name = "slow"
method = "*"
pattern = "{PLAIN}/slow"
decision = {{ type = "Delay", milliseconds = 400 }}
[[rules]]
name = "metadata"
method = "*"
pattern = "169.254.169.254/**"
private = true
decision = {{ type = "Allow" }}
[[rules]]
name = "ssh"
protocol = "tcp"
pattern = "ssh.example.test:22"
decision = {{ type = "Allow" }}
[[rules]]
name = "pinned"
method = "*"
pattern = "opaque.example.test"
intercept = false
decision = {{ type = "Allow" }}
[credentials."{KEY}"]
type = "Bearer"
token = "{SECRET}"
"""


def pins(more):
    table = {GOOD: good.port, EVIL: evil.port, KEY: key.port, PAY: pay.port, PLAIN: plain.port,
             "ssh.example.test": ssh.port, "raw.example.test": tcp.port, "opaque.example.test": good.port,
             "wrong.example.test": wrong.port, "dead.example.test": closed_port}
    table.update(more)
    return gvmtest.upstream_config(certs.ca, table)


def chunks(number, head, s):
    return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-GVM-Decision: forged\r\n\r\n"
            b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n")


def interim(number, head, s):
    return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def until_close(number, head, s):
    s.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")


def once_each(number, head, s):
    """Says keep-alive, but hangs up on the second request of a connection."""
    if b"GET /second" in head and number == 1:
        return None
    return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number


def cut(number, head, s):
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def two_lengths(number, head, s):
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"


def switch(number, head, s):
    if b"pgrade: websocket" not in head:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno!"
    s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi")
    while True:
        part = s.recv(100)  # one masked frame; the mask is zero
        if not part:
            return None
        s.sendall(b"\x81" + bytes([part[1] & 0x7f]) + part[6:].upper())


def too_early(number, head, s):
    s.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")


SCRIPTS = {"chunks": chunks, "interim": interim, "close": until_close, "stale": once_each, "cut": cut,
           "twolengths": two_lengths, "switch": switch, "early": too_early}
scripted = {name: Scripted(script) for name, script in SCRIPTS.items()}
home.write_config(EVERYTHING + pins({n + ".script.test": s.port for n, s in scripted.items()}))
daemon = rig.start_daemon(home)


def get(host, path="/x", more="", method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


def absolute(run, url, more="", method="GET", host=None):
    """One request to the proxy in absolute form."""
    authority = url.split("://", 1)[1].split("/", 1)[0]
    with run.connect() as s:
        return rig.ask(s, f"{method} {url} HTTP/1.1\r\nHost: {host or authority}\r\n{more}\r\n", method)


def connect_status(run, authority, host=None):
    try:
        run.tunnel(authority, host).close()
        return 200
    except rig.Refused as refused:
        return refused.status


def https(run, host, text, sni=None, check=True):
    with run.tls(host, sni=sni, check=check) as s:
        return rig.ask(s, text)


def settled(run):
    """Ends the run, so that all its entries are there."""
    stats = run.finish()
    return stats, [e for e in rig.entries(home) if e.get("run") == run.id]


def child(role):
    """Pid of a process of this daemon."""
    try:
        status = rig.Control(home).call("CLIENT_STATUS")
    except (OSError, RuntimeError, ConnectionError):
        return None
    return next((c["pid"] for c in status.get("children", []) if c["role"] == role), None)


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def room(pid, usual):
    """Memory that a process may grow by; the address sanitizer keeps what was freed for a while."""
    with open(f"/proc/{pid}/status") as f:
        size = next(int(line.split()[1]) for line in f if line.startswith("VmSize"))
    return usual if size < 1 << 30 else 600 << 20


def https_or_none(run, host, text):
    try:
        return https(run, host, text).status
    except (OSError, rig.Refused):
        return 0


def question(name, qtype=1):
    return (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" +
            b"".join(bytes([len(p)]) + p for p in name.split(b".")) + b"\x00" + struct.pack(">HH", qtype, 1))


def section(name, number, **settings):
    def wrap(body):
        try:
            run = rig.Run(home, f"20260101T000000-{number:06x}", **settings)
            body(run)
        except Exception as error:  # the next sections still run
            tap.ok(False, f"{name}: {type(error).__name__}: {error}", rig.daemon_log(home)[-2000:])
    return wrap


# ---- names ----

@section("names", 1)
def names(run):
    a = https(run, GOOD, get(GOOD, "/x?token=secret-in-query"))
    tap.eq((a.status, a.json().get("target")), (200, "/x?token=secret-in-query"), "an ordinary request passes")
    for authority in (b"evil.example.test\0.good.example.test:443", b"evil\x01.good.example.test:443",
                      b"good.example.test\x7f:443", b"user@good.example.test:443", b"good.example.test",
                      b"good.example.test:", b"good.example.test:0", b"good.example.test:65536",
                      b"good.example.test:+443", b"[good.example.test]:443", b"good example:443", b":443",
                      b"http://good.example.test/", b"good.example.test:443/x"):
        tap.eq(connect_status(run, authority, b"good.example.test"), 400, f"N1 CONNECT {authority!r}")
    tap.eq(connect_status(run, b"GOOD.example.test.:443", b"good.example.test:443"), 200,
           "N1 beside it: a spelling of the same host")
    tap.eq(connect_status(run, b"evil.example.test:443", b"good.example.test:443"), 421,
           "N3 CONNECT and Host differ")
    before = len(good.seen) + len(evil.seen)
    a = https(run, GOOD, get(EVIL), sni=EVIL, check=False)
    tap.eq(a.status, 421, "N3 server name differs from CONNECT")
    a = https(run, GOOD, get(EVIL))
    tap.eq((a.status, a.json().get("why")), (421, "host mismatch"), "N3 Host differs from server name")
    a = https(run, GOOD, f"GET https://{EVIL}/x HTTP/1.1\r\nHost: {GOOD}\r\n\r\n")
    tap.eq(a.status, 421, "N3 absolute target differs")
    a = https(run, GOOD, get(GOOD + ":444"))
    tap.eq(a.status, 421, "N3 port differs")
    a = absolute(run, f"http://{PLAIN}/x", host=EVIL)
    tap.eq(a.status, 421, "N3 absolute target and Host differ in clear text")
    tap.eq(len(good.seen) + len(evil.seen), before, "N3 nothing of it went upstream")
    with run.connect() as s:
        a = rig.ask(s, get(GOOD))
    tap.eq(a.status, 421, "origin form to the proxy's own address")
    with run.connect() as s:
        s.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        tap.ok(rig.answer(s).status == 0, "TLS to the proxy's own address is cut")
    _, seen = settled(run)
    refused = [e for e in seen if e["kind"] == "http.refused"]
    tap.ok(sum(e["status"] == 421 for e in refused) >= 6 and sum(e["status"] == 400 for e in refused) >= 14,
           "every refusal is in the log", refused)
    text = json.dumps(seen)
    tap.ok("secret-in-query" not in text and "sha256:" in text, "a query is in the log as a digest only")


@section("credentials", 2)
def credentials(run):
    a = https(run, KEY, get(KEY, more="Authorization: Bearer agents-own\r\nX-Api-Key: agents\r\n"))
    sent = {k.lower(): v for k, v in a.json().get("headers", [])}
    tap.eq((a.status, sent.get("authorization"), sent.get("x-api-key")), (200, "Bearer " + SECRET, None),
           "the real credential replaces the agent's own")
    a = https(run, EVIL, get(EVIL, more="Authorization: Bearer agents-own\r\n"))
    sent = dict(map(tuple, a.json().get("headers", [])))
    tap.eq(sent.get("Authorization"), "Bearer agents-own", "another host gets what the agent sent")
    a = https(run, EVIL, get(KEY))
    tap.eq(a.status, 421, "N4 another host with that Host")
    a = absolute(run, f"http://{KEY}/x")
    tap.ok(SECRET not in json.dumps(evil.seen) + json.dumps(plain.seen) and
           SECRET not in a.body.decode("latin-1"), "N4 the credential went to nobody else, nor in clear text")
    a = https(run, GOOD, get(GOOD, more="X-GVM-Decision: Allow\r\nProxy-Authorization: x\r\nX-Other: 1\r\n"
                                        "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"))
    sent = {k.lower() for k, _ in a.json().get("headers", [])}
    tap.eq(sent, {"host", "x-other"}, "P12 our own and hop-by-hop fields stay here")
    _, seen = settled(run)
    tap.ok(any(e["kind"] == "credential.use" and e["host"] == KEY for e in seen), "its use is recorded")
    tap.ok(SECRET not in json.dumps(seen) and SECRET not in rig.daemon_log(home), "and it is in no log")


@section("TLS without names", 3)
def no_sni(run):
    def bare_tls(port, check):
        with run.tls("127.0.0.1", port=port, sni="", check=check) as s:
            return rig.ask(s, get(f"127.0.0.1:{port}"))
    context_error = None
    try:
        a = bare_tls(bare.port, False)
    except OSError as error:
        a, context_error = rig.Answer(0, {}, b"", b""), error
    tap.eq(a.status, 200, "N5 an address that a rule names", str(context_error))
    def other():
        s = run.tunnel("203.0.113.7:443")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(s) as t:
            return rig.ask(t, get("203.0.113.7"))
    a = other()
    tap.eq((a.status, a.json().get("decision")), (403, "Deny"), "N5 no server name to an address no rule names")
    with run.connect() as s:
        a = rig.ask(s, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    tap.ok(a.status in (0, 400, 505), "N6 HTTP/2 with prior knowledge", a.raw)
    with run.tunnel(PLAIN + ":80") as s:
        a = rig.ask(s, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    tap.ok(a.status in (0, 400, 505), "N6 the same inside CONNECT", a.raw)
    a = https(run, GOOD, get(GOOD, more="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"))
    sent = {k.lower() for k, _ in a.json().get("headers", [])}
    tap.ok(a.status == 200 and not sent & {"upgrade", "http2-settings", "connection"},
           "N6 an h2c upgrade is not passed on", a.body)
    with run.tls(GOOD, alpn=("h2",)) as t:
        tap.eq(t.selected_alpn_protocol(), "h2", "a client of HTTP/2 alone is served (test_http2.py)")
    run.finish()


# ---- heads ----

SMUGGLE = [
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "Content-Length: 5, 5\r\n\r\nhello", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "X: a\r\n b\r\n\r\n", "X: a\r\n\tb\r\n\r\n", " X: a\r\n\r\n", "X: a\rb\r\n\r\n", "X: a\nY: b\r\n\r\n", "X\0: a\r\n\r\n",
    "X: a\0b\r\n\r\n", "X : a\r\n\r\n", ": a\r\n\r\n", "X\r\n\r\n", "Content-Length: +5\r\n\r\nhello",
    "Content-Length: -1\r\n\r\n", "Content-Length: 0x5\r\n\r\nhello", "Content-Length: 5 \x00\r\n\r\nhello",
    "Content-Length: 99999999999999999999\r\n\r\n", "Content-Length: \r\n\r\n", "Host: evil.example.test\r\n\r\n",
    "X(y): a\r\n\r\n", "X: a\r\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
]
LINES = ["GET /x HTTP/1.1\nHost: good.example.test\n\n", "GET  /x HTTP/1.1\r\nHost: good.example.test\r\n\r\n",
         "GET /x HTTP/1.1 \r\nHost: good.example.test\r\n\r\n", "GET /x HTTP/2.0\r\nHost: good.example.test\r\n\r\n",
         "GET /x HTTP/1.2\r\nHost: good.example.test\r\n\r\n", "GET /x\r\nHost: good.example.test\r\n\r\n",
         "GET /a b HTTP/1.1\r\nHost: good.example.test\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n",
         "G(T /x HTTP/1.1\r\nHost: good.example.test\r\n\r\n", "GET \x01 HTTP/1.1\r\nHost: good.example.test\r\n\r\n",
         "GET x HTTP/1.1\r\nHost: good.example.test\r\n\r\n", "GET /x\t HTTP/1.1\r\nHost: good.example.test\r\n\r\n"]


@section("heads", 4)
def heads(run):
    for vector in SMUGGLE:
        good.seen.clear()
        extra = "GET /smuggled HTTP/1.1\r\nHost: good.example.test\r\n\r\n"
        a = https(run, GOOD, f"POST /x HTTP/1.1\r\nHost: {GOOD}\r\n{vector}{extra}")
        smuggled = [s for s in good.seen if s["target"] == "/smuggled"]
        tap.ok(a.status in (0, 400) and not smuggled and len(good.seen) <= 1, f"N7 {vector[:60]!r}",
               f"{a.status} {good.seen}")
    good.seen.clear()
    for line in LINES:
        a = https(run, GOOD, line)
        tap.ok(a.status in (0, 400, 505), f"N7 {line[:50]!r}", a.raw)
    tap.eq(good.seen, [], "N7 none of these lines went upstream")
    tap.eq([https(run, GOOD, get(GOOD, method=m)).status for m in ("TRACE", "TRACK", "trace")], [405] * 3, "N18")
    a = https(run, GOOD, get(GOOD, more="X: " + "y" * 70000 + "\r\n"))
    tap.eq(a.status, 431, "a head past the limit")
    a = https(run, GOOD, get(GOOD, more="".join(f"X-{n}: y\r\n" for n in range(250))))
    tap.ok(a.status in (400, 431), "too many fields")
    with run.tls(GOOD) as s:
        s.sendall(b"GET /x HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        a = rig.answer(s)
        tap.ok(a.status == 408 and time.monotonic() - began < 5, "N26 a head that never ends is not waited for",
               (a.status, time.monotonic() - began))
    tap.eq(https(run, GOOD, get(GOOD)).status, 200, "and an ordinary one still passes")
    with run.tls(GOOD) as s:
        s.sendall((get(GOOD, "/one") + get(GOOD, "/two") + get(GOOD, "/admin") + get(GOOD, "/three")).encode())
        got = [rig.answer(s) for _ in range(4)]
    tap.eq([(a.status, a.json().get("target")) for a in got],
           [(200, "/one"), (200, "/two"), (403, None), (200, "/three")], "pipelined requests, each judged, in order")
    run.finish()


# ---- one verdict, whatever the way ----

@section("paths", 5)
def paths(run):
    with run.tls(GOOD) as s:
        got = [rig.ask(s, get(GOOD, p)) for p in ("/one", "/admin", "/two")]
        other = rig.ask(s, get(EVIL, "/three"))
    tap.eq([a.status for a in got] + [other.status], [200, 403, 200, 421], "N9 each request of a connection is judged")
    denied = got[1].json()
    tap.ok(denied.get("decision") == "Deny" and denied.get("rule") == "admin" and
           denied.get("reason") == "not the admin pages" and denied.get("request_id") and denied.get("next") and
           got[1].headers.get("x-gvm-decision") == "Deny" and got[1].headers["content-type"] == "application/json",
           "T-L67 the refusal says which rule, why and what next", denied)
    a = absolute(run, f"http://{PLAIN}/admin/x")
    with run.tunnel(PLAIN + ":80") as s:
        b = rig.ask(s, get(PLAIN, "/admin/x"))
    c = absolute(run, f"http://{PLAIN}:80/admin/x")
    tap.eq((a.status, b.status, c.status), (403, 403, 403), "N8 the same rule over http, inside CONNECT, with a port")
    tap.eq(absolute(run, f"http://{PLAIN}/x").status, 200, "N8 beside it: another path")
    a = absolute(run, f"https://{GOOD}/x")
    tap.eq(a.status, 200, "an https target in absolute form is fetched over TLS")
    for path in ("/admin", "/admin/", "/public/../admin", "/public/%2e%2e/admin", "/public/%2E%2E/admin",
                 "/public/..%2f..%2fadmin", "/public/%252e%252e/admin", "/admin%00.txt", "///admin", "/admin/.",
                 "/foo/../admin", "/public/..;/admin", "/%ff/%2e%2e/admin", "/%61dmin", "/./admin", "/admin/x/..",
                 "/public\\..\\admin", "/public/.%2e/admin", "/public/%2e./admin", "/;x/../admin"):
        a = https(run, GOOD, get(GOOD, path))
        tap.ok(a.status in (400, 403), f"P6 {path}", f"{a.status} {a.body!r}")
    ordinary = [https(run, GOOD, get(GOOD, p)) for p in ("/public/x", "/administrator", "/a%20b", "/A/%7Eb/./c")]
    tap.eq([(a.status, a.json().get("target")) for a in ordinary],
           [(200, "/public/x"), (200, "/administrator"), (200, "/a%20b"), (200, "/A/~b/c")],
           "P6 beside it: judged and forwarded in the same form")
    tap.eq([s["target"] for s in good.seen if "admin" in s["target"] and s["target"] != "/administrator"], [],
           "P6 no spelling of /admin went upstream")
    methods = [https(run, GOOD, get(GOOD, method=m)) for m in ("PROPFIND", "QUERY", "INVENTED", "get")]
    tap.eq([(a.status, a.json().get("method")) for a in methods],
           [(200, "PROPFIND"), (200, "QUERY"), (200, "INVENTED"), (200, "GET")], "P8 every method is matched")
    for spelling, want in (("GOOD.example.test", 200), ("good.example.test.", 200), ("good.example.test:443", 200),
                           ("evil.com/.good.example.test", 400), ("x@good.example.test", 400),
                           ("good.example.test:80a", 400), ("good..example.test", 400), ("good.example.test evil", 400),
                           ("good.example.test:444", 421), ("good.example.test.evil.test", 421), ("", 400)):
        tap.eq(https(run, GOOD, get(spelling)).status, want, f"P5 Host: {spelling!r}")
    _, seen = settled(run)
    tap.ok(all(e["path"].startswith("/admin") for e in seen if e["kind"] == "http.decision" and
               e["rule"].startswith("admin")), "P6 the log has the form that was judged")


@section("addresses", 6)
def addresses(run):
    for spelling in spellings.LOOPBACKS + spellings.METADATA:  # as authorities of requests: test_rows.py
        raw = spelling.encode()
        inner = 0
        try:
            with run.tunnel(raw + b":%d" % local.port) as s:
                inner = rig.ask(s, b"GET / HTTP/1.1\r\nHost: " + raw + b":%d\r\n\r\n" % local.port).status
        except rig.Refused as refused:
            inner = refused.status
        tap.ok(inner in (400, 403, 502), f"N14 CONNECT to {spelling}", inner)
    tap.eq(len(local.seen), 0, "N13 N14 nothing reached the host's loopback")
    for target in (f"127.0.0.1:{run.port}", f"[::1]:{run.port6}", f"localhost:{run.port}", f"0x7f.1:{run.port}",
                   f"2130706433:{run.port}", f"198.18.0.1:{run.port}"):
        a = absolute(run, f"http://{target}/")
        tap.ok(a.status in (400, 403, 502), f"P3 the proxy's own port as {target}", a.status)
        with_connect = connect_status(run, target)
        if with_connect == 200:
            with run.tunnel(target) as s:
                with_connect = rig.ask(s, f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {GOOD}:443\r\n\r\n").status
        tap.ok(with_connect in (400, 403, 405, 421), f"N11 CONNECT through {target}", with_connect)
    tap.eq(absolute(run, f"http://{PLAIN}/x").status, 200, "N14 beside it: a pinned name is reached")
    tap.eq(absolute(run, "http://169.254.169.254/latest").status, 403, "N14 nor metadata, whatever a rule says")
    _, seen = settled(run)
    denied = [e for e in seen if e["kind"] == "http.decision" and e["host"] == "169.254.169.254"]
    tap.ok(denied and all(e["decision"] == "Deny" for e in denied), "an Allow rule does not open the metadata address",
           denied[:3])


@section("watch", 7, watch=True)
def watch(run):
    tap.eq(https(run, GOOD, get(GOOD, "/admin")).status, 200, "watch lets a denied request through")
    tap.eq(absolute(run, "http://169.254.169.254/latest/").status, 403, "C6 but not to metadata")
    tap.eq(absolute(run, f"http://127.0.0.1:{local.port}/").status, 403, "nor to the host's loopback")
    with run.tunnel("ssh.example.test:2222") as s:
        tap.eq(rig.exactly(s, 5), b"SSH-2", "a server that speaks first is reached")
    began = time.monotonic()
    a = https(run, PAY, get(PAY, "/watched"))
    tap.ok(a.status == 200 and time.monotonic() - began < 2, "approval is not waited for", a.status)
    _, seen = settled(run)
    made = {(e["host"], e["decision"], e.get("enforced")) for e in seen if e["kind"] in ("http.decision", "tcp.open")}
    tap.ok({(GOOD, "Deny", "Allow"), ("169.254.169.254", "Deny", "Deny"), (PAY, "RequireApproval", "Allow"),
            ("ssh.example.test", "Deny", "Allow")} <= made, "what would have been decided is in the log", made)


# ---- opaque streams ----

@section("opaque", 8)
def opaque(run):
    with run.tunnel("ssh.example.test:22") as s:
        greeting = rig.exactly(s, 16)
        s.sendall(b"SSH-2.0-client\r\n")
        back = rig.exactly(s, 16)
        s.shutdown(socket.SHUT_WR)
        rest = rig.exactly(s, 100)
    tap.eq((greeting, back, rest), (b"SSH-2.0-server\r\n", b"SSH-2.0-client\r\n", b"bye"),
           "a tcp rule: bytes both ways, each end on its own")

    def first(authority, data):
        with run.tunnel(authority) as s:
            try:
                s.sendall(data)
                return s.recv(100)
            except OSError:
                return b""
    tap.eq(first("raw.example.test:5432", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), b"", "P2 opaque bytes without a rule")
    tap.eq(first("raw.example.test:22", b"SSH-2.0-x\r\n"), b"", "P2 ssh to a host without a rule")
    tap.eq(first("ssh.example.test:23", b"\x00\x01"), b"", "P2 another port than the rule's")
    tap.eq(tcp.got, b"", "P2 nothing of it went upstream")


@section("opaque tls", 9)
def opaque_tls(run):
    def through(sni, cafile):
        context = ssl.create_default_context(cafile=cafile)
        context.check_hostname = False
        with context.wrap_socket(run.tunnel("opaque.example.test:443"), server_hostname=sni) as t:
            return rig.ask(t, get(GOOD, "/not-intercepted")).status
    tap.eq(through("opaque.example.test", certs.ca), 200, "intercept = false: the server's own certificate")
    with_other = None
    try:
        with_other = through(GOOD, certs.ca)
    except (OSError, ssl.SSLError):
        with_other = 0
    tap.eq(with_other, 0, "N3 a server name that is not the tunnel's host is not passed through")
    _, seen = settled(run)
    kinds = [(e["kind"], e.get("protocol"), e.get("decision")) for e in seen if e["kind"].startswith("tcp.")]
    tap.ok(("tcp.open", "tls-opaque", "Allow") in kinds and ("tcp.close", None, None) in kinds, "recorded by name", kinds)


# ---- approvals ----

def asks(control):
    return control.call("APPROVALS").get("pending", [])


def wait_ask(control, n=1):
    return gvmtest.wait_for(lambda: (lambda got: got if len(got) >= n else None)(asks(control)), 5) or []


def decide(control, ask, allow, how="once"):
    return control.call("DECIDE", {"id": str(ask["id"]), "allow": allow, "for": how, "reason": "test"})


class Pending(threading.Thread):
    """A request under way."""

    def __init__(self, action):
        super().__init__(daemon=True)
        self.action, self.result = action, None
        self.start()

    def run(self):
        try:
            self.result = self.action()
        except OSError as error:
            self.result = error

    def get(self):
        self.join(15)
        return self.result


def pay_request(path="/transfer", body="amount=1"):
    return get(PAY, path, f"Content-Length: {len(body)}\r\nX-GVM-Approved: yes\r\n", "POST") + body


@section("approvals", 10)
def approvals(run):
    control = rig.Control(home)
    pay.seen.clear()
    held = Pending(lambda: https(run, PAY, pay_request()))
    ask = (wait_ask(control) or [{}])[0]
    tap.ok(ask.get("method") == "POST" and ask.get("url") == f"https://{PAY}/transfer" and
           "amount=1" in ask.get("excerpt", "") and ask.get("reason") == "money", "P1 held and shown", ask)
    time.sleep(0.3)
    tap.ok(len(pay.seen) == 0 and held.is_alive(), "P1 nothing is forwarded meanwhile, nothing answered")
    decide(control, ask, True)
    a = held.get()
    tap.eq((a.status, a.json().get("body")), (200, "amount=1"), "P1 it goes on after a yes, with its body")
    try:
        decide(control, ask, True)
        tap.ok(False, "P11 a second answer")
    except RuntimeError:
        tap.ok(True, "P11 a second answer has no effect")
    held = Pending(lambda: https(run, PAY, pay_request(body="amount=2")))
    other = (wait_ask(control) or [{}])[0]
    tap.ok(other.get("digest") and other["digest"] != ask.get("digest"), "C3 one byte more is another request", other)
    decide(control, other, False)
    tap.eq((held.get().status, len(pay.seen)), (403, 1), "a no is a 403, and nothing went upstream")
    held = Pending(lambda: https(run, PAY, pay_request("/run")))
    decide(control, (wait_ask(control) or [{}])[0], True, "run")
    tap.eq(held.get().status, 200, "a yes for the run")
    tap.eq(https(run, PAY, pay_request("/run")).status, 200, "holds for the same URL")
    held = Pending(lambda: https(run, PAY, pay_request("/run?all=1")))
    again = wait_ask(control)
    tap.eq(len(again), 1, "C3 and not for another one")
    began = time.monotonic()
    tap.eq((held.get().status, len(asks(control))), (403, 0), "C4 no answer in time denies")
    tap.ok(time.monotonic() - began < 6, "and not much later")
    s = run.tls(PAY)
    s.sendall(pay_request("/left").encode())
    tap.eq(len(wait_ask(control)), 1, "one more is held")
    s.close()
    tap.ok(gvmtest.wait_for(lambda: not asks(control), 3), "a client that leaves takes its request with it")
    tap.ok(not any(x["target"].startswith("/left") for x in pay.seen), "nothing of that went upstream")
    with run.tunnel(PAY + ":80") as s:
        s.settimeout(10)
        s.sendall(get(PAY, "/plain").encode())
        ask = (wait_ask(control) or [{}])[0]
        tap.eq(ask.get("url"), f"http://{PAY}/plain", "P1 held in clear text inside CONNECT too")
        decide(control, ask, False)
        tap.eq(rig.answer(s).status, 403, "P1 and refused")
    _, seen = settled(run)
    told = [(e["allow"], e["how"]) for e in seen if e["kind"] == "approval"]
    tap.ok(len(told) >= 7 and told.count((False, "unanswered")) >= 2 and (True, "grant") in told and
           len({e["id"] for e in seen if e["kind"] == "approval"}) == len(told),
           "every answer is in the log", told)


@section("control dies", 11)
def control_dies(run):
    control = rig.Control(home)
    held = Pending(lambda: https(run, PAY, pay_request("/orphan")))
    tap.eq(len(wait_ask(control)), 1, "a request is held")
    pid = child("control")
    os.kill(pid, 9)
    a = held.get()
    tap.ok(getattr(a, "status", None) == 403, "C4 the process that asks is killed: denied", a)
    tap.ok(not any(x["target"] == "/orphan" for x in pay.seen), "C4 nothing went upstream")
    gvmtest.wait_for(lambda: child("control") not in (None, pid), 10)


# ---- what must pass, and how it ends when it cannot ----

@section("messages", 12)
def messages(run):
    def script(name, text=None, method="GET"):
        host = name + ".script.test"
        with run.connect() as s:
            return rig.ask(s, text or f"{method} http://{host}/x HTTP/1.1\r\nHost: {host}\r\n\r\n", method)
    a = script("chunks")
    tap.eq((a.status, a.body, a.headers.get("transfer-encoding"), a.headers.get("x-gvm-decision")),
           (200, b"hello world", "chunked", None), "chunked answers")
    tap.eq(a.headers.get("trailer:x-trailer"), "t", "with their trailers")
    host = "chunks.script.test"
    with run.connect() as s:
        a = rig.ask(s, f"GET http://{host}/x HTTP/1.0\r\nHost: {host}\r\n\r\n")
        tap.eq((a.body, a.headers.get("transfer-encoding"), s.recv(1)), (b"hello world", None, b""),
               "an HTTP/1.0 client gets them plain, until the end")
    with run.connect() as s:
        s.sendall(b"GET http://interim.script.test/x HTTP/1.1\r\nHost: interim.script.test\r\n\r\n")
        tap.eq((rig.answer(s).status, rig.answer(s).body), (103, b"ok"), "interim heads are passed on")
    tap.eq(script("close").body, b"all of it", "an answer until the end of the connection")
    a = script("switch", "GET http://switch.script.test/ws HTTP/1.1\r\nHost: switch.script.test\r\n\r\n")
    tap.eq(a.body, b"no!", "no upgrade unless asked for")
    with run.connect() as s:
        a = rig.ask(s, "GET http://switch.script.test/ws HTTP/1.1\r\nHost: switch.script.test\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n")
        tap.eq((a.status, rig.exactly(s, 4)), (101, b"\x81\x02hi"), "a WebSocket handshake")
        s.sendall(b"\x81\x86\0\0\0\0frames")
        tap.eq(rig.exactly(s, 8), b"\x81\x06FRAMES", "and its frames both ways")
    tap.eq(script("twolengths").status, 502, "a broken answer is not passed on")
    with run.connect() as s:
        a = rig.ask(s, "GET http://cut.script.test/x HTTP/1.1\r\nHost: cut.script.test\r\n\r\n")
        tap.eq(a.body, b"only this", "an answer that is cut ends short of its length")
    with run.connect() as s:
        s.sendall(b"POST http://early.script.test/x HTTP/1.1\r\nHost: early.script.test\r\nContent-Length: 5000000\r\n\r\n")
        tap.eq(rig.answer(s).status, 413, "an answer before the body is whole")
    with run.connect() as s:
        first = rig.ask(s, "GET http://stale.script.test/first HTTP/1.1\r\nHost: stale.script.test\r\n\r\n")
        second = rig.ask(s, "GET http://stale.script.test/second HTTP/1.1\r\nHost: stale.script.test\r\n\r\n")
    tap.eq((first.body, second.status, second.body), (b"1", 200, b"2"), "a pooled connection that died is replaced")
    a = script("none", "GET http://wrong.example.test/x HTTP/1.1\r\nHost: wrong.example.test\r\n\r\n")
    tap.ok(a.status in (400, 502, 504), "clear text to a TLS server", a.status)
    a = https(run, "wrong.example.test", get("wrong.example.test"))
    tap.ok(a.status == 502 and "another.example.test" in a.json()["reason"] or "certificate" in a.json()["reason"],
           "N28 a certificate for another name", a.body)
    tap.eq(absolute(run, "http://dead.example.test/").status, 502, "a dead upstream")
    tap.ok(absolute(run, "http://no-such-name.invalid/").status in (502, 504), "a name that does not exist")
    run.finish()


@section("bodies", 13)
def bodies(run):
    with run.tls(GOOD) as s:
        a = rig.ask(s, get(GOOD, "/bytes/5", method="HEAD"), "HEAD")
        b = rig.ask(s, get(GOOD, "/status/204"))
        c = rig.ask(s, get(GOOD, "/status/304"))
        d = rig.ask(s, get(GOOD, "/x", "Transfer-Encoding: chunked\r\n", "POST") +
                    "3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n")
        e = rig.ask(s, get(GOOD, "/x", "Content-Length: 3\r\n", "POST") + "xyz")
    tap.eq((a.status, a.headers.get("content-length"), b.status, c.status, d.json().get("body"), e.json().get("body")),
           (200, "5", 204, 304, "abcdefg", "xyz"), "HEAD, 204, 304, chunked and counted bodies on one connection")
    with run.tls(GOOD) as s:
        s.sendall(get(GOOD, "/x", "Content-Length: 5\r\nExpect: 100-continue\r\n", "POST").encode())
        went = rig.answer(s).status
        a = rig.ask(s, "hello")
    tap.eq((went, a.status, a.json().get("body")), (100, 200, "hello"), "Expect: 100-continue")
    with run.tls(GOOD) as s:
        s.sendall(get(GOOD, "/admin", "Content-Length: 5\r\nExpect: 100-continue\r\n", "POST").encode())
        tap.eq(rig.answer(s).status, 403, "a denied one is not told to go on")
    with run.tls(GOOD) as s:
        s.sendall(get(GOOD, "/sse").encode())
        rig.read_head(s)
        late = []
        for _ in range(5):
            part = rig.exactly(s, int(rig.line_of(s), 16))
            rig.exactly(s, 2)
            late.append(time.time() - float(part.split()[2]))
    tap.ok(max(late) < 0.15, "events pass at once", late)
    proxy = child("proxy")
    before = resident(proxy)
    size = 200_000_000
    with run.tls(GOOD) as s:
        s.sendall(get(GOOD, f"/bytes/{size}").encode())
        rig.read_head(s)
        got, peak = 0, 0
        while got < size:
            part = s.recv(1 << 20)
            if not part:
                break
            got += len(part)
            if got % (20 << 20) < 1 << 16:
                peak = max(peak, resident(proxy))
        peak = max(peak, resident(proxy))
    tap.ok(got == size and peak - before < room(proxy, 8 << 20), "200 MB down without buffering", f"{got} {before} {peak}")
    with run.tls(GOOD) as s:
        s.sendall(get(GOOD, "/up", f"Content-Length: {size // 4}\r\n", "POST").encode())
        block = b"u" * (1 << 16)
        left = size // 4
        while left:
            s.sendall(block[:left])
            left -= min(left, len(block))
        a = rig.answer(s)
    tap.eq(a.json().get("length"), size // 4, "50 MB up")
    with run.tls(GOOD) as s:  # a client that does not read
        s.sendall(get(GOOD, "/bytes/100000000").encode())
        time.sleep(1)
        stuck = resident(proxy)
    tap.ok(stuck - before < room(proxy, 10 << 20), "a client that does not read costs no memory", f"{before} {stuck}")
    began = time.monotonic()
    tap.eq(absolute(run, f"http://{PLAIN}/slow").status, 200, "Delay passes")
    tap.ok(time.monotonic() - began >= 0.4, "after its delay")
    tap.eq(absolute(run, f"http://{PLAIN}/audited").status, 200, "AuditOnly passes")
    stats, seen = settled(run)
    ids = [e["id"] for e in seen if e["kind"] == "http.decision"]
    outcomes = {e["id"]: e for e in seen if e["kind"] == "http.outcome"}
    tap.ok(ids and len(ids) == len(set(ids)) and set(ids) == set(outcomes), "every decision has its outcome")
    big = max(outcomes.values(), key=lambda e: e["bytes_in"])
    tap.ok(size <= big["bytes_in"] < size + 1000 and big["upstream"] == f"127.0.0.1:{good.port}", "with its bytes", big)
    tap.eq(stats["requests"], len(ids), "and the run's sum is theirs")


@section("hoard", 16)
def hoard(run):
    """Answers that nobody reads, each on a connection of its own."""
    proxy = child("proxy")
    before = resident(proxy)
    socks = []

    def open_more():
        for _ in range(20):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(20)
            s.connect(("127.0.0.1", run.port))
            s.sendall(get(PLAIN, "/bytes/3000000").replace("/bytes", f"http://{PLAIN}/bytes", 1).encode())
            socks.append(s)
        return absolute(run, f"http://{PLAIN}/x").status == 503 or len(socks) >= 600
    gvmtest.wait_for(open_more, 30, 0.05)
    tap.eq(absolute(run, f"http://{PLAIN}/x").status, 503, "a run whose answers wait unread is told to wait", len(socks))
    grown = resident(proxy) - before
    tap.ok(grown < room(proxy, 190 << 20), "what waits has a bound for the run", grown)
    other = rig.Run(home, "20260101T000000-00001b")
    tap.eq(absolute(other, f"http://{PLAIN}/x").status, 200, "another run is served")
    other.finish()
    for s in socks:
        s.close()
    again = gvmtest.wait_for(lambda: absolute(run, f"http://{PLAIN}/x").status == 200, 10)
    tap.ok(again, "and this one again, when they are gone")
    _, seen = settled(run)
    tap.ok(any(e["kind"] == "http.refused" and e["why"] == "busy" for e in seen), "recorded")


# ---- DNS ----

@section("dns", 14)
def dns(run):
    def udp(data, port=None):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(3)
            s.connect(("127.0.0.1", port or run.dns))
            s.send(data)
            return s.recv(4096)
    a, b, other = udp(question(b"some.example.test")), udp(question(b"some.example.test")), udp(question(b"Other.Example.Test"))
    tap.ok(a == b and a[-4:-2] in (b"\xc6\x12", b"\xc6\x13") and a[-4:] != other[-4:],
           "each name has its own address, the same each time", (a, b, other))
    tap.eq(udp(question(b"some.example.test")[:-3])[3] & 15, 1, "a broken query is answered FORMERR")
    with socket.create_connection(("127.0.0.1", run.dnstcp), 5) as s:
        q = question(b"tcp.example.test")
        s.sendall(struct.pack(">H", len(q)) + q + struct.pack(">H", len(q)) + q)
        for _ in range(2):
            n = struct.unpack(">H", rig.exactly(s, 2))[0]
            answer = rig.exactly(s, n)
        tap.ok(answer[3] & 15 == 0 and answer[-4:-2] in (b"\xc6\x12", b"\xc6\x13"), "the same over TCP")
    address = socket.inet_ntoa(a[-4:])
    tap.eq(connect_status(run, f"{address}:443"), 200, "CONNECT to a name's address is CONNECT to the name")
    _, seen = settled(run)
    names = [e["name"] for e in seen if e["kind"] == "dns.query"]
    tap.eq(sorted(names), ["other.example.test", "some.example.test", "tcp.example.test"], "each name is recorded once")
    tap.ok(any(e["kind"] == "dns.refused" for e in seen), "and the broken query")


# ---- nothing without its record ----

@section("helpers die", 15)
def helpers(run):
    tap.eq(https(run, GOOD, get(GOOD)).status, 200, "before")
    for role in ("ledger", "keys"):
        pid = child(role)
        os.kill(pid, 9)
        seen_before = len(good.seen)
        time.sleep(0.02)
        a = https_or_none(run, GOOD, get(GOOD, "/without-" + role))
        forwarded = len(good.seen) > seen_before
        tap.ok(a in (200, 503, 0) and (not forwarded or a == 200), f"{role} is killed: 503, or it was back", a)
        back = gvmtest.wait_for(lambda: https_or_none(run, GOOD, get(GOOD, "/after-" + role)) == 200, 10)
        tap.ok(back, f"it goes on when {role} is back", rig.daemon_log(home)[-1500:])
    pid = child("ledger")
    os.kill(pid, 19)
    try:
        seen_before = len(good.seen)
        held = Pending(lambda: https(run, GOOD, get(GOOD, "/admin")))
        time.sleep(0.5)
        tap.ok(held.is_alive(), "a ledger that hangs: a refusal waits for its record")
        for _ in range(20):
            a = https_or_none(run, GOOD, get(GOOD, "/x"))
    finally:
        os.kill(pid, 18)
    tap.eq(held.get().status, 403, "and comes when the ledger goes on")
    _, seen = settled(run)
    recorded = sum(e["kind"] == "http.decision" and e["path"] == "/x" for e in seen)
    tap.ok(recorded >= len([s for s in good.seen[seen_before:] if s["target"] == "/x"]),
           "nothing was forwarded that is not in the log", recorded)


gvmtest.end(daemon, 10)
left = rig.daemon_log(home)
tap.ok("signal 31" not in left and "SIGSYS" not in left and "Sanitizer" not in left and
       "runtime error" not in left, "no process broke its confinement or crashed", left[-3000:])
tap.done()
