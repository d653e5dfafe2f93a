"""HTTP/2 with programs that are not ours: curl, nghttp's server and load generator, nginx, Python's h2 and
httpx, Node, Go, in every pairing of versions."""
import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import h2rig
import proxyrig as rig

HERE = os.path.dirname(os.path.abspath(__file__))
tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
ONE, TWO, NGINX, NGHTTPD, GO = ("one.example.test", "two.example.test", "nginx.example.test",
                                "nghttpd.example.test", "go.example.test")
one = gvmtest.Echo(certs.issue(ONE))
two = h2rig.Server(certs.issue(TWO))
served = os.path.join(home.top, "served")
os.makedirs(served, mode=0o755)
with open(os.path.join(served, "file"), "wb") as f:
    f.write(b"0123456789" * 20000)
os.chmod(home.top, 0o755)


def program(args, **more):
    # An ordinary user's PATH does not lead to servers.
    args = [shutil.which(args[0], path=os.environ["PATH"] + ":/usr/sbin"), *args[1:]]
    p = subprocess.Popen(args, stdout=more.pop("stdout", subprocess.DEVNULL), stderr=subprocess.DEVNULL, **more)
    atexit.register(p.kill)
    return p


def listening(port):
    def try_it():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False
    return gvmtest.wait_for(try_it, 10)


def start_nginx():
    cert, key = certs.issue(NGINX)
    port = gvmtest.free_port()
    top = tempfile.mkdtemp(dir=home.top)
    with open(os.path.join(top, "nginx.conf"), "w") as f:
        f.write(f"""daemon off; master_process off; pid {top}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {top}/b; proxy_temp_path {top}/p; fastcgi_temp_path {top}/f;
 uwsgi_temp_path {top}/u; scgi_temp_path {top}/s; client_max_body_size 20m;
 server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
  location /echo {{ proxy_pass https://127.0.0.1:{one.port}/; }}
  location / {{ root {served}; }} }} }}""")
    program(["nginx", "-c", os.path.join(top, "nginx.conf")])
    return port


def start_nghttpd():
    cert, key = certs.issue(NGHTTPD)
    port = gvmtest.free_port()
    program(["nghttpd", "-d", served, "--echo-upload", "--trailer=x-sum: 7", str(port), key, cert])
    return port


def build_go():
    out = os.path.join(home.top, "go")
    env = dict(os.environ, GOFLAGS="-mod=mod", GO111MODULE="off", CGO_ENABLED="0",
               GOCACHE=os.environ.get("GOCACHE") or os.path.join(home.top, "go-cache"), HOME=home.home)
    r = subprocess.run(["go", "build", "-o", out, os.path.join(HERE, "http2_go", "main.go")], env=env,
                       capture_output=True, text=True, timeout=400)
    if r.returncode:
        raise RuntimeError(r.stderr)
    return out


go = build_go()
go_server = program([go, "server", *certs.issue(GO)], stdout=subprocess.PIPE)
ports = {ONE: one.port, TWO: two.port, NGINX: start_nginx(), NGHTTPD: start_nghttpd(),
         GO: int(go_server.stdout.readline())}
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
""" + gvmtest.upstream_config(certs.ca, ports))
daemon = rig.start_daemon(home)
run = rig.Run(home, "20260101T000000-000001")
PROXY = f"http://127.0.0.1:{run.port}"
for name in (NGINX, NGHTTPD):
    tap.ok(listening(ports[name]), f"{name} is up")


def curl(*args, host, path="/x"):
    out = subprocess.run(["curl", "-sS", "-m", "20", "-x", PROXY, "--cacert", run.ca,
                          "-w", "\n%{http_version} %{http_code}", *args, f"https://{host}{path}"],
                         capture_output=True, text=True, timeout=60)
    body, _, line = out.stdout.rpartition("\n")
    try:
        return line, json.loads(body)
    except ValueError:
        return line, {"raw": body, "error": out.stderr}


# ---- curl, in every pairing ----

# Python's TLS cannot refuse a client that offers HTTP/1.1 alone, so HTTP/1.1 joins what is open to TWO.
for host, name in ((ONE, "HTTP/1.1"), (TWO, "HTTP/2")):
    for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
        line, seen = curl(flag, host=host)
        tap.eq((line, seen.get("target")), (f"{version} 200", "/x"), f"curl {flag} to a server of {name}", seen)
        line, seen = curl(flag, "-d", "x" * 100000, host=host)
        tap.eq((line, seen.get("length")), (f"{version} 200", 100000), f"a body by {flag} to {name}", seen)
        line, seen = curl(flag, "-T", os.path.join(served, "file"), "-H", "Transfer-Encoding: chunked" if
                          flag == "--http1.1" else "X: y", host=host)
        tap.eq((line, seen.get("length")), (f"{version} 200", 200000), f"an upload by {flag} to {name}", seen)
        line, seen = curl(flag, "-I", host=host)
        tap.eq(line, f"{version} 200", f"HEAD by {flag} to {name}", seen)
        line, seen = curl(flag, host=host, path="/admin/x")
        tap.eq((line, seen.get("decision")), (f"{version} 403", "Deny"), f"a denial by {flag} for {name}", seen)
for flag, version in (("--http1.1", "1.1"), ("--http2", "2")):
    line, seen = curl(flag, "-d", "abc", host=GO)
    tap.eq((line, seen.get("raw")), (f"{version} 200", "POST /x 3"), f"curl {flag} to a server of h2 alone", seen)
    for host in (NGINX, NGHTTPD) if version == "2" else (NGINX,):  # nghttpd has no HTTP/1.1 and does not say so
        line, seen = curl(flag, host=host, path="/file")
        tap.eq((line, len(seen.get("raw", ""))), (f"{version} 200", 200000), f"a file of {host} by {flag}",
               (line, seen.get("error")))
line, seen = curl("--http2", "--data-binary", "@" + os.path.join(served, "file"), host=NGINX, path="/echo")
tap.eq((line, seen.get("length")), ("2 200", 200000), "a body to nginx, which passes it on", seen)
line, seen = curl("--http2", "-d", "z" * 50000, host=NGHTTPD, path="/")
tap.eq((line, len(seen.get("raw", ""))), ("2 200", 50000), "nghttpd sends it back", (line, seen.get("error")))
with h2rig.Client(run.tls(NGHTTPD, alpn=("h2",))) as c:
    a = c.ask(NGHTTPD, "/file")
    tap.eq((len(a.body), a.trailers.get("x-sum")), (200000, "7"), "with its trailers")
with run.tls(GO) as s:
    a = rig.ask(s, f"GET /x HTTP/1.1\r\nHost: {GO}\r\nTE: trailers\r\n\r\n")
    tap.eq((a.status, a.body, a.headers.get("trailer:x-sum")), (200, b"GET /x 0", "0"),
           "trailers of HTTP/2 behind the chunks of HTTP/1.1")

# ---- a denial while the body is still being sent ----

large = os.path.join(home.top, "large")
with open(large, "wb") as f:
    f.truncate(8_000_000)
for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
    for how in (("--data-binary", "@" + large), ("-T", large), ("-T", large, "-H", "Expect:")):
        got = [curl(flag, *how, host=ONE, path="/admin/x") for _ in range(3)]
        tap.ok(all(line == f"{version} 403" and seen.get("rule") == "no admin" for line, seen in got),
               f"curl {flag} {how[0]} of 8 MB is told that it is denied, and why", got)

# ---- clients ----

with subprocess.Popen(["node", os.path.join(HERE, "http2_node.js"), str(run.port), run.ca, TWO],
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as p:
    lines = [line.split() for line in p.communicate(timeout=60)[0].split("\n")]
tap.eq((lines[0], [line[:2] for line in lines[1:3]], lines[3:4]),
       (["/bytes/100000", "200", "100000", "0"], [["/admin/x", "403"], ["/up", "200"]], [["/bytes/0", "200", "0", "0"]]),
       "Node's http2", lines)
out = subprocess.run([go, "get", PROXY, run.ca] + [f"https://{h}/{n}" for n in range(10) for h in (ONE, TWO, GO)],
                     capture_output=True, text=True, timeout=60).stdout.split("\n")
tap.ok(len(out) >= 30 and all(line.startswith("HTTP/2.0 200 ") and line.endswith("<nil>") for line in out[:30]),
       "Go's client, 30 requests at a time", out)
try:
    import httpx
    with httpx.Client(http2=True, proxies=PROXY, verify=run.ca) as c:
        got = [c.post(f"https://{h}/x", content=b"q" * 100000) for h in (ONE, TWO)]
        denied = c.post(f"https://{ONE}/admin/x", content=b"q" * 8_000_000)
    tap.eq([(r.http_version, r.status_code, r.json()["length"]) for r in got], [("HTTP/2", 200, 100000)] * 2,
           "httpx with HTTP/2")
    tap.eq((denied.status_code, denied.json().get("rule")), (403, "no admin"), "httpx: 8 MB that are denied")
except ImportError as error:
    tap.ok(False, "httpx with HTTP/2", str(error))


class Relay:
    """A port that leads through CONNECT to one place, for programs that know no proxy."""

    def __init__(self, authority):
        self.authority = authority
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.sock.getsockname()[1]
        gvmtest.thread(self._serve)

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            up = run.tunnel(self.authority)
            gvmtest.thread(self._pump, s, up)
            gvmtest.thread(self._pump, up, s)

    @staticmethod
    def _pump(a, b):
        try:
            while part := a.recv(1 << 16):
                b.sendall(part)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            b.close()


relay = Relay(f"{NGHTTPD}:443")
load = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "20", f"--connect-to=127.0.0.1:{relay.port}",
                       f"https://{NGHTTPD}/file"], capture_output=True, text=True, timeout=120).stdout
tap.ok("2000 succeeded, 0 failed, 0 errored" in load, "h2load: 2,000 requests of 200 KB on 80 streams", load)
stats = run.finish()
seen = [e for e in rig.entries(home) if e.get("run") == run.id]
made, ended = ([e["id"] for e in seen if e["kind"] == k] for k in ("http.decision", "http.outcome"))
tap.ok(stats["requests"] == len(made) == len(set(made)) and sorted(made) == sorted(ended),
       "every one was recorded once, with its outcome", (stats, len(made), len(ended)))
gvmtest.end(daemon, 10)
tap.done()
