"""gvm run --continue: an agent goes on from what an earlier run left staged."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny" }\n')


def newest():
    return json.loads(home.gvm("runs", "--json").stdout.splitlines()[-1])["id"]


def waiting(run=()):
    return {c["path"]: c for c in map(json.loads, home.gvm("diff", *run, "--json").stdout.splitlines())}


def read(name):
    try:
        with open(os.path.join(home.workspace, name)) as f:
            return f.read()
    except OSError:
        return None


home.write("story.txt", "".join(f"line {n}\n" for n in range(1, 21)))
home.write("gone.txt", "x\n")
home.run("sh", "-c", "echo first > one.py; sed -i 's/line 2$/LINE 2/' story.txt; rm gone.txt; echo note > $HOME/state")
first = newest()
home.write("story.txt", read("story.txt").replace("line 19\n", "OWNER 19\n"))
got = home.run("sh", "-c", "cat one.py; cat $HOME/state; test -e gone.txt || echo gone; sed -n 2p story.txt; "
               "echo second > two.py; echo more >> one.py", flags=("--continue", first))
tap.eq((got.returncode, got.stdout), (0, "first\nnote\ngone\nLINE 2\n"),
       "the agent sees what it left, in the workspace and in its home", got.stderr)
second = newest()
tap.ok(second != first and waiting((first,)) == {}, "the old run has nothing any more", waiting((first,)))
changes = waiting()
tap.eq({p: c["change"] for p, c in changes.items()},
       {"one.py": "created", "two.py": "created", "story.txt": "modified", "gone.txt": "deleted"},
       "the new one has all of it")
tap.ok(changes["story.txt"]["conflict"] and not changes["gone.txt"]["conflict"],
       "what the owner changed between the runs is a conflict", changes)
home.gvm("commit", "story.txt")
story = read("story.txt")
tap.ok("LINE 2\n" in story and "OWNER 19\n" in story, "and merges against what the first run began with", story)
got = home.run("true", flags=("--continue", second[:-1]))
tap.ok(got.returncode == 0 and set(waiting()) == {"one.py", "two.py", "gone.txt"}, "once more, by the beginning of its id",
       got.stderr)
tap.eq((home.gvm("commit", "--all", "--yes").returncode, read("one.py"), read("gone.txt")), (0, "first\nmore\n", None),
       "and it lands")

other = os.path.join(home.home, "other")
os.makedirs(other)
for flags, why in ((("--continue", "nosuchrun"), "no run"), (("--continue", newest(), "--workspace", other), "another workspace")):
    got = home.run("true", flags=flags)
    tap.ok(got.returncode == 125 and why in got.stderr, "refused: " + " ".join(flags[:1]) + ", " + why, got.stderr)
process = home.start("run", "--sandbox", "--", "sleep", "30")
gvmtest.wait_for(lambda: '"running"' in home.gvm("runs", "--json").stdout, 15)
got = home.run("true", flags=("--continue", newest()))
tap.ok(got.returncode == 125 and "still runs" in got.stderr, "a run that lives is not taken over", got.stderr)
gvmtest.end(process)
got = home.run("/nothing/here", flags=("--continue", newest()))
tap.ok(got.returncode == 127, "a command that is not there", got.stderr)

home.run("sh", "-c", "echo kept > kept.py")
run = newest()
got = home.gvm("run", "--sandbox", "--continue", run, "--config", "/nothing", "--", "true")
tap.ok(got.returncode == 125 and "kept.py" in waiting((run,)), "a run that cannot start takes nothing", got.stderr)
home.gvm("stop", "--force")
home.write_config("[nonsense\n")
got = home.gvm("run", "--sandbox", "--continue", run, "--", "true")
tap.ok(got.returncode == 125, "nor one that fails later", got.stderr)
home.write_config("")
tap.eq(([c["path"] for c in waiting((run,)).values()], newest()), (["kept.py"], run),
       "what was staged is back with the old run, and the new one is gone")
tap.eq((home.gvm("commit", run, "kept.py").returncode, read("kept.py")), (0, "kept\n"), "and lands from there")
tap.done()
