"""gvmd's processes: confined, restarted when they die, refused twice, gone when stopped."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
echo = gvmtest.Echo(certs.issue("api.example.test"))
home.write_config("""
[[rules]]
method = "GET"
pattern = "api.example.test/**"
decision = { type = "Allow" }
""" + gvmtest.upstream_config(certs.ca, {"api.example.test": echo.port}))


def status():
    try:
        return json.loads(home.gvm("status", "--json").stdout)
    except ValueError:
        return {}


def child(role):
    return next((c for c in status().get("children", []) if c["role"] == role), {})


def proc(pid, name):
    with open(f"/proc/{pid}/{name}") as f:
        return f.read()


stopped = home.gvm("status")
tap.ok(stopped.returncode == 1, "status without a daemon says so", stopped.stdout + stopped.stderr)
tap.eq(home.run("true").returncode, 0, "gvm run starts the daemon")
tap.eq({c["role"] for c in status().get("children", [])}, {"proxy", "keys", "ledger", "control"},
       "four children serve")
for entry in status().get("children", []):
    text = proc(entry["pid"], "status")
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    caps = {fields[k] for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    tap.ok(fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1" and caps == {"0" * 16},
           f"{entry['role']} runs under seccomp, without privileges", text)

# A client that keeps asking while each child is killed in turn.
home.write("ask.py", """
import sys, time, urllib.request
deadline = time.time() + 40
while time.time() < deadline:
    try:
        urllib.request.urlopen("https://api.example.test/ask", timeout=5).read()
        print("ok", flush=True)
    except Exception as e:
        print("failed", e, flush=True)
    time.sleep(0.1)
""")
asking = home.start("run", "--sandbox", "--", "/usr/bin/python3", "ask.py")
os.set_blocking(asking.stdout.fileno(), False)


def answered(word=b"ok"):
    """True once a new line with the word arrives."""
    text = asking.stdout.read() or b""
    return word in text


tap.ok(gvmtest.wait_for(answered, 15), "a client inside is served")
for role in ("keys", "ledger", "proxy", "control"):
    old = child(role)
    os.kill(old["pid"], signal.SIGKILL)
    new = gvmtest.wait_for(lambda: child(role).get("pid") not in (None, old["pid"]) and child(role), 10)
    tap.ok(new, f"{role} is started again", status())
    asking.stdout.read()
    tap.ok(gvmtest.wait_for(answered, 10), f"the same client is served after {role} came back",
           home.log()[-3000:])
gvmtest.end(asking)

parent = home.daemon_pid()
second = subprocess.run([os.path.join(gvmtest.BIN, "gvmd"), "--foreground"], env=home.env,
                                      capture_output=True, text=True, timeout=20)
tap.ok(second.returncode != 0 and "already" in second.stderr, "a second daemon is refused", second.stderr)
pids = [parent] + [c["pid"] for c in status()["children"]]
os.kill(parent, signal.SIGKILL)
tap.ok(gvmtest.wait_for(lambda: not any(gvmtest.alive(p) for p in pids), 5),
       "when the parent is killed nobody stays")
tap.eq(home.run("true").returncode, 0, "the next run starts a new daemon", home.log()[-2000:])
tap.eq(home.gvm("audit", "verify").returncode, 0, "the log verifies after all that killing")
pids = [home.daemon_pid()] + [c["pid"] for c in status()["children"]]
# A frame of another version: answered, so that the other side can tell, and hung up on.
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.settimeout(10)
    s.connect(os.path.join(home.runtime, "gvmd.sock"))
    s.send(struct.pack("=HHIQ", 1, 0, 0, 7))
    tap.ok(len(s.recv(4096)) >= 16 and s.recv(4096) == b"", "a gvm of another version is answered and hung up on")
tap.eq(home.gvm("stop").returncode, 0, "gvm stop")
tap.ok(gvmtest.wait_for(lambda: not any(gvmtest.alive(p) for p in pids), 5), "and they are gone")
tap.ok(not os.path.exists(os.path.join(home.runtime, "gvmd.sock")), "and so is the socket")

# A daemon of another version: gvm says so, and can still end it.
other = subprocess.Popen([sys.executable, "-c", """
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1]); s.listen(8); print("up", flush=True)
while True:
    c, _ = s.accept(); c.recv(1 << 20); c.send(struct.pack("=HHIQ", 1, 0, 0, 7)); c.close()
""", os.path.join(home.runtime, "gvmd.sock")], stdout=subprocess.PIPE)
other.stdout.readline()
got = home.run("true")
tap.ok(got.returncode == 125 and "of another version" in got.stderr, "gvm run says that the daemon is of another version",
       got.stderr)
got = home.gvm("stop")
tap.ok(got.returncode == 1 and "--force" in got.stderr and other.poll() is None, "gvm stop names the way out", got.stderr)
tap.eq(home.gvm("stop", "--force").returncode, 0, "gvm stop --force ends it")
tap.eq(other.wait(10), -15, "with SIGTERM")
tap.eq(home.run("true").returncode, 0, "and the next run starts ours")
tap.done()
