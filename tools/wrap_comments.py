#!/usr/bin/env python3
"""Brings comment lines of C files to 100 columns (part of make format; clang-format leaves comments alone, so that
diagrams survive).

Only lines that are too long change, and none where clang-format is off: in a comment block the overflow moves to the next line of the same paragraph, or
to a new line; a comment behind code moves to a line above it.

usage: wrap_comments.py FILE...
"""

import pathlib
import re
import sys

COLUMNS = 100
PREFIX = re.compile(r"^(\s*(?:/\*\*?|\*)?\s*)")
# A line that starts like this begins something of its own; no overflow is put in front of it.
STARTS_ANEW = re.compile(r"^\s*(?:/\*|\*/|\*?\s*(?:[-+|>=]|\d+\.|\(?[a-z0-9]\)|$))")


def inside_comment(lines):
    """For each line: does it lie in a block comment, from its first character on (or open one there)?"""
    flags, open_block = [], False
    for line in lines:
        starts = open_block or line.lstrip().startswith("/*")
        flags.append(starts)
        rest = line
        while rest:
            at = rest.find("*/" if open_block else "/*")
            if at < 0:
                break
            open_block = not open_block
            rest = rest[at + 2:]
    return flags


def continuation(line):
    """What a further line of the same paragraph begins with."""
    lead = PREFIX.match(line).group(1)
    item = re.match(r"\s*\*\s*(\d+\.|-|\(?[a-z]\))\s+", line)
    if item:
        return re.match(r"\s*\*", line).group(0) + " " * (item.end() - re.match(r"\s*\*", line).end())
    return re.sub(r"/\*\*?", " *", lead) if "/*" in lead else lead


def split_line(line):
    """The part that fits, and the words that do not."""
    at = line.rfind(" ", 0, COLUMNS + 1)
    if line[at + 1:].strip() == "*/":
        at = line.rfind(" ", 0, at)
    return line[:at].rstrip(), line[at + 1:]


def lift_trailing(line):
    """code /* comment */ as [comment, code], or None when the line is not like that."""
    match = re.match(r"^(\s*)(\S.*?)\s*(/\*(?:(?!/\*).)*\*/)\s*$", line)
    return [match.group(1) + match.group(3), match.group(1) + match.group(2)] if match else None


def wrap(text):
    lines = text.split("\n")
    done, tables = [], False
    while lines:
        line = lines.pop(0)
        if "clang-format o" in line:
            tables = "clang-format off" in line
        if len(line) <= COLUMNS or tables:
            done.append(line)
            continue
        if re.search(r"-{9,} \*/$", line):
            done.append(re.sub(r"-* \*/$", "", line).ljust(COLUMNS - 3, "-") + " */")
            continue
        in_comment = inside_comment(done + [line])[-1]
        if not in_comment:
            lifted = lift_trailing(line)
            if lifted:
                lines[:0] = lifted
            else:
                done.append(line)
            continue
        head, overflow = split_line(line)
        lead = continuation(line)
        if len(head) <= len(lead) or not overflow:
            done.append(line)
            continue
        done.append(head)
        ends_here = overflow.rstrip().endswith("*/")
        joins = (not ends_here and lines and inside_comment(done + lines[:1])[-1]
                 and not STARTS_ANEW.match(lines[0]) and continuation(lines[0]) == lead)
        if joins:
            lines[0] = lead + overflow + " " + lines[0][len(lead):]
        else:
            lines.insert(0, lead + overflow)
    return "\n".join(done)


def main():
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        text = path.read_text()
        wrapped = wrap(text)
        if wrapped != text:
            path.write_text(wrapped)
    return 0


sys.exit(main())
