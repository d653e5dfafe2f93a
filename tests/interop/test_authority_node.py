#!/usr/bin/python3
"""Node's URL class (WHATWG) as oracle for our authority reader: a host that we take must be the same
host to a client library, or a client could be sent to another place than the one we judged.

Being stricter is allowed. One kind of host we take and Node does not: names with an A-label that IDNA
dislikes (in ASCII we keep it as the plain letters it is to DNS; libidn2 is milder about "_" beside
right-to-left letters). No client goes anywhere with those, so they cannot be taken for another host.
"""
import json
import os
import random
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = int(os.environ.get("GVM_INTEROP_CASES", "10000"))
PIECES = ["a", "b", ".", ".", ".", "..", "1", "0x7f", "127", "0177", "256", "0", "8", "09", "4294967295", "2130706433",
          "xn--", "xn--bcher-kva", "\u00fc", "\u00df", "\uff0e", "\u3002", "\uff61", "%61", "%2e", "-", "_", "@", ":",
          ":80", ":8080", "[::1]", "[::ffff:7f00:1]", "[", "]", "A", "\u0130", "\u017f", "\u2460", "\u200d", "\u00ad",
          "/", "\\", "?", "#", "com", "example", "\u2100", "\u212a", "\u0300", "\u0627", "\u06f1", "\uff11", "\u2488",
          "localhost"]
ORACLE = """
const lines = require('readline').createInterface({input: process.stdin});
lines.on('line', (l) => {
    try {
        const u = new URL('https://' + Buffer.from(l, 'hex').toString() + '/');
        console.log(JSON.stringify([u.hostname, u.port]));
    } catch (e) { console.log('null'); }
});
"""


def find_probe():
    base = os.environ.get("GVM_BIN") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
    for path in (os.path.join(base, "wire_probe"), os.path.join(base, "tests/unit/wire/wire_probe")):
        if os.access(path, os.X_OK):
            return path
    return None


def ask(command, prefix, cases):
    text = "".join(prefix + c.encode().hex() + "\n" for c in cases)
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def node_host(text):
    """Node's host in our form: no brackets, no trailing dot, mapped IPv4 as IPv4."""
    host = text.strip("[]").rstrip(".")
    if host.startswith("::ffff:") and host.count(":") == 4:
        high, low = (int(g, 16) for g in host.split(":")[3:])
        return ".".join(str(b) for b in (high >> 8, high & 255, low >> 8, low & 255))
    return host


def main():
    probe, node = find_probe(), shutil.which("node")
    if not probe or not node:
        print("ok 1 - authority against Node # SKIP " + ("no node" if probe else "no wire_probe") + "\n1..1")
        return 0
    rng = random.Random(int(os.environ.get("GVM_INTEROP_SEED", "20261123")))
    cases = ["".join(rng.choice(PIECES) for _ in range(rng.choice((1, 2, 3, 4, 5, 6)))) for _ in range(CASES)]
    ours, theirs = ask([probe], "authority ", cases), ask([node, "-e", ORACLE], "", cases)
    accepted, opaque, failures = 0, 0, []
    for text, mine, his in zip(cases, ours, theirs):
        if not mine["ok"]:
            continue
        accepted += 1
        if his is None:
            opaque += 1
            if "xn--" not in mine["host"]:
                failures.append((text, mine, his))
        elif node_host(his[0]) != mine["host"] or (his[1] or "443") != str(mine["port"] or 443):
            failures.append((text, mine, his))
    results = [(f"{accepted} of {len(cases)} hosts are the same to Node ({opaque} international ones it does not know)",
                not failures and len(ours) == len(theirs) == len(cases)),
               ("the cases reach both sides of the border", CASES // 20 < accepted < len(cases))]
    for i, (name, good) in enumerate(results, 1):
        print(f"{'' if good else 'not '}ok {i} - {name}")
    for failure in failures[:20]:
        print("#  ", failure)
    print(f"1..{len(results)}")
    return 0 if all(good for _, good in results) else 1


if __name__ == "__main__":
    sys.exit(main())
