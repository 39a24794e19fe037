#!/usr/bin/env python3
"""Bad input and faults on real nodes: each is answered clearly, none stops a node that should go on, none loses a write.

server_test.py FLOTILLA [CASE...]: prints TAP. Standard library only. What a message must say is asserted by the words
that name what is wrong and where; exit codes are 0 done, 1 could not or had to stop, 2 wrong command line or settings.
"""

import ctypes
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402
from rig import check  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/flotilla").resolve()
KEY_MAX, VALUE_MAX = 1024, 512 * 1024
CLONE_NEWNS, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 32, 16384, 1 << 18


def has(text, *words):
    for word in words:
        check(word in text, f"{word!r} is not in: {text[-1500:]}")


def refused_start(node, *words, code=1, **changes):
    """The node must end by itself with this exit code, saying these words."""
    before = len(node.log())
    node.start(**changes)
    status = node.wait_end()
    said = node.log()[before:]
    check(status == code, f"exit status {status}, not {code}: {said}")
    has(said, "flotilla server: ", *words)


def run_command(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                          preexec_fn=rig.die_with_parent)


def refused_command(arguments, *words, code=2):
    done = run_command(*arguments)
    check(done.returncode == code, f"{arguments}: exit status {done.returncode}, not {code}: {done.stderr}")
    check(done.stdout == "", f"{arguments}: an error goes to standard error, not to {done.stdout!r}")
    has(done.stderr, *words)


def copy_directory(source, target):
    # Not shutil: the state is a sparse file of 64 GiB.
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


def stays_up(node):
    check(node.runs(), f"node {node.number} has ended: {node.log()[-1000:]}")
    rig.wait_until("a write is acknowledged", lambda: node.put("alive", "yes"), 10)


# ---- requests ------------------------------------------------------------------------------------

MALFORMED = {
    b"GARBAGE\r\n\r\n": b"400",
    b"\x00\xff" * 500: b"400",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n": b"505",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": b"400",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": b"400",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 100000 + b"\r\n\r\n": b"431",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: a\r\n\r\n": b"414",
}


def answers_malformed(port):
    for data, status in MALFORMED.items():
        answer = rig.talk(port, data)
        check(answer.startswith(b"HTTP/1.1 " + status), f"{data[:40]} is answered with {answer[:200]}, not {status}")


def malformed_http_on_the_api_port_is_answered():
    with rig.Cluster(PROGRAM, 1) as cluster:
        answers_malformed(cluster.nodes[0].http)
        stays_up(cluster.nodes[0])


def malformed_http_on_the_gateway_port_is_answered():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        answers_malformed(node.gateway)
        answer = rig.ask(node.gateway, "GET", "/nobody/has/this")
        check(answer.status == 404, f"an unrouted request is answered with {answer.status}")
        stays_up(node)


def strangers_on_the_peer_port_are_refused():
    with rig.Cluster(PROGRAM, 3) as cluster:
        for node in cluster.nodes:
            for data in [*MALFORMED, b"\xff" * 100000, b"", bytes(64), struct.pack("<I", 40) + bytes(40)]:
                rig.talk(node.peer, data, 0.5)
            has(node.log(), "peer_refused", "is not the hello of a Flotilla node")
        for node in cluster.nodes:
            stays_up(node)


def too_long_keys_values_and_bodies_are_refused():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        check(node.put("k" * KEY_MAX, "v"), "the longest key is taken")
        check(node.put("big", b"x" * VALUE_MAX), "the longest value is taken")
        for target, body, words in [("k" * (KEY_MAX + 1), b"v", ["1024"]),
                                    ("big", b"x" * (VALUE_MAX + 1), ["too large", str(VALUE_MAX)]),
                                    ("big", b"x" * (20 << 20), ["too large: at most 1048576 bytes"])]:
            answer = rig.ask(node.http, "PUT", f"/v1/kv/{target}", body)
            check(answer.status == 413, f"{len(target)} + {len(body)} bytes are answered with {answer.status}")
            has(answer.text(), *words)
            check("X-Flotilla-Reason" in answer.headers, f"no reason beside {answer.text()}")
        check(node.get("big") == b"x" * VALUE_MAX, "a refused value changes nothing")
        stays_up(node)


def unknown_routes_and_wrong_methods_are_refused():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        for method, target, status, word in [
                ("GET", "/v1/nothing", 404, "/v1/nothing"), ("GET", "/nothing", 404, "/nothing"),
                ("PUT", "/v1/session/create", 404, "not built"), ("PUT", "/v1/kv/", 400, "Missing key name"),
                ("POST", "/v1/flotilla/status", 405, "POST"), ("POST", "/v1/catalog/nodes", 405, "POST"),
                ("PATCH", "/v1/kv/a", 405, "PATCH")]:
            answer = rig.ask(node.http, method, target, b"x" if method != "GET" else None)
            check(answer.status == status, f"{method} {target} is answered with {answer.status}, not {status}")
            has(answer.text(), word)
            check(status != 405 or "GET" in answer.headers.get("Allow", ""), f"{target}: 405 without Allow")
        answer = rig.ask(node.http, "PUT", "/v1/agent/service/register", b'{"Name":1')
        check(answer.status == 400, f"bad JSON is answered with {answer.status}")
        has(answer.text(), "line 1")
        stays_up(node)


# ---- settings ------------------------------------------------------------------------------------

def bad_configuration_files_are_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "node.yaml")
        refused_command(["server", "--config", path], str(path), "No such file")
        refused_command(["server", "--config", folder], folder, "Is a directory")
        for text, line, word in [("id: 1\ndata: x\nhtpp: 127.0.0.1:8500\n", 3, 'did you mean "http"?'),
                                 ("id: many\n", 1, '"many" is not a whole number'),
                                 ("id:\n  deep: 1\n", 2, "neither a list nor a mapping"),
                                 ("- id\n", 1, "must be a mapping"), ("id: 1\n\tdata: x\n", 2, "not YAML"),
                                 ("id: 1\n---\nid: 2\n", 2, "second document"),
                                 ("id: 1\ndata: x\nid: 2\n", 3, '"id" is given twice, first in line 1')]:
            path.write_text(text)
            refused_command(["server", "--config", path], f"{path}:{line}: ", word)


def an_unreadable_configuration_file_is_refused():
    if os.geteuid() == 0:
        path = "/proc/self/mem"  # root may open everything; reading this one fails
        refused_command(["server", "--config", path], path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "node.yaml")
        path.write_text("id: 1\n")
        path.chmod(0)
        refused_command(["server", "--config", path], str(path), "Permission denied")


def bad_flags_are_refused():
    refused_command(["server"], "--data")
    refused_command(["servr"], 'did you mean "server"?')
    refused_command(["server", "--htpp=1"], "--htpp", "did you mean --http?")
    refused_command(["server", "--data=x", "extra"], '"extra"')
    refused_command(["server", "--data=x", "--id=0"], "--id")
    refused_command(["server", "--data=x", "--loop=kqueue"], "--loop", "kqueue")
    refused_command(["server", "--data=x", "--peers=1=127.0.0.1:8300,2=127.0.0.1:8310"], "1, 3 or 5")
    refused_command(["server", "--data=/dev/null"], "/dev/null", "Not a directory", code=1)


def addresses_beyond_loopback_are_refused():
    for flag in ("http", "gateway", "peer-listen"):
        for address in ("0.0.0.0:8500", "192.0.2.1:8500", "[::]:8500"):
            refused_command(["server", "--data=x", f"--{flag}={address}"], f"--{flag}", "not on loopback")


def commands_without_a_server_say_so():
    port = rig.free_ports(1)[0]
    for command in (["status"], ["kv", "get", "a"], ["services"], ["route", "ls"]):
        refused_command([*command, "--addr", f"127.0.0.1:{port}"], str(port), code=3)


# ---- ports and directories -----------------------------------------------------------------------

def a_port_in_use_is_named_with_who_uses_it():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        other = rig.Node(PROGRAM, 1, rig.free_ports(3), cluster.root / "other", None)
        for flag, port in (("http", node.http), ("gateway", node.gateway), ("peer-listen", node.peer)):
            refused_start(other, f"--{flag} ", f"port {port} is in use by process {node.process.pid}",
                          **{flag: f"127.0.0.1:{port}"})
        stays_up(node)


def a_directory_in_use_is_refused():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        other = rig.Node(PROGRAM, 1, rig.free_ports(3), node.directory, None)
        refused_start(other, str(node.directory), f"held by process {node.process.pid}")
        stays_up(node)


def patched(path, offset, value, with_checksum=True):
    image = bytearray(path.read_bytes())
    image[offset:offset + 4] = struct.pack("<I", value)
    if with_checksum:
        image[60:64] = struct.pack("<I", crc32c(image[:60]))
    path.write_bytes(image)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def directories_that_do_not_fit_are_refused():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        check(node.put("kept", "yes"), "a write")
        check(node.stop() == 0, "SIGTERM ends a node with 0")
        identity = node.directory / "identity"
        image = identity.read_bytes()
        where = str(node.directory)
        refused_start(rig.Node(PROGRAM, 2, (node.http, node.gateway, node.peer), node.directory, None), where,
                      "belongs to node 1, not to 2")
        patched(identity, 8, 2)
        refused_start(node, where, "has format 2", "reads up to 1")
        identity.write_bytes(image)
        patched(identity, 24, 7, with_checksum=False)
        refused_start(node, where, "identity", "checksum")
        identity.unlink()
        refused_start(node, where, "has a log but no identity file")
        identity.write_bytes(image)
        aside = cluster.root / "aside"
        aside.mkdir()
        logs = list(node.directory.glob("wal-*"))
        for log in logs:
            log.rename(aside / log.name)
        refused_start(node, where, "its log is gone")
        for log in logs:
            (aside / log.name).rename(log)
        node.start()
        cluster.wait_leader()
        check(node.get("kept") == b"yes", "nothing of that has harmed what was written")


def a_directory_of_another_cluster_stays_out():
    with rig.Cluster(PROGRAM, 3) as cluster, rig.Cluster(PROGRAM, 3) as other:
        check(cluster.nodes[0].put("ours", "1") and other.nodes[0].put("theirs", "1"), "writes")
        stranger, node = other.nodes[2], cluster.nodes[2]
        stranger.stop()
        node.stop()
        shutil.rmtree(node.directory)
        stranger.directory.rename(node.directory)
        node.start()
        rig.wait_until("the others refuse it by name", lambda: all(
            "belongs to cluster" in one.log() for one in cluster.nodes[:2]))
        check(node.get("theirs", "stale") in (b"1", None), "its data stay as they were")
        for one in cluster.nodes[:2]:
            stays_up(one)
        check(not node.put("ours", "2", timeout_s=3), "it acknowledges nothing")
        check(cluster.nodes[0].get("ours") == b"1", "nothing of it came over")
        done = run_command("status", "--addr", f"127.0.0.1:{cluster.nodes[0].http}")
        has(done.stdout, "2 of 3 nodes answer", "other cluster")


# ---- faults --------------------------------------------------------------------------------------

def write_many(nodes, prefix, count):
    """Returns the acknowledged keys."""
    return {f"{prefix}/{i}" for i in range(count) if nodes[i % len(nodes)].put(f"{prefix}/{i}", f"{prefix}.{i}")}


def all_there(nodes, keys):
    for node in nodes:
        for key in keys:
            value = rig.wait_until(f"node {node.number} answers", lambda: node.get(key), 10)
            check(value.decode() == key.replace("/", "."), f"node {node.number}: {key} is {value}")


def role_of(cluster, number):
    """How the leader's configuration calls a node."""
    leader = cluster.leader()
    status = leader.status() if leader is not None else None
    rows = [row for row in (status or {"members": []})["members"] if row["id"] == number]
    return rows[0]["role"] if rows else None


def a_wiped_directory_comes_back_as_a_learner():
    with rig.Cluster(PROGRAM, 3) as cluster:
        keys = write_many(cluster.nodes, "before", 30)
        check(len(keys) == 30, "writes")
        victim = next(node for node in cluster.nodes if node is not cluster.wait_leader())
        rest = [node for node in cluster.nodes if node is not victim]
        victim.kill()
        shutil.rmtree(victim.directory)
        victim.start()
        cluster.wait_caught_up(victim)
        keys |= write_many(rest, "after", 30)
        check(len(keys) == 60, f"the cluster goes on: {len(keys)} of 60")
        all_there([victim], keys)
        check(not victim.status()["voter"], "a disk that forgot does not vote")
        stays_up(victim)


def a_wiped_directory_behind_a_snapshot_comes_back():
    # The log of the others begins after a snapshot: that comes over the second connection, to a node that belonged to
    # no cluster when the first was made.
    with rig.Cluster(PROGRAM, 3) as cluster:
        value = os.urandom(VALUE_MAX)
        first = cluster.wait_leader().status()["indices"]["first"]
        number = 0
        while any(node.status()["indices"]["first"] == first for node in cluster.nodes):
            check(number < 600, "no log was cut after 300 MB")
            check(cluster.nodes[0].put(f"big/{number % 8}", value), "write")
            number += 1
        victim = next(node for node in cluster.nodes if node is not cluster.wait_leader())
        victim.kill()
        shutil.rmtree(victim.directory)
        victim.start()
        cluster.wait_caught_up(victim)
        check("there is no log connection" not in victim.log(), "the second connection was refused")
        check(victim.get("big/0") == value, "what it forgot is there again")


def flip_first(directory, marker):
    """Damages the first record of the log that has these bytes."""
    for path in sorted(directory.glob("wal-*")):
        data = bytearray(path.read_bytes())
        at = data.find(marker)
        if at >= 0:
            data[at] ^= 1
            path.write_bytes(data)
            return
    check(False, f"{marker} is in no segment of {directory}")


def a_damaged_log_that_ends_before_the_state_is_repaired():
    with rig.Cluster(PROGRAM, 3) as cluster:
        keys = write_many(cluster.nodes, "before", 40)
        check(len(keys) == 40, "writes")
        victim = next(node for node in cluster.nodes if node is not cluster.wait_leader())
        cluster.wait_caught_up(victim)
        check(victim.stop() == 0, "a clean stop")
        flip_first(victim.directory, b"before/12")
        victim.start()
        cluster.wait_caught_up(victim)
        has(victim.log(), "wal_damaged", "state_discarded")
        all_there([victim], keys)
        rig.wait_until("it is whole again", lambda: not victim.status()["repairing"], 10)
        rest = [node for node in cluster.nodes if node is not victim]
        rest[0].kill()
        rig.wait_until("it votes again", lambda: rest[1].put("alive", "yes"), 20)


def damage_under_a_running_leader_is_named_and_passed_by():
    with rig.Cluster(PROGRAM, 3) as cluster:
        leader, value = cluster.leader(), os.urandom(VALUE_MAX)
        late = next(node for node in cluster.nodes if node is not leader)
        late.kill()
        marker = b"a marker that stands in one record only"
        check(leader.put("marked", marker), "write")
        for number in range(20):  # more than the cache has: the late one's entries come from the disk
            check(leader.put(f"big/{number}", value), f"write {number}")
        for path in sorted(leader.directory.glob("wal-*")):
            at = path.read_bytes().find(marker)
            if at >= 0:
                with open(path, "r+b") as segment:
                    segment.seek(at)
                    segment.write(b"A")
                break
        late.start()
        cluster.wait_caught_up(late)
        check(late.get("marked") == marker and late.get("big/19") == value, "the late node lacks writes")
        check(leader.leads(), "an election was held")
        has(leader.log(), "wal_damaged", "segment", "offset")
        check(leader.log().count("wal_damaged") == 1, "it was told more than once")
        leader.kill()
        leader.start()
        cluster.wait_caught_up(leader)
        check(leader.get("marked") == marker, "the damaged node lacks a write")


def the_state_of_a_lone_node_with_a_damaged_log_is_kept():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node = cluster.nodes[0]
        write_many([node], "before", 40)
        check(node.stop() == 0, "a clean stop")
        flip_first(node.directory, b"before/12")
        for _ in range(2):
            refused_start(node, "the log is damaged and ends at entry", "nothing was changed")


def a_copied_directory_loses_nothing():
    with rig.Cluster(PROGRAM, 3) as cluster:
        keys = write_many(cluster.nodes, "before", 30)
        for node in cluster.nodes:
            target = cluster.root / f"copy{node.number}"
            copy_directory(node.directory, target)
            ports = rig.free_ports(3)
            peers = node.peers.replace(f"{node.number}=127.0.0.1:{node.peer}", f"{node.number}=127.0.0.1:{ports[2]}")
            copy = rig.Node(PROGRAM, node.number, ports, target, peers)
            copy.start()
            cluster.nodes.append(copy)
            try:
                rig.wait_until("the copy answers", copy.status, 15)
                originals = cluster.nodes[:3]
                check(not copy.put("copy", "x", timeout_s=2), "a copy acknowledges nothing")
                if node.number < 3:  # of two nodes the one with the lower id dials
                    rig.wait_until("the copy is refused", lambda: "is its data directory copied?" in copy.log(), 10)
                keys |= write_many(originals, f"with-copy-{node.number}", 15)
            finally:
                copy.kill()
                cluster.nodes.remove(copy)
            rig.wait_until("writes go on", lambda: node.put("alive", "yes"), 30)
            all_there(cluster.nodes, keys)


def kill_9_of_one_node_keeps_acknowledged_writes():
    with rig.Cluster(PROGRAM, 1) as cluster:
        node, keys = cluster.nodes[0], set()
        for number in range(8):
            keys |= write_many([node], f"life{number}", 25)
            node.kill()
            node.start()
            cluster.wait_leader()
        check(len(keys) == 200, f"{len(keys)} of 200 acknowledged")
        all_there([node], keys)


def kill_9_of_all_nodes_at_once_keeps_acknowledged_writes():
    with rig.Cluster(PROGRAM, 3) as cluster:
        keys = set()
        for number in range(4):
            keys |= write_many(cluster.nodes, f"life{number}", 30)
            cluster.kill_all()
            for node in cluster.nodes:
                node.start()
            cluster.wait_leader()
            for node in cluster.nodes:
                cluster.wait_caught_up(node)
        check(len(keys) >= 110, f"{len(keys)} of 120 acknowledged")
        all_there(cluster.nodes, keys)


def mount_tmpfs(path, size, remount=False):
    """In a mount namespace of this process's own; False without the right to do so."""
    libc = rig.LIBC
    if not remount:
        if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) != 0:
            return False
    return libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(MS_REMOUNT if remount else 0),
                      f"size={size}".encode()) == 0


def a_full_disk_stops_the_node_cleanly_and_loses_nothing():
    with rig.Cluster(PROGRAM, 1, start=False) as cluster:
        node = cluster.nodes[0]
        node.directory.mkdir()
        if not mount_tmpfs(node.directory, "100m"):
            return "needs the right to mount a small tmpfs"
        try:
            cluster.start()
            keys, value = [], os.urandom(VALUE_MAX)
            for number in range(400):
                if not node.put(f"full/{number}", value):
                    break
                keys.append(f"full/{number}")
            status = node.wait_end(20)
            check(status == 1, f"exit status {status}: {node.log()[-1500:]}")
            has(node.log(), "flotilla server: stopped by itself", "the disk is full")
            check(len(keys) > 10, f"only {len(keys)} writes before the disk was full")
            refused_start(node, "the disk is full")
            check(mount_tmpfs(node.directory, "600m", remount=True), "remount")
            node.start()
            cluster.wait_leader()
            for key in keys:
                check(node.get(key) == value, f"{key} is lost")
            stays_up(node)
        finally:
            cluster.kill_all()
            rig.LIBC.umount2(os.fsencode(node.directory), 2)


CASES = [
    malformed_http_on_the_api_port_is_answered,
    malformed_http_on_the_gateway_port_is_answered,
    strangers_on_the_peer_port_are_refused,
    too_long_keys_values_and_bodies_are_refused,
    unknown_routes_and_wrong_methods_are_refused,
    bad_configuration_files_are_refused,
    an_unreadable_configuration_file_is_refused,
    bad_flags_are_refused,
    addresses_beyond_loopback_are_refused,
    commands_without_a_server_say_so,
    a_port_in_use_is_named_with_who_uses_it,
    a_directory_in_use_is_refused,
    directories_that_do_not_fit_are_refused,
    a_directory_of_another_cluster_stays_out,
    a_wiped_directory_comes_back_as_a_learner,
    a_wiped_directory_behind_a_snapshot_comes_back,
    a_damaged_log_that_ends_before_the_state_is_repaired,
    damage_under_a_running_leader_is_named_and_passed_by,
    the_state_of_a_lone_node_with_a_damaged_log_is_kept,
    a_copied_directory_loses_nothing,
    kill_9_of_one_node_keeps_acknowledged_writes,
    kill_9_of_all_nodes_at_once_keeps_acknowledged_writes,
    a_full_disk_stops_the_node_cleanly_and_loses_nothing,  # last: it leaves the mount namespace
]

if __name__ == "__main__":
    wanted = sys.argv[2:]
    sys.exit(rig.run_cases([case for case in CASES if not wanted or case.__name__ in wanted]))
