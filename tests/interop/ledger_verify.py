#!/usr/bin/python3
"""A second, independent verifier of GVM ledgers: Python's standard library, zstd, and nothing of GVM.

  ledger_verify.py KEY DIR [PROOF...]

Ed25519 after RFC 8032, trees after RFC 6962 by their recursive definitions, the C2SP formats from
their specifications. Slow, and plain enough to be checked by reading. Exit 0 when all holds, 3 when
something does not, with the reason on stdout.
"""
import base64
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

# ---- Ed25519 (RFC 8032, section 6) ----

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    x = (a[1] - a[0]) * (b[1] - b[0]) % P
    y = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = y - x, d - c, d + c, y + x
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_mul(s, a):
    out = (0, 1, 1, 0)
    while s > 0:
        if s & 1:
            out = point_add(out, a)
        a = point_add(a, a)
        s >>= 1
    return out


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    return P - x if (x & 1) != sign else x


G_Y = 4 * pow(5, P - 2, P) % P
G_X = recover_x(G_Y, 0)
G = (G_X, G_Y, 1, G_X * G_Y % P)


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def ed25519_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left, right = point_mul(s, G), point_add(r, point_mul(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and \
        (left[1] * right[2] - right[1] * left[2]) % P == 0


# ---- formats ----

class Bad(Exception):
    """What does not hold."""


def sha(data):
    return hashlib.sha256(data).digest()


def leaf_hash(entry):
    return sha(b"\x00" + entry)


def node_hash(left, right):
    return sha(b"\x01" + left + right)


def parse_key(text):
    name, ident, rest = text.strip().split("+", 2)
    raw = base64.b64decode(rest, validate=True)
    if raw[0] != 1 or len(raw) != 33 or sha(name.encode() + b"\n" + raw)[:4].hex() != ident:
        raise Bad("not an Ed25519 verifier key")
    return name, bytes.fromhex(ident), raw[1:]


def open_checkpoint(note, key):
    """(size, root) of a checkpoint that `key` signed."""
    name, ident, public = key
    text, _, signatures = note.rpartition(b"\n\n")
    text += b"\n"
    good = False
    for line in signatures.decode().splitlines():
        match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/]+=*)", line)
        if not match:
            raise Bad("malformed signature line")
        blob = base64.b64decode(match.group(2), validate=True)
        if match.group(1) == name and blob[:4] == ident:
            if not ed25519_verify(public, text, blob[4:]):
                raise Bad("wrong signature")
            good = True
    if not good:
        raise Bad("not signed by this key")
    origin, size, root = text.decode().split("\n")[:3]
    if origin != name or text.count(b"\n") != 3 or str(int(size)) != size:
        raise Bad("malformed checkpoint")
    return int(size), base64.b64decode(root, validate=True)


def tree_root(hashes):
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if not hashes:
        return sha(b"")
    stack = []
    for index, value in enumerate(hashes):
        count = index + 1
        while count % 2 == 0:
            value = node_hash(stack.pop(), value)
            count //= 2
        stack.append(value)
    root = stack.pop()
    while stack:
        root = node_hash(stack.pop(), root)
    return root


def path_root(index, size, leaf, path):
    """Root of an inclusion path, by the definition of PATH in RFC 6962, section 2.1.1."""
    if size == 1:
        if path:
            raise Bad("path too long")
        return leaf
    if not path:
        raise Bad("path too short")
    k = 1 << ((size - 1).bit_length() - 1)
    if index < k:
        return node_hash(path_root(index, k, leaf, path[:-1]), path[-1])
    return node_hash(path[-1], path_root(index - k, size - k, leaf, path[:-1]))


def unpack(data, index):
    """The lines of a packed segment (docs/LEDGER.md), whose first entry is `index`."""
    lines = b""
    while data:
        magic, rest, name, count, first, plain, packed = struct.unpack_from("<II4sIQII", data)
        frame = data[64:64 + packed]
        if (magic, rest, name, first) != (0x184D2A5C, 56, b"gvmb", index) or sha(frame) != data[32:64] \
                or not 0 < plain <= 1 << 20 or len(frame) != packed:
            raise Bad(f"the block of entry {index} is not what was packed")
        block = subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE, check=True).stdout
        if len(block) != plain or block.count(b"\n") != count or not block.endswith(b"\n"):
            raise Bad(f"the block of entry {index} does not hold what its head says")
        lines, index, data = lines + block, index + count, data[64 + packed:]
    return lines


def read_entries(folder):
    """Index of the first entry kept, and the lines from there on."""
    entries = []
    events = os.path.join(folder, "events")
    names = sorted(n for n in os.listdir(events) if re.fullmatch(r"\d{20}\.jsonl(\.zst)?", n))
    names = [n for n in names if n.endswith("l") or n[:-4] not in names]  # the plain form counts
    begin = int(names[0][:20]) if names else 0
    for number, name in enumerate(names):
        if int(name[:20]) != begin + len(entries):
            raise Bad(f"{name} follows {begin + len(entries)} entries")
        with open(os.path.join(events, name), "rb") as f:
            data = f.read()
        if name.endswith(".zst"):
            data = unpack(data, begin + len(entries))
        body = data.rstrip(b"\0")
        if body and not body.endswith(b"\n") or (len(body) < len(data) and number + 1 < len(names)):
            raise Bad(f"{name} ends in no entry")
        entries += body.split(b"\n")[:-1]
    return begin, entries


def pruned_hashes(folder, begin):
    """Leaf hashes of the entries before `begin`, of which only tiles are left."""
    hashes = []
    for number in range((begin + 255) // 256):
        with open(os.path.join(folder, tile_path(0, number)), "rb") as f:
            tile = f.read()
        if len(tile) != 256 * 32:
            raise Bad(f"tile {number} of pruned entries is not whole")
        hashes += [tile[i:i + 32] for i in range(0, len(tile), 32)]
    return hashes[:begin]


def pruned_to(lines):
    """The first entry kept, by the word of the log itself."""
    kept = 0
    for line in lines:
        if re.match(rb'{"v":1,"t":"[^"]*","kind":"ledger.pruned",', line):
            kept = max(kept, json.loads(line)["to"])
    return kept


SEAM = re.compile(rb'^{"v":2,.*?,"private":"([^"]{44})"(,"salt":"(.{24})"(.*)})$', re.S)


def entry_of(line):
    """The entry in a line of the log; what it commits to must be what follows it (docs/LEDGER.md)."""
    found = SEAM.match(line)
    if not found:
        if line.startswith(b'{"v":2,'):
            raise Bad("an entry without its private members")
        return line
    salt, rest, text = base64.b64decode(found.group(3), validate=True), found.group(4).decode(), b"\x04"
    decoder, at, number = json.JSONDecoder(), 0, 0
    while at < len(rest):
        colon = decoder.raw_decode(rest, at + 1)[1]  # `at` stands on the comma
        name = rest[at + 2:colon - 1].encode()
        end = decoder.raw_decode(rest, colon + 1)[1]
        own = sha(b"\x02" + salt + bytes([number]))[:16]
        text += len(name).to_bytes(2, "big") + name + sha(b"\x03" + own + rest[colon + 1:end].encode())
        at, number = end, number + 1
    if sha(text) != base64.b64decode(found.group(1), validate=True):
        raise Bad("private members are not those committed to")
    return line[:found.start(2)] + b"}"


def tile_path(level, number):
    digits = f"{number:03d}"
    digits = "0" * (-len(digits) % 3) + digits
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    return os.path.join("tile", str(level), *["x" + g for g in groups[:-1]], groups[-1])


def check_tiles(folder, hashes):
    """Every full tile there must be, and every partial one there is. Returns how many."""
    level, count = 0, 0
    while hashes:
        for number in range((len(hashes) + 255) // 256):
            want = hashes[number * 256:number * 256 + 256]
            path = os.path.join(folder, tile_path(level, number))
            if len(want) == 256:
                with open(path, "rb") as f:
                    if f.read() != b"".join(want):
                        raise Bad(f"{path} differs")
                count += 1
            elif os.path.isdir(path + ".p"):
                for width in os.listdir(path + ".p"):
                    with open(os.path.join(path + ".p", width), "rb") as f:
                        if f.read() != b"".join(want[:int(width)]):
                            raise Bad(f"{path}.p/{width} differs")
                    count += 1
        hashes = [tree_root(hashes[i:i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1
    return count


def verify_log(key, folder):
    with open(os.path.join(folder, "checkpoint"), "rb") as f:
        size, root = open_checkpoint(f.read(), key)
    begin, entries = read_entries(folder)
    if begin + len(entries) < size:
        raise Bad(f"{size} entries signed, {begin + len(entries)} here")
    if begin > pruned_to(entries[:size - begin]):
        raise Bad(f"the entries before {begin} are missing and were not pruned")
    hashes = pruned_hashes(folder, begin) + [leaf_hash(entry_of(e)) for e in entries]
    if tree_root(hashes[:size]) != root:
        raise Bad("the entries do not give the signed root")
    tiles = check_tiles(folder, hashes)
    print(f"ok {len(hashes)} entries, {size} signed by {key[0]}, {tiles} tiles, {begin} pruned")


def verify_proof(key, path):
    with open(path, "rb") as f:
        head, _, note = f.read().partition(b"\n\n")
    with open(path + ".entry", "rb") as f:
        entry = f.read()
    lines = head.decode().split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise Bad("not a proof")
    index = int(lines[1][6:])
    size, root = open_checkpoint(note, key)
    hashes = [base64.b64decode(line, validate=True) for line in lines[2:]]
    if index >= size or path_root(index, size, leaf_hash(entry), hashes) != root:
        raise Bad(f"{path} does not hold")
    print(f"ok proof of entry {index} of {size}")


def main():
    try:
        key = parse_key(sys.argv[1])
        verify_log(key, sys.argv[2])
        for path in sys.argv[3:]:
            verify_proof(key, path)
    except (Bad, ValueError, OSError) as error:
        print(f"FAIL {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
