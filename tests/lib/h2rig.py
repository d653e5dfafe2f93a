"""HTTP/2 for the tests, by the Python library h2: a client that can also send what no client should, and
an echo server with a few scripts."""
import json
import select
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


def readable(sock, seconds):
    """poll(), not select(): a script may hold more than 1,024 descriptors."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Answer:
    """What came on one stream."""

    def __init__(self):
        self.interim, self.headers, self.body, self.trailers = [], {}, b"", {}
        self.ended, self.reset, self.first_ms = False, None, None
        self.closed = False  # by a reset, before or behind the answer

    @property
    def status(self):
        return int(self.headers.get(":status", 0))

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


class Client:
    """A client on a connected socket (TLS with ALPN h2, or plain). Streams run side by side."""

    def __init__(self, sock, strict=False, window=None):
        self.sock = sock
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=strict,
            normalize_outbound_headers=strict, validate_inbound_headers=True))
        self.streams, self.goaway, self.open, self.manual = {}, None, True, set()
        self.began = time.monotonic()
        if window is not None:
            self.conn.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.conn.initiate_connection()
        self.flush()

    def flush(self):
        data = self.conn.data_to_send()
        if data and self.open:
            try:
                self.sock.sendall(data)
            except OSError:
                self.open = False

    def raw(self, data):
        self.flush()
        try:
            self.sock.sendall(data)
        except OSError:
            self.open = False

    def headers(self, host, path, method, more, scheme="https"):
        head = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
        return [h for h in head if h[1] is not None] + list(more)

    def begin(self, host, path="/x", method="GET", more=(), end=True, scheme="https", fields=None):
        ident = self.conn.get_next_available_stream_id()
        self.streams[ident] = Answer()
        fields = fields if fields is not None else self.headers(host, path, method, more, scheme)
        self.conn.send_headers(ident, fields, end_stream=end)
        self.flush()
        return ident

    def send(self, ident, data, end=False):
        """Everything, as the windows open."""
        while data:
            room = min(self.conn.local_flow_control_window(ident), self.conn.max_outbound_frame_size)
            if room <= 0:
                self.pump(0.5)
                if not self.open or self.streams[ident].closed:
                    return
                continue
            self.conn.send_data(ident, data[:room], end_stream=end and room >= len(data))
            data = data[room:]
            self.flush()
            if not data:
                return
        if end:
            self.conn.end_stream(ident)
            self.flush()

    def trailers(self, ident, fields):
        self.conn.send_headers(ident, fields, end_stream=True)
        self.flush()

    def reset(self, ident, code=h2.errors.ErrorCodes.CANCEL):
        self.conn.reset_stream(ident, code)
        self.flush()

    def pump(self, seconds):
        """Reads what comes within that time, or at once; False when nothing did."""
        pending = getattr(self.sock, "pending", lambda: 0)()
        if not self.open or (not pending and not readable(self.sock, seconds)):
            return False
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.open = False
            return False
        try:
            events = self.conn.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.error, self.open = error, False
            return False
        for event in events:
            self._on(event)
        self.flush()
        return True

    def _on(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
        answer = self.streams.get(getattr(event, "stream_id", None))
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(dict(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
            answer.first_ms = (time.monotonic() - self.began) * 1000
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if event.stream_id not in self.manual and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.closed = True
            if not answer.ended:
                answer.reset = event.error_code

    def wait(self, ident, seconds=15, until=None):
        end = time.monotonic() + seconds
        answer = self.streams[ident]
        while time.monotonic() < end and self.open:
            if answer.reset is not None or (until(answer) if until else answer.ended):
                break
            self.pump(max(0, end - time.monotonic()))
        return answer

    def ask(self, host, path="/x", method="GET", more=(), body=None, scheme="https", fields=None):
        ident = self.begin(host, path, method, more, body is None, scheme, fields)
        if body is not None:
            self.send(ident, body, True)
        return self.wait(ident)

    def drain(self, seconds=3):
        """Reads until the other side has nothing more to say, or closes."""
        end = time.monotonic() + seconds
        while self.open and time.monotonic() < end:
            self.pump(max(0, end - time.monotonic()))

    def close(self):
        self.open = False
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


class Server:
    """An echo server of HTTP/2. `script(stream)` may answer by itself; True: it did."""

    def __init__(self, certificate=None, script=None, alpn=("h2",), settings=None):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.sock.getsockname()[1]
        self.script, self.settings = script, settings or {}
        self.seen, self.connections, self.resets = [], 0, []
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.set_alpn_protocols(list(alpn))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            s, _ = self.sock.accept()
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        try:
            if self.context:
                s = self.context.wrap_socket(s, server_side=True)
            Connection(self, s).run()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        s.close()


class Stream:
    """A request and the means to answer it."""

    def __init__(self, connection, ident, headers):
        self.connection, self.id = connection, ident
        self.headers, self.body, self.trailers, self.ended = headers, b"", {}, False
        self.path = dict(headers).get(":path", "")

    def head(self, status, more=(), end=False):
        self.connection.conn.send_headers(self.id, [(":status", str(status)), *more], end_stream=end)
        self.connection.flush()

    def data(self, data, end=False):
        self.connection.later[self.id] = self.connection.later.get(self.id, b"") + data
        if end:
            self.connection.ends.add(self.id)
        self.connection.send_later()

    def trail(self, fields):
        self.connection.conn.send_headers(self.id, fields, end_stream=True)
        self.connection.flush()

    def reset(self, code):
        self.connection.conn.reset_stream(self.id, code)
        self.connection.flush()


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1"))
        self.conn.local_settings.update(server.settings)
        self.streams, self.later, self.ends = {}, {}, set()
        self.hold = False  # no window back
        self.closed = False

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.sock.sendall(data)

    def send_later(self):
        for ident in list(self.later):
            data = self.later[ident]
            try:
                while data and (room := min(self.conn.local_flow_control_window(ident),
                                            self.conn.max_outbound_frame_size)) > 0:
                    end = ident in self.ends and room >= len(data)
                    self.conn.send_data(ident, data[:room], end_stream=end)
                    data = data[room:]
                    if end:
                        self.ends.discard(ident)
                if not data and ident in self.ends:
                    self.conn.end_stream(ident)
                    self.ends.discard(ident)
            except h2.exceptions.ProtocolError:
                data = b""
            self.later[ident] = data
            if not data:
                del self.later[ident]
        self.flush()

    def run(self):
        self.conn.initiate_connection()
        self.flush()
        while not self.closed:
            data = self.sock.recv(1 << 16)
            if not data:
                break
            for event in self.conn.receive_data(data):
                self.on(event)
            self.send_later()

    def on(self, event):
        ident = getattr(event, "stream_id", None)
        stream = self.streams.get(ident)
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[ident] = Stream(self, ident, event.headers)
            if self.server.script and self.server.script(stream, "head"):
                return
        elif isinstance(event, h2.events.DataReceived) and stream:
            stream.body += event.data
            if self.server.script and self.server.script(stream, "data"):
                return
            if event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, ident)
        elif isinstance(event, h2.events.TrailersReceived) and stream:
            stream.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            self.server.resets.append(event.error_code)
        elif isinstance(event, h2.events.StreamEnded) and stream:
            stream.ended = True
            if not (self.server.script and self.server.script(stream, "end")):
                self.echo(stream)

    def echo(self, stream):
        fields = dict(stream.headers)
        seen = {"method": fields.get(":method"), "target": stream.path, "host": fields.get(":authority"),
                "scheme": fields.get(":scheme"), "length": len(stream.body),
                "headers": [[k, v] for k, v in stream.headers if not k.startswith(":")],
                "body": stream.body[:2000].decode("latin-1"), "trailers": stream.trailers}
        self.server.seen.append(seen)
        if stream.path.startswith("/bytes/"):
            n = int(stream.path.split("/")[2])
            head = fields.get(":method") == "HEAD"
            stream.head(200, [("content-length", str(n))], end=head)
            if not head:
                stream.data((bytes(range(256)) * (n // 256 + 1))[:n], True)
            return
        body = json.dumps(seen).encode()
        stream.head(200, [("content-type", "application/json"), ("content-length", str(len(body)))],
                    end=fields.get(":method") == "HEAD")
        if fields.get(":method") != "HEAD":
            stream.data(body, True)
