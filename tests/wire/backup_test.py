#!/usr/bin/env python3
"""Recovery of a cluster that lost its majority, on real nodes.

backup_test.py FLOTILLA [CASE...]: prints TAP. Standard library only.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402
from rig import check  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/flotilla").resolve()
YES = "--i-accept-data-loss"


def run(*arguments, code=0):
    """What it printed, on both streams."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, preexec_fn=rig.die_with_parent)
    text = done.stdout + done.stderr
    check(done.returncode == code, f"{arguments}: exit status {done.returncode}, not {code}: {text[-2000:]}")
    return text


def has(text, *words):
    for word in words:
        check(word in text, f"\"{word}\" is not in: {text[-2000:]}")


def contents(directory):
    """Of all files but the locks and the state, whose file is a sparse map."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.glob("**/*"))
            if path.is_file() and path.name != "lock" and path.parent.name != "state"}


def lose_the_majority(cluster, clean=False):
    """Writes, then stops everybody; returns the survivor and what it had acknowledged itself."""
    cluster.wait_leader()
    survivor, keys = cluster.nodes[2], {}
    for number in range(60):
        key, value = f"kept/{number}", f"value {number}".encode()
        check(survivor.put(key, value), "a write")
        keys[key] = value
    if clean:
        check(survivor.stop() == 0, "a clean stop")
    cluster.kill_all()
    return survivor, keys


def refuses_each_other(survivor, old):
    old.start()
    rig.wait_until("the old node is refused by name", lambda: "belongs to cluster" in survivor.log() + old.log())
    check(not old.put("old", "1", timeout_s=2), "it acknowledges nothing")
    check(survivor.put("goes/on", "1"), "and harms nobody")


def the_last_survivor_becomes_the_cluster():
    with rig.Cluster(PROGRAM, 3) as cluster:
        survivor, keys = lose_the_majority(cluster)
        before = contents(survivor.directory)
        report = run("recover", "--data", survivor.directory, code=1)
        has(report, "node 3 of cluster", "given up for good        1 2", "last entry", "certainly committed",
            "perhaps committed", "perhaps lost", "Nothing was changed", YES)
        check(contents(survivor.directory) == before, "the report changes nothing")
        has(run("recover", "--data", survivor.directory, YES), "Done: node 3 is the only voter of the new cluster")
        dump = run("wal", "dump", "--data", survivor.directory, "--limit", 0)
        check("DAMAGED" not in dump, dump)
        survivor.start()
        rig.wait_until("it leads", survivor.leads)
        for key, value in keys.items():
            check(survivor.get(key) == value, f"{key} is there")
        refuses_each_other(survivor, cluster.nodes[0])
        check(survivor.stop() == 0, "a clean stop")
        survivor.start()
        rig.wait_until("it leads after a restart, too", survivor.leads)
        check(survivor.get("kept/7") == b"value 7", "with its data")
        has(run("recover", "--data", cluster.nodes[1].directory, code=1), "node 2 of cluster")


def a_clean_stop_tells_what_is_committed():
    with rig.Cluster(PROGRAM, 3) as cluster:
        survivor, keys = lose_the_majority(cluster, clean=True)
        check((survivor.directory / "state" / "clean").exists(), "a clean mark")
        report = run("recover", "--data", survivor.directory, code=1)
        line = next(line for line in report.splitlines() if "certainly committed" in line)
        check(int(line.split()[-1]) >= len(keys), line)
        check((survivor.directory / "state" / "clean").exists(), "the mark stays")
        run("recover", "--data", survivor.directory, YES)
        survivor.start()
        rig.wait_until("it leads", survivor.leads)
        check(all(survivor.get(key) == value for key, value in keys.items()), "all is there")


def a_directory_that_is_not_fit_is_refused():
    with rig.Cluster(PROGRAM, 3) as cluster:
        leader = cluster.wait_leader()
        for flags in ([], [YES]):
            has(run("recover", "--data", leader.directory, *flags, code=1), "runs on this directory"
                if not flags else "is held by process")
        survivor, _ = lose_the_majority(cluster)
        damaged = cluster.root / "damaged"
        shutil.copytree(survivor.directory, damaged, ignore=shutil.ignore_patterns("state"))
        log = sorted(damaged.glob("wal-*"))[0]
        data = bytearray(log.read_bytes())
        data[data.index(b"value 3\0"[:7]) + 1] ^= 4
        log.write_bytes(data)
        before = contents(damaged)
        for flags in ([], [YES]):
            has(run("recover", "--data", damaged, *flags, code=1), "damaged", "group 1")
        check(contents(damaged) == before, "nothing was changed")
        empty = cluster.root / "empty"
        empty.mkdir()
        has(run("recover", "--data", empty, YES, code=1), "no data directory")
        has(run("recover", "--data", cluster.root / "none", YES, code=1), "none")
        has(run("recover", code=2), "which directory?")


def a_lone_node_needs_no_recovery():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        check(node.put("a", "1"), "a write")
        node.kill()
        has(run("recover", "--data", node.directory, YES, code=1), "the only member already")


CASES = [
    the_last_survivor_becomes_the_cluster,
    a_clean_stop_tells_what_is_committed,
    a_directory_that_is_not_fit_is_refused,
    a_lone_node_needs_no_recovery,
]

if __name__ == "__main__":
    wanted = sys.argv[2:]
    sys.exit(rig.run_cases([case for case in CASES if not wanted or case.__name__ in wanted]))
