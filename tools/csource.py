"""What the checks share: C source with comments and literals blanked out, lines kept in place."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PIECE = re.compile(r"""
    //[^\n]*                      # comment to the end of the line
  | /\*.*?\*/                     # comment
  | "(?:\\.|[^"\\\n])*"           # text
  | '(?:\\.|[^'\\\n])*'           # character
""", re.X | re.S)


def blank(text):
    """Comments become spaces, literals empty quotes; every newline stays where it was."""
    def one(match):
        piece = match.group(0)
        if piece[0] in "\"'":
            return piece[0] + " " * (len(piece) - 2) + piece[0]
        return re.sub(r"[^\n]", " ", piece)
    return PIECE.sub(one, text)


def sources(*folders, ends=(".c", ".h")):
    for top in folders:
        for folder, _, files in sorted(os.walk(os.path.join(ROOT, top))):
            for file in sorted(files):
                if file.endswith(ends):
                    path = os.path.join(folder, file)
                    with open(path, errors="replace") as f:
                        yield os.path.relpath(path, ROOT), f.read()
