"""Runs that go on without their terminal: --detach, attach, stop RUN; many runs at once, and many one after another."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')


def state(run):
    return next(json.loads(line) for line in home.gvm("runs", "--json").stdout.splitlines() if json.loads(line)["id"] == run)


def detach():
    done = home.gvm("run", "--detach", "--", "sh", "-c", "echo hello; echo word >&2; trap 'echo bye; exit 5' TERM; touch made; "
                    "while :; do sleep 0.05; done")
    run = done.stdout.strip()
    tap.ok(done.returncode == 0 and run and "\n" not in run, "--detach prints the run's id and returns", done.stdout + done.stderr)
    tap.eq(state(run)["state"], "running", "the run goes on")
    follower = home.start("attach", run)
    tap.eq(follower.stdout.readline(), b"hello\n", "attach shows what was printed before")
    tap.ok(gvmtest.wait_for(lambda: os.path.exists(os.path.join(home.state, "runs", run, "upper", "made")), 10), "it works meanwhile")
    stopped = home.gvm("stop", run[:20])
    tap.eq(stopped.returncode, 0, "stop RUN ends it", stopped.stderr)
    out = follower.stdout.read()
    follower.wait(20)
    tap.ok(b"word" in out and b"bye" in out and follower.returncode == 5, "attach shows the rest and has the agent's exit code",
           f"{out} {follower.returncode}")
    told = state(run)
    tap.ok(told["state"] == "stopped" and told["why"] == "stop" and told["exit"] == 5 and told["pending"] == 1, "what it wrote is kept", told)
    tap.eq(home.gvm("stop", run).returncode, 0, "stopping it again is nothing to do")
    tap.ok(home.gvm("status").returncode == 0, "the daemon is still there")
    done = home.gvm("run", "-d", "--workspace", "/etc", "--", "true")
    tap.ok(done.returncode == 125 and "/etc" in done.stderr and not done.stdout, "what prevents a run is told to the caller", done.stderr)
    run = home.gvm("run", "-d", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done").stdout.strip()
    began = time.monotonic()
    home.gvm("stop", "--force", run)
    tap.ok(time.monotonic() - began < 8 and state(run)["state"] == "stopped" and state(run)["exit"] == 137,
           "stop --force does not wait, and the run is known to be stopped", state(run))
    end = [e for e in home.events() if e["kind"] == "run.end" and e["run"] == run]
    tap.ok(len(end) == 1 and end[0]["why"] == "stop" and end[0]["lost"] is False, "in the log too", end)
    done = home.gvm("run", "-d", "--", "cat", input="piped\n")
    got = home.gvm("attach", done.stdout.strip())
    tap.eq(got.stdout, "piped\n", "a pipe on stdin reaches a detached agent", got.stderr)
    home.gvm("run", "--", "true")
    tap.ok("--detach" in home.gvm("attach").stderr, "attach to another kind of run says what it is")


def sandboxes():
    """Processes that are the init of a sandbox of ours."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                name, rest = f.read().rsplit(")", 1)
            if name.endswith("(gvm-init") and rest.split()[0] != "Z" and os.stat(f"/proc/{pid}").st_uid == os.getuid():
                found.append(pid)
        except OSError:
            pass
    return found


def many():
    before = set(sandboxes())
    crowd = [home.start("run", "--agent-id", f"a{n}", "--", "sh", "-c", "echo up; read x < gate", stdout=subprocess.PIPE)
             for n in range(50)] if os.path.exists(home.write("gate", "")) else []
    tap.eq([p.stdout.readline() for p in crowd], [b"up\n"] * 50, "50 sandboxes at once")
    for p in crowd:
        p.wait(30)
    tap.eq([p.returncode for p in crowd if p.returncode != 1], [], "each ends with its agent")
    for p in crowd:
        p.stdout.close()
        p.stderr.close()
    codes = {home.run("true").returncode for _ in range(60)}
    tap.eq(codes, {0}, "60 runs one after another")
    tap.ok(gvmtest.wait_for(lambda: set(sandboxes()) <= before, 10), "no sandbox is left", sandboxes())
    left = [name for run in os.listdir(os.path.join(home.state, "runs")) for name in os.listdir(os.path.join(home.state, "runs", run))
            if name in ("root", "work", "home-work")]
    tap.eq(left, [], "no work directory is left")
    with open("/proc/self/mountinfo") as f:
        tap.ok(home.top not in f.read(), "no mount is left")
    tap.eq(home.gvm("audit", "verify").returncode, 0, "the record of all this verifies")


detach()
many()
tap.done()
