#!/usr/bin/python3
"""git itself pushes to git http-backend through the data path, under rules for refs: ordinary pushes, forced
ones, deletions, many refs, and packs larger than what is looked at."""
import http.server
import os
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig

tap = gvmtest.Tap()
BACKEND = "/usr/lib/git-core/git-http-backend"
if not shutil.which("git") or not os.access(BACKEND, os.X_OK):
    tap.skip("git pushes through the data path", "git is not installed")
    tap.done()
home = gvmtest.Home()
HOST = "git.example.test"
TOP = os.path.join(home.top, "git")


class Handler(http.server.BaseHTTPRequestHandler):
    """CGI for git http-backend (gitprotocol-http)."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        out = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            out += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                return out

    def run(self):
        path, _, query = self.path.partition("?")
        body = self.body()
        env = {"GIT_PROJECT_ROOT": TOP, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "REMOTE_USER": "x",
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "CONTENT_LENGTH": str(len(body)),
               "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "PATH": os.environ["PATH"], "REMOTE_ADDR": "127.0.0.1"}
        out = subprocess.run([BACKEND], input=body, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        fields = [line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line]
        status = next((int(v.split()[0]) for k, v in fields if k.lower() == b"status"), 200)
        self.send_response(status)
        for k, v in fields:
            if k.lower() != b"status":
                self.send_header(k.decode(), v.decode())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = run


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
home.write_config(f"""
[policy]
default = "Deny"
[[rules]]
name = "no force"
method = "POST"
pattern = "{HOST}"
git = {{ force = true }}
decision = {{ type = "Deny", reason = "not forced" }}
[[rules]]
name = "no deletion"
method = "POST"
pattern = "{HOST}"
git = {{ delete = true }}
decision = {{ type = "Deny", reason = "nothing is deleted" }}
[[rules]]
name = "branches of ours"
method = "POST"
pattern = "{HOST}"
git = {{ repo = "org/*", push = ["refs/heads/dev*", "refs/tags/*"] }}
decision = "Allow"
[[rules]]
name = "reading"
method = ["GET", "POST"]
pattern = "{HOST}/**"
path_regex = "/(info/refs|git-upload-pack)$"
decision = "Allow"
[upstream.resolve]
"{HOST}" = "127.0.0.1:{server.server_address[1]}"
""")
daemon = rig.start_daemon(home)
run = rig.Run(home)
ENV = dict(home.env, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0",
           GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@x", GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@x",
           http_proxy=f"http://127.0.0.1:{run.port}")
WORK = os.path.join(home.top, "clone")


def git(*words, cwd=WORK):
    done = subprocess.run(["git", *words], cwd=cwd, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


def must(*words, cwd=WORK):
    code, out = git(*words, cwd=cwd)
    assert code == 0, (words, out)
    return out.strip()


def remote(ref):
    code, out = git("rev-parse", "--verify", "-q", ref, cwd=os.path.join(TOP, "org/repo.git"))
    return out.strip() if code == 0 else None


def commit(name, content="x"):
    with open(os.path.join(WORK, name), "w") as f:
        f.write(content)
    must("add", "-A")
    must("commit", "-qm", name)
    return must("rev-parse", "HEAD")


def pushed(want, name, *words):
    code, out = git("push", "-q", "origin", *words)
    return tap.ok((code == 0) == want, name, out)


for repo in ("org/repo.git", "other/repo.git"):
    os.makedirs(os.path.join(TOP, repo))
    must("init", "-q", "--bare", "-b", "dev", cwd=os.path.join(TOP, repo))
    must("config", "http.receivepack", "true", cwd=os.path.join(TOP, repo))
must("clone", "-q", f"http://{HOST}/org/repo.git", WORK, cwd=home.top)
tap.ok(True, "clone through the data path")
must("checkout", "-q", "-b", "dev")
first = commit("one")
pushed(True, "a new branch on the list", "dev")
tap.eq(remote("refs/heads/dev"), first, "it is there")
second = commit("two")
pushed(True, "a fast-forward", "dev")
must("branch", "main")
pushed(False, "a branch that is not", "main")
tap.eq(remote("refs/heads/main"), None, "it is not there")
pushed(False, "both at once", "dev", "main")
must("tag", "v1")
pushed(True, "a tag", "v1")
pushed(False, "deleting a branch", "--delete", "dev")
tap.eq(remote("refs/heads/dev"), second, "it is still there")
must("commit", "-q", "--amend", "-m", "another two")
pushed(False, "an amended commit, forced", "--force", "dev")
must("checkout", "-q", "--orphan", "lonely")
commit("alone")
pushed(False, "another history, forced", "--force", "lonely:dev")
tap.eq(remote("refs/heads/dev"), second, "nothing of them arrived")
must("checkout", "-q", "-B", "dev", second)
big = commit("big", os.urandom(2 << 20).hex())
pushed(True, "a pack larger than what is looked at, in chunks", "dev")
tap.eq(remote("refs/heads/dev"), big, "it is there")
for n in range(30):
    commit("many", str(n))
pushed(True, "thirty commits", "dev")
must("checkout", "-q", "-b", "side", "HEAD~3")
commit("side")
must("checkout", "-q", "dev")
must("merge", "-q", "--no-ff", "-m", "merge", "side")
pushed(True, "a merge", "dev")
must("remote", "set-url", "origin", f"http://{HOST}/other/repo.git")
pushed(False, "another repository", "dev")
run.finish()
decided = [e for e in rig.entries(home, "http.decision") if e.get("run") == run.id]
tap.ok({"no force", "no deletion", "branches of ours", "reading", "default"} <= {e["rule"] for e in decided}, "each rule decided something",
       sorted({e["rule"] for e in decided}))
daemon.terminate()
daemon.wait(20)
server.shutdown()
tap.done()
