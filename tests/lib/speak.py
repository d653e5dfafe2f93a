"""One way to ask over HTTP/1.1 and HTTP/2, so that a table of requests is run over both.

`for speak in speak.BOTH: speak.ask(run, host, path, ...)`. An answer has status (0: none, the stream or
connection was ended), headers with names in lower case, body and json(). What only one version can say is
asked by its own means (proxyrig.py, h2rig.py).
"""
import h2.exceptions

import h2rig
import proxyrig as rig


class Http1:
    """A request on a connection of its own; or several, one after the other, on one that is kept."""

    name = "HTTP/1.1"

    @staticmethod
    def call(run, host, path="/x", method="POST", fields=(), length=None, **where):
        return Call1(run, host, path, method, fields, length, **where)

    @staticmethod
    def ask(run, host, path="/x", method="GET", fields=(), body=None, counted=True, pieces=16384, **where):
        """`body` as counted bytes, or in chunks of `pieces` bytes."""
        length = None if body is None else len(body) if counted else -1
        with Call1(run, host, path, method, fields, length, **where) as c:
            c.send_all(body, pieces)
            return c.answer()

    @staticmethod
    def several(run, host, requests):
        """Answers to (path, body) as POSTs that are all sent before the first answer is read."""
        with run.tls(host) as s:
            s.sendall(b"".join(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                               for path, body in requests))
            return [rig.answer(s) for _ in requests]


def open_socket(run, host, alpn, port=443, sni=None, check=True, clear=False):
    """TLS inside CONNECT, or the proxy's own port for requests that name http://HOST."""
    return run.connect() if clear else run.tls(host, port=port, sni=sni, check=check, alpn=alpn)


class Call1:
    """One request whose body is sent bit by bit. length: None no body, -1 chunked."""

    def __init__(self, run, host, path, method, fields, length, authority=None, clear=False, **where):
        self.sock = open_socket(run, host, ("http/1.1",), clear=clear, **where)
        self.method, self.chunked = method, length == -1
        name = authority if authority is not None else host
        text = f"{method} {'http://' + name if clear else ''}{path} HTTP/1.1\r\nHost: {name}\r\n"
        text += "".join(f"{k}: {v}\r\n" for k, v in fields)
        if length is not None:
            text += "Transfer-Encoding: chunked\r\n" if self.chunked else f"Content-Length: {length}\r\n"
        self.sock.sendall(text.encode("latin-1") + b"\r\n")

    def send(self, data, last=False):
        try:
            if data:
                self.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
            if last and self.chunked:
                self.sock.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # it was answered before its end

    def send_all(self, body, pieces):
        for at in range(0, len(body or b""), pieces):
            self.send(body[at:at + pieces])
        if body is not None:
            self.send(b"", True)

    def interim(self):
        """Status of a 1xx."""
        head = rig.read_head(self.sock)
        return int(head[9:12]) if head.startswith(b"HTTP/1.1 1") else 0

    def answer(self):
        return rig.answer(self.sock, self.method)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.sock.close()


class Http2:
    name = "HTTP/2"

    @staticmethod
    def call(run, host, path="/x", method="POST", fields=(), length=None, **where):
        return Call2(run, host, path, method, fields, length, **where)

    @staticmethod
    def ask(run, host, path="/x", method="GET", fields=(), body=None, counted=True, pieces=16384, **where):
        length = None if body is None else len(body) if counted else -1
        with Call2(run, host, path, method, fields, length, **where) as c:
            c.send_all(body, pieces)
            return c.answer()

    @staticmethod
    def several(run, host, requests):
        """On streams of one connection, their bodies in turns."""
        with h2rig.Client(run.tls(host, alpn=("h2",))) as c:
            idents = [c.begin(host, path, "POST", end=False) for path, _ in requests]
            half = [len(body) // 2 for _, body in requests]
            for ident, (_, body), n in zip(idents, requests, half):
                c.send(ident, body[:n])
            for ident, (_, body), n in zip(idents, requests, half):
                c.send(ident, body[n:], True)
            return [plain(c.wait(ident)) for ident in idents]


def plain(answer):
    """An answer of h2rig in the form of proxyrig."""
    headers = {k: v for k, v in answer.headers.items() if not k.startswith(":")}
    return rig.Answer(answer.status, headers, answer.body, repr((answer.headers, answer.reset)).encode())


class Call2:
    def __init__(self, run, host, path, method, fields, length, authority=None, clear=False, **where):
        self.client = h2rig.Client(open_socket(run, host, ("h2",), clear=clear, **where))
        fields = [(k.lower(), v) for k, v in fields]
        if length is not None and length >= 0:
            fields.append(("content-length", str(length)))
        self.ident = self.client.begin(authority if authority is not None else host, path, method, fields,
                                       length is None, "http" if clear else "https")

    def send(self, data, last=False):
        try:
            self.client.send(self.ident, data, last)
        except h2.exceptions.ProtocolError:
            pass  # it was answered before its end

    def send_all(self, body, pieces):
        for at in range(0, len(body or b""), pieces):
            self.send(body[at:at + pieces], at + pieces >= len(body))
        if body == b"":
            self.send(b"", True)

    def interim(self):
        answer = self.client.wait(self.ident, until=lambda a: a.interim or a.headers)
        return int(answer.interim[0][":status"]) if answer.interim else 0

    def answer(self):
        return plain(self.client.wait(self.ident))

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.client.close()


BOTH = (Http1, Http2)
