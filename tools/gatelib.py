"""What the gates share: which files they look at, and how C text is read without its comments and strings.

A gate takes --root DIR (default: the repository that holds the script), prints one line per offence in the
form "path:line: what is wrong", then a verdict, and exits with 1 when there was an offence. A gate that
finds nothing to look at fails: a check that checks nothing must not pass for a clean tree.
"""

import argparse
import pathlib
import re

C_FOLDERS = ("src", "tests", "bench")


class Gate:
    """Collects offences of one gate and turns them into its verdict."""

    def __init__(self, name, description):
        self.name = name
        self.parser = argparse.ArgumentParser(description=description)
        home = pathlib.Path(__file__).resolve().parent.parent
        self.parser.add_argument("--root", type=pathlib.Path, default=home, help="tree to check")
        self.offences = []
        self.checked = 0

    def arguments(self):
        args = self.parser.parse_args()
        self.root = args.root.resolve()
        return args

    def refuse(self, path, line, message):
        if isinstance(path, pathlib.Path) and path.is_absolute():
            path = path.relative_to(self.root)
        self.offences.append(f"{path}:{line}: {message}" if line else f"{path}: {message}")

    def verdict(self, unit="files"):
        if not self.checked:
            self.offences.append(f"{self.root}: nothing to check: no {unit} found")
        for offence in self.offences:
            print(offence)
        outcome = f"{len(self.offences)} offences" if self.offences else "ok"
        print(f"{self.name}: {outcome} ({self.checked} {unit} checked)")
        return 1 if self.offences else 0


def c_files(root, folders=C_FOLDERS):
    """All C files of the tree, sorted, so that two runs print the same."""
    found = []
    for folder in folders:
        found += [p for p in (root / folder).rglob("*.[ch]") if p.is_file()]
    return sorted(found)


TOKEN = re.compile(
    r"""(?P<block>/\*.*?(?:\*/|\Z))
      | (?P<line>//[^\n]*)
      | (?P<text>"(?:\\.|[^"\\\n])*"?)
      | (?P<char>'(?:\\.|[^'\\\n])*'?)""",
    re.S | re.X,
)


def split_c(text):
    """Returns (code, comments): the text with comments and the insides of literals blanked out, every
    newline kept in place; and the comments as (line, text)."""
    comments = []

    def blank(match):
        body = match.group(0)
        if match.lastgroup in ("block", "line"):
            comments.append((text.count("\n", 0, match.start()) + 1, body))
            return re.sub(r"[^\n]", " ", body)
        return body[0] + re.sub(r"[^\n]", " ", body[1:-1]) + body[-1:] if len(body) > 1 else body

    return TOKEN.sub(blank, text), comments


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def includes(text):
    """The includes of a C text as (line, quote, name). Strings are needed here, so only comments go."""
    bare = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    return [(bare.count("\n", 0, m.start()) + 1, m.group(1), m.group(2)) for m in INCLUDE.finditer(bare)]
