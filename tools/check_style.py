#!/usr/bin/env python3
"""Style gate: what the house style says and clang-format cannot see.

Sizes (function 70 lines, 6 parameters, nesting 4; file 800 lines, tests 1200; 100 columns but where clang-format
is off, for tables), exceptions in tools/size_allow.txt as a ratchet; a head comment that is a sentence; include
guards named after the path; block comments only; no reminders for later; no dead code; banned calls; no struct
typedefs; goto forward only, to out or fail.
"""

import re
import sys

from gatelib import Gate, c_files, split_c

FUNCTION_LINES, PARAMETERS, NESTING, COLUMNS = 70, 6, 4, 100
FILE_LINES, TEST_FILE_LINES = 800, 1200
KINDS = ("file", "function", "params", "nesting")

BANNED = {
    "strcpy strcat sprintf vsprintf gets strncpy strncat stpcpy": "can write past its target: use base/bytes",
    "rand srand random srandom rand_r drand48": "is not ours to seed: use base/rnd",
    "time localtime gmtime ctime asctime mktime": "reads a hidden clock or state: time is an input",
    "strtok strerror setlocale": "keeps hidden state",
    "atoi atol atoll atof": "cannot report bad input: use base/text",
    "alloca": "has no limit",
    "system popen tmpnam mktemp": "opens a hole: use io/process or mkstemp",
    "assert": "disappears in some builds: use CHECK",
}
BANNED_CALL = {name: why for names, why in BANNED.items() for name in names.split()}
HEAP_CALLS = {"malloc", "calloc", "realloc", "free", "strdup", "strndup", "aligned_alloc", "posix_memalign"}
HEAP_HOME = "src/base/mem/"
CALL = re.compile(r"(?<![\w.>])(\w+)\s*\(")
# Written in two halves, so that this file passes its own rule.
REMINDER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
# Two of these in a row are code, not prose.
STATEMENT = re.compile(r"^(?:/\*|\s*\*)?\s*[\w.>\[\]*-]+\s*(?:[-+|&]?=|\+\+|--|\()[^;]*;\s*(?:\*/)?$")
TEXT_FILES = ("*.py", "*.sh", "meson.build", "*.md", "*.js")
BLOCK_WORDS = {"if", "for", "while", "switch", "else", "do"}


class Allowances:
    """tools/size_allow.txt. take() says how much is allowed and keeps what was really needed."""

    def __init__(self, gate):
        self.gate, self.path = gate, gate.root / "tools/size_allow.txt"
        self.limits, self.needed, self.lines = {}, {}, {}
        text = self.path.read_text() if self.path.exists() else ""
        for number, line in enumerate(text.splitlines(), 1):
            fields = line.split("#")[0].split(None, 3)
            if not fields:
                continue
            if len(fields) < 4 or fields[0] not in KINDS or not fields[2].isdigit():
                gate.refuse(self.path, number, "an allowance is: kind, path, number, reason")
                continue
            self.limits[fields[0], fields[1]] = int(fields[2])
            self.lines[fields[0], fields[1]] = number

    def check(self, kind, subject, value, limit, path, line, what):
        if value <= limit:
            return
        self.needed[kind, subject] = value
        if value > self.limits.get((kind, subject), limit):
            self.gate.refuse(path, line, f"{what} (limit {self.limits.get((kind, subject), limit)})")

    def check_ratchet(self):
        for (kind, subject), limit in self.limits.items():
            needed = self.needed.get((kind, subject))
            if needed is None:
                self.gate.refuse(self.path, self.lines[kind, subject], f"{kind} {subject} needs no allowance any more")
            elif needed < limit:
                message = f"{kind} {subject} needs {needed} only: lower the allowance from {limit}"
                self.gate.refuse(self.path, self.lines[kind, subject], message)


class Function:
    def __init__(self, name, line, params, body):
        self.name, self.line, self.params, self.body = name, line, params, body

    @property
    def length(self):
        return self.body.count("\n") + 1


def closing(text, start, opener, closer):
    """Offset of the bracket that closes the one at start, or the end of the text."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == opener) - (text[at] == closer)
        if depth == 0:
            return at
    return len(text) - 1


def count_parameters(inside):
    inside = inside.strip()
    if inside in ("", "void"):
        return 0
    depth = commas = 0
    for letter in inside:
        depth += (letter in "([{") - (letter in ")]}")
        commas += letter == "," and depth == 0
    return commas + 1


def functions(code):
    """Functions by the layout that clang-format enforces: braces of a function stand alone in column 0."""
    for match in re.finditer(r"^\{$", code, re.M):
        head_start = max(code.rfind(stop, 0, match.start()) for stop in (";", "}", "\n\n", "\n#")) + 1
        head = code[head_start:match.start()]
        name = re.search(r"\b(?!__attribute__)([A-Za-z_]\w*)\s*\(", head)
        if not name:
            continue
        opening = name.end() - 1
        params = count_parameters(head[opening + 1:closing(head, opening, "(", ")")])
        end = code.find("\n}", match.start())
        body = code[match.start():end + 2 if end >= 0 else len(code)]
        yield Function(name.group(1), code.count("\n", 0, match.start()) + 1, params, body)


def nesting(body):
    """Deepest control block inside a function body; braces of initialisers and literals do not count."""
    deepest = depth = 0
    kinds = []
    for at, letter in enumerate(body):
        if letter == "{":
            control = at > 0 and is_block(body, at)
            kinds.append(control)
            depth += control
            deepest = max(deepest, depth)
        elif letter == "}" and kinds:
            depth -= kinds.pop()
    return deepest


def is_block(body, at):
    """Does this brace open a block of if, for, while, switch, do, else or of a loop macro?"""
    before = body[:at].rstrip()
    if not before.endswith(")"):
        word = re.search(r"(\w+)$", before)
        return bool(word) and word.group(1) in BLOCK_WORDS
    depth = 0
    for back in range(len(before) - 1, -1, -1):
        depth += (before[back] == ")") - (before[back] == "(")
        if depth == 0:
            break
    word = re.search(r"(\w+)\s*$", before[:back])
    return bool(word) and (word.group(1) in BLOCK_WORDS or word.group(1).isupper())


def check_sizes(gate, allowed, path, text, code):
    name = str(path.relative_to(gate.root))
    limit = TEST_FILE_LINES if name.startswith("tests/") else FILE_LINES
    lines = text.count("\n")
    allowed.check("file", name, lines, limit, path, 0, f"file has {lines} lines")
    tables = False
    for number, line in enumerate(text.splitlines(), 1):
        if "clang-format o" in line:
            tables = "clang-format off" in line
        if len(line) > COLUMNS and not tables:
            gate.refuse(path, number, f"line has {len(line)} columns (limit {COLUMNS})")
    for function in functions(code):
        subject, what = f"{name}:{function.name}", f"function {function.name} has"
        allowed.check("function", subject, function.length, FUNCTION_LINES, path, function.line,
                      f"{what} {function.length} lines")
        allowed.check("params", subject, function.params, PARAMETERS, path, function.line,
                      f"{what} {function.params} parameters")
        depth = nesting(function.body)
        allowed.check("nesting", subject, depth, NESTING, path, function.line, f"{what} nesting {depth}")
        check_gotos(gate, path, function)


def check_gotos(gate, path, function):
    for match in re.finditer(r"\bgoto\s+(\w+)", function.body):
        label = match.group(1)
        line = function.line + function.body.count("\n", 0, match.start())
        if not re.fullmatch(r"out|fail|(out|fail)_\w+", label):
            gate.refuse(path, line, f"goto {label}: labels are out or fail_<what>")
        place = re.search(rf"^\s*{label}:", function.body, re.M)
        if place and place.start() < match.start():
            gate.refuse(path, line, f"goto {label} jumps back: write a loop")


def check_head(gate, path, text):
    """The file begins with a comment that says in a sentence what the file is for."""
    head = re.match(r"/\*(.*?)\*/", text, re.S)
    if not head:
        gate.refuse(path, 1, "no head comment: say what the file is for before anything else")
    elif "." not in head.group(1) or len(head.group(1).split()) < 3:
        gate.refuse(path, 1, "the head comment is not a sentence")


def check_guard(gate, path, code):
    if path.suffix != ".h":
        return
    parts = path.relative_to(gate.root).with_suffix("").parts[2:]
    guard = re.sub(r"\W", "_", "_".join(parts)).upper() + "_H"
    if path.relative_to(gate.root).parts[0] == "src" and not re.search(
            rf"^#ifndef {guard}\n#define {guard}$", code, re.M):
        gate.refuse(path, 0, f"the include guard must be {guard}")


def check_comments(gate, path, comments):
    for line, comment in comments:
        if comment.startswith("//"):
            gate.refuse(path, line, "// comment: use /* */")
        found = REMINDER.search(comment)
        if found:
            number = line + comment.count("\n", 0, found.start())
            gate.refuse(path, number, f"{found.group(1)}: finish it, or open an issue")
        lines = [bool(STATEMENT.match(text)) for text in comment.splitlines()]
        if any(one and other for one, other in zip(lines, lines[1:])):
            gate.refuse(path, line, "commented-out code: delete it, history keeps it")


def check_code(gate, path, code):
    home = str(path.relative_to(gate.root))
    for number, line in enumerate(code.splitlines(), 1):
        if re.match(r"\s*#\s*if\s+0\b", line):
            gate.refuse(path, number, "#if 0: delete dead code, history keeps it")
        if re.match(r"\s*typedef\s+(struct|union|enum)\s*(\w+\s*)?(\{|\w+\s*;)", line):
            gate.refuse(path, number, "typedef of a struct, union or enum: write its tag out")
        for name in CALL.findall(line):
            if name in BANNED_CALL:
                gate.refuse(path, number, f"{name}() {BANNED_CALL[name]}")
            elif name in HEAP_CALLS and home.startswith("src/") and not home.startswith(HEAP_HOME):
                gate.refuse(path, number, f"{name}() outside {HEAP_HOME}: use base/mem")


def check_other_texts(gate):
    """Reminders are refused in scripts and pages too."""
    for folder in ("src", "tests", "tools", "bench", "docs"):
        for pattern in TEXT_FILES:
            for path in sorted((gate.root / folder).rglob(pattern)):
                if "node_modules" in path.parts or not path.is_file():
                    continue
                for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                    found = REMINDER.search(line)
                    if found:
                        gate.refuse(path, number, f"{found.group(1)}: finish it, or open an issue")


def main():
    gate = Gate("style", __doc__)
    gate.arguments()
    allowed = Allowances(gate)
    for path in c_files(gate.root):
        gate.checked += 1
        text = path.read_text()
        code, comments = split_c(text)
        check_head(gate, path, text)
        check_guard(gate, path, code)
        check_comments(gate, path, comments)
        check_code(gate, path, code)
        check_sizes(gate, allowed, path, text, code)
    check_other_texts(gate)
    allowed.check_ratchet()
    return gate.verdict()


sys.exit(main())
