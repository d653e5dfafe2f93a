"""What the owner adds to a sandbox: --mount, --persist, --device, --grace, and the same in the rule file. Row F10: nothing that
is hidden comes to light by it."""
import json
import os
import shutil
import signal
import socket
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

signal.signal(signal.SIGINT, signal.SIG_DFL)
tap = gvmtest.Tap()
CONFIG = '[policy]\ndefault = { type = "Deny", reason = "closed" }\n'
home = gvmtest.Home(CONFIG)
data = os.path.join(home.top, "data")


def sh(script, *flags, timeout=60):
    return home.run("sh", "-c", script, flags=flags, timeout=timeout)


def start_entry():
    return [e for e in home.events() if e["kind"] == "run.start"][-1]


def mounts():
    os.makedirs(os.path.join(data, "sub"))
    for name, text in (("f", "plain\n"), ("sub/g", "deep\n"), (".env", "KEY=secret-4711\n"), ("id_rsa", "secret-4711\n")):
        with open(os.path.join(data, name), "w") as f:
            f.write(text)
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(data)
    server.bind("s.sock")
    server.listen()
    os.chdir(here)
    tap.eq(sh(f"cat {data}/f; true").stdout, "", "a place elsewhere is not seen")
    done = sh(f"cat {data}/f {data}/sub/g; cat {data}/.env {data}/id_rsa; echo x > {data}/n || echo refused", "--mount", data)
    tap.ok(done.stdout.startswith("plain\ndeep\n") and "refused" in done.stdout, "--mount: seen, and read-only", done.stdout + done.stderr)
    tap.ok("secret-4711" not in done.stdout, "secrets in it are hidden like those of a workspace", done.stdout)
    tap.eq(start_entry().get("mounts"), [data], "the record names it")
    done = home.run("python3", "-c", f"import socket; print(socket.socket(socket.AF_UNIX).connect_ex('{data}/s.sock') != 0)", flags=("--mount", data))
    tap.eq(done.stdout, "True\n", "a socket of the host in it cannot be reached", done.stderr)
    server.close()
    done = sh(f"echo new > {data}/n && echo more >> {data}/f && rm {data}/sub/g && cat {data}/n {data}/f; ls {data}/sub", "--mount", data + ":overlay")
    tap.eq(done.stdout, "new\nplain\nmore\n", "with :overlay it can be written to", done.stderr)
    tap.eq(sorted(os.listdir(data)), [".env", "f", "id_rsa", "s.sock", "sub"], "and nothing of that reaches the host")
    run = start_entry()["run"]
    left = [n for n in os.listdir(os.path.join(home.state, "runs", run)) if n.startswith("mount")]
    tap.eq(left, [], "nor is it kept")
    done = sh(f"cat {data}/f", "--mount", os.path.join(data, "f"))
    tap.eq(done.stdout, "plain\n", "a single file", done.stderr)
    for place, why in (("/", "everything"), ("/etc", "its own"), ("/proc/1", "its own"), ("/dev", "its own"), ("/tmp", "its own"),
                       (home.state, "hidden"), (os.path.join(home.state, "ledger"), "hidden"), (home.workspace, "workspace"),
                       (home.top, "workspace"), ("relative", "absolute"), ("/no/where", "No such file")):
        if os.path.isabs(place) and place.startswith(home.state):
            os.makedirs(place, exist_ok=True)
        done = home.run("true", flags=("--mount", place))
        tap.ok(done.returncode == 125 and why in done.stderr, f"F10 refused: --mount {place.replace(home.top, 'TOP')}", done.stderr)
    os.makedirs(os.path.join(home.home, ".ssh"), exist_ok=True)
    os.makedirs(os.path.join(home.home, "notes"), exist_ok=True)
    done = home.run("true", flags=("--mount", "~/.ssh"))
    tap.ok(done.returncode == 125 and "--reveal" in done.stderr, "F10 refused: a hidden place of the home", done.stderr)
    os.symlink(home.state, os.path.join(home.top, "link"))
    done = home.run("true", flags=("--mount", os.path.join(home.top, "link")))
    tap.ok(done.returncode == 125 and "hidden" in done.stderr, "F10 refused: the same by a link", done.stderr)


def persist():
    done = sh("echo one > ~/.agent/n; mkdir ~/.agent/d; echo two > ~/.agent/d/m; echo gone > ~/other", "--persist", ".agent", "--agent-id", "a/../b")
    tap.eq((done.returncode, done.stderr), (0, ""), "--persist: a place of the agent's own")
    tap.eq(start_entry().get("persist"), [".agent"], "the record names it")
    done = sh("cat ~/.agent/n ~/.agent/d/m; ls ~/other", "--persist", "~/.agent", "--agent-id", "a/../b")
    tap.eq(done.stdout, "one\ntwo\n", "is there in its next run, and nothing else is", done.stderr)
    tap.eq(sh("ls -A ~/.agent", "--persist", ".agent", "--agent-id", "other").stdout, "", "another agent does not see it")
    tap.ok(not os.path.exists(os.path.join(home.home, ".agent")), "nothing of it is in the home")
    kept = os.listdir(os.path.join(home.state, "agents"))
    tap.ok("b" not in kept and len(kept) == 2, "an agent's name leads nowhere else", kept)
    for place in ("/etc/x", "../x", "a/../b", "", ".", "work/x"):
        done = home.run("true", flags=("--persist", place))
        tap.eq(done.returncode, 125, f"refused: --persist '{place}'", done.stderr)
    home.write_config(CONFIG + f'[filesystem]\npersist = [".agent"]\nmounts = ["{data}"]\n')
    done = sh(f"cat ~/.agent/n {data}/f", "--agent-id", "a/../b")
    tap.eq(done.stdout, "one\nplain\n", "persist and mounts in the rule file", done.stderr)
    home.write_config(CONFIG)


def devices():
    for name in ("/dev/loop0", "/dev/tty", "/dev/ptmx", "/dev/null/..", "/etc/passwd", "nosuch", "/dev/nosuch"):
        done = home.run("true", flags=("--device", name))
        tap.ok(done.returncode == 125 and done.stderr.startswith("gvm: "), f"refused: --device {name}", done.stderr)
    there = [n for n in ("/dev/kvm", "/dev/hwrng", "/dev/cpu_dma_latency", "/dev/ttyS0", "/dev/hpet")
             if os.path.exists(n) and stat.S_ISCHR(os.stat(n).st_mode)]
    found = [n for n in there if os.access(n, os.R_OK) or os.access(n, os.W_OK)]
    for name in [n for n in there if n not in found][:1]:
        done = home.run("true", flags=("--device", name))
        tap.ok(done.returncode == 125 and "may not use" in done.stderr, "a device that the user may not use is no way in", done.stderr)
    if not found:  # an ordinary user seldom has one; root's turn shows the rest
        return
    name = found[0]
    tap.ok(not sh(f"test -c {name} && echo there").stdout, "a device is not there")
    done = sh(f"test -c {name} && echo there; rm {name} || echo fixed", "--device", "kvm" if name == "/dev/kvm" else name)
    tap.eq(done.stdout, "there\nfixed\n", "--device lets it in", done.stderr)
    tap.eq(start_entry().get("devices"), ["kvm" if name == "/dev/kvm" else name], "the record names it")
    home.write_config(CONFIG + f'[sandbox]\ndevices = ["{name}"]\n')
    tap.eq(sh(f"test -c {name} && echo there").stdout, "there\n", "devices in the rule file")
    home.write_config(CONFIG)


def grace():
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)\n"
    home.write("stubborn.py", stubborn)

    def ends_after(*flags):
        gvm = home.start("run", *flags, "--", "python3", "stubborn.py")
        gvm.stdout.readline()
        began = time.monotonic()
        gvm.send_signal(signal.SIGTERM)
        gvm.wait(30)
        return time.monotonic() - began, gvm.returncode
    short, code = ends_after("--grace", "300ms")
    tap.eq(code, 137, "--grace: an agent that will not end is killed")
    longer, _ = ends_after("--grace", "2500ms")
    tap.ok(longer > short + 1, "after the time that was given", (short, longer))
    home.write_config(CONFIG + '[sandbox]\ngrace = "300ms"\n')
    configured, _ = ends_after()
    tap.ok(configured < longer, "grace in the rule file", configured)
    home.write_config(CONFIG)
    tap.eq(home.gvm("run", "--grace", "x", "true").returncode, 2, "a slip in it is told")


mounts()
persist()
devices()
grace()
home.close()
shutil.rmtree(home.top, ignore_errors=True)
tap.done()
