"""The main job from one end to the other: watch, suggest, enforce; approval, files, credentials, log."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
NAMES = ("api.example.test", "new.example.test", "pay.example.test", "key.example.test")
echo = {name: gvmtest.Echo(certs.issue(name)) for name in NAMES}
UPSTREAM = gvmtest.upstream_config(certs.ca, {n: s.port for n, s in echo.items()})
FETCH = """
import json, sys, urllib.error, urllib.request
for word in sys.argv[1:]:
    method, url = word.split("=", 1)
    body = b'{"a":1}' if method in ("POST", "PUT") else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as r:
            print(r.status, r.read().decode().strip())
    except urllib.error.HTTPError as e:
        print(e.code, e.read().decode().strip())
    except Exception as e:
        print("error", e)
"""
home.write("fetch.py", FETCH)


def fetch(*words, flags=(), timeout=60):
    return home.run("/usr/bin/python3", "fetch.py", *words, flags=flags, timeout=timeout)


def runs():
    return [json.loads(line) for line in home.gvm("runs", "--json").stdout.splitlines() if line]


def watch_suggest_enforce():
    home.write_config('[policy]\ndefault = { type = "Deny", reason = "not learned" }\n' + UPSTREAM)
    api = "https://api.example.test"
    words = [f"GET={api}/v1/users/{n}" for n in (1, 22, 333)] + [f"POST={api}/v1/notes"]
    watched = fetch(*words, flags=("--watch",))
    tap.eq([line.split()[0] for line in watched.stdout.splitlines()], ["200"] * 4,
           "watch lets every call through", watched.stderr + home.log()[-2000:])
    tap.ok("/v1/users/22" in watched.stderr and "api.example.test" in watched.stderr,
           "watch shows each call", watched.stderr)
    decisions = home.events("--kind", "http.decision")
    tap.ok(len(decisions) == 4 and all(e.get("watch") for e in decisions),
           "watched calls are in the log, marked as watched", decisions)
    shown = home.gvm("suggest")
    tap.ok("{id}" in shown.stdout and "[[rules]]" in shown.stdout,
           "suggest generalises ids", shown.stdout + shown.stderr)
    applied = home.gvm("suggest", "--apply")
    tap.eq(applied.returncode, 0, "suggest --apply writes", applied.stderr)
    checked = home.gvm("check", home.config)
    tap.eq(checked.returncode, 0, "what it wrote loads", checked.stdout + checked.stderr)
    reloaded = home.gvm("reload")
    tap.eq(reloaded.returncode, 0, "reload takes it", reloaded.stderr)
    before = len(echo["new.example.test"].seen)
    enforced = fetch(f"GET={api}/v1/users/4444", "GET=https://new.example.test/x",
                     f"DELETE={api}/v1/users/1")
    codes = [line.split()[0] for line in enforced.stdout.splitlines()]
    tap.eq(codes, ["200", "403", "403"], "learned calls pass, others do not",
           enforced.stdout + enforced.stderr)
    tap.eq(len(echo["new.example.test"].seen), before, "nothing reached the new host")
    refusal = json.loads(enforced.stdout.splitlines()[1].split(" ", 1)[1])
    tap.ok(refusal.get("reason") == "not learned" and refusal.get("decision") == "Deny",
           "the refusal explains itself", refusal)


def decisions_act():
    home.write_config("""
[policy]
default = { type = "Deny" }
[[rules]]
name = "slow"
method = "GET"
pattern = "api.example.test/slow"
decision = { type = "Delay", milliseconds = 700 }
[[rules]]
name = "audited"
method = "GET"
pattern = "api.example.test/audited"
decision = { type = "AuditOnly" }
[[rules]]
name = "ask"
method = "*"
pattern = "pay.example.test/**"
decision = { type = "RequireApproval" }
[timeouts]
approval = "4s"
""" + UPSTREAM)
    tap.eq(home.gvm("reload").returncode, 0, "reload the second configuration")
    began = time.monotonic()
    got = fetch("GET=https://api.example.test/slow", "GET=https://api.example.test/audited")
    tap.ok(got.stdout.count("200 ") == 2 and time.monotonic() - began > 0.7, "Delay waits, AuditOnly passes",
           got.stdout + got.stderr)
    approvals()


def pending():
    text = home.gvm("approve", "--list", "--json").stdout.strip()
    return [json.loads(line) for line in text.splitlines()]


def held(word):
    process = home.start("run", "--sandbox", "--", "/usr/bin/python3", "fetch.py", word)
    asks = gvmtest.wait_for(pending, 15)
    return process, (asks or [{}])[0]


def approvals():
    pay = echo["pay.example.test"].seen
    process, ask = held("POST=https://pay.example.test/transfer")
    tap.ok(ask.get("method") == "POST" and "pay.example.test/transfer" in ask.get("url", ""),
           "a held request is listed with method and URL", ask)
    tap.eq(len(pay), 0, "nothing was forwarded while it is held")
    answered = home.gvm("approve", "--id", ask.get("id", "?"), "--allow")
    tap.eq(answered.returncode, 0, "approve --allow", answered.stderr)
    out, err = process.communicate(timeout=30)
    tap.ok(out.startswith(b"200 "), "the live request went through after the answer", out + err)
    again = home.gvm("approve", "--id", ask.get("id", "?"), "--allow")
    tap.ok(again.returncode != 0, "a second answer has no effect")
    process, ask = held("POST=https://pay.example.test/second")
    home.gvm("approve", "--id", ask.get("id", "?"), "--deny", "--reason", "too much")
    out, _ = process.communicate(timeout=30)
    tap.ok(out.startswith(b"403 ") and len(pay) == 1, "deny refuses it", out)
    out = fetch("POST=https://pay.example.test/third").stdout
    tap.ok(out.startswith("403 ") and len(pay) == 1, "no answer in time denies", out)
    told = [e for e in home.events("--kind", "approval")]
    tap.ok([e.get("allow") for e in told][:2] == [True, False] and all(e.get("who") for e in told[:2]),
           "answers are in the log with who gave them", told)


def credentials():
    home.write("key.txt", "unused")
    secret = "sk-the-real-credential-0815"
    home.write_config(f"""
[[rules]]
method = "*"
pattern = "key.example.test/**"
decision = {{ type = "Allow" }}
[[rules]]
method = "*"
pattern = "api.example.test/**"
decision = {{ type = "Allow" }}
[credentials."key.example.test"]
type = "Bearer"
token = "{secret}"
""" + UPSTREAM)
    tap.eq(home.gvm("reload").returncode, 0, "reload with credentials")
    home.write("auth.py", """
import os, sys, urllib.request
for host in ("key.example.test", "api.example.test"):
    r = urllib.request.Request(f"https://{host}/x", headers={"Authorization": "Bearer agents-own"})
    urllib.request.urlopen(r, timeout=30).read()
print("SECRET" if any("sk-the-real" in v for v in os.environ.values()) else "clean")
""")
    got = home.run("/usr/bin/python3", "auth.py")
    tap.ok("clean" in got.stdout, "the secret is not in the agent's environment", got.stdout + got.stderr)
    sent = {n: dict(map(tuple, echo[n].seen[-1]["headers"])) for n in
            ("key.example.test", "api.example.test") if echo[n].seen}
    tap.eq(sent.get("key.example.test", {}).get("Authorization"), "Bearer " + secret,
           "the real credential reaches its host")
    tap.eq(sent.get("api.example.test", {}).get("Authorization"), "Bearer agents-own",
           "another host gets what the agent sent")
    trace = ""
    for top, _, names in os.walk(home.state):
        for name in names:
            if "/keys" not in top:
                with open(os.path.join(top, name), "rb") as f:
                    trace += f.read().decode("latin-1")
    tap.ok(secret not in trace, "the secret is in no log and no run directory")
    tap.ok(any(e["host"] == "key.example.test" for e in home.events("--kind", "credential.use")),
           "its use is recorded")


def files():
    home.write("keep.txt", "as it was\n")
    home.write("gone.txt", "to be deleted\n")
    got = home.run("sh", "-c", "echo new > fresh.txt; echo changed > keep.txt; rm gone.txt;"
                   "mkdir -p sub; echo x > sub/a.txt; printf '#!/bin/sh\\n' > tool.sh; chmod +x tool.sh")
    tap.eq(got.returncode, 0, "an agent changes files", got.stderr)

    def content(name):
        try:
            with open(os.path.join(home.workspace, name)) as f:
                return f.read()
        except FileNotFoundError:
            return None
    tap.eq(content("keep.txt"), "as it was\n", "a modified file waits")
    tap.eq(content("gone.txt"), "to be deleted\n", "a deletion waits")
    tap.eq(content("fresh.txt"), "new\n", "a new harmless file merges by itself")
    tap.eq(content("tool.sh"), None, "an executable waits")
    shown = home.gvm("diff")
    tap.ok("-as it was" in shown.stdout and "+changed" in shown.stdout and "gone.txt" in shown.stdout,
           "gvm diff shows what waits", shown.stdout + shown.stderr)
    home.gvm("commit", "keep.txt", "--yes")
    tap.eq(content("keep.txt"), "changed\n", "commit lands what was named")
    tap.eq(content("gone.txt"), "to be deleted\n", "and nothing else")
    home.gvm("discard", "--all", "--yes")
    left = home.gvm("diff")
    tap.ok("no changes" in left.stdout and content("tool.sh") is None, "discard drops the rest", left.stdout)
    tap.ok(any("keep.txt" in json.dumps(e) for e in home.events("--kind", "fs.commit")),
           "the commit is in the log")


def killed_launcher():
    home.write("keep.txt", "before the kill\n")
    process = home.start("run", "--sandbox", "--", "sh", "-c", "echo work > keep.txt; sync; sleep 60")
    newest = gvmtest.wait_for(lambda: [r for r in runs() if r.get("state") == "running"], 10)
    upper = os.path.join(home.state, "runs", newest[0]["id"], "upper", "keep.txt") if newest else ""
    gvmtest.wait_for(lambda: os.path.exists(upper) and os.path.getsize(upper), 10)
    tap.ok(newest and processes_of(newest[0]["id"]), "its processes live")
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = gvmtest.wait_for(lambda: [r for r in runs() if r["id"] == newest[0]["id"] and
                                      r["state"] != "running"], 10)
    tap.ok(state, "a run whose launcher was killed is known as ended", runs())
    shown = home.gvm("diff", newest[0]["id"])
    tap.ok("+work" in shown.stdout, "its changes are still there", shown.stdout + shown.stderr)
    left = gvmtest.wait_for(lambda: not processes_of(newest[0]["id"]), 5)
    tap.ok(left, "none of its processes is left", processes_of(newest[0]["id"]))
    home.gvm("discard", newest[0]["id"], "--all", "--yes")


def processes_of(run):
    """Processes that live in the sandbox of a run."""
    mine = os.readlink("/proc/self/ns/pid")
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    its = f"GVM_RUN_ID={run}".encode() in f.read().split(b"\0")
                if its and os.readlink(f"/proc/{name}/ns/pid") != mine:
                    found.append(name)
            except OSError:
                pass
    return found


def evidence():
    verified = home.gvm("audit", "verify")
    tap.eq(verified.returncode, 0, "the log verifies", verified.stdout + verified.stderr)
    event = home.events("--kind", "http.decision")[0]
    proof = os.path.join(home.top, "one.tlog-proof")
    proved = home.gvm("audit", "prove", str(event["index"]), "--out", proof)
    tap.eq(proved.returncode, 0, "one event is proved", proved.stderr)
    key = home.gvm("audit", "key").stdout.strip()
    checked = home.gvm("audit", "verify-proof", proof, "--key", key)
    tap.eq(checked.returncode, 0, "its proof verifies with the public key alone", checked.stderr)
    segments = os.path.join(home.state, "ledger", "events")
    first = os.path.join(segments, sorted(n for n in os.listdir(segments) if n.endswith(".jsonl"))[0])
    home.gvm("stop", "--force")
    with open(first, "r+b") as f:
        f.seek(20)
        old = f.read(1)
        f.seek(20)
        f.write(bytes([old[0] ^ 1]))
    tap.eq(home.gvm("audit", "verify").returncode, 3, "one changed bit is found")
    with open(first, "r+b") as f:
        f.seek(20)
        f.write(old)
    tap.eq(home.gvm("audit", "verify").returncode, 0, "put back, it verifies again")


watch_suggest_enforce()
decisions_act()
credentials()
files()
killed_launcher()
evidence()
tap.done()
