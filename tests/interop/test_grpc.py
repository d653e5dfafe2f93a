"""gRPC through the proxy: client and server of grpc.io's own library, over TLS and in the clear, unary and
streaming, deadlines, status, trailers, and what a call learns that a rule denies."""
import os
import sys
import threading
import time
from concurrent import futures

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig

try:
    import grpc
except ImportError as error:
    print("not ok 1 - python3-grpcio is here" if os.environ.get("GVM_MUST_WORK") else
          f"ok 1 - gRPC # SKIP {error}")
    print("1..1")
    sys.exit(0)

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
HOST = "grpc.example.test"
stopped = threading.Event()


class Echo(grpc.GenericRpcHandler):
    """pkg.Echo: every kind of call, on bytes."""

    def service(self, details):
        name = details.method
        if name in ("/pkg.Echo/Unary", "/pkg.Admin/Drop"):
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return {"/pkg.Echo/Down": grpc.unary_stream_rpc_method_handler(self.down),
                "/pkg.Echo/Up": grpc.stream_unary_rpc_method_handler(self.up),
                "/pkg.Echo/Both": grpc.stream_stream_rpc_method_handler(self.both)}.get(name)

    @staticmethod
    def unary(request, context):
        if request == b"fail":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 50% ä")
        if request == b"deadline":
            return str(context.time_remaining()).encode()
        if request == b"slow":
            while context.is_active():
                time.sleep(0.02)
            stopped.set()
        context.set_trailing_metadata((("x-trailer", "t"), ("x-bin-bin", b"\0\xff")))
        return request

    @staticmethod
    def down(request, context):
        for n in range(int(request)):
            yield str(n).encode()

    @staticmethod
    def up(requests, context):
        return str(sum(len(r) for r in requests)).encode()

    @staticmethod
    def both(requests, context):
        for r in requests:
            yield r.upper()


def server(credentials):
    s = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Echo()],
                    options=[("grpc.max_receive_message_length", -1)])
    port = s.add_secure_port("127.0.0.1:0", credentials) if credentials else s.add_insecure_port("127.0.0.1:0")
    s.start()
    return s, port


cert, key = certs.issue(HOST)
with open(cert, "rb") as c, open(key, "rb") as k:
    secure, secure_port = server(grpc.ssl_server_credentials([(k.read(), c.read())]))
clear, clear_port = server(None)
home.write_config(f"""
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "no admin"
method = "*"
pattern = "*.example.test"
grpc = "pkg.Admin/*"
decision = {{ type = "Deny", reason = "nobody drops tables, 100% sure" }}
[[rules]]
name = "echo"
method = "*"
pattern = "*.example.test"
grpc = ["pkg.Echo/*", "grpc.health.v1.Health/*"]
decision = {{ type = "Allow" }}
""" + gvmtest.upstream_config(certs.ca, {HOST: secure_port, "clear.example.test": clear_port}))
daemon = rig.start_daemon(home)
run = rig.Run(home, "20260101T000000-000001")
for name in ("http_proxy", "https_proxy", "grpc_proxy"):
    os.environ[name] = f"http://127.0.0.1:{run.port}"
os.environ.pop("no_proxy", None)


def status_of(call):
    try:
        call()
        return None
    except grpc.RpcError as error:
        return error


def calls(channel, what):
    unary = channel.unary_unary("/pkg.Echo/Unary")
    answer, call = unary.with_call(b"hello", timeout=10)
    tap.eq((answer, dict(call.trailing_metadata()).get("x-trailer")), (b"hello", "t"), f"{what}: unary, with trailers")
    tap.eq(dict(call.trailing_metadata()).get("x-bin-bin"), b"\0\xff", f"{what}: binary metadata")
    big = os.urandom(3_000_000)
    tap.ok(unary(big, timeout=30) == big, f"{what}: 3 MB each way")
    left = float(unary(b"deadline", timeout=5))
    tap.ok(3 < left < 5.5, f"{what}: the deadline reaches the server", left)
    error = status_of(lambda: unary(b"fail", timeout=10))
    tap.eq((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "not today: 50% ä"),
           f"{what}: the server's status and words")
    stopped.clear()
    error = status_of(lambda: unary(b"slow", timeout=0.5))
    tap.eq(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, f"{what}: a deadline that passes")
    tap.ok(stopped.wait(5), f"{what}: and the server is told")
    down = [int(n) for n in channel.unary_stream("/pkg.Echo/Down")(b"500", timeout=20)]
    tap.eq(down, list(range(500)), f"{what}: a stream down")
    up = channel.stream_unary("/pkg.Echo/Up")(iter([b"x" * 10000] * 100), timeout=20)
    tap.eq(up, b"1000000", f"{what}: a stream up")
    told = []

    def talk():
        """Each word waits for the answer to the one before."""
        for word in (b"one", b"two", b"three"):
            yield word
            gvmtest.wait_for(lambda w=word: w.upper() in told, 5)
    for answer in channel.stream_stream("/pkg.Echo/Both")(talk(), timeout=20):
        told.append(answer)
    tap.eq(told, [b"ONE", b"TWO", b"THREE"], f"{what}: a conversation, word by word")
    error = status_of(lambda: channel.unary_unary("/pkg.Admin/Drop")(b"x", timeout=10))
    tap.ok(error.code() == grpc.StatusCode.PERMISSION_DENIED and "nobody drops tables, 100% sure" in error.details(),
           f"{what}: a denied call gets PERMISSION_DENIED and the reason", error)
    error = status_of(lambda: list(channel.stream_stream("/pkg.Other/Both")(iter([b"x"] * 3), timeout=10)))
    tap.eq(error.code(), grpc.StatusCode.PERMISSION_DENIED, f"{what}: a denied stream too")
    tap.eq(unary(b"after", timeout=10), b"after", f"{what}: the channel goes on")


with open(run.ca, "rb") as f:
    trust = grpc.ssl_channel_credentials(f.read())
with grpc.secure_channel(f"{HOST}:443", trust, options=[("grpc.max_receive_message_length", -1)]) as channel:
    calls(channel, "TLS")
with grpc.insecure_channel("clear.example.test:80", options=[("grpc.max_receive_message_length", -1)]) as channel:
    calls(channel, "clear")


def dressed(path, kind, method="POST"):
    """The status of a request that is no gRPC call by its looks."""
    with run.tls(HOST) as s:
        return rig.ask(s, f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n"
                          "Content-Length: 2\r\n\r\n{}")


for path, kind, method in (("/pkg.Admin/Drop", "application/json", "POST"), ("/pkg.Admin/Drop", "application/json", "GET"),
                           ("/pkg.Admin/Drop", "application/grpc-web+json", "POST"), ("/api/pkg.Admin/Drop", "application/grpc-web", "POST"),
                           ("/pkg.Admin%2FDrop", "application/grpc", "POST"), ("/pkg.Echo/Unary", "application/json", "POST")):
    tap.eq(dressed(path, kind, method).status, 403, f"{method} {path} as {kind} is denied")
run.finish()
seen = [e for e in rig.entries(home) if e.get("run") == run.id]
tap.ok(any(e["kind"] == "http.decision" and e["path"] == "/pkg.Admin/Drop" and e["decision"] == "Deny" for e in seen),
       "calls are in the log by their names")
secure.stop(None)
clear.stop(None)
gvmtest.end(daemon, 10)
tap.done()
