"""Bad input: one clear sentence naming the thing, the right exit code, nothing forwarded, nothing lost."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))

BROKEN = [
    ("a syntax error", '[[rules]]\nmethod = "GET\n', ":2:"),
    ("an unknown key", '[[rules]]\nmetod = "GET"\npattern = "a.test"\ndecision = { type = "Allow" }\n',
     "metod"),
    ("an unknown decision", '[[rules]]\nmethod = "GET"\npattern = "a.test"\n'
     'decision = { type = "Alow" }\n', "Alow"),
    ("a bad pattern", '[[rules]]\nmethod = "GET"\npattern = "https://a.test/"\n'
     'decision = { type = "Allow" }\n', ":3:"),
    ("a bad regex", '[[rules]]\nmethod = "GET"\npattern = "a.test"\npath_regex = "("\n'
     'decision = { type = "Allow" }\n', ":4:"),
    ("a control byte", '[[rules]]\nmethod = "GET"\npattern = "a.test\x1b"\n', ":3:"),
    ("a rule without decision", '[[rules]]\nmethod = "GET"\npattern = "a.test"\n', "decision"),
    ("a limit this version cannot enforce", '[budget]\nper_day = "5 USD"\n', "budget"),
]
for what, text, must_say in BROKEN:
    home.write_config(text)
    checked = home.gvm("check", home.config)
    said = checked.stderr.strip()
    tap.ok(checked.returncode == 1 and must_say in said and "gvm.toml:" in said and
           len(said.splitlines()) == 1, f"check names {what}", f"{checked.returncode} {said}")
    ran = home.run("true")
    tap.ok(ran.returncode == 125 and must_say in ran.stderr, f"run refuses {what}",
           f"{ran.returncode} {ran.stderr}")

good = """
[policy]
default = { type = "Deny" }
[[rules]]
method = "GET"
pattern = "{any}/**"
decision = { type = "Allow" }
"""
bad = certs.issue("other.example.test")
wrong_name = gvmtest.Echo(bad)
certs2 = gvmtest.Certificates(os.path.join(home.top, "certs2"))
stranger = gvmtest.Echo(certs2.issue("stranger.example.test"))
home.write_config(good + gvmtest.upstream_config(certs.ca, {
    "wrong.example.test": wrong_name.port, "stranger.example.test": stranger.port,
    "dead.example.test": gvmtest.free_port()}))
for host, word in (("wrong", "certificate"), ("stranger", "certificate"), ("dead", "")):
    got = home.run("curl", "-sS", "-w", " %{http_code}", f"https://{host}.example.test/")
    tap.ok(got.stdout.endswith(" 502") and word in got.stdout, f"{host} upstream: 502 with the reason",
           got.stdout + got.stderr + home.log()[-1000:])
tap.eq(len(wrong_name.seen) + len(stranger.seen), 0, "nothing was sent to an unverified peer")
home.write_config("[[rules]\n")
reload = home.gvm("reload")
tap.ok(reload.returncode == 1 and "gvm.toml:1:" in reload.stderr, "a broken reload says where",
       reload.stderr)
home.write_config(good)

home.write("gvm.toml", '[[rules]]\nmethod = "*"\npattern = "{any}"\ndecision = { type = "Allow" }\n')
got = home.run("curl", "-sS", "https://dead.example.test/")
tap.ok("trust" in got.stderr and "gvm.toml" in got.stderr, "an untrusted workspace rule file is named",
       got.stderr)
tap.eq(home.gvm("trust", "gvm.toml").returncode, 0, "gvm trust takes it")
tap.ok("gvm trust" not in home.run("true").stderr, "and then it is used without words")
os.unlink(os.path.join(home.workspace, "gvm.toml"))

for argv, code, word in ((["run", "--no-such-flag", "--", "true"], 2, "no-such-flag"),
                         (["run", "--sandbox", "--"], 2, ""), (["nonsense"], 2, "nonsense"),
                         (["run", "--sandbox", "--", "/no/such/program"], 127, "no/such/program"),
                         (["run", "--sandbox", "--", home.workspace], 126, ""),
                         (["run", "--sandbox", "--timeout", "1", "--", "sleep", "20"], 124, ""),
                         (["run", "--sandbox", "--", "sh", "-c", "exit 7"], 7, ""),
                         (["run", "--sandbox", "--", "sh", "-c", "kill -9 $$"], 137, ""),
                         (["run", "--sandbox", "--workspace", "/no/such/dir", "--", "true"], 125,
                          "/no/such/dir"),
                         (["explain", "GET", "https://a b/"], 2, ""),
                         (["audit", "verify-proof", "/no/such/proof"], 2, "--key"),
                         (["diff", "no-such-run-id"], 1, "no-such-run-id")):
    got = home.gvm(*argv)
    tap.ok(got.returncode == code and word in got.stderr, f"gvm {' '.join(argv)[:60]}: exit {code}",
           f"{got.returncode}: {got.stderr}")

alone = gvmtest.Home("")
lone_bin = os.path.join(alone.top, "bin")
os.mkdir(lone_bin)
shutil.copy(os.path.join(gvmtest.BIN, "gvm"), lone_bin)
import subprocess
got = subprocess.run([os.path.join(lone_bin, "gvm"), "run", "--sandbox", "--", "true"], env=alone.env,
                     cwd=alone.workspace, capture_output=True, text=True)
tap.ok(got.returncode == 125 and "gvmd" in got.stderr, "a missing gvmd is named", got.stderr)

got = home.gvm("events", "--json", "--run", "nothing-like-it")
tap.ok(got.returncode in (0, 1) and got.stdout == "", "events of an unknown run prints no data",
       got.stderr)
tap.done()
