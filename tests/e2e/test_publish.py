"""gvm run --publish: a server inside, reached from this machine's loopback, and nothing else."""
import hashlib
import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')

SERVER = """
import hashlib, socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
listener = socket.create_server(("::1" if sys.argv[1] == "6" else "127.0.0.1", 3000), family=family, backlog=64)
other = socket.create_server(("127.0.0.1", 3001))
print("listening", flush=True)
def serve(s):
    data = b""
    while True:
        piece = s.recv(65536)
        if not piece: break
        data += piece
    s.sendall(hashlib.sha256(data).hexdigest().encode() + b" " + data[:1000000])
    s.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
home.write("server.py", SERVER)


def ask(port, data):
    """Sends, ends, and reads to the end; b"" when nobody took it."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            got = b""
            while piece := s.recv(65536):
                got += piece
            return got
    except OSError as error:
        return str(error).encode()


def good(data, got):
    return got == hashlib.sha256(data).hexdigest().encode() + b" " + data[:1000000]


for family in ("4", "6"):
    port = gvmtest.free_port()
    run = home.start("run", "--publish", f"{port}:3000", "--", "/usr/bin/python3", "server.py", family)
    tap.eq(run.stdout.readline(), b"listening\n", f"a server runs inside (IPv{family})")
    big = os.urandom(5_000_000)
    tap.ok(good(b"hello", ask(port, b"hello")), f"it is reached from here (IPv{family})")
    got = ask(port, big)
    tap.ok(good(big, got), "5 MB go in, 1 MB comes out, ends are passed on", f"{len(got)} bytes: {got[:60]}")
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(good(b"%d" % n * 5000, ask(port, b"%d" % n * 5000)))) for n in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    tap.eq(results, [True] * 40, "40 at once")
    outside = [s for s in (socket.socket(),) if s.connect_ex(("127.0.0.1", 3001)) == 0]
    tap.ok(not outside, "a port that was not published is not there")
    run.terminate()
    run.wait(20)
    tap.ok(ask(port, b"x") != b"" and b"refused" in ask(port, b"x"), "after the run the port is closed")
tap.eq(home.events("--kind", "run.start")[-1].get("publish"), [f"{port}:3000"], "what was published is in the record")

# Nothing about it opens a way out: neither to the host's ports nor to another sandbox's published one.
echo = gvmtest.Echo()
port = gvmtest.free_port()
run = home.start("run", "--publish", f"{port}:3000", "--", "/usr/bin/python3", "server.py", "4")
run.stdout.readline()
done = home.python(f"""
import json, socket
out = []
for where in (("127.0.0.1", {port}), ("127.0.0.1", {echo.port}), ("198.18.0.1", {port})):
    s = socket.socket(); s.settimeout(10)
    try:
        s.connect(where); s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); out.append(s.recv(100).decode("latin-1")[:12])
    except OSError as e: out.append(e.errno)
print(json.dumps(out))""", flags=("--publish", "0:3000"))
got = json.loads(done.stdout.splitlines()[-1])
tap.ok(got[0] == 111 and got[1] == 111 and not str(got[2]).startswith("HTTP/1.1 200"), "another sandbox does not reach it", got)
tap.eq(len(echo.seen), 0, "nor the host's own ports")
done = home.run("true", flags=("--publish", f"{port}:3000"))
tap.ok(done.returncode == 125 and str(port) in done.stderr, "a port in use is said before the agent runs", done.stderr)
run.terminate()
run.wait(20)
tap.eq(home.run("true", flags=("--publish", "x")).returncode, 2, "nonsense is a usage error")
done = home.run("sh", "-c", "sleep 0.3; cat /proc/1/status", flags=("--publish", "0:3000"))
tap.ok("Seccomp:\t2" in done.stdout and "CapEff:\t0000000000000000" in done.stdout, "the init stays confined", done.stdout + done.stderr)
tap.done()
