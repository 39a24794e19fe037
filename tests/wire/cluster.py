"""Node processes on loopback for the wire tests, and a plain HTTP client. Standard library only."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

PROGRAM = os.environ.get("FLOTILLA", "build/flotilla")
DEADLINE_S = 60


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    @property
    def index(self):
        return int(self.headers.get("X-Consul-Index", "0"))


class Node:
    def __init__(self, cluster, number, ports):
        self.cluster, self.number = cluster, number
        self.peer_port, self.http_port, self.gateway_port = ports
        self.name = f"n{number}"
        self.dir = cluster.dir / self.name
        self.process = None

    def start(self):
        peers = ",".join(f"{n.number}=127.0.0.1:{n.peer_port}" for n in self.cluster.nodes)
        self.log = open(self.cluster.dir / f"{self.name}.out", "ab")
        self.process = subprocess.Popen(
            [PROGRAM, "server", "--id", str(self.number), "--data", str(self.dir), "--peers", peers,
             "--http", f"127.0.0.1:{self.http_port}", "--peer-listen", f"127.0.0.1:{self.peer_port}",
             "--gateway", f"127.0.0.1:{self.gateway_port}", "--edges", "2"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        self.log.close()

    def stop(self):
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not stop on SIGTERM")
            self.log.close()
            return self.process.returncode
        return None

    def ask(self, method, path, body=None, headers=None, timeout=DEADLINE_S):
        """One request on a new connection. body: None, str, bytes, or something to be written as JSON."""
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        return self.ask("GET", path + ("?" + query if query else ""))

    def put(self, path, body=None, **parameters):
        query = urllib.parse.urlencode(parameters)
        return self.ask("PUT", path + ("?" + query if query else ""), body)


class Cluster:
    def __init__(self, size):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-wire-"))
        self.nodes = []
        ports = free_ports(3 * size)
        for number in range(size):
            self.nodes.append(Node(self, number + 1, ports[3 * number:3 * number + 3]))

    def __enter__(self):
        for node in self.nodes:
            node.start()
        names = {node.name for node in self.nodes}
        for node in self.nodes:
            until(lambda: names == {row["Node"] for row in node.get("/v1/catalog/nodes").json()},
                  f"{node.name} knows all nodes", ignore=(OSError, ValueError, TypeError))
        return self

    def __exit__(self, kind, value, trace):
        for node in self.nodes:
            if node.alive:
                node.kill()
        if kind is not None:
            for node in self.nodes:
                output = (self.dir / f"{node.name}.out").read_text(errors="replace")
                print("".join(f"# {node.name}: {line}\n" for line in output.splitlines()[-30:]), end="")
        shutil.rmtree(self.dir, ignore_errors=True)

    def running(self):
        return [node for node in self.nodes if node.alive]

    def leader(self):
        def find():
            for node in self.running():
                leader = node.get("/v1/flotilla/status").json()["leader"]
                for other in self.running():
                    if leader and other.number == leader["id"]:
                        return other
            return None
        return until(find, "there is a leader", ignore=(OSError, ValueError))


def free_ports(count):
    """Ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(condition, claim, seconds=DEADLINE_S, ignore=()):
    """Asks until the condition gives something true, and returns that."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except ignore as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"never within {seconds} s: {claim} (last: {last!r})")


def run_cases(cases):
    """Runs functions as TAP cases; their names are the claims. Returns the exit status."""
    import traceback
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, case in enumerate(cases, 1):
        name = getattr(case, "__name__", str(case))
        try:
            case()
            print(f"ok {number} - {name}", flush=True)
        except Exception:
            failed += 1
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
            print(f"not ok {number} - {name}", flush=True)
    return 1 if failed else 0
