#!/usr/bin/env python3
"""Real nodes in namespaces of their own, harmed in every way that can be played; their history must be linearizable.

chaos.py FLOTILLA TOOLS [--minutes M] [--nodes 3|5] [--seed N]

TOOLS is the directory of judge, fabric and faultfs.so. Clients read, write and compare-and-set a few keys through the
Consul API of every node, and note when each operation began, ended and what it was told. Meanwhile one fault after the
other is played, as the seed chooses; after each, a write must be acknowledged within a limit. At the end the judge reads
the history. Exit status 77: no namespaces or TUN devices here. See docs/testing.md.
"""

import argparse
import base64
import collections
import ctypes
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import disk  # noqa: E402
import rig  # noqa: E402

CANNOT = 77
CLIENTS_PER_NODE, KEYS = 3, 10
CLIENT_TIMEOUT_S = 3.0
THINK_S = 0.01
QUIET_S = (0.3, 1.5)
FAULT_S = (0.5, 4.0)
PROGRESS_LIMIT_S = 30.0
PORTS = (8500, 8080, 8300)
CUT_PPM = 1000000
CLONE_NEWNET = 0x40000000


class Fabric:
    """The network (fabric.c). Nodes count from 1; 0 is where this test lives from then on."""

    def __init__(self, program, nodes, seed):
        self.nodes = nodes
        self.process = subprocess.Popen([program, str(nodes), str(seed)], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, preexec_fn=rig.die_with_parent)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(self.process.wait())
        self.namespaces = line.split()[1:]
        with open(self.namespaces[0]) as own:
            rig.check(rig.LIBC.setns(own.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno()))

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def link(self, a, b, delay_us=0, loss_ppm=0, kbit=0):
        rig.check(self.say(f"link {a} {b} {delay_us} {loss_ppm} {kbit}") == "ok", "the fabric has ended")

    def cut(self, a, b):
        self.link(a, b, loss_ppm=CUT_PPM)

    def heal(self):
        rig.check(self.say("heal") == "ok", "the fabric has ended")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Node(rig.Node):
    """A node in its namespace, on its bad disk."""

    def __init__(self, program, number, directory, peers, namespace, library):
        super().__init__(program, number, PORTS, directory, peers)
        self.host, self.namespace = address(number), namespace
        self.disk = disk.Disk(library, self.directory)

    def start(self):
        super().start(["nsenter", f"--net={self.namespace}", "env", *self.disk.environment()], loop="epoll")


def address(number):
    return f"127.1.0.{number + 1}"


class History:
    """What the clients were told, a line an operation (judge.c). All methods are for any thread."""

    def __init__(self, path):
        self.file, self.lock = open(path, "w"), threading.Condition()
        self.count, self.values = collections.Counter(), 0
        self.last_ack, self.longest_gap = time.monotonic(), 0.0

    def new_value(self):
        with self.lock:
            self.values += 1
            return self.values

    def note(self, client, began, ended, operation, result):
        kind = operation.split()[0]
        with self.lock:
            self.file.write(f"{client} {began} {'?' if result == '?' else ended} {operation} {result}\n")
            self.count[f"{kind} {result}"] += 1
            if kind == "write" and result == "ok":
                now = time.monotonic()
                self.longest_gap, self.last_ack = max(self.longest_gap, now - self.last_ack), now
                self.lock.notify_all()

    def wait_write(self, limit_s):
        """Until a write is acknowledged after now; False when none is."""
        with self.lock:
            begin = time.monotonic()
            return self.lock.wait_for(lambda: self.last_ack > begin, limit_s)


class Client:
    """One thread, one operation at a time, one node."""

    def __init__(self, number, node, history, seed):
        self.number, self.node, self.history = number, node, history
        self.rnd, self.connection, self.seen = random.Random(seed), None, {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopping.wait(self.rnd.uniform(0, THINK_S)):
            key, choice = self.rnd.randrange(KEYS), self.rnd.random()
            if choice < 0.5:
                self.read(key)
            elif choice < 0.75 or key not in self.seen:
                self.write(key)
            else:
                self.compare_and_set(key)

    def ask(self, method, target, body=None):
        """(status, body), or None when nobody knows; False when the node has certainly not got it."""
        try:
            if self.connection is None:
                connection = http.client.HTTPConnection(self.node.host, self.node.http, timeout=CLIENT_TIMEOUT_S)
                connection.connect()
                self.connection = connection
        except OSError:
            return False
        try:
            self.connection.request(method, target, body)
            response = self.connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return None

    def note(self, began, operation, result):
        self.history.note(self.number, began, time.monotonic_ns(), operation, result)

    def read(self, key):
        began = time.monotonic_ns()
        answer = self.ask("GET", f"/v1/kv/chaos/{key}" + self.rnd.choice(("", "?consistent")))
        value, index = 0, 0
        if not answer or answer[0] not in (200, 404):
            return
        if answer[0] == 200:
            row = json.loads(answer[1])[0]
            value, index = int(base64.b64decode(row["Value"])), row["ModifyIndex"]
        self.note(began, f"read {key} {value}", "ok")
        self.seen[key] = (value, index)

    def write(self, key):
        value, began = self.history.new_value(), time.monotonic_ns()
        self.finish(began, f"write {key} {value}", self.ask("PUT", f"/v1/kv/chaos/{key}", str(value)))

    def compare_and_set(self, key):
        old, index = self.seen[key]
        value, began = self.history.new_value(), time.monotonic_ns()
        self.finish(began, f"cas {key} {old}:{value}", self.ask("PUT", f"/v1/kv/chaos/{key}?cas={index}", str(value)))

    def finish(self, began, operation, answer):
        if answer is False:
            return
        known = answer is not None and answer[0] == 200
        result = {b"true": "ok", b"false": "no"}.get(answer[1].strip(), "?") if known else "?"
        self.note(began, operation, result)


class Nemesis:
    """One fault after the other. A method that is named in FAULTS plays one and takes it back."""

    def __init__(self, nodes, fabric, rnd):
        self.nodes, self.fabric, self.rnd, self.counts = nodes, fabric, rnd, collections.Counter()
        self.lost_writes, self.pause = 0, threading.Event()

    def hold(self, span=FAULT_S):
        self.pause.wait(self.rnd.uniform(*span))

    def some(self):
        """Any number of nodes, most often one."""
        count = 1 if self.rnd.random() < 0.6 else self.rnd.randint(1, len(self.nodes))
        return self.rnd.sample(self.nodes, count)

    def halves(self):
        """Two lists, of a majority and of the rest."""
        mixed = self.rnd.sample(self.nodes, len(self.nodes))
        return mixed[:len(mixed) // 2 + 1], mixed[len(mixed) // 2 + 1:]

    def kill(self):
        victims = self.some()
        for node in victims:
            node.kill()
        self.hold()
        for node in victims:
            node.disk.forget()
            node.start()

    def power(self):
        """A kill that takes what was not synced, often of all nodes at once and while a sync hangs."""
        victims = self.some() if self.rnd.random() < 0.5 else self.nodes
        if self.rnd.random() < 0.7:
            for node in victims:
                node.disk.set(stall_ms=1000)
            self.hold((0.1, 0.6))
        for node in victims:
            node.process.kill()
        for node in victims:
            node.kill()
            self.lost_writes += node.disk.lose_power(self.rnd)
            node.disk.set()
        self.hold()
        for node in victims:
            node.start()

    def stop(self):
        victims = self.some()
        for node in victims:
            node.process.terminate()
        for node in victims:
            node.wait_end()
            node.disk.forget()
            node.start()

    def freeze(self):
        victims = self.some()
        for node in victims:
            node.process.send_signal(signal.SIGSTOP)
        self.hold()
        for node in victims:
            node.process.send_signal(signal.SIGCONT)

    def cut_halves(self):
        left, right = self.halves()
        for a in left:
            for b in right:
                self.fabric.cut(a.number, b.number)
                self.fabric.cut(b.number, a.number)
        self.hold()

    def cut_one_way(self):
        """Nothing that one node sends arrives, or nothing arrives at it; or so between two only."""
        node, to = self.rnd.sample(self.nodes, 2)
        others = [other for other in self.nodes if other is not node] if self.rnd.random() < 0.7 else [to]
        outward = self.rnd.random() < 0.5
        for other in others:
            a, b = (node, other) if outward else (other, node)
            self.fabric.cut(a.number, b.number)
        self.hold()

    def cut_bridge(self):
        """Two halves that do not hear each other, and one node that hears both."""
        mixed = self.rnd.sample(self.nodes, len(self.nodes))
        half = len(mixed) // 2
        for a in mixed[:half]:
            for b in mixed[half + 1:]:
                self.fabric.cut(a.number, b.number)
                self.fabric.cut(b.number, a.number)
        self.hold()

    def slow_links(self):
        for a in self.nodes:
            for b in self.nodes:
                if a is not b:
                    self.fabric.link(a.number, b.number, self.rnd.choice((0, 5000, 50000, 200000)),
                                     self.rnd.choice((0, 0, 10000, 100000)), self.rnd.choice((0, 0, 1000)))
        self.hold()

    def stall_disk(self):
        victims = self.some()
        for node in victims:
            node.disk.set(stall_ms=self.rnd.choice((50, 500, 3000)))
        self.hold()
        for node in victims:
            node.disk.set()

    def fail_disk(self):
        """Writes and syncs fail: the node must stop by itself and say so; then its disk is well again."""
        node = self.rnd.choice(self.nodes)
        said = len(node.log())
        node.disk.set(errors=2**31)
        status = node.wait_end(60)
        rig.check(status == 1 and "stopped by itself" in node.log()[said:],
                  f"node {node.number} ended with {status} after EIO: {node.log()[said:][-500:]}")
        node.disk.set()
        self.lost_writes += node.disk.lose_power(self.rnd)
        node.start()

    def play(self):
        fault = self.rnd.choice(FAULTS)
        self.counts[fault.__name__] += 1
        fault(self)
        self.fabric.heal()
        return fault.__name__


# Changes of the members come here when the program has a command for them.
FAULTS = (Nemesis.kill, Nemesis.power, Nemesis.stop, Nemesis.freeze, Nemesis.cut_halves, Nemesis.cut_one_way,
          Nemesis.cut_bridge, Nemesis.slow_links, Nemesis.stall_disk, Nemesis.fail_disk)


def remove_leftovers():
    """Directories of runs that were killed; namespaces and processes ended with them."""
    for mark in pathlib.Path(tempfile.gettempdir()).glob("flotilla-test-*/chaos.pid"):
        if not pathlib.Path("/proc", mark.read_text()).exists():
            shutil.rmtree(mark.parent, ignore_errors=True)


def judge(tools, path):
    done = subprocess.run([tools / "judge", path], capture_output=True, text=True, timeout=600)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode:
        kept = tools / "failed.history"
        shutil.copy(path, kept)
        raise rig.Failure(f"the judge's verdict is {done.returncode}; the history is in {kept}")


def harm(cluster, fabric, history, args):
    nemesis = Nemesis(cluster.nodes, fabric, random.Random(args.seed))
    deadline = time.monotonic() + 60 * args.minutes
    while time.monotonic() < deadline:
        nemesis.hold(QUIET_S)
        fault = nemesis.play()
        rig.check(history.wait_write(PROGRESS_LIMIT_S), f"no write acknowledged {PROGRESS_LIMIT_S} s after {fault}")
        ended = [node for node in cluster.nodes if not node.runs()]
        rig.check(not ended, "".join(f"node {node.number} has ended by itself after {fault}" for node in ended))
    return nemesis


def report(nemesis, history, fabric):
    print("operations: " + ", ".join(f"{count} {kind}" for kind, count in sorted(history.count.items())))
    print("faults: " + ", ".join(f"{count} {kind}" for kind, count in sorted(nemesis.counts.items())) +
          f"; {nemesis.lost_writes} unsynced writes undone; {fabric.say('count')} (carried, lost)")
    print(f"longest time without an acknowledged write: {history.longest_gap:.1f} s", flush=True)


def run(args):
    remove_leftovers()
    fabric = Fabric(args.tools / "fabric", args.nodes, args.seed)
    cluster = rig.Cluster(args.program, args.nodes, start=False)
    with cluster:
        (cluster.root / "chaos.pid").write_text(str(os.getpid()))
        peers = ",".join(f"{i}={address(i)}:{PORTS[2]}" for i in range(1, args.nodes + 1))
        cluster.nodes = [Node(cluster.program, i, cluster.root / f"n{i}", peers, fabric.namespaces[i],
                              args.tools / "faultfs.so") for i in range(1, args.nodes + 1)]
        for node in cluster.nodes:
            node.start()
        cluster.wait_leader()
        path = cluster.root / "history"
        history = History(path)
        clients = [Client(len(cluster.nodes) * i + node.number, node, history, f"{args.seed} {i} {node.number}")
                   for i in range(CLIENTS_PER_NODE) for node in cluster.nodes]
        for client in clients:
            client.thread.start()
        try:
            nemesis = harm(cluster, fabric, history, args)
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.thread.join()
            history.file.close()
        report(nemesis, history, fabric)
        judge(args.tools, path)
    fabric.close()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the flotilla program")
    parser.add_argument("tools", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FLOTILLA_TEST_SEED") or time.time_ns() % 10**9))
    return parser.parse_args()


def main():
    args = parse_arguments()
    print(f"chaos: {args.nodes} nodes, {args.minutes:g} minutes, seed {args.seed}", flush=True)
    try:
        run(args)
    except rig.Failure as failure:
        print(f"chaos: seed {args.seed}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
