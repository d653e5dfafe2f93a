"""Reading the record: events, trace, logs, stats; the index behind them; hostile names on a terminal; ten
agents at once, each with its own entries and no others."""
import json
import os
import pty
import re
import shutil
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
HOST, BANK = "api.example.test", "bank.example.test"
echo = gvmtest.Echo(certs.issue(HOST, BANK))
home.write_config(gvmtest.upstream_config(certs.ca, {HOST: echo.port, BANK: echo.port}, f"""
[audit]
verify_every = "off"  # no entry but those made here
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "read"
method = "GET"
pattern = "{HOST}/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "ask"
method = "*"
pattern = "{BANK}/**"
decision = {{ type = "RequireApproval" }}
"""))
INDEX = os.path.join(home.state, "index")

CLIENT = """
import sys, urllib.request, urllib.error
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=60).status, flush=True)
    except urllib.error.HTTPError as e:
        print(e.code, flush=True)
"""
home.write("client.py", CLIENT)


def agent(name, *urls, start=False):
    args = ("run", "--sandbox", "--agent-id", name, "--", "/usr/bin/python3", "client.py", *urls)
    return home.start(*args) if start else home.gvm(*args)


def lines(*args):
    got = home.gvm(*args)
    return [json.loads(line) for line in got.stdout.splitlines()]


# ---- before anything ----

for verb in ("events", "logs", "stats"):
    got = home.gvm(verb)
    tap.ok(got.returncode == 1 and "nothing is recorded" in got.stderr, f"{verb} without a record says so", got.stderr)
tap.ok(not os.path.exists(INDEX), "and makes nothing")

# ---- one run ----

URL = f"https://{HOST}"
tap.eq(agent("coder", URL + "/a", URL + "/status/404", "https://other.example.test/").stdout.split(),
       ["200", "404", "403"], "three requests")
events = home.events()
tap.eq([e["index"] for e in events], list(range(len(events))), "events prints every entry, in order")
run = next(e["run"] for e in events if e["kind"] == "run.start")
decisions = [e for e in events if e["kind"] == "http.decision"]
tap.eq(home.events("--kind", "http.decision"), decisions, "--kind gives those entries, byte for byte")
tap.eq(home.events("--decision", "deny"), [d for d in decisions if d["decision"] == "Deny"], "--decision, in any case")
tap.eq(home.events("--host", "*.example.test", "--kind", "http.*", "-n", "2"), decisions[-2:], "--host and -n")
tap.eq(home.events("--until", events[3]["t"]), events[:3], "--until is exclusive, --since")
tap.eq(home.events("--since", events[3]["t"]), events[3:], "inclusive")
tap.eq(home.events("--agent", "cod*", "--run", run[:10]), [e for e in events if e.get("agent") == "coder"],
       "--agent and the beginning of a run's id")
tap.ok(os.listdir(INDEX) and os.stat(INDEX).st_mode & 0o777 == 0o700, "an index lies beside the ledger")
tap.ok("index" not in os.listdir(os.path.join(home.state, "ledger")), "and not in it")

one = decisions[1]
want = [e for e in events if e.get("id") == one["id"]]
tap.eq([e["kind"] for e in want], ["http.decision", "http.outcome"], "a request has its decision and its outcome")
tap.eq(lines("events", "trace", one["id"], "--json"), want, "trace by id")
tap.eq(lines("events", "trace", str(want[1]["index"]), "--json"), want, "trace by the number of any of its entries")
text = home.gvm("events", "trace", one["id"]).stdout
tap.ok(one["id"] in text.splitlines()[0] and "404" in text and len(text.splitlines()) == 3, "trace as text", text)
for words, said in ((("0",), "no request"), (("999999",), "no entry 999999"), (("x.1",), "'x.1'"), ((), "one request")):
    got = home.gvm("events", "trace", *words)
    tap.ok(got.returncode in (1, 2) and said in got.stderr and not got.stdout, f"trace {words} is refused", got.stderr)

text = home.gvm("logs").stdout
story = [e for e in events if e.get("run") == run]
tap.eq(len(text.splitlines()), len(story) + 1, "logs tells the newest run, an entry a line", text)
tap.ok(run in text.splitlines()[0] and "run.start" in text.splitlines()[1] and "run.end" in text.splitlines()[-1],
       "from its start to its end", text)
tap.eq(lines("logs", "--json", run[:12]), story, "logs RUN --json")
got = home.gvm("logs", "nothing-like-it")
tap.ok(got.returncode == 1 and "no run" in got.stderr, "logs of an unknown run", got.stderr)

stats = lines("stats", "--json")[0]
tap.eq((stats["entries"], stats["requests"], stats["allowed"], stats["denied"]), (len(events), 3, 2, 1), "stats counts")
outcomes = [e for e in events if e["kind"] == "http.outcome"]
tap.eq((stats["bytes_in"], stats["bytes_out"]),
       (sum(e["bytes_in"] for e in outcomes), sum(e["bytes_out"] for e in outcomes)), "and adds bytes up")
hosts = {h["name"]: h for h in stats["hosts"]}
tap.eq((hosts[HOST]["requests"], hosts[HOST]["bytes_in"], hosts["other.example.test"]["denied"]),
       (2, sum(e["bytes_in"] for e in outcomes if e["id"] in (decisions[0]["id"], decisions[1]["id"])), 1), "an outcome counts for the host of its request")
tap.ok("tokens_in" not in stats, "no tokens where no entry has any")
text = home.gvm("stats").stdout
tap.ok(HOST in text and "coder" in text and "tokens" not in text, "stats as tables", text)
tap.eq(lines("stats", "--json", "--host", "other*")[0]["requests"], 1, "stats --host")

# ---- following ----

reader = home.start("events", "--follow", "--json", "--kind", "http.decision", "--since", "0s")
teller = home.start("logs", "--follow")  # of a run that is over: ends by itself
out, _ = teller.communicate(timeout=20)
tap.ok(b"run.end" in out, "logs --follow ends with the run", out)
slow = agent("slow", URL + "/slow/1", URL + "/b", start=True)
gvmtest.wait_for(lambda: home.events("--kind", "run.start", "--agent", "slow"), 20)
teller = home.start("logs", "--follow", "--json")
out, _ = teller.communicate(timeout=30)
slow.communicate(timeout=30)
kinds = [json.loads(line)["kind"] for line in out.decode().splitlines()]
tap.ok(kinds[0] == "run.start" and kinds[-1] == "run.end" and kinds.count("http.decision") == 2,
       "logs --follow of a live run, to its end", kinds)
gvmtest.end(reader)
followed = [json.loads(line) for line in reader.stdout.read().decode().splitlines()]
tap.eq([e["path"] for e in followed if e["agent"] == "slow"], ["/slow/1", "/b"], "events --follow shows each as it comes")

# ---- an approval in a trace ----

held = agent("teller", f"https://{BANK}/pay", start=True)
ask = gvmtest.wait_for(lambda: lines("approve", "--list", "--json"), 20)[0]
home.gvm("approve", "--id", ask["id"], "--allow", "--reason", "it is right")
held.communicate(timeout=30)
decision = home.events("--kind", "http.decision", "--host", BANK)[0]
kinds = [e["kind"] for e in lines("events", "trace", decision["id"], "--json")]
tap.eq(kinds, ["http.decision", "approval", "http.outcome"], "decision, approval, outcome")

# ---- the index: gone, damaged, of another log, of a stopped daemon ----


def answers():
    return (home.events("--kind", "http.*"), home.events("-n", "5"), lines("stats", "--json"))


def plain():
    """The same, from the log alone."""
    copy = os.path.join(home.state, "ledger")
    return (lines("events", "--json", "--kind", "http.*", "--dir", copy), lines("events", "--json", "-n", "5", "--dir", copy),
            lines("stats", "--json", "--dir", copy))


def database():
    return os.path.join(INDEX, max((n for n in os.listdir(INDEX) if n.endswith(".db")), key=lambda n: int(n[:-3])))


want = plain()
tap.eq(answers(), want, "with the index and without: the same")
shutil.rmtree(INDEX)
tap.eq(answers(), want, "after it was removed")
before = database()
with open(before, "r+b") as f:
    f.write(b"not a database at all" * 300)
got = home.gvm("events", "-n", "1")
tap.ok(got.returncode == 0 and "made anew" in got.stderr, "a damaged index is made anew, and it is said", got.stderr)
tap.ok(database() != before and not os.path.exists(before), "under another name", os.listdir(INDEX))
tap.eq(answers(), want, "and the answers are right")
con = sqlite3.connect(database())
con.execute("UPDATE entries SET offset = offset + 3")
con.commit()
con.close()
got = home.gvm("events", "--kind", "http.*", "--json")
tap.ok([json.loads(line) for line in got.stdout.splitlines()] == want[0] and "fit the log" in got.stderr,
       "an index that lies about places is found out", got.stderr)
tap.eq(answers(), want, "and gone")
con = sqlite3.connect(database())
tap.eq(con.execute("PRAGMA integrity_check").fetchone(), ("ok",), "SQLite itself finds nothing wrong")
con.close()

shutil.rmtree(INDEX)
readers = [home.start("events", "--json", "--kind", "http.*") for _ in range(6)]
readers += [home.start("stats", "--json") for _ in range(6)]
outs = [r.communicate(timeout=60)[0].decode().splitlines() for r in readers]
tap.ok(all([json.loads(x) for x in out] == want[0] for out in outs[:6])
       and all([json.loads(x) for x in out] == want[2] for out in outs[6:]), "twelve readers at once, while the index is made")

filler = home.start("events", "-n", "1")
filler.kill()
filler.wait()
tap.eq(answers(), want, "a reader killed in the middle leaves nothing behind")

# ---- hostile names on a terminal ----

HOSTILE = """
import socket, ssl, sys
s = socket.create_connection(("api.example.test", 80))
s.sendall(b"GET /\\x1b]0;owned\\x07 HTTP/1.1\\r\\nHost: api.example.test\\r\\n\\r\\n")
print(s.recv(100)[:12])
s = socket.create_connection(("api.example.test", 80))
s.sendall(b'GET /x%1b[2Jy%0a%e2%80%ae?q HTTP/1.1\\r\\nHost: api.example.test\\r\\nX: {"kind":"run.end","run":"other","index":0}\\r\\n\\r\\n')
print(s.recv(100)[:12])
s = socket.create_connection(("api.example.test", 80))
s.sendall(b'{"kind":"run.end","run":"other","agent":"boss"}\\r\\n\\r\\n')
print(s.recv(100)[:12])
"""
home.python(HOSTILE, flags=("--agent-id", "mallory"))


def on_terminal(*args):
    """What a person would see: gvm's output on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(home.workspace)
        os.execve(os.path.join(gvmtest.BIN, "gvm"), ["gvm", *args], {**home.env, "NO_COLOR": "1"})
    seen = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.waitpid(pid, 0)
    os.close(fd)
    return seen


for args in (("events",), ("logs",), ("stats",), ("events", "--json")):
    seen = on_terminal(*args)
    tap.ok(seen and not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", seen) and b"\xe2\x80\xae" not in seen,
           "no escape of an agent reaches the terminal: " + " ".join(args), seen[-500:])
mallory = [e for e in home.events("--agent", "mallory")]
tap.ok(mallory and len({e["run"] for e in mallory}) == 1, "what it sent is on record as its own", mallory)
tap.eq(home.events("--agent", "boss") + home.events("--run", "other"), [], "and as nobody else's (L10)")
tap.ok(all(set(e) & {"raw"} == set() for e in mallory) and any("client" in e for e in mallory),
       "a client's own words stand under client", mallory)

# ---- ten agents at once ----

AGENTS, REQUESTS = 10, 12
MANY = """
import sys, threading, urllib.request
name, n = sys.argv[1], int(sys.argv[2])
def one(i):
    urllib.request.urlopen(f"https://api.example.test/{name}/{i}", timeout=60).read()
threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
[t.start() for t in threads]
[t.join() for t in threads]
"""
home.write("many.py", MANY)
running = [home.start("run", "--sandbox", "--agent-id", f"agent{i}", "--", "/usr/bin/python3", "many.py", f"agent{i}",
                      str(REQUESTS)) for i in range(AGENTS)]
codes = [(r.communicate(timeout=120), r.returncode)[1] for r in running]
tap.eq(codes, [0] * AGENTS, "ten agents run at once")
seen = set()
good, detail = True, []
for i in range(AGENTS):
    name = f"agent{i}"
    mine = home.events("--agent", name)
    runs = {e["run"] for e in mine}
    asked = [e for e in mine if e["kind"] == "http.decision"]
    answered = [e for e in mine if e["kind"] == "http.outcome"]
    paths = sorted(e["path"] for e in asked)
    ids = [e["id"] for e in asked]
    right = (len(runs) == 1 and paths == sorted(f"/{name}/{n}" for n in range(REQUESTS))
             and sorted(ids) == sorted(e["id"] for e in answered) and len(set(ids)) == REQUESTS
             and all(x.startswith(e["run"] + ".") for x in ids for e in mine[:1])
             and all(e["status"] == 200 for e in answered) and not runs & seen)
    seen |= runs
    if not right:
        good = False
        detail.append((name, runs, paths, len(answered)))
tap.ok(good, f"each has its own {REQUESTS} decisions and outcomes, and no other's (T-MA)", detail)
reached = sorted(s["target"] for s in echo.seen if s["target"].startswith("/agent"))
tap.eq(len(reached), AGENTS * REQUESTS, "what reached the server is what was recorded")
stats = {a["name"]: a for a in lines("stats", "--json")[0]["agents"]}
tap.eq([stats[f"agent{i}"]["requests"] for i in range(AGENTS)], [REQUESTS] * AGENTS, "stats says the same")
tap.eq(answers(), plain(), "with the index and without: the same")
tap.eq(home.gvm("audit", "verify").returncode, 0, "and the record verifies")
tap.done()
