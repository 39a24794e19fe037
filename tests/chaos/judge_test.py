#!/usr/bin/env python3
"""judge_test.py JUDGE: the judge of histories must find doctored ones bad. Prints TAP."""

import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402

JUDGE = sys.argv[1]
OPERATIONS, KEYS = 100000, 20


def judge(lines):
    """Returns exit status and last line."""
    with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        done = subprocess.run([JUDGE, file.name], capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


def good_history():
    """One client after the other: what each sees is what the one before wrote."""
    rnd, now, state, lines = random.Random(1), 0, [0] * KEYS, []
    for number in range(1, OPERATIONS + 1):
        key, kind = rnd.randrange(KEYS), rnd.choice(("read", "write", "cas", "lost"))
        value, old = state[key], state[key]
        if kind != "read":
            value = state[key] = number if kind != "lost" else old
        written = {"read": f"read {key} {value} ok", "write": f"write {key} {value} ok",
                   "cas": f"cas {key} {old}:{value} ok", "lost": f"write {key} {number} ?"}[kind]
        end = "?" if kind == "lost" else now + 50
        lines.append(f"{number % 7} {now} {end} {written}")
        now += 40
    return lines


def good_history_is_good():
    status, text = judge(good_history())
    rig.check(status == 0, f"{status}: {text}")


def doctored_read_is_found():
    lines = good_history()
    at = [i for i, line in enumerate(lines) if " read 3 " in line]
    old = lines[at[10]].split()[5]
    fields = lines[at[-10]].split()
    rig.check(fields[5] != old, "the values must differ")
    fields[5] = old
    lines[at[-10]] = " ".join(fields)
    status, text = judge(lines)
    rig.check(status == 1, f"{status}: {text}")


def forgotten_write_is_found():
    lines = good_history()
    seen = {line.split()[5] for line in lines if " read " in line}
    writes = [i for i, line in enumerate(lines) if " write 3 " in line and line.split()[5] in seen]
    del lines[writes[len(writes) // 2]]
    status, text = judge(lines)
    rig.check(status == 1, f"{status}: {text}")


def what_is_no_history_is_refused():
    for line in ("1 2 3", "1 5 4 write 1 2 ok", "1 2 3 write 1 2 no", "1 2 ? read 1 2 ok", "1 2 3 cas 1 2 ok",
                 "1 2 3 write 1 2x ok", "1 2 3 write 1 2 ok more"):
        status, text = judge([line])
        rig.check(status == 2, f"{line}: {status}: {text}")


if __name__ == "__main__":
    sys.exit(rig.run_cases([good_history_is_good, doctored_read_is_found, forgotten_write_is_found,
                            what_is_no_history_is_refused]))
