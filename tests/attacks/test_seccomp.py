"""System calls: the profiles, and refused calls on record. Rows K9, K2 and T-O of the attack catalogue: nobody wins a race
against the answer, a flood fills neither the log nor the launcher, and who called is told truthfully."""
import json
import os
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')
PRELUDE = """
import ctypes, json, os, sys, threading, time
assert "GVM_RUN_ID" in os.environ and "\\nSeccomp:\\t2\\n" in open("/proc/self/status").read(), "no sandbox"
c = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    return ctypes.get_errno() if getattr(c, name)(*args) < 0 else 0
"""


def inside(code, flags=(), timeout=120):
    done = home.python(PRELUDE + code, flags=flags, timeout=timeout)
    try:
        return json.loads(done.stdout.splitlines()[-1]), done
    except (ValueError, IndexError):
        return None, done


def denied(run=None):
    """Entries of the newest run, or of `run`."""
    entries = home.events()
    last = run or [e for e in entries if e["kind"] == "run.start"][-1]["run"]
    return [e for e in entries if e["kind"] == "syscall.denied" and e["run"] == last]


def who_and_what():
    got, done = inside("""
out = {"pid": os.getpid(), "unshare": call("unshare", 0x10000000)}
out["mounts"] = [call("mount", b"none", b"/tmp", b"tmpfs", 0, None) for _ in range(37)]
out["ptrace"] = call("ptrace", 0, 0, 0, 0)
out["socket"] = call("socket", 17, 3, 0)
out["works"] = call("getppid") or call("socketpair", 1, 1, 0, (ctypes.c_int * 2)())
print(json.dumps(out))""")
    tap.ok(got and got["unshare"] == got["ptrace"] == got["socket"] == 1 and set(got["mounts"]) == {1} and got["works"] == 0,
           "what is refused is refused, what is not works", done.stdout + done.stderr)
    entries = denied()
    by = {}
    for e in entries:
        by.setdefault(e["call"], []).append(e)
    tap.eq(sorted(by), ["mount", "ptrace", "socket", "unshare"], "each refused call is on record", entries)
    tap.eq(sum(e["times"] for e in by.get("mount", [])), 37, "with how often")
    tap.ok(len(by.get("mount", [])) <= 3, "and what repeats is counted, not written again", by)
    tap.eq([by["unshare"][0].get(k) for k in ("arg", "pid", "comm")], [0x10000000, got and got["pid"], "python3"],
           "what it was about, and who", entries)
    tap.ok("python3" in os.path.basename(by["unshare"][0]["exe"]), "by which program", entries)
    tap.eq(by["socket"][0]["arg"], 17, "a socket by its family")
    shown = home.gvm("events", "--kind", "syscall.denied", "--last", "1")
    tap.ok("unshare" in home.gvm("events", "--kind", "syscall.denied").stdout and shown.returncode == 0, "gvm events shows them",
           shown.stdout + shown.stderr)
    tap.eq(home.gvm("audit", "verify").returncode, 0, "and the log verifies")


def children_and_names():
    got, done = inside("""
c.prctl(15, b'x"\\x1b[31m\\n\\xff', 0, 0, 0)
call("unshare", 0x20000)
if os.fork() == 0:
    call("setns", 0, 0x40000000); os._exit(0)
os.wait()
print(json.dumps(1))""")
    calls = {e["call"]: e for e in denied()}
    tap.ok(got == 1 and "setns" in calls, "a child's calls too", done.stdout + done.stderr)
    raw = home.gvm("events", "--kind", "syscall.denied").stdout
    tap.ok("\x1b" not in raw and "\x1b" not in json.dumps(calls, ensure_ascii=False), "a hostile name reaches no terminal", repr(raw[-300:]))


def flood():
    before = len(home.events())
    began = time.monotonic()
    got, done = inside("""
n = 0
for i in range(400):
    c.prctl(15, b"name%d" % i, 0, 0, 0)
    for k in range(10):
        n += call("mount", b"none", b"/tmp", b"tmpfs", 0, None) == 1
print(json.dumps(n))""")
    took = time.monotonic() - began
    entries = denied()
    tap.eq(got, 4000, "a flood of refused calls: each is refused", done.stderr[-500:])
    tap.eq(sum(e["times"] for e in entries), 4000, "and counted")
    tap.ok(len(home.events()) - before < 300, "in a bounded number of entries", len(entries))
    tap.ok(any(e["call"] == "other" for e in entries), "what does not fit is counted together")
    print(f"# 4000 refused calls in {took:.1f} s")


def races():
    """K9: one thread rewrites what the other one passes. The answer never depends on it."""
    got, done = inside("""
target = ctypes.create_string_buffer(b"/workspace-a", 64)
stop = False
def swap():
    while not stop:
        ctypes.memmove(target, b"/tmp\\0", 5); ctypes.memmove(target, b"/proc\\0", 6)
threads = [threading.Thread(target=swap) for _ in range(2)]
for t in threads: t.start()
won = sum(call("mount", b"none", target, b"tmpfs", 0, None) != 1 for _ in range(5000))
won += sum(call("unshare", 0x10000000) != 1 for _ in range(2000))
stop = True
for t in threads: t.join()
print(json.dumps([won, os.path.ismount("/tmp/x"), len(open("/proc/self/mounts").read().splitlines())]))""")
    tap.ok(got and got[0] == 0, "K9 a race against the answer: 7,000 tries, none won", done.stdout + done.stderr)


def listener_away():
    """Stopped, the launcher keeps the caller waiting; it does not let it through. Killed, everything ends."""
    home.write("mark.py", PRELUDE + 'print("go", flush=True)\nprint("answer", call("unshare", 0x10000000), flush=True)\ntime.sleep(30)\n')
    gvm = home.start("run", "--", "sh", "-c", "read x; exec python3 mark.py", stdin=subprocess.PIPE, bufsize=0)
    time.sleep(0.5)
    os.kill(gvm.pid, signal.SIGSTOP)
    gvm.stdin.write(b"\n")
    first = gvm.stdout.readline()
    early = select.select([gvm.stdout], [], [], 0.4)[0]
    os.kill(gvm.pid, signal.SIGCONT)
    answer = gvm.stdout.readline()
    tap.eq([first, early, answer], [b"go\n", [], b"answer 1\n"], "with the launcher stopped the call waits, and is refused later")
    os.kill(gvm.pid, signal.SIGKILL)
    gvm.wait()
    tap.eq(gvm.stdout.read(), b"", "with the launcher killed nothing goes on")


def no_listener_for_the_agent():
    got, done = inside("""
fds = {f: os.readlink("/proc/self/fd/" + f) for f in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + f)}
print(json.dumps([v for v in fds.values() if "seccomp" in v or "notify" in v]))""")
    tap.eq(got, [], "the listener is not in the agent's hands", done.stderr)


def profiles():
    work = ("git init -q g && git -C g -c user.name=n -c user.email=a@b commit -q --allow-empty -m x && python3 -c "
            "'import multiprocessing as m, sqlite3, subprocess; p = m.get_context(\"fork\").Pool(2); assert p.map(abs, [-1]) == [1]; "
            "sqlite3.connect(\"d.db\").execute(\"create table t(a)\"); subprocess.run([\"true\"], check=True)' && "
            "echo 'int main(void){return 0;}' > a.c && cc a.c -o a && ./a && tar cf t.tar a.c && echo done")
    done = home.run("sh", "-ec", work, flags=("--seccomp", "strict"), timeout=120)
    tap.eq(done.stdout.strip().splitlines()[-1:], ["done"], "strict: git, Python, a compiler, tar work", done.stderr[-800:])
    start = [e for e in home.events() if e["kind"] == "run.start"][-1]
    tap.eq(start.get("seccomp"), "strict", "the record names the profile")
    got, done = inside('print(json.dumps([call("shmget", 0, 4096, 0o1600), call("socket", 2, 2, 1), call("ioctl", 0, 0xc0186400, 0)]))',
                       flags=("--seccomp", "strict"))
    tap.eq(got, [1, 1, 1], "strict: no shared memory of System V, no ping, no drivers", done.stderr[-500:])

    path = os.path.join(home.top, "profile.json")

    def with_file(text, *command):
        with open(path, "w") as f:
            f.write(text)
        return home.run(*command, flags=("--seccomp", path))
    rule = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["%s"], "action": "%s", "errnoRet": 13}]}'
    done = with_file(rule % ("mkdir", "SCMP_ACT_ERRNO"), "sh", "-c", "mkdir d; touch f && ls f")
    tap.ok("Permission denied" in done.stderr and done.stdout == "f\n", "a file of the owner's takes a call away", done.stderr)
    start = [e for e in home.events() if e["kind"] == "run.start"][-1]
    tap.ok(start.get("seccomp", "").startswith("sha256:"), "the record has its hash", start)
    with_file(rule % ("mkdir", "SCMP_ACT_NOTIFY"), "sh", "-c", "mkdir d")
    tap.eq([e["call"] for e in denied()], ["mkdir"], "SCMP_ACT_NOTIFY: refused and recorded")
    done = with_file(rule % ("mount", "SCMP_ACT_ALLOW"), "python3", "-c", PRELUDE + 'print(call("mount", b"none", b"/tmp", b"tmpfs", 0, None))')
    tap.eq(done.stdout, "1\n", "a file of the owner's opens nothing", done.stderr)
    done = with_file(rule % ("mkdri", "SCMP_ACT_ERRNO"), "true")
    tap.ok(done.returncode == 125 and "profile.json:1:" in done.stderr and "mkdri" in done.stderr, "a slip in it is told with its place", done.stderr)
    done = home.run("true", flags=("--seccomp", "nowhere"))
    tap.ok(done.returncode == 125 and "seccomp profile" in done.stderr, "a file that is not there too", done.stderr)
    with open(path, "w") as f:
        f.write(rule % ("mkdir", "SCMP_ACT_ERRNO"))
    home.write_config('[policy]\ndefault = { type = "Deny" }\n[seccomp]\nprofile = "%s"\n' % path)
    done = home.run("sh", "-c", "mkdir d2 || echo kept")
    tap.ok("kept" in done.stdout, "[seccomp] profile in the rule file", done.stderr)
    done = home.run("sh", "-c", "mkdir d2 && echo made", flags=("--seccomp", "default"))
    tap.ok("made" in done.stdout, "the option goes before it", done.stderr)


who_and_what()
children_and_names()
flood()
races()
listener_away()
no_listener_for_the_agent()
profiles()
home.close()
tap.done()
