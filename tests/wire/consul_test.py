#!/usr/bin/env python3
"""Consul's HTTP API on real processes: one node, then three with a leader that is killed. Output is TAP.

The program is build/flotilla, or what the environment variable FLOTILLA names.
"""

import base64
import http.server
import socket
import sys
import threading
import time

from cluster import Cluster, run_cases, until


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


class Backend:
    """A small HTTP service whose /health answers with a status that the test sets."""

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(outer.status)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"state")

            def log_message(self, *args):
                pass

        self.status = 200
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Later(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.answer, self.error = call, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.call()
        except Exception as error:
            self.error = error

    def result(self):
        self.join(60)
        assert not self.is_alive(), "no answer within 60 s"
        if self.error:
            raise self.error
        return self.answer


def statuses(node, service):
    return [check["Status"] for check in node.get(f"/v1/health/checks/{service}").json()]


def passing(node, service):
    return [row["Service"]["ID"] for row in node.get(f"/v1/health/service/{service}", passing=1).json()]


# ---- one node --------------------------------------------------------------------------------------------------------

def one_node_speaks_the_core_of_the_api():
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        equal(node.put("/v1/kv/a", "1").text, "true")
        row = node.get("/v1/kv/a").json()[0]
        equal(base64.b64decode(row["Value"]), b"1")
        equal(sorted(row), ["CreateIndex", "Flags", "Key", "LockIndex", "ModifyIndex", "Value"])
        equal(node.put("/v1/agent/service/register", {"name": "s", "port": 1}).status, 200)
        equal(node.get("/v1/catalog/service/s").json()[0]["ServicePort"], 1)
        equal(node.get("/v1/status/leader").json(), f"127.0.0.1:{node.peer_port}")
        equal(node.stop(), 0)


def data_survives_kill_9():
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        for number in range(50):
            equal(node.put(f"/v1/kv/k{number}", str(number)).text, "true")
        node.put("/v1/agent/service/register", {"Name": "kept", "Check": {"TTL": "1h", "Status": "passing"}})
        node.kill()
        node.start()
        until(lambda: node.get("/v1/kv/k49").status == 200, "the last write is there", ignore=(OSError,))
        for number in range(50):
            equal(node.ask("GET", f"/v1/kv/k{number}?raw").text, str(number))
        equal(passing(node, "kept"), ["kept"])


def malformed_requests_get_an_answer_or_a_closed_connection():
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        for garbage in (b"\0\1\2\3", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /v1/kv/a HTTP/1.1\r\n\r\n",
                        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
                        b"GET /v1/kv/" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", node.http_port), timeout=30) as sock:
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                first = sock.recv(4096)
                assert first == b"" or first.startswith(b"HTTP/1.1 4") or first.startswith(b"HTTP/1.1 5"), first
        equal(node.put("/v1/kv/big", b"x" * (2 * 1024 * 1024)).status, 413)
        equal(node.get("/v1/status/leader").status, 200)


# ---- three nodes -----------------------------------------------------------------------------------------------------

shared = {}


def three_nodes_start():
    shared["cluster"] = Cluster(3).__enter__()


def write_through_one_node_is_read_through_all():
    nodes = shared["cluster"].nodes
    for number in range(30):
        writer, reader = nodes[number % 3], nodes[(number + 1) % 3]
        equal(writer.put("/v1/kv/seen", str(number)).text, "true")
        equal(reader.ask("GET", "/v1/kv/seen?raw").text, str(number))


def concurrent_cas_loses_no_increment():
    nodes, rounds, clients = shared["cluster"].nodes, 15, 6
    nodes[0].put("/v1/kv/counter", "0")

    def count(node):
        for _ in range(rounds):
            while True:
                row = node.get("/v1/kv/counter").json()[0]
                value = int(base64.b64decode(row["Value"])) + 1
                if node.put("/v1/kv/counter", str(value), cas=row["ModifyIndex"]).text == "true":
                    break

    workers = [Later(lambda n=nodes[i % 3]: count(n)) for i in range(clients)]
    for worker in workers:
        worker.result()
    equal(nodes[1].ask("GET", "/v1/kv/counter?raw").text, str(rounds * clients))


def hundred_waiting_clients_wake_together():
    nodes = shared["cluster"].nodes
    nodes[0].put("/v1/kv/bell", "0")
    index = nodes[0].get("/v1/kv/bell").index
    waiting = [Later(lambda n=nodes[i % 3]: n.get("/v1/kv/bell", index=index, wait="60s")) for i in range(100)]
    until(lambda: sum(waits(node) for node in nodes) == 100, "all wait")
    started = time.monotonic()
    nodes[1].put("/v1/kv/bell", "1")
    for one in waiting:
        answer = one.result()
        assert answer.index > index and answer.json()[0]["Value"] == "MQ=="
    took = time.monotonic() - started
    print(f"# 100 waiting clients on three nodes were answered within {took * 1000:.0f} ms")
    until(lambda: sum(waits(node) for node in nodes) == 0, "nobody waits any more")


def waits(node):
    lines = node.get("/metrics").text.splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("flotilla_http_waiting{"))


def checks_are_really_run_and_the_dead_are_removed():
    nodes, backend = shared["cluster"].nodes, Backend()
    equal(nodes[0].put("/v1/agent/service/register", {
        "Name": "probed", "ID": "probed-1", "Address": "127.0.0.1", "Port": backend.port,
        "Checks": [{"HTTP": f"http://127.0.0.1:{backend.port}/health", "Interval": "200ms", "Timeout": "1s"},
                   {"TCP": f"127.0.0.1:{backend.port}", "Interval": "200ms",
                    "DeregisterCriticalServiceAfter": "2s"}]}).status, 200)
    until(lambda: passing(nodes[1], "probed") == ["probed-1"], "it passes")
    backend.status = 429
    until(lambda: "warning" in statuses(nodes[2], "probed"), "429 is a warning")
    backend.status = 500
    until(lambda: "critical" in statuses(nodes[2], "probed"), "500 is critical")
    backend.close()
    until(lambda: nodes[2].get("/v1/catalog/service/probed").json() == [], "it is deregistered")


def ttl_is_renewed_through_any_node():
    nodes = shared["cluster"].nodes
    equal(nodes[0].put("/v1/agent/service/register", {"Name": "beat", "Check": {"TTL": "2s"}}).status, 200)
    index = None
    for turn in range(12):
        equal(nodes[turn % 3].put("/v1/agent/check/pass/service:beat").status, 200)
        until(lambda: passing(nodes[0], "beat") == ["beat"], "it passes", 5)
        now = nodes[0].get("/v1/health/service/beat").index
        index = index or now
        equal(now, index)  # a heartbeat that changes nothing is no change
        time.sleep(0.3)
    until(lambda: statuses(nodes[1], "beat") == ["critical"], "silence makes it critical", 20)
    equal(nodes[2].put("/v1/agent/check/pass/service:nobody").status, 404)
    equal(nodes[2].put("/v1/agent/service/deregister/beat").status, 200)


def killed_leader_stops_nothing():
    cluster = shared["cluster"]
    leader = cluster.leader()
    others = [node for node in cluster.running() if node is not leader]
    leader.put("/v1/agent/service/register", {"Name": "orphan", "Check": {"TTL": "30s", "Status": "passing"}})
    index = others[0].get("/v1/health/service/orphan").index
    blocked = Later(lambda: others[1].get("/v1/kv/after-kill", index=others[1].get("/v1/kv/after-kill").index,
                                          wait="60s"))
    until(lambda: waits(others[1]) == 1, "the query waits")
    acknowledged, stop = [], threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            node = others[number % 2]
            try:
                if node.put(f"/v1/kv/load/{number:06}", str(number)).text == "true":
                    acknowledged.append(number)
            except OSError:
                pass
            number += 1

    writer = Later(write)
    until(lambda: len(acknowledged) > 20, "writes flow")
    before, killed_at = len(acknowledged), time.monotonic()
    leader.kill()
    until(lambda: len(acknowledged) > before + 20, "writes flow again")
    print(f"# writes went on {(time.monotonic() - killed_at) * 1000:.0f} ms after the kill (20 of them)")
    stop.set()
    writer.result()
    keys = set(others[0].ask("GET", "/v1/kv/load/?keys").json())
    missing = [number for number in acknowledged if f"load/{number:06}" not in keys]
    equal(missing, [])
    equal(others[0].put("/v1/kv/after-kill", "done").text, "true")
    equal(blocked.result().json()[0]["Value"], base64.b64encode(b"done").decode())
    assert cluster.leader() is not leader
    # Its checks have another keeper; what they say counts, and they can be renewed.
    until(lambda: any(m["Name"] == leader.name and m["Status"] == 4
                      for m in others[0].get("/v1/agent/members").json()), "the dead node is seen as failed")
    until(lambda: others[0].put("/v1/agent/check/pass/service:orphan").status == 200, "the lease has an owner")
    equal(passing(others[1], "orphan"), ["orphan"])
    assert others[1].get("/v1/health/service/orphan").index >= index
    shared["dead"] = leader


def killed_node_comes_back_and_catches_up():
    cluster, node = shared["cluster"], shared["dead"]
    other = [n for n in cluster.running() if n is not node][0]
    node.start()
    wanted = other.ask("GET", "/v1/kv/load/?keys").json()
    until(lambda: node.ask("GET", "/v1/kv/load/?keys&stale").json() == wanted, "it has all keys",
          ignore=(OSError, ValueError))
    until(lambda: all(m["Status"] == 1 for m in other.get("/v1/agent/members").json()), "it is alive again")
    equal(other.get("/v1/kv/counter").index, node.get("/v1/kv/counter").index)


def without_a_majority_stale_reads_go_on():
    cluster = shared["cluster"]
    survivor, gone = cluster.nodes[0], cluster.nodes[1:]
    for node in gone:
        node.kill()
    answer = survivor.ask("GET", "/v1/kv/counter?stale&raw")
    equal(answer.status, 200)
    until(lambda: survivor.ask("GET", "/v1/kv/counter?stale").headers["X-Consul-KnownLeader"] == "false",
          "the leader is known to be gone")
    equal(survivor.get("/v1/status/leader").json(), "")
    answer = survivor.put("/v1/kv/lonely", "x")
    equal(answer.status, 500)
    assert answer.text == "No cluster leader" or "unknown" in answer.text, answer.text
    for node in gone:
        node.start()
    until(lambda: survivor.put("/v1/kv/again", "x").text == "true", "writes are back", ignore=(OSError,))


def nodes_stop_in_order():
    cluster = shared["cluster"]
    for node in cluster.nodes:
        equal(node.stop(), 0)


def main():
    cases = [one_node_speaks_the_core_of_the_api, data_survives_kill_9,
             malformed_requests_get_an_answer_or_a_closed_connection, three_nodes_start,
             write_through_one_node_is_read_through_all, concurrent_cas_loses_no_increment,
             hundred_waiting_clients_wake_together, checks_are_really_run_and_the_dead_are_removed,
             ttl_is_renewed_through_any_node, killed_leader_stops_nothing, killed_node_comes_back_and_catches_up,
             without_a_majority_stale_reads_go_on, nodes_stop_in_order]
    status = 1
    try:
        status = run_cases(cases)
    finally:
        if "cluster" in shared:
            shared["cluster"].__exit__(Exception if status else None, None, None)
    return status


sys.exit(main())
