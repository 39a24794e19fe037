#!/usr/bin/env python3
"""`flotilla wal dump` and `flotilla snapshot inspect` on real data directories, whole and damaged in every way.

files_test.py FLOTILLA [CASE...]: prints TAP. Standard library only. One node writes a log of several segments and a snapshot; the
cases damage copies of its directory. Every run is checked for not having changed a byte of what it looked at.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402
from rig import check  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/flotilla").resolve()
ROOT = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-files-"))
WHOLE = ROOT / "whole"
BIG = 512 * 1024
HEADER, ENTRY, SEAL = 64, 3, 6
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def make_whole():
    """A node's directory without its state: a log of several segments, the newest of them used again, and a snapshot."""
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        for number in range(40):
            check(node.put(f"config/{number}", "x" * number), "a write")
        for number in range(140):
            check(node.put(f"big/{number % 4}", bytes([number]) * BIG), "a write")
        rig.wait_until("a snapshot file", lambda: snapshots(node.directory))
        for number in range(80):
            check(node.put(f"big/{number % 4}", bytes([number]) * BIG), "a write")
        check(node.stop() == 0, "SIGTERM ends a node with 0")
        shutil.copytree(node.directory, WHOLE, ignore=shutil.ignore_patterns("state"))


def snapshots(directory):
    return sorted(path for path in (directory / "snapshots").glob("snapshot-*") if path.suffix == "")


@contextlib.contextmanager
def copied():
    target = pathlib.Path(tempfile.mkdtemp(dir=ROOT)) / "data"
    shutil.copytree(WHOLE, target)
    try:
        yield target
    finally:
        shutil.rmtree(target.parent)


def print_of(path):
    """Names, sizes, times and contents of a file or of all files of a directory."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [(str(one), one.stat().st_mtime_ns, one.stat().st_size,
             hashlib.sha256(one.read_bytes()).hexdigest() if one.is_file() else "") for one in files]


def as_nobody_special():
    """Root without the right to read everything."""
    rig.die_with_parent()
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        rig.LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def run(*arguments, code=0, path=None, preexec=rig.die_with_parent):
    before = print_of(path) if path is not None else None
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, preexec_fn=preexec)
    check(done.returncode == code, f"{arguments}: exit status {done.returncode}, not {code}: "
                                   f"{done.stdout[-1500:]}{done.stderr}")
    check(path is None or print_of(path) == before, f"{arguments} changed {path}")
    return done


def dump(directory, *arguments, **more):
    return run("wal", "dump", "--data", directory, *arguments, path=directory, **more)


def dump_json(directory, *arguments, **more):
    return [json.loads(line) for line in dump(directory, "--json", *arguments, **more).stdout.splitlines()]


def of_type(rows, kind):
    return [row for row in rows if row["type"] == kind]


def inspect(path, *arguments, **more):
    return run("snapshot", "inspect", path, *arguments, path=path, **more)


def has(text, *words):
    for word in words:
        check(word in text, f"{word!r} is not in: {text[-2000:]}")


def flip(path, offset, bit=2):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def a_record(directory, kind, index=None, last=False):
    """The dump's own word for where a record lies, checked against the bytes on the disk."""
    rows = [row for row in of_type(dump_json(directory), "record")
            if row["kind"] == kind and index in (None, row.get("index"))]
    row = rows[-1 if last else 0]
    with open(directory / row["file"], "rb") as file:
        file.seek(row["offset"])
        header = file.read(HEADER)
    check(header[8:12] == b"FWAL" and struct.unpack_from("<Q", header, 16)[0] == row["sequence"],
          f"no such record on the disk: {row}")
    return row


# ---- the log -------------------------------------------------------------------------------------

def a_whole_log_is_printed_record_by_record():
    rows = dump_json(WHOLE)
    records, total = of_type(rows, "record"), of_type(rows, "total")[0]
    check(not of_type(rows, "damage") and not of_type(rows, "torn") and not total["damaged"], f"whole: {total}")
    check(total["records"] == total["shown"] == len(records) and total["segments"] >= 3, f"all are there: {total}")
    sequences = [row["sequence"] for row in records]
    check(sequences == list(range(sequences[0], sequences[0] + len(records))), "sequences without gaps, in order")
    group = of_type(rows, "group")[0]
    entries = [row["index"] for row in records if row["kind"] == "entry"]
    check(entries == list(range(group["first"], group["last"] + 1)), f"the entries are those of {group}")
    marks = [row["index"] for row in records if row["kind"] == "snapshot"]
    check(marks and marks[-1] == group["snapshot"] and group["vote"] == 1, f"{marks} and {group}")
    check({row["command"] for row in records if "command" in row} == {"kv_put"}, "commands have names")
    text = dump(WHOLE, "--limit", "3").stdout
    has(text, "node 1 of cluster", "SEGMENT", "kv_put, node 1's command", "GROUP", "Verdict: whole", "not shown (--limit)")
    check("runs on this directory" not in text and "TORN" not in text, text)


def filters_choose_what_is_printed_and_nothing_else():
    group = of_type(dump_json(WHOLE), "group")[0]
    rows = dump_json(WHOLE, "--group", "1", "--from", str(group["last"] - 3), "--to", str(group["last"] - 1))
    check([row["index"] for row in of_type(rows, "record")] == [group["last"] - 3 + i for i in range(3)], f"{rows}")
    check(of_type(rows, "group") == [group], "the summary is of the whole log")
    check(not of_type(dump_json(WHOLE, "--group", "7"), "record"), "no records of a group that is not there")
    rows = dump_json(WHOLE, "--limit", "2")
    check(len(of_type(rows, "record")) == 2 and of_type(rows, "total")[0]["not_shown"] > 0, f"{rows[-1]}")
    text = dump(WHOLE, "--from", str(group["last"]), "--payload").stdout
    has(text, "|", "big/3")


def a_torn_end_is_no_damage():
    with copied() as data:
        seal = a_record(data, "seal", last=True)
        flip(data / seal["file"], seal["offset"] + 25)
        text = dump(data).stdout
        has(text, f"TORN: segment {seal['segment']}, offset {seal['offset']}, record {seal['sequence']}: "
                  "there is no whole record header", "so a start ends the log here", "Verdict: whole; its end is torn")
        torn = of_type(dump_json(data), "torn")
        check(len(torn) == 1 and torn[0]["offset"] == seal["offset"], f"{torn}")


def a_flipped_byte_is_named_with_its_place():
    with copied() as data:
        entry = a_record(data, "entry", last=True)
        entry = a_record(data, "entry", index=entry["index"] - 2)
        flip(data / entry["file"], entry["offset"] + HEADER + 1000)
        done = dump(data, "--limit", "0", code=1)
        has(done.stdout, f"DAMAGED: segment {entry['segment']}, offset {entry['offset']}, record {entry['sequence']}: "
                         f"group 1, entry {entry['index']} is damaged: its payload does not have its checksum",
            "Verdict: DAMAGED: 1 place, 1 group")
        rows = dump_json(data, code=1)
        check([row["index"] for row in of_type(rows, "record") if row["state"] == "damaged"] == [entry["index"]], "one")
        check(of_type(rows, "group")[0]["last"] == entry["index"] - 1, "the log is good up to the one before")
        flip(data / entry["file"], entry["offset"] + HEADER + 1000)
        flip(data / entry["file"], entry["offset"] + 20)
        has(dump(data, "--limit", "0", code=1).stdout, f"offset {entry['offset']}", "there is no whole record header")


def a_missing_segment_is_told():
    segments = sorted(WHOLE.glob("wal-*"))
    with copied() as data:
        (data / segments[1].name).unlink()
        has(dump(data, "--limit", "0", code=1).stdout, "a segment before this one is missing", "Verdict: DAMAGED: 1 place")
        (data / segments[0].name).unlink()
        has(dump(data, "--limit", "0", code=1).stdout, "an older segment must be gone")


def a_short_segment_is_told():
    segments = sorted(WHOLE.glob("wal-*"))
    with copied() as data:
        os.truncate(data / segments[1].name, 8 << 20)
        has(dump(data, "--limit", "0", code=1).stdout, "DAMAGED: segment", "the segment before this one is too short",
            "Verdict: DAMAGED")


def a_wrong_directory_is_refused():
    empty = ROOT / "empty"
    empty.mkdir()
    done = dump(empty, code=1)
    has(done.stderr, "flotilla wal dump: ", str(empty), "it is no data directory")
    check(done.stdout == "", done.stdout)
    has(run("wal", "dump", "--data", "/no/such", code=1).stderr, "/no/such", "No such file")
    has(run("wal", "dump", "--data", "/dev/null", code=1).stderr, "/dev/null is not a directory")
    with copied() as data:
        for segment in data.glob("wal-*"):
            segment.unlink()
        has(dump(data, code=1).stderr, "the directory has no log")


def a_lost_or_damaged_identity_hides_nothing_else():
    with copied() as data:
        flip(data / "identity", 20)
        has(dump(data, "--limit", "0", code=1).stdout, "DAMAGED: ", "identity is damaged (checksum)", "1      ")
        (data / "identity").unlink()
        rows = dump_json(data, code=1)
        check(of_type(rows, "damage")[0]["file"] == "identity" and len(of_type(rows, "record")) > 10, f"{rows[-1]}")


def an_unreadable_file_is_named():
    with copied() as data:
        segment = sorted(data.glob("wal-*"))[1]
        segment.chmod(0)
        done = run("wal", "dump", "--data", data, code=1, preexec=as_nobody_special)
        has(done.stderr, segment.name, "Permission denied")
        snapshot = snapshots(data)[0]
        snapshot.chmod(0)
        done = run("snapshot", "inspect", data, code=1, preexec=as_nobody_special)
        has(done.stderr, snapshot.name, "Permission denied")
        has(done.stdout, "Total: 0 whole, 1 damaged or unreadable")


def a_running_node_is_looked_at_and_goes_on():
    """Every look happens while large writes are under way: none of them may be taken for damage."""
    with rig.Cluster(PROGRAM, 1) as cluster:
        node, written = cluster.nodes[0], []
        value = bytes(BIG)
        writer = threading.Thread(target=lambda: written.extend(node.put(f"key/{number}", value) for number in range(110)))
        writer.start()
        looks = 0
        try:
            while writer.is_alive():
                done = run("wal", "dump", "--data", node.directory, "--limit", "0")
                has(done.stdout, f"Process {node.process.pid} runs on this directory", "may be missing")
                looks += 1
        finally:
            writer.join()
        check(written == [True] * 110 and looks > 0, f"{len(written)} writes, {looks} looks")
        rows = [json.loads(line) for line in run("wal", "dump", "--data", node.directory, "--json").stdout.splitlines()]
        check(sum(row.get("command") == "kv_put" for row in rows) == 110, "what is acknowledged is on the disk")
        check(node.runs() and node.stop() == 0, "the node goes on and stops well")


# ---- snapshots -----------------------------------------------------------------------------------

def a_whole_snapshot_shows_what_is_in_it():
    path = snapshots(WHOLE)[-1]
    _, group, index, term = path.name.split("-")
    text = inspect(WHOLE).stdout
    has(text, f"{path}: whole", f"group {int(group, 16)}, up to entry {int(index, 16)} of term {int(term, 16)}",
        "members 1 (", f"{path.stat().st_size} bytes", "digest ", "kv         44", "Total: 1 whole, 0 damaged")
    check(inspect(path).stdout == inspect(path.parent).stdout == text, "file, directory, data directory: the same")
    rows = [json.loads(line) for line in inspect(path, "--json").stdout.splitlines()]
    check(of_type(rows, "snapshot")[0]["rows"] == sum(row["rows"] for row in of_type(rows, "table")), f"{rows}")


def rows_are_listed_by_prefix_and_up_to_a_limit():
    path = snapshots(WHOLE)[-1]
    rows = [json.loads(line) for line in inspect(path, "--rows", "--prefix", "config/3", "--json").stdout.splitlines()]
    want = ["config/3"] + [f"config/{number}" for number in range(30, 40)]
    check([row["key"] for row in of_type(rows, "row")] == want, f"{rows}")
    text = inspect(path, "--rows", "--prefix", "config/", "--limit", "2").stdout
    has(text, "config/0", "config/1\n", "38 more are not shown (--limit)")
    check("config/10" not in text.replace("config/1\n", ""), text)
    check(inspect(path, "--rows", "--prefix", "nothing/", "--json").stdout.count('"type":"row"') == 0, "no such key")


def damage_of_a_snapshot_is_named():
    with copied() as data:
        path = snapshots(data)[-1]
        whole = path.read_bytes()
        for offset, words in [(20, "its header is damaged (in the part at byte 0"), (len(whole) // 2, "rows are damaged"),
                              (len(whole) - 10, "its trailer is damaged")]:
            flip(path, offset)
            done = inspect(data, code=1)
            has(done.stdout, f"DAMAGED: {path}: ", words, "Total: 0 whole, 1 damaged or unreadable")
            path.write_bytes(whole)
        os.truncate(path, len(whole) - 1)
        has(inspect(path, "--rows", code=1).stdout, "DAMAGED")
        path.write_bytes(b"")
        check(json.loads(inspect(path, "--json", code=1).stdout.splitlines()[0])["type"] == "damage", "in JSON too")
        path.write_bytes(whole)
        other = path.with_name(path.name[:-1] + "7")
        path.rename(other)
        has(inspect(data, code=1).stdout, f"the file says that it is {path.name}")
        other.rename(data / "copy")
        has(inspect(data / "copy").stdout, "whole")


def unfinished_snapshots_are_passed_over_and_stay():
    with copied() as data:
        path = snapshots(data)[-1]
        unfinished = [path.with_name(path.name + suffix) for suffix in (".tmp", ".part")]
        for one in unfinished:
            one.write_bytes(b"half")
        text = inspect(data).stdout
        has(text, *(f"{one}: passed over" for one in unfinished), "Total: 1 whole, 0 damaged")
        path.unlink()
        has(inspect(data).stdout, "Total: 0 whole, 0 damaged")


def a_wrong_path_has_no_snapshots():
    folder = ROOT / "nothing"
    folder.mkdir()
    has(inspect(folder, code=1).stderr, f"{folder} has no snapshot files")
    has(run("snapshot", "inspect", "/no/such", code=1).stderr, "/no/such: No such file")
    has(run("snapshot", "inspect", "/dev/null", code=1).stderr, "/dev/null: neither file nor directory")
    long = folder / ("x" * 100)
    long.write_bytes(b"")
    has(inspect(long, code=1).stderr, "no snapshot has so long a name")
    has(inspect(WHOLE / "identity", code=1).stdout, "DAMAGED", "its header is damaged")


# ---- the command line ----------------------------------------------------------------------------

def a_wrong_command_line_is_exit_code_2():
    for arguments, words in [(["wal", "dump"], "--data DIR"), (["wal", "dump", "x", "--data", "y"], '"x"'),
                             (["wal", "dump", "--data", "y", "--from", "5", "--to", "4"], "--from 5 is behind --to 4"),
                             (["wal", "dump", "--data", "y", "--limt", "4"], "did you mean --limit?"),
                             (["wal", "dmup"], 'did you mean "wal dump"?'), (["snapshot", "inspect"], "FILE_OR_DIR"),
                             (["snapshot", "inspect", "x", "--prefix", "a"], "--rows --prefix a")]:
        has(run(*arguments, code=2).stderr, words)
    for name in (["wal", "dump"], ["snapshot", "inspect"]):
        has(run(*name, "--help").stdout, "Examples:", f"flotilla {' '.join(name)} ", "Exit codes: 0 whole")


CASES = [
    a_whole_log_is_printed_record_by_record, filters_choose_what_is_printed_and_nothing_else, a_torn_end_is_no_damage,
    a_flipped_byte_is_named_with_its_place, a_missing_segment_is_told, a_short_segment_is_told,
    a_wrong_directory_is_refused, a_lost_or_damaged_identity_hides_nothing_else, an_unreadable_file_is_named,
    a_running_node_is_looked_at_and_goes_on, a_whole_snapshot_shows_what_is_in_it,
    rows_are_listed_by_prefix_and_up_to_a_limit, damage_of_a_snapshot_is_named,
    unfinished_snapshots_are_passed_over_and_stay, a_wrong_path_has_no_snapshots, a_wrong_command_line_is_exit_code_2,
]

if __name__ == "__main__":
    try:
        make_whole()
        sys.exit(rig.run_cases([case for case in CASES if not sys.argv[2:] or case.__name__ in sys.argv[2:]]))
    finally:
        shutil.rmtree(ROOT, ignore_errors=True)
