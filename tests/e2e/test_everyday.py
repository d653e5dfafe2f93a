"""Everyday work inside a sandbox, each with the real programs: version control, interpreters, compilers, build tools,
databases, terminals. T-N18, and what people do without thinking."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

for number in (signal.SIGINT, signal.SIGHUP):  # ignored when this was started in the background
    signal.signal(number, signal.SIG_DFL)
tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')
GVM = os.path.join(gvmtest.BIN, "gvm")


def works(name, script, want, needs=(), flags=()):
    """A shell script whose last line of output must be `want`."""
    for program in needs:
        if not shutil.which(program, path=home.env["PATH"]):
            tap.ok(os.environ.get("GVM_MUST_WORK") != "1", f"{program} is there for: {name}")
            return
    done = home.run("sh", "-ec", script, flags=flags, timeout=120)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    tap.ok(re.fullmatch(want, last) and done.returncode == 0, name,
           f"exit {done.returncode}, last line {last!r}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")


def programs():
    works("git: init, commit, branch, merge, stash, gc, worktree", """
mkdir r && cd r && git init -q . && git config user.name n && git config user.email a@b
echo one > f && git add f && git commit -qm one && git checkout -qb b && echo two >> f && git commit -qam two
git checkout -q - && git merge -q b && echo three >> f && git stash -q && git stash pop -q && git commit -qam three
git gc -q && git worktree add -q ../w2 b && cd ../w2 && git status --short && git log --oneline | wc -l""", "2", ["git"])
    works("Python: a virtual environment, processes, SQLite, a socket of its own", """
python3 -m venv --without-pip v && . v/bin/activate && python - <<'P'
import multiprocessing, socket, sqlite3, sys, threading
def double(x): return 2 * x
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]
    db = sqlite3.connect("x.db"); db.execute("pragma journal_mode=wal"); db.execute("create table t(a)"); db.commit()
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept()[0].sendall(b"ok")).start()
    print(sys.prefix.endswith("/v"), socket.create_connection(server.getsockname()).recv(9).decode())
P""", "True ok", ["python3"])
    works("Node: workers, child processes, npm scripts", """
mkdir n && cd n && cat > package.json <<'J'
{"name":"n","version":"1.0.0","scripts":{"go":"node m.js"}}
J
cat > m.js <<'J'
const {Worker, isMainThread, parentPort} = require("worker_threads");
if (!isMainThread) { parentPort.postMessage(6 * 7); } else {
  const w = new Worker(__filename);
  w.on("message", v => { console.log(require("child_process").execSync("echo " + v).toString().trim()); });
}
J
if command -v npm > /dev/null; then npm run --silent go; else node m.js; fi""", "42", ["node"])
    works("gcc: a library, a program, make", """
mkdir c && cd c && echo 'int f(void){return 5;}' > l.c && echo 'int f(void); int main(void){return f();}' > m.c
printf 'm: m.c l.so\\n\\tgcc -o m m.c ./l.so\\nl.so: l.c\\n\\tgcc -shared -fPIC -o l.so l.c\\n' > Makefile
if command -v make > /dev/null; then make -s; else gcc -shared -fPIC -o l.so l.c && gcc -o m m.c ./l.so; fi; ./m || echo $?""", "5", ["gcc"])
    works("Go: build", """
mkdir g && cd g && export GOCACHE=/tmp/gc && printf 'module m\\ngo 1.19\\n' > go.mod
printf 'package main\\nfunc main() { println("built") }\\n' > m.go
go build -o m . && ./m 2>&1""", "built", ["go"])
    works("Java: compile and run, with its key store", """
mkdir j && cd j && echo 'public class A { public static void main(String[] a) throws Exception {
 java.security.KeyStore k = java.security.KeyStore.getInstance(java.security.KeyStore.getDefaultType());
 javax.net.ssl.TrustManagerFactory f = javax.net.ssl.TrustManagerFactory.getInstance("PKIX"); f.init((java.security.KeyStore) null);
 int n = ((javax.net.ssl.X509TrustManager) f.getTrustManagers()[0]).getAcceptedIssuers().length;
 System.out.println(n > 10 ? "trusts many" : "trusts " + n); } }' > A.java && javac A.java && java -Xshare:off -XX:TieredStopAtLevel=1 A""",
          "trusts many", ["javac"])
    if subprocess.run(["cargo", "--version"], env=home.env, capture_output=True).returncode == 0 if shutil.which("cargo") else False:
        works("Rust: cargo builds and runs", "cargo init -q --vcs none --name x rs && cd rs && cargo run -q --offline",
              "Hello, world!")
    works("tar, rename, links, locks, a FIFO, times", """
mkdir t && cd t && echo x > a && ln a b && ln -s a c && mkfifo p && (echo y > p &) && cat p && touch -d 2001-01-01 a
tar cpf ../t.tar . && mkdir u && tar xpf ../t.tar -C u && [ u/a -ef u/b ] && [ "$(readlink u/c)" = a ] && flock u/a mv u/a u/z
date -r u/z +%Y""", "2001", ["tar"])
    if shutil.which("ssh"):
        works("ssh reads its settings and says its version", "ssh -V 2>&1 && ssh -G localhost | grep -c ^hostname", "1")
    works("what a program asks about its machine", """
id -un > /dev/null && hostname && nproc > /dev/null && df . > /dev/null && free > /dev/null && ps ax > /dev/null
getent hosts localhost > /dev/null && date > /dev/null && echo all""", "all")
    works("files of every kind in home, /tmp, /run and /dev/shm", """
for d in ~ /tmp /run /dev/shm .; do echo x > $d/.probe && mv $d/.probe $d/.probe2 && rm $d/.probe2; done; echo all""", "all")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium:
        works("Chromium, headless, without its own sandbox", f"""
{chromium} --headless --no-sandbox --disable-gpu --dump-dom 'data:text/html,<p id=x>hel</p><script>x.append("lo")</script>' 2>/dev/null""",
              ".*hello.*")


def interpreters():
    for name, text in (("s.py", "import sys; print('py', *sys.argv[1:])"), ("s.sh", "echo sh $@"),
                       ("s.js", "console.log('js', ...process.argv.slice(2))")):
        home.write(name, text)
        done = home.gvm("run", name, "a", "--flag")
        tap.eq(done.stdout.strip(), f"{name[2:]} a --flag", f"T-N24 gvm run {name} with arguments", done.stderr)
    home.write("own", "#!/usr/bin/python3\nprint('own line')\n", 0o755)
    tap.eq(home.gvm("run", "./own").stdout.strip(), "own line", "a script's own first line counts")
    home.write("bare", "echo bare\n", 0o755)
    tap.eq(home.gvm("run", "./bare").stdout.strip(), "bare", "a text without one is the shell's")


# ---- at a terminal ----

class Terminal:
    """gvm run at a terminal of its own, as a person has it."""

    def __init__(self, *command, rows=24, columns=80, flags=()):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(home.workspace)
            os.execve(GVM, [GVM, "run", *flags, "--", *command], {**home.env, "TERM": "xterm", "PS1": "$ "})
        self.resize(rows, columns)
        self.seen = ""

    @classmethod
    def shell(cls):
        """An ordinary interactive shell outside, at a terminal."""
        self = cls.__new__(cls)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(home.workspace)
            os.execve("/bin/bash", ["bash", "--norc", "-i"], {**home.env, "TERM": "xterm", "PS1": "$ "})
        self.seen = ""
        return self

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=20):
        """True when `pattern` is printed; what came before is forgotten."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            match = re.search(pattern, self.seen, re.S)
            if match:
                self.seen = self.seen[match.end():]
                return True
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    break
                self.seen += data.decode("utf-8", "replace")
        return bool(re.search(pattern, self.seen, re.S))

    def end(self, seconds=15):
        """The exit code; None when it does not end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def terminal():
    t = Terminal("bash", "--norc", "-i", rows=30, columns=100)
    tap.ok(t.expect(r"[$#] "), "an interactive shell starts", t.seen)
    t.send("stty size\n")
    tap.ok(t.expect(r"30 100"), "it has the size of the person's terminal", t.seen)
    t.resize(41, 99)
    time.sleep(0.3)
    t.send("stty size\n")
    tap.ok(t.expect(r"41 99"), "and follows when that changes", t.seen)
    t.send("sleep 100\n")
    time.sleep(0.5)
    t.send("\x03")
    t.send("echo code=$?\n")
    tap.ok(t.expect(r"code=130"), "Ctrl-C ends what runs, not the shell", t.seen)
    t.send("sleep 100\n")
    time.sleep(0.5)
    t.send("\x1a")
    tap.ok(t.expect(r"Stopped"), "Ctrl-Z stops it", t.seen)
    t.send("jobs; bg; jobs\n")
    tap.ok(t.expect(r"Running"), "and it goes on in the background", t.seen)
    t.send("kill %1; wait; echo gone\n")
    tap.ok(t.expect(r"gone"), "until it is ended", t.seen)
    t.send("tty; exit 7\n")
    tap.ok(t.expect(r"/dev/pts/0"), "its terminal has a name", t.seen)
    tap.eq(t.end(), 7, "the shell's exit code comes back", t.seen)


def suspend():
    """Ctrl-Z at an agent that is no shell stops gvm and the agent; fg goes on. Seen from the shell it was started in."""
    outer = Terminal.shell()
    outer.expect(r"[$#] ")
    outer.send(f"{GVM} run -- sh -c 'n=0; while :; do n=$((n+1)); echo tick-$n; sleep 0.2; done'\n")
    tap.ok(outer.expect(r"tick-2"), "an agent runs in the foreground of a shell", outer.seen)
    outer.send("\x1a")
    tap.ok(outer.expect(r"Stopped"), "Ctrl-Z stops it and gives the shell back", outer.seen)
    outer.expect(r"[$#] ")
    outer.seen = ""
    time.sleep(1)
    outer.send("echo quiet\n")
    tap.ok(outer.expect(r"quiet.*quiet") and "tick" not in outer.seen, "it is silent meanwhile", outer.seen)
    outer.send("fg\n")
    tap.ok(outer.expect(r"tick-\d+.*tick-\d+"), "fg goes on", outer.seen)
    outer.send("\x03")
    outer.expect(r"[$#] ")
    outer.send("echo code=$?\n")
    tap.ok(outer.expect(r"code=130"), "and Ctrl-C still ends it", outer.seen)
    outer.send(f"{GVM} run -- bash --norc -i\n")
    outer.expect(r"bash[^\n]*[$#] ")
    outer.send("\x1a")
    time.sleep(0.3)
    outer.send("echo still-$((20+3))\n")
    tap.ok(outer.expect(r"still-23") and "Stopped" not in outer.seen, "a shell at its prompt ignores Ctrl-Z", outer.seen)
    outer.send("exit\n")
    time.sleep(1)
    outer.send("exit\n")
    tap.ok(outer.end() is not None, "and everything ends")


def full_screen():
    home.write("tui.py", """
import curses
def main(screen):
    while True:
        screen.clear()
        screen.addstr(0, 0, "size %dx%d" % screen.getmaxyx())
        screen.refresh()
        if screen.getch() == ord("q"):
            return
curses.wrapper(main)
print("left")
""")
    t = Terminal("/usr/bin/python3", "tui.py", rows=20, columns=70)
    tap.ok(t.expect("size 20x70"), "a full-screen program draws", t.seen)
    time.sleep(0.5)  # a signal between curses' drawing and its waiting is not seen by it
    t.resize(25, 71)
    tap.ok(t.expect("25x71"), "draws anew when the window changes", t.seen)
    t.send("q")
    tap.ok(t.expect("left"), "and gives the screen back", t.seen)
    tap.eq(t.end(), 0, "with its exit code")
    if shutil.which("tmux"):
        t = Terminal("tmux", "-f", "/dev/null", "new-session", "echo inside-$TMUX_PANE; exec cat")
        tap.ok(t.expect("inside-%0"), "tmux runs inside", t.seen)
        t.send("\x02")
        time.sleep(0.3)  # keys that come too fast are taken for a paste
        t.send("d")
        tap.eq(t.end(), 0, "and ends when it is left, with its server", t.seen)


def pipes():
    done = home.gvm("run", "--", "sh", "-c", "cat; echo err >&2", input="data\n")
    tap.ok("err" in done.stderr, "stderr is stderr", done.stderr)
    tap.eq(done.stdout, "data\n", "and what is piped into gvm is the agent's stdin")
    task = home.write("../task.txt", "from a file\n")
    with open(task) as f:
        got = home.start("run", "--", "sh", "-c", "cat; (echo spoiled > /proc/self/fd/0) 2>&1; readlink /proc/self/fd/0", stdin=f)
        out = got.communicate(timeout=30)[0].decode()
    with open(task) as f:
        tap.ok("from a file" in out and task not in out and f.read() == "from a file\n",
               "a file on stdin is read, and cannot be written through its descriptor", out)
    t = Terminal("sh", "-c", "sleep 60", flags=("--timeout", "1s"))
    tap.ok(t.expect(r"time is up \(--timeout\)"), "--timeout says so at a terminal", t.seen)
    tap.eq(t.end(), 124, "and exits with 124")


programs()
interpreters()
terminal()
suspend()
full_screen()
pipes()
tap.done()
