"""The host's /etc/hosts changes under a running daemon: the next request goes where the name leads now."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest  # noqa: E402

HOST = "moved.example.test"
tap = gvmtest.Tap()
home = gvmtest.Home()
first = gvmtest.Echo(host="127.0.0.1")
home.write_config(f"""
[[rules]]
name = "moving"
method = "*"
pattern = "{HOST}:{first.port}/**"
private = true
decision = {{ type = "Allow" }}
""")
hosts = os.path.join(home.top, "hosts")


def write_hosts(address):
    with open(hosts, "w") as f:
        f.write(f"{address} {HOST}\n")


def status():
    got = home.run("curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
                   f"http://{HOST}:{first.port}/")
    return got.stdout


write_hosts("127.0.0.2")  # nobody listens there
gvmd = os.path.join(gvmtest.BIN, "gvmd")
os.makedirs(home.runtime, mode=0o700, exist_ok=True)
daemon = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                           f"mount --bind {hosts} /etc/hosts && exec {gvmd} --foreground"],
                          env=home.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
tap.ok(gvmtest.wait_for(lambda: home.gvm("status").returncode == 0), "a daemon with a hosts file of its own")
tap.eq(status(), "502", "the name leads where nobody listens")
write_hosts("127.0.0.1")
tap.ok(gvmtest.wait_for(lambda: status() == "200", 30, 0.5), "the file changed, and the name leads elsewhere",
       home.log()[-2000:])
tap.eq(home.daemon_pid(), daemon.pid, "it is the same daemon")
home.gvm("stop", "--force")
gvmtest.end(daemon)
tap.done()
