#!/usr/bin/python3
"""Python's json and jansson as oracles for our JSON reader: what it takes, both take and mean the same; what
it refuses and they take is one of the things on which readers differ."""
import ctypes
import ctypes.util
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import gvmtest

CASES = int(os.environ.get("GVM_INTEROP_CASES", "6000"))
tap = gvmtest.Tap()
ATOMS = ["1", "-0", "0.5", "1e5", "1E-2", "12345678901234567890", "1e400", "true", "false", "null", '""', '"a"', '"\\u0061"', '"\\ud83d\\ude00"',
         '"é"', '"\\n\\"\\\\\\/"', "[]", "{}"]
DAMAGE = ["01", "+1", ".5", "1.", "NaN", "Infinity", "-", "tru", "nul", "'a'", '"\\x"', '"\\ud800"', '"\t"', '"\\u12"', "[1,]", "{,}", '{"a"}', '{1:2}',
          "/**/1", "1 2", '"a', "[", "]", "\ufeff1", "\x00", '"\x00"', "undefined", '{"a":1,}', "[1 2]"]


def find_probe():
    base = os.environ.get("GVM_BIN") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
    for path in (os.path.join(base, "wire_probe"), os.path.join(base, "tests/unit/wire/wire_probe")):
        if os.access(path, os.X_OK):
            return path
    return None


def ours(probe, texts):
    lines = "".join(f"json {t.hex()}\n" for t in texts)
    done = subprocess.run([probe], input=lines, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Twice(ValueError):
    pass


def unique(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise Twice
    return dict(pairs)


def depth(v):
    if isinstance(v, dict):
        return 1 + max([depth(x) for x in v.values()], default=0)
    return 1 + max([depth(x) for x in v], default=0) if isinstance(v, list) else 0


def python(text):
    """The value, or why not: "twice", "odd" for what only Python takes, "no"."""
    def odd(c):
        raise ArithmeticError(c)
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=odd)
        json.dumps(value).encode("ascii")
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # no lone surrogate
        return "deep" if depth(value) > 64 else "yes", value
    except Twice:
        return "twice", None
    except (ArithmeticError, UnicodeEncodeError):
        return "odd", None
    except (ValueError, RecursionError, UnicodeDecodeError):
        return "no", None


def far(v):
    """Has it a number that neither a double nor an int64 holds?"""
    if isinstance(v, (dict, list)):
        return any(far(x) for x in (v.values() if isinstance(v, dict) else v))
    return isinstance(v, float) and v in (float("inf"), float("-inf")) or isinstance(v, int) and abs(v) >= 1 << 63


def jansson():
    name = ctypes.util.find_library("jansson")
    if not name:
        return None
    lib = ctypes.CDLL(name)
    lib.json_loadb.restype = ctypes.c_void_p
    lib.json_loadb.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    lib.json_delete.argtypes = [ctypes.c_void_p]
    reject_duplicates, decode_any, allow_nul = 0x1, 0x4, 0x10

    def takes(text):
        v = lib.json_loadb(text, len(text), reject_duplicates | decode_any | allow_nul, None)
        if v:
            lib.json_delete(v)
        return bool(v)
    return takes


def random_text(rng, level=0):
    kind = rng.random()
    if kind < 0.5 or level > 4:
        return rng.choice(ATOMS if rng.random() < 0.97 else DAMAGE)
    parts = [random_text(rng, level + 1) for _ in range(rng.randrange(4))]
    comma = "," if rng.random() < 0.99 else rng.choice([",,", "", ";"])
    space = rng.choice(["", " ", "\n\t", "\r"])
    if kind < 0.75:
        return "[" + space + (comma + space).join(parts) + "]"
    keys = rng.choices(['"a"', '"b"', '"\\u0061"', '"A"', '""', '"é"'], k=len(parts))
    return "{" + (comma + space).join(f"{k}{space}:{p}" for k, p in zip(keys, parts)) + "}"


def main():
    probe = find_probe()
    if not probe:
        tap.skip("JSON oracles", "wire_probe was not built")
        tap.done()
    rng = random.Random(20261124)
    texts = [t.encode("utf-8", "surrogatepass") for t in ATOMS + DAMAGE + [random_text(rng) for _ in range(CASES)]]
    texts += [b"[" * n + b"]" * n for n in (63, 64, 65, 200)] + [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b"", b" "]
    for t in list(texts[:2000]):
        if t:
            b = bytearray(t)
            b[rng.randrange(len(b))] = rng.randrange(256)
            texts.append(bytes(b))
    answers = ours(probe, texts)
    taken, wrong, seen = 0, [], {}
    for text, answer in zip(texts, answers):
        want, value = python(text)
        seen[want] = seen.get(want, 0) + 1
        taken += answer["ok"]
        if answer["ok"] != (want == "yes"):
            wrong.append((text, want, answer))
        elif answer["ok"] and json.loads(bytes.fromhex(answer["text"])) != value:
            wrong.append((text, value, answer))
    tap.ok(not wrong and taken > 1000 and min(seen.get(k, 0) for k in ("yes", "no", "twice", "odd", "deep")) > 0,
           f"Python and we agree on {len(texts)} texts", f"{wrong[:5]} {seen}")
    takes = jansson()
    if not takes:
        tap.skip("jansson agrees", "libjansson is not installed")
        tap.done()
    # jansson has no reals past a double and no integers past 64 bits; all else it takes and refuses as we do.
    wrong = [t for t, a in zip(texts, answers) if a["ok"] != takes(t) and python(t)[0] != "deep" and not far(python(t)[1])]
    tap.ok(not wrong, "jansson and we agree on what is JSON", wrong[:5])
    tap.done()


main()
