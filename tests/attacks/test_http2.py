"""Attacks on the data path over HTTP/2: the rows that test_proxy.py holds for HTTP/1, and those that only
HTTP/2 has (floods, resets, windows, one stream that would delay another). Each refusal stands beside the
ordinary case."""
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
import h2.errors
import h2.exceptions
import h2rig
import proxyrig as rig

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
GOOD, EVIL, PAY, PLAIN, TWO = ("good.example.test", "evil.example.test", "pay.example.test",
                               "plain.example.test", "two.example.test")
good, evil, pay = (gvmtest.Echo(certs.issue(n)) for n in (GOOD, EVIL, PAY))
plain = gvmtest.Echo()
SECRET = "sk-real-credential-4712"


def script(stream, what):
    """What the HTTP/2 server does beside echoing, by path."""
    path = stream.path
    if path == "/refuse-once" and what == "end":
        if not two.resets_done:
            two.resets_done.append(1)
            stream.reset(h2.errors.ErrorCodes.REFUSED_STREAM)
            return True
    if path == "/reset" and what == "end":
        stream.head(200, [("content-length", "10")])
        stream.data(b"five!")
        stream.reset(h2.errors.ErrorCodes.INTERNAL_ERROR)
        return True
    if path == "/goaway" and what == "end":
        stream.connection.conn.close_connection(last_stream_id=0)
        stream.connection.flush()
        return True
    if path == "/early" and what == "head":
        stream.head(413, end=True)
        return True
    if path == "/early":
        return True
    if path == "/hints" and what == "end":
        stream.head(103, [("link", "</a>")])
        stream.head(200)
        stream.data(b"body")
        stream.trail([("x-sum", "7"), ("x-gvm-run", "forged")])
        return True
    if path == "/sink":  # takes no byte of the body
        return what == "data"
    return False


two = h2rig.Server(certs.issue(TWO), script)
two.resets_done = []
home.write_config(f"""
[policy]
default = {{ type = "Delay", milliseconds = 1 }}
[timeouts]
approval = "3s"
head = "2s"
[[rules]]
name = "admin"
method = "*"
pattern = "{GOOD}/admin"
decision = {{ type = "Deny", reason = "not the admin pages: 100%" }}
[[rules]]
name = "admin below"
method = "*"
pattern = "{GOOD}/admin/**"
decision = {{ type = "Deny" }}
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
name = "slow"
method = "*"
pattern = "{TWO}/slow"
decision = {{ type = "Delay", milliseconds = 1500 }}
[[rules]]
name = "parked"
method = "*"
pattern = "{TWO}/parked"
decision = {{ type = "Delay", milliseconds = 60000 }}
[[rules]]
name = "ask"
method = "*"
pattern = "{PAY}/**"
decision = {{ type = "RequireApproval", reason = "money" }}
[credentials."{TWO}"]
type = "Bearer"
token = "{SECRET}"
""" + gvmtest.upstream_config(certs.ca, {GOOD: good.port, EVIL: evil.port, PAY: pay.port, PLAIN: plain.port,
                                         TWO: two.port}))
daemon = rig.start_daemon(home)


def client(run, host, sni=None, check=True, **more):
    return h2rig.Client(run.tls(host, sni=sni, check=check, alpn=("h2",)), **more)


def once(run, host, path="/x", **more):
    with client(run, host) as c:
        return c.ask(more.pop("authority", host), path, **more)


def settled(run):
    stats = run.finish()
    return stats, [e for e in rig.entries(home) if e.get("run") == run.id]


def child(role):
    status = rig.Control(home).call("CLIENT_STATUS")
    return next((c["pid"] for c in status.get("children", []) if c["role"] == role), None)


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def section(name, number, **settings):
    def wrap(body):
        try:
            body(rig.Run(home, f"20260101T000000-{number:06x}", **settings))
        except Exception as error:  # the next sections still run
            tap.ok(False, f"{name}: {type(error).__name__}: {error}", rig.daemon_log(home)[-2000:])
    return wrap


# ---- names ----

@section("names", 1)
def names(run):
    a = once(run, GOOD, "/x?token=secret-in-query")
    tap.eq((a.status, a.json().get("target")), (200, "/x?token=secret-in-query"), "an ordinary request passes")
    before = len(good.seen) + len(evil.seen)
    tap.eq(once(run, GOOD, authority=EVIL).status, 421, "N3 :authority differs from the server name")
    tap.eq(once(run, GOOD, more=[("host", EVIL)]).status, 421, "N3 Host differs from :authority")
    tap.eq(once(run, GOOD, authority=EVIL, more=[("host", GOOD)]).status, 421, "N3 and the other way round")
    tap.eq(once(run, GOOD, authority=None, more=[("host", EVIL)]).status, 421, "N3 Host alone")
    tap.eq(once(run, GOOD, authority=GOOD + ":444").status, 421, "N3 port differs")
    tap.eq(once(run, GOOD, scheme="http").status, 421, "N3 scheme differs")
    with client(run, GOOD, sni=EVIL, check=False) as c:
        tap.eq(c.ask(EVIL).status, 421, "N3 server name differs from CONNECT")
    tap.eq(len(good.seen) + len(evil.seen), before, "N3 nothing of it went upstream")
    tap.eq(once(run, GOOD, authority=None, more=[("host", GOOD)]).status, 200, "N3 beside it: Host alone, agreeing")
    for spelling, want in ((GOOD.upper(), 200), (GOOD + ".", 200), (GOOD + ":443", 200),
                           ("evil.com/.good.example.test", 400), ("x@" + GOOD, 400), (GOOD + ":80a", 400),
                           ("good..example.test", 400), (GOOD + " evil", 400), (GOOD + ".evil.test", 421),
                           (GOOD + ",evil.test", 400), ("[" + GOOD + "]", 400), ("2130706433", 421),
                           ("\uff47ood.example.test".encode().decode("latin-1"), 400)):
        a = once(run, GOOD, authority=spelling)
        ok = a.status == want or (want == 400 and a.reset is not None)
        tap.ok(ok, f"N2 P5 :authority {spelling!r}", (a.status, a.reset, a.body))
    _, seen = settled(run)
    refused = [e for e in seen if e["kind"] == "http.refused"]
    tap.ok(sum(e["status"] == 421 for e in refused) >= 8, "every refusal is in the log", refused)
    tap.ok("secret-in-query" not in json.dumps(seen), "a query is in the log as a digest only")


@section("paths", 2)
def paths(run):
    with client(run, GOOD) as c:
        got = [c.ask(GOOD, p) for p in ("/one", "/admin", "/two")]
        other = c.ask(EVIL, "/three")
        tap.eq([a.status for a in got] + [other.status], [200, 403, 200, 421],
               "N9 each stream of a connection is judged")
        denied = got[1].json()
        tap.ok(denied.get("decision") == "Deny" and denied.get("rule") == "admin" and denied.get("request_id") and
               got[1].headers.get("x-gvm-decision") == "Deny", "the refusal says which rule and why", denied)
        tap.eq([c.ask(GOOD, method=m).status for m in ("TRACE", "TRACK", "trace")], [405] * 3, "N18")
        tap.eq([(a.status, a.json().get("method")) for a in
                (c.ask(GOOD, method=m) for m in ("PROPFIND", "QUERY", "INVENTED", "get"))],
               [(200, "PROPFIND"), (200, "QUERY"), (200, "INVENTED"), (200, "GET")], "P8 every method is matched")
        for path in ("/admin/", "/public/../admin", "/public/%2e%2e/admin", "/public/..%2f..%2fadmin",
                     "/public/%252e%252e/admin", "/admin%00.txt", "///admin", "/admin/.", "/public/..;/admin",
                     "/%ff/%2e%2e/admin", "/%61dmin", "/public\\..\\admin", "/;x/../admin"):
            a = c.ask(GOOD, path)
            tap.ok(a.status in (400, 403) or a.reset is not None, f"N21 P6 {path}", (a.status, a.body))
        ordinary = [c.ask(GOOD, p) for p in ("/public/x", "/administrator", "/a%20b", "/A/%7Eb/./c")]
        tap.eq([(a.status, a.json().get("target")) for a in ordinary],
               [(200, "/public/x"), (200, "/administrator"), (200, "/a%20b"), (200, "/A/~b/c")],
               "N21 beside it: judged and forwarded in the same form")
        a = c.ask(GOOD, "x")
        tap.ok(a.status == 400 or a.reset is not None, "a path without a slash", a.status)
        a = c.ask(GOOD, fields=[(":method", "CONNECT"), (":authority", EVIL + ":443")])
        tap.eq(a.status, 405, "P2 CONNECT on a stream")
    with client(run, GOOD) as c:
        a = c.ask(GOOD, more=[("connection", "keep-alive"), ("x-hop", "1")])
        tap.ok(a.reset is not None or a.status == 400, "a connection field is refused (RFC 9113 8.2.2)", a.status)
        a = c.ask(GOOD, more=[("x-gvm-decision", "Allow"), ("proxy-authorization", "x"), ("x-other", "1"),
                              ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")])
        sent = {k.lower(): v for k, v in a.json().get("headers", [])}
        tap.eq(sent, {"host": GOOD, "x-other": "1", "cookie": "a=1; b=2"}, "P12 our own fields stay here, cookies join")
    _, seen = settled(run)
    tap.eq([s["target"] for s in good.seen if "admin" in s["target"] and s["target"] != "/administrator"], [],
           "P6 no spelling of /admin went upstream")


@section("malformed", 3)
def malformed(run):
    good.seen.clear()
    ordinary = [(":method", "GET"), (":scheme", "https"), (":authority", GOOD), (":path", "/x")]
    table = {
        "upper case": ordinary + [("X-Upper", "1")],
        "no method": ordinary[1:],
        "no path": ordinary[:3],
        "no scheme": [ordinary[0]] + ordinary[2:],
        "empty path": ordinary[:3] + [(":path", "")],
        "two paths": ordinary + [(":path", "/admin")],
        "two methods": ordinary + [(":method", "POST")],
        "two authorities": ordinary + [(":authority", EVIL)],
        "a pseudo-field behind": ordinary[:3] + [("x", "1"), ordinary[3]],
        "an unknown pseudo-field": ordinary + [(":proto", "x")],
        "a response's pseudo-field": ordinary + [(":status", "200")],
        "LF in a value": ordinary + [("x", "a\nb: c")],
        "CR LF in a value": ordinary + [("x", "a\r\nhost: evil.example.test")],
        "NUL in a value": ordinary + [("x", "a\0b")],
        "a space before a value": ordinary + [("x", " a")],
        "a space in a name": ordinary + [("x y", "a")],
        "a colon in a name": ordinary + [("x:y", "a")],
        "an empty name": ordinary + [("", "a")],
        "a request line in the method": [(":method", "GET /admin HTTP/1.1\r\nX:")] + ordinary[1:],
        "a space in the path": ordinary[:3] + [(":path", "/a b")],
        "CR LF in the path": ordinary[:3] + [(":path", "/x HTTP/1.1\r\nX: y")],
        "a fragment": ordinary[:3] + [(":path", "/x#y")],
        "transfer-encoding": ordinary + [("transfer-encoding", "chunked")],
        "upgrade": ordinary + [("upgrade", "websocket")],
        "keep-alive": ordinary + [("keep-alive", "1")],
        "te: gzip": ordinary + [("te", "gzip")],
        "two lengths": ordinary + [("content-length", "1"), ("content-length", "2")],
        "a length that is none": ordinary + [("content-length", "+1")],
        "two hosts": ordinary + [("host", GOOD), ("host", EVIL)],
        "another expectation": ordinary + [("expect", "the-unexpected")],
        "scheme ftp": [ordinary[0], (":scheme", "ftp")] + ordinary[2:],
        "a protocol": ordinary + [(":protocol", "websocket")],
    }
    for what, fields in table.items():
        with client(run, GOOD) as c:
            a = c.ask(GOOD, fields=fields)
            tap.ok(a.reset is not None or a.status == 400 or c.goaway, f"N7 {what}", (a.status, a.body))
    tap.eq(good.seen, [], "N7 none of these went upstream")
    with client(run, GOOD) as c:
        a = c.ask(GOOD, method="POST", more=[("content-length", "3")], body=b"hello")
        tap.ok(a.reset is not None or a.status == 400, "N7 more body than content-length", a.status)
        ident = c.begin(GOOD, method="POST", more=[("content-length", "30")], end=False)
        c.send(ident, b"hello", True)
        a = c.wait(ident)
        tap.ok(a.reset is not None or a.status in (400, 502), "N7 less body than content-length", a.status)
        # Of the second, what came before its end may have arrived: its server knows that it is short.
        tap.ok(not any(s["length"] in (3, 30) for s in good.seen), "N7 no such body arrived whole", good.seen)
        a = c.ask(GOOD, more=[("x", "y" * 70000)])
        tap.ok(a.status == 431 or a.reset is not None or c.goaway is not None, "a head past the limit", a.status)
    with client(run, GOOD) as c:
        a = c.ask(GOOD, more=[(f"x-{n}", "y") for n in range(250)])
        tap.eq(a.status, 431, "too many fields")
        tap.eq(c.ask(GOOD).status, 200, "and an ordinary one still passes")
    with run.tls(GOOD, alpn=("h2",)) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: " + GOOD.encode() + b"\r\n\r\n")
        began = time.monotonic()
        while s.recv(1000):
            pass
        tap.ok(time.monotonic() - began < 4, "HTTP/1 where HTTP/2 was agreed is ended")
    _, seen = settled(run)
    refused = [e for e in seen if e["kind"] == "http.refused"]
    tap.ok(len(refused) >= len(table), "every one is in the log", len(refused))


# ---- prior knowledge ----

@section("prior knowledge", 4)
def prior_knowledge(run):
    before = len(plain.seen)
    with h2rig.Client(run.tunnel(PLAIN + ":80")) as c:
        tap.eq(c.ask(PLAIN, "/admin/x", scheme="http").status, 403, "N6 N8 a preface inside CONNECT is judged")
        tap.eq(c.ask(EVIL, "/x", scheme="http").status, 421, "N6 and holds to its host")
    with h2rig.Client(run.connect()) as c:
        tap.eq(c.ask(PLAIN, "/admin/x", scheme="http").status, 403, "N6 N8 the same to the proxy's own address")
        tap.eq(c.ask(PLAIN, "/admin/y", scheme="https").status, 403, "N6 an https target there is judged too")
        tap.eq(c.ask("169.254.169.254", "/latest", scheme="http").status, 403, "N14 nor is metadata reached")
    tap.eq(len(plain.seen), before, "N6 nothing went upstream")
    with run.connect() as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 40)
        s.settimeout(5)
        while s.recv(1000):
            pass
        tap.ok(True, "N6 half a preface is ended")
    run.finish()


# ---- messages ----

@section("messages", 5)
def messages(run):
    with client(run, TWO) as c:
        a = c.ask(TWO, "/x", more=[("authorization", "Bearer agents-own")])
        sent = dict(a.json().get("headers", []))
        tap.eq((a.status, sent.get("authorization")), (200, "Bearer " + SECRET), "N4 the real credential is set")
        a = c.ask(TWO, "/hints")
        tap.eq((len(a.interim), a.interim[0].get("link") if a.interim else None, a.body, a.trailers),
               (1, "</a>", b"body", {"x-sum": "7"}), "103, a body and its trailers")
        ident = c.begin(TWO, "/x", "POST", [("trailer", "x-t")], False)
        c.send(ident, b"abc")
        c.trailers(ident, [("x-t", "1"), ("x-gvm-run", "1")])
        a = c.wait(ident)
        tap.eq((a.json().get("body"), a.json().get("trailers")), ("abc", {"x-t": "1"}), "a request's trailers")
        a = c.ask(TWO, "/refuse-once")
        tap.eq(a.status, 200, "a stream that the server refused is sent again")
        a = c.ask(TWO, "/refuse-once")
        two.resets_done.clear()
        a = c.ask(TWO, "/refuse-once", method="POST", body=b"x")
        tap.ok(a.status == 502, "but not with a body that is gone", a.status)
        a = c.ask(TWO, "/goaway", method="POST", body=b"x")
        tap.ok(a.status == 502, "GOAWAY before an answer", a.status)
        tap.eq(c.ask(TWO, "/x").status, 200, "and the next request finds another connection")
        ident = c.begin(TWO, "/reset")
        a = c.wait(ident)
        tap.ok(a.reset is not None and not a.ended, "an answer that is cut is not whole", a.reset)
        ident = c.begin(TWO, "/early", "POST", [("content-length", "5000000")], False)
        c.send(ident, b"x" * 20000)
        a = c.wait(ident)
        tap.eq(a.status, 413, "an answer before the body is whole")
        ident = c.begin(TWO, "/early", "POST", (), False)  # goes on as if nothing had been said
        a = c.wait(ident)
        sent, began = 0, time.monotonic()
        while not a.closed and time.monotonic() - began < 20:
            try:
                room = min(c.conn.local_flow_control_window(ident), c.conn.max_outbound_frame_size)
                if room:
                    c.conn.send_data(ident, b"x" * room)
                    c.flush()
                    sent += room
                c.pump(0 if room else 0.5)
            except h2.exceptions.ProtocolError:
                break
        tap.ok(a.closed and sent < 40 << 20, "a client that does not stop is reset after a while", sent)
        ident = c.begin(TWO, "/early", "POST", (), False)  # says nothing more, nor ends
        a = c.wait(ident)
        began = time.monotonic()
        while not a.closed and time.monotonic() - began < 15:
            c.pump(0.5)
        tap.ok(a.closed, "and one that does not end is, too")
        ident = c.begin(TWO, "/x", "POST", [("expect", "100-continue"), ("content-length", "5")], False)
        a = c.wait(ident, until=lambda a: a.interim)
        went = [i.get(":status") for i in a.interim]
        c.send(ident, b"hello", True)
        a = c.wait(ident)
        tap.eq((went, a.json().get("body")), (["100"], "hello"), "Expect: 100-continue")
        a = c.ask(TWO, "/bytes/100", method="HEAD")
        tap.eq((a.status, a.headers.get("content-length"), a.body), (200, "100", b""), "HEAD")
        size = 6_000_000
        a = c.ask(TWO, f"/bytes/{size}")
        tap.ok(len(a.body) == size and a.body[:256] == bytes(range(256)), "6 MB down", len(a.body))
        a = c.ask(TWO, "/up", method="POST", body=b"u" * 2_000_000)
        tap.eq(a.json().get("length"), 2_000_000, "2 MB up")
    with client(run, GOOD) as c:
        a = c.ask(GOOD, "/bytes/5", method="HEAD")
        b, d, e = c.ask(GOOD, "/status/204"), c.ask(GOOD, "/status/304"), c.ask(GOOD, "/x", method="POST", body=b"")
        tap.eq((a.status, a.headers.get("content-length"), b.status, d.status, e.json().get("length")),
               (200, "5", 204, 304, 0), "HEAD, 204, 304 and an empty body from HTTP/1")
        a = c.ask(GOOD, "/x", method="POST", body=b"z" * 300_000)
        tap.eq(a.json().get("length"), 300_000, "a body without a length becomes chunks")
        ident = c.begin(GOOD, "/sse")
        late = []
        for n in range(5):
            a = c.wait(ident, until=lambda a: a.body.count(b"\n\n") > n)
            late.append(time.time() - float(a.body.split(b"\n\n")[n].split()[2]))
        tap.ok(max(late) < 0.15, "events pass at once", late)
    _, seen = settled(run)
    tap.ok(SECRET not in json.dumps(seen), "the credential is in no log")
    ids = [e["id"] for e in seen if e["kind"] == "http.decision"]
    outcomes = [e["id"] for e in seen if e["kind"] == "http.outcome"]
    tap.ok(sorted(ids) == sorted(outcomes) and len(set(ids)) == len(ids), "every decision has one outcome",
           (len(ids), len(outcomes)))


# ---- one stream does not delay another ----

def asks(control):
    return control.call("APPROVALS").get("pending", [])


def wait_ask(control):
    return (gvmtest.wait_for(lambda: asks(control), 5) or [{}])[0]


@section("side by side", 6)
def side_by_side(run):
    control = rig.Control(home)
    with client(run, TWO) as c:
        slow = c.begin(TWO, "/slow")
        began = time.monotonic()
        quick = [c.ask(TWO, "/x").status for _ in range(5)]
        tap.ok(quick == [200] * 5 and not c.streams[slow].ended, "a delayed stream delays no other", quick)
        tap.ok(c.wait(slow).status == 200 and time.monotonic() - began >= 1.5, "and passes after its delay")
    with client(run, PAY) as c:
        held = c.begin(PAY, "/transfer", "POST", [("x-gvm-approved", "yes")], False)
        c.send(held, b"amount=1", True)
        ask = wait_ask(control)
        tap.ok(ask.get("method") == "POST" and ask.get("url") == f"https://{PAY}/transfer" and
               "amount=1" in ask.get("excerpt", ""), "P1 held and shown", ask)
        tap.eq((len(pay.seen), c.streams[held].headers), (0, {}), "P1 nothing is forwarded meanwhile, nothing answered")
        other = c.begin(PAY, "/other")
        gvmtest.wait_for(lambda: len(asks(control)) == 2, 5)
        second = next((a for a in asks(control) if a["url"].endswith("/other")), {})
        control.call("DECIDE", {"id": str(second["id"]), "allow": False, "for": "once", "reason": "no"})
        tap.eq((c.wait(other).status, c.streams[held].ended), (403, False), "P11 a no for one stream leaves the other held")
        control.call("DECIDE", {"id": str(ask["id"]), "allow": True, "for": "once", "reason": "yes"})
        a = c.wait(held)
        tap.eq((a.status, a.json().get("body")), (200, "amount=1"), "P1 it goes on after a yes, with its body")
        gone = c.begin(PAY, "/gone")
        wait_ask(control)
        c.reset(gone)
        tap.ok(gvmtest.wait_for(lambda: not asks(control), 3), "a stream that is reset takes its question with it")
        late = c.begin(PAY, "/late")
        tap.eq(c.wait(late).status, 403, "C4 no answer in time denies")
        tap.eq([s["target"] for s in pay.seen], ["/transfer"], "P1 nothing else went upstream")
    with client(run, GOOD) as c:  # a stream whose answer is not read
        stuck = c.begin(GOOD, "/bytes/50000000")
        c.manual.add(stuck)
        c.wait(stuck, until=lambda a: len(a.body) >= 60000)
        c.conn.increment_flow_control_window(1 << 20)
        c.flush()
        began = time.monotonic()
        got = [c.ask(GOOD, "/x").status for _ in range(5)]
        tap.ok(got == [200] * 5 and time.monotonic() - began < 3, "a stream that is not read delays no other", got)
    with client(run, TWO) as c:  # a stream whose body the server does not take
        sink = c.begin(TWO, "/sink", "POST", end=False)
        sent = 0
        while sent < 4_000_000:
            room = min(c.conn.local_flow_control_window(sink), c.conn.max_outbound_frame_size)
            if not room and not c.pump(0.4):
                break
            if room:
                c.conn.send_data(sink, b"s" * room)
                c.flush()
                sent += room
        tap.ok(sent < 1_000_000, "a server that takes nothing holds the sender back", sent)
        tap.eq(c.ask(TWO, "/x", method="POST", body=b"b" * 40000).json().get("length"), 40000,
               "and no other stream")
    run.finish()


# ---- floods ----

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def flooded(run, data, what, rounds=400, prepare=None):
    """The peer is let go, quickly; others are served; nothing is kept."""
    proxy = child("proxy")
    before = resident(proxy)
    with client(run, GOOD) as c:
        if prepare:
            prepare(c)
        c.pump(0.5)
        for n in range(rounds):
            if not c.open:
                break
            c.raw(data(n) if callable(data) else data)
            c.pump(0)
        c.drain(5)
        ended = not c.open
        goaway = c.goaway
    tap.ok(ended, f"N26 {what}: ended", goaway)
    tap.eq(once(run, GOOD).status, 200, f"N26 {what}: others are served")
    grown = resident(proxy) - before
    tap.ok(grown < (600 << 20 if os.environ.get("ASAN_OPTIONS") else 24 << 20), f"N26 {what}: no memory", grown)


@section("floods", 7)
def floods(run):
    flooded(run, frame(6, 0, 0, b"12345678") * 100, "PING")
    flooded(run, frame(4, 0, 0) * 100, "SETTINGS")
    flooded(run, frame(2, 0, 1, b"\0\0\0\0\x10") * 200, "PRIORITY")
    flooded(run, frame(0x42, 0, 0, b"x") * 100, "unknown frames")

    def rapid(n):
        """Opens and resets 20 streams; the block was learned by the first request."""
        out = b""
        for k in range(20):
            ident = 3 + 2 * (20 * n + k)
            out += frame(1, 5, ident, rapid.block) + frame(3, 0, ident, b"\0\0\0\x08")
        return out
    encoder_block = b"\x82\x87\x84\x41" + bytes([len(GOOD)]) + GOOD.encode()
    rapid.block = encoder_block
    flooded(run, rapid, "rapid reset", prepare=lambda c: c.ask(GOOD))

    def empty(c):
        empty.ident = c.begin(GOOD, "/x", "POST", end=False)
    flooded(run, lambda n: frame(0, 0, empty.ident) * 100, "empty DATA", prepare=empty)

    def wrong_window(n):
        """Makes us reset: WINDOW_UPDATE of 0 on a stream (as rapid reset, from the other side)."""
        out = b""
        for k in range(20):
            ident = 3 + 2 * (20 * n + k)
            out += frame(1, 5, ident, encoder_block) + frame(8, 0, ident, b"\0\0\0\0")
        return out
    flooded(run, wrong_window, "resets that we are made to send", prepare=lambda c: c.ask(GOOD))
    began = time.monotonic()
    with client(run, GOOD) as c:
        c.pump(0.5)
        c.raw(frame(1, 0, 1, encoder_block))
        for n in range(200):
            if not c.open:
                break
            c.raw(frame(9, 0, 1, b"\x00\x01x" + bytes([100]) + b"y" * 100) * 50)
            c.pump(0)
        c.drain(5)
        tap.ok(not c.open and time.monotonic() - began < 8, "N26 CONTINUATION without end: ended", c.goaway)
    with client(run, GOOD) as c:  # HPACK: one large entry, referred to again and again
        c.pump(0.5)
        value = b"v" * 3900
        block = encoder_block + b"\x40\x01x\x7f" + bytes([0x80 | (len(value) - 127) & 127, (len(value) - 127) >> 7]) + value
        c.streams[1] = h2rig.Answer()
        c.conn.get_next_available_stream_id()
        c.raw(frame(1, 5, 1, block + b"\xbe" * 4000))
        c.drain(2)
        tap.eq(len([s for s in good.seen if len(s["headers"]) > 100]), 0, "N26 an HPACK bomb is not forwarded")
    tap.eq(once(run, GOOD).status, 200, "N26 and others are served")
    with client(run, GOOD) as c:  # more streams than there may be
        c.pump(0.5)
        idents = [1 + 2 * n for n in range(300)]
        c.raw(b"".join(frame(1, 4, i, encoder_block) for i in idents))
        c.drain(1)
        tap.ok(True, "N26 300 streams at once are bounded")
    _, seen = settled(run)
    floods_seen = [e for e in seen if e["kind"] == "http.refused" and e["why"] == "http2"]
    tap.ok(len(floods_seen) >= 5, "N26 floods are in the log", [e.get("reason") for e in floods_seen])


@section("half open", 8)
def half_open(run):
    proxy = child("proxy")
    before = resident(proxy)
    socks = []
    for _ in range(150):
        s = run.tls(GOOD, alpn=("h2",))
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 0, 1, b"\x82\x87\x84"))
        socks.append(s)
    tap.eq(once(run, GOOD).status, 200, "N26 beside 150 half-open connections others are served")
    grown = resident(proxy) - before
    tap.ok(grown < (600 << 20 if os.environ.get("ASAN_OPTIONS") else 30 << 20), "N26 which cost little", grown)
    began = time.monotonic()
    socks[0].settimeout(10)
    while True:
        try:
            if not socks[0].recv(4096):
                break
        except OSError:
            break
    tap.ok(time.monotonic() - began < 8, "N26 and are not waited for", time.monotonic() - began)
    for s in socks:
        s.close()
    run.finish()


@section("too many", 9)
def too_many(run):
    clients = []
    for _ in range(11):
        c = client(run, TWO)
        c.pump(0.5)
        idents = [1 + 2 * n for n in range(95)]
        for ident in idents:
            c.streams[ident] = h2rig.Answer()
            c.conn.send_headers(ident, c.headers(TWO, "/parked", "GET", ()), end_stream=True)
        c.flush()
        clients.append(c)
    refused = 0
    for c in clients:
        while c.pump(0.3):
            pass
        refused += sum(a.status == 503 for a in c.streams.values())
    tap.eq(refused, 11 * 95 - 1000, "N26 more requests than one run may have at a time: 503")
    other = rig.Run(home, "20260101T000000-00000a")
    tap.eq(once(other, GOOD).status, 200, "N26 another run is served")
    other.finish()
    for c in clients:
        c.close()
    tap.ok(gvmtest.wait_for(lambda: once(run, GOOD).status == 200, 5), "N26 and this one again, when they are gone")
    _, seen = settled(run)
    tap.eq(sum(e["kind"] == "http.refused" and e["why"] == "busy" for e in seen), refused, "N26 recorded")


@section("hoard", 11)
def hoard(run):
    """Answers that nobody reads: what waits in the proxy has a bound for the run, not only for each stream."""
    proxy = child("proxy")
    before = resident(proxy)
    clients = []
    for _ in range(4):  # each stream could keep its window of 256 KiB and more
        c = client(run, TWO)
        c.pump(0.5)
        idents = [1 + 2 * n for n in range(95)]
        for ident in idents:
            c.streams[ident] = h2rig.Answer()
            c.conn.send_headers(ident, c.headers(TWO, "/bytes/400000", "GET", ()), end_stream=True)
        c.flush()
        clients.append(c)
    full = gvmtest.wait_for(lambda: once(run, TWO).status == 503, 20, 0.2)
    tap.ok(full, "N26 a run whose answers wait unread is told to wait: 503")
    grown = resident(proxy) - before
    tap.ok(grown < (900 << 20 if os.environ.get("ASAN_OPTIONS") else 190 << 20), "N26 and has a bound", grown)
    other = rig.Run(home, "20260101T000000-0000ff")
    tap.eq(once(other, TWO).status, 200, "N26 another run is served")
    other.finish()
    for c in clients:
        c.close()
    tap.ok(gvmtest.wait_for(lambda: once(run, TWO).status == 200, 10), "N26 and this one again, when they are gone")
    _, seen = settled(run)
    tap.ok(any(e["kind"] == "http.refused" and e["why"] == "busy" for e in seen), "N26 recorded")


gvmtest.end(daemon, 10)
left = rig.daemon_log(home)
tap.ok("signal 31" not in left and "SIGSYS" not in left and "Sanitizer" not in left and
       "runtime error" not in left, "no process broke its confinement or crashed", left[-3000:])
tap.done()
