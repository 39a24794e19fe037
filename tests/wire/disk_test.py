#!/usr/bin/env python3
"""Disks that stall or fail under real nodes (disk_fault.c is preloaded into them).

disk_test.py FLOTILLA DISK_FAULT_LIBRARY [CASE...]: prints TAP. Standard library only.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402
from rig import check  # noqa: E402

PROGRAM, LIBRARY = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
STALL_S = 10
MOVE_LIMIT_S = 4  # two election timeouts are 1.2 s; the rest is for a slow and busy test machine


class Disks(rig.Cluster):
    """A cluster whose disks can be switched: switch(node, "stall", True)."""

    def lay_out(self):
        super().lay_out()
        for node in self.nodes:
            self.prepare(node)

    def prepare(self, node):
        start, base = node.start, self.root / f"disk{node.number}"
        # The sanitizers' library need not come first: this one replaces nothing of theirs.
        prefix = ("env", f"LD_PRELOAD={LIBRARY}", f"FLOTILLA_TEST_DISK={base}",
                  "ASAN_OPTIONS=verify_asan_link_order=0")
        node.start = lambda: start(prefix, loop="epoll")

    def start(self):
        super().start()
        for node in self.nodes:
            check("cannot be preloaded" not in node.log(), f"{LIBRARY} is not in node {node.number}")

    def switch(self, node, fault, on):
        path = self.root / f"disk{node.number}.{fault}"
        path.touch() if on else path.unlink()


def write(node, keys, key):
    if node.put(key, key):
        keys.add(key)


def all_there(nodes, keys):
    for node in nodes:
        for key in keys:
            value = rig.wait_until(f"node {node.number} answers", lambda: node.get(key), 10)
            check(value == key.encode(), f"node {node.number}: {key} is {value}")


def a_stalled_disk_moves_leadership_and_loses_nothing():
    with Disks(PROGRAM, 3) as cluster:
        keys, old = set(), cluster.leader()
        others = [node for node in cluster.nodes if node is not old]
        write(old, keys, "before")
        cluster.switch(old, "stall", True)
        started = time.monotonic()
        for number, node in enumerate(others):
            write(node, keys, f"stalled/{number}")
        heir = rig.wait_until("another leader", lambda: next((n for n in others if n.leads()), None), MOVE_LIMIT_S)
        print(f"# another node led after {time.monotonic() - started:.2f} s")
        number = 0
        while time.monotonic() < started + STALL_S:
            write(others[number % 2], keys, f"on/{number}")
            check(not old.leads() and heir.leads(), "leadership moved again while the disk hung")
            number += 1
        check(len(keys) > 20, f"only {len(keys)} writes acknowledged")
        cluster.switch(old, "stall", False)
        cluster.wait_caught_up(old)
        all_there(cluster.nodes, keys)


def a_stalled_disk_of_a_follower_changes_nothing():
    with Disks(PROGRAM, 3) as cluster:
        keys, leader = set(), cluster.leader()
        term = leader.status()["term"]
        stuck = next(node for node in cluster.nodes if node is not leader)
        cluster.switch(stuck, "stall", True)
        until = time.monotonic() + STALL_S / 2
        while time.monotonic() < until:
            write(leader, keys, f"on/{len(keys)}")
        check(len(keys) > 20, f"only {len(keys)} writes acknowledged")
        cluster.switch(stuck, "stall", False)
        cluster.wait_caught_up(stuck)
        check(leader.leads() and leader.status()["term"] == term, "an election was held")
        all_there(cluster.nodes, keys)


def the_first_write_error_is_final_and_named():
    with Disks(PROGRAM, 3) as cluster:
        keys, failing = set(), cluster.leader()
        for number in range(20):
            write(cluster.nodes[number % 3], keys, f"before/{number}")
        cluster.switch(failing, "eio", True)
        failing.put("one more", "x")
        status = failing.wait_end(20)
        check(status == 1, f"exit status {status}: {failing.log()[-1500:]}")
        for word in ("flotilla server: stopped by itself", "wal-", "Input/output error"):
            check(word in failing.log(), f"{word!r} is not in the log: {failing.log()[-1500:]}")
        cluster.switch(failing, "eio", False)
        rest = [node for node in cluster.nodes if node is not failing]
        rig.wait_until("writes go on", lambda: rest[0].put("on", "on"), 10)
        failing.start()
        cluster.wait_leader()
        cluster.wait_caught_up(failing)
        all_there(cluster.nodes, keys | {"on"})


CASES = [
    a_stalled_disk_moves_leadership_and_loses_nothing,
    a_stalled_disk_of_a_follower_changes_nothing,
    the_first_write_error_is_final_and_named,
]

if __name__ == "__main__":
    wanted = sys.argv[3:]
    sys.exit(rig.run_cases([case for case in CASES if not wanted or case.__name__ in wanted]))
