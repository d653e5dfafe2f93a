"""[upstream] proxy: a real proxy (tinyproxy) stands between gvmd and the upstream, and only it knows the name."""
import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest  # noqa: E402

HOST = "shop.example.test"
tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
shop = gvmtest.Echo(certs.issue(HOST))
plain = gvmtest.Echo()
port = gvmtest.free_port()


def write(name, text):
    path = os.path.join(home.top, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def start_proxy():
    """tinyproxy with an /etc/hosts of its own, as a company's proxy has a resolver of its own."""
    hosts = write("hosts", f"127.0.0.1 {HOST}\n")
    conf = write("tinyproxy.conf", f"""Port {port}
Listen 127.0.0.1
Timeout 20
LogFile "{home.top}/proxy.log"
LogLevel Connect
ConnectPort {shop.port}
ConnectPort {plain.port}
""")
    program = shutil.which("tinyproxy", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
    return subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                             f"mount --bind {hosts} /etc/hosts && exec {program} -d -c {conf}"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log():
    with open(os.path.join(home.top, "proxy.log"), errors="replace") as f:
        return f.read()


def listens():
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def status(url, *more):
    got = home.run("curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", *more, url)
    return got.stdout or got.stderr


home.write_config(f"""
[policy]
default = {{ type = "Allow" }}

[upstream]
ca_file = "{certs.ca}"
proxy = "http://127.0.0.1:{port}"
""")
proxy = start_proxy()
tap.ok(gvmtest.wait_for(listens), "the proxy is up", proxy.poll())

tap.eq(status(f"https://{HOST}:{shop.port}/a"), "200", "HTTPS goes through the proxy")
tap.eq(shop.seen[-1]["target"] if shop.seen else None, "/a", "and arrives")
tap.ok(f"CONNECT {HOST}:{shop.port}" in log(), "the proxy was asked with CONNECT", log())
tap.eq(status(f"http://{HOST}:{plain.port}/b"), "200", "plain HTTP goes through it too")
tap.eq(plain.seen[-1]["target"] if plain.seen else None, "/b", "and arrives")

before = len(log())
for url in ("http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://[::ffff:10.0.0.1]/",
            "http://printer.local/", "http://metadata.google.internal/", "http://intranet/"):
    got = status(url)
    tap.ok(got in ("502", "403") or "Failed to connect" in got, f"not through the proxy: {url}", got)
tap.ok("CONNECT" not in log()[before:], "the proxy was not asked for any of them")

entries = [e for e in home.events("--kind", "http.outcome") if e.get("status") == 200]
tap.ok(entries and all(e.get("upstream", "").startswith(f"127.0.0.1:{port}") for e in entries),
       "the record names the proxy's address as the other end", entries[:1])

gvmtest.end(proxy)
tap.eq(status(f"https://{HOST}:{shop.port}/c"), "502", "a dead proxy: 502")
seen = home.events("--kind", "http.outcome")[-1]
tap.ok("[upstream] proxy" in str(seen), "and the record says that it was the proxy", seen)
tap.done()
