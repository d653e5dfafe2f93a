"""What gvmd does for a long record by itself: it fills the index before anybody asks, and keeps the record as a reload says."""
import os
import sqlite3
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "interop")]
import gvmtest  # noqa: E402
import test_ledger as ours  # noqa: E402

MANY = 12000  # more than a mebibyte
tap = gvmtest.Tap()
home = gvmtest.Home('[policy]\ndefault = { type = "Deny" }\n')
LEDGER = os.path.join(home.state, "ledger")
INDEX = os.path.join(home.state, "index")


def stop():
    home.gvm("stop", "--force")
    gvmtest.wait_for(lambda: not os.path.exists(os.path.join(home.runtime, "gvmd.sock")))


def covered():
    """Entries the index holds, asked of the file itself: a question of gvm's would fill it."""
    try:
        newest = max(n for n in os.listdir(INDEX) if n.endswith(".db"))
        with sqlite3.connect(f"file:{INDEX}/{newest}?mode=ro", uri=True) as db:
            return db.execute("SELECT value FROM meta WHERE name = 'next'").fetchone()[0]
    except (OSError, ValueError, sqlite3.Error, TypeError):
        return 0


os.makedirs(home.state, mode=0o700)
with open(os.path.join(home.state, "origin"), "w") as f:
    f.write(ours.ORIGIN + "\n")
tap.eq(home.run("true").returncode, 0, "a run")
stop()
log = ours.Log(LEDGER, os.path.join(home.state, "keys", "log.seed"))
last = log.append(0, MANY)
ours.wait_head(LEDGER, last + 1)
log.stop()
tap.eq(covered(), 0, "the record has grown, and there is no index")
home.run("true")
tap.ok(gvmtest.wait_for(lambda: covered() > last, 20), "the daemon fills it by itself", covered())
tap.eq(len(home.events("--last", "3")), 3, "and questions are answered")

segments = lambda: sorted(n for n in os.listdir(os.path.join(LEDGER, "events")) if ".jsonl" in n)  # noqa: E731
tap.eq(len(segments()), 1, "one segment")
home.write_config('[policy]\ndefault = { type = "Deny" }\n[audit]\nsegment_size = "1MiB"\nkeep_size = "1GiB"\n')
tap.eq(home.gvm("reload").returncode, 0, "a reload says smaller segments")
tap.eq(home.events("--kind", "config.load")[-1]["diff"]["settings"], ["audit.segment_size", "audit.keep_size"],
       "its entry says what changed")
home.run("true")
tap.ok(gvmtest.wait_for(lambda: len(segments()) == 2, 10), "the segment is closed, without a restart", segments())
stop()
tap.eq(home.gvm("events", "--index").stdout, "", "events --index prints nothing")
tap.ok(covered() > last + 1, "and brings in what came since", covered())
tap.eq(home.gvm("audit", "verify").returncode, 0, "the record verifies")
tap.done()
