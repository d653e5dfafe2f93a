"""explain with a body, test with a file of cases, replay of the record: as gates, by exit code."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
API = "api.example.test"
api = gvmtest.Echo(certs.issue(API))
PINS = gvmtest.upstream_config(certs.ca, {API: api.port})
RULES = f"""
[[rules]]
name = "large"
method = "POST"
pattern = "{API}/pay"
body = [{{ path = "$.amount", op = ">", value = 1000 }}]
decision = "Deny"
[[rules]]
name = "night"
method = "GET"
pattern = "{API}/night"
condition = {{ kind = "time_window", window = "22:00-06:00", tz = "Europe/Berlin" }}
decision = "Allow"
[[rules]]
name = "marked"
method = "GET"
pattern = "{API}/marked"
header = [{{ name = "x-mark", value = "yes" }}]
decision = "Allow"
[[rules]]
name = "bot"
method = "DELETE"
pattern = "{API}/x"
agent = "bot"
decision = "RequireApproval"
[[rules]]
name = "db"
protocol = "tcp"
pattern = "db.example.test:5432"
decision = "Allow"
[[rules]]
name = "the rest"
method = ["GET", "POST"]
pattern = "{API}"
decision = "Allow"
"""
home.write_config("[policy]\ndefault = \"Deny\"\n" + RULES + PINS)


def gvm(*words, stdin=None):
    done = subprocess.run([os.path.join(gvmtest.BIN, "gvm"), *words], env=home.env, cwd=home.workspace, input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def explained(*words, stdin=None):
    code, out, err = gvm("explain", "--json", *words, stdin=stdin)
    return code, json.loads(out) if out else {"error": err}


def test_explain():
    url = f"https://{API}/pay"
    code, said = explained("POST", url, "--body", "-", stdin='{"amount": 5000}')
    tap.ok(code == 3 and said["rule"] == "large" and said["looks_at_body"], "a large amount is denied", said)
    code, said = explained("POST", url, "--body", "-", stdin='{"amount": 5}')
    tap.ok(code == 0 and said["rule"] == "the rest", "a small one is not", said)
    code, said = explained("POST", url, "--body", "-", stdin="amount")
    tap.ok(code == 3 and said["unverifiable"], "what cannot be seen is denied, and it says why", said)
    code, out, _ = gvm("explain", "POST", url)
    tap.ok(code == 0 and "give one with --body" in out, "without a body it says that rules look at one", out)
    code, said = explained("GET", f"https://{API}/marked", "--header", "X-Mark: yes")
    tap.eq(said["rule"], "marked", "a header field")
    code, out, err = gvm("explain", "GET", url, "--header", "nonsense")
    tap.eq(code, 2, "a header that is none", err)
    code, out, err = gvm("explain", "POST", url, "--body", "/nonexistent")
    tap.ok(code == 1 and "nonexistent" in err, "a body that is not there", err)


CASES = f"""
rules = "gvm.toml"
[[case]]
name = "large"
method = "POST"
url = "https://{API}/pay"
header = ["Content-Type: application/json"]
body = '{{"amount": 5000}}'
expect = "Deny"
rule = "large"
[[case]]
method = "POST"
url = "https://{API}/pay"
body_file = "small.json"
expect = "Allow"
[[case]]
url = "https://{API}/night"
at = 2030-01-02T22:30:00Z
rule = "night"
[[case]]
url = "https://{API}/night"
at = 2030-01-02T12:00:00Z
rule = "the rest"
[[case]]
method = "DELETE"
url = "https://{API}/x"
agent = "bot"
expect = "RequireApproval"
[[case]]
method = "DELETE"
url = "https://{API}/x"
agent = "other"
expect = "Deny"
rule = "default"
[[case]]
tcp = "db.example.test:5432"
expect = "Allow"
[[case]]
url = "https://{API}/%zz"
expect = "Deny"
rule = "refused"
"""


def test_cases():
    folder = os.path.join(home.top, "cases")
    os.makedirs(folder)

    def write(name, text):
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path
    write("gvm.toml", "[policy]\ndefault = \"Deny\"\n" + RULES)
    write("small.json", '{"amount": 5}')
    code, out, err = gvm("test", write("good.toml", CASES))
    tap.ok(code == 0 and out.endswith("8 passed, 0 failed\n"), "every case is decided as it should be", out + err)
    bad = CASES.replace('expect = "Allow"\n[[case]]\nurl', 'expect = "Delay"\n[[case]]\nurl', 1)
    code, out, err = gvm("test", "-q", write("bad.toml", bad))
    tap.ok(code == 3 and "7 passed, 1 failed" in out and "FAIL" in out and out.count("\n") == 2,
           "one that is not is named, and the exit code says so", out + err)
    code, out, _ = gvm("test", "--json", os.path.join(folder, "bad.toml"))
    lines = [json.loads(line) for line in out.splitlines()]
    tap.ok(code == 3 and len(lines) == 8 and sum(not e["ok"] for e in lines) == 1, "the same as JSON", out)
    for text, says in (("", "no case"), ("[[case]]\nurl = \"x\"\n", "expects nothing"), ("[[case]]\nexpect = \"Deny\"\n", "no url"),
                       ("[[case]]\nurl = \"x\"\nexpect = \"No\"\n", "unknown decision"), ("[[cases]]\n", "did you mean"),
                       ("[[case]]\nurl = \"x\"\nexpect = \"Deny\"\nbody_file = \"none\"\n", "cannot be read")):
        code, out, err = gvm("test", write("broken.toml", text))
        tap.ok(code == 1 and says in err and "broken.toml" in err, f"a file with {says!r}", err)


def test_replay():
    daemon = rig.start_daemon(home)
    run = rig.Run(home)

    def send(method, path, more=""):
        with run.tls(API) as s:
            return rig.ask(s, f"{method} {path} HTTP/1.1\r\nHost: {API}\r\n{more}\r\n", method).status
    tap.eq([send("GET", "/a"), send("GET", "/a"), send("GET", "/b"), send("PUT", "/a", "Content-Length: 0\r\n"),
            send("POST", "/pay", "Content-Length: 0\r\n")], [200, 200, 200, 403, 200], "five requests")
    run.finish()
    rig.entries(home)
    code, out, err = gvm("replay", "--rules", home.config)
    tap.ok(code == 0 and "0 would change" in out and "1 cannot be told" in out, "the same rules change nothing", out + err)
    new = os.path.join(home.top, "new.toml")
    with open(new, "w") as f:
        f.write(f'[policy]\ndefault = "Deny"\n[[rules]]\nname = "only b"\nmethod = "GET"\npattern = "{API}/b"\ndecision = "Allow"\n'
                f'[[rules]]\nname = "puts"\nmethod = "PUT"\npattern = "{API}"\ndecision = {{ type = "Delay", milliseconds = 5 }}\n')
    code, out, err = gvm("replay", "--rules", new, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    total = lines.pop()
    byreq = {e["request"]: e for e in lines}
    tap.eq(total, {"judged": 5, "changed": 4, "unknown": 0, "skipped": 0}, "other rules: the sum", out + err)
    a = byreq.get(f"GET https://{API}/a", {})
    tap.ok(code == 3 and a.get("count") == 2 and a.get("was") == "Allow" and a.get("now") == "Deny", "requests that change alike are one line", out)
    tap.eq(byreq.get(f"PUT https://{API}/a", {}).get("now"), "Delay", "and what would be let through")
    code, out, err = gvm("replay", "--rules", new, "--run", "nothing-like-it")
    tap.eq(code, 1, "a run that is not there", out + err)
    code, out, err = gvm("replay", "--rules", new, "--since", "2100-01-01T00:00:00Z")
    tap.ok(code == 0 and out.startswith("0 judged"), "nothing since", out + err)
    daemon.terminate()
    daemon.wait(20)


for test in (test_explain, test_cases, test_replay):
    try:
        test()
    except Exception as e:
        tap.ok(False, f"{test.__name__}: {e!r}", rig.daemon_log(home) if os.path.exists(home.top + "/gvmd.stderr") else "")
tap.done()
