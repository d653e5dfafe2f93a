#!/usr/bin/python3
"""Static tlog-tiles directories and witnesses, both ways, with filippo.io/torchwood (Go): it reads what GVM exports
and checks GVM's proofs; GVM verifies a log, proofs and cosignatures that it made."""
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import test_ledger as ours  # noqa: E402
from gvmtest import Tap, MUST_WORK  # noqa: E402

TOTAL, MORE = 3000, 3333
NEEDS = (1, 25)  # torchwood's own demand


def go_version(go):
    text = subprocess.run([go, "version"], stdout=subprocess.PIPE).stdout.decode()
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def build(tap, home):
    go = shutil.which("go")
    if not go or go_version(go) < NEEDS:
        tap.skip("torchwood", "it needs Go %d.%d" % NEEDS)
        return None
    where = os.path.join(home, "go")
    shutil.copytree(os.path.join(HERE, "tiles_go"), where)
    env = dict(os.environ, GOTOOLCHAIN="local", CGO_ENABLED="0")
    env.setdefault("GOCACHE", os.path.join(home, "gocache"))
    made = subprocess.run([go, "build", "-o", "tiles_go", "."], cwd=where, env=env, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0 and not MUST_WORK:
        tap.skip("torchwood", "cannot build: " + made.stdout.decode()[-200:].replace("\n", " "))
        return None
    if not tap.eq(made.returncode, 0, "the Go program builds", made.stdout.decode()):
        return None
    program = os.path.join(where, "tiles_go")

    def run(*args):
        done = subprocess.run([program, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return done.returncode, done.stdout.decode()
    return run


def fill(home, folder, first, last):
    log = ours.Log(folder, os.path.join(home, "seed"))
    log.append(first, last)
    ours.wait_head(folder, last)
    log.stop()


def exported(tap, home, folder, key, torchwood):
    out = os.path.join(home, "export")
    audit = lambda *args: ours.gvm(home, "audit", *args)  # noqa: E731
    code, text = audit("export", "--format", "tlog-tiles", "--out", out)
    tap.ok(code == 0 and f"{TOTAL} new entries" in text, "export --format tlog-tiles", text)
    code, text = audit("verify", "--tiles", "--dir", out, "--key", key)
    tap.eq(code, 0, "GVM verifies the directory", text)
    proofs = []
    for index in (0, 3, TOTAL - 1):  # 3 has private members
        proofs.append(os.path.join(home, f"tiles-proof-{index}"))
        audit("prove", str(index), "--out", proofs[-1])
    if torchwood:
        code, text = torchwood("read", key, out, *proofs)
        tap.ok(code == 0 and f"ok {TOTAL} entries" in text and text.count("ok proof") == 3,
               "torchwood reads every entry, without private members, and verifies the proofs", text)
    with open(os.path.join(out, "checkpoint"), encoding="utf-8") as f:
        old = f.read()
    fill(home, folder, TOTAL, MORE)
    code, text = audit("export", "--format", "tlog-tiles", "--out", out)
    tap.eq(code, 0, "the same again when the log has grown", text)
    if torchwood:
        code, text = torchwood("read", key, out)
        tap.ok(code == 0 and f"ok {MORE} entries" in text, "torchwood reads the rest", text)
    with open(os.path.join(home, "old"), "w", encoding="utf-8") as f:
        f.write(old)
    code, text = audit("verify", "--tiles", "--dir", out, "--key", key, "--since", os.path.join(home, "old"))
    tap.eq(code, 0, "it extends the head of the first export", text)
    changed(tap, home, out, key)
    foreign(tap, home, out)
    lines(tap, home, folder)


def lines(tap, home, folder):
    code, text = ours.gvm(home, "audit", "export", "--format", "jsonl")
    with open(os.path.join(folder, "events", "0" * 20 + ".jsonl"), "rb") as f:
        body = f.read().rstrip(b"\0").decode()
    tap.eq((code, text == body), (0, True), "export --format jsonl: the lines as they stand")
    code, text = ours.gvm(home, "audit", "export", "--format", "jsonl", "--redact", "all")
    tap.ok(code == 0 and len(text.splitlines()) == MORE and '"salt"' not in text and "\u00e4.test" not in text,
           "C12: --redact all leaves private members out")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))


def changed(tap, home, out, key):
    for what, path, at in (("an entry", "tile/entries/004", 777), ("a length", "tile/entries/001", 0),
                           ("a hash", "tile/0/002", 31), ("a partial tile", "tile/1/000.p/13", 5),
                           ("the head", "checkpoint", 30)):
        copy = os.path.join(home, "copy")
        shutil.copytree(out, copy)
        flip(os.path.join(copy, path), at)
        code, text = ours.gvm(home, "audit", "verify", "--tiles", "--dir", copy, "--key", key)
        tap.eq(code, 3, f"one bit of {what} flipped is found", text)
        shutil.rmtree(copy)
    os.unlink(os.path.join(out, "tile/entries/005"))
    code, text = ours.gvm(home, "audit", "verify", "--tiles", "--dir", out, "--key", key)
    tap.ok(code == 3 and "tile/entries/005" in text, "a missing bundle is named", text)
    code, text = ours.gvm(home, "audit", "export", "--format", "tlog-tiles", "--out", out)
    code2, text2 = ours.gvm(home, "audit", "verify", "--tiles", "--dir", out, "--key", key)
    tap.eq((code, code2), (0, 0), "and written again by the next export", text + text2)


def foreign(tap, home, out):
    """An export over that of a log which went another way."""
    other = os.path.join(home, "other")
    os.makedirs(other)
    folder = os.path.join(other, "ledger")
    log = ours.Log(folder, os.path.join(home, "seed"))
    log.append(5, 50)
    ours.wait_head(folder, 45)
    log.stop()
    code, text = ours.gvm(other, "audit", "export", "--format", "tlog-tiles", "--out", out)
    tap.eq(code, 3, "no export goes over that of another history", text)


def theirs(tap, home, torchwood):
    place = os.path.join(home, "theirs")
    code, text = torchwood("make", place, "601", "300")
    if not tap.eq(code, 0, "torchwood makes a log", text):
        return
    key, witness, stranger = text.split()
    log = os.path.join(place, "log")
    audit = lambda *args: ours.gvm(home, "audit", *args)  # noqa: E731
    old = os.path.join(place, "old")
    code, text = audit("verify", "--tiles", "--dir", log, "--key", key, "--since", old)
    tap.ok(code == 0 and "601 entries" in text, "GVM verifies it, and that it extends its older head", text)
    code, text = audit("verify-proof", os.path.join(place, "extends"), "--since", old, "--key", key)
    tap.eq(code, 0, "GVM verifies their proof of consistency", text)
    code, text = audit("verify-proof", os.path.join(place, "extends"), "--since",
                       os.path.join(log, "checkpoint"), "--key", key)
    tap.eq(code, 3, "not for another old head", text)
    names = [n for n in sorted(os.listdir(place)) if re.fullmatch(r"proof-\w+", n)]
    good = [audit("verify-proof", os.path.join(place, n), "--key", key)[0] for n in names]
    tap.eq(good, [0] * 7, "GVM verifies their inclusion proofs, of any bytes")
    head = os.path.join(log, "checkpoint")
    code, text = audit("head", head, "--key", key, "--witness", witness)
    tap.ok(code == 0 and "cosigned by witness.example at 20" in text, "GVM shows their cosignature", text)
    code, text = audit("head", head, "--key", key, "--witness", stranger)
    tap.ok(code == 3 and "not cosigned by stranger.example" in text, "and says who did not cosign", text)
    code, text = audit("head", head, "--key", key, "--witness", key)
    tap.eq(code, 2, "a log's key is no witness's key", text)
    with open(head, encoding="utf-8") as f:
        note = f.read()
    line = next(x for x in note.splitlines() if x.startswith("\u2014 witness.example "))
    at = len(line) - 20
    with open(head, "w", encoding="utf-8") as f:
        f.write(note.replace(line, line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1:]))
    code, text = audit("head", head, "--key", key, "--witness", witness)
    tap.ok(code == 3 and "wrong" in text, "a cosignature that was changed is refused", text)


class Served:
    """gvm audit serve, on whatever port it found."""

    def __init__(self, home):
        env = dict(os.environ, GVM_STATE_DIR=home)
        self.process = subprocess.Popen([os.path.join(ours.BIN, "gvm"), "audit", "serve"], env=env,
                                        stderr=subprocess.PIPE, text=True)
        said = self.process.stderr.readline()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)/", said).group(1))
        self.url = "http://127.0.0.1:%d" % self.port

    def get(self, path, method="GET", **headers):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        conn.request(method, path, headers=headers)
        got = conn.getresponse()
        body = got.read()
        conn.close()
        return got.status, body

    def raw(self, data):
        """What comes back for these bytes, until the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as s:
            s.sendall(data)
            got = b""
            try:
                while more := s.recv(65536):
                    got += more
            except ConnectionResetError:
                pass  # it did not read everything that was sent
            return got

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


def served(tap, home, folder, key, torchwood):
    """The export of the same log, file by file, over HTTP."""
    out = os.path.join(home, "export")
    s = Served(home)
    try:
        names = [os.path.relpath(os.path.join(at, n), out) for at, _, files in os.walk(out) for n in files]
        tiles = sorted(n for n in names if n.startswith("tile/") and not re.search(r"\.p/(184|11)$", n))
        wrong = [n for n in ["checkpoint", *tiles]
                 if s.get("/" + n) != (200, open(os.path.join(out, n), "rb").read())]
        tap.ok(len(tiles) > 25 and not wrong, "audit serve gives every file of the export, byte for byte", wrong)
        hostile(tap, s)
        if torchwood:
            code, text = torchwood("fetch", key, s.url)
            tap.ok(code == 0 and f"ok {MORE} entries" in text, "torchwood reads it over HTTP", text)
        fill(home, folder, MORE, MORE + 700)
        if torchwood:
            code, text = torchwood("fetch", key, s.url)
            tap.ok(code == 0 and f"ok {MORE + 700} entries" in text, "and what came since", text)
        with open("/proc/%d/status" % s.process.pid, encoding="ascii") as f:
            status = f.read()
        tap.ok("Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status,
               "the server is confined", status)
        tap.eq(s.process.poll(), None, "and still there")
    finally:
        s.stop()


def hostile(tap, s):
    """Requests for what is not to be had, and things that are no requests."""
    for what, path in (("a segment", "/events/00000000000000000000.jsonl"), ("the lock", "/lock"),
                       ("a name with dots", "/tile/../checkpoint"), ("a long form", "/tile/0/x000/000"),
                       ("a level with a zero", "/tile/00/000"), ("a width of 0", "/tile/0/000.p/0"),
                       ("a width of 256", "/tile/0/000.p/256"), ("more than there is", "/tile/0/013.p/255"),
                       ("an index past counting", "/tile/0/" + "x999/" * 8 + "999"), ("a query", "/checkpoint?x"),
                       ("nothing", "/")):
        code, body = s.get(path)
        tap.ok(code == 404 and len(body) < 200, "404 for " + what, (code, body[:100]))
    tap.eq(s.get("/checkpoint", Host="rebound.test:%d" % s.port)[0], 403, "a Host that is a name is refused")
    tap.eq(s.get("/checkpoint", Host="localhost:%d" % s.port)[0], 200, "localhost is not")
    tap.eq(s.get("/checkpoint", "POST")[0], 405, "POST is refused")
    code, body = s.get("/tile/0/000", "HEAD")
    tap.eq((code, body), (200, b""), "HEAD has no body")
    for what, data in (("no HTTP", b"\x16\x03\x01\r\n\r\n"), ("a head without end", b"GET / HTTP/1.1\r\nA: " + b"a" * 9000),
                       ("two lengths", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")):
        got = s.raw(data)
        tap.ok(got == b"" or got.startswith(b"HTTP/1.1 400 "), "refused: " + what, got[:100])
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(15)]
    tap.eq(s.get("/checkpoint")[0], 200, "connections that say nothing are in nobody's way")
    for one in idle:
        one.close()


def main():
    tap = Tap()
    home = tempfile.mkdtemp(prefix="gvm-tiles-")
    folder = os.path.join(home, "ledger")
    try:
        code, key = ours.gvm(home, "audit", "keygen", "--origin", ours.ORIGIN, "--out", os.path.join(home, "seed"))
        fill(home, folder, 0, TOTAL)
        torchwood = build(tap, home)
        exported(tap, home, folder, key, torchwood)
        served(tap, home, folder, key, torchwood)
        if torchwood:
            theirs(tap, home, torchwood)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    tap.done()


if __name__ == "__main__":
    main()
