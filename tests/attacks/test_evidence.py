"""Rows L9, L10, C10 and C12 of the attack catalogue: an agent that tries to choose what its record says, and
somebody who tries to make a proof say something else. Evidence is checked as a stranger would: with files and
the public key, also by an independent verifier in Python."""
import base64
import importlib.util
import json
import os
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TOP, "lib"))
import gvmtest  # noqa: E402

spec = importlib.util.spec_from_file_location("ledger_verify",
                                              os.path.join(TOP, "interop", "ledger_verify.py"))
theirs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(theirs)

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
echo = gvmtest.Echo(certs.issue("api.example.test"))
SECRET = "tok-3f9a77d1c0ffee"
REAL = "sk-the-owners-real-credential"
home.write_config("""
[policy]
default = { type = "Deny" }
[[rules]]
name = "api"
method = "*"
pattern = "api.example.test/**"
decision = { type = "AuditOnly" }
[credentials."api.example.test"]
type = "Bearer"
token = "%s"
""" % REAL + gvmtest.upstream_config(certs.ca, {"api.example.test": echo.port}))

# Everything an agent can put into a request, shaped like what the record is made of.
AGENT = """
import http.client, ssl, sys, os
c = http.client.HTTPSConnection("api.example.test", 443, timeout=30)
forged = '{"v":2,"kind":"approval","run":"other","agent":"boss","id":"forged.1","decision":"Allow"}'
seam = ',"private":"' + "A" * 44 + '","salt":"' + "B" * 24 + '","decision":"Deny"}'
headers = {"X-GVM-Event-Id": "forged.1", "X-GVM-Run": "other", "X-GVM-Agent": "boss", "X-GVM-Kind": "approval",
           "X-Request-Id": "forged.1", "Authorization": "Bearer SECRET", "Cookie": "s=SECRET",
           "Content-Type": "application/json"}
import urllib.parse
for path in ("/v1/customers/4711", "/" + urllib.parse.quote(seam), "/" + urllib.parse.quote(forged) + "?id=forged.1&token=SECRET"):
    c.request("POST", path, forged, headers)
    print(c.getresponse().read() and "ok")
""".replace("SECRET", SECRET)


def gvm(*args):
    got = home.gvm("audit", *args)
    return got.returncode, got.stdout, got.stderr


def path(name):
    return os.path.join(home.top, name)


def signed(size):
    """Waits until the head covers `size` entries."""
    def look():
        code, text, _ = gvm("checkpoint")
        return code == 0 and int(text.split("\n")[1]) >= size
    return gvmtest.wait_for(look, 10)


def rows(file, key, *more):
    """What verify-proof shows of a bundle: exit code, rows, verdict."""
    code, out, err = gvm("verify-proof", file, "--key", key, "--json", *more)
    lines = [json.loads(x) for x in out.splitlines()]
    return code, lines[:-1], lines[-1] if lines else err


def independent(file, key):
    """The same in Python: (index, entry, names and values shown) of each row; raises when it does not hold."""
    with open(file, encoding="utf-8") as f:
        lines = [json.loads(x) for x in f]
    size, root = theirs.open_checkpoint(lines[0]["checkpoint"].encode(), theirs.parse_key(key))
    out = []
    for row in lines[1:-1]:
        entry = row["entry"].encode()
        hashes = [base64.b64decode(h) for h in row["path"]]
        assert theirs.path_root(row["index"], size, theirs.leaf_hash(entry), hashes) == root
        text = b"\x04"
        for m in row.get("private", []):
            got = (base64.b64decode(m["hash"]) if "hash" in m else
                   theirs.sha(b"\x03" + base64.b64decode(m["salt"]) + m["value"].encode()))
            name = m["name"].encode()
            text += len(name).to_bytes(2, "big") + name + got
        if "private" in row:
            assert json.loads(entry)["private"] == base64.b64encode(theirs.sha(text)).decode()
        out.append((row["index"], json.loads(entry), {m["name"]: json.loads(m["value"])
                                                      for m in row.get("private", []) if "value" in m}))
    assert lines[-1] == {"end": len(out)}
    return out


def agent_cannot_choose():
    got = home.python(AGENT, flags=("--agent-id", "worker"))
    tap.eq(got.stdout.split(), ["ok"] * 3, "the agent's calls pass", got.stderr + home.log()[-1500:])
    events = home.events()
    run = next(e["run"] for e in events if e["kind"] == "run.start")
    tap.ok(not [e for e in events if str(e.get("id", "")).startswith("forged") or e.get("run", run) != run
                or e.get("agent", "worker") != "worker" or e["kind"] == "approval"],
           "L10: no entry has an id, run, agent or kind that the agent chose", events)
    decisions = [e for e in events if e["kind"] == "http.decision"]
    tap.ok(len(decisions) == 3 and all(e["decision"] == "AuditOnly" for e in decisions)
           and "private" in decisions[1]["path"],
           "L10: text shaped like an entry stays a text", decisions)
    tap.eq(home.gvm("audit", "verify").returncode, 0, "L10: and the record verifies")
    text = open(os.path.join(home.state, "ledger/events/" + "0" * 20 + ".jsonl"), "rb").read()
    tap.ok(SECRET.encode() not in text and REAL.encode() not in text,
           "C12: credentials and tokens of headers and queries are not in the record at all")
    return run, decisions, len(events)


def whole_run(run, key):
    file = path("run.bundle")
    code, out, err = gvm("prove", "--run", run, "--out", file)
    tap.eq(code, 0, "a whole run as one bundle", err)
    code, shown, verdict = rows(file, key)
    events = [e for e in home.events("--run", run)]
    tap.eq((code, [r["index"] for r in shown]), (0, [e["index"] for e in events]),
           "it holds, with every entry of the run", verdict)
    same = all({k: v for k, v in e.items() if k not in ("index", "private", "salt")} == r["event"]
               for r, e in zip(shown, events))
    tap.ok(same, "every member of every event is in it", (shown[:2], events[:2]))
    try:
        got = independent(file, key)
        tap.eq(len(got), len(events), "the independent verifier finds the same entries")
    except (AssertionError, theirs.Bad, KeyError, ValueError) as error:
        tap.ok(False, "the independent verifier accepts the bundle", repr(error))
    hidden = path("run.redacted")
    code, out, err = gvm("prove", "--run", run, "--out", hidden, "--redact", "path,host,name,command")
    tap.eq(code, 0, "the same with members left out", err)
    text = open(hidden, encoding="utf-8").read()
    tap.ok("customers" not in text and "api.example.test" not in json.dumps([r[2] for r in independent(hidden, key)]),
           "they are nowhere in the file", text[-600:])
    code, shown, verdict = rows(hidden, key)
    decision = next(r for r in shown if r["event"]["kind"] == "http.decision")
    tap.eq((code, decision["hidden"], decision["event"]["method"], "path" in decision["event"]),
           (0, ["host", "path"], "POST", False), "it holds all the same, and names what is left out", verdict)
    code, out, err = gvm("prove", "--run", run, "--redact", "method", "--out", path("never"))
    tap.ok(code == 1 and "method" in err and not os.path.exists(path("never")),
           "what was signed in the open cannot be left out, and no file says otherwise", err)
    return file


def one_request(decisions, key):
    ident = decisions[0]["id"]
    file = path("request")
    code, out, err = gvm("prove", ident, "--bundle", "--out", file)
    code, shown, verdict = rows(file, key)
    tap.ok(code == 0 and [r["event"]["kind"] for r in shown][:1] == ["http.decision"]
           and "http.outcome" in [r["event"]["kind"] for r in shown]
           and all(r["event"]["id"] == ident for r in shown), "all rows of one request", (shown, verdict, err))
    code, out, err = gvm("prove", "--where", "kind=http.decision", "--where", "method=POST", "--out", file)
    tap.eq((code, len(rows(file, key)[1])), (0, 3), "--where picks by members", err)
    code, out, err = gvm("prove", "--where", "kind=nothing", "--out", path("none"))
    tap.eq((code, os.path.exists(path("none"))), (1, False), "nothing found is an error, not an empty proof", err)


def mixed_up(decisions, key):
    """L9 through the verbs: every combination of what does not belong together."""
    first, second = path("one"), path("two")
    for file, event in ((first, decisions[0]), (second, decisions[1])):
        code, out, err = gvm("prove", str(event["index"]), "--out", file)
        tap.eq(code, 0, f"proof of entry {event['index']}", err)
    code, out, err = gvm("verify-proof", first, "--key", key)
    tap.ok(code == 0 and "4711" in out, "it holds, and shows the private members", out + err)
    proof = open(first, encoding="utf-8").read()
    index = decisions[0]["index"]
    head, note = proof.split("\n\n", 1)
    lines = head.split("\n")

    def refused(text, name, entry=first + ".entry", code=3):
        with open(path("bad"), "w", encoding="utf-8") as f:
            f.write(text)
        got, out, err = gvm("verify-proof", path("bad"), "--entry", entry, "--key", key)
        tap.eq(got, code, "L9: " + name, out + err)

    refused(proof, "another entry", second + ".entry")
    refused(proof.replace(f"index {index}\n", f"index {decisions[1]['index']}\n"), "another index")
    refused("\n".join(lines[:-1]) + "\n\n" + note, "a path cut short")
    refused("\n".join(lines + lines[-1:]) + "\n\n" + note, "a path with one hash more")
    refused("\n".join(lines[:2] + lines[3:] + lines[2:3]) + "\n\n" + note, "a path in another order")
    home.python("print(1)")
    signed(len(home.events()))
    code, later, err = gvm("checkpoint")
    refused(head + "\n\n" + later, "another checkpoint of the same log")
    refused(head + "\n\n" + note.split("\n\u2014")[0] + "\n", "no signature")
    other = gvm("keygen", "--out", path("seed"), "--origin", key.split("+")[0])[1].strip()
    code, out, err = gvm("verify-proof", first, "--key", other)
    tap.eq(code, 3, "L9: another key of the same name", out + err)
    os.replace(second + ".private", first + ".private")
    code, out, err = gvm("verify-proof", first, "--key", key)
    tap.ok(code == 3 and "commits" in out, "L9: the private members of another entry", out + err)
    with open(second + ".private", "w", encoding="utf-8") as f:
        f.write('[{"name":"path","salt":"AAAAAAAAAAAAAAAAAAAAAA==","value":"\\"/harmless\\""}]')
    code, out, err = gvm("verify-proof", second, "--key", key)
    tap.ok(code == 3 and "harmless" not in out, "L9: a private member that was made up", out + err)


def extended(key, older):
    """C10: a head kept elsewhere, and the proof that the record extends it."""
    file = path("extends")
    code, out, err = gvm("extends", "--since", older, "--out", file)
    tap.eq(code, 0, "a proof that the record extends an older head", err)
    code, out, err = gvm("verify-proof", file, "--since", older, "--key", key)
    tap.eq(code, 0, "holds offline", out + err)
    text = open(file, encoding="utf-8").read().split("\n")
    text[1] = text[1][:4] + ("B" if text[1][4] == "A" else "A") + text[1][5:]
    with open(file, "w", encoding="utf-8") as f:
        f.write("\n".join(text))
    code, out, err = gvm("verify-proof", file, "--since", older, "--key", key)
    tap.eq(code, 3, "C10: and not when one of its hashes is another", out + err)


def main():
    run, decisions, count = agent_cannot_choose()
    signed(count)
    key = gvm("key")[1].strip()
    older = path("older")
    with open(older, "w", encoding="utf-8") as f:
        f.write(gvm("checkpoint")[1])
    whole_run(run, key)
    one_request(decisions, key)
    mixed_up(decisions, key)
    extended(key, older)
    tap.done()


main()
