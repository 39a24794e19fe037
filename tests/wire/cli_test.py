#!/usr/bin/env python3
"""The command line against a real three-node `flotilla dev`: output, --json, exit codes, killed nodes.

cli_test.py FLOTILLA: prints TAP. Standard library only. Exit codes: 0 done; 1 failed, refused or not there; 2 wrong
command line; 3 no answer.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import run_cases, until  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/flotilla").resolve()
BASE = random.randrange(21000, 29000, 100)
DIR = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-cli-"))


def addr(node):
    return f"127.0.0.1:{BASE + 500 + 10 * (node - 1)}"


def run(*arguments, code=0, stdin="", env=None):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, input=stdin,
                          env={**os.environ, **(env or {})})
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}, not {code}: {done.stdout}{done.stderr}"
    return done


def ask(*arguments, node=1, code=0, **more):
    return run(*arguments, "--addr", addr(node), code=code, **more)


def values_go_in_and_come_out():
    ask("kv", "put", "a/greeting", "hello world")
    assert ask("kv", "get", "a/greeting", node=3).stdout == "hello world"
    ask("kv", "put", "a/from-stdin", "-", stdin="line\n")
    assert ask("kv", "get", "a/from-stdin").stdout == "line\n"
    (DIR / "value").write_text("from a file")
    ask("kv", "put", "a/from-file", f"@{DIR}/value", "--flags", "7")
    row = json.loads(ask("kv", "get", "a/from-file", "--json").stdout)
    assert row["Flags"] == 7 and row["Key"] == "a/from-file"
    assert "nowhere" in ask("kv", "put", "a/x", "@/nowhere", code=1).stderr


def odd_keys_survive_the_way():
    for key in ("with space", "a?b&c=d", "100%", "ümlaut", "tail/"):
        ask("kv", "put", "odd/" + key, key)
        assert ask("kv", "get", "odd/" + key, node=2).stdout == key


def what_is_not_there_is_exit_code_1():
    done = ask("kv", "get", "no-such-key", code=1)
    assert done.stdout == "" and 'no key "no-such-key"' in done.stderr
    assert 'no service "nothing"' in ask("services", "nothing", code=1).stderr
    ask("route", "rm", "nothing", code=1)
    ask("kv", "delete", "no-such-key")


def compare_and_set_writes_once():
    ask("kv", "cas", "lock", "me", "--index", "0")
    assert "another index" in ask("kv", "cas", "lock", "you", "--index", "0", code=1).stderr
    assert ask("kv", "cas", "lock", "you", "--index", "0", "--json", code=1).stdout == "false\n"
    index = json.loads(ask("kv", "get", "lock", "--json").stdout)["ModifyIndex"]
    ask("kv", "cas", "lock", "you", "--index", str(index))
    assert ask("kv", "get", "lock").stdout == "you"


def keys_are_listed_and_deleted():
    for number in range(3):
        ask("kv", "put", f"list/{number}", "x" * number)
    lines = ask("kv", "ls", "list/").stdout.splitlines()
    assert lines[0].split() == ["KEY", "BYTES", "FLAGS", "INDEX"]
    assert [line.split()[:2] for line in lines[1:]] == [["list/0", "0"], ["list/1", "1"], ["list/2", "2"]]
    ask("kv", "delete", "list/1")
    assert [row["Key"] for row in json.loads(ask("kv", "ls", "list/", "--json").stdout)] == ["list/0", "list/2"]
    ask("kv", "delete", "list/", "--recurse")
    assert json.loads(ask("kv", "ls", "list/", "--json").stdout) == []


def routes_are_added_listed_and_removed():
    assert ask("route", "add", "--host", "*", "--path", "/shop", "--service", "cart").stdout.startswith("route cart-shop:")
    assert any(line.split() == ["cart-shop", "*", "/shop", "cart"] for line in
               ask("route", "ls", node=2).stdout.splitlines())
    ask("route", "add", "--path", "no-slash", "--service", "cart", code=1)
    added = ask("route", "add", "--path", "/shop", "--service", "cart", "--json").stdout
    assert added.endswith("}\n") and json.loads(added)["id"] == "cart-shop", added
    assert "cart-shop" in ask("route", "ls", "--stale").stdout
    ask("route", "rm", "cart-shop")
    assert json.loads(ask("route", "ls", "--json").stdout) == []


def members_and_status_show_every_node():
    members = json.loads(ask("members", "--json").stdout)
    assert [(row["name"], row["http_address"]) for row in members] == [(f"n{k}", addr(k)) for k in (1, 2, 3)]
    assert re.match(r"leader n[123], term \d+, 3 of 3 nodes answer\n", ask("status").stdout)
    rows = json.loads(ask("status", "--json").stdout)
    assert sorted(row["status"]["role"] for row in rows) == ["follower", "follower", "leader"]


def the_address_comes_from_the_environment_too():
    run("kv", "put", "env", "1", env={"FLOTILLA_ADDR": addr(2)})
    assert run("kv", "get", "env", env={"FLOTILLA_ADDR": addr(3)}).stdout == "1"
    done = run("kv", "get", "env", code=3, env={"FLOTILLA_ADDR": "127.0.0.1:1"})
    assert "connect to 127.0.0.1:1: refused" in done.stderr


def a_second_dev_on_these_ports_names_port_and_holder():
    done = run("dev", "--nodes", "3", "--port-base", str(BASE), code=1)
    assert f"port {BASE + 500} is in use by process " in done.stderr and "--port-base" in done.stderr, done.stderr


def leader():
    answer = run("status", "--addr", addr(1), "--json").stdout
    return next(row["member"]["id"] for row in json.loads(answer)
                if row["status"] and row["status"]["role"] == "leader")


def a_killed_leader_is_replaced_and_started_again():
    killed = until(leader, "there is a leader", ignore=(AssertionError, StopIteration))
    pid = int((DIR / f"n{killed}" / "flotilla.pid").read_text())
    ask("kv", "put", "before", "kept")
    os.kill(pid, signal.SIGKILL)
    other = killed % 3 + 1
    ask("kv", "put", "after", "written", node=other)
    assert ask("kv", "get", "before", node=other).stdout == "kept"
    until(lambda: ask("kv", "get", "after", node=killed).stdout == "written", f"n{killed} is back",
          ignore=(AssertionError,))
    assert int((DIR / f"n{killed}" / "flotilla.pid").read_text()) != pid


def dev_stops_everything_on_sigterm():
    pids = [int((DIR / f"n{k}" / "flotilla.pid").read_text()) for k in (1, 2, 3)]
    DEV.send_signal(signal.SIGTERM)
    assert DEV.wait(40) == 0
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
    assert all((DIR / f"n{k}" / "flotilla.pid").read_text() == "" for k in (1, 2, 3))


DEV = subprocess.Popen([PROGRAM, "dev", "--nodes", "3", "--data", DIR, "--port-base", str(BASE)],
                       stdin=subprocess.DEVNULL, stdout=open(DIR / "dev.out", "w"), stderr=subprocess.STDOUT)
try:
    until(lambda: "Ctrl-C stops everything" in (DIR / "dev.out").read_text(), "the cluster is up")
    time.sleep(0.1)  # a node's status is up to 50 ms old
    STATUS = run_cases([
        values_go_in_and_come_out, odd_keys_survive_the_way, what_is_not_there_is_exit_code_1,
        compare_and_set_writes_once, keys_are_listed_and_deleted, routes_are_added_listed_and_removed,
        members_and_status_show_every_node, the_address_comes_from_the_environment_too,
        a_second_dev_on_these_ports_names_port_and_holder, a_killed_leader_is_replaced_and_started_again,
        dev_stops_everything_on_sigterm])
finally:
    if DEV.poll() is None:
        DEV.kill()  # its nodes die with it
        DEV.wait()
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(STATUS)
