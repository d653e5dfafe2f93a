"""Much of everything: 1 GB each way (256 MB as an ordinary user) over HTTP/1.1 and HTTP/2 at constant memory, events that are passed on
at once, and thousands of connections that do nothing beside a run that works. curl and nginx are the ends.

Nothing here asserts a time: what passes through is compared with what goes directly, in the same run.
Figures are printed as comments. Sizes follow what the machine gives (descriptors, free space) and are said.
"""
import atexit
import os
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig
import speak

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
BIG, EVENTS, SMALL = "big.example.test", "events.example.test", "small.example.test"
# The bytes go the same way whoever runs this, so they need not go it in full length a second time.
SIZE = 1 << (30 if os.getuid() == 0 else 28)
NAME = "1 GB" if SIZE == 1 << 30 else f"{SIZE >> 20} MB"
SANITIZED = bool(os.environ.get("ASAN_OPTIONS"))
small = gvmtest.Echo(certs.issue(SMALL))


def say(text):
    print("# " + text, flush=True)


class Sink:
    """Takes bodies and says how long they were; keeps none."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.sock.getsockname()[1]
        gvmtest.thread(self._serve)

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            gvmtest.thread(self._one, s)

    def _one(self, s):
        with s:
            head = rig.read_head(s).decode("latin-1").lower()
            left = total = int(head.split("content-length:")[1].split()[0])
            block = bytearray(1 << 20)
            while left:
                n = s.recv_into(block, min(left, len(block)))
                if not n:
                    return
                left -= n
            s.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%d" % (len(str(total)), total))


class Ticker:
    """Server-sent events with the time they were sent at, each to whoever listens, one listener after another."""

    def __init__(self, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.listeners = []
        gvmtest.thread(self._serve)

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s = self.context.wrap_socket(s, server_side=True)
            rig.read_head(s)
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.listeners.append(s)


def nginx(sink):
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        return 0
    cert, key = certs.issue(BIG)
    port = gvmtest.free_port()
    top = tempfile.mkdtemp(dir=home.top)
    os.chmod(home.top, 0o755)
    with open(os.path.join(top, "big"), "wb") as f:
        f.truncate(SIZE)  # sparse: takes no room
    with open(os.path.join(top, "nginx.conf"), "w") as f:
        f.write(f"""daemon off; master_process off; pid {top}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {top}/b; proxy_temp_path {top}/p; fastcgi_temp_path {top}/f;
 uwsgi_temp_path {top}/u; scgi_temp_path {top}/s; client_max_body_size 0; http2_body_preread_size 256k;
 server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
  location /up {{ proxy_pass http://127.0.0.1:{sink}; proxy_request_buffering off; proxy_http_version 1.1; }}
  location / {{ root {top}; }} }} }}""")
    p = subprocess.Popen([program, "-c", os.path.join(top, "nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(p.kill)
    return port


ticker = Ticker(certs.issue(EVENTS))
sink = Sink()
big_port = nginx(sink.port)
if not big_port:
    tap.ok(not gvmtest.MUST_WORK, "nginx is here")
    tap.done()
home.write_config("""
[policy]
default = { type = "Deny" }
[timeouts]
head = "60s"
[[rules]]
name = "all"
method = "*"
pattern = "*.example.test"
decision = "Allow"
""" + gvmtest.upstream_config(certs.ca, {BIG: big_port, EVENTS: ticker.port, SMALL: small.port}))
# The daemon takes what the machine gives; so does this script, for the other ends.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
daemon = rig.start_daemon(home)


def proxies():
    status = rig.Control(home).call("CLIENT_STATUS")
    return [c["pid"] for c in status["children"] if c["role"] == "proxy"]


def memory(pids):
    """What all of them have in memory that is not shared with others, or at worst with each other."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
        except OSError:  # of a process that may not be looked into
            with open(f"/proc/{pid}/status") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) * 1024
    return total


class Peak:
    """The most memory while something goes on."""

    def __init__(self):
        self.pids = proxies()
        self.before = self.peak = memory(self.pids)
        self.going = True

    def __enter__(self):
        self.thread = gvmtest.thread(self._look)
        return self

    def _look(self):
        while self.going:
            self.peak = max(self.peak, memory(self.pids))
            time.sleep(0.05)

    def __exit__(self, *args):
        self.going = False
        self.thread.join()
        self.peak = max(self.peak, memory(self.pids))
        self.grown = self.peak - self.before


# ---- large bodies ----

def transfer(run, version, *args, path):
    return subprocess.run(["curl", "-sS", "-m", "240", version, "-x", f"http://127.0.0.1:{run.port}", "--cacert", run.ca, "-w",
                           "%{http_version} %{http_code} %{size_download} %{size_upload} %{time_total}", *args,
                           f"https://{BIG}{path}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def gigabytes():
    run = rig.Run(home, "20260101T000000-000001")
    transfer(run, "--http2", "-o", "/dev/null", "-r", "0-999", path="/big")  # what the first request brings
    source = os.path.join(home.top, "source")
    with open(source, "wb") as f:
        f.truncate(SIZE)
    for version, name in (("--http1.1", "1.1"), ("--http2", "2")):
        for what, args, path in (("down", ("-o", "/dev/null"), "/big"),
                                 ("up", ("-o", "/dev/null", "-X", "POST", "-H", "Expect:", "-T", source), "/up")):
            with Peak() as peak:
                got = transfer(run, version, *args, path=path)
            words = got.stdout.split() + [""] * 5
            moved = int(words[2] if what == "down" else words[3] or 0)
            tap.eq((words[0], words[1], moved), (name, "200", SIZE), f"HTTP/{name}: {NAME} {what}", got.stderr + rig.daemon_log(home)[-500:])
            say(f"HTTP/{name} {what}: {words[4]} s, memory of the proxy +{peak.grown >> 10} KB")
            tap.ok(SANITIZED or peak.grown < 8 << 20, f"HTTP/{name}: {NAME} {what} in memory that does not grow", f"{peak.before} {peak.peak}")
    os.unlink(source)
    run.finish()
    ends = [e for e in rig.entries(home, "http.outcome") if e["run"] == run.id]
    tap.eq(sum(max(e["bytes_in"], e["bytes_out"]) >= SIZE for e in ends), 4, "they are in the record with their sizes",
           [(e["bytes_in"], e["bytes_out"]) for e in ends])


# ---- events ----

def listen(sock):
    sock.sendall(f"GET /sse HTTP/1.1\r\nHost: {EVENTS}\r\n\r\n".encode())
    rig.read_head(sock)


def arrive(sock):
    n = int(rig.line_of(sock), 16)
    data = rig.exactly(sock, n)
    rig.exactly(sock, 2)
    return time.monotonic() - float(data.split()[1])


def events():
    run = rig.Run(home, "20260101T000000-000002")
    direct = ssl.create_default_context(cafile=certs.ca).wrap_socket(
        socket.create_connection(("127.0.0.1", ticker.port)), server_hostname=EVENTS)
    relayed = run.tls(EVENTS)
    for s in (direct, relayed):
        s.settimeout(20)
        listen(s)
    gvmtest.wait_for(lambda: len(ticker.listeners) == 2, 10)
    late = ([], [])
    for n in range(300):
        for k, s in enumerate((direct, relayed)):
            data = f"data: {time.monotonic():.7f}\n\n".encode()
            ticker.listeners[k].sendall(b"%x\r\n%s\r\n" % (len(data), data))
            late[k].append(arrive(s))  # the next one is sent when this one has arrived
    own, ours = (statistics.median(x) * 1000 for x in late)
    say(f"an event: {own:.3f} ms directly, {ours:.3f} ms relayed (medians of 300), at most {max(late[1]) * 1000:.1f} ms")
    tap.ok(ours < 12 * own, "an event is passed on about as fast as it comes directly: no event waits for another",
           f"{own} {ours}")
    for s in (direct, relayed):
        s.close()
    run.finish()


# ---- many ----

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32  # the beginning of a ClientHello, and no more


def opened(run, text):
    """A connection that has said this; None when there is no room for it."""
    try:
        s = socket.create_connection(("127.0.0.1", run.port), 10)
        s.sendall(text)
        return s
    except OSError:
        return None


def many():
    room = hard - 1000  # for the proxy's own ends
    idle_wanted, half_wanted = min(10000, room * 10 // 11), min(1000, room // 11)
    idlers = [rig.Run(home, f"20260101T000000-{n:06x}") for n in range(16, 19)]
    halves, worker = rig.Run(home, "20260101T000000-000013"), rig.Run(home, "20260101T000000-000014")
    tap.eq([how.ask(worker, SMALL).status for how in speak.BOTH], [200, 200], "a run that works")
    with Peak() as peak:
        began = time.monotonic()
        tunnel = f"CONNECT {SMALL}:443 HTTP/1.1\r\nHost: {SMALL}:443\r\n\r\n".encode()
        idle = [opened(idlers[n % 3], tunnel) for n in range(idle_wanted)]
        half = [opened(halves, tunnel + HELLO) for n in range(half_wanted)]
        kept = [s for s in idle + half if s]
        answered = sum(rig.read_head(s).startswith(b"HTTP/1.1 200") for s in kept)
        say(f"{len(kept)} of {idle_wanted + half_wanted} connections ({half_wanted} of them half-open), {answered} answered, in "
            f"{time.monotonic() - began:.1f} s; {hard} descriptors a process")
        tap.eq(answered, idle_wanted + half_wanted, "thousands of tunnels are taken")
        got = [how.ask(worker, SMALL).status for how in speak.BOTH for _ in range(10)]
        tap.eq(got, [200] * 20, "beside them another run is served")
        flood = [opened(halves, b"") for _ in range(min(4500, hard - len(kept) - 500))]
        got = [how.ask(worker, SMALL).status for how in speak.BOTH for _ in range(5)]
        tap.eq(got, [200] * 10, "also beside more than one run may have")
    each = peak.grown / max(1, len(kept))
    say(f"memory of the proxy +{peak.grown >> 20} MB, {each / 1024:.1f} KB a connection")
    tap.ok(SANITIZED or peak.grown < len(kept) * 20 * 1024, "each of them costs little", each)
    for s in kept + [s for s in flood if s]:
        s.close()
    tap.eq([how.ask(r, SMALL).status for r in idlers + [halves, worker] for how in speak.BOTH], [200] * 10,
           "when they are gone, every run is served")
    for r in idlers + [halves, worker]:
        r.finish()


for test in (many, events, gigabytes):
    try:
        test()
    except Exception as e:
        tap.ok(False, f"{test.__name__}: {type(e).__name__}: {e}", rig.daemon_log(home)[-2000:])
gvmtest.end(daemon, 20)
left = rig.daemon_log(home)
tap.ok("signal 31" not in left and "Sanitizer" not in left and "runtime error" not in left, "no process crashed", left[-2000:])
tap.done()
