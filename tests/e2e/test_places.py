"""Where a workspace may lie: behind a link, around or inside another one, around the home, in a worktree whose repository is elsewhere,
and with a home that is a file system of its own."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny", reason = "closed" }\n')
GVM = os.path.join(gvmtest.BIN, "gvm")


def run(script, *flags, cwd=None):
    return home.gvm("run", *flags, "--", "sh", "-c", script, cwd=cwd)


def changes(cwd=None):
    return sorted(line.split('"path":"')[1].split('"')[0] for line in home.gvm("diff", "--json", cwd=cwd).stdout.splitlines() if '"path":"' in line)


def git(*args, cwd):
    env = {"PATH": os.environ["PATH"], "HOME": home.home, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=a@b", *args], cwd=cwd, env=env, capture_output=True, text=True, check=True)


def links():
    real, link = os.path.join(home.top, "real"), os.path.join(home.top, "link")
    os.makedirs(os.path.join(real, "sub"))
    os.symlink(real, link)
    done = run("pwd; echo x > made.c", cwd=os.path.join(link, "sub"))
    tap.eq((done.stdout.strip(), done.returncode), (os.path.join(real, "sub"), 0), "a directory behind a link", done.stderr)
    tap.eq(changes(os.path.join(link, "sub")), ["made.c"], "its changes are found by either name")
    tap.eq(home.gvm("commit", "--all", "--yes", cwd=os.path.join(real, "sub")).returncode, 0, "and land")
    tap.ok(os.path.exists(os.path.join(real, "sub", "made.c")), "in the real place")


def nested():
    outer = os.path.join(home.home, "outer")
    inner = os.path.join(outer, "inner")
    os.makedirs(inner)
    for place, name in ((outer, "o.c"), (inner, "i.c")):
        with open(os.path.join(place, name), "w") as f:
            f.write("old\n")
    run("echo inner >> i.c", cwd=inner)
    one = changes(inner)
    done = run("cat inner/i.c; echo outer >> o.c; echo outer >> inner/i.c", cwd=outer)
    tap.eq(done.stdout, "old\n", "an outer workspace does not see what waits in an inner one", done.stderr)
    tap.eq((one, changes(outer)), (["i.c"], ["inner/i.c", "o.c"]), "each has its own changes")
    done = run("cat ../o.c; echo x > ../o.c; cat ../o.c", cwd=inner)
    tap.eq(open(os.path.join(outer, "o.c")).read(), "old\n", "and what lies above a workspace is not changed", done.stdout)
    done = run("pwd; cat i.c", "--workspace", outer, cwd=inner)
    tap.eq(done.stdout, f"{inner}\nold\n", "--workspace names the outer one from inside", done.stderr)


def around_home():
    done = run(f"pwd; ls -A {home.home}; ls -A {home.top}; echo x > {home.top}/top.c", "--workspace", home.top, "--config", home.config)
    names = done.stdout.split()
    tap.ok(done.returncode == 0 and names[0] == home.workspace and "work" in names and "home" in names and not {"state", "run", "gvm.toml"} & set(names),
           "a workspace around the home, and GVM's own places in it stay hidden", done.stdout + done.stderr)
    tap.ok("another user" not in done.stderr, "and are not looked through either", done.stderr)
    done = run("pwd; echo x > in-home.c; ls -A ~", "--workspace", home.home, cwd=home.home)
    tap.ok(done.returncode == 0 and "in-home.c" in done.stdout, "the home itself", done.stdout + done.stderr)


def worktrees():
    if not shutil.which("git"):
        tap.ok(os.environ.get("GVM_MUST_WORK") != "1", "git is there")
        return
    for name, top in (("in the home", home.home), ("elsewhere", home.top)):
        repo, tree = os.path.join(top, "repo"), os.path.join(top, "tree")
        os.makedirs(repo)
        git("init", "-q", ".", cwd=repo)
        with open(os.path.join(repo, "a.c"), "w") as f:
            f.write("int a;\n")
        git("add", "-A", cwd=repo)
        git("commit", "-qm", "one", cwd=repo)
        git("worktree", "add", "-q", tree, cwd=repo)
        head = git("rev-parse", "HEAD", cwd=tree).stdout
        work = "git status --short && echo more >> a.c && git -c user.name=n -c user.email=a@b commit -qam two && git log --oneline | wc -l"
        done = run(work, cwd=tree)
        if top == home.home:
            tap.eq(done.stdout.split()[-1:], ["2"], "a worktree whose repository is in the home: git works", done.stderr)
            tap.ok("git worktree of" in done.stderr and "stay inside" in done.stderr, "and what becomes of commits is said", done.stderr)
        else:
            tap.ok(done.returncode and "--mount" in done.stderr, "one whose repository is elsewhere: what to do is said", done.stderr)
            done = run(work, "--mount", os.path.join(repo, ".git") + ":overlay", cwd=tree)
            tap.eq(done.stdout.split()[-1:], ["2"], "and helps", done.stderr)
        tap.eq(git("rev-parse", "HEAD", cwd=tree).stdout, head, f"{name}: the repository itself is as it was")
        tap.eq(changes(tree), ["a.c"], f"{name}: the file waits for review")
    tap.eq(run("true").stderr, "", "an ordinary workspace says nothing")


def home_on_another_file_system():
    if os.getuid():
        return  # only root can mount one without being in a user namespace already
    script = f"""mount -t tmpfs none {home.home} && mkdir -p {home.home}/work {home.home}/.ssh && echo key > {home.home}/.ssh/id_rsa && cd {home.home}/work &&
echo old > kept.c && {GVM} run -- sh -c 'echo new >> kept.c; echo x > ~/other; cat ~/.ssh/id_rsa; cat kept.c' ; {GVM} commit --all --yes; cat kept.c; ls {home.home}; {GVM} stop --force"""
    home.gvm("stop", "--force")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=home.env, capture_output=True, text=True, timeout=60)
    tap.eq(done.stdout.split()[:2] + done.stdout.split()[-3:], ["old", "new", "old", "new", "work"], "a home that is a file system of its own",
           done.stdout + done.stderr)


links()
nested()
around_home()
worktrees()
home_on_another_file_system()
home.close()
tap.done()
