"""The record's key is changed: the old one vouches for the new one in an entry, and who trusts the first key can
verify everything after it. Wrong or half changes are refused or finished."""
import base64
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

tap = gvmtest.Tap()
home = gvmtest.Home("")
KEYS, LEDGER = os.path.join(home.state, "keys"), os.path.join(home.state, "ledger")


def audit(*args):
    got = home.gvm("audit", *args)
    return got.returncode, got.stdout + got.stderr


def text(*args):
    return home.gvm("audit", *args).stdout


def seeds():
    return sorted(n for n in os.listdir(KEYS) if n.startswith("log."))


def read(*where):
    with open(os.path.join(*where), "rb") as f:
        return f.read()


def write(data, *where):
    path = os.path.join(*where)
    with open(path, "wb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(data)
    return path


def run(word):
    """A run that leaves a signed head over all of it, and no daemon."""
    got = home.python(f"print({word!r})")
    size = len(home.events())
    gvmtest.wait_for(lambda: text("checkpoint").split("\n")[1:2] == [str(size)], 10)
    home.gvm("stop", "--force")
    return got


def rotate():
    got = home.gvm("audit", "rotate-key")
    tap.eq(got.returncode, 0, "gvm audit rotate-key", got.stderr)
    return got.stdout.strip()


def changed():
    run("first")
    first, old_seed = text("key").strip(), read(KEYS, "log.seed")
    older = write(text("checkpoint").encode(), home.top, "older")
    second = rotate()
    tap.eq(text("key").strip(), first, "nothing changes before gvmd starts")
    code, said = audit("rotate-key")
    tap.ok(code == 1 and "prepared already" in said, "a second change waits for the first", said)
    run("second")
    tap.eq((text("key").strip(), read(LEDGER, "verifier-key").decode().strip()), (second, first),
           "then the new key is in force, and the first one still lies beside the record")
    tap.ok(read(KEYS, "log.seed") != old_seed and seeds() == ["log.seed"],
           "the old seed is gone", os.listdir(KEYS))
    entries = [e for e in home.events() if e["kind"] == "ledger.key"]
    tap.ok(len(entries) == 1 and first in entries[0]["voucher"] and second in entries[0]["voucher"],
           "the record says so, once", entries)
    for name, key in (("the first", first), ("the present", second)):
        code, said = audit("verify", "--key", key)
        tap.eq(code, 0, f"the whole record verifies from {name} key", said)
    code, said = audit("verify", "--since", older)
    tap.eq(code, 0, "and extends a head that the first key signed", said)
    code, said = audit("head", older, "--key", second)
    tap.eq(code, 3, "a head of before is not the new key's", said)
    third = rotate()
    run("third")
    code, said = audit("verify", "--key", first)
    tap.ok(code == 0 and text("key").strip() == third, "and once more", said)
    code, said = audit("verify", "--key", second)
    tap.eq(code, 0, "from the key in the middle too", said)
    return first, second, third, old_seed, older


def background():
    """The daemon's own verification, over a record with three keys."""
    home.python("print(1)")

    def verdict():
        return json.loads(home.gvm("status", "--json").stdout or "{}").get("verified")
    got = gvmtest.wait_for(verdict, 20)
    tap.ok(got and got["ok"] and got["entries"] > 10, "the daemon verifies it by itself", got)
    home.gvm("stop", "--force")


def elsewhere(first, third):
    """Somebody who has the first key and nothing else of ours."""
    bundle = os.path.join(home.top, "bundle")
    audit("prove", "--where", "kind=run.end", "--out", bundle)
    code, said = audit("verify-proof", bundle, "--key", first)
    tap.eq(code, 0, "a bundle brings what leads from the first key to its head", said)
    proof = os.path.join(home.top, "proof")
    audit("prove", "0", "--out", proof)
    code, said = audit("verify-proof", proof, "--key", first)
    tap.eq(code, 3, "a plain proof does not", said)
    chain = write(text("key", "--chain").encode(), home.top, "chain")
    for key in (chain, third):
        code, said = audit("verify-proof", proof, "--key", key)
        tap.eq(code, 0, "it holds with the chain, or the present key", said)
    out = os.path.join(home.top, "tiles")
    audit("export", "--format", "tlog-tiles", "--out", out)
    code, said = audit("verify", "--tiles", "--dir", out, "--key", first)
    tap.eq(code, 0, "a static directory brings it too", said)


def sign(seed, body):
    """A signature of this seed, by the openssl program."""
    key = write(bytes.fromhex("302e020100300506032b657004220420") + seed, home.top, "key.der")
    data = write(body, home.top, "body")
    sig = os.path.join(home.top, "sig")
    subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-keyform", "DER", "-rawin", "-in", data,
                    "-out", sig], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return read(sig)


def attacks(first, old_seed):
    copy = os.path.join(home.top, "copy")

    def judged(name, want=3, words=""):
        code, said = audit("verify", "--dir", copy, "--key", first)
        tap.ok(code == want and words in said, name, (code, said))
        shutil.rmtree(copy)

    shutil.copytree(LEDGER, copy)
    note = read(copy, "checkpoint").decode()
    body, blank, _ = note.rpartition("\n\n")
    blob = bytes.fromhex(first.split("+")[1]) + sign(old_seed, (body + "\n").encode())
    write(f"{body}\n\n\u2014 {first.split('+')[0]} {base64.b64encode(blob).decode()}\n".encode(), copy, "checkpoint")
    judged("a head that the replaced key signed is refused", words="replaced")
    shutil.copytree(LEDGER, copy)
    os.unlink(os.path.join(copy, "key-chain"))
    judged("without the chain the first key does not lead to the head")
    shutil.copytree(LEDGER, copy)
    chain = bytearray(read(copy, "key-chain"))
    chain[-20] ^= 1
    write(bytes(chain), copy, "key-chain")
    judged("a voucher that was changed is refused", want=2)


def crashed():
    """Every state that a crash may leave in the middle of a change."""
    for step in ("prepared", "chained", "in place", "no voucher"):
        key = rotate()
        before = text("key").strip()
        voucher = read(KEYS, "log.voucher")
        if step in ("chained", "in place"):
            write(read(LEDGER, "key-chain") + voucher, LEDGER, "key-chain")
        if step == "in place":
            os.replace(os.path.join(KEYS, "log.seed.next"), os.path.join(KEYS, "log.seed"))
        if step == "no voucher":
            os.unlink(os.path.join(KEYS, "log.voucher"))
        got = run("after a crash")
        want = before if step == "no voucher" else key
        tap.eq((got.returncode, text("key").strip(), seeds()), (0, want, ["log.seed"]),
               f"a change interrupted when {step} is finished, or dropped", got.stderr)
        code, said = audit("verify")
        tap.eq(code, 0, "and the record verifies from its first key", said)
    rotate()
    write(os.urandom(32), KEYS, "log.seed.next")
    got = home.python("print(1)")
    tap.ok(got.returncode == 125 and "does not hold" in got.stderr, "a prepared key that was swapped stops the start",
           got.stderr)


def protected():
    """The seed under a passphrase."""
    for name in seeds():
        if name != "log.seed":
            os.unlink(os.path.join(KEYS, name))
    plain, key = read(KEYS, "log.seed"), text("key").strip()
    got = home.gvm("audit", "protect-key")
    tap.ok(got.returncode == 1 and "GVM_LOG_PASSPHRASE_FILE" in got.stderr, "protect-key asks for the passphrase's file",
           got.stderr)
    secret = write(b"correct horse battery\n", home.top, "passphrase")
    home.env["GVM_LOG_PASSPHRASE_FILE"] = secret
    got = home.gvm("audit", "protect-key")
    sealed = read(KEYS, "log.seed")
    tap.ok(got.returncode == 0 and sealed.startswith(b"gvm-vault@v1 ") and plain not in sealed,
           "then the seed lies encrypted", got.stderr)
    got = run("locked")
    code, said = audit("verify")
    tap.ok(got.returncode == 0 and code == 0 and text("key").strip() == key and read(KEYS, "log.seed") == sealed,
           "gvmd opens it by itself and signs as before", got.stderr + said)
    new = rotate()
    tap.ok(read(KEYS, "log.seed.next").startswith(b"gvm-vault@v1 "), "a new key is protected like the old one")
    run("turned")
    code, said = audit("verify")
    tap.ok(code == 0 and text("key").strip() == new, "and comes into force", said)
    for name, change, words in (("no passphrase", lambda: home.env.pop("GVM_LOG_PASSPHRASE_FILE"), "passphrase"),
                                ("another one", lambda: write(b"wrong\n", home.top, "passphrase"), "another passphrase"),
                                ("one that others can read", lambda: os.chmod(secret, 0o644), "chmod 600")):
        change()
        got = home.python("print(1)")
        tap.ok(got.returncode == 125 and words in got.stderr, f"with {name} nothing starts", got.stderr)
        home.env["GVM_LOG_PASSPHRASE_FILE"] = write(b"correct horse battery\n", home.top, "passphrase")
    got = home.gvm("audit", "unprotect-key")
    home.env.pop("GVM_LOG_PASSPHRASE_FILE")
    tap.eq((got.returncode, run("open").returncode, text("key").strip()), (0, 0, new), "unprotect-key undoes it",
           got.stderr)


def main():
    first, second, third, old_seed, older = changed()
    background()
    elsewhere(first, third)
    attacks(first, old_seed)
    crashed()
    protected()
    tap.done()


main()
