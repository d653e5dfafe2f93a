"""Drives gvmd's data path without a sandbox: a run is registered over the control socket with listeners
that were opened on loopback, as the launcher would do from inside. Its clients speak proxy protocol."""
import json
import os
import re
import socket
import ssl
import struct
import subprocess

import gvmtest

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(HERE, "..", "..", "src", "ipc", "messages.h")
FRAME = struct.Struct("=HHIQ")


def message_types():
    """Names and numbers of enum gvm_msg_type, read from the catalogue itself."""
    with open(HEADER) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    body = re.search(r"enum gvm_msg_type \{(.*?)\}", text, re.S).group(1)
    names = [part.split("=")[0].strip() for part in body.split(",")]
    return {name[len("GVM_MSG_"):]: number for number, name in enumerate(n for n in names if n)}


TYPES = message_types()
NAMES = {number: name for name, number in TYPES.items()}


def knock(home):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(30)
    s.connect(os.path.join(home.runtime, "gvmd.sock"))
    return s


class Control:
    """One connection to gvmd's control socket."""

    catalogue = 0  # the number of gvmd's version; a frame of another one is answered with a frame of it

    def __init__(self, home):
        if not Control.catalogue:
            with knock(home) as s:
                s.send(FRAME.pack(TYPES["CLIENT_STATUS"], 0, 0, 1))
                Control.catalogue = FRAME.unpack(s.recv(4096)[:16])[1]
        self.sock = knock(home)
        self.next_id = 0

    def send(self, kind, payload=b"", fds=()):
        self.next_id += 1
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        frame = FRAME.pack(TYPES[kind], self.catalogue, len(payload), self.next_id) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        self.sock.sendmsg([frame], rights)
        return self.next_id

    def receive(self):
        data = self.sock.recv(200000)
        if not data:
            raise ConnectionError("control hung up")
        number, _, length, ident = FRAME.unpack(data[:16])
        return NAMES[number], ident, data[16:16 + length]

    def call(self, kind, payload=b"", fds=()):
        ident = self.send(kind, payload, fds)
        while True:
            name, got, data = self.receive()
            if got != ident:
                continue
            if name == "FAILED":
                raise RuntimeError(data[4:].decode("utf-8", "replace"))
            return json.loads(data) if data else {}


class Run:
    """A registered run and its ports."""

    def __init__(self, home, run="20260101T000000-000001", **settings):
        self.home = home
        self.id = run
        self.control = Control(home)
        self.sockets = [self._tcp(socket.AF_INET), self._tcp(socket.AF_INET6),
                        self._udp(socket.AF_INET), self._udp(socket.AF_INET6),
                        self._tcp(socket.AF_INET), self._tcp(socket.AF_INET6)]
        self.port, self.port6, self.dns, self.dns6, self.dnstcp, _ = (
            s.getsockname()[1] for s in self.sockets)
        asked = {"run": run, "agent": "test", "command": ["test"], "workspace": "/", "config": home.config,
                 "watch": False, "mode": "sandbox", "default": None, "no_intercept": [], "sealed": None}
        asked.update(settings)
        ready = self.control.call("RUN_REGISTER", asked, [s.fileno() for s in self.sockets])
        self.ca = os.path.join(home.top, run + ".pem")
        with open(self.ca, "w") as f:
            f.write(ready["pem"])

    @staticmethod
    def _tcp(family):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        s.listen(64)
        return s

    @staticmethod
    def _udp(family):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        return s

    def finish(self):
        return self.control.call("RUN_FINISH", {"exit": 0, "signal": 0, "changes": {}})

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def tunnel(self, authority, host=None):
        """A connection after CONNECT; raises Refused with the status when it is not 200."""
        s = self.connect()
        if isinstance(authority, str):
            authority = authority.encode()
        s.sendall(b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + (host or authority) + b"\r\n\r\n")
        head = read_head(s)
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused(head)
        return s

    def tls(self, host, port=443, sni=None, check=True, alpn=("http/1.1",), connect_to=None):
        s = self.tunnel(f"{connect_to or host}:{port}")
        context = ssl.create_default_context(cafile=self.ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if not check:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(s, server_hostname=host if sni is None else (sni or None))


class Refused(Exception):
    def __init__(self, head):
        super().__init__(repr(head[:80]))
        self.status = int(head[9:12]) if head.startswith(b"HTTP/1.") else 0


def read_head(s):
    head = b""
    while b"\r\n\r\n" not in head:
        part = s.recv(1)
        if not part:
            return head
        head += part
    return head


class Answer:
    def __init__(self, status, headers, body, raw):
        self.status, self.headers, self.body, self.raw = status, headers, body, raw

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


def answer(s, method="GET"):
    """One response off a socket; status 0 when it ended without one."""
    try:
        head = read_head(s)
    except OSError:
        head = b""
    if not head.startswith(b"HTTP/1."):
        return Answer(0, {}, b"", head)
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    status = int(lines[0].split()[1])
    body = b""
    if method == "HEAD" or status in (101, 204, 304) or status < 200:
        pass
    elif headers.get("transfer-encoding") == "chunked":
        while True:
            size = int(line_of(s), 16)
            if not size:
                break
            body += exactly(s, size)
            exactly(s, 2)
        while line := line_of(s).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers["trailer:" + name.lower()] = value.strip()
    elif "content-length" in headers:
        body = exactly(s, int(headers["content-length"]))
    else:
        while True:
            part = s.recv(65536)
            if not part:
                break
            body += part
    return Answer(status, headers, body, head)


def line_of(s):
    line = b""
    while not line.endswith(b"\r\n"):
        part = s.recv(1)
        if not part:
            break
        line += part
    return line


def exactly(s, n):
    out = b""
    while len(out) < n:
        part = s.recv(min(n - len(out), 1 << 16))
        if not part:
            break
        out += part
    return out


def ask(s, text, method="GET"):
    s.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))
    return answer(s, method)


def start_daemon(home):
    """gvmd in the foreground, ended with the script."""
    os.makedirs(home.runtime, mode=0o700, exist_ok=True)
    os.makedirs(home.state, mode=0o700, exist_ok=True)
    read, write = os.pipe()
    log = open(os.path.join(home.top, "gvmd.stderr"), "wb")
    process = subprocess.Popen([os.path.join(gvmtest.BIN, "gvmd"), "--foreground", "--ready-fd", str(write)],
                               env=home.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               pass_fds=[write])
    os.close(write)
    ready = os.read(read, 1)
    os.close(read)
    if not ready:
        raise RuntimeError("gvmd did not start: " + daemon_log(home))
    return process


def daemon_log(home):
    with open(os.path.join(home.top, "gvmd.stderr"), errors="replace") as f:
        return f.read() + home.log()


def entries(home, kind=None):
    """The ledger, read straight from its segments."""
    found = []
    top = os.path.join(home.state, "ledger", "events")
    for name in sorted(os.listdir(top)):
        with open(os.path.join(top, name), "rb") as f:
            for line in f.read().rstrip(b"\0").splitlines():
                entry = json.loads(line)
                if kind is None or entry["kind"] == kind:
                    found.append(entry)
    return found
