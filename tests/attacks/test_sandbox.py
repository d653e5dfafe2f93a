"""The sandbox attacked from inside, and its setup from outside. Rows of the attack catalogue: T-V01 to
T-V15, T-N01 to T-N07, T-N10, T-N17, T-N19, T-N20, T-N22, K1, K3 to K8, K10, K11, C8. Every refusal stands
beside the ordinary thing that must work, so that a sandbox that does not start cannot pass."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

for number in (signal.SIGINT, signal.SIGHUP):  # ignored when this was started in the background
    signal.signal(number, signal.SIG_DFL)
tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')
ROOT = os.getuid() == 0
MARK = "secret-marker-4711"
# Our programs run inside by an AddressSanitizer build: its leak check needs ptrace, which nobody has there.
NO_LEAK_CHECK = "ASAN_OPTIONS=detect_leaks=0"


def sh(script, flags=(), env=None, timeout=60):
    return home.run("sh", "-c", script, flags=flags, env=env, timeout=timeout)


def python(code, flags=(), timeout=60):
    """Runs a program inside that prints one JSON value; returns that value."""
    done = home.python("import json\n" + code, flags=flags, timeout=timeout)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        tap.ok(False, "a probe ran", done.stdout + done.stderr)
        return {}


def plant():
    """What the owner has and the agent must not see."""
    for name in (".ssh/id_ed25519", ".netrc", ".git-credentials", ".kube/config", ".docker/config.json",
                 ".aws/credentials", ".config/gh/hosts.yml", ".bash_history", ".npmrc", ".gnupg/x"):
        path = os.path.join(home.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(MARK)
    with open(os.path.join(home.home, ".gitconfig"), "w") as f:
        f.write("[user]\n\tname = Owner\n")
    for name in (".env", ".env.local", "sub/deep/.env", "server.pem", "private.key", "id_rsa",
                 "credentials.json", "secrets.toml", "gvm.toml", ".npmrc"):
        home.write(name, "_authToken=" + MARK)
    home.write("public.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    home.write(".env.example", "KEY=\n")
    home.write("id_generator.py", "x = 1\n")


# ---- what the kernel must refuse ----

def kernel_probes():
    """gvm selftest makes its own sandbox; here its rows are compared with what they must be, and its probes are
    shown to see what is there when nothing hides it."""
    done = home.gvm("selftest", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    tap.ok(done.returncode == 0 and len(rows) > 130, "gvm selftest ran and everything held", done.stdout[-2000:] + done.stderr)
    for row in rows:
        tap.ok(row["held"] is True, f"selftest: {row['rows']} {row['what']}: {row['must']}", row)
    named = " ".join(r["rows"] for r in rows).split()
    for case in ("K1 K2 K3 K4 K5 K6 K7 K8 K9 K10 K11 K12 F2 F3 F4 F11 F12 T-V01 T-V02 T-V03 T-V05 T-V07 T-V08 T-V10 T-V11 T-V12 T-V13 T-V14 T-E1 T-E2 T-E3"
                 " T-E4 T-E5 T-N01 T-N02 T-N03 T-N04 T-N05 T-N07 T-N09 T-N10 T-N11").split():
        tap.ok(case in named, f"selftest covers {case}")
    got = home.gvm("selftest", "--all").stdout
    tap.ok(got.count("\nheld ") + got.startswith("held") == len(rows) and "0 did not" in got, "as a table too", got[-500:])
    tap.eq([n for n in os.listdir(home.state) if n.startswith("selftest")], [], "it leaves nothing behind")

    # The probes would do on the host what they say, so they run in a sandbox only ...
    words = ("selftest", "--inside", home.home, home.workspace, MARK[:9], MARK[9:], "none", "none", "999999")
    done = home.gvm(*words)
    tap.ok(done.returncode == 2 and not done.stdout, "outside a sandbox the probes refuse to run", done.stdout + done.stderr)
    # ... and see what is there when nothing hides it.
    places = (".ssh", ".netrc", ".kube", ".env", "id_rsa", "credentials.json")
    flags = [word for place in places for word in ("--reveal", place)] + ["--env", "GVM_ATTACK_MARK"]
    shown = home.gvm("run", *flags, "--", os.path.join(gvmtest.BIN, "gvm"), *words)
    codes = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    index = {r["what"]: str(n) for n, r in enumerate(rows)}
    for what in ("~/.ssh", "~/.netrc", "~/.kube", "values of the workspace's .env", "an ssh key in the workspace",
                 "credentials.json", "the caller's variables", "the caller's variables in /proc"):
        tap.eq(codes.get(index.get(what)), "0", f"the probe sees what is revealed: {what}", shown.stdout[-300:] + shown.stderr)


def abstract_socket_and_signals():
    server = socket.socket(socket.AF_UNIX)

    def bound():
        try:
            server.bind("\0gvm-attack-test")
            return True
        except OSError:
            return False  # the same script runs as another user just now
    gvmtest.wait_for(bound, 120)
    server.listen()
    server.settimeout(0.2)
    victim = subprocess.Popen(["sleep", "60"])
    got = python(f"""
import os, socket
out = {{}}
s = socket.socket(socket.AF_UNIX)
out["abstract"] = s.connect_ex("\\0gvm-attack-test")
try:
    os.kill({victim.pid}, 9)
    out["kill"] = 0
except OSError as e:
    out["kill"] = e.errno
s.bind("\\0own")
s.listen()
out["own"] = socket.socket(socket.AF_UNIX).connect_ex("\\0own")
print(json.dumps(out))""")
    tap.ok(got.get("abstract") and got.get("kill"), "abstract sockets and processes of the host: out of reach", got)
    tap.ok(got.get("own") == 0 and victim.poll() is None, "its own abstract socket works; the victim lives", got)
    victim.kill()
    victim.wait()
    server.close()


def ipc_of_host():
    made = subprocess.run(["ipcmk", "-M", "64"], capture_output=True, text=True)
    match = re.search(r"\d+", made.stdout)
    inside = sh("ipcs -m | grep -c '^0x' || true")
    tap.eq(inside.stdout.strip(), "0", "no shared memory of the host", made.stdout + inside.stdout)
    if match:
        subprocess.run(["ipcrm", "-m", match.group()])
    name = f"/dev/shm/gvm-attack-{os.getpid()}"
    with open(name, "w") as f:
        f.write(MARK)
    tap.ok(MARK not in sh("cat /dev/shm/* 2>&1; echo own > /dev/shm/x && cat /dev/shm/x").stdout,
           "/dev/shm is the sandbox's own")
    os.unlink(name)


# ---- files ----

def files():
    got = sh("cat /etc/shadow; cat /etc/sudoers; cat /etc/gshadow; ls /etc/ssl/private; cat /workspace/../../../etc/crontab;"
             "cat /etc/crontab")
    tap.ok("root:" not in got.stdout and not got.stdout.strip(), "T-V01 T-V08 secrets of /etc", got.stdout)
    tap.ok("root:" in sh("cat /etc/passwd").stdout, "/etc/passwd can be read")
    got = sh("ls -A ~/.ssh ~/.aws ~/.kube ~/.docker ~/.gnupg ~/.config/gh; cat ~/.netrc ~/.git-credentials ~/.bash_history"
             " ~/.npmrc")
    tap.eq(got.stdout.strip(), "", "T-V02 T-N11 secret places of the home")
    tap.ok("Owner" in sh("cat ~/.gitconfig").stdout, "the rest of the home is there")
    got = sh("grep -rs %s . ~ ; ls -A . sub/deep" % MARK)
    tap.ok(MARK not in got.stdout, "T-N09 K1 secrets in workspace and home are hidden", got.stdout)
    for name in ("public.pem", ".env.example", "id_generator.py"):
        tap.ok(name in got.stdout, f"{name} is no secret and stays", got.stdout)
    got = sh("cat .env; cat sub/deep/.env; [ -e server.pem ] || echo no key")
    lines = got.stdout.split()
    tap.ok(len(lines) == 4 and all(re.fullmatch(r"_authToken=gvm-ph-[0-9a-f]{24}", line) for line in lines[:2])
           and lines[0] != lines[1], "settings are shown with placeholders for values", got.stdout)
    tap.eq(sh("cat .env").stdout, lines[0] + "\n" if lines else "", "the same ones in the next run")
    done = sh("echo MORE=2 >> .env")
    run = json.loads(home.gvm("runs", "--json").stdout.splitlines()[-1])["id"]
    got = home.gvm("commit", run, "--all", "--yes")
    with open(os.path.join(home.workspace, ".env")) as f:
        text = f.read()
    tap.ok(MARK in text and "gvm-ph-" not in text, "placeholders never replace the owner's values",
           done.stderr + got.stdout + got.stderr)
    tap.ok("placeholders" in home.gvm("diff", run).stdout + done.stderr + got.stderr, "and it is said why",
           done.stderr + got.stdout + got.stderr)
    got = sh("rm .env; echo A=1 > .env && cat .env; mkdir ~/.ssh && echo k > ~/.ssh/known_hosts && ls ~/.ssh")
    tap.ok(got.stdout.split() == ["A=1", "known_hosts"], "an agent may make its own files of those names", got.stdout
           + got.stderr)
    with open(os.path.join(home.workspace, ".env")) as f:
        tap.ok(MARK in f.read(), "and the owner's stay as they are")
    got = sh("touch /usr/bin/x /bin/x /etc/x /opt/x /x /lib/x /proc/x /dev/x /sys/x; echo done")
    tap.ok(got.stdout.strip() == "done" and got.stderr.count("cannot touch") >= 8, "T-V07 nothing of the host is writable",
           got.stderr)
    got = sh("touch /tmp/a /run/a /dev/shm/a ~/a ./a && echo yes")
    tap.eq(got.stdout.strip(), "yes", "its own places are writable", got.stderr)
    tap.ok(not os.path.exists(os.path.join(home.home, "a")), "the home's changes stay aside")


def own_places():
    os.unlink(os.path.join(home.workspace, "gvm.toml"))
    got = sh(f"ls -A {home.state} {home.runtime} 2>&1; cat {home.config} 2>&1; mount; cat /proc/self/mountinfo")
    tap.ok("upper" not in got.stdout.split("overlay")[0] and "closed" not in got.stdout and "gvmd.sock" not in got.stdout
           and home.state not in got.stdout.replace(f"'{home.state}'", ""),
           "C11 state, runtime and rules of GVM are not there", got.stdout)


def proc():
    got = python("""
import os
out = {"write": [], "read": []}
for p in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
          "/proc/sys/net/ipv4/ip_forward", "/proc/1/oom_score_adj", "/proc/sys/kernel/pid_max", "/proc/self/uid_map"):
    try:
        os.close(os.open(p, os.O_WRONLY)); out["write"].append(p)
    except OSError:
        pass
for p in ("/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/kmsg", "/proc/timer_list", "/proc/1/environ", "/proc/1/mem",
          "/proc/1/maps", "/proc/kallsyms", "/proc/sysrq-trigger", "/dev/mem", "/dev/kmsg", "/dev/port"):
    try:
        with open(p, "rb") as f:
            f.read(1)
        out["read"].append(p)
    except OSError:
        pass
for p in ("/proc/1/fd/%d" % n for n in range(5)):
    try:
        os.readlink(p); out["read"].append(p)
    except OSError:
        pass
for p in ("/proc/1/root", "/proc/1/cwd"):
    try:
        out[p] = os.listdir(p)
    except OSError as e:
        out[p] = e.errno
out["cpuinfo"] = len(open("/proc/cpuinfo").read()) > 0
out["pids"] = [p for p in os.listdir("/proc") if p.isdigit()]
print(json.dumps(out))""")
    tap.eq(got.get("write"), [], "T-N01 no switch of the kernel can be opened")
    tap.eq(got.get("read"), [], "T-N01 T-E2 K8 kernel memory, keys and the init cannot be read")
    tap.ok(got.get("/proc/1/root") in (1, 2, 13) and got.get("/proc/1/cwd") in (1, 2, 13), "T-V14 /proc/1/root is closed", got)
    tap.ok(got.get("cpuinfo") and len(got.get("pids", [])) <= 3, "/proc works and has only own processes", got)


def no_marker_in_proc():
    got = home.python("""
import os
mark = ("secret-" + "marker-4711").encode()
for top, dirs, names in os.walk("/proc"):
    dirs[:] = [d for d in dirs if d not in ("task", "map_files")]
    for n in names:
        p = os.path.join(top, n)
        if n in ("mem", "kmsg", "clear_refs", "pagemap", "sysrq-trigger"): continue
        try:
            fd = os.open(p, os.O_RDONLY | os.O_NONBLOCK)
            if mark in os.read(fd, 1 << 20): print("FOUND", p)
            os.close(fd)
        except OSError: pass
print("end")""", timeout=120)
    tap.ok("end" in got.stdout and "FOUND" not in got.stdout, "K8 the host's environment is in no file of /proc",
           got.stdout + got.stderr)


def environment():
    done = home.gvm("run", "--", "env", env={"AWS_SECRET_ACCESS_KEY": MARK, "GITHUB_TOKEN": MARK, "LD_PRELOAD": "",
                                             "NODE_OPTIONS": "--no-warnings", "BASH_ENV": "/x", "LC_TIME": "C",
                                             "SSH_AUTH_SOCK": "/tmp/agent", "HTTPS_PROXY": "http://x:1"})
    names = {line.split("=")[0] for line in done.stdout.splitlines()}
    bad = names & {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "LD_PRELOAD", "NODE_OPTIONS", "BASH_ENV", "SSH_AUTH_SOCK",
                   "HTTPS_PROXY", "GVM_STATE_DIR", "GVM_CONFIG", "GVM_RUNTIME_DIR"}
    tap.ok(not bad and MARK not in done.stdout, "T-N10 the environment is an allow-list", done.stdout + done.stderr)
    tap.ok({"PATH", "HOME", "LC_TIME", "GVM_RUN_ID", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} <= names,
           "what programs need is there", done.stdout)
    done = home.gvm("run", "--env", "PASSED", "--env", "B=2", "--", "sh", "-c", "echo $PASSED$B", env={"PASSED": "1"})
    tap.eq(done.stdout.strip(), "12", "--env passes what is named")


def privileges():
    got = sh("cat /proc/self/status; id -u; cat /proc/self/uid_map; cat /proc/1/status")
    zero = re.findall(r"^Cap\w+:\t(\w+)", got.stdout, re.M)
    tap.ok(len(zero) == 10 and set(zero) == {"0" * 16}, "T-N03 T-E1 no capability in any set, init included", got.stdout)
    tap.ok(got.stdout.count("NoNewPrivs:\t1") == 2 and got.stdout.count("Seccomp:\t2") == 2,
           "no_new_privs and seccomp, init included", got.stdout)
    tap.ok(re.search(rf"^\s+{os.getuid()}\s+{os.getuid()}\s+1$", got.stdout, re.M), "own uid and no other", got.stdout)


def sockets_of_host():
    places = [os.path.join(home.workspace, "host.sock"), os.path.join(home.home, "host.sock"),
              os.path.join(home.workspace, "sub", "host.sock"), os.path.join(home.top, "out.sock"),
              os.path.join(home.runtime, "gvmd.sock")]
    servers = []
    for path in places[:4]:
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        server.settimeout(0.3)
        servers.append(server)
    late = os.path.join(home.workspace, "late.sock")
    got = {}
    thread = threading.Thread(target=lambda: got.update(python(f"""
import socket, time, os
time.sleep(0.7)
out = {{}}
for p in {places + [late, "/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"]!r}:
    for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        out[p + str(int(t))] = socket.socket(socket.AF_UNIX, t).connect_ex(p)
s = socket.socket(socket.AF_UNIX); s.bind("own.sock"); s.listen()
out["own"] = socket.socket(socket.AF_UNIX).connect_ex("own.sock")
print(json.dumps(out))""")))
    thread.start()
    time.sleep(0.35)
    server = socket.socket(socket.AF_UNIX)
    server.bind(late)
    server.listen()
    server.settimeout(0.3)
    servers.append(server)
    thread.join()
    own = got.pop("own", None)
    tap.ok(len(got) == 18 and all(got.values()), "K1 no socket file of the host can be connected, late ones neither", got)
    tap.eq(own, 0, "its own socket file works")
    touched = 0
    for server in servers:
        try:
            server.accept()
            touched += 1
        except OSError:
            pass
        server.close()
    tap.eq(touched, 0, "and nobody outside was reached")
    for path in places[:4] + [late]:
        os.unlink(path)


# ---- terminal ----

def terminal():
    got = sh("[ -t 0 ] && echo tty; (exec 3<>/dev/tty && echo opened); readlink /proc/self/fd/0")
    tap.eq(got.stdout.split(), ["/dev/null"], "T-N04 without a terminal: stdin is /dev/null, no controlling terminal",
           got.stdout + got.stderr)
    code = r"""
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "run", "--", "python3", "-c",
        "import fcntl,os,sys\nprint('TTY', os.ttyname(0))\n"
        "try:\n fcntl.ioctl(0, 0x5412, b'x'); print('INJECTED')\nexcept OSError as e: print('TIOCSTI', e.errno)\n"
        "print('SAW', sys.stdin.readline().strip())\nimport time; time.sleep(30)"])
out, sent = b"", False
end = time.time() + 15
while time.time() < end:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    out += piece
    if b"TIOCSTI" in out and not sent:
        os.write(fd, b"typed\r"); sent = True
    if b"SAW typed" in out and sent is True:
        os.write(fd, b"\x03"); sent = "all"
_, status = os.waitpid(pid, 0)
sys.stdout.write(out.decode() + "EXIT %d\n" % os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", code, os.path.join(gvmtest.BIN, "gvm")], env=home.env, cwd=home.workspace,
                          capture_output=True, text=True, timeout=40)
    tap.ok("TTY /dev/pts/0" in done.stdout and "SAW typed" in done.stdout, "a terminal of its own, keys arrive", done.stdout
           + done.stderr)
    tap.ok("TIOCSTI 1" in done.stdout and "INJECTED" not in done.stdout, "T-N04 K12 nothing can be typed for others", done.stdout)
    tap.ok("KeyboardInterrupt" in done.stdout and re.search("EXIT (130|1)\\b", done.stdout), "Ctrl-C reaches the agent", done.stdout)


# ---- network ----

def network():
    echo = gvmtest.Echo()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(0.3)
    got = python(f"""
import os, socket, time, urllib.request, urllib.error
out = {{}}
def udp(ip, port, data=b"x" * 20, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(2); began = time.time()
    try:
        s.sendto(data, (ip, port)); r = s.recv(500).hex()
    except OSError as e:
        r = e.errno or str(e)
    return [r, time.time() - began]
out["quic"] = udp("142.250.1.1", 443); out["quic6"] = udp("2606:4700::1111", 443, family=socket.AF_INET6)
out["ntp"] = udp("162.159.200.1", 123); out["host udp"] = udp("127.0.0.1", {udp.getsockname()[1]})
q = bytes.fromhex("abcd01000001000000000000") + b"\\x07example\\x03com\\x00" + bytes.fromhex("00010001")
for name, ip, fam in (("8.8.8.8", "8.8.8.8", socket.AF_INET), ("v6", "2001:4860:4860::8888", socket.AF_INET6),
                      ("loop", "127.0.0.1", socket.AF_INET)):
    out["dns " + name] = udp(ip, 53, q, fam)
def tcp(ip, port, data=b""):
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET); s.settimeout(3)
    try:
        s.connect((ip, port)); s.sendall(data); return s.recv(200).decode("latin-1")
    except OSError as e:
        return str(e)
out["dot"] = tcp("1.1.1.1", 853, b"\\x16\\x03\\x01\\x00\\x05hello"); out["ssh"] = tcp("10.0.0.1", 22, b"SSH-2.0-x\\r\\n")
out["host tcp"] = tcp("127.0.0.1", {echo.port}, b"GET / HTTP/1.0\\r\\n\\r\\n")
out["tcp53"] = tcp("9.9.9.9", 53, len(q).to_bytes(2, "big") + q)
for name, url in (("plain", "http://93.184.216.34/"), ("v6", "http://[2606:2800:220:1::1]/"),
                  ("metadata", "http://169.254.169.254/latest/meta-data/"), ("invalid", "https://x.invalid/"),
                  ("private", "http://192.168.1.1/")):
    try:
        out[name] = urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as e:
        out[name] = e.code
    except OSError as e:
        out[name] = str(e)
out["if"] = [n for _, n in socket.if_nameindex()]
s = socket.socket(); s.bind(("0.0.0.0", 0)); s.listen()
out["own"] = socket.socket().connect_ex(("127.0.0.1", s.getsockname()[1]))
s6 = socket.socket(socket.AF_INET6); s6.bind(("::1", 0)); s6.listen()
out["own6"] = socket.socket(socket.AF_INET6).connect_ex(("::1", s6.getsockname()[1]))
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0)); a.settimeout(1)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"me", a.getsockname()); out["own udp"] = a.recv(9).decode()
print(json.dumps(out))""")
    quick = all(got.get(k, ["", 9])[1] < 0.5 for k in ("quic", "quic6", "ntp"))
    refused = all(isinstance(got.get(k, [""])[0], int) for k in ("quic", "quic6", "ntp"))
    try:
        refused = refused and not udp.recv(100)
    except OSError:
        pass
    tap.ok(quick and refused, "T-N06 T-N07 N16 UDP is refused at once", got)
    tap.ok(all(isinstance(got.get(k, [1])[0], str) and got[k][0].endswith(tuple(["c61201%02x" % i for i in range(256)]))
               for k in ("dns 8.8.8.8", "dns v6", "dns loop")), "T-V15 DNS goes to the sandbox's own resolver wherever it is sent", got)
    tap.ok("HTTP" not in got.get("dot", "HTTP") and "SSH" not in got.get("ssh", "SSH"), "DoT and ssh: no way out", got)
    tap.ok("200" not in got.get("host tcp", "200"), "T-N06 loopback services of the host are out of reach", got)
    for name in ("plain", "v6", "metadata", "invalid", "private"):
        tap.ok(got.get(name) in (403, 421, 502) or isinstance(got.get(name), str), f"T-V04 T-V09 T-N07 HTTP without proxy "
               f"variables is governed: {name}", got.get(name))
    tap.eq(got.get("if"), ["lo"], "T-E3 no device but lo")
    tap.ok(got.get("own") == 0 and got.get("own6") == 0 and got.get("own udp") == "me", "its own servers on loopback work", got)
    tap.eq(len(echo.seen), 0, "nothing reached the host's server")
    udp.close()
    echo.close()


# ---- setup ----

STEPS = ("clone", "ids", "origin", "link", "filter", "listen", "base", "system", "proc", "dev", "tools", "overlay", "trust",
         "etc", "ca", "seal", "privileges", "agent", "limits", "landlock", "seccomp")


def run_dirs():
    return set(os.listdir(os.path.join(home.state, "runs")))


def layers():
    """K14: a missing layer is refused unless it is waived by name, and the waiver is on record."""
    for abi in ("0", "1"):
        done = home.run("true", env={"GVM_TEST_FAIL": "landlock-" + abi})
        tap.ok(done.returncode == 125 and "Landlock" in done.stderr and "--without landlock" in done.stderr,
               f"K14 Landlock ABI {abi}: refused, and it is said what to do", done.stderr)
    done = home.run("echo", "runs", flags=("--without", "landlock"), env={"GVM_TEST_FAIL": "landlock-0"})
    tap.eq(done.stdout, "runs\n", "K14 waived by name it runs", done.stderr)
    tap.eq(home.events("--kind", "run.start")[-1].get("waived"), ["landlock"], "K14 and the waiver is in the ledger")
    done = home.run("true")
    tap.ok("waived" not in home.events("--kind", "run.start")[-1], "without one there is none")
    for abi in "2345":
        done = home.run("sh", "-c", "echo x > a && mkdir -p d && mv a d/b && ln d/b c && truncate -s 0 c && rm -r c d && touch /usr/x || echo ok",
                        env={"GVM_TEST_FAIL": "landlock-" + abi})
        tap.eq(done.stdout, "ok\n", f"Landlock ABI {abi}: files can be worked with, the system not", done.stderr)
    if ROOT:
        done = home.gvm("run", "--pids", "310", "--", "python3", "-c", "import os,signal\nn=0\ntry:\n while n<1000:\n  if os.fork()==0: signal.pause()\n"
                        "  n+=1\nexcept OSError as e: print('errno',e.errno)", env={"GVM_TEST_FAIL": "old-pids"})
        tap.eq(done.stdout, "errno 11\n", "an older kernel bounds root's processes by a control group", done.stderr)
    done = home.run("true", flags=("--without", "seccomp"))
    tap.eq(done.returncode, 2, "what cannot be waived is a usage error", done.stderr)
    done = home.gvm("preflight")
    tap.ok(done.returncode == 0 and "Landlock" in done.stdout and "control group" in done.stdout, "preflight names what is there",
           done.stdout + done.stderr)


def fault_injection():
    before = run_dirs()
    for step in STEPS:
        done = sh("echo RAN", env={"GVM_TEST_FAIL": step})
        tap.ok(done.returncode == 125 and "RAN" not in done.stdout and done.stderr.startswith("gvm: cannot ") and
               done.stderr.count("\n") == 1, f"T-N17 {step} fails: the run is refused with one sentence",
               f"exit {done.returncode}\n{done.stdout}{done.stderr}")
    tap.eq(run_dirs() - before, set(), "and nothing of it is left")
    tap.eq(sh("echo RAN").stdout, "RAN\n", "without a fault it runs")


def exit_codes():
    for script, want in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
        tap.eq(sh(script).returncode, want, f"exit code of '{script}'")
    tap.eq(home.run("no-such-program").returncode, 127, "127 when there is no such command")
    home.write("plain.txt", "text", 0o644)
    tap.eq(home.run("./plain.txt").returncode, 126, "126 when it cannot be executed")
    began = time.monotonic()
    tap.eq(home.run("sleep", "60", flags=("--timeout", "1")).returncode, 124, "124 when time is up")
    tap.ok(time.monotonic() - began < 8, "and in time")
    tap.eq(home.gvm("run", "--cooperative", "--", "true").returncode, 2, "cooperative mode is refused as usage")
    tap.eq(home.gvm("run").returncode, 2, "no command is a usage error")
    home.write("hello.py", "import sys; print('args', sys.argv[1:])")
    tap.eq(home.gvm("run", "hello.py", "--flag").stdout, "args ['--flag']\n", "T-N24 a script with its arguments")


def nested():
    shutil.copy(os.path.join(gvmtest.BIN, "gvm"), os.path.join(home.workspace, "gvm-copy"))
    done = sh(f"{NO_LEAK_CHECK} ./gvm-copy run -- true; echo code $?")
    tap.ok("code 125" in done.stdout and "inside one already" in done.stderr, "C8 no sandbox in a sandbox, and it says why",
           done.stdout + done.stderr)


# ---- death ----

def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def net_namespaces():
    seen = set()
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                seen.add(os.readlink(f"/proc/{pid}/ns/net"))
            except OSError:
                pass
    return seen


def descendants(pid):
    found = []
    for child in children_of(pid):
        found += [child] + descendants(child)
    return found


def start_sleeper(env=None):
    process = home.start("run", "--sandbox", "--", "sh", "-c", "echo kept > kept.md; setsid sleep 300 & sleep 300", env=env)

    def up():
        try:
            all_of = descendants(process.pid)
        except OSError:
            return None
        return all_of if len(all_of) >= 4 else None
    return process, gvmtest.wait_for(up, 15) or []


def gone(pids, spaces):
    return gvmtest.wait_for(lambda: not any(gvmtest.alive(p) for p in pids) and net_namespaces() <= spaces, 8)


def deaths():
    sh("true")
    with open("/proc/mounts") as f:
        mounts = f.read()
    for who in ("launcher", "init", "agent"):
        spaces = net_namespaces()
        process, tree = start_sleeper()
        tap.ok(len(tree) >= 4, "a sandbox with processes in the background lives", tree)
        victim = {"launcher": process.pid, "init": (tree or [0])[0], "agent": (tree or [0, 0])[1]}[who]
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=20)
        tap.ok(gone(tree, spaces), f"kill -9 of the {who}: no process and no namespace is left", tree)
        if who != "launcher":
            tap.eq(process.returncode, 137, f"kill -9 of the {who} gives 137", err.decode())
    before = run_dirs()
    process, tree = start_sleeper(env={"GVM_TEST_FAIL": "late-word"})
    os.kill(tree[0], signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    tap.eq(process.returncode, 137, "kill -9 of the init before it said that the agent runs is no failed setup", err.decode())
    new = (run_dirs() - before or {"none"}).pop()
    tap.ok(os.path.exists(os.path.join(home.state, "runs", new, "upper", "kept.md")) or os.path.exists(os.path.join(home.workspace, "kept.md")),
           "and what the agent wrote is kept", err.decode())
    with open("/proc/mounts") as f:
        tap.eq(f.read(), mounts, "no mount is left on the host")
    newest = max(run_dirs())
    tap.ok(os.path.isdir(os.path.join(home.state, "runs", newest)), "T-N20 the run's directory is there")
    tap.eq(sh("true").returncode, 0, "and the next run works")


def killed_launcher_keeps_files():
    before = run_dirs()
    process, tree = start_sleeper()
    newest = max(run_dirs() - before)
    process.kill()
    process.communicate()
    gvmtest.wait_for(lambda: not any(gvmtest.alive(p) for p in tree), 5)
    path = os.path.join(home.state, "runs", newest, "upper", "kept.md")
    tap.ok(os.path.exists(path) and open(path).read() == "kept\n", "T-N20 what was written survives kill -9 of the launcher")


def signals():
    for sig, name in ((signal.SIGTERM, "TERM"), (signal.SIGINT, "INT"), (signal.SIGHUP, "HUP")):
        process = home.start("run", "--", "sh", "-c", f"trap 'echo got {name}; exit 42' {name}; echo up; "
                             "setsid sleep 300 & while :; do sleep 0.05; done")
        process.stdout.readline()
        tree = descendants(process.pid)
        process.send_signal(sig)
        out, err = process.communicate(timeout=15)
        tap.ok(process.returncode == 42 and f"got {name}" in out.decode(), f"T-N19 SIG{name} reaches the agent",
               f"{process.returncode} {out} {err}")
        tap.ok(gvmtest.wait_for(lambda: not any(gvmtest.alive(p) for p in tree), 5), "and its descendants end with it", tree)


def ordinary_work():
    got = sh("git init -q . 2>&1 && git -c user.name=a -c user.email=b@c commit -q --allow-empty -m x && git log --oneline | wc -l")
    tap.eq(got.stdout.strip(), "1", "T-N18 git works", got.stdout + got.stderr)
    got = python("""
import multiprocessing, sqlite3, subprocess, tempfile, os
def f(x): return x * x
with multiprocessing.Pool(3) as p: out = p.map(f, range(5))
db = sqlite3.connect("t.db"); db.execute("pragma journal_mode=wal"); db.execute("create table t(a)"); db.commit()
subprocess.run(["tar", "cf", "/tmp/x.tar", "t.db"], check=True)
os.rename("t.db", "t2.db")
print(json.dumps(out))""")
    tap.eq(got, [0, 1, 4, 9, 16], "T-N18 multiprocessing, SQLite, tar and rename work")
    got = sh("iptables -F || nft flush ruleset || ip link set lo down || insmod /dev/null; echo $?")
    tap.ok(got.stdout.strip() != "0", "T-V06 T-V13 no rule can be flushed, no module loaded", got.stdout)


def limits():
    got = python("""
import os, resource
out = {"core": resource.getrlimit(resource.RLIMIT_CORE)[1], "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1]}
pids = []
try:
    while len(pids) < 1000:
        p = os.fork()
        if p == 0:
            import signal; signal.pause()
        pids.append(p)
    out["forks"] = "unbounded"
except OSError as e:
    out["forks"] = e.errno
print(json.dumps(out))""", flags=("--pids", "310"))
    tap.ok(got.get("core") == 0 and got.get("files", 9e9) <= 4096, "T-N08 no core files, bounded descriptors", got)
    tap.eq(got.get("forks"), 11, "T-N08 a fork bomb is bounded")
    # Writes until a write fails, deletes half, writes again.
    done = home.python("""
import os, time
n, code = 0, 0
while n < 200 and not code:
    try:
        with open("big%d" % n, "wb") as f: f.write(b"x" * 1000000)
        n += 1
        time.sleep(0.05)
    except OSError as e: code = e.errno
for i in range(n // 2): os.unlink("big%d" % i)
again = False
for _ in range(100):
    try:
        with open("again", "wb") as f: f.write(b"x" * 1000)
        again = True
        break
    except OSError: time.sleep(0.1)
print(n, code, again)
""", flags=("--disk", "20M"))
    got = done.stdout.split()
    tap.ok(len(got) == 3 and int(got[0]) < 60 and got[1:] == ["27", "True"] and done.returncode == 0,
           "T-L55 T-N08 past --disk writes fail, the agent lives, and can go on when it has deleted something", done.stdout + done.stderr)
    done = home.python("""
import resource, time
for i in range(300):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    try:
        with open("more%d" % i, "wb") as f: f.write(b"x" * 1000000)
    except OSError: pass
    time.sleep(0.03)
print("still")
""", flags=("--disk", "10M"))
    tap.ok("still" not in done.stdout and done.returncode == 137 and "was ended" in done.stderr,
           "T-N08 who raises its own limit again and goes on is ended", done.stdout + done.stderr)
    done = sh("head -c 40000000 /dev/zero > huge; ls -s --block-size=1 huge; rm huge", flags=("--disk", "20M"))
    tap.ok(int((done.stdout.split() or ["99999999"])[0]) <= 21000000, "and so is a single file", done.stdout + done.stderr)
    log = os.path.join(home.top, "owners.log")
    with open(log, "w") as f:
        f.write("what stood there\n")
    with open(log, "a") as f:
        code = "import os; print(os.path.exists('/proc/self/fd/1'), flush=True)\ntry: os.ftruncate(1, 0)\nexcept OSError: print('no')"
        gvm = home.start("run", "--", "python3", "-c", code, stdout=f, stderr=f)
        gvm.wait(60)
    with open(log) as f:
        tap.eq(f.read(), "what stood there\nTrue\nno\n", "a file the output goes to is added to, and never cut")
    with open("/proc/sys/kernel/pid_max") as f:
        tap.ok(int(f.read()) > 4096, "the host's own limit is as it was")
    hog = """
import os, sys, time
for i in range(int(sys.argv[2]) - 1):
    if os.fork() == 0: break
x = bytearray(int(sys.argv[1]) << 20)
for i in range(0, len(x), 4096): x[i] = 1
print("got", flush=True)
time.sleep(2)
"""
    done = home.python(hog, "60", "2", flags=("--memory", "200M"))
    tap.ok(done.returncode == 0 and done.stdout.count("got") == 2, "K13 what fits into --memory runs", done.stdout + done.stderr)
    done = home.python(hog, "400", "1", flags=("--memory", "100M"))
    tap.ok(done.returncode != 0 and "got" not in done.stdout, "K13 one process cannot take more", done.stdout + done.stderr)
    done = home.python(hog, "70", "3", flags=("--memory", "100M"))
    # The kernel ends one of them; without control groups a watcher ends the agent, when the third may have its share.
    tap.ok("--memory" in done.stderr and (done.stdout.count("got") < 3 or done.returncode != 0), "K13 T-O1 several together cannot either, and it is said why",
           done.stdout + done.stderr)
    spin = """
import os, time
end = time.time() + 1.5
while time.time() < end: pass
print(json.dumps({"cpu": time.process_time(), "have": len(os.sched_getaffinity(0))}))"""
    if ROOT:
        got = python(spin, flags=("--cpus", "0.25"))
        tap.ok(got.get("cpu", 9) < 1.0, "K13 --cpus holds a busy process back", got)
    else:
        done = home.run("true", flags=("--cpus", "0.25"))
        tap.ok(done.returncode == 125 and "--cpus" in done.stderr, "K14 a limit that cannot be honoured stops the run", done.stderr)
        got = python("""
import os
out = {"have": len(os.sched_getaffinity(0))}
try: os.sched_setaffinity(0, range(64)); out["widened"] = True
except OSError as e: out["errno"] = e.errno
print(json.dumps(out))""", flags=("--cpus", "1"))
        tap.eq(got, {"have": 1, "errno": 1}, "K13 --cpus 1 is one processor, and no way to more")
    left = ROOT and [top for top, dirs, _ in os.walk("/sys/fs/cgroup") if os.path.basename(top).startswith("gvm-" + "20")
            and not open(os.path.join(top, "cgroup.procs")).read()]
    tap.ok(not left, "no control group is left behind", left)


os.environ["GVM_ATTACK_MARK"] = MARK
home.env["GVM_ATTACK_MARK"] = MARK
plant()
tap.eq(sh("echo hello").stdout, "hello\n", "T-N22 a sandbox works for uid %d" % os.getuid(), home.log())
for part in (kernel_probes, abstract_socket_and_signals, ipc_of_host, files, own_places, proc, no_marker_in_proc, environment,
             privileges, sockets_of_host, terminal, network, exit_codes, nested, ordinary_work, limits, signals, deaths,
             killed_launcher_keeps_files, layers, fault_injection):
    part()
tap.eq(home.gvm("audit", "verify").returncode, 0, "the record of all this verifies")
tap.done()
