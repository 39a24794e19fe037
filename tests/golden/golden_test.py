#!/usr/bin/env python3
"""Scripted scenarios on real raft hosts, told as text and compared with the committed text.

Each NAME.script beside this file is run by `explore --script`; what it prints must be NAME.txt.
UPDATE_GOLDEN=1 writes NAME.txt instead. Prints TAP.
"""

import difflib
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def tell(explore, script):
    done = subprocess.run([explore, "--script", script], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def main():
    scripts = sorted(HERE.glob("*.script"))
    print(f"1..{len(scripts)}")
    failed = 0
    for number, script in enumerate(scripts, 1):
        status, told = tell(sys.argv[1], script)
        golden = script.with_suffix(".txt")
        if os.environ.get("UPDATE_GOLDEN") and status == 0:
            golden.write_text(told)
        wanted = golden.read_text() if golden.exists() else ""
        good = status == 0 and told == wanted
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {script.stem}")
        if not good:
            diff = difflib.unified_diff(wanted.splitlines(), told.splitlines(), golden.name, "told now", lineterm="", n=1)
            print("\n".join(f"# {line}" for line in list(diff)[:40]))
    return 1 if failed or not scripts else 0


sys.exit(main())
