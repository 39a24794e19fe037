#!/usr/bin/env python3
"""Kills the leader again and again under a load of writes: how long until the next one is acknowledged, is any lost?

failover.py FLOTILLA [--kills N] [--no-timing]

Three real nodes. Clients write distinct keys to all of them, without a pause; what was acknowledged is remembered. The
leader is killed with SIGKILL; counted is the time from the kill to the first acknowledgement of a write that was *begun*
when it was dead, by any client. Then the node is started again, and the next kill waits until it is back. At the end every
acknowledged write must be read, consistently, from every node. FLOTILLA_KILLS overrides the number of kills.
"""

import argparse
import base64
import http.client
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import rig  # noqa: E402

WORST_ALLOWED_S = 1.0
CLIENTS_PER_NODE = 2
CLIENT_TIMEOUT_S = 2.0
LIMIT_S = 170


class Load:
    """Client threads, and what was acknowledged to them. Times are of one monotonic clock."""

    def __init__(self, nodes):
        self.nodes, self.stopping = nodes, threading.Event()
        self.changed = threading.Condition()
        self.acknowledged, self.unknown = {}, 0  # guarded, as what follows, by `changed`
        self.latest = []  # (begun, acknowledged) since the last kill
        self.threads = [threading.Thread(target=self.work, args=(node, i), daemon=True)
                        for node in nodes for i in range(CLIENTS_PER_NODE)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def work(self, node, number):
        connection, count = None, 0
        while not self.stopping.is_set():
            count += 1
            key, value = f"load/{node.number}-{number}/{count:06d}", f"{node.number}.{number}.{count}"
            begun = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=CLIENT_TIMEOUT_S)
                connection.request("PUT", f"/v1/kv/{key}", value)
                response = connection.getresponse()
                acknowledged = response.read().strip() == b"true" and response.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                connection, acknowledged = None, False
            if acknowledged:
                self.remember(key, value, begun)
            else:
                with self.changed:
                    self.unknown += 1
                time.sleep(0.005)

    def remember(self, key, value, begun):
        now = time.monotonic()
        with self.changed:
            self.acknowledged[key] = value
            self.latest.append((begun, now))
            self.changed.notify_all()

    def first_after(self, moment, limit_s):
        """When the first write that was begun after this moment was acknowledged."""
        deadline = time.monotonic() + limit_s
        with self.changed:
            while True:
                fitting = [ended for begun, ended in self.latest if begun > moment]
                if fitting:
                    return min(fitting)
                left = deadline - time.monotonic()
                rig.check(left > 0, f"no write was acknowledged within {limit_s} s after the kill")
                self.latest.clear()
                self.changed.wait(left)


def fail_over(cluster, load):
    """One kill; returns seconds to the next acknowledged write."""
    leader = cluster.wait_leader()
    with load.changed:
        load.latest.clear()
    killed = time.monotonic()
    leader.kill()
    dead = time.monotonic()  # what is begun from here on, the old leader cannot acknowledge any more
    took = load.first_after(dead, 15.0) - killed
    leader.start()
    cluster.wait_caught_up(leader)
    return took


def find_lost(node, acknowledged):
    """The keys that are not there as they were acknowledged, by one consistent read of all."""
    answer = rig.ask(node.http, "GET", "/v1/kv/load/?recurse&consistent", timeout_s=60.0)
    rig.check(answer.status == 200, f"node {node.number} answers {answer.status}: {answer.text()[:200]}")
    there = {row["Key"]: base64.b64decode(row["Value"] or "").decode() for row in answer.json()}
    return [key for key, value in acknowledged.items() if there.get(key) != value]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the flotilla program")
    parser.add_argument("--kills", type=int, default=int(os.environ.get("FLOTILLA_KILLS", "20")))
    parser.add_argument("--no-timing", action="store_true", help="report times, but do not judge them")
    return parser.parse_args()


def run(args):
    times = []
    began = time.monotonic()
    with rig.Cluster(args.program) as cluster:
        with Load(cluster.nodes) as load:
            load.first_after(time.monotonic(), 15.0)
            for number in range(1, args.kills + 1):
                rig.check(time.monotonic() - began < LIMIT_S, f"only {number - 1} kills in {LIMIT_S} s")
                times.append(fail_over(cluster, load))
                print(f"kill {number:2}: next acknowledged write after {times[-1] * 1000:6.0f} ms, "
                      f"{len(load.acknowledged)} acknowledged so far", flush=True)
            load.stop()
            for node in cluster.nodes:
                lost = find_lost(node, load.acknowledged)
                rig.check(not lost, f"node {node.number}: {len(lost)} acknowledged writes are lost: {lost[:5]}")
            total, unknown = len(load.acknowledged), load.unknown
    ordered = sorted(times)
    print(f"{len(times)} failovers: p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, worst {ordered[-1] * 1000:.0f} ms; "
          f"{total} writes acknowledged, 0 lost on 3 nodes; {unknown} refused or unanswered")
    late = [took for took in times if took > WORST_ALLOWED_S]
    if args.no_timing:
        return
    rig.check(not late, f"{len(late)} of {len(times)} took longer than {WORST_ALLOWED_S:.0f} s")


def main():
    try:
        run(parse_arguments())
    except rig.Failure as failure:
        print(f"failover: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
