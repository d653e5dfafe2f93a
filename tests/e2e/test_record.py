"""What is in the record, each seen for real: the daemon's life, configurations with what they change,
approvals with who and where, credentials by name and never by value, files with their hashes."""
import hashlib
import json
import os
import pty
import pwd
import select
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
HOST, BANK, KEYED = "api.example.test", "bank.example.test", "keyed.example.test"
echo = gvmtest.Echo(certs.issue(HOST, BANK, KEYED))
SECRET, OTHER = "sk-live-5f1d3c0d9b7e46d2", "sk-live-another-0a9b8c7d"


def rule(name, pattern, decision, method="GET"):
    return (f'[[rules]]\nname = "{name}"\nmethod = "{method}"\npattern = "{pattern}"\n'
            f'decision = {{ type = "{decision}" }}\n')


def configure(*rules, default="Deny", secret=SECRET, more=""):
    home.write_config(gvmtest.upstream_config(certs.ca, {h: echo.port for h in (HOST, BANK, KEYED)}, f"""
[policy]
default = {{ type = "{default}" }}
{more}
[credentials."{KEYED}"]
type = "Bearer"
value = "{secret}"
""" + "".join(rules)))


READ, ASK = rule("read", HOST + "/**", "Allow"), rule("ask", BANK + "/**", "RequireApproval", "*")
KEY, OLD = rule("keyed", KEYED + "/**", "Allow"), rule("old", HOST + "/old/**", "Deny")
configure(READ, ASK, KEY, OLD)

CLIENT = """
import sys, urllib.request, urllib.error
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=60).status, flush=True)
    except urllib.error.HTTPError as e:
        print(e.code, flush=True)
"""
home.write("client.py", CLIENT)


def agent(*urls, start=False):
    args = ("run", "--sandbox", "--agent-id", "teller", "--", "/usr/bin/python3", "client.py", *urls)
    return home.start(*args) if start else home.gvm(*args)


def last(kind, n=1):
    entries = home.events("--kind", kind, "-n", str(n))
    return entries[-1] if entries else {}


# ---- the daemon and its configuration ----

agent()
start, load = last("daemon.start"), last("config.load")
tap.ok(start.get("pid") == home.daemon_pid() and start.get("version"), "daemon.start: which program", start)
tap.ok(len(load.get("policy", "")) == 64 and load["config"] == home.config and load["rules"] == 4
       and load["why"] == "start" and load["diff"] is None, "config.load: hash, file, number of rules", load)
run = last("run.start")
tap.eq((run["policy"], run["config"]), (load["policy"], home.config), "run.start names the rules in force")

configure(rule("read", HOST + "/**", "AuditOnly"), KEY, ASK, rule("new", HOST + "/new/**", "Allow"),
          default="Delay")
tap.eq(home.gvm("reload").returncode, 0, "reload")
again = last("config.load")
tap.ok(again["policy"] != load["policy"] and again["why"] == "reload", "another hash", again)
tap.eq(again["diff"], {"added": ["new"], "removed": ["old"], "changed": ["read"], "reordered": True,
                       "settings": ["default"], "credentials": False}, "and what it changes, by name")
text = home.gvm("events", "--kind", "config.*", "-n", "1").stdout
tap.ok("-old" in text and "~read" in text and "+new" in text, "as text too", text)
configure(READ, ASK, KEY, secret=OTHER)
home.gvm("reload")
diff = last("config.load")["diff"]
tap.eq((diff["credentials"], diff["settings"]), (True, ["default"]), "that a credential was changed, not to what")
configure(READ, ASK, KEY, rule("more", HOST + "/more/**", "Allow"), secret=OTHER)
agent()
load = last("config.load")
tap.ok(load["why"] == "run" and load["diff"]["added"] == ["more"] and not load["diff"]["removed"],
       "a run that brings a changed file: the same", load)
home.write_config("[policy]\ndefault = 5\n")
tap.ok(home.gvm("reload").returncode != 0 and last("config.load") == load, "a file that is refused changes nothing")
configure(READ, ASK, KEY)
home.gvm("reload")

# ---- decisions and outcomes ----

agent(f"https://{HOST}/a", f"https://{HOST}/status/500", "https://other.example.test/")
decisions = home.events("--kind", "http.decision", "-n", "3")
outcomes = {e["id"]: e for e in home.events("--kind", "http.outcome", "-n", "3")}
tap.eq([(d["decision"], d["rule"], outcomes[d["id"]]["status"]) for d in decisions],
       [("Allow", "read", 200), ("Allow", "read", 500), ("Deny", "default", 403)], "every decision has its outcome")
tap.ok(all(d["policy"] == last("config.load")["policy"] for d in decisions), "and the hash of the rules that made it")

# ---- approvals ----

me = pwd.getpwuid(os.getuid())
process = agent(f"https://{BANK}/script", start=True)
ask = gvmtest.wait_for(lambda: [json.loads(x) for x in home.gvm("approve", "--list", "--json").stdout.splitlines()], 20)[0]
home.gvm("approve", "--id", ask["id"], "--deny", "--reason", "not this one")
process.communicate(timeout=30)
entry = last("approval")
tap.eq((entry["allow"], entry["who"], entry["uid"], entry["how"], entry["terminal"], entry["why"]),
       (False, me.pw_name, me.pw_uid, "gvm approve", None, "not this one"), "an answer by a script: who, uid, how, why")
process = agent(f"https://{BANK}/person", start=True)
pid, fd = pty.fork()
if pid == 0:
    os.chdir(home.workspace)
    os.execve(os.path.join(gvmtest.BIN, "gvm"), ["gvm", "approve"], {**home.env, "NO_COLOR": "1"})
seen, until = b"", time.monotonic() + 20
while b"[q]uit? " not in seen and time.monotonic() < until:
    if select.select([fd], [], [], 0.1)[0]:
        seen += os.read(fd, 4096)
os.write(fd, b"r")
process.communicate(timeout=30)
os.write(fd, b"q")
os.waitpid(pid, 0)
os.close(fd)
entry = last("approval")
tap.ok(entry["allow"] and entry["scope"] == "run" and (entry["terminal"] or "").startswith("/dev/pts/")
       and entry["who"] == me.pw_name, "an answer at a terminal: at which", entry)
tap.eq(entry["id"], last("http.decision")["id"], "and to which request")
tap.ok("/dev/pts/" in home.gvm("events", "--kind", "approval", "-n", "1").stdout, "as text too")

# ---- credentials ----

configure(READ, ASK, KEY)
home.gvm("reload")
tap.eq(agent(f"https://{KEYED}/x").stdout.split(), ["200"], "a call with a credential")
tap.ok(["Authorization", "Bearer " + SECRET] in [list(h) for h in echo.seen[-1]["headers"]], "it reached the server")
entry = last("credential.use")
tap.ok(entry["host"] == KEYED and entry["type"] and entry["id"] == last("http.decision")["id"],
       "credential.use: whose, of what kind, for which request", entry)
found = []
for folder, _, names in os.walk(home.state):
    if os.path.basename(folder) == "keys":
        continue
    for name in names:
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        if SECRET.encode() in data or OTHER.encode() in data:
            found.append(os.path.join(folder, name))
tap.eq(found, [], "its value is nowhere in the state directory")

# ---- files ----

home.write("old.txt", "before\n")
home.write("gone.txt", "x\n")
home.run("/bin/sh", "-c", "echo after > old.txt; echo n > new.txt; rm gone.txt", flags=("--agent-id", "writer"))
run = last("run.start")["run"]
change = last("fs.change")
tap.eq((change["run"], change["agent"], change["modified"], change["deleted"]), (run, "writer", 1, 1), "fs.change: how many")
landed = last("fs.commit")
tap.ok(any(p["path"] == "new.txt" and hashlib.sha256(b"n\n").hexdigest() in json.dumps(p) for p in landed["paths"]),
       "what landed by itself, with its hash", landed)
home.gvm("commit", run, "--yes", "old.txt")
landed = last("fs.commit")
tap.ok(landed["run"] == run and [p["path"] for p in landed["paths"]] == ["old.txt"]
       and hashlib.sha256(b"after\n").hexdigest() in json.dumps(landed), "fs.commit: which files, with hashes", landed)
home.gvm("discard", run, "--all", "--yes")
entry = last("fs.discard")
tap.ok(entry["run"] == run and [p["path"] for p in entry["paths"]] == ["gone.txt"], "fs.discard", entry)

# ---- the end ----

tap.eq(home.gvm("stop").returncode, 0, "stop")
tap.eq(last("daemon.stop")["pid"], start["pid"], "daemon.stop is the last word")
tap.eq([e["index"] for e in home.events()], list(range(last("daemon.stop")["index"] + 1)), "and nothing is missing")
tap.eq(home.gvm("audit", "verify").returncode, 0, "the record verifies")
tap.done()
