"""Unchanged clients inside the sandbox: each trusts the run's CA, is recorded with method, host and
path, and is stopped by a Deny rule. The upstream is a real nginx with TLS."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "clients")
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))


def start_nginx():
    """nginx with TLS serving files and one bare git repository."""
    top = os.path.join(home.top, "nginx")
    root = os.path.join(top, "www")
    os.makedirs(root)
    for name in ("ok", "denied"):
        with open(os.path.join(root, name), "w") as f:
            f.write("hello from nginx\n")
    make_repository(root)
    pem, key = certs.issue("files.example.test")
    port = gvmtest.free_port()
    conf = f"""
daemon off; worker_processes 1; pid {top}/pid; error_log {top}/error.log;
{'user root;' if os.getuid() == 0 else ''}
events {{ worker_connections 256; }}
http {{
  access_log {top}/access.log;
  client_body_temp_path {top}/b; proxy_temp_path {top}/p; fastcgi_temp_path {top}/f;
  uwsgi_temp_path {top}/u; scgi_temp_path {top}/s;
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {key};
            root {root}; }}
}}
"""
    with open(os.path.join(top, "nginx.conf"), "w") as f:
        f.write(conf)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", os.path.join(top, "nginx.conf"), "-p", top,
                                "-e", os.path.join(top, "error.log")])
    import atexit
    atexit.register(gvmtest.end, process)
    import socket
    gvmtest.wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return port


def make_repository(root):
    work = os.path.join(home.top, "repo")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.test", "-c",
           "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q", work], check=True)
    with open(os.path.join(work, "file"), "w") as f:
        f.write("in the repository\n")
    subprocess.run([*git, "-C", work, "add", "file"], check=True)
    subprocess.run([*git, "-C", work, "commit", "-qm", "first"], check=True)
    bare = os.path.join(root, "repo.git")
    subprocess.run([*git, "clone", "-q", "--bare", work, bare], check=True)
    subprocess.run([*git, "-C", bare, "update-server-info"], check=True)


HOST = "files.example.test"
port = start_nginx()
home.write_config(gvmtest.upstream_config(certs.ca, {HOST: port}, f"""
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "denied path"
method = "*"
pattern = "{HOST}/denied"
decision = {{ type = "Deny", reason = "not this one" }}
[[rules]]
name = "files"
method = "GET"
pattern = "{HOST}/**"
decision = {{ type = "Allow" }}
"""))
for name in os.listdir(DATA):
    shutil.copy(os.path.join(DATA, name), home.workspace)
OK, DENIED = f"https://{HOST}/ok", f"https://{HOST}/denied"


def recorded(run_id):
    return [(e["method"], e["host"], e["path"], e["decision"])
            for e in home.events("--kind", "http.decision", "--run", run_id)]


def newest_run():
    lines = home.gvm("runs", "--json").stdout.splitlines()
    import json
    return max((json.loads(line)["id"] for line in lines if line), default="")


def client(name, command, want, decisions=None):
    """Runs one client; `want` must appear in its output."""
    done = home.run(*command, timeout=120)
    words = done.stdout.split()
    tap.ok(want(done, words), f"{name}: allowed answers, denied is refused",
           f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{home.log()[-3000:]}")
    seen = recorded(newest_run())
    for row in decisions or [("GET", HOST, "/ok", "Allow"), ("GET", HOST, "/denied", "Deny")]:
        tap.ok(row in seen, f"{name}: the log has {row[0]} {row[1]}{row[2]} {row[3]}", f"{seen}")


def statuses(done, words):
    return done.returncode == 0 and words == ["200", "403"]


client("curl", ["curl", "-sS", "-w", "%{http_code}\n", "-o", "/dev/null", OK,
                "-o", "/dev/null", DENIED], statuses)
client("wget", ["sh", "-c", f"wget -q -O- {OK}; wget -q -O- {DENIED} || echo refused $?"],
       lambda d, w: "nginx" in w and w[-2:] == ["refused", "8"])
for library in ("urllib", "requests", "httpx"):
    client("python " + library, ["/usr/bin/python3", "clients.py", library, OK, DENIED], statuses)
for how in ("fetch", "https"):
    client("node " + how, ["node", "fetch.js", how, OK, DENIED], statuses)

go = os.path.join(home.workspace, "goclient")
built = subprocess.run(["go", "build", "-o", go, os.path.join(DATA, "client.go")],
                       env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}, capture_output=True)
tap.ok(built.returncode == 0, "the Go client builds", built.stderr.decode())
client("static Go, no environment", ["env", "-i", "./goclient", OK, DENIED],
       lambda d, w: w[0:1] == ["200"] and w[2:3] == ["403"]
       if os.path.exists("/etc/ssl/certs/ca-certificates.crt") else True)

subprocess.run(["javac", "-d", home.workspace, os.path.join(DATA, "Client.java")], check=True)
client("Java HttpClient", ["java", "-Xshare:auto", "-cp", ".", "Client", OK, DENIED],
       lambda d, w: w[0:1] == ["200"] and w[2:3] == ["403"])

cloned = home.run("git", "clone", "-q", f"https://{HOST}/repo.git", "copy", timeout=60)
tap.ok(cloned.returncode == 0, "git clone over HTTPS", cloned.stderr)
tap.ok(any(r[2].startswith("/repo.git/") for r in recorded(newest_run())),
       "git: the log has its requests")
pushed = home.run("git", "ls-remote", f"https://{HOST}/denied", timeout=60)
tap.ok(pushed.returncode != 0, "git is stopped by a rule", pushed.stdout)

verified = home.gvm("audit", "verify")
tap.eq(verified.returncode, 0, "the log of all these runs verifies", verified.stderr)
tap.done()
