"""gvm approve: a person at a terminal, scripts, and everything that must not count as a yes. Also: many
gvm at once start one daemon."""
import json
import os
import pty
import re
import select
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
HOST = "bank.example.test"
bank = gvmtest.Echo(certs.issue(HOST))
home.write_config(gvmtest.upstream_config(certs.ca, {HOST: bank.port}, f"""
[policy]
default = {{ type = "Deny" }}
[timeouts]
approval = "20s"
[[rules]]
name = "a person decides"
method = "*"
pattern = "{HOST}/**"
decision = {{ type = "RequireApproval", reason = "money moves" }}
"""))

CLIENT = """
import sys, urllib.request, urllib.error
for path in sys.argv[1:]:
    request = urllib.request.Request("https://bank.example.test" + path, data=b"amount=1", method="POST")
    try:
        print(path, urllib.request.urlopen(request, timeout=60).status, flush=True)
    except urllib.error.HTTPError as e:
        print(path, e.code, e.read().decode().replace(chr(10), " "), flush=True)
"""
home.write("client.py", CLIENT)


class Terminal:
    """gvm approve on a terminal of its own."""

    def __init__(self):
        self.shown = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(home.workspace)
            os.execve(os.path.join(gvmtest.BIN, "gvm"), ["gvm", "approve"], {**home.env, "NO_COLOR": "1"})

    def wait(self, text, seconds=15):
        """Reads until `text` appears after what was read before; True when it did."""
        start, end = len(self.shown), time.monotonic() + seconds
        while text.encode() not in self.shown[start:] and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.fd, 4096)
                except OSError:
                    break
        return text.encode() in self.shown[start:]

    def key(self, key):
        os.write(self.fd, key.encode())

    def close(self):
        """Exit code, after the terminal went away if it still lives."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            self.wait("\0", 0.1)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
        return None


def agent(*paths):
    return home.start("run", "--sandbox", "--agent-id", "teller", "--", "/usr/bin/python3", "client.py", *paths)


def end(process):
    out, err = process.communicate(timeout=60)
    return out.decode(), err.decode()


def pending():
    got = home.gvm("approve", "--list", "--json")
    return [json.loads(line) for line in got.stdout.splitlines()]


def first():
    asks = gvmtest.wait_for(pending, 20)
    return asks[0] if asks else {}


# ---- starting: eight at once, one daemon ----

terminals = [Terminal() for _ in range(8)]
good = all(t.wait("waiting for requests") for t in terminals)
tap.ok(good, "eight gvm at once find a daemon", [t.shown for t in terminals])
pids = set(re.findall(r'"pid":(\d+)', home.gvm("status", "--json").stdout))
tap.ok(len(pids) == 5, "it is one daemon of five processes", pids)
tap.eq(home.log().count("already running"), 0, "no second one was even tried", home.log())
for terminal in terminals:
    terminal.key("q")
tap.eq([t.close() for t in terminals], [0] * 8, "q quits")

# ---- keys ----

desk = Terminal()
desk.wait("waiting for requests")
process = agent("/a", "/b%20c", "/d")
tap.ok(desk.wait("[q]uit? "), "a held request is shown as it comes", desk.shown)
text = desk.shown.decode()
for want in ("POST", HOST, "/a", "teller", "a person decides", "money moves"):
    tap.ok(want in text, f"it shows {want!r}", text)
tap.eq(len(bank.seen), 0, "nothing has reached the bank")
desk.key("x")
time.sleep(0.3)
tap.eq(len(bank.seen), 0, "an unknown key is no answer")
desk.key("a")
tap.ok(desk.wait("[q]uit? "), "a allows; the next one is asked for again", desk.shown)
desk.key("d")
tap.ok(desk.wait("[q]uit? "), "d denies; the next follows", desk.shown)
desk.key("r")
out, err = end(process)
lines = out.splitlines()
tap.ok(len(lines) == 3 and lines[0] == "/a 200" and lines[1].startswith("/b%20c 403")
       and lines[2] == "/d 200", "allowed, denied, allowed", out + err)
tap.eq([s["target"] for s in bank.seen], ["/a", "/d"], "the bank saw what was allowed, once")
entries = home.events("--kind", "approval")
tap.eq([e["allow"] for e in entries], [True, False, True], "each answer is on record", entries)
bank.seen.clear()

# ---- what is no yes ----

process = agent("/e")
tap.ok(desk.wait("[q]uit? "), "asked")
desk.key("s")
time.sleep(0.3)
asks = pending()
tap.ok(len(asks) == 1 and not bank.seen, "s leaves it waiting", asks)
desk.key("\004")
tap.eq(desk.close(), 0, "end of input quits")
tap.ok(len(pending()) == 1 and not bank.seen, "and is no yes")
other = Terminal()
tap.ok(other.wait("[q]uit? "), "who comes later is shown what waits already", other.shown)
os.kill(other.pid, signal.SIGKILL)
other.close()
tap.ok(len(pending()) == 1 and not bank.seen, "a killed approver is no yes")
got = home.gvm("approve", input="a\n")
tap.ok(got.returncode == 2 and len(pending()) == 1 and not bank.seen, "keys from a pipe are no yes", got.stderr)
both = [Terminal(), Terminal()]
tap.ok(all(t.wait("[q]uit? ") for t in both), "two people are asked")
ask = pending()[0]["id"]
got = home.gvm("approve", "--id", ask, "--deny", "--reason", "not today")
tap.eq(got.returncode, 0, "a script denies", got.stderr)
tap.ok(all(t.wait("gone") for t in both), "both hear that it is gone", [t.shown for t in both])
for t in both:
    t.key("a")
out, err = end(process)
tap.ok(" 403" in out and not bank.seen, "late keys change nothing", out + err)
tap.eq(home.events("--kind", "approval")[-1].get("why"), "not today", "the reason is on record")
for t in both:
    t.key("q")
tap.eq([t.close() for t in both], [0, 0], "they go on and quit")
for words in ((ask, "--allow"), ("a999", "--allow"), ("a1\n", "--deny"), ("a" * 200, "--allow")):
    got = home.gvm("approve", "--id", *words)
    tap.ok(got.returncode == 1 and got.stderr and not got.stdout, f"no such request: {words[0][:10]!r}", got.stderr)
tap.ok(not bank.seen, "and none of it reached the bank")

# ---- for a time ----

process = agent("/f", "/f")
ask = first()
tap.eq((ask.get("agent"), ask.get("method"), ask.get("rule")), ("teller", "POST", "a person decides"), "--list --json")
tap.ok(HOST in home.gvm("approve", "--list").stdout, "--list for people")
got = home.gvm("approve", "--id", ask.get("id", "?"), "--allow", "--for", "10m", "--json")
tap.eq(json.loads(got.stdout or "{}"), {"id": ask.get("id"), "allow": True}, "--json repeats the answer", got.stderr)
out, err = end(process)
tap.eq(out.split(), ["/f", "200", "/f", "200"], "--for 10m covers the same request again", err)
tap.eq(home.gvm("approve", "--list").stdout, "nothing waits for an answer\n", "nothing waits at the end")
tap.done()
