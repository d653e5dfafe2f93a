"""HTTP/2 with programs that are not ours: curl, nghttp's server and client, nginx, Python's h2, Node, Go,
in every pairing of versions."""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import h2rig
import proxyrig as rig

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
ONE, TWO, BOTH = "one.example.test", "two.example.test", "both.example.test"
one = gvmtest.Echo(certs.issue(ONE))
two = h2rig.Server(certs.issue(TWO))
plain, plain2 = gvmtest.Echo(), h2rig.Server()
home.write_config("""
[policy]
default = { type = "Deny" }
[[rules]]
name = "no admin"
method = "*"
pattern = "*.example.test/admin/**"
decision = { type = "Deny", reason = "not the admin pages" }
[[rules]]
name = "all"
method = "*"
pattern = "*.example.test/**"
decision = { type = "Allow" }
""" + gvmtest.upstream_config(certs.ca, {ONE: one.port, TWO: two.port, "plain.example.test": plain.port,
                                         "plain2.example.test": plain2.port}))
daemon = rig.start_daemon(home)
run = rig.Run(home, "20260101T000000-000001")


def curl(*args, host, path="/x"):
    out = subprocess.run(["curl", "-sS", "-m", "20", "-x", f"http://127.0.0.1:{run.port}", "--cacert", run.ca,
                          "-w", "\n%{http_version} %{http_code}", *args, f"https://{host}{path}"],
                         capture_output=True, text=True, timeout=60)
    body, _, line = out.stdout.rpartition("\n")
    try:
        return line, json.loads(body)
    except ValueError:
        return line, {"raw": body, "error": out.stderr}


# Python's TLS cannot refuse a client that offers HTTP/1.1 alone, so HTTP/1.1 joins what is open to TWO.
for host, name in ((ONE, "HTTP/1.1"), (TWO, "HTTP/2")):
    for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
        line, seen = curl(flag, host=host)
        tap.eq((line, seen.get("target")), (f"{version} 200", "/x"), f"curl {flag} to a server of {name}", seen)
        line, seen = curl(flag, "-d", "x" * 100000, host=host)
        tap.eq((line, seen.get("length")), (f"{version} 200", 100000), f"a body by {flag} to {name}", seen)
        line, seen = curl(flag, host=host, path="/admin/x")
        tap.eq((line, seen.get("decision")), (f"{version} 403", "Deny"), f"a denial by {flag} for {name}", seen)
tap.done()
