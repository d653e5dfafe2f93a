#!/usr/bin/python3
"""The seccomp profile that Docker ships, unchanged: --seccomp takes it, everyday programs work under it, and it opens nothing."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

MODULE = "github.com/moby/profiles/seccomp@v0.3.0"
tap = gvmtest.Tap()
top = tempfile.mkdtemp(prefix="gvmt-", dir="/tmp")


def fetch():
    """Through Go's own client; the module is the profile and a few files of Go."""
    go = shutil.which("go")
    if not go:
        return None
    with open(os.path.join(top, "go.mod"), "w") as f:
        f.write("module x\n\ngo 1.19\n")
    env = {**os.environ, "HOME": top, "GOPATH": os.path.join(top, "go"), "GOCACHE": os.path.join(top, "cache"), "GOFLAGS": "-modcacherw"}
    done = subprocess.run([go, "mod", "download", "-json", MODULE], cwd=top, env=env, capture_output=True, text=True)
    try:
        return os.path.join(json.loads(done.stdout)["Dir"], "default.json")
    except (ValueError, KeyError):
        print("# " + (done.stderr or done.stdout)[-300:].replace("\n", " "))
        return None


profile = fetch()
if not profile or not os.path.exists(profile):
    if os.environ.get("GVM_MUST_WORK") == "1":
        tap.ok(False, "Docker's profile can be fetched with go")
    else:
        tap.skip("Docker's profile", "go cannot fetch it here")
else:
    home = gvmtest.Home('[policy]\ndefault = { type = "Deny" }\n')
    work = ("git init -q g && git -C g -c user.name=n -c user.email=a@b commit -q --allow-empty -m x && python3 -c "
            "'import multiprocessing as m, sqlite3, subprocess; p = m.get_context(\"fork\").Pool(2); assert p.map(abs, [-1]) == [1]; "
            "subprocess.run([\"true\"], check=True)' && echo 'int main(void){return 0;}' > a.c && cc a.c -o a && ./a && echo done")
    done = home.run("sh", "-ec", work, flags=("--seccomp", profile), timeout=120)
    tap.eq(done.stdout.strip().splitlines()[-1:], ["done"], "git, Python and a compiler work under Docker's profile", done.stderr[-800:])
    code = ("import ctypes, json, os\nassert 'GVM_RUN_ID' in os.environ\nc = ctypes.CDLL(None, use_errno=True)\n"
            "def e(r): return ctypes.get_errno() if r < 0 else 0\n"
            "print(json.dumps([e(c.unshare(0x10000000)), e(c.mount(b'n', b'/tmp', b'tmpfs', 0, None)), e(c.ptrace(0, 0, 0, 0)),\n"
            "e(c.keyctl(0, 0, 0, 0, 0)) if hasattr(c, 'keyctl') else 1, e(c.socket(40, 1, 0)), e(c.getppid())]))\n")
    # Docker lets ptrace pass on kernels since 4.8; a sandbox of ours does not.
    done = home.python(code, flags=("--seccomp", profile))
    tap.eq(done.stdout.strip(), "[1, 1, 1, 1, 1, 0]", "what GVM refuses stays refused, also where Docker's profile allows it", done.stderr)
    home.close()
shutil.rmtree(top, ignore_errors=True)
tap.done()
