"""Attacks on rules that look at bodies (tests/lib/proxyrig.py), over HTTP/1.1 and HTTP/2: whatever the
framing, coding, size or spelling, a body that a rule denies does not reach its server, and one that is
allowed arrives byte for byte. Each refusal stands beside the ordinary case. (N22 to N24, P9)"""
import base64
import ctypes
import gzip
import hashlib
import json
import os
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import h2rig
import proxyrig as rig
import speak

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
API, BANK, OPEN = "api.example.test", "bank.example.test", "open.example.test"
api, bank, plain = gvmtest.Echo(certs.issue(API)), gvmtest.Echo(certs.issue(BANK)), gvmtest.Echo()
LIMIT = 65536
RULES = f"""
[policy]
default = {{ type = "Deny", reason = "not on the list" }}
[timeouts]
head = "2s"
[[rules]]
name = "large amounts"
method = "*"
pattern = "{API}/pay"
body = [{{ path = "$.amount", op = ">", value = 1000 }}]
max_body_bytes = {LIMIT}
decision = {{ type = "Deny", reason = "at most 1000" }}
[[rules]]
name = "pay"
method = "POST"
pattern = "{API}/pay"
decision = "Allow"
[[rules]]
name = "tools"
method = "POST"
pattern = "{API}/mcp"
mcp = {{ tool = ["read_*", "list_*"] }}
decision = "Allow"
[[rules]]
name = "later"
method = "POST"
pattern = "{API}/later"
body = {{ path = "$.wait", value = true }}
decision = {{ type = "Delay", milliseconds = 300 }}
[[rules]]
name = "not waiting"
method = "POST"
pattern = "{API}/later"
decision = "Allow"
[[rules]]
name = "large and small"
method = "POST"
pattern = "{API}/large"
body = {{ path = "$.amount", op = "<", value = 10 }}
max_body_bytes = 8000000
decision = "Allow"
[[rules]]
name = "search"
method = "GET"
pattern = "{API}/search"
query = [{{ name = "scope", value = "public" }}]
decision = "Allow"
[[rules]]
name = "marked"
method = "GET"
pattern = "{API}/marked"
header = [{{ name = "x-mark", value = "yes" }}]
decision = "Allow"
[[rules]]
name = "three a minute"
method = "GET"
pattern = "{API}/limited"
limit = "3/min"
on_limit = {{ type = "Deny", reason = "three a minute" }}
decision = "Allow"
[[rules]]
name = "few bytes"
method = "POST"
pattern = "{API}/bytes"
limit = "4KB/min"
decision = "Allow"
[[rules]]
name = "bank"
method = "POST"
pattern = "{BANK}/graphql"
payload_field = "operationName"
payload_match = ["TransferFunds", "DeleteAccount"]
payload_query_alias_match = ["transferFunds", "deleteAccount"]
unsafe_body_action = {{ type = "Deny", reason = "unverifiable body" }}
max_body_bytes = {LIMIT}
decision = {{ type = "Deny", reason = "Dangerous GraphQL operation" }}
[[rules]]
method = "*"
pattern = "{BANK}/graphql"
decision = "Allow"
[[rules]]
name = "admin"
method = "*"
pattern = "{BANK}/admin/**"
decision = "Deny"
[[rules]]
name = "rest of the bank"
method = "*"
pattern = "{BANK}/public/**"
decision = "Allow"
[[rules]]
name = "untouched"
method = "*"
pattern = "{OPEN}"
decision = "Allow"
"""
home.write_config(RULES + gvmtest.upstream_config(certs.ca, {API: api.port, BANK: bank.port, OPEN: plain.port}))
daemon = rig.start_daemon(home)
run, how = None, None  # of the version that the tables run over
GOOD, BAD = b'{"amount": 7, "to": "x"}', b'{"amount": 5000, "to": "x"}'


def zstd(data):
    lib = ctypes.CDLL("libzstd.so.1")
    lib.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(len(data) + 1000)
    n = lib.ZSTD_compress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), 3)
    return out.raw[:n]


def brotli(data):
    lib = ctypes.CDLL("libbrotlienc.so.1")
    out = ctypes.create_string_buffer(len(data) + 1000)
    n = ctypes.c_size_t(len(out))
    assert lib.BrotliEncoderCompress(5, 22, 0, ctypes.c_size_t(len(data)), data, ctypes.byref(n), out)
    return out.raw[:n.value]


def bare_deflate(data):
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return z.compress(data) + z.flush()


CODINGS = {"": lambda d: d, "identity": lambda d: d, "gzip": gzip.compress, "x-gzip": gzip.compress,
           "deflate": zlib.compress, "Deflate": bare_deflate, "br": brotli, "zstd": zstd,
           "gzip, br": lambda d: brotli(gzip.compress(d))}


def post(path, body, coding="", framing="length", host=API, kind="application/json", method="POST", size=5):
    fields = ([("Content-Encoding", coding)] if coding else []) + ([("Content-Type", kind)] if kind else [])
    return how.ask(run, host, path, method, fields, body, framing == "length", size)


def test_codings():
    for coding, encode in CODINGS.items():
        for framing in ("length", "chunked"):
            sent = encode(GOOD)
            before = len(api.seen)
            answer = post("/pay", sent, coding, framing)
            seen = api.seen[before:] or [{}]
            tap.ok(answer.status == 200 and seen[0].get("sha256") == hashlib.sha256(sent).hexdigest(),
                   f"{coding or 'no coding'} {framing}: a small amount arrives as it was sent", answer.raw + answer.body)
            before = len(api.seen)
            answer = post("/pay", encode(BAD), coding, framing)
            tap.ok(answer.status == 403 and answer.json().get("rule") == "large amounts" and len(api.seen) == before,
                   f"{coding or 'no coding'} {framing}: a large amount does not", answer.raw + answer.body)


def test_unseen():
    bomb = gzip.compress(b"{" + b" " * (8 << 20) + b"}")
    rows = [("an unknown coding", GOOD, "snappy", "application/json"),
            ("gzip that is none", GOOD, "gzip", "application/json"),
            ("gzip cut short", gzip.compress(GOOD)[:-4], "gzip", "application/json"),
            ("gzip with more behind it", gzip.compress(GOOD) + b"x", "gzip", "application/json"),
            ("gzip twice, said once", gzip.compress(gzip.compress(GOOD)), "gzip", "application/json"),
            ("a gzip bomb", bomb, "gzip", "application/json"),
            ("five codings", GOOD, "identity, gzip, gzip, gzip, gzip, gzip", "application/json"),
            ("not JSON", b"amount=7", "", "application/json"),
            ("a byte order mark", b"\xef\xbb\xbf" + GOOD, "", "application/json"),
            ("UTF-16", GOOD.decode().encode("utf-16"), "", "application/json"),
            ("the same key twice", b'{"amount": 5000, "amount": 7}', "", "application/json"),
            ("the same key twice, escaped", b'{"amount": 5000, "\\u0061mount": 7}', "", "application/json"),
            ("deep nesting", b'{"amount":7,"x":' + b"[" * 100 + b"]" * 100 + b"}", "", "application/json"),
            ("a huge number", b'{"amount": 1e999}', "", "application/json"),
            ("one behind the other", GOOD + BAD, "", "application/json")]
    for name, body, coding, kind in rows:
        before = len(api.seen)
        answer = post("/pay", body, coding, kind=kind)
        tap.ok(answer.status == 403 and answer.json().get("unverifiable") and len(api.seen) == before,
               f"{name}: cannot be seen, so it is denied", answer.raw + answer.body)
    answer = post("/pay", b'{"Amount": 5000}')
    tap.eq(answer.status, 403, "the key in another case")
    answer = post("/pay", b'{"amount": "5000"}')
    tap.eq(answer.status, 403, "the number as a text")
    answer = post("/pay", b"[" + GOOD + b"," + BAD + b"]")
    tap.eq(answer.status, 403, "one of a list")
    answer = post("/pay", base64.b64encode(BAD))
    tap.eq(answer.status, 403, "wrapped in base64")
    answer = post("/pay", BAD, kind="text/plain")
    tap.eq(answer.status, 403, "under another type")
    answer = post("/pay", BAD, kind="")
    tap.eq(answer.status, 403, "under no type")


def test_size():
    for framing in ("length", "chunked"):
        for n, want in ((LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 403), (4 * LIMIT, 403), (3 << 20, 403)):
            body = GOOD + b" " * (n - len(GOOD))
            before = len(api.seen)
            answer = post("/pay", body, "", framing, size=8192)
            arrived = [e["length"] for e in api.seen[before:]]
            tap.ok(answer.status == want and arrived == ([n] if want == 200 else []),
                   f"{framing} body of {n} bytes: {want}", answer.raw + answer.body)
    body = BAD[:-1] + b" " * (LIMIT - len(BAD)) + b"}"
    tap.eq(post("/pay", body).status, 403, "a large amount in a body of just the limit")


def test_no_rule_no_wait():
    """A host without such rules gets the body as it comes: the server answers before its end."""
    with how.call(run, OPEN, "/x", length=1000000, clear=True) as c:
        c.send(b"a" * 65000)
        deadline = time.monotonic() + 5
        while not any(e["port"] == 80 and e["method"] == "POST" for e in rig.entries(home, "http.decision")
                      if e.get("run") == run.id) and time.monotonic() < deadline:
            time.sleep(0.02)
        tap.ok(time.monotonic() < deadline, "a request no rule needs the body of is decided by its head")


def test_timing():
    with how.call(run, API, "/pay", length=len(BAD)) as c:
        c.send(BAD[:10])
        time.sleep(0.3)
        c.send(BAD[10:20])
        time.sleep(0.3)
        before = len(api.seen)
        c.send(BAD[20:], True)
        answer = c.answer()
        tap.ok(answer.status == 403 and len(api.seen) == before, "a body in three pieces", answer.raw)
    with how.call(run, API, "/pay", length=len(GOOD)) as c:
        c.send(GOOD[:10])
        began = time.monotonic()
        answer = c.answer()
        tap.ok(answer.status == 408 and time.monotonic() - began < 10, "a body that does not come", answer.raw)
    expect = [("Expect", "100-continue")]
    with how.call(run, API, "/pay", fields=expect, length=len(GOOD)) as c:
        first = c.interim()
        c.send(GOOD, True)
        answer = c.answer()
        tap.ok(first == 100 and answer.status == 200, "Expect: asked for, then judged", (first, answer.raw))
    with how.call(run, API, "/pay", fields=expect, length=len(BAD)) as c:
        c.interim()
        c.send(BAD, True)
        tap.eq(c.answer().status, 403, "Expect with a large amount")


def test_together():
    """Each request of a connection by itself, whatever stands behind or beside it."""
    got = [a.status for a in how.several(run, API, [("/pay", GOOD), ("/pay", BAD), ("/pay", GOOD)])]
    tap.eq(got, [200, 403, 200], "three at once: good, bad, good")
    one = f"POST /pay HTTP/1.1\r\nHost: {API}\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    before = len(api.seen)
    answer = post("/pay", GOOD + one)
    tap.ok(answer.status == 403 and len(api.seen) == before, "a request inside a body is body", answer.raw)


def test_pipelined():
    """What only HTTP/1.1 has: one framing behind another on the same bytes."""
    one = f"POST /pay HTTP/1.1\r\nHost: {API}\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    two = f"POST /pay HTTP/1.1\r\nHost: {API}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with run.tls(API) as s:
        s.sendall(one + two + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BAD), BAD) + one)
        got = [rig.answer(s).status for _ in range(3)]
        tap.eq(got, [200, 403, 200], "counted, chunked, counted")


def test_frames():
    """What only HTTP/2 has: bodies in frames with padding, in empty frames, and lengths that are not true."""
    def padded(body, pads):
        with h2rig.Client(run.tls(API, alpn=("h2",))) as c:
            ident = c.begin(API, "/pay", "POST", end=False)
            for at in range(len(body)):
                c.conn.send_data(ident, body[at:at + 1], end_stream=at + 1 == len(body), pad_length=pads[at % len(pads)])
                if at % 7 == 0:
                    c.conn.send_data(ident, b"", end_stream=False) if at + 1 < len(body) else None
            c.flush()
            return c.wait(ident)
    before = len(api.seen)
    tap.eq(padded(BAD, (0, 255, 3)).status, 403, "a large amount, a byte a frame, with padding")
    tap.eq(len(api.seen), before, "nothing of it arrives")
    a = padded(GOOD, (None, 7, 255))
    tap.eq((a.status, api.seen[-1]["length"]), (200, len(GOOD)), "a small one arrives without the padding")
    with h2rig.Client(run.tls(API, alpn=("h2",))) as c:
        ident = c.begin(API, "/pay", "POST", [("content-length", str(len(GOOD)))], False)
        c.send(ident, GOOD)
        c.send(ident, BAD, True)
        a = c.wait(ident)
        tap.ok(a.status in (0, 400, 403), "more than the length says", a.status)
        ident = c.begin(API, "/pay", "POST", [("content-length", str(len(BAD)))], False)
        c.send(ident, GOOD, True)
        a = c.wait(ident)
        tap.ok(a.status in (0, 400, 403), "less than the length says", a.status)
        ident = c.begin(API, "/pay", "POST", (), False)
        c.send(ident, BAD)
        c.trailers(ident, [("content-encoding", "gzip"), ("x-amount", "1")])
        a = c.wait(ident)
        tap.eq(a.status, 403, "a trailer does not change how a body is read")


def test_delay_keeps_bytes():
    body = json.dumps({"wait": True, "x": "y" * 30000}).encode()
    before = len(api.seen)
    began = time.monotonic()
    answer = post("/later", body, framing="chunked", size=997)
    tap.ok(answer.status == 200 and time.monotonic() - began >= 0.3 and
           api.seen[before]["sha256"] == hashlib.sha256(body).hexdigest(), "held, then passed on as it was", answer.raw)
    began = time.monotonic()
    answer = post("/later", b'{"wait": false}')
    tap.ok(answer.status == 200, "without the member it is not held", answer.raw)


def call(tool, **arguments):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def test_large_allowed():
    """Looked at by its beginning only where the rule says so; what is let through arrives whole."""
    body = b'{"amount": 1, "x": "' + os.urandom(2 << 20).hex().encode() + b'"}'
    for framing in ("length", "chunked"):
        before = len(api.seen)
        answer = post("/large", body, framing=framing, size=50000)
        seen = api.seen[before:] or [{}]
        tap.ok(answer.status == 200 and seen[0].get("sha256") == hashlib.sha256(body).hexdigest(),
               f"4 MB that were judged arrive as they were sent, {framing}", answer.raw)


def test_mcp():
    rows = [(call("read_file"), 200, "a tool on the list"), (call("delete_file"), 403, "another tool"),
            ([call("read_file"), call("list_files")], 200, "a batch of both"),
            ([call("read_file"), call("delete_file")], 403, "a batch that hides one"),
            ({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 403, "another method"),
            ({"method": "tools/call", "params": {"name": "read_x", "Name": "delete_x"}}, 403, "two names")]
    for body, want, name in rows:
        before = len(api.seen)
        answer = post("/mcp", json.dumps(body).encode())
        tap.ok(answer.status == want and len(api.seen) == before + (want == 200), "MCP: " + name, answer.raw + answer.body)


def get(path, fields=(), host=API):
    return how.ask(run, host, path, fields=fields)


def test_head_conditions():
    for path, want in (("/search?scope=public", 200), ("/search?scope=%70ublic&x=1", 200), ("/search", 403),
                       ("/search?scope=private", 403), ("/search?scope=public&scope=private", 403),
                       ("/search?Scope=private&scope=public", 403), ("/search?scope=public;scope=private", 403)):
        tap.eq(get(path).status, want, f"GET {path}: {want}")
    yes, no = ("X-Mark", "yes"), ("X-Mark", "no")
    for fields, want in (([yes], (200,)), ([("x-mark", "yes")], (200,)), ([], (403,)), ([no], (403,)), ([yes, no], (403,)),
                         ([("Connection", "x-mark"), yes], (403,) if how is speak.Http1 else (0, 400))):
        status = get("/marked", fields).status
        tap.ok(status in want, f"fields {fields!r}: {want}", status)


def test_limits():
    got = [get("/limited").status for _ in range(5)]
    tap.eq(got, [200, 200, 200, 403, 403], "three requests a minute")
    answer = get("/limited")
    tap.eq(answer.json().get("reason"), "three a minute", "the reason of on_limit")
    got = [post("/bytes", b"x" * 1500).status for _ in range(4)]
    tap.ok(got[0] == 200 and got[3] == 403, "4 KB a minute", got)


def test_prior():
    """The prior program's rule (reference 3.6) and the ways around it that were known."""
    rows = [(b'{"operationName":"TransferFunds","query":"mutation { x }"}', 403, "the operation by name"),
            (b'{"operationName":"GetBalance","query":"{ balance }"}', 200, "another operation"),
            (b'{"operationName":"X","query":"mutation X { a: transferFunds(to: 1) { id } }"}', 403, "an alias"),
            (b'{"query":"mutation { ...F } fragment F on M { transferFunds }"}', 403, "in a fragment"),
            (b'{"query":"{ a(s: \\"transferFunds\\") }"}', 200, "only in a string"),
            (b'{"query":"mutation { x(a: \\"\\"\\" \\\\\\"\\"\\" \\"\\"\\") transferFunds }"}', 403, "behind a block string"),
            (b'[{"query":"{ a }"},{"query":"mutation { deleteAccount }"}]', 403, "in a batch"),
            (b'{"OperationName":"TransferFunds"}', 403, "the envelope key in another case"),
            (b'{"data":{"operationName":"TransferFunds","query":"{ a }"}}', 403, "nested one level"),
            (base64.b64encode(b'{"operationName":"TransferFunds"}'), 403, "a base64 body"),
            (b'{"operationName":"VHJhbnNmZXJGdW5kcw==","query":"{ a }"}', 403, "a base64 field"),
            (b'{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"abc"}}}', 403, "a persisted query"),
            (b" " * LIMIT + b'{"operationName":"GetBalance","query":"{ a }"}', 403, "a body past the limit")]
    for body, want, name in rows:
        before = len(bank.seen)
        answer = post("/graphql", body, host=BANK)
        tap.ok(answer.status == want and len(bank.seen) == before + (want == 200), "prior: " + name,
               answer.raw + answer.body)
        answer = post("/graphql", body, framing="chunked", size=4096, host=BANK)
        tap.eq(answer.status, want, f"prior, in chunks: {name}")
    answer = post("/graphql?query=mutation%7BtransferFunds%7D", b'{"query":"{ a }"}', host=BANK)
    tap.eq(answer.status, 403, "prior: in the query beside a body")
    for path in ("/admin/x", "/admin/", "/public/%2e%2e/admin/x", "/public/%2E%2E/admin/x", "/public/..%2f..%2fadmin/x",
                 "/public/%252e%252e/admin/x", "/admin%00.txt", "///admin/x", "////admin/x", "/admin/.", "/foo/../admin/x"):
        for method in ("GET", "get", "PROPFIND"):
            before = len(bank.seen)
            status = how.ask(run, BANK, path, method).status
            tap.ok(status in (400, 403) and len(bank.seen) == before, f"{method} {path}: {status}")


def test_records():
    run.finish()
    mine = [e for e in rig.entries(home, "http.decision") if e.get("run") == run.id]
    large = [e for e in mine if e["rule"] == "large amounts"]
    tap.ok(large and all(e["decision"] == "Deny" for e in large), "denials are in the ledger")
    tap.ok(any(e.get("unverifiable") for e in large), "with what could not be seen")
    tap.ok(any(e.get("over_limit") for e in mine), "and the limits that were used up")
    text = open(os.path.join(home.top, "gvmd.stderr"), errors="replace").read()
    said = json.dumps(mine) + text  # "large amounts" is a rule's name; a number could stand in a time or a hash
    tap.ok("amount" not in said.replace("large amounts", "") and "transferFunds" not in said,
           "no body is in the ledger or the log")


EACH = (test_codings, test_unseen, test_size, test_no_rule_no_wait, test_timing, test_together, test_delay_keeps_bytes,
        test_large_allowed, test_mcp, test_head_conditions, test_limits, test_prior)
ONLY = {speak.Http1: (test_pipelined, test_records), speak.Http2: (test_frames, test_records)}
for number, how in enumerate(speak.BOTH, 1):
    tap.prefix = how.name + " "
    run = rig.Run(home, f"20260101T000000-{number:06x}")
    for test in EACH + ONLY[how]:
        try:
            test()
        except Exception as e:
            tap.ok(False, f"{test.__name__}: {e!r}", rig.daemon_log(home))
daemon.terminate()
daemon.wait(20)
tap.done()
