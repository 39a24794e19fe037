#!/usr/bin/env python3
"""Runs tests/wire/clients/consul_npm.js, a real client's library, against three nodes.

usage: npm_test.py FOLDER   where to install the client (inside the build directory). Exits with 77 when node or npm
is not installed or npm cannot reach its registry.
"""

import pathlib
import shutil
import subprocess
import sys

from cluster import Cluster

SOURCE = pathlib.Path(__file__).resolve().parent / "clients"
FILES = ("package.json", "package-lock.json", "consul_npm.js")


def install(folder):
    """Returns "" or why it cannot be installed here."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node or npm is not installed"
    # The same question as of condition no-npm in tools/run_tests.py.
    asked = subprocess.run(["npm", "view", "consul", "version"], capture_output=True, text=True, timeout=120)
    if asked.returncode != 0:
        return "npm does not reach its registry"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(SOURCE / name, folder / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL, timeout=120)
    return ""


def main():
    folder = pathlib.Path(sys.argv[1])
    trouble = install(folder)
    if trouble:
        print(f"skipped: {trouble}", file=sys.stderr)
        return 77
    with Cluster(3) as cluster:
        ports = [str(node.http_port) for node in cluster.nodes]
        return subprocess.run(["node", folder / "consul_npm.js", *ports], timeout=240).returncode


sys.exit(main())
