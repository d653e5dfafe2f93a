"""diff, commit, discard and runs over staged changes laid out by hand, and the record they leave.

No sandbox is needed: the run's directory is what the launcher leaves behind, so every hostile form of
it can be tried.
"""
import hashlib
import json
import os
import pty
import select
import signal
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home("[policy]\ndefault = { type = \"Deny\" }\n")
os.umask(0o022)
counter = 0


def new_run(launcher=1, ended=True, workspace=None):
    """A run that begins now; returns (id, upper layer). What the host has is older than it."""
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
        json.dump({"v": 1, "run": run_id, "agent": "tester", "workspace": workspace or home.workspace,
                   "command": "agent \033[2J", "started_ns": began, "ended_ns": began + 1 if ended else 0,
                   "exit": 7, "launcher": launcher, "watch": False}, f)
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
    os.mknod(os.path.join(top, name), stat.S_IFCHR, os.makedev(0, 0))


def waiting(run_id):
    got = home.gvm("diff", run_id, "--json")
    return {c["path"]: c for c in map(json.loads, got.stdout.splitlines())}


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def ask(args, keys, seconds=20):
    """gvm on a terminal of its own; types `keys` at each question. (exit code, what was shown)"""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(home.workspace)
        os.execve(os.path.join(gvmtest.BIN, "gvm"), ["gvm", *args], {**home.env, "NO_COLOR": "1"})
    shown, end, keys = b"", time.monotonic() + seconds, list(keys)
    asked = 0
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
        while shown.count(b"[y/N]") > asked:
            asked += 1
            os.write(fd, keys.pop(0).encode() if keys else b"\004")
    if time.monotonic() >= end:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


# ---- listing ----

empty = home.gvm("runs")
tap.eq((empty.returncode, home.gvm("runs", "--json").stdout), (0, ""), "no run, no line")
tap.eq(home.gvm("diff").returncode, 1, "diff without a run is an error")

put(home.workspace, "notes.md", "one\ntwo\n")
put(home.workspace, "old.txt", "old\n")
put(home.workspace, "src/a.py", "print(1)\n")
run_id, upper = new_run()
put(upper, "notes.md", "one\nTWO\n\033]0;title\007")
put(upper, "Makefile", "all:\n\tcurl evil\n")
put(upper, "report.txt", "done\n")
put(upper, "src/b.py", "print(2)\n")
put(upper, "tool", "#!/bin/sh\n", 0o755)
put(upper, "bad\033[31m\nname", "x")
put(upper, "__pycache__/m.pyc", "x")
whiteout(upper, "old.txt")
os.symlink("/etc/passwd", os.path.join(upper, "link"))

lines = home.gvm("runs", "--json").stdout.splitlines()
run = json.loads(lines[0])
tap.eq((len(lines), run["id"], run["agent"], run["state"], run["exit"], run["pending"]),
       (1, run_id, "tester", "ended", 7, 9), "runs --json", lines)
tap.ok("\033" not in home.gvm("runs").stdout, "a command's escapes are shown as text")
got = home.gvm("diff")
tap.ok(got.returncode == 0 and "-two\n" in got.stdout and "+TWO\n" in got.stdout, "diff shows the lines",
       got.stdout)
tap.ok("\033" not in got.stdout and "\a" not in got.stdout and "\\x1b]0;title\\x07" in got.stdout,
       "hostile bytes in files and names are made visible", got.stdout)
tap.ok("\033" not in home.gvm("diff", "--stat").stdout, "also in --stat")
changes = waiting(run_id)
want = {"notes.md": ("modified", "manual"), "Makefile": ("created", "runs-on-host"),
        "report.txt": ("created", "auto"), "src/b.py": ("created", "manual"),
        "tool": ("created", "runs-on-host"), "bad\033[31m\nname": ("created", "manual"),
        "__pycache__/m.pyc": ("created", "discard"), "old.txt": ("deleted", "manual"),
        "link": ("created", "runs-on-host")}
tap.eq({p: (c["change"], c["class"]) for p, c in changes.items()}, want, "classes")
tap.ok(all(c["why"] for c in changes.values()), "each class has a reason")
tap.eq(waiting(run_id[:17]), changes, "the beginning of an id is enough")
tap.eq(home.gvm("diff", "--stat", "src").stdout.count("src/"), 1, "a folder chooses what is in it")
tap.eq(home.gvm("diff", "--stat", os.path.join(home.workspace, "src")).stdout.count("src/"), 1,
       "an absolute path in the workspace does too")
tap.eq(home.gvm("diff", "--stat", "b.py", cwd=os.path.join(home.workspace, "src")).stdout.count("src/b.py"),
       1, "paths are relative to where you are in the workspace")
for words, code in ((("nothere",), 1), (("../x",), 2), (("/etc",), 2)):
    bad = home.gvm("commit", *words)
    tap.ok(bad.returncode == code and words[0] in bad.stderr and not bad.stdout,
           "commit " + words[0] + " is refused by name", bad.stderr)

# ---- committing ----

got = home.gvm("commit")
tap.ok(got.returncode == 2 and "--all" in got.stderr, "commit says that it wants paths or --all", got.stderr)
got = home.gvm("commit", "--all")
tap.ok(got.returncode == 1 and "Makefile" in got.stderr and "a build runs it" in got.stderr
       and "--all --yes" in got.stderr, "without a terminal and --yes nothing lands, and it says why",
       got.stderr)
tap.eq((read("Makefile"), read("notes.md"), read("old.txt")), (None, "one\ntwo\n", "old\n"),
       "indeed nothing landed")
got = home.gvm("commit", "notes.md", "src")
tap.eq((got.returncode, read("notes.md"), read("src/b.py")),
       (0, "one\nTWO\n\033]0;title\007", "print(2)\n"), "named changes land", got.stderr)
tap.eq(read("src/a.py"), "print(1)\n", "what lies beside them stays")
entry = home.events("--kind", "fs.commit")[-1]
noted = {p["path"]: (p["before"], p["after"]) for p in entry["paths"]}
tap.eq(noted, {"notes.md": (sha("one\ntwo\n"), sha("one\nTWO\n\033]0;title\007")),
               "src/b.py": (None, sha("print(2)\n"))}, "the record has both hashes")
tap.eq((entry["run"], entry["agent"]), (run_id, "tester"), "and names run and agent")
tap.eq(home.gvm("commit", "Makefile").returncode, 0, "a file named itself needs no further yes")
code, shown = ask(["commit", "--all"], ["n\n", "n\n", "y\n"])
tap.ok(code == 0 and shown.count("land this one?") == 2, "on a terminal each dangerous one is asked", shown)
tap.ok("\033[31m" not in shown, "the question cannot be painted over", shown)
tap.eq((read("tool"), read("report.txt"), os.path.lexists(os.path.join(home.workspace, "link"))),
       (None, "done\n", False), "no means no, and the others land")
tap.eq(read("old.txt"), None, "a deletion lands")
code, shown = ask(["commit", "tool", "link", "--all"], ["\004", "\004"])
tap.ok(read("tool") is not None or code != 0, "end of input is no yes", shown)
tap.eq(sorted(waiting(run_id)), sorted(set(waiting(run_id)) & {"tool", "link", "__pycache__/m.pyc"}),
       "only what was refused still waits")
got = home.gvm("commit", "--all", "--yes", "--json")
tap.ok(got.returncode == 0, "--all --yes takes the rest", got.stderr)
tap.eq((os.readlink(os.path.join(home.workspace, "link")), read("__pycache__/m.pyc")),
       ("/etc/passwd", None), "a link lands as a link; a cache stays behind")
tap.eq(list(waiting(run_id)), ["__pycache__/m.pyc"], "the cache still waits")
tap.eq(home.gvm("discard", "--all", "--yes").returncode, 0, "discard takes it")
tap.eq(json.loads(home.gvm("runs", "--json").stdout)["pending"], 0, "nothing waits any more")

# ---- conflicts ----

put(home.workspace, "shared.txt", "base\n")
run_id, upper = new_run()
put(upper, "shared.txt", "agent\n")
put(home.workspace, "shared.txt", "owner\n")
tap.ok(waiting(run_id)["shared.txt"]["conflict"], "a file changed on both sides is a conflict")
got = home.gvm("commit", "shared.txt")
tap.ok(got.returncode == 1 and "changed since" in got.stderr and read("shared.txt") == "owner\n",
       "it does not land by itself", got.stderr)
got = home.gvm("commit", "shared.txt", "--force")
tap.eq((got.returncode, read("shared.txt")), (0, "agent\n"), "--force lands it", got.stderr)

# ---- both sides changed: merged by lines ----

put(home.workspace, "story.txt", "1\n2\n3\n4\n5\n")
run_id, upper = new_run()
put(upper, "story.txt", "1\n2\n3\n4\nagent\n")
base = os.path.join(os.path.dirname(upper), "base")
os.makedirs(base)
with open(os.path.join(base, sha("story.txt")), "w") as f:
    f.write("1\n2\n3\n4\n5\n")  # what the run's end keeps
put(home.workspace, "story.txt", "owner\n2\n3\n4\n5\n")
got = home.gvm("commit", "story.txt")
tap.eq((got.returncode, read("story.txt")), (0, "owner\n2\n3\n4\nagent\n"), "lines of both sides are merged",
       got.stderr)
entry = home.events("--kind", "fs.commit")[-1]
tap.ok(entry["paths"][0].get("merged") is True and entry["paths"][0]["after"] == sha(read("story.txt")),
       "and the record says so, with the hash of what landed", entry)

# ---- undo ----

got = home.gvm("undo", run_id)
tap.eq((got.returncode, read("story.txt")), (0, "owner\n2\n3\n4\n5\n"), "undo takes the merge back", got.stderr)
entry = home.events("--kind", "fs.undo")[-1]
tap.eq((entry["run"], entry["paths"][0]["path"], entry["paths"][0]["after"]),
       (run_id, "story.txt", sha("owner\n2\n3\n4\n5\n")), "and is on record")
got = home.gvm("undo", run_id)
tap.ok(got.returncode == 1 and "nothing to undo" in got.stderr, "it is done once", got.stderr)
put(home.workspace, "kept/old.txt", "old\n", 0o600)
run_id, upper = new_run()
put(upper, "one.py", "1\n")
put(upper, "kept/old.txt", "new\n")
put(upper, "made/deep/two.py", "2\n")
home.gvm("commit", "one.py")
home.gvm("commit", "--all", "--yes")
tap.eq((read("one.py"), read("kept/old.txt"), read("made/deep/two.py")), ("1\n", "new\n", "2\n"), "two commits of a run")
got = home.gvm("undo", run_id, "--dry-run", "--json")
tap.eq(({j["path"]: j["undo"] for j in map(json.loads, got.stdout.splitlines())}, read("one.py")),
       ({"kept/old.txt": "restored", "made": "removed", "made/deep": "removed", "made/deep/two.py": "removed"},
        "1\n"), "--dry-run only tells")
put(home.workspace, "made/deep/two.py", "mine now\n")
got = home.gvm("undo", run_id)
tap.ok(got.returncode == 1 and "content changed since" in got.stdout and "--force" in got.stderr,
       "what changed since is left alone, and said", got.stdout + got.stderr)
tap.eq((read("one.py"), read("kept/old.txt"), read("made/deep/two.py")), (None, "old\n", "mine now\n"),
       "all the rest is as it was, over both commits")
tap.eq(stat.S_IMODE(os.stat(os.path.join(home.workspace, "kept/old.txt")).st_mode), 0o600, "the mode too")
tap.eq((home.gvm("undo", run_id, "made", "--force").returncode, read("made/deep/two.py")), (0, None), "--force takes it")
tap.eq(os.path.exists(os.path.join(home.workspace, "made")), False, "folders made by the commit go with it")
tap.eq((home.gvm("undo", run_id, "../x").returncode, home.gvm("undo", run_id, "nothere").returncode), (2, 1),
       "undo of what was never there")

# ---- the owner's patterns, and how long copies are kept ----

home.write_config("[filesystem]\ndiscard = [\"junk\"]\nmanual = [\"*.md\"]\nauto = [\"gen/*\"]\nundo_keep = \"1s\"\n")
run_id, upper = new_run()
put(upper, "junk/a.py", "x")
put(upper, "note.md", "x")
put(upper, "gen/a.py", "x")
put(upper, "gen/b.sh", "#!/bin/sh\n")
tap.eq({p: c["class"] for p, c in waiting(run_id).items()},
       {"junk/a.py": "discard", "note.md": "manual", "gen/a.py": "auto", "gen/b.sh": "runs-on-host"},
       "patterns choose classes, but none makes a program land by itself")
home.gvm("commit", "gen/a.py")
time.sleep(1.1)
home.gvm("commit", "note.md")
tap.eq(home.gvm("undo", run_id).returncode, 0, "the newest can be taken back")
tap.eq((read("note.md"), read("gen/a.py")), (None, "x"), "what is older than undo_keep cannot")
home.gvm("discard", "--all", "--yes")
home.write_config("[policy]\ndefault = { type = \"Deny\" }\n")

# ---- a rename ----

put(home.workspace, "was.c", "int moved;\n" * 9)
run_id, upper = new_run()
put(upper, "lib/now.c", "int moved;\n" * 9)
whiteout(upper, "was.c")
changes = waiting(run_id)
tap.eq((changes["lib/now.c"]["change"], changes["lib/now.c"]["from"], changes["was.c"]["renamed_to"]),
       ("renamed", "was.c", "lib/now.c"), "a rename is told as one")
tap.eq((home.gvm("commit", "lib/now.c").returncode, read("lib/now.c"), read("was.c")), (0, "int moved;\n" * 9, None),
       "and lands as one")

# ---- discarding, and runs that still live ----

run_id, upper = new_run()
put(upper, "x.py", "x")
put(upper, "y.py", "y")
tap.eq(home.gvm("discard").returncode, 2, "discard wants paths or --all too")
tap.eq(home.gvm("discard", "--all").returncode, 1, "and a terminal or --yes")
tap.eq((home.gvm("discard", "x.py").returncode, list(waiting(run_id))), (0, ["y.py"]), "discard takes one")
tap.eq([p["path"] for p in home.events("--kind", "fs.discard")[-1]["paths"]], ["x.py"], "and is on record")
live, upper = new_run(launcher=os.getpid(), ended=False)
put(upper, "z.py", "z")
states = {r["id"]: r["state"] for r in map(json.loads, home.gvm("runs", "--json").stdout.splitlines())}
tap.eq((states[live], states[run_id]), ("running", "ended"), "a live run is told from an ended one")
for verb in ("commit", "discard"):
    got = home.gvm(verb, live, "z.py")
    tap.ok(got.returncode == 1 and "still runs" in got.stderr, f"{verb} waits for the agent's end", got.stderr)
tap.eq(home.gvm("diff", live, "--stat").returncode, 0, "diff may look before")
dead, upper = new_run(launcher=2 ** 22 - 3, ended=False)
put(upper, "kept.py", "kept\n")
states = {r["id"]: r["state"] for r in map(json.loads, home.gvm("runs", "--json").stdout.splitlines())}
tap.eq(states[dead], "killed", "a run whose launcher vanished is killed")
tap.eq((home.gvm("commit", dead, "kept.py").returncode, read("kept.py")), (0, "kept\n"),
       "and what it wrote is not lost")

# ---- F2, F5: planted links ----

outside = os.path.join(home.top, "outside")
os.makedirs(outside)
put(outside, "victim", "precious\n")
run_id, upper = new_run()
put(upper, "way/victim", "evil\n")
put(upper, "fine.py", "fine\n")
os.symlink(outside, os.path.join(home.workspace, "way"))
got = home.gvm("commit", "--all", "--yes", "--force")
with open(os.path.join(outside, "victim")) as f:
    tap.eq(f.read(), "precious\n", "a link planted in the workspace is not followed", got.stderr)
tap.eq(read("fine.py"), "fine\n", "the ordinary change beside it lands", got.stdout + got.stderr)

# ---- no record, no change ----

run_id, upper = new_run()
put(upper, "unrecorded.py", "x")
home.gvm("stop")
home.write_config("[nonsense\n")
got = home.gvm("commit", "unrecorded.py")
tap.ok(got.returncode == 1 and "gvm.toml:1:" in got.stderr, "a daemon that cannot start says why in its own words",
       got.stderr)
tap.eq((read("unrecorded.py"), list(waiting(run_id))), (None, ["unrecorded.py"]),
       "what cannot be recorded does not land, and is not lost")
home.write_config("")
tap.eq((home.gvm("commit", "unrecorded.py").returncode, read("unrecorded.py")), (0, "x"), "afterwards it does")

# ---- kill -9 in the middle ----

run_id, upper = new_run()
for n in range(400):
    put(upper, f"many/{n:03d}.py", f"{n}\n")
home.gvm("status")
killed = 0
for delay in (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2):
    process = home.start("commit", run_id, "many")
    time.sleep(delay)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        killed += 1
    process.communicate()
    left = waiting(run_id)
    names = os.listdir(os.path.join(home.workspace, "many")) if os.path.isdir(
        os.path.join(home.workspace, "many")) else []
    landed = [n for n in names if n.endswith(".py")]
    whole = all(read("many/" + n) == f"{int(n[:3])}\n" for n in landed)
    if not (whole and len(names) == len(landed) and len(left) + len(landed) == 400 and len(landed) in (0, 400)):
        tap.ok(False, f"killed after {delay} s", f"{len(landed)} landed of {len(names)}, {len(left)} left")
        break
else:
    tap.ok(True, f"killed {killed} times: all files as before or all as after, no temporary file stays")
home.gvm("commit", run_id, "many") if waiting(run_id) else None
tap.eq(len(os.listdir(os.path.join(home.workspace, "many"))), 400, "the next commit finishes it")
tap.done()
