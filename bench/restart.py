#!/usr/bin/env python3
"""How long one node takes to serve again: after a clean stop, and after kill -9.

restart.py [FLOTILLA] [--mb 256] [--value 1024] [--repeat 3]: one node on loopback is filled with key-values; then it is stopped or
killed and started again. Printed per start: seconds from the start of the process until a consistent read of the last key
is answered (so an election of one voter is in it), and for kill -9 the same per GB of keys and values. Standard library only.
"""

import argparse
import os
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "lib"))
import rig  # noqa: E402

AHEAD = 64
CONNECTIONS = 8


def fill(port, keys, size):
    """Pipelined writes over one connection; each must be acknowledged."""
    value = os.urandom(size)
    with socket.create_connection(("127.0.0.1", port)) as link:
        answers, sent, done = link.makefile("rb"), 0, 0
        while done < len(keys):
            while sent < len(keys) and sent - done < AHEAD:
                head = f"PUT /v1/kv/bench/{keys[sent]:09d} HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\n\r\n"
                link.sendall(head.encode() + value)
                sent += 1
            status, length = answers.readline(), 0
            while (line := answers.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = answers.read(length)
            rig.check(b" 200 " in status and body.strip() == b"true", f"a write: {status} {body}")
            done += 1


def fill_all(node, count, size):
    parts = [range(first, count, CONNECTIONS) for first in range(CONNECTIONS)]
    threads = [threading.Thread(target=fill, args=(node.http, part, size)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve_again(node, last, size):
    """Seconds until the node, which does not run, answers a consistent read of the last key."""
    began = time.monotonic()
    node.start()
    while True:
        value = node.get(f"bench/{last:09d}")
        if value is not None:
            rig.check(len(value) == size, "the value")
            return time.monotonic() - began
        rig.check(node.runs() and time.monotonic() - began < 600, node.log()[-1000:])
        time.sleep(0.005)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default="build/flotilla")
    parser.add_argument("--mb", type=int, default=256)
    parser.add_argument("--value", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    count = asked.mb * 1000 * 1000 // (asked.value + len("bench/123456789"))
    with rig.Cluster(pathlib.Path(asked.program).resolve(), 1) as cluster:
        node = cluster.nodes[0]
        fill_all(node, count, asked.value)
        print(f"state: {asked.mb} MB in {count} key-values of {asked.value} bytes, one node, {os.cpu_count()} cores")
        for kind in ("clean stop", "kill -9"):
            for _ in range(asked.repeat):
                if kind == "kill -9":
                    node.kill()
                else:
                    rig.check(node.stop(120) == 0, "a clean stop")
                seconds = serve_again(node, count - 1, asked.value)
                per_gb = f"   {seconds * 1000 / asked.mb:6.2f} s per GB" if kind == "kill -9" else ""
                print(f"{kind:<12} {seconds:8.3f} s{per_gb}", flush=True)


if __name__ == "__main__":
    main()
