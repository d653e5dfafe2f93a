"""Many ways to write one thing: addresses that nobody may reach, and the name of a host."""

LOOPBACKS = ["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001",
             "127.0.0.1.", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
             "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.2", "127.255.255.254",
             "localhost", "LOCALHOST", "localhost.", "\uff11\uff12\uff17.0.0.1", "[64:ff9b:1::127.0.0.1]",
             "[::ffff:0:127.0.0.1]", "10.0.0.1", "192.168.1.1", "198.18.0.1", "[fd00:6776:6d00::1]", "198.18.77.7"]
METADATA = ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0xa9.0xfe.43518",
            "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]",
            "[fd00:ec2::254]", "169.254.169.254.", "100.100.100.200"]


def on_wire(text):
    """As header values of the test clients: UTF-8 bytes in latin-1 clothes."""
    return text.encode().decode("latin-1")


def of_host(name):
    """(spelling, same): True: every reader takes it for the host. None: some do (what IDNA maps, space around a
    field), so it is that host or refused. False: it is not that host."""
    first, rest = name.split(".", 1)
    wide = "".join(chr(ord(c) + 0xfee0) if c.isalnum() else c for c in first)
    same = [name, name.upper(), name.title(), first.upper() + "." + rest, name + ".", name.upper() + ".", name + ":443",
            name + ".:443", "".join(c.upper() if n % 2 else c for n, c in enumerate(name))]
    maybe = [name + " ", name + "\u3002", wide + "." + rest, first + "\u3002" + rest, first + "\u00ad." + rest]
    other = [name + "..", "." + name, first + ".." + rest, name + ":0443", name + ":+443", name + ":443x", name + ":",
             name + ":0", name + ":80", name + ":444", name + ":65979", name + ":443:443", "x@" + name, name + "@evil.test",
             "user:pass@" + name, name + "/", "/" + name, name + "?", name + "#", name + "\\", name + "\t.x",
             name + "%00", name + "%2e", first + "%2e" + rest, name + ",evil.test", "evil.test," + name, "[" + name + "]",
             "xn--" + name, name.replace("e", "\u0435"), "-" + name, "a" * 64 + "." + rest, "*." + rest, "*"]
    return [(on_wire(s), kind) for kind, all in ((True, same), (None, maybe), (False, other)) for s in all]
