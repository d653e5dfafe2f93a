#!/usr/bin/python3
"""Heads outside: RFC 3161 timestamps by a real authority (`openssl ts`, behind an HTTP server of this script), and
exports to files, programs and servers, by hand and by gvmd. Row C12: nothing leaves but heads."""
import hashlib
import http.server
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest  # noqa: E402

tap = gvmtest.Tap()
home = gvmtest.Home("")
TSA = os.path.join(home.top, "tsa")


def openssl(*args, **kw):
    return subprocess.run(["openssl", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TSA, **kw)


def make_authority():
    os.makedirs(TSA)
    with open(os.path.join(TSA, "ts.conf"), "w", encoding="utf-8") as f:
        f.write("""
[tsa]
default_tsa = t
[t]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
[ext]
extendedKeyUsage = critical,timeStamping
""")
    with open(os.path.join(TSA, "serial"), "w", encoding="utf-8") as f:
        f.write("01\n")
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                name + ".key", "-out", name + ".pem", "-days", "30", "-subj", "/CN=" + name)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tsa.key", "-out",
            "tsa.csr", "-subj", "/CN=tsa")
    return openssl("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                   "-out", "tsa.pem", "-days", "10", "-extfile", "ts.conf", "-extensions", "ext").returncode == 0


class Handler(http.server.BaseHTTPRequestHandler):
    mode = "good"
    seen = []
    last = b""

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.seen.append((self.path, dict(self.headers), body))
        if self.path == "/heads":
            return self.answer(b"", 200 if Handler.mode != "broken" else 500)
        if Handler.mode == "good":
            with open(os.path.join(TSA, "q"), "wb") as f:
                f.write(body)
            openssl("ts", "-reply", "-config", "ts.conf", "-queryfile", "q", "-out", "r")
            with open(os.path.join(TSA, "r"), "rb") as f:
                Handler.last = f.read()
        return self.answer({"good": Handler.last, "replay": Handler.last, "junk": b"\x30\x03\x02\x01\x00" * 9,
                            "long": b"x" * (2 << 20), "refuse": bytes.fromhex("30053003020102")}
                           .get(Handler.mode, b""), 500 if Handler.mode == "broken" else 200)

    def answer(self, body, status):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}"
CA = os.path.join(TSA, "ca.pem")


def audit(*args):
    got = home.gvm("audit", *args)
    return got.returncode, got.stdout + got.stderr


def anchors():
    folder = os.path.join(home.state, "anchors")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def path(name):
    return os.path.join(home.state, "anchors", name)


def timestamps():
    code, text = audit("timestamp", "--url", URL + "/ts", "--ca", CA)
    tap.ok(code == 0 and "stamped at 20" in text, "gvm audit timestamp", text)
    stamped = [n for n in anchors() if n.endswith(".tsr")]
    if not tap.eq(len(stamped), 1, "the answer is kept beside the head", anchors()):
        return
    tsr, head = path(stamped[0]), path(stamped[0].replace(".tsr", ".head"))
    done = openssl("ts", "-verify", "-data", head, "-in", tsr, "-CAfile", CA)
    tap.ok(done.returncode == 0 and b"Verification: OK" in done.stdout, "the openssl program verifies it",
           done.stdout.decode())
    _, headers, query = Handler.seen[-1]
    with open(head, "rb") as f:
        digest = hashlib.sha256(f.read()).digest()
    tap.ok(len(query) < 100 and digest in query and headers["Content-Type"] == "application/timestamp-query"
           and "Authorization" not in headers and "Cookie" not in headers,
           "C12: what leaves is a hash and a nonce", (query, headers))
    code, text = audit("head", head, "--timestamp", tsr, "--ca", CA)
    tap.ok(code == 0 and "existed at 20" in text, "gvm audit head shows when the authority saw it", text)
    code, text = audit("head", head, "--timestamp", tsr, "--ca", os.path.join(TSA, "other.pem"))
    tap.eq(code, 3, "not by another authority's certificate", text)
    code, text = audit("head", head, "--timestamp", tsr)
    tap.eq(code, 2, "and not without saying whose signature counts", text)
    home.gvm("audit", "keygen", "--out", os.path.join(home.top, "s"))
    with open(tsr, "rb") as f:
        good = f.read()
    for at in (20, len(good) // 2, len(good) - 10):
        with open(tsr, "wb") as f:
            f.write(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        code, text = audit("head", head, "--timestamp", tsr, "--ca", CA)
        tap.eq(code, 3, f"one bit at {at} changed is refused", text)
    with open(tsr, "wb") as f:
        f.write(good)
    other = os.path.join(home.top, "other-head")
    home.python("print(1)")
    wait_head()
    with open(other, "w", encoding="utf-8") as f:
        f.write(home.gvm("audit", "checkpoint").stdout)
    code, text = audit("head", other, "--timestamp", tsr, "--ca", CA)
    tap.eq(code, 3, "a timestamp is for one head only", text)
    for mode in ("replay", "junk", "long", "refuse", "empty", "broken"):
        before = anchors()
        Handler.mode = mode
        code, text = audit("timestamp", "--url", URL + "/ts", "--ca", CA)
        tap.ok(code in (1, 3) and anchors() == before, f"an authority that answers with {mode}: refused, not kept",
               text)
    Handler.mode = "good"


def wait_head():
    size = len(home.events())
    return gvmtest.wait_for(lambda: int((home.gvm("audit", "checkpoint").stdout.split("\n") + ["", "0"])[1] or 0)
                            >= size, 10)


def by_hand():
    folder, file, got = (os.path.join(home.top, n) for n in ("heads", "head-now", "got"))
    os.makedirs(folder)
    program = os.path.join(home.top, "keep.sh")
    with open(program, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\ncat > {got}\necho \"$1\" >> {got}\n")
    os.chmod(program, 0o755)
    home.write_config(f"""
[audit]
export = ["file:{folder}", "file:{file}", "command:{program} a$(id)b", "{URL}/heads", "file:/nowhere/at/all"]
[audit.timestamp]
url = "{URL}/ts"
ca_file = "{CA}"
every = "1h"
""")
    tap.eq(home.gvm("check", home.config).returncode, 0, "the configuration loads")
    code, text = audit("publish")
    head = home.gvm("audit", "checkpoint").stdout
    size = head.split("\n")[1]
    tap.ok(code == 1 and "/nowhere/at/all" in text, "a target that fails is named", text)
    texts = [open(p, encoding="utf-8").read() for p in (os.path.join(folder, size + ".head"), file)]
    tap.eq(texts, [head, head], "the head lies in the folder and in the file")
    tap.eq(open(got, encoding="utf-8").read(), head + "a$(id)b\n",
           "the program had it on standard input, its words untouched by any shell")
    posts = [s for s in Handler.seen if s[0] == "/heads"]
    tap.ok(posts and posts[-1][2] == head.encode() and "Authorization" not in posts[-1][1],
           "C12: the server got the head and nothing else", posts)
    tap.ok(gvmtest.wait_for(lambda: size + ".tsr" in anchors() or any(n.endswith(".tsr") for n in anchors()), 1),
           "and the authority was asked too", anchors())
    tap.ok(size in head and all(b"api" not in s[2] for s in posts), "no entry is in any of it")


def by_daemon():
    file = os.path.join(home.top, "from-daemon")
    home.write_config(f"[audit]\nexport = \"file:{file}\"\nexport_every = \"1s\"\n")
    home.gvm("reload")
    home.python("print(2)")
    wait_head()

    def there():
        return os.path.exists(file) and open(file, encoding="utf-8").read() == home.gvm("audit", "checkpoint").stdout
    tap.ok(gvmtest.wait_for(there, 15, 0.1), "gvmd has the newest head given out by itself", home.log()[-800:])
    home.python("print(3)")
    home.gvm("stop", "--force")
    head = open(os.path.join(home.state, "ledger", "checkpoint"), encoding="utf-8").read()
    tap.ok(gvmtest.wait_for(lambda: open(file, encoding="utf-8").read() == head, 10),
           "and the last one when it ends", (head, open(file, encoding="utf-8").read()))
    bad = ('export = "gopher://x"', 'export = "file:relative"', 'export = "command:x"', 'export_every = "1"',
           'timestamp = { ca_file = "/etc/ssl/certs/ca-certificates.crt" }', 'timestamp = { url = "ftp://x" }')
    for line in bad:
        home.write_config("[audit]\n" + line + "\n")
        got = home.gvm("check", home.config)
        tap.ok(got.returncode == 1 and ":2:" in got.stdout + got.stderr, "refused with its place: " + line,
               (got.returncode, got.stdout + got.stderr))


def main():
    if not tap.ok(make_authority(), "an authority of our own"):
        tap.done()
    got = home.python("print(0)")
    tap.eq(got.returncode, 0, "a run", got.stderr)
    wait_head()
    timestamps()
    by_hand()
    by_daemon()
    server.shutdown()
    tap.done()


main()
