#!/usr/bin/env python3
"""Backup and restore, and recovery of a cluster that lost its majority, on real nodes.

backup_test.py FLOTILLA [CASE...]: prints TAP. Standard library only.
"""

import hashlib
import pathlib
import shutil
import socket
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


# ---- backup and restore --------------------------------------------------------------------------

def save(node, path, *flags):
    return run("snapshot", "save", path, "--addr", f"127.0.0.1:{node.http}", *flags)


def rows_of(path):
    return run("snapshot", "inspect", path, "--rows", "--limit", 100000)


def a_backup_of_any_node_has_every_acknowledged_write():
    with rig.Cluster(PROGRAM, 3) as cluster:
        cluster.wait_leader()
        for number in range(30):
            writer, reader = cluster.nodes[number % 3], cluster.nodes[(number + 1) % 3]
            check(writer.put(f"round/{number}", "x"), "a write")
            if number % 5 == 0:
                path = cluster.root / f"backup-{number}.snap"
                has(save(reader, path), "up to entry", "rows")
                has(rows_of(path), f"round/{number}\n")
        check(not list(cluster.root.glob("*.part")), "no unfinished file is left")
        big = b"b" * 500000
        for number in range(60):
            check(cluster.nodes[0].put(f"big/{number}", big), "a write")
        path = cluster.root / "big.snap"
        save(cluster.nodes[1], path, "--stale")
        save(cluster.nodes[1], path)
        check(path.stat().st_size > 60 * len(big), "all is in it")
        answer = rig.ask(cluster.nodes[2].http, "GET", "/v1/snapshot", timeout_s=60)
        check(answer.status == 200 and answer.body[:8] == b"FLOTSNAP", "Consul's path gives the same file")
        check(int(answer.headers["X-Consul-Index"]) > 60, "with its index")
        has(rows_of(path), "big/59\n", "round/29\n")


def a_backup_without_a_leader_is_stale_or_refused():
    with rig.Cluster(PROGRAM, 3) as cluster:
        node = cluster.nodes[0]
        check(node.put("kept", "1"), "a write")
        for other in cluster.nodes[1:]:
            other.kill()
        rig.wait_until("nobody leads", lambda: (node.status() or {"known_leader": True})["known_leader"] is False)
        path = cluster.root / "backup.snap"
        has(run("snapshot", "save", path, "--addr", f"127.0.0.1:{node.http}", code=1), "leader")
        check(not list(cluster.root.glob("backup.snap*")), "nothing is left of it")
        save(node, path, "--stale")
        has(rows_of(path), "kept\n")


def clients_that_leave_in_the_middle_leave_nothing():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        for number in range(40):
            check(node.put(f"big/{number}", b"b" * 500000), "a write")
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", node.http)) as client:
                client.sendall(b"GET /v1/snapshot HTTP/1.1\r\nHost: a\r\n\r\n")
                check(client.recv(1000).startswith(b"HTTP/1.1 200"), "it begins")
        rig.wait_until("there is room for a backup again", lambda: subprocess.run(
            [PROGRAM, "snapshot", "save", cluster.root / "b.snap", "--addr", f"127.0.0.1:{node.http}"],
            capture_output=True, preexec_fn=rig.die_with_parent).returncode == 0, 20)
        check(node.put("after", "1"), "it works on")
        check(node.stop() == 0, "a clean stop")


def a_node_stops_in_the_middle_of_backups():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        for number in range(40):
            check(node.put(f"big/{number}", b"b" * 500000), "a write")
        clients = [socket.create_connection(("127.0.0.1", node.http)) for _ in range(10)]
        for client in clients:
            client.sendall(b"GET /v1/snapshot HTTP/1.1\r\nHost: a\r\n\r\n")
        heads = [client.recv(12) for client in clients]
        check(heads.count(b"HTTP/1.1 200") == 8 and heads.count(b"HTTP/1.1 429") == 2, f"eight at once: {heads}")
        for client in clients[::2]:
            client.close()
        check(node.stop() == 0, "a clean stop")
        for client in clients[1::2]:
            client.close()


def a_backup_is_restored_into_a_new_cluster():
    with rig.Cluster(PROGRAM, 3) as cluster:
        cluster.wait_leader()
        keys = {f"kept/{number}": f"value {number}".encode() for number in range(50)}
        for number, (key, value) in enumerate(keys.items()):
            check(cluster.nodes[number % 3].put(key, value), "a write")
        path = cluster.root / "backup.snap"
        save(cluster.nodes[0], path)
        before = int(rig.ask(cluster.nodes[0].http, "GET", "/v1/kv/kept/1").headers["X-Consul-Index"])
        check(cluster.nodes[0].put("later", "1"), "a write after the backup")
        cluster.kill_all()
        node, old = cluster.nodes[0], cluster.nodes[1]
        restore = ["snapshot", "restore", path, "--data", node.directory, "--id", 1]
        has(run(*restore, code=1), "is used already")
        shutil.rmtree(node.directory)
        has(run(*restore), "node 1 is the only voter of the new cluster", "flotilla server --id 1")
        has(run(*restore, code=1), "is used already")
        node.start()
        rig.wait_until("it leads", node.leads)
        check(all(node.get(key) == value for key, value in keys.items()), "all is there")
        check(node.get("later") is None, "and nothing that came later")
        check(node.put("kept/1", "new") and node.get("kept/1") == b"new", "it takes writes")
        after = rig.ask(node.http, "GET", "/v1/kv/kept/1").headers["X-Consul-Index"]
        check(int(after) > before, "indices go on")
        refuses_each_other(node, old)
        check(node.stop() == 0, "a clean stop")
        node.start()
        rig.wait_until("it leads after a restart, too", node.leads)
        node.kill()
        node.start()
        rig.wait_until("and after kill -9", node.leads)
        check(node.get("kept/1") == b"new" and node.get("kept/2") == b"value 2", "with its data")


def what_is_no_backup_is_refused():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        check(node.put("a", "1" * 1000), "a write")
        path, data = cluster.root / "backup.snap", cluster.root / "new"
        save(node, path)
        whole = path.read_bytes()
        bad = cluster.root / "bad.snap"
        for content in (whole[:-1], whole[:len(whole) // 2], whole[:700] + bytes([whole[700] ^ 1]) + whole[701:],
                        b"\x1f\x8b" + whole, b""):
            bad.write_bytes(content)
            run("snapshot", "restore", bad, "--data", data, "--id", 1, code=1)
            check(not data.exists() or not list(data.glob("wal-*")), "nothing was made")
        has(run("snapshot", "restore", cluster.root / "none", "--data", data, "--id", 1, code=1), "none")
        has(run("snapshot", "restore", path, "--data", data, code=2), "which node?")
        for body, status, word in ((b"\x1f\x8b", 400, "Consul"), (whole, 501, "offline")):
            answer = rig.ask(node.http, "PUT", "/v1/snapshot", body)
            check(answer.status == status and word in answer.text(), answer.text())
        has(run("snapshot", "save", cluster.root / "no" / "file", "--addr", f"127.0.0.1:{node.http}", code=1), "no/file")
        has(run("snapshot", "save", path, "--addr", "127.0.0.1:1", code=3), "refused")
        check(path.read_bytes() == whole, "the older file stays")


CASES = [
    a_backup_of_any_node_has_every_acknowledged_write,
    a_backup_without_a_leader_is_stale_or_refused,
    clients_that_leave_in_the_middle_leave_nothing,
    a_node_stops_in_the_middle_of_backups,
    a_backup_is_restored_into_a_new_cluster,
    what_is_no_backup_is_refused,
    the_last_survivor_becomes_the_cluster,
    a_clean_stop_tells_what_is_committed,
    a_directory_that_is_not_fit_is_refused,
    a_lone_node_needs_no_recovery,
]

if __name__ == "__main__":
    wanted = sys.argv[2:]
    sys.exit(rig.run_cases([case for case in CASES if not wanted or case.__name__ in wanted]))
