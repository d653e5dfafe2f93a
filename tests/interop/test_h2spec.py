"""h2spec (github.com/summerwind/h2spec), a conformance suite for RFC 7540 and RFC 7541 that is not ours,
against the side that agents see. What we answer otherwise on purpose stands in EXPLAINED."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig

HERE = os.path.dirname(os.path.abspath(__file__))
EXPLAINED = {}

tap = gvmtest.Tap()
home = gvmtest.Home()


def build():
    """Fetched by Go's own client; go.sum beside it says what is taken. The caches serve later runs."""
    cache = os.path.join(tempfile.gettempdir(), f"gvm-h2spec-{os.getuid()}")
    module = os.path.join(home.top, "h2spec_go")
    shutil.copytree(os.path.join(HERE, "h2spec_go"), module)
    env = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local", CGO_ENABLED="0", HOME=home.home,
               GOPATH=os.path.join(cache, "path"),
               GOCACHE=os.environ.get("GOCACHE") or os.path.join(cache, "build"))
    out = os.path.join(home.top, "h2spec")
    r = subprocess.run(["go", "build", "-o", out, "github.com/summerwind/h2spec/cmd/h2spec"], cwd=module, env=env,
                       capture_output=True, text=True, timeout=600)
    if r.returncode:
        raise RuntimeError(r.stderr)
    return out


class Relay:
    """h2spec knows no proxy: a port whose connections lead through CONNECT to that same port's name."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.sock.getsockname()[1]

    def serve(self, run):
        self.run = run
        gvmtest.thread(self._serve)

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            gvmtest.thread(self._one, s)

    def _one(self, s):
        up = self.run.tunnel(f"localhost:{self.port}")
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gvmtest.thread(self._pump, s, up)
        self._pump(up, s)

    @staticmethod
    def _pump(a, b):
        try:
            while part := a.recv(1 << 16):
                b.sendall(part)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            b.close()


h2spec = build()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
echo = gvmtest.Echo(certs.issue("localhost"))
relay = Relay()
home.write_config(f"""
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "the suite"
method = "*"
pattern = "localhost:{relay.port}/**"
private = true
decision = {{ type = "Allow" }}
""" + gvmtest.upstream_config(certs.ca, {"localhost": echo.port}))
daemon = rig.start_daemon(home)
run = rig.Run(home, "20260101T000000-000001")
relay.serve(run)
report = os.path.join(home.top, "report.xml")
r = subprocess.run([h2spec, "-t", "-k", "-h", "localhost", "-p", str(relay.port), "-o", "3", "-j", report],
                   capture_output=True, text=True, timeout=600)
cases = list(xml.parse(report).getroot().iter("testcase"))
tap.ok(len(cases) > 140, "the suite ran", (len(cases), r.stdout[-2000:], r.stderr[-500:]))
for case in cases:
    name = f"{case.get('package')} {case.get('classname')}"
    bad = case.find("failure") if case.find("failure") is not None else case.find("error")
    skipped = case.find("skipped") is not None
    if bad is None and not skipped:
        tap.ok(True, name)
    elif name in EXPLAINED:
        tap.ok(True, f"{name} (otherwise on purpose: {EXPLAINED[name]})")
    else:
        tap.ok(False, name, "".join(bad.itertext()) if bad is not None else "skipped")
run.finish()
gvmtest.end(daemon, 10)
left = rig.daemon_log(home)
tap.ok("Sanitizer" not in left and "runtime error" not in left, "nothing crashed", left[-2000:])
tap.done()
