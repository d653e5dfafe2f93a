"""What the kernel counted against what was recorded: equal whatever an agent does to disturb it, and an
alert when they differ or cannot be compared."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
HOST = "api.example.test"
echo = gvmtest.Echo(certs.issue(HOST))
home.write_config(gvmtest.upstream_config(certs.ca, {HOST: echo.port}, f"""
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "read"
method = "GET"
pattern = "{HOST}/**"
decision = {{ type = "Allow" }}
"""))


def last(kind):
    entries = home.events("--kind", kind, "-n", "1")
    return entries[0] if entries else {}


def counted(code, name, connections, dns=0, **kernel):
    """Runs an agent; kernel and record must have the same numbers, and these."""
    got = home.python(code)
    end = last("run.end")
    seen = end.get("kernel") or {}
    good = (got.returncode == 0 and end["reconciled"] is True and "ALERT" not in got.stderr
            and end["connections"] == seen["tcp"] == connections
            and end["dns_connections"] == seen["dns_tcp"] == dns
            and all(seen[k] == v for k, v in kernel.items()))
    tap.ok(good, name, f"exit {got.returncode}\n{got.stdout}\n{got.stderr}\n{end}")


counted("print(1)", "an agent that connects to nobody", 0, refused=0, dns_udp=0)
counted("""
import urllib.request
for i in range(5):
    urllib.request.urlopen(f"https://api.example.test/{i}").read()
""", "five requests, each on a connection of its own", 5)

# ---- what an agent might try ----

counted("""
import socket
keep = []
for host in ("127.0.0.1", "::1", "127.9.8.7"):
    for port in (61080, 61053):
        try:
            keep.append(socket.create_connection((host, port), 2))
        except OSError:
            assert host == "127.9.8.7"
keep.append(socket.create_connection(("203.0.113.5", 61080)))
keep.append(socket.create_connection(("203.0.113.5", 61053)))
server = socket.create_server(("127.0.0.1", 8000))  # its own affair, counted by nobody
keep.append(socket.create_connection(("127.0.0.1", 8000)))
""", "straight to our listeners, by their own addresses", 4, 2, refused=0)
counted("""
import socket, struct
keep = []
for i in range(40):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", 40000))  # the same addresses and ports again, while the kernel may remember them
    s.connect(("203.0.113.5", 443))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
for i in range(10):
    s = socket.socket()
    s.bind((f"10.1.2.{i}", 0))  # every address is local in here
    s.connect(("203.0.113.5", 443))
    keep.append(s)
""", "reset at once and opened again from the same port; from made-up addresses", 50)
counted("""
import os, socket
keep = []
for i in range(600):
    s = socket.socket()
    s.setblocking(False)
    try:
        s.connect(("203.0.113.5", 443))
    except BlockingIOError:
        pass
    keep.append(s)
os._exit(0)
""", "six hundred at once, and gone before anybody answers", 600)
counted("""
import socket
keep = [socket.create_connection(("8.8.8.8", 53)) for _ in range(3)]
for port in (443, 5000, 123):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(b"x", ("203.0.113.5", port))
        s.recv(10)
    except OSError:
        pass
""", "DNS over TCP is counted apart, packets that were refused are counted", 0, 3, refused=3)
got = home.python("""
import socket
for protocol in range(0, 22):
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).bind((0, 0))
        print("open", protocol)
    except OSError:
        pass
""")
tap.ok("open 12" not in got.stdout, "nobody inside talks to the packet filter", got.stdout)

# ---- differences ----


def child(role):
    return next(c["pid"] for c in json.loads(home.gvm("status", "--json").stdout)["children"] if c["role"] == role)


proxy = child("proxy")
home.write("flood.py", """
import os, socket, time
print("ready", flush=True)
time.sleep(1)
keep = []
for i in range(3000):
    s = socket.socket()
    s.setblocking(False)
    try:
        s.connect(("203.0.113.5", 443))
    except BlockingIOError:
        pass
    keep.append(s)
print("made", flush=True)
os._exit(0)
""")
run = home.start("run", "--sandbox", "--", "/usr/bin/python3", "flood.py")
run.stdout.readline()
os.kill(proxy, signal.SIGSTOP)  # a proxy that takes no connections: the queue overflows
try:
    run.stdout.readline()
    time.sleep(0.5)
finally:
    os.kill(proxy, signal.SIGCONT)
out, err = run.communicate(timeout=60)
end, alert = last("run.end"), last("run.alert")
tap.ok(run.returncode == 0 and end["reconciled"] is False and end["kernel"]["tcp"] == 3000 > end["connections"] > 0,
       "connections that the kernel counted and nobody took are a difference", f"{end}\n{err}")
tap.ok(alert.get("run") == end["run"] and alert["what"] == "connections" and "3000" in alert["why"]
       and alert["index"] < end["index"], "which is an alert on record", alert)
tap.ok(b"ALERT" in err and b"3000" in err, "and told to the person who ran it", err)
text = home.gvm("logs").stdout
tap.ok(text.count("ALERT") == 2, "gvm logs shows it", text)

home.write("wait.py", """
import sys, time, urllib.request
urllib.request.urlopen("https://api.example.test/1").read()
print("one", flush=True)
for i in range(300):
    time.sleep(0.1)
    try:
        urllib.request.urlopen("https://api.example.test/2", timeout=20).read()
        break
    except OSError:
        pass
""")
for who in ("proxy", "daemon"):
    run = home.start("run", "--sandbox", "--", "/usr/bin/python3", "wait.py")
    run.stdout.readline()
    os.kill(child("proxy") if who == "proxy" else home.daemon_pid(), signal.SIGKILL)
    out, err = run.communicate(timeout=90)
    end = last("run.end")
    tap.ok(end["reconciled"] is False and f"the {who} was restarted" in end["unreconciled"]
           and last("run.alert")["run"] == end["run"] and b"ALERT" in err,
           f"a {who} killed in between: cannot be compared, and says so", f"{end}\n{err}")
counted("print(1)", "the next run is as ever", 0)

run = home.start("run", "--sandbox", "--", "/bin/sleep", "60")
gvmtest.wait_for(lambda: last("run.start").get("command") == ["/bin/sleep", "60"], 20)
run.kill()
run.wait()
gvmtest.wait_for(lambda: last("run.end").get("lost"), 20)
end = last("run.end")
tap.ok(end["lost"] and end["reconciled"] is None and end["kernel"] is None,
       "a launcher that was killed could not count: the run is lost, and no more is claimed", end)
tap.eq(home.gvm("audit", "verify").returncode, 0, "the record verifies")
tap.done()
