"""gvm review: on a real terminal (tmux), by options, as JSON, as a patch and as a branch."""
import json
import os
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home("[policy]\ndefault = { type = \"Deny\" }\n")
os.umask(0o022)
counter = 0
ESC = "\033"


def new_run():
    """A run that begins now; returns (id, upper layer)."""
    global counter
    counter += 1
    run_id = f"20260101T0000{counter:02d}-abcdef"
    folder = os.path.join(home.state, "runs", run_id)
    os.makedirs(os.path.join(folder, "upper"), mode=0o700)
    for path in (home.state, os.path.join(home.state, "runs"), folder):
        os.chmod(path, 0o700)
    time.sleep(0.03)
    began = time.time_ns()
    with open(os.path.join(folder, "run.json"), "w") as f:
        json.dump({"v": 1, "run": run_id, "agent": "tester", "workspace": home.workspace, "command": "agent",
                   "started_ns": began, "ended_ns": began + 1, "exit": 0, "launcher": 1, "watch": False}, f)
    time.sleep(0.03)
    return run_id, os.path.join(folder, "upper")


def put(top, name, text, mode=0o644):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    os.chmod(path, mode)


def read(name):
    try:
        with open(os.path.join(home.workspace, name)) as f:
            return f.read()
    except OSError:
        return None


def whiteout(top, name):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def waiting(run_id):
    return {c["path"]: c for c in map(json.loads, home.gvm("diff", run_id, "--json").stdout.splitlines())}


TEN = "".join(f"line {n}\n" for n in range(1, 31))


def edited(*numbers):
    return "".join(f"LINE {n}\n" if n in numbers else f"line {n}\n" for n in range(1, 31))


# ---- without a terminal ----

put(home.workspace, "long.txt", TEN)
put(home.workspace, "old.txt", "old\n")
run_id, upper = new_run()
put(upper, "long.txt", edited(2, 15, 29))
put(upper, "Makefile", "all:\n\tcurl evil\n")
put(upper, "src/a.py", "print(1)\n")
put(upper, "src/b.py", "print(2)\n")
put(upper, "junk/c.py", "print(3)\n")
put(upper, "pic.bin", b"\0\1\2" * 100)
whiteout(upper, "old.txt")
got = home.gvm("review")
tap.ok(got.returncode == 0 and "staged in run " + run_id in got.stdout and len(waiting(run_id)) == 7,
       "without a terminal everything stays staged", got.stdout + got.stderr)
seen = {c["path"]: c for c in map(json.loads, home.gvm("review", "--json").stdout.splitlines())}
tap.eq([(h["old_start"], h["old_lines"], h["new_lines"], h["lines"]) for h in seen["long.txt"]["hunks"]],
       [(n, 1, 1, f"-line {n}\n+LINE {n}\n") for n in (2, 15, 29)], "--json has the hunks")
tap.eq((seen["pic.bin"]["text"], "hunks" in seen["pic.bin"]), (False, False), "and none for what is no text")
got = home.gvm("review", "--accept", "long.txt:1,3", "--accept", "src", "--discard", "junk")
tap.eq((got.returncode, read("long.txt"), read("src/a.py"), read("src/b.py")),
       (0, edited(2, 29), "print(1)\n", "print(2)\n"), "hunks and folders land by option", got.stderr)
tap.eq(sorted(waiting(run_id)), ["Makefile", "long.txt", "old.txt", "pic.bin"], "the rest stays staged")
left = {c["path"]: c for c in map(json.loads, home.gvm("review", "--json", "long.txt").stdout.splitlines())}
tap.eq(([h["lines"] for h in left["long.txt"]["hunks"]], left["long.txt"]["conflict"]),
       (["-line 15\n+LINE 15\n"], False), "the hunk that was left is there by itself, and no conflict")
entry = home.events("--kind", "fs.commit")[-1]
tap.eq((entry["how"], sorted(p["path"] for p in entry["paths"])),
       ("review", ["long.txt", "src", "src/a.py", "src/b.py"]), "the record says how it landed")
tap.ok([p["path"] for p in home.events("--kind", "fs.discard")[-1]["paths"]] == ["junk/c.py"], "and what went")
got = home.gvm("review", "--accept", ".")
tap.ok("Makefile" in got.stderr and "name it itself" in got.stderr and read("Makefile") is None,
       "a folder's name is no yes to what runs on the host", got.stderr)
tap.eq((read("long.txt"), read("old.txt")), (edited(2, 15, 29), None), "what else is in it lands")
got = home.gvm("review", "--accept", "Makefile")
tap.eq((got.returncode, read("Makefile")), (0, "all:\n\tcurl evil\n"), "named itself it lands", got.stderr)
for words in (("--accept", "nothere"), ("--accept", "long.txt:9"), ("--json", "--accept", "x"), ("--as-branch", "-x")):
    bad = home.gvm("review", *words)
    tap.ok(bad.returncode in (1, 2) and bad.stderr and not bad.stdout, "refused: " + " ".join(words), bad.stderr)
put(home.workspace, "old.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\2\x80\0\0\1\xe0" + b"\0" * 20)
put(home.workspace, "new.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + b"\0" * 10 + b"\xff\xc0\0\x11\x08\1\0\3\0" + b"\0" * 20)
run_id, upper = new_run()
put(upper, "old.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\5\0\0\0\3\xc0" + b"\0" * 30)
put(upper, "new.jpg", b"\xff\xd8\xff\xff\xff\xe0\xff")
shown = home.gvm("diff", run_id).stdout
tap.ok("PNG picture 640x480 -> PNG picture 1280x960, 44 bytes -> 54 bytes" in shown, "pictures are summed up", shown)
tap.ok("JPEG picture 768x256, " in shown, "a broken one does no harm", shown)
home.gvm("discard", "--all", "--yes")
run_id, upper = new_run()
put(upper, "long.txt", edited(1, 2, 15, 29, 30))
got = home.gvm("review", "--accept", "long.txt:1", "--drop-rest")
tap.eq((read("long.txt"), waiting(run_id)), (edited(1, 2, 15, 29), {}), "--drop-rest throws the others away", got.stderr)
tap.eq((home.gvm("undo").returncode, read("long.txt")), (0, edited(2, 15, 29)), "a part is undone as well")

# ---- on a terminal ----


class Screen:
    """A program in a tmux pane of its own server."""

    def __init__(self, *args, env=None, size=(100, 30)):
        self.socket = os.path.join(home.top, f"tmux-{os.getpid()}-{time.monotonic_ns()}")
        command = " ".join(["exec", os.path.join(gvmtest.BIN, "gvm"), *args])
        command = f"cd {home.workspace} && ( {command}; ) ; echo EXIT=$?; exec sleep 60"
        environ = {**home.env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "sh", "-c", command,
                  env=environ)

    def tmux(self, *args, env=None):
        return subprocess.run(["tmux", "-S", self.socket, *args], env=env or home.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30).stdout.decode("utf-8", "replace")

    def text(self, *more):
        return self.tmux("capture-pane", "-p", *more)

    def wait(self, *needles, seconds=20):
        return gvmtest.wait_for(lambda: all(n in self.text() for n in needles), seconds, 0.1)

    def until(self, check, seconds=20):
        return gvmtest.wait_for(lambda: check(self.text()), seconds, 0.1)

    def keys(self, *keys):
        for key in keys:
            self.tmux("send-keys", *(("-l", key) if len(key) == 1 else (key,)))
            time.sleep(0.12)

    def close(self):
        self.tmux("kill-server")


if not shutil.which("tmux"):
    tap.ok(not gvmtest.MUST_WORK, "tmux is there")
    tap.done()

put(home.workspace, "story.txt", TEN)
put(home.workspace, "keep.txt", "keep\n")
run_id, upper = new_run()
put(upper, "story.txt", edited(2, 15, 29))
put(upper, "keep.txt", "changed\n")
put(upper, "a-note.py", "x = 1\n")
put(upper, "b-note.py", "y = 2\n")
put(upper, "c-note.py", "z = 3\n")
put(upper, "tool.sh", "#!/bin/sh\necho hi\n", 0o755)
evil = "evil\033]0;owned\007\033[2J\033[31m\u202e.txt"
put(upper, evil, "a\033[2Jb\033]0;title\007\r\n\tc\n\u202eabc\n" + "wide \u4e00" * 60 + "\n")
screen = Screen("review")
tap.ok(screen.wait("7 changes"), "the list is shown", screen.text())
shown = screen.text()
tap.ok("runs-on-host: executable" in shown and "tool.sh" in shown and "story.txt" in shown, "with classes and reasons",
       shown)
tap.ok("evil\\x1b]0;owned\\x07\\x1b[2J" in shown and "owned" not in screen.tmux(
    "display-message", "-p", "#{pane_title}"), "a hostile name is shown as text and sets no title", shown)
tap.ok("[ ] A" in shown, "nothing is decided at first", shown)
screen.keys("/", "s", "t", "o", "Enter")
screen.keys("Enter")
tap.ok(screen.wait("hunk 1 of 3"), "search finds a name, enter opens it", screen.text())
tap.ok(screen.wait("- line 2", "+ LINE 2"), "the hunk's lines are there", screen.text())
screen.keys("a", "r")
tap.ok(screen.wait("[-] hunk 2 of 3"), "a and r decide hunk by hunk", screen.text())
tap.ok(screen.wait("[+] hunk 1 of 3", "[~] modified"), "the file is accepted in part",
       screen.text())
screen.keys("v")
tap.ok(screen.wait("|"), "v shows both sides", screen.text())
tap.ok(screen.until(lambda text: any(
    "line 29" in line and "LINE 29" in line and line.index("line 29") < line.index("|") < line.index("LINE 29")
    for line in text.splitlines() if "|" in line)), "side by side", screen.text())
screen.tmux("resize-window", "-x", "60", "-y", "20")
tap.ok(screen.until(lambda text: len(text.rstrip("\n").split("\n")) <= 20 and "hunk" in text
                    and text.rstrip().splitlines()[-1].startswith("a accept")), "the window may change its size", screen.text())
screen.tmux("resize-window", "-x", "100", "-y", "30")
screen.keys("v", "q")
tap.ok(screen.wait("[~] M"), "back in the list", screen.text())
screen.keys("g")
screen.keys("/", "t", "o", "o", "l", "Enter", "a")
tap.ok(screen.wait("RUNS ON YOUR MACHINE"), "what runs on the host is asked for", screen.text())
screen.keys("n")
tap.ok(screen.wait("[ ] A  tool.sh"), "no is no", screen.text())
screen.keys("A")
tap.ok(screen.wait("one by one"), "accept all of a kind never takes it", screen.text())
screen.keys("/", "a", "-", "n", "Enter", "A")
tap.ok(screen.wait("accepted: created, manual"), "accept all of a kind", screen.text())
tap.ok(screen.until(lambda text: text.count("[+] A") == 4), "takes the new files of that class", screen.text())
screen.keys("/", "b", "-", "n", "Enter", "d")
screen.keys("/", "e", "v", "i", "l", "Enter", "r", "/", "e", "v", "i", "l", "Enter", "Enter")
tap.ok(screen.wait("a\\x1b[2Jb\\x1b]0;title\\x07\\r", "[31m\\u{202e}.txt"), "hostile content is shown as text", screen.text())
lines = screen.text().splitlines()
tap.ok(all(len(line) <= 100 for line in lines) and any(line.rstrip().endswith(">") for line in lines),
       "long lines are cut and say so", screen.text())
tap.ok("title" not in screen.tmux("display-message", "-p", "#{pane_title}"), "the terminal's title is untouched")
screen.keys("?")
tap.ok(screen.wait("throw away     is forgotten"), "? helps", screen.text())
screen.keys("?", "q", "q")
tap.ok(screen.wait("throw the rejected hunks away?"), "finishing asks about rejected hunks", screen.text())
screen.keys("n")
tap.ok(screen.wait("land 3 (1 in part), throw away 1, leave 3? y/N"), "and says what would happen", screen.text())
tap.eq((read("a-note.py"), read("story.txt")), (None, TEN), "until then nothing landed")
screen.keys("y")
tap.ok(screen.wait("EXIT=0"), "it ends well", screen.text())
tap.eq((read("story.txt"), read("a-note.py"), read("b-note.py"), read("c-note.py"), read("keep.txt"), read("tool.sh")),
       (edited(2), "x = 1\n", None, "z = 3\n", "keep\n", None), "what was accepted landed, nothing else")
tap.eq(sorted(waiting(run_id)), sorted(["story.txt", "keep.txt", "tool.sh", evil]), "the rest stays staged")
screen.close()

screen = Screen("review", env={"EDITOR": "sed -i s/changed/edited/"})
tap.ok(screen.wait("4 changes"), "the rest is reviewed another time", screen.text())
screen.keys("/", "k", "e", "e", "p", "Enter", "e")
tap.ok(screen.wait("[+] M  keep.txt"), "an edited text is accepted", screen.text())
screen.keys("q", "y")
tap.ok(screen.wait("EXIT=0") and read("keep.txt") == "edited\n", "and lands as edited", screen.text())
screen.close()
screen = Screen("review")
screen.wait("3 changes")
screen.keys("a", "C-c")
tap.ok(screen.wait("nothing was done") and screen.wait("EXIT=0"), "ctrl-c leaves everything staged", screen.text())
tap.eq(len(waiting(run_id)), 3, "indeed")
screen.close()

# A text that would give the editor orders, and an owner whose settings would let it.
if shutil.which("vi"):
    made = home.run("sh", "-c", "printf 'line\\nvim: set ff=dos:\\n' > orders.data")
    rc = os.path.join(home.top, "vimrc")
    with open(rc, "w") as f:
        f.write("set modeline\nset modelines=5\n")
    screen = Screen("review", env={"EDITOR": f"vi -u {rc} -c 'normal Gox' -c wq"})
    screen.wait("1 change")
    screen.keys("e")
    screen.wait("[+] A  orders.data")
    screen.keys("q", "y")
    screen.wait("EXIT=0")
    tap.eq(read("orders.data"), "line\nvim: set ff=dos:\nx\n", "an editor takes no orders from the text it edits", screen.text() + made.stderr)
    screen.close()
else:
    tap.ok(os.environ.get("GVM_MUST_WORK") != "1", "vi is there to see that it takes no orders from a text")

screen = Screen("review", run_id, size=(100, 30))
screen.wait("3 changes")
pid = screen.tmux("list-panes", "-F", "#{pane_pid}").strip()
children = subprocess.run(["pgrep", "-P", pid], stdout=subprocess.PIPE).stdout.split()
if children:
    os.kill(int(children[0]), 15)
tap.ok(screen.wait("EXIT="), "SIGTERM gives the terminal back", screen.text())
screen.close()
home.gvm("discard", run_id, "--all", "--yes")

# ---- as git sees it ----


def git(*args, cwd=None, check=True):
    env = {"PATH": os.environ["PATH"], "HOME": home.home, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    got = subprocess.run(["git", "-c", "safe.directory=*", *args], cwd=cwd or repo, env=env, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    if check and got.returncode:
        tap.ok(False, "git " + " ".join(args), got.stderr.decode())
    return got.stdout.decode("utf-8", "replace")


repo = home.workspace = os.path.join(home.home, "repo")
os.makedirs(repo)
with open(os.path.join(home.home, ".gitconfig"), "w") as f:
    f.write("[user]\n\tname = The Owner\n\temail = owner@example.test\n")
git("init", "-q", "-b", "main")
put(repo, "text.txt", TEN)
put(repo, "sub/gone.txt", "gone\n")
put(repo, "data.bin", bytes(range(256)) * 300)
put(repo, "becomes-link", "file\n")
os.symlink("text.txt", os.path.join(repo, "link"))
put(repo, "run.sh", "#!/bin/sh\n", 0o644)
put(repo, ".gitignore", "*.o\nbuild/\n")
git("add", "-A")
git("commit", "-qm", "first")
run_id, upper = new_run()
put(upper, "text.txt", edited(3, 20) + "no newline at the end")
whiteout(upper, "sub/gone.txt")
put(upper, "data.bin", bytes(reversed(range(256))) * 301)
put(upper, "new/deep/file name\twith \"quotes\"\n.txt", "x\n")
put(upper, "new/empty.txt", "")
put(upper, "new/x.o", "object\n")
put(upper, "build/out.c", "x\n")
put(upper, "run.sh", "#!/bin/sh\n", 0o755)
os.symlink("sub", os.path.join(upper, "becomes-link"))
os.symlink("text.txt", os.path.join(upper, "fresh-link"))
put(upper, ".git/hooks/post-checkout", "#!/bin/sh\ntouch /tmp/owned\n", 0o755)
put(upper, ".git/config", "[core]\n\tfsmonitor = touch owned\n")
put(upper, "Makefile", "all:\n")
marker = os.path.join(home.top, "hook-ran")
put(repo, ".git/hooks/reference-transaction", f"#!/bin/sh\ntouch {marker}\n", 0o755)
put(repo, ".git/hooks/post-index-change", f"#!/bin/sh\ntouch {marker}\n", 0o755)
git("config", "core.fsmonitor", f"touch {marker};")
before = git("rev-parse", "main").strip()
os.path.exists(marker) and os.unlink(marker)
patch = os.path.join(home.top, "out.patch")
got = home.gvm("review", run_id, "--as-patch=" + patch)
tap.ok(got.returncode == 0 and ".git/hooks/post-checkout" in got.stderr and "Makefile" in got.stderr,
       "as a patch; what is left out is said", got.stderr)
with open(patch, "rb") as f:
    body = f.read()
tap.ok(b".git/" not in body and b"Makefile" not in body, "hooks, configuration and what runs here are not in it")
got = home.gvm("review", run_id, "--as-branch", "agent/work")
tap.ok(got.returncode == 0 and "2 that .gitignore names" in got.stderr, "as a branch", got.stderr)
tap.ok(not os.path.exists(marker), "no hook and no monitor of the repository was run")
git("config", "--unset", "core.fsmonitor")
shutil.rmtree(os.path.join(repo, ".git", "hooks"))
tap.eq(git("rev-parse", "main", "agent/work~1").split(), [before, before], "one commit on top of HEAD")
tap.eq(git("log", "-1", "--format=%an|%cn|%ce|%B", "agent/work").strip(),
       f"tester|The Owner|owner@example.test|Changes of agent tester\n\nGVM-Run: {run_id}", "by the agent, for the owner")
tree = git("ls-tree", "-r", "-z", "agent/work").split("\0")
names = {line.split("\t", 1)[1]: line.split()[0] for line in tree if line}
tap.eq(names, {"text.txt": "100644", "data.bin": "100644", "becomes-link": "120000", "link": "120000",
               "fresh-link": "120000", "run.sh": "100644", ".gitignore": "100644",
               "new/deep/file name\twith \"quotes\"\n.txt": "100644", "new/empty.txt": "100644"},
       "its tree is what was staged")
tap.eq(git("show", "agent/work:text.txt"), edited(3, 20) + "no newline at the end", "with the contents")
tap.eq((git("status", "--porcelain"), read("text.txt")), ("", TEN), "the working tree is untouched")
tap.ok(len(waiting(run_id)) >= 9, "and everything stays staged")
tap.ok([e["how"] for e in home.events("--kind", "fs.export")] == ["patch", "branch"], "both are on record")
tap.eq(home.gvm("review", run_id, "--as-branch", "agent/work").returncode, 1, "a branch that is there is not moved")
git("apply", "--index", patch)
tap.eq(git("write-tree").strip(), git("rev-parse", "agent/work^{tree}").strip(),
       "git apply makes the same tree from the patch")
git("reset", "-q", "--hard")
got = home.gvm("review", run_id, "Makefile", "--as-patch")
tap.ok("+all:" in got.stdout and not got.stderr, "named, what runs here is in the patch", got.stdout + got.stderr)
tap.done()
