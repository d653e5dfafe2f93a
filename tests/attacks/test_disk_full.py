"""Row L11 of the attack catalogue with a disk that is really full: the state directory is a small file system of its
own (in mount and, for an ordinary user, user namespaces of this script), filled to the last byte while an agent works."""
import ctypes
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest  # noqa: E402

INSIDE = "--in-namespaces"
if INSIDE not in sys.argv:
    users = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    os.execvp("unshare", ["unshare", "--mount", *users, sys.executable, os.path.abspath(__file__), INSIDE])

MEBIBYTE = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
echo = gvmtest.Echo(certs.issue("api.example.test"))
home.write_config("""
[policy]
default = { type = "Deny" }
[[rules]]
name = "api"
method = "*"
pattern = "api.example.test/**"
decision = { type = "AuditOnly" }
""" + gvmtest.upstream_config(certs.ca, {"api.example.test": echo.port}))

# Long paths make long entries. It goes on until what was refused works again.
AGENT = """
import http.client, sys, time
c, was, refused = None, 0, False
for n in range(4000):
    try:
        c = c or http.client.HTTPSConnection("api.example.test", 443, timeout=30)
        c.request("GET", "/%d/%s" % (n, "x" * 6000))
        answer = c.getresponse()
        answer.read()
        status = answer.status
    except (OSError, http.client.HTTPException) as e:
        c, status = None, -1
    if status != was:
        print(status, n, flush=True)
    was, refused = status, refused or status != 200
    if status != 200:
        time.sleep(0.05)
    elif refused:
        print("end", n, flush=True)
        break
"""


def mount():
    os.makedirs(home.state, mode=0o700)
    if libc.mount(b"gvm", home.state.encode(), b"tmpfs", 0, b"size=16m,mode=0700") != 0:
        tap.skip("a full disk", "no small file system: " + os.strerror(ctypes.get_errno()))
        tap.done()
        sys.exit(0)


def fill(path):
    with open(path, "wb", buffering=0) as f:
        size = MEBIBYTE
        while size:
            try:
                f.write(b"x" * size)
            except OSError:
                size //= 2


def follow(process, lines):
    for line in process.stdout:
        lines.append(line.decode().split())


def numbers(paths):
    return {int(p.split("/")[1]) for p in paths}


def main():
    mount()
    home.write("agent.py", AGENT)
    lines = []
    process = home.start("run", "--sandbox", "--", "/usr/bin/python3", "agent.py")
    threading.Thread(target=follow, args=(process, lines), daemon=True).start()
    tap.ok(gvmtest.wait_for(lambda: ["200", "0"] in lines, 30), "the agent's requests are forwarded", lines)
    filler = os.path.join(home.state, "filler")
    fill(filler)
    shut = gvmtest.wait_for(lambda: [x for x in lines if x[0] not in ("200", "end")], 60)
    tap.ok(shut, "the disk is full: requests are refused", lines)
    tap.eq(json.loads(home.gvm("status", "--json").stdout)["gate"], "closed", "gvm status says so")
    seen = len(echo.seen)
    gvmtest.wait_for(lambda: len(echo.seen) > seen, 1)
    tap.eq(len(echo.seen), seen, "nothing is forwarded meanwhile")
    os.unlink(filler)
    tap.ok(gvmtest.wait_for(lambda: lines and lines[-1][0] == "end", 30), "room again: it goes on by itself", lines)
    process.wait(30)
    tap.eq(process.returncode, 0, "and the run ends well", process.stderr.read().decode()[-300:])
    opened = home.events("--kind", "gate.opened")
    tap.ok(opened and opened[-1]["closed_ms"] > 0 and opened[-1]["refused"] > 0 and "space" in opened[-1]["why"],
           "an entry says how long it was shut, and why", opened)
    recorded = numbers(e["path"] for e in home.events("--kind", "http.decision"))
    missing = numbers(s["target"] for s in echo.seen) - recorded
    tap.ok(len(recorded) > 50 and not missing, "nothing reached the server without its entry", sorted(missing)[:20])
    got = home.gvm("audit", "verify")
    tap.eq(got.returncode, 0, "the record verifies", got.stdout + got.stderr)


try:
    main()
finally:
    home.gvm("stop", "--force")
    libc.umount2(home.state.encode(), 2)
tap.done()
