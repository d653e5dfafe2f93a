"""The checks of tools/ pass on the tree, and each finds what it is there to find."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tap = gvmtest.Tap()


def check(top, name):
    done = subprocess.run([os.path.join(top, "tools", name)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout.decode()


for tool in ("check-rooms", "check-banned", "check-size"):
    code, out = check(TOP, tool)
    tap.eq(code, 0, f"{tool} finds nothing in the tree", out)

small = tempfile.mkdtemp(prefix="gvm-house-")
shutil.copytree(os.path.join(TOP, "tools"), os.path.join(small, "tools"))
for room in ("core", "wire", "cli"):
    os.makedirs(os.path.join(small, "src", room))


def write(name, text):
    with open(os.path.join(small, "src", name), "w") as f:
        f.write(text)


def planted(tool, text, want, name="wire/a.c"):
    """One file with `text`: the tool must name `want`, or be content when it is None."""
    write(name, text)
    code, out = check(small, tool)
    if want is None:
        tap.eq(code, 0, f"{tool} is content with {text.strip()[:50]!r}", out)
    else:
        tap.ok(code == 1 and want in out, f"{tool} finds {want!r}", f"exit {code}\n{out}")
    os.unlink(os.path.join(small, "src", name))


write("rooms.txt", "core:\nwire: core\ncli: core wire\n")
write("core/core.h", '#include "core/err.h"\n')
write("core/err.h", "")
write("core/core_int.h", "")
write("cli/cli.h", "")
planted("check-rooms", '#include "core/core.h"\n#include <stdio.h>\n', None)
planted("check-rooms", '#include "core/err.h"\n', None)
planted("check-rooms", '#include "cli/cli.h"\n', "wire may not see cli")
planted("check-rooms", '#include "core/core_int.h"\n', "not a public header")
planted("check-rooms", '#include "a.h"\n', "does not begin with a room")
planted("check-rooms", '#include <core/core.h>\n', "use quotes")
write("rooms.txt", "core: wire\nwire: core\ncli: core wire\n")
code, out = check(small, "check-rooms")
tap.ok(code == 1 and "rooms.txt:1" in out, "check-rooms refuses a law with a cycle", out)
write("rooms.txt", "core:\nwire: core\ncli: core wire\n")

planted("check-banned", "int x(void)\n{\n    return atoi(s);\n}\n", "atoi() is banned")
planted("check-banned", "    strcpy (a, b);\n", "strcpy() is banned")
planted("check-banned", '    /* strcpy(a, b) */ f("system(x)");\n', None)
planted("check-banned", "    my_strcpy(a, b); p->system(x);\n", None)
planted("check-banned", "    fd = open(path, O_RDONLY);\n", "open() without O_CLOEXEC")
planted("check-banned", "    fd = open(path, O_RDONLY |\n          O_CLOEXEC);\n", None)
planted("check-banned", "    fd = accept(fd, 0, 0);\n", "use accept4()")

planted("check-size", "int f(void)\n{\n" + "    g();\n" * 121 + "}\n", "f() has 121 lines, more than")
planted("check-size", "int f(void)\n{\n" + "    g();\n" * 61 + "}\n", None)
planted("check-size", "\n" * 801, "has 801 lines, more than")
shutil.rmtree(small)
tap.done()
