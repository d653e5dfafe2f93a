"""Settings whose values stay behind: the agent works with names and placeholders, and those go nowhere."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
certs_home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(certs_home.top, "certs"))
echo = gvmtest.Echo(certs.issue("api.example.test"))
home = gvmtest.Home('[policy]\ndefault = { type = "Allow" }\n' + gvmtest.upstream_config(
    certs.ca, {"api.example.test": echo.port}))
SECRET = "sk-live-real-value"
home.write(".env", f"# old: {SECRET}\nAPI_KEY={SECRET}\nexport NAME='a {SECRET}'\nEMPTY=\n", 0o600)

CODE = """
import json, urllib.error, urllib.request
env = dict(line.strip().split("=", 1) for line in open(".env"))
def call(path, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request("https://api.example.test" + path, headers=headers), timeout=30).status
    except urllib.error.HTTPError as e:
        return [e.code, json.load(e)["reason"]]
print(json.dumps({"names": list(env), "empty": env["EMPTY"], "plain": call("/x"), "bearer": call("/b", Authorization="Bearer " + env["API_KEY"]),
                  "query": call("/q?key=" + env["API_KEY"]), "path": call("/p/" + env["NAME"]),
                  "hidden": call("/h/%67vm-ph-" + env["NAME"][7:])}))
"""
for flags in ((), ("--watch",)):
    done = home.python(CODE, flags=flags)
    try:
        got = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        got = {}
    mode = "watched" if flags else "enforced"
    tap.eq(got.get("names"), ["API_KEY", "NAME", "EMPTY"], f"{mode}: the names are there", done.stdout + done.stderr)
    tap.ok(got.get("empty") == "" and got.get("plain") == 200, f"{mode}: what is empty stays so, a call without one passes", got)
    for where in ("bearer", "query", "path", "hidden"):
        tap.ok(got.get(where, [0])[0] == 403 and "placeholder" in got[where][1],
               f"{mode}: a placeholder in the {where} is refused, and it is said why", got.get(where))
tap.eq({s["target"] for s in echo.seen}, {"/x"}, "none of those reached the server")
tap.ok(SECRET not in done.stdout + done.stderr + "".join(json.dumps(e) for e in home.events()), "the value is nowhere")
tap.ok(any(e.get("rule") == "placeholder" for e in home.events("--kind", "http.decision")), "the refusal is in the log")
tap.eq(home.run("grep", "-c", SECRET, ".env", flags=("--reveal", ".env")).stdout.strip(), "3", "--reveal shows the file as it is")
tap.done()
