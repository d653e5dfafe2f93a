#!/usr/bin/python3
"""Python's ipaddress and socket.inet_aton as oracles for our address reader, and for its classes."""
import ipaddress
import json
import os
import random
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = int(os.environ.get("GVM_INTEROP_CASES", "4000"))
PUBLIC_FOR_US = "public"


def find_probe():
    base = os.environ.get("GVM_BIN") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
    for path in (os.path.join(base, "wire_probe"), os.path.join(base, "tests/unit/wire/wire_probe")):
        if os.access(path, os.X_OK):
            return path
    return None


def ask(probe, texts):
    lines = "".join(f"ip {t.encode().hex()}\n" for t in texts)
    done = subprocess.run([probe], input=lines, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def python_v6(text):
    """An IPv6 address without zone, or None."""
    if "%" in text:
        return None
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None


def python_aton(text):
    """inet_aton without its white space, or None. glibc also takes what is behind a blank, and empty 0x."""
    if not text or any(c.isspace() for c in text):
        return None
    if any(p.lower() == "0x" for p in text.split(".")):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except OSError:
        return None


def group(rng):
    return format(rng.choice((0, 0, 0, 1, 0xff, 0x7f00, 0xa9fe, 0xffff, rng.randrange(65536))), rng.choice(("x", "X", "04x")))


def random_v6(rng):
    parts = [group(rng) for _ in range(rng.choice((8, 8, 7, 6, 9, 3)))]
    text = ":".join(parts)
    if rng.random() < 0.3:
        text = ":".join(parts[:6]) + ":" + ".".join(str(rng.randrange(300)) for _ in range(rng.choice((4, 4, 3))))
    if rng.random() < 0.6:
        items = text.split(":")
        a = rng.randrange(len(items))
        b = rng.randrange(a, len(items))
        text = ":".join(items[:a]) + "::" + ":".join(items[b + 1:])
    return text


def random_v4(rng):
    def number():
        v = rng.choice((0, 1, 10, 127, 169, 254, 255, 256, rng.randrange(1 << 8), rng.randrange(1 << 16),
                        rng.randrange(1 << 24), rng.randrange(1 << 32), 1 << 32))
        return rng.choice((str(v), str(v), hex(v), "0" + oct(v)[2:], "00" + str(v), "0X" + format(v, "X")))
    return ".".join(number() for _ in range(rng.choice((1, 2, 3, 4, 4, 4, 5))))


def mutate(rng, text):
    if rng.random() < 0.7 or not text:
        return text
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice((".", ":", "::", "0", "x", "g", " ", "%", "1", "-", "+")) + text[at + rng.randrange(2):]


def class_is_right(text, ours):
    """What Python does not hold for global must not be public here. The other way we may be stricter."""
    ip = ipaddress.ip_address(text)
    if ours != PUBLIC_FOR_US:
        return True
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.version == 6 and ip in ipaddress.IPv6Network("64:ff9b::/96"):
        ip = ipaddress.IPv4Address(int(ip) & 0xffffffff)
    return not (ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def main():
    probe = find_probe()
    if not probe:
        print("ok 1 - addresses against Python # SKIP no wire_probe\n1..1")
        return 0
    rng = random.Random(int(os.environ.get("GVM_INTEROP_SEED", "20261123")))
    v6 = [t for t in (mutate(rng, random_v6(rng)) for _ in range(CASES)) if ":" in t]
    v4 = [t for t in (mutate(rng, random_v4(rng)) for _ in range(CASES)) if ":" not in t and t]
    plain = [str(ipaddress.IPv4Address(rng.randrange(1 << 32))) for _ in range(CASES)]
    plain += [str(ipaddress.IPv6Address(rng.randrange(1 << 128) >> rng.choice((0, 0, 32, 64, 96, 112))
                                        << rng.choice((0, 0, 16, 64)) & (1 << 128) - 1)) for _ in range(CASES)]
    # Near every border of the special-purpose blocks.
    for net in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
                "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
                "2001::/23", "2001:db8::/32", "100::/64", "::/128", "::1/128", "::ffff:0:0/96", "2002::/16"):
        n = ipaddress.ip_network(net)
        top = (1 << n.max_prefixlen) - 1
        for v in (int(n[0]) - 1, int(n[0]), int(n[-1]), int(n[-1]) + 1):
            if 0 <= v <= top:
                plain.append(str(type(n[0])(v)))
    failures = {"IPv6 text": [], "inet_aton text": [], "plain text": [], "class": []}
    good = {"IPv6 text": 0, "inet_aton text": 0}
    for text, ours in zip(v6, ask(probe, v6)):
        want = python_v6(text)
        good["IPv6 text"] += ours["ok"]
        if ours["ok"] != (want is not None) or (want is not None and ipaddress.ip_address(ours["text"]) != want):
            failures["IPv6 text"].append((text, ours, want))
    for text, ours in zip(v4, ask(probe, v4)):
        want = python_aton(text)
        good["inet_aton text"] += ours["ok"]
        if ours["ok"] != (want is not None) or (want is not None and ours["text"] != str(want)):
            failures["inet_aton text"].append((text, ours, want))
    for text, ours in zip(plain, ask(probe, plain)):
        if not ours["ok"] or ipaddress.ip_address(ours["text"]) != ipaddress.ip_address(text):
            failures["plain text"].append((text, ours))
        elif not class_is_right(text, ours["class"]):
            failures["class"].append((text, ours))
    names = list(failures)
    for i, name in enumerate(names, 1):
        print(f"{'not ' if failures[name] else ''}ok {i} - {name} as Python reads it")
        for failure in failures[name][:10]:
            print("#  ", failure)
    both = CASES // 10 < good["IPv6 text"] < len(v6) and CASES // 10 < good["inet_aton text"] < len(v4)
    print(f"{'' if both else 'not '}ok {len(names) + 1} - the cases reach both sides of the border")
    print(f"1..{len(names) + 1}")
    return 1 if any(failures.values()) or not both else 0


if __name__ == "__main__":
    sys.exit(main())
