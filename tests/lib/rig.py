"""Real node processes on loopback for tests: start, ask, kill, stop. Python's standard library only.

Every node is `flotilla server` on ports and a directory of its own; it dies with the test (PR_SET_PDEATHSIG), so a
test that is stopped leaves nothing behind. Waits are for a condition, with a deadline, never for a time.
"""

import ctypes
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PORT_FIRST, PORT_LAST = 23000, 29990
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
START_LIMIT_S = 60


class Failure(Exception):
    """Something that the test claims did not hold; its text says what was seen."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(what, condition, limit_s=30.0, pause_s=0.02):
    """Returns the first true value of condition(); a Failure that names `what` when it stays false."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not within {limit_s:.0f} s: {what}")
        time.sleep(pause_s)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count):
    """Ports that nobody listens on now, in one run."""
    for _ in range(1000):
        first = random.SystemRandom().randrange(PORT_FIRST, PORT_LAST - count)
        if all(is_free(port) for port in range(first, first + count)):
            return list(range(first, first + count))
    raise Failure(f"no {count} free ports from {PORT_FIRST} to {PORT_LAST}")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def text(self):
        return self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.body)


def ask(port, method, target, body=None, headers=None, timeout_s=5.0, host="127.0.0.1"):
    """One request on a connection of its own; OSError or http.client.HTTPException when there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def talk(port, data, timeout_s=5.0):
    """Sends bytes, returns all that comes back until the other side closes or falls silent."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as conn:
        try:
            conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)
            while chunk := conn.recv(65536):
                got += chunk
        except (ConnectionError, TimeoutError):
            pass
    return got


class Node:
    """One `flotilla server`: its ports, its directory, and its process while there is one."""

    host = "127.0.0.1"

    def __init__(self, program, number, ports, directory, peers):
        self.program, self.number, self.directory = program, number, pathlib.Path(directory)
        self.http, self.gateway, self.peer = ports
        self.peers, self.process = peers, None
        self.log_path = self.directory.parent / f"{self.directory.name}.log"

    def arguments(self, **changes):
        settings = {"id": self.number, "data": self.directory, "http": f"{self.host}:{self.http}",
                    "gateway": f"{self.host}:{self.gateway}", "peer-listen": f"{self.host}:{self.peer}",
                    "peers": self.peers}
        settings.update({name.replace("_", "-"): value for name, value in changes.items()})
        return [str(self.program), "server"] + [f"--{name}={value}" for name, value in settings.items()
                                                if value is not None]

    def start(self, prefix=(), **changes):
        """Starts it and does not wait. prefix: a command in front, such as unshare."""
        check(not self.runs(), f"node {self.number} runs already")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*prefix, *self.arguments(**changes)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, preexec_fn=die_with_parent)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        """kill -9: no chance to tidy up."""
        if self.runs():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def stop(self, limit_s=30):
        """SIGTERM; returns the exit status."""
        if self.runs():
            self.process.terminate()
        return self.wait_end(limit_s)

    def wait_end(self, limit_s=30):
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"node {self.number} did not end within {limit_s} s\n{self.log()[-2000:]}") from None

    def status(self):
        """Its view of the cluster, or None while it does not answer."""
        try:
            answer = ask(self.http, "GET", "/v1/flotilla/status", timeout_s=1.0, host=self.host)
            return answer.json() if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def leads(self):
        status = self.status()
        return status is not None and status["role"] == "leader"

    def put(self, key, value, timeout_s=5.0):
        """True when the write was acknowledged; False when refused or unknown."""
        try:
            answer = ask(self.http, "PUT", f"/v1/kv/{key}", value, timeout_s=timeout_s, host=self.host)
            return answer.status == 200 and answer.text().strip() == "true"
        except (OSError, http.client.HTTPException):
            return False

    def get(self, key, consistency="consistent", timeout_s=5.0):
        """The value as bytes; None when it is not there or nobody answers."""
        try:
            answer = ask(self.http, "GET", f"/v1/kv/{key}?raw&{consistency}", timeout_s=timeout_s,
                         host=self.host)
            return answer.body if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None


class Cluster:
    """Nodes 1 to `size` in a temporary directory; use it in a `with` statement."""

    def __init__(self, program, size=3, start=True):
        self.program, self.size, self.nodes = pathlib.Path(program).resolve(), size, []
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-test-"))
        self.start_at_once = start

    def lay_out(self):
        ports = free_ports(3 * self.size)
        peers = ",".join(f"{i + 1}=127.0.0.1:{ports[3 * i + 2]}" for i in range(self.size))
        self.nodes = [Node(self.program, i + 1, ports[3 * i:3 * i + 3], self.root / f"n{i + 1}", peers)
                      for i in range(self.size)]

    def __enter__(self):
        try:
            self.lay_out()
            if self.start_at_once:
                self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def start(self):
        """Starts all of them and waits for a leader; other ports when somebody was faster."""
        for _ in range(5):
            for node in self.nodes:
                node.start()
            try:
                self.wait_leader()
                return
            except Failure:
                taken = any("is in use" in node.log() for node in self.nodes)
                self.kill_all()
                if not taken:
                    raise
                for node in self.nodes:
                    shutil.rmtree(node.directory, ignore_errors=True)
                    node.log_path.unlink(missing_ok=True)
                self.lay_out()
        raise Failure("no free ports in five attempts")

    def leader(self):
        """The node that leads, or None."""
        leading = [(status["term"], node) for node in self.nodes if node.runs()
                   for status in [node.status()] if status is not None and status["role"] == "leader"]
        return max(leading, key=lambda pair: pair[0])[1] if leading else None

    def wait_leader(self, limit_s=START_LIMIT_S):
        def found():
            ended = [node for node in self.nodes if node.process is not None and not node.runs()]
            check(not ended, "".join(f"node {node.number} has ended with {node.process.returncode}: "
                                     f"{node.log()[-1000:]}" for node in ended))
            return self.leader()

        return wait_until("a leader", found, limit_s)

    def wait_caught_up(self, node, limit_s=START_LIMIT_S):
        """Until the node answers, knows a leader and has applied what the leader had committed."""
        def caught_up():
            leader, mine = self.leader(), node.status()
            if leader is None or mine is None or not mine["known_leader"]:
                return False
            seen = leader.status()
            return seen is not None and mine["indices"]["applied"] + 1000 >= seen["indices"]["commit"]

        try:
            wait_until(f"node {node.number} is back", caught_up, limit_s)
        except Failure as failure:
            raise Failure(f"{failure}\n{node.log()[-2000:]}") from None

    def kill_all(self):
        for node in self.nodes:
            node.kill()

    def __exit__(self, kind, *rest):
        self.kill_all()
        if kind is not None and kind is not SystemExit:
            for node in self.nodes:
                print(f"--- last lines of node {node.number}:\n{node.log()[-1500:]}", file=sys.stderr)
        shutil.rmtree(self.root, ignore_errors=True)


def run_cases(cases):
    """Runs functions, prints TAP, returns the exit status. A case may return a reason to be skipped."""
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, case in enumerate(cases, 1):
        try:
            skipped = case()
            print(f"ok {number} - {case.__name__}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception as failure:  # whatever it is, the next case runs
            failed += 1
            print(f"not ok {number} - {case.__name__}", flush=True)
            print("\n".join(f"# {line}" for line in f"{type(failure).__name__}: {failure}".splitlines()), flush=True)
    return 1 if failed else 0
