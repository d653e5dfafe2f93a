"""Files and trust: what an agent leaves for its owner to stumble over. Rows F1 to F13 of the attack catalogue.

Each attack is made by a real run in the sandbox; then the owner does what owners do, and nothing of the agent's
may run, be followed, or be hidden.
"""
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')
os.umask(0o022)
SECRET = "secret-marker-4711"
ROOT = os.getuid() == 0


def agent(code, *args, flags=(), timeout=60):
    """A Python program run as the agent, in the workspace; the program itself is not part of it."""
    return home.run("/usr/bin/python3", "-c", code, *args, flags=flags, timeout=timeout)


def sh(script, flags=(), env=None):
    return home.run("sh", "-c", script, flags=flags, env=env)


def waiting():
    return {c["path"]: c for c in map(json.loads, home.gvm("diff", "--json").stdout.splitlines())}


def at(name):
    return os.path.join(home.workspace, name)


def read(name):
    try:
        with open(at(name)) as f:
            return f.read()
    except OSError:
        return None


def clean():
    home.gvm("discard", "--all", "--yes")


WRITE = """
import os, sys, json
for name, (text, mode) in json.loads(sys.argv[1]).items():
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with open(name, "w") as f:
        f.write(text)
    os.chmod(name, mode)
"""


def plant(files):
    """The agent writes these: name -> text, or (text, mode)."""
    files = {k: v if isinstance(v, tuple) else (v, 0o644) for k, v in files.items()}
    got = agent(WRITE, json.dumps(files))
    tap.ok(got.returncode == 0, "the agent wrote what it wanted", got.stderr)
    return waiting()


# ---- F1, F7: configuration that was not there before, and what the host executes or obeys ----

OBEYED = [".claude/settings.json", ".mcp.json", ".vscode/tasks.json", ".cursor/mcp.json", ".idea/workspace.xml",
          "CLAUDE.md", "AGENTS.md", ".github/workflows/ci.yml", ".gitlab-ci.yml", "Jenkinsfile", "Dockerfile",
          "docker-compose.yml", ".devcontainer/devcontainer.json", "package.json", "setup.py", "conftest.py",
          "Makefile", "CMakeLists.txt", "build.rs", ".envrc", ".bashrc", ".profile", ".husky/pre-commit",
          ".pre-commit-config.yaml", "venv/bin/activate", "venv/pyvenv.cfg", "lib/site-packages/evil.pth",
          "sitecustomize.py", ".vimrc", ".npmrc", "gvm.toml", "app.desktop", "x.service", ".ssh/authorized_keys"]
files = {name: "{}\n" for name in OBEYED}
files["venv/bin/python"] = ("#!/bin/sh\n", 0o755)
files["notes.txt"] = "#!/bin/sh\necho a script under a harmless name\n"
files["data.csv"] = "[core]\n\tfsmonitor = evil\n"
files["report.txt"] = "plain\n"
changes = plant(files)
wrong = {n: changes.get(n, {}).get("class") for n in files if n != "report.txt"
         and changes.get(n, {}).get("class") != "runs-on-host"}
tap.eq(wrong, {}, "F1 F7: each is of the class runs-on-host")
tap.ok(all(changes[n]["why"] for n in changes), "F7: with a reason")
tap.eq(([n for n in files if n != "report.txt" and os.path.lexists(at(n))], read("report.txt")), ([], "plain\n"),
       "F1 F7: none landed by itself; the harmless one did")
got = home.gvm("commit", "--all")
tap.ok(got.returncode == 1 and not os.path.exists(at(".mcp.json")), "F1: commit --all asks for each, and here nobody answers",
       got.stderr)
tap.ok(home.gvm("review", "--accept", ".").returncode == 0 and not os.path.exists(at("Makefile")),
       "F7: accepting the whole folder is no yes to them")
clean()

# ---- F2: links out, read and written ----

outside = os.path.join(home.top, "outside")
os.makedirs(outside)
with open(os.path.join(outside, "victim"), "w") as f:
    f.write(SECRET)
code = """
import os, sys
out = sys.argv[1]
links = {"abs": out, "file": out + "/victim", "dangling": out + "/made", "rel": "../../../outside", "chain": "abs",
         "up": "..", "self": "self"}
for name, target in links.items():
    os.symlink(target, name)
seen = []
for path in ("abs/victim", "file", "rel/victim", "chain/victim", "up/../../outside/victim"):
    try:
        seen.append(open(path).read())
    except OSError:
        pass
for path in ("file", "dangling", "abs/written", "rel/written", "chain/written"):
    try:
        open(path, "w").write("owned")
    except OSError:
        pass
print(repr(seen))
"""
got = agent(code, outside)
tap.ok(SECRET not in got.stdout, "F2: a link does not show what lies outside", got.stdout)
changes = waiting()
tap.ok(all(changes[n]["class"] == "runs-on-host" for n in ("abs", "file", "dangling", "rel")),
       "F2: links that leave the workspace are told", changes)
home.gvm("commit", "--all", "--yes", "--force")
tap.eq((os.listdir(outside), open(os.path.join(outside, "victim")).read()), (["victim"], SECRET),
       "F2: nothing was written through one")
tap.eq(os.readlink(at("file")), os.path.join(outside, "victim"), "F2: they land as links")
got = agent("import os\nos.makedirs('swap/d', exist_ok=True)\nfor i in range(60): open(f'swap/d/{i}', 'w').write('agent')")
swapping = True


def swapper():
    while swapping:
        try:
            os.symlink(outside, at("swap"))
            time.sleep(0.0005)
            os.unlink(at("swap"))
        except OSError:
            time.sleep(0.0005)


thread = threading.Thread(target=swapper)
thread.start()
for _ in range(6):
    home.gvm("commit", "swap")
swapping = False
thread.join()
tap.eq((os.listdir(outside), open(os.path.join(outside, "victim")).read()), (["victim"], SECRET),
       "F2: not even through one that is swapped in while the commit works")
if os.path.islink(at("swap")):
    os.unlink(at("swap"))
home.gvm("commit", "swap")
tap.eq(sorted(os.listdir(at("swap/d"))) if os.path.isdir(at("swap/d")) else None, sorted(str(i) for i in range(60)),
       "F2: the honest change lands afterwards")

# ---- F3, F4: hidden files by another way ----

home.write("sub/deep/.env", "TOKEN=" + SECRET + "\n")
home.write("server.pem", "-----BEGIN PRIVATE KEY-----\n" + SECRET + "\n")
got = sh("ln -s server.pem x; cat x; cp server.pem y; cat y; ln server.pem z; cat z; mv server.pem w; cat w; "
         "cat server.pem; echo made > server.pem; cat server.pem; tar cf - . 2>/dev/null | grep -a secret-marker; "
         "mv sub sub2; cat sub2/deep/.env; mv sub2/deep top; cat top/.env; find . -type f -exec cat {} + ; true")
tap.ok(got.returncode == 0 and SECRET not in got.stdout, "F3 F4: no copy, link, rename or move of a parent shows a secret",
       got.stdout)
tap.ok(SECRET in read("server.pem") and SECRET in read("sub/deep/.env"), "F4: and the owner's are as they were")
clean()
got = sh("mkdir tools && echo '{}' > tools/tasks.json && mv tools .vscode; mkdir -p a/hooks && "
         "echo '#!/bin/sh' > a/hooks/post-checkout && mv a .git")
changes = waiting()
tap.ok(changes.get(".vscode/tasks.json", {}).get("class") == "runs-on-host"
       and changes.get(".git/hooks/post-checkout", {}).get("class") == "runs-on-host",
       "F4: a folder renamed into place is what its new name says", changes)
clean()

# ---- F5: hard links ----

home.write("mine.txt", "mine\n")
os.link(at("mine.txt"), os.path.join(home.top, "other-name"))
got = sh("ln /etc/passwd p; ln /usr/bin/env e; echo agent >> mine.txt; ln mine.txt second.py; ls")
changes = waiting()
tap.ok("p" not in changes and "e" not in changes, "F5: no hard link to what lies outside", got.stdout + got.stderr)
tap.ok(changes["second.py"].get("links") == 2, "F5: several names of one file are told", changes)
home.gvm("commit", "mine.txt", "second.py")
tap.eq((open(os.path.join(home.top, "other-name")).read(), read("mine.txt"), os.stat(at("mine.txt")).st_nlink),
       ("mine\n", "mine\nagent\n", 1), "F5: what lands is a file of its own")

# ---- F6: twelve poisoned repositories ----

MARKER = os.path.join(home.top, "ran")
os.mkdir(MARKER)


def git(repo, *args):
    env = {"PATH": os.environ["PATH"], "HOME": home.home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat",
           "GIT_AUTHOR_NAME": "Owner", "GIT_AUTHOR_EMAIL": "o@example.test", "GIT_COMMITTER_NAME": "Owner",
           "GIT_COMMITTER_EMAIL": "o@example.test"}
    subprocess.run(["git", *args], cwd=at(repo), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def owner_works(repo, branch):
    """What people do in a repository that an agent worked in."""
    with open(at(repo + "/src.c"), "a") as f:
        f.write(f"int {branch};\n")
    for words in (("status",), ("diff",), ("log", "-p", "-1"), ("add", "src.c"), ("commit", "-qm", "work"),
                  ("checkout", "-q", "-b", branch), ("submodule", "update", "--init")):
        git(repo, *words)
    for inner in ("nested", "bare-like"):
        if os.path.isdir(at(repo + "/" + inner)):
            git(repo + "/" + inner, "status")


def run(name):
    return f"touch {MARKER}/{name}"


def hook(name):
    return (f"#!/bin/sh\n{run(name)}\n", 0o755)


REPOS = {
    "hooks": {h: hook("hooks") for h in (".git/hooks/pre-commit", ".git/hooks/post-checkout",
                                         ".git/hooks/post-index-change", ".git/hooks/reference-transaction")},
    "fsmonitor": {".git/config": f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"{run('fsmonitor')};\"\n"},
    "hookspath": {".git/config": "[core]\n\trepositoryformatversion = 0\n\thooksPath = tools\n",
                  "tools/pre-commit": hook("hookspath"), "tools/post-checkout": hook("hookspath")},
    "filter": {".gitattributes": "* filter=f\n",
               ".git/config": f"[core]\n\trepositoryformatversion = 0\n[filter \"f\"]\n\tclean = \"{run('filter')}; cat\"\n"},
    "textconv": {".git/info/attributes": "*.c diff=t\n",
                 ".git/config": f"[core]\n\trepositoryformatversion = 0\n[diff \"t\"]\n\ttextconv = \"{run('textconv')}; cat\"\n"},
    "external": {".gitattributes": "*.c diff=e\n",
                 ".git/config": f"[core]\n\trepositoryformatversion = 0\n[diff \"e\"]\n\tcommand = \"{run('external')};\"\n"},
    "worktree": {".git/config": "[core]\n\trepositoryformatversion = 0\n[extensions]\n\tworktreeConfig = true\n",
                 ".git/config.worktree": f"[core]\n\tfsmonitor = \"{run('worktree')};\"\n"},
    "include": {".git/config": "[core]\n\trepositoryformatversion = 0\n[include]\n\tpath = ../style.cfg\n",
                "style.cfg": f"[core]\n\tfsmonitor = \"{run('include')};\"\n"},
    "nested": {"nested/.git/HEAD": "ref: refs/heads/main\n", "nested/.git/objects/x": "", "nested/.git/refs/x": "",
               "nested/.git/config": f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"{run('nested')};\"\n"},
    "bare": {"bare-like/HEAD": "ref: refs/heads/main\n", "bare-like/objects/x": "", "bare-like/refs/x": "",
             "bare-like/config": f"[core]\n\trepositoryformatversion = 0\n\tworktree = .\n\tfsmonitor = \"{run('bare')};\"\n"},
    "gitfile": {"nested/.git": "gitdir: ../elsewhere\n", "elsewhere/HEAD": "ref: refs/heads/main\n",
                "elsewhere/objects/x": "", "elsewhere/refs/x": "",
                "elsewhere/config": f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"{run('gitfile')};\"\n"},
    "alias": {".git/config": f"[core]\n\trepositoryformatversion = 0\n\tpager = \"{run('alias')};\"\n[diff]\n\texternal = \"{run('alias')};\"\n"
                             f"[gpg]\n\tprogram = \"{run('alias')}\"\n[commit]\n\tgpgSign = true\n"},
}
for name in REPOS:
    os.makedirs(at(name))
    with open(at(name + "/src.c"), "w") as f:
        f.write("int a;\n")
    git(name, "init", "-q", "-b", "main")
    git(name, "add", "-A")
    git(name, "commit", "-qm", "first")
poison = {f"{repo}/{name}": what for repo, files in REPOS.items() for name, what in files.items()}
poison.update({f"{repo}/src.c": "int a;\nint b;\n" for repo in REPOS})
changes = plant(poison)
tap.eq(len([r for r in REPOS if any(p.startswith(r + "/") and c["class"] == "runs-on-host" for p, c in changes.items())]),
       12, "F6: each of twelve poisonings is seen")
got = home.gvm("review", "--accept", ".")
tap.ok(got.returncode == 0 and read("hooks/src.c") == "int a;\nint b;\n", "F6: the owner takes all but what runs here",
       got.stderr)
for name in REPOS:
    owner_works(name, "first")
tap.eq(os.listdir(MARKER), [], "F6: then git runs nothing of the agent's in any of twelve repositories")
home.gvm("commit", "--all", "--yes")
for name in REPOS:
    owner_works(name, "second")
ran = sorted(os.listdir(MARKER))
tap.ok(len(ran) >= 11, "F6: the poison was real: with an explicit yes to everything it does run", ran)

# ---- F8: kinds of file, and a long list that hides one ----

for n in range(60):
    home.write(f"many/{n:02d}.txt", "x\n")
home.write("many/important.txt", "x\n")
code = """
import os
os.mkfifo("pipe")
try:
    os.mknod("dev", 0o20666, os.makedev(1, 3))
except OSError as e:
    print("mknod", e.errno)
open("suid", "w").write("x"); os.chmod("suid", 0o4755)
open("sgid", "w").write("x"); os.chmod("sgid", 0o2755)
open("tagged.py", "w").write("x"); os.setxattr("tagged.py", "user.note", b"agent")
for name in os.listdir("many"):
    os.unlink("many/" + name)
"""
got = agent(code)
changes = waiting()
tap.ok("mknod" in got.stdout and "dev" not in changes, "F8: no device can be made", got.stdout)
tap.eq({n: changes[n]["class"] for n in ("pipe", "suid", "sgid")}, dict.fromkeys(("pipe", "suid", "sgid"), "runs-on-host"),
       "F8: FIFO and setuid need a yes of their own")
gone = [p for p, c in changes.items() if c["change"] == "deleted" and p.startswith("many/")]
tap.ok(len(gone) == 61 and "many/important.txt" in gone, "F8: every deletion is listed", len(gone))
tap.ok("more" in got.stderr and home.gvm("diff", "--stat").stdout.count("many/") == 61,
       "F8: the short summary says that there are more", got.stderr)
home.gvm("commit", "suid", "sgid", "tagged.py")
tap.eq((stat.S_IMODE(os.stat(at("suid")).st_mode), stat.S_IMODE(os.stat(at("sgid")).st_mode)), (0o755, 0o755),
       "F8: even then the bits that give rights away do not land")
tap.eq(os.getxattr(at("tagged.py"), "user.note"), b"agent", "F8: a harmless attribute does")
clean()

# ---- F9: taking back over a planted link ----

home.write("undo/a.txt", "before\n")
agent("open('undo/a.txt', 'w').write('after\\n'); import os; os.makedirs('fresh'); open('fresh/b.py', 'w').write('x')")
home.gvm("commit", "undo", "fresh")
os.unlink(at("undo/a.txt"))
os.symlink(os.path.join(outside, "victim"), at("undo/a.txt"))
os.unlink(at("fresh/b.py"))
os.rmdir(at("fresh"))
os.symlink(outside, at("fresh"))
with open(os.path.join(outside, "b.py"), "w") as f:
    f.write("owner's\n")
got = home.gvm("undo")
home.gvm("undo", "--force")
tap.eq((sorted(os.listdir(outside)), open(os.path.join(outside, "victim")).read()), (["b.py", "victim"], SECRET),
       "F9: an undo follows no link that was planted in its way", got.stdout + got.stderr)

# ---- F10, F11: what is shown, and read-only ----

got = home.gvm("run", "--sandbox", "--workspace", home.top, "--", "sh", "-c",
               f"ls {home.state} {home.state}/keys {home.state}/ledger {home.runtime}; cat {home.config}; true")
tap.ok(got.returncode == 125 or ("seed" not in got.stdout and "events" not in got.stdout and "closed" not in got.stdout
                                 and "gvmd.sock" not in got.stdout),
       "F10: a workspace above GVM's own places shows nothing of them", got.stdout + got.stderr)
got = agent("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def mount(*a):
    return libc.mount(*a) == 0 or ctypes.get_errno()
print(mount(None, b"/usr", None, 32 | 4096, None), mount(b"/usr", b"/mnt", None, 4096, None), mount(b"none", b"/tmp", b"tmpfs", 0, None))
for path in ("/usr/bin/x", "/etc/x", "/bin/x", "/lib/x"):
    try:
        open(path, "w"); print("WROTE", path)
    except OSError as e:
        print(e.errno)
""")
tap.ok("True" not in got.stdout and "WROTE" not in got.stdout and got.stdout.count("30") + got.stdout.count("13") >= 4,
       "F11: what is read-only is not remounted or written", got.stdout)

# ---- F12: the environment as a way in and out ----

bad = {"LD_PRELOAD": "/tmp/evil.so", "LD_LIBRARY_PATH": "/tmp", "NODE_OPTIONS": "--require /tmp/x", "BASH_ENV": "/tmp/x",
       "ENV": "/tmp/x", "PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/tmp/x", "PERL5OPT": "-Mx", "RUBYOPT": "-rx",
       "GIT_SSH_COMMAND": "x", "GIT_EXTERNAL_DIFF": "x", "PROMPT_COMMAND": "x", "AWS_SECRET_ACCESS_KEY": SECRET}
bad.pop("LD_PRELOAD")
got = sh("env; export LD_PRELOAD=/tmp/x GVM_CONFIG=/tmp/none GVM_STATE_DIR=/tmp/none; "
         "echo 'export LD_PRELOAD=/tmp/x' >> $HOME/.bashrc; echo 'alias gvm=false' >> $HOME/.profile", env=bad)
leaked = [n for n in bad if n + "=" in got.stdout]
tap.eq(leaked, [], "F12: variables that load code, and secrets, do not reach the agent")
tap.ok(not os.path.exists(os.path.join(home.home, ".bashrc")), "F12: nor do its start-up files reach the owner")
tap.eq(home.gvm("status").returncode, 0, "F12: and what it exports changes nothing here")

# ---- F13: the launcher is killed ----

process = home.start("run", "--sandbox", "--", "sh", "-c", "echo kept > kept.py; echo more > more.txt; sleep 60")
runs = os.path.join(home.state, "runs")
gvmtest.wait_for(lambda: any(os.path.exists(os.path.join(runs, r, "upper", "more.txt")) for r in os.listdir(runs)), 15)
process.send_signal(signal.SIGKILL)
process.communicate()
tap.ok(gvmtest.wait_for(lambda: {"kept.py", "more.txt"} <= set(waiting()), 5), "F13: kill -9 loses nothing that was staged",
       waiting())
tap.eq((home.gvm("commit", "kept.py").returncode, read("kept.py")), (0, "kept\n"), "F13: and it can be taken")
tap.done()
