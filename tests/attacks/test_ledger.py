"""The record attacked from outside and from inside a run. Rows of the attack catalogue: L1 to L5, L8, C10,
C11 through the verbs, on a log that a real daemon wrote (the unit tests do L1 over every bit, L6 and L11
over every operation, L7 and L12 on entries); and the daemon's own verification, and a keys process that is
killed and must not sign a second history."""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
CONFIG = '[policy]\ndefault = { type = "Deny", reason = "closed" }\n'
home = gvmtest.Home(CONFIG)
LEDGER = os.path.join(home.state, "ledger")
SEGMENT = os.path.join(LEDGER, "events", "00000000000000000000.jsonl")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def verify(*more):
    return home.gvm("audit", "verify", "--json", *more)


def status():
    try:
        return json.loads(home.gvm("status", "--json").stdout)
    except ValueError:
        return {}


def verdict():
    return status().get("verified")


def fill():
    for i in range(3):
        home.run("sh", "-c", f"echo {i} > out{i}.txt")


def stop():
    home.gvm("stop", "--force")
    gvmtest.wait_for(lambda: not os.path.exists(os.path.join(home.runtime, "gvmd.sock")))


def background():
    """The daemon verifies by itself soon after its start, says so, and keeps the head it verified."""
    got = gvmtest.wait_for(verdict, 20)
    tap.ok(got and got["ok"], "the daemon verified its record", status())
    tap.ok(gvmtest.wait_for(lambda: [e for e in home.events() if e["kind"] == "ledger.verified"], 5),
           "an entry tells of it")
    tap.ok(os.path.exists(os.path.join(home.state, "verified-head")), "the verified head is kept")
    tap.ok("record verified" in home.gvm("status").stdout, "gvm status shows it")


def from_inside():
    """C11: what a run writes into the record's place does not reach it."""
    before = read(SEGMENT)
    done = home.run("sh", "-c", f"echo forged >> {SEGMENT}; echo forged > {LEDGER}/checkpoint; "
                                f"rm -rf {LEDGER}; ls {LEDGER}/keys {home.state}/keys; true")
    tap.eq(done.returncode, 0, "a run that attacks the record")
    tap.ok(read(SEGMENT).startswith(before.rstrip(b"\0")), "what was written stays")
    tap.ok(b"forged" not in read(SEGMENT).split(b'"command"')[0] and verify().returncode == 0,
           "the record is whole", verify().stdout)
    tap.ok("log.seed" not in done.stdout, "the keys are not to be seen", done.stdout)


def others():
    """Nobody else may look: every directory of the record and of the keys is 0700, every file 0600."""
    wrong = []
    for top in (home.state, LEDGER, os.path.join(home.state, "keys")):
        for at, _, files in os.walk(top):
            if at.startswith(os.path.join(home.state, "runs", "")):
                continue  # what agents wrote has the modes they gave it
            wrong += [at] if os.stat(at).st_mode & 0o7777 != 0o700 else []
            wrong += [n for n in files if os.lstat(os.path.join(at, n)).st_mode & 0o7777 != 0o600]
    tap.ok(not wrong, "directories are 0700, files 0600", wrong)


def keys_killed():
    """A new keys process signs nothing that contradicts its predecessor, and goes on with what extends it."""
    fill()
    keys = [c["pid"] for c in status()["children"] if c["role"] == "keys"][0]
    size = json.loads(verify().stdout)["signed"]
    os.kill(keys, signal.SIGKILL)
    again = gvmtest.wait_for(lambda: [c for c in status().get("children", []) if c["role"] == "keys" and
                                      c["ready"] and c["pid"] != keys], 10)
    tap.ok(again, "keys is started again")
    fill()
    grown = gvmtest.wait_for(lambda: json.loads(verify().stdout)["signed"] > size, 10)
    tap.ok(grown, "heads that extend the last one are signed")
    remembered = read(os.path.join(home.state, "keys", "signed-head"))
    tap.ok(len(remembered) == 72 and int.from_bytes(remembered[:8], "big") > size,
           "the last signed head is remembered")


def older_head():
    """The published head was lost and an older one lies there: signing goes on from what was signed, and only with
    what extends it."""
    stop()
    older = read(os.path.join(LEDGER, "checkpoint"))
    fill()
    stop()
    signed = int.from_bytes(read(os.path.join(home.state, "keys", "signed-head"))[:8], "big")
    write(os.path.join(LEDGER, "checkpoint"), older)
    fill()
    grown = gvmtest.wait_for(lambda: json.loads(verify().stdout)["signed"] > signed, 10)
    tap.ok(grown, "after a head was lost, one that extends what was signed is", home.log()[-300:])
    tap.eq(verify().returncode, 0, "and the record verifies")


def second_daemon():
    """L8"""
    gvmd = os.path.join(gvmtest.BIN, "gvmd")
    other = {**home.env, "GVM_RUNTIME_DIR": os.path.join(home.top, "run2")}
    done = subprocess.run([gvmd, "--foreground"], env=other, capture_output=True, text=True, timeout=30)
    tap.ok(done.returncode != 0 and "another process writes" in done.stderr,
           "a second daemon over the same record is refused", done.stderr)


def expect(name, *more, code=3):
    got = verify(*more)
    tap.eq(got.returncode, code, f"{name}: exit {code}", got.stdout + got.stderr)
    try:
        return json.loads(got.stdout)
    except ValueError:
        return {}


def tampering():
    """L1 to L5, C10: each on a copy put back afterwards."""
    head = os.path.join(home.top, "head")
    write(head, read(os.path.join(LEDGER, "checkpoint")))
    segment, lines = read(SEGMENT), read(SEGMENT).rstrip(b"\0").splitlines(keepends=True)
    expect("untouched", code=0)
    flipped = bytearray(segment)
    flipped[len(lines[0]) + 40] ^= 1
    write(SEGMENT, flipped)
    expect("a flipped bit")
    got = home.gvm("audit", "verify")
    tap.ok("TAMPERED" in got.stdout, "said in words", got.stdout)
    for name, changed in (("two entries swapped", [lines[1], lines[0], *lines[2:]]),
                          ("an entry deleted", lines[:2] + lines[3:]),
                          ("an entry doubled", lines[:3] + lines[2:]),
                          ("an entry inserted", lines[:2] + [b'{"v":1}\n'] + lines[2:]),
                          ("the tail cut", lines[:-2])):
        write(SEGMENT, b"".join(changed))
        expect(name)
    os.rename(SEGMENT, SEGMENT + ".away")
    expect("the segment removed")
    os.rename(SEGMENT + ".away", SEGMENT)
    # L5: a line that claims pruning, unsigned, and the entries before it gone
    first = os.path.join(LEDGER, "events", "%020d.jsonl" % 3)
    stamp = "2026-11-24T00:00:00.000000000Z"
    word = '{"v":1,"t":"%s","kind":"ledger.pruned","from":0,"to":3}\n' % stamp
    os.unlink(SEGMENT)
    write(first, b"".join(lines[3:]) + word.encode())
    expect("removed by hand and called pruned")
    os.unlink(first)
    write(SEGMENT, segment)
    expect("put back", code=0)
    expect("against an outside head", "--since", head, code=0)
    kept = os.path.join(home.top, "kept")
    expect("a first time with a head to keep", "--resume", kept, code=0)
    tap.ok(expect("from there on", "--resume", kept, code=0).get("from", 0) > 0, "less was read")
    lines = read(kept).split(b"\n")  # the fourth is the root
    lines[3] = (b"B" if lines[3][:1] != b"B" else b"C") + lines[3][1:]
    write(kept, b"\n".join(lines))
    expect("a kept head that does not hold together", "--resume", kept, code=2)


def found_by_the_daemon():
    """A record that was changed while the daemon was away is not written on, or is told of."""
    segment = read(SEGMENT)
    changed = bytearray(segment)
    at = segment.index(b'"kind":"daemon.start"')
    changed[at + 8] ^= 1
    write(SEGMENT, changed)
    done = home.run("true")
    told = done.returncode != 0 or (gvmtest.wait_for(lambda: (verdict() or {}).get("ok") is False, 20))
    tap.ok(told, "the daemon does not go on over a changed record in silence", done.stderr)
    stop()
    write(SEGMENT, segment)


fill()
background()
from_inside()
others()
keys_killed()
older_head()
second_daemon()
stop()
tampering()
found_by_the_daemon()
tap.done()
