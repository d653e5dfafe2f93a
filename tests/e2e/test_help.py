"""Each verb's help: on stdout, exit 0, at most 80 columns. Wrong usage: on stderr, exit 2."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home()
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERBS = ("run watch suggest check explain test replay trust reload approve diff review commit discard undo runs logs attach "
         "events stats audit status stop preflight selftest version help").split()


def page(name):
    path = os.path.join(TOP, "man", name)
    with open(path) as f:
        return f.read().replace("\\-", "-")


overview = home.gvm("--help")
tap.eq((overview.returncode, overview.stderr), (0, ""), "gvm --help goes to stdout")
listed = re.findall(r"^  ([a-z]+)  ", overview.stdout, re.M)
tap.eq(listed, VERBS, "gvm --help lists every verb, in the order people meet them")
tap.eq(home.gvm("help").stdout, overview.stdout, "gvm help says the same")
bare = home.gvm()
tap.ok(bare.returncode == 2 and not bare.stdout and bare.stderr == overview.stdout,
       "gvm alone shows it on stderr and exits 2")

manual, completion = page("gvm.1"), open(os.path.join(TOP, "completions", "gvm.bash")).read()
for verb in VERBS:
    got = home.gvm(verb, "--help")
    wide = [line for line in got.stdout.splitlines() if len(line) > 80]
    good = (got.returncode == 0 and not got.stderr and got.stdout.startswith(f"usage: gvm {verb}")
            and got.stdout.endswith("\n") and not wide)
    tap.ok(good, f"{verb} --help", f"exit {got.returncode}\n{got.stdout}\n{got.stderr}\n{wide}")
    tap.eq(home.gvm("help", verb).stdout, got.stdout, f"help {verb} is the same")
    wrong = home.gvm(verb, "--no-such-option")
    tap.ok(wrong.returncode == 2 and not wrong.stdout and "--no-such-option" in wrong.stderr
           and f"gvm {verb}" in wrong.stderr, f"{verb} refuses an unknown option by name",
           f"exit {wrong.returncode}\n{wrong.stdout}\n{wrong.stderr}")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", got.stdout)) - {"--help"}
    missing = sorted(o for o in options if o not in manual)
    tap.eq(missing, [], f"gvm(1) knows every option of {verb}")
    missing = sorted(o for o in options if o not in completion)
    tap.eq(missing, [], f"the completion knows every option of {verb}")

for typed, meant in (("comit", "commit"), ("stauts", "status"), ("evnets", "events"), ("dif", "diff")):
    got = home.gvm(typed)
    tap.ok(got.returncode == 2 and f"'{meant}'" in got.stderr, f"{typed}: did you mean {meant}", got.stderr)
got = home.gvm("frobnicate\033[2J")
tap.ok(got.returncode == 2 and "mean" not in got.stderr and "\033" not in got.stderr,
       "a word like no verb gets no guess, and its escapes are shown as text", got.stderr)
for words in (("status", "x"), ("runs", "x"), ("stop", "x", "y"), ("reload", "x"), ("version", "x"),
              ("help", "run", "diff"), ("approve", "--id"), ("approve", "--id", "1"),
              ("approve", "--allow"), ("approve", "--id", "1", "--allow", "--deny"),
              ("approve", "--id", "1", "--allow", "--for", "soon"), ("approve",)):
    got = home.gvm(*words)
    tap.ok(got.returncode == 2 and got.stderr and not got.stdout, "usage error: gvm " + " ".join(words),
           f"exit {got.returncode}\n{got.stdout}\n{got.stderr}")

version = home.gvm("version").stdout
tap.ok(re.fullmatch(r"gvm \d+\.\d+\.\d+\n", version), "gvm version", version)
tap.eq(home.gvm("--version").stdout, version, "gvm --version")
tap.ok(not os.path.exists(os.path.join(home.runtime, "gvmd.sock")), "none of this started a daemon")

done = subprocess.run([os.path.join(gvmtest.BIN, "gvm"), "--help"], stdout=open("/dev/full", "w"),
                      stderr=subprocess.PIPE)
tap.ok(done.returncode == 1 and b"No space" in done.stderr, "output that cannot be written is an error",
       done.stderr)
tap.done()
