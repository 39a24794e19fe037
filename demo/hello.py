#!/usr/bin/env python3
"""A small service that registers itself: answers every request with its instance name (or, as time, the time).

Nothing but Python's standard library, and nothing that knows Flotilla: it speaks Consul's HTTP API.

    python3 demo/hello.py --id hello-1 --api 127.0.0.1:8500,127.0.0.1:8510

It listens on a free port of loopback, registers itself with an HTTP check, and on SIGTERM or Ctrl-C deregisters,
lets requests under way end, and stops.
"""

import argparse
import datetime
import http.server
import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

LEAVE_S = 0.3  # between leaving the registry and closing: gateways have stopped sending by then


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    instance = service = ""

    def text(self):
        if self.path == "/health":
            return "ok\n"
        if self.service == "time":
            return f"It is {datetime.datetime.now(datetime.timezone.utc).isoformat()}, says {self.instance}\n"
        return f"Hello from {self.instance}\n"

    def do_GET(self):
        body = self.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """The gateway's access log has every request already."""


class Registry:
    """Consul's agent API, on whichever of the nodes answers."""

    def __init__(self, addresses):
        self.addresses = addresses

    def put(self, path, document=None):
        body = b"" if document is None else json.dumps(document).encode()
        for address in self.addresses:
            request = urllib.request.Request(f"http://{address}{path}", data=body, method="PUT")
            try:
                with urllib.request.urlopen(request, timeout=2) as answer:
                    answer.read()
                    return address
            except (urllib.error.URLError, OSError) as trouble:
                print(f"{address}: {trouble}", file=sys.stderr, flush=True)
        return None


def main():
    parser = argparse.ArgumentParser(description="A demo service that registers itself over Consul's HTTP API.")
    parser.add_argument("--id", default="hello-1", help="name of this instance")
    parser.add_argument("--service", default="hello", help="name of the service")
    parser.add_argument("--api", default="127.0.0.1:8500", help="HTTP APIs of the nodes, HOST:PORT,...")
    args = parser.parse_args()

    Answer.instance, Answer.service = args.id, args.service
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]

    leaving = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())

    registry = Registry(args.api.split(","))
    registration = {
        "ID": args.id,
        "Name": args.service,
        "Address": "127.0.0.1",
        "Port": port,
        "Check": {"HTTP": f"http://127.0.0.1:{port}/health", "Interval": "1s", "Timeout": "1s", "Status": "passing"},
    }
    while not leaving.is_set() and registry.put("/v1/agent/service/register", registration) is None:
        leaving.wait(0.5)
    print(f"{args.id} serves at 127.0.0.1:{port}", flush=True)
    leaving.wait()

    registry.put(f"/v1/agent/service/deregister/{args.id}")
    time.sleep(LEAVE_S)
    server.shutdown()
    print(f"{args.id} has left", flush=True)


main()
