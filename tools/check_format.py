#!/usr/bin/env python3
"""Format gate: every C file is as clang-format 14 with the repository's .clang-format writes it.

Other versions lay out some constructs differently, so another version is refused instead of believed.
--fix rewrites the files (make format).
"""

import re
import shutil
import subprocess
import sys

from gatelib import Gate, c_files

VERSION = "14"


def find_formatter():
    """The program's name, or None when there is none of the right version."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        if shutil.which(name):
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(rf"version {VERSION}\.", said):
                return name
    return None


def main():
    gate = Gate("format", __doc__)
    gate.parser.add_argument("--fix", action="store_true", help="rewrite the files instead of checking")
    args = gate.arguments()
    formatter = find_formatter()
    if not formatter:
        print(f"format: clang-format {VERSION} is not installed: run tools/bootstrap --test")
        return 1
    if not (gate.root / ".clang-format").exists():
        gate.refuse(".clang-format", 0, "is missing: there is nothing to check against")
        return gate.verdict()
    files = c_files(gate.root)
    gate.checked = len(files)
    if args.fix:
        wrapper = gate.root / "tools/wrap_comments.py"
        subprocess.run([sys.executable, wrapper, *files], check=True)
    mode = ["-i"] if args.fix else ["--dry-run", "-Werror"]
    for start in range(0, len(files), 50):
        done = subprocess.run([formatter, "--style=file", *mode, *files[start:start + 50]],
                              capture_output=True, text=True, cwd=gate.root)
        first_lines = {}
        for name, line in re.findall(r"^(.*?):(\d+):\d+: error:", done.stderr, re.M):
            first_lines.setdefault(name, int(line))
        for name, line in first_lines.items():
            gate.refuse(name.replace(f"{gate.root}/", ""), line, "not formatted: run make format")
        if done.returncode and not gate.offences:
            gate.refuse(".clang-format", 0, done.stderr.strip() or f"{formatter} failed")
    return gate.verdict()


sys.exit(main())
