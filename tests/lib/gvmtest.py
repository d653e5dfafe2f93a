"""What the end-to-end scripts share: TAP, a private home for GVM, and real servers on loopback.

Environment: GVM_BIN names the folder with gvm and gvmd. Everything a script makes lives in one
temporary folder and ends with it.
"""
import atexit
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

BIN = os.environ.get("GVM_BIN") or os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build")
MUST_WORK = os.environ.get("GVM_MUST_WORK") == "1"


class Tap:
    """Counts and prints results; `done()` ends the script with the right exit code."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        self.prefix = ""  # before every name, for tables that run several times

    def ok(self, good, name, detail=""):
        self.count += 1
        name = " ".join(f"{self.prefix}{name}".split())
        print(f"{'' if good else 'not '}ok {self.count} - {name}", flush=True)
        if not good:
            self.failed += 1
            for line in str(detail).splitlines()[-40:]:
                print("#   " + line, flush=True)
        return bool(good)

    def eq(self, got, want, name, detail=""):
        return self.ok(got == want, name, f"got  {got!r}\nwant {want!r}\n{detail}")

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def done(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def wait_for(check, seconds=10, step=0.02):
    """The first true value of check(), or None when time is up."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value or None
        time.sleep(step)


def thread(target, *args):
    """A thread that does not keep the script alive."""
    t = threading.Thread(target=target, args=args, daemon=True)
    t.start()
    return t


class Certificates:
    """A private CA and server certificates, made with the openssl program."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.ca = os.path.join(folder, "ca.pem")
        self._ca_key = os.path.join(folder, "ca.key")
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-keyout", self._ca_key, "-out", self.ca, "-days", "30",
                  "-subj", "/CN=Test upstream CA")
        self._count = 0

    def _run(self, *args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def issue(self, *names, days=10):
        """Certificate and key files for these names (DNS names or IP addresses)."""
        self._count += 1
        base = os.path.join(self.folder, f"leaf{self._count}")
        alt = ",".join(("IP:" if n.replace(".", "").isdigit() or ":" in n else "DNS:") + n
                       for n in names)
        with open(base + ".ext", "w") as f:
            f.write(f"subjectAltName={alt}\nextendedKeyUsage=serverAuth\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                  base + ".key", "-out", base + ".csr", "-subj", "/CN=" + names[0][:60])
        self._run("x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self._ca_key,
                  "-CAcreateserial", "-out", base + ".pem", "-days", str(days), "-extfile",
                  base + ".ext")
        return base + ".pem", base + ".key"


class EchoHandler(http.server.BaseHTTPRequestHandler):
    """Answers with what it got. /status/N, /bytes/N, /sse, /slow/SECONDS, /redirect?to=URL."""

    protocol_version = "HTTP/1.1"
    server_version = "echo"

    def log_message(self, *args):
        pass

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return body
                body += self.rfile.read(size)
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self):
        body = self._body()
        seen = {"method": self.command, "target": self.path, "host": self.headers.get("Host"),
                "headers": [[k, v] for k, v in self.headers.items()], "length": len(body),
                "sha256": hashlib.sha256(body).hexdigest(), "body": body[:2000].decode("latin-1"), "peer": self.client_address[1]}
        self.server.seen.append(seen)
        path = self.path.split("?")[0]
        if path.startswith("/status/"):
            return self._send(int(path[8:]), b"{}")
        if path.startswith("/bytes/"):
            return self._stream(int(path[7:]))
        if path == "/sse":
            return self._events()
        if path.startswith("/slow/"):
            time.sleep(float(path[6:]))
        if path == "/redirect":
            return self._send(302, b"", {"Location": self.path.split("to=", 1)[1]})
        return self._send(200, json.dumps(seen).encode(), {"Content-Type": "application/json"})

    def _send(self, status, body, more=None):
        self.send_response(status)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def _stream(self, total):
        self.send_response(200)
        self.send_header("Content-Length", str(total))
        self.end_headers()
        block = bytes(range(256)) * 256
        while total > 0 and self.command != "HEAD":
            self.wfile.write(block[:total])
            total -= min(total, len(block))

    def _events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n in range(5):
            data = f"data: {n} {time.time():.6f}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(b"0\r\n\r\n")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


class Echo:
    """An HTTP(S) echo server on loopback; `seen` holds every request that reached it."""

    def __init__(self, certificate=None, host="127.0.0.1"):
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request, client_address):
                pass

            def finish_request(self, request, client_address):
                if certificate:
                    request.settimeout(60)
                    request.do_handshake()
                super().finish_request(request, client_address)

        self.server = Server((host, 0), EchoHandler)
        self.server.seen = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        atexit.register(self.close)

    @property
    def seen(self):
        return self.server.seen

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def catalogue():
    """The number in every frame between GVM's processes (src/ipc/ipc.h), learnt from one that refuses ours."""
    top = tempfile.mkdtemp(prefix="gvmt-", dir="/tmp")
    env = {**os.environ, "HOME": top, "GVM_STATE_DIR": top + "/state", "GVM_RUNTIME_DIR": top + "/run",
           "GVM_CONFIG": top + "/gvm.toml"}
    daemon = subprocess.Popen([os.path.join(BIN, "gvmd"), "--foreground"], env=env, stderr=subprocess.DEVNULL)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(20)
            wait_for(lambda: s.connect_ex(top + "/run/gvmd.sock") == 0, 20)
            s.send(struct.pack("=HHIQ", 1, 0, 0, 1))
            return struct.unpack("=HHIQ", s.recv(1 << 18)[:16])[1]
    finally:
        daemon.terminate()
        daemon.wait(20)
        shutil.rmtree(top, ignore_errors=True)


class Home:
    """A private home, state, runtime directory and configuration for one script."""

    def __init__(self, config=None):
        self.top = tempfile.mkdtemp(prefix="gvmt-", dir="/tmp")
        self.home = self._folder("home")
        self.workspace = self._folder("home/work")
        self.state = os.path.join(self.top, "state")
        self.runtime = os.path.join(self.top, "run")
        self.config = os.path.join(self.top, "gvm.toml")
        self.env = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k in (
            "PATH", "LANG", "TERM", "GVM_LOG", "GVM_CONFINE_LOG")}
        self.env.update(HOME=self.home, GVM_STATE_DIR=self.state, GVM_RUNTIME_DIR=self.runtime,
                        GVM_CONFIG=self.config, GVM_LOG=os.environ.get("GVM_LOG", "info"),
                        PATH=os.environ.get("PATH", "/usr/bin:/bin"))
        if config is not None:
            self.write_config(config)
        atexit.register(self.close)

    def _folder(self, name):
        path = os.path.join(self.top, name)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def write_config(self, text):
        with open(self.config, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text)

    def write(self, name, text, mode=0o644):
        """A file in the workspace."""
        path = os.path.join(self.workspace, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def gvm(self, *args, timeout=60, input=None, env=None, cwd=None):
        """Runs gvm to its end; stdout and stderr are text."""
        return self._run(args, timeout, input, env, cwd)

    def _run(self, args, timeout, text, env, cwd):
        process = subprocess.Popen([os.path.join(BIN, "gvm"), *args],
                                   env={**self.env, **(env or {})}, cwd=cwd or self.workspace,
                                   stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(None if text is None else text.encode(), timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += b"\n[test: no end within %d s]" % timeout
        return subprocess.CompletedProcess(args, process.returncode, out.decode("utf-8", "replace"),
                                           err.decode("utf-8", "replace"))

    def start(self, *args, env=None, cwd=None, **kw):
        """Starts gvm without waiting."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([os.path.join(BIN, "gvm"), *args],
                                env={**self.env, **(env or {})}, cwd=cwd or self.workspace, **kw)

    def run(self, *command, flags=(), timeout=60, env=None):
        """gvm run --sandbox FLAGS -- COMMAND in the workspace."""
        return self.gvm("run", "--sandbox", *flags, "--", *command, timeout=timeout, env=env)

    def python(self, code, *args, flags=(), timeout=60):
        """A Python program run inside the sandbox."""
        self.write("probe.py", code)
        return self.run("/usr/bin/python3", "probe.py", *args, flags=flags, timeout=timeout)

    def events(self, *args):
        """Ledger entries as dictionaries."""
        got = self.gvm("events", "--json", *args)
        return [json.loads(line) for line in got.stdout.splitlines() if line]

    def daemon_pid(self):
        got = self.gvm("status", "--json")
        try:
            return json.loads(got.stdout)["pid"]
        except (ValueError, KeyError):
            return None

    def log(self):
        path = os.path.join(self.state, "gvmd.log")
        return open(path, errors="replace").read() if os.path.exists(path) else ""

    def close(self):
        if os.path.isdir(self.top):
            if os.path.exists(os.path.join(self.runtime, "gvmd.sock")):
                self._run(("stop", "--force"), 20, None, None, None)
            for path, _, _ in os.walk(self.top):
                try:
                    os.chmod(path, 0o700)
                except OSError:
                    pass
            shutil.rmtree(self.top, ignore_errors=True)


def upstream_config(ca, pins, more=""):
    """The [upstream] part of a gvm.toml: trust and pinned names ({"name": port})."""
    lines = [f'[upstream]\nca_file = "{ca}"\n', "[upstream.resolve]"]
    lines += [f'"{name}" = "127.0.0.1:{port}"' for name, port in pins.items()]
    return more + "\n" + "\n".join(lines) + "\n"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def end(process, seconds=5):
    """Ends a process this script started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
