#!/usr/bin/env python3
"""Nodes with a cluster secret as real processes: who is let in, who is not and is told why, how a secret is replaced.

secure_test.py FLOTILLA [CASE...]: prints TAP. Standard library only.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402
from rig import check  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/flotilla").resolve()


def secret(*arguments):
    return subprocess.run([PROGRAM, "secret", *arguments], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)


def secret_works(*arguments):
    done = secret(*arguments)
    check(done.returncode == 0, f"secret {arguments}: {done.returncode}, {done.stderr}")
    return done.stdout


def copy_secret(source, target):
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)


def file_of(cluster, node):
    return cluster.root / f"secret{node.number}"


def give_secrets(cluster):
    """The same secret in a file for each node."""
    secret_works("new", file_of(cluster, cluster.nodes[0]))
    for node in cluster.nodes[1:]:
        copy_secret(file_of(cluster, cluster.nodes[0]), file_of(cluster, node))


def start_with_secrets(cluster):
    give_secrets(cluster)
    for node in cluster.nodes:
        node.start(secret_file=file_of(cluster, node))
    cluster.wait_leader()


def works(cluster, key):
    for node in cluster.nodes:
        rig.wait_until(f"a write through node {node.number}", lambda n=node: n.put(f"{key}{n.number}", "x"), 10)


def refusal(node, peer):
    """What node says about its connection with peer."""
    status = node.status()
    rows = status["members"] if status else []
    return "".join(row.get("refused", "") for row in rows if row["id"] == peer.number)


def wait_refusals(one, other, at_one, at_other):
    for node, peer, words in ((one, other, at_one), (other, one, at_other)):
        rig.wait_until(f"node {node.number} says {words!r}", lambda n=node, p=peer, w=words: w in refusal(n, p), 10)


def nodes_with_a_secret_form_a_cluster():
    with rig.Cluster(PROGRAM, 3, start=False) as cluster:
        start_with_secrets(cluster)
        works(cluster, "a")
        # A good hello of node 1 in the clear, garbage, HTTP: nothing, or an alert of TLS.
        hello = b"FLTP\x01\0\0\0" + (3).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(48)
        for stranger in ((64).to_bytes(4, "little") + b"\x01\0\0\0\0" + hello, b"\x16\x03\x01\x01\x00\x01" * 40,
                         b"GET / HTTP/1.1\r\n\r\n"):
            said = rig.talk(cluster.nodes[2].peer, stranger)
            check(b"FLTP" not in said and said[:1] in (b"", b"\x15"), f"{stranger[:9]} was answered with {said!r}")
        works(cluster, "b")


def one_without_the_secret_stays_out_and_both_say_why():
    with rig.Cluster(PROGRAM, 3, start=False) as cluster:
        start_with_secrets(cluster)
        works(cluster, "c")
        low, _, high = cluster.nodes
        low.stop()
        low.start()
        wait_refusals(low, high, "the other side has a secret and this node none: give --secret-file FILE",
                      "a connection from its machine: it does not speak TLS: it runs without a secret")
        low.stop()
        secret_works("new", cluster.root / "other")
        low.start(secret_file=cluster.root / "other")
        wait_refusals(low, high, "the other side does not take this node's secret", "its secret is none of this node's")
        low.stop()
        low.start(secret_file=file_of(cluster, low))
        works(cluster, "d")
        high.stop()
        high.start()
        wait_refusals(low, high, "the other side does not speak TLS", "it has a secret and this node none")


def a_bad_secret_file_is_refused_with_what_to_do():
    with rig.Cluster(PROGRAM, 1, start=False) as cluster:
        node, path = cluster.nodes[0], cluster.root / "secret"
        secret_works("new", path)
        again = secret("new", path)
        check(again.returncode == 1 and "File exists" in again.stderr, again.stderr)

        def refused(*words):
            before = len(node.log())
            node.start(secret_file=path)
            status = node.wait_end()
            said = node.log()[before:]
            check(status == 1, f"exit status {status}: {said}")
            for word in ("cannot start", str(path), *words):
                check(word in said, f"{word!r} is not in {said}")

        path.chmod(0o640)
        refused("others could read it", "chmod 600")
        path.chmod(0o600)
        path.write_text("our little secret\n")
        refused("pass-phrases are not taken", "flotilla secret new")
        path.unlink()
        refused("No such file")


def a_secret_is_replaced_while_writes_go_on():
    with rig.Cluster(PROGRAM, 3, start=False) as cluster:
        start_with_secrets(cluster)
        first = file_of(cluster, cluster.nodes[0])
        old = first.read_text()
        copy_secret(first, cluster.root / "old")
        for step in ("add", "switch", "drop"):
            check("SIGHUP" in secret_works("rotate", first, step), "it does not say what comes next")
            for node in cluster.nodes:
                if node.number > 1:
                    copy_secret(first, file_of(cluster, node))
                before = node.log().count("secret_reloaded")
                node.process.send_signal(signal.SIGHUP)
                rig.wait_until("it has read the file", lambda n=node, b=before: n.log().count("secret_reloaded") > b, 10)
                works(cluster, step)
            # New connections at this step: a node that comes back, lowest and highest in turn.
            node = cluster.nodes[0 if step == "switch" else 2]
            node.stop()
            node.start(secret_file=file_of(cluster, node))
            works(cluster, step + "2")
        check(old not in first.read_text() and len(first.read_text().splitlines()) == 1, "the old secret is still there")
        lost = [node.log().count("peer_refused") for node in cluster.nodes]
        check(lost == [0, 0, 0], f"somebody was refused on the way: {lost}")
        again = secret("rotate", first, "drop")
        check(again.returncode == 1 and "one secret only" in again.stderr, again.stderr)
        # A file that cannot be used changes nothing.
        node = cluster.nodes[1]
        file_of(cluster, node).write_text("password\n")
        node.process.send_signal(signal.SIGHUP)
        rig.wait_until("it says so", lambda: "secret_unusable" in node.log(), 10)
        works(cluster, "d")
        low, high = cluster.nodes[0], cluster.nodes[2]
        low.stop()
        low.start(secret_file=cluster.root / "old")
        wait_refusals(low, high, "the other side does not take this node's secret", "its secret is none of this node's")


def nodes_may_be_beyond_loopback_with_a_secret_only():
    with rig.Cluster(PROGRAM, 1, start=False) as cluster:
        node = cluster.nodes[0]
        give_secrets(cluster)
        for changes, code, words in (
                ({}, 2, ("--peer-listen: 192.0.2.1:8300 is not on loopback", "--secret-file FILE")),
                # It is asked for, and this machine has no such address.
                ({"secret_file": file_of(cluster, node)}, 1, ("--peer-listen 192.0.2.1:8300", "no interface of this machine has that address"))):
            before = len(node.log())
            node.start(peer_listen="192.0.2.1:8300", peers=None, **changes)
            status, said = node.wait_end(), node.log()[before:]
            check(status == code, f"exit status {status}: {said}")
            for word in words:
                check(word in said, f"{word!r} is not in {said}")


CASES = [
    nodes_with_a_secret_form_a_cluster,
    one_without_the_secret_stays_out_and_both_say_why,
    a_bad_secret_file_is_refused_with_what_to_do,
    a_secret_is_replaced_while_writes_go_on,
    nodes_may_be_beyond_loopback_with_a_secret_only,
]

if __name__ == "__main__":
    wanted = sys.argv[2:]
    sys.exit(rig.run_cases([case for case in CASES if not wanted or case.__name__ in wanted]))
