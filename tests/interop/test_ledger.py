#!/usr/bin/python3
"""A ledger written by gvmd's real ledger and keys processes, read by programs that are not ours: Go's
golang.org/x/mod/sumdb/{note,tlog}, and an independent verifier in Python. This script stands in for
gvmd's parent and its proxy on the real channels."""
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import gvmtest  # noqa: E402
from gvmtest import BIN, Tap, MUST_WORK  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ORIGIN = "gvm.test/interop"
TOTAL = 70000  # the example of tlog-tiles: three levels, a partial tile on each
OLDER = 1234


def constants():
    """The numbers of the message catalogue, from its header."""
    with open(os.path.join(TOP, "src", "ipc", "messages.h"), encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    out = {}
    for body in re.findall(r"enum \w+ \{(.*?)\}", text, flags=re.S):
        for number, name in enumerate(re.findall(r"GVM_\w+", body)):
            out[name] = number
    return out


C = constants()
CATALOGUE = gvmtest.catalogue()


class Channel:
    """One end of a channel between two processes (src/ipc/ipc.h)."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(60)

    def send(self, kind, ident=0, payload=b"", fds=()):
        frame = struct.pack("=HHIQ", C["GVM_MSG_" + kind], CATALOGUE, len(payload), ident) + payload
        socket.send_fds(self.sock, [frame], list(fds))

    def recv(self):
        frame = self.sock.recv(1 << 18)
        if not frame:
            raise EOFError("the process is gone")
        kind, _, size, ident = struct.unpack("=HHIQ", frame[:16])
        names = [n for n, v in C.items() if v == kind and n.startswith("GVM_MSG_")]
        return names[0][8:], ident, frame[16:16 + size]


class Child:
    """`gvmd --child ROLE`, with us as its parent."""

    def __init__(self, role, start, fds):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        self.process = subprocess.Popen(
            [os.path.join(BIN, "gvmd"), "--child", role, "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()])
        theirs.close()
        self.parent = Channel(ours)
        self.parent.send("START", 1, json.dumps(start).encode(), fds)
        kind, _, payload = self.parent.recv()
        if kind != "READY":
            raise RuntimeError(f"{role} answered {kind} {payload[4:]!r}")

    def peer(self, role, fd):
        self.parent.send("PEER", 0, struct.pack("=I", C["GVM_ROLE_" + role]), [fd])

    def stop(self):
        self.parent.send("STOP")
        code = self.process.wait(30)
        self.parent.sock.close()
        return code


def pair():
    both = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for s in both:
        s.setblocking(False)
    return both


def entry(i):
    if i % 5 == 3:  # with private members; the ledger fills in salt and commitment
        return json.dumps({"v": 2, "t": f"2026-11-23T23:13:00.{i:09d}Z", "kind": "http.decision",
                           "id": f"run.{i}", "private": "." * 44, "salt": "." * 24,
                           "host": "\u00e4.test", "client": {"list": [i, "}],\"", {}]}},
                          separators=(",", ":"), ensure_ascii=False).encode()
    return json.dumps({"v": 1, "t": f"2026-11-23T23:13:00.{i:09d}Z", "kind": "http.decision",
                       "id": f"run.{i}", "path": "/\u00e4" + "x" * (i % 40)},
                      separators=(",", ":"), ensure_ascii=False).encode()


class Log:
    """The ledger and keys processes on one directory, and the proxy's channel."""

    def __init__(self, folder, seed, **more):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        seal = os.memfd_create("seal")
        os.write(seal, os.urandom(32))
        os.lseek(seal, 0, os.SEEK_SET)
        with open(seed, "rb") as f:
            self.keys = Child("keys", {"origin": ORIGIN}, [f.fileno(), seal])
        os.close(seal)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.ledger = Child("ledger", {"origin": ORIGIN, **more}, [handle])
        os.close(handle)
        a, b = pair()
        self.keys.peer("LEDGER", a.fileno())
        self.ledger.peer("KEYS", b.fileno())
        ours, theirs = pair()
        self.ledger.peer("PROXY", theirs.fileno())
        for s in (a, b, theirs):
            s.close()
        self.proxy = Channel(ours)

    def append(self, first, last):
        """Entries [first, last); the last one is waited for. Returns its index."""
        for i in range(first, last - 1):
            self.proxy.send("APPEND", 0, struct.pack("=II", 1, 0) + entry(i))
        self.proxy.send("APPEND", 7, struct.pack("=II", 0, 0) + entry(last - 1))
        while True:
            kind, ident, payload = self.proxy.recv()
            if kind == "APPENDED" and ident == 7:
                error, _, index = struct.unpack("=iIQ", payload)
                return -error if error else index

    def stop(self):
        return self.ledger.stop(), self.keys.stop()


def gvm(home, *args):
    env = dict(os.environ, GVM_STATE_DIR=home)
    done = subprocess.run([os.path.join(BIN, "gvm"), *args], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120)
    return done.returncode, done.stdout.decode()


def wait_head(folder, size):
    """Waits for the checkpoint of `size` entries; seconds it took, or None."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        try:
            with open(os.path.join(folder, "checkpoint"), encoding="utf-8") as f:
                if f.read().split("\n")[1] == str(size):
                    return time.monotonic() - began
        except (OSError, IndexError):
            pass
        time.sleep(0.002)
    return None


def write_log(tap, home, folder, key):
    """Fills the ledger in two sittings; keeps an older head."""
    older = os.path.join(home, "older")
    log = Log(folder, os.path.join(home, "seed"))
    tap.eq(log.append(0, OLDER), OLDER - 1, "the last entry of a stream is acknowledged in its place")
    tap.ok(wait_head(folder, OLDER) is not None, "the checkpoint follows by itself")
    code, text = gvm(home, "audit", "checkpoint")
    tap.eq(code, 0, "gvm audit checkpoint", text)
    with open(older, "w", encoding="utf-8") as f:
        f.write(text)
    tap.eq(log.stop(), (0, 0), "both processes end orderly")
    log = Log(folder, os.path.join(home, "seed"))
    tap.eq(log.append(OLDER, TOTAL), TOTAL - 1, f"{TOTAL} entries after a restart")
    tap.eq(log.stop(), (0, 0), "and end orderly again")
    with open(os.path.join(folder, "verifier-key"), "w", encoding="utf-8") as f:
        f.write(key)
    return older


def own_tools(tap, home, older, key):
    code, text = gvm(home, "audit", "key")
    tap.eq((code, text.strip()), (0, key.strip()), "gvm audit key prints the verifier key")
    code, text = gvm(home, "audit", "verify", "--since", older, "--json")
    report = json.loads(text) if code == 0 else {}
    tap.eq((code, report.get("entries"), report.get("signed"), report.get("ok")),
           (0, TOTAL, TOTAL, True), "gvm audit verify --since --json", text)
    code, text = gvm(home, "audit", "verify")
    tap.ok(code == 0 and "no outside head known" in text and f"signed by {ORIGIN}" in text,
           "without an outside head it says so", text)
    proofs = []
    for index in (0, 253, 255, 256, 65533, 65536, 69887, 69888, TOTAL - 1):
        path = os.path.join(home, f"proof-{index}")
        code, text = gvm(home, "audit", "prove", str(index), "--out", path)
        if not tap.eq(code, 0, f"gvm audit prove {index}", text):
            continue
        code, text = gvm(home, "audit", "verify-proof", path, "--key", key)
        tap.eq(code, 0, f"gvm audit verify-proof holds for {index}", text)
        proofs.append(path)
    path = os.path.join(home, "by-id")
    code, text = gvm(home, "audit", "prove", "run.4321", "--out", path)
    with open(path + ".entry", "rb") as f:
        tap.eq((code, f.read()), (0, entry(4321)), "prove by id writes the entry's exact bytes", text)
    proofs.append(path)
    code, text = gvm(home, "audit", "verify-proof", path, "--entry", proofs[0] + ".entry", "--key", key)
    tap.eq(code, 3, "a proof with another entry is refused", text)
    return proofs


def other_key(home):
    path = os.path.join(home, "other-seed")
    code, text = gvm(home, "audit", "keygen", "--origin", ORIGIN, "--out", path)
    return text if code == 0 else ""


def with_go(tap, home, folder, key, older, proofs):
    go = shutil.which("go")
    build = os.path.join(home, "go")
    if not go:
        tap.skip("Go's note and tlog read the ledger", "no go program")
        return
    shutil.copytree(os.path.join(HERE, "ledger_go"), build)
    env = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local", CGO_ENABLED="0")
    env.setdefault("GOCACHE", os.path.join(home, "gocache"))
    made = subprocess.run([go, "build", "-o", "ledger_go", "."], cwd=build, env=env, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0 and not MUST_WORK:
        tap.skip("Go's note and tlog read the ledger", "cannot build: "
                 + made.stdout.decode()[-200:].replace("\n", " "))
        return
    if not tap.eq(made.returncode, 0, "the Go program builds", made.stdout.decode()):
        return
    program = os.path.join(build, "ledger_go")

    def run(*args):
        done = subprocess.run([program, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=120)
        return done.returncode, done.stdout.decode()

    code, text = run(key, folder, older, *proofs)
    tap.eq((code, text.count("\nok proof of entry")), (0, len(proofs)),
           "Go's note and tlog: checkpoint, tiles, extension of the older head, every proof", text)
    code, text = run(other_key(home), folder, older)
    tap.ok(code == 1 and "note.Open" in text, "and they refuse another key of the same name", text)


def private_at(folder):
    """Offset of a byte in the salted part of the first segment."""
    with open(os.path.join(folder, "events", "0" * 20 + ".jsonl"), "rb") as f:
        return f.read(1 << 20).index(b',"client":{"list"') + 12


def with_python(tap, home, folder, key, proofs):
    def run(where, vkey=key):
        done = subprocess.run(["/usr/bin/python3", os.path.join(HERE, "ledger_verify.py"), vkey, where,
                               *proofs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        return done.returncode, done.stdout.decode()

    code, text = run(folder)
    tap.eq((code, text.count("ok proof of entry")), (0, len(proofs)),
           "an independent verifier in Python: signature, entries, every tile, every proof", text)
    tap.ok(f"{TOTAL} entries, {TOTAL} signed" in text, "and counts the same entries", text)
    for what, path, at in (("an entry", "events/" + "0" * 20 + ".jsonl", 5000),
                           ("a private member", "events/" + "0" * 20 + ".jsonl", private_at(folder)), ("a tile", "tile/0/007", 99),
                           ("the checkpoint", "checkpoint", 30)):
        copy = os.path.join(home, "copy")
        shutil.copytree(folder, copy)
        with open(os.path.join(copy, path), "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1]))
        theirs, text = run(copy)
        ours, said = gvm(home, "audit", "verify", "--dir", copy, "--key", key)
        tap.eq((theirs, ours), (3, 3), f"one bit of {what} flipped: both refuse", text + said)
        shutil.rmtree(copy)


def packed_and_pruned(tap, home, key):
    """A log that packed and pruned its segments, read by the verifier in Python."""
    folder = os.path.join(home, "pruned")
    log = Log(folder, os.path.join(home, "seed"), segment_bytes=262144, keep_bytes=30000)
    log.append(0, 20000)
    events_dir = os.path.join(folder, "events")

    def firsts():
        return sorted(n for n in os.listdir(events_dir) if n[:20].isdigit())

    began, since, seen = time.monotonic(), time.monotonic(), firsts()
    while time.monotonic() - began < 30 and (int(seen[0][:20]) == 0 or time.monotonic() - since < 1):
        time.sleep(0.05)  # until nothing is removed any more
        if firsts() != seen:
            seen, since = firsts(), time.monotonic()
    log.append(20000, 26000)
    time.sleep(1)
    tap.eq(log.stop(), (0, 0), "a log that is kept small ends orderly")

    def both():
        done = subprocess.run(["/usr/bin/python3", os.path.join(HERE, "ledger_verify.py"), key, folder],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        ours, said = gvm(home, "audit", "verify", "--dir", folder, "--key", key, "--json")
        return done.returncode, ours, done.stdout.decode(), said

    theirs, ours, text, said = both()
    tap.eq((theirs, ours), (0, 0), "packed and pruned, it holds for both", text + said)
    kept = json.loads(said)["pruned"] if ours == 0 else 0
    tap.ok(kept > 0 and text.strip().endswith(f"{kept} pruned"), "and both say from where on", text + said)
    tap.ok(firsts()[0].endswith(".zst"), "segments are packed", firsts())
    os.rename(os.path.join(events_dir, firsts()[0]), os.path.join(home, "taken"))
    theirs, ours, text, said = both()
    tap.eq((theirs, ours), (3, 3), "one more segment taken by hand: both refuse", text + said)


def with_openssl(tap, home, folder, key):
    """The signature once more, by the openssl program."""
    import base64
    with open(os.path.join(folder, "checkpoint"), "rb") as f:
        text, _, signatures = f.read().rpartition(b"\n\n")
    blob = base64.b64decode(signatures.split(b" ")[2])
    public = base64.b64decode(key.strip().split("+", 2)[2])[1:]
    paths = {n: os.path.join(home, "openssl-" + n) for n in ("text", "sig", "pub")}
    for name, data in (("text", text + b"\n"), ("sig", blob[4:]),
                       ("pub", bytes.fromhex("302a300506032b6570032100") + public)):
        with open(paths[name], "wb") as f:
            f.write(data)
    done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", paths["pub"], "-keyform",
                           "DER", "-rawin", "-in", paths["text"], "-sigfile", paths["sig"]],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tap.eq(done.returncode, 0, "the openssl program verifies the signature", done.stdout.decode())


def events(tap, home):
    code, text = gvm(home, "events", "--json", "-n", "3")
    lines = [json.loads(x) for x in text.splitlines()]
    tap.eq([x["index"] for x in lines], [TOTAL - 3, TOTAL - 2, TOTAL - 1], "gvm events -n 3 --json", text)
    want = json.loads(entry(TOTAL - 1))
    tap.eq({k: v for k, v in lines[-1].items() if k != "index"}, want, "an entry comes out as it went in")
    code, text = gvm(home, "events", "--kind", "http.*", "--json", "-n", "1")
    tap.eq((code, len(text.splitlines())), (0, 1), "gvm events --kind with a pattern", text)
    code, text = gvm(home, "events", "--kind", "run.start")
    tap.eq((code, text), (0, ""), "gvm events of a kind there is none of")


def main():
    tap = Tap()
    home = tempfile.mkdtemp(prefix="gvm-interop-")
    folder = os.path.join(home, "ledger")
    try:
        code, key = gvm(home, "audit", "keygen", "--origin", ORIGIN, "--out", os.path.join(home, "seed"))
        tap.eq(code, 0, "gvm audit keygen", key)
        again, text = gvm(home, "audit", "keygen", "--origin", ORIGIN, "--out", os.path.join(home, "seed"))
        tap.eq(again, 1, "keygen does not write over a seed", text)
        older = write_log(tap, home, folder, key)
        proofs = own_tools(tap, home, older, key)
        with_go(tap, home, folder, key, older, proofs)
        with_python(tap, home, folder, key, proofs)
        with_openssl(tap, home, folder, key)
        packed_and_pruned(tap, home, key)
        events(tap, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    tap.done()


if __name__ == "__main__":
    main()
