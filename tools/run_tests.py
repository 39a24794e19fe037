#!/usr/bin/env python3
"""Builds every profile, runs the test suites and counts what they did. The work of ./test.

A row of PLAN is a build directory, its profile and compiler, and the suites that run there. The rows come
cheapest first. Cases are counted, not programs: cmocka and TAP output is read case by case, any other program
is one case. A build, too, is a case: it passes when it ends without errors and warnings.

Skipped (exit status 77, or a skip line) are only tests that tests/skipped.txt names for a condition that holds
here. The last line printed is "N passed, N failed, N skipped"; the exit status is 1 when something failed.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))
STEP_LIMIT_S = 900


class Build:
    def __init__(self, folder, profile, compiler, suites, quick_suites=(), quick_targets=None):
        self.folder, self.profile, self.compiler = folder, profile, compiler
        self.suites, self.quick_suites = suites, quick_suites
        # What to build before a quick run: None is everything, [] leaves it to the tests' own needs.
        self.quick_targets = quick_targets
        self.label = f"{compiler} {profile}"


PLAN = [
    Build("build", "release", "gcc", ["gate"], ["gate"], quick_targets=[]),
    Build("build-dev", "dev", "gcc", ["unit", "sim", "wire"], ["unit"]),
    Build("build", "release", "gcc", ["explore", "chaos"]),
    Build("build-tsan", "tsan", "gcc", ["unit"]),
    Build("build-clang", "fuzz", "clang", ["fuzz-smoke"]),
]
NEVER_EMPTY = {"gate", "unit"}
OWN_SUITES = ("gate", "unit", "sim", "wire", "explore", "chaos", "fuzz-smoke")

SANITIZER_ENV = {
    # Not detect_stack_use_after_return: gcc 12's fake frames break the alignment of cache-line members.
    "ASAN_OPTIONS": "strict_string_checks=1:check_initialization_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Case:
    """outcome: passed, failed or skipped. name: suite/test or suite/test/case, with @tsan for a second run."""

    def __init__(self, name, outcome, seconds=0.0, detail=""):
        self.name, self.outcome, self.seconds, self.detail = name, outcome, seconds, detail


def say(text=""):
    print(text, flush=True)


def run_logged(command, log, env=None):
    """Runs a command with its output in a file; returns (exit status, output)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as out:
        try:
            status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                    env=env, timeout=STEP_LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            out.write(f"\nstopped after {STEP_LIMIT_S} s\n")
            status = 124
    return status, log.read_text(errors="replace")


def build_options(folder):
    done = subprocess.run(["meson", "introspect", "--buildoptions", folder], cwd=ROOT, capture_output=True, text=True)
    return {row["name"]: row["value"] for row in json.loads(done.stdout)} if done.returncode == 0 else {}


def configure(build):
    """Returns "" or what went wrong."""
    log = ROOT / build.folder / "setup.log"
    if not (ROOT / build.folder / "build.ninja").exists():
        env = dict(os.environ)
        if build.compiler != "gcc":
            env["CC"] = build.compiler
        status, output = run_logged(["meson", "setup", build.folder, f"-Dprofile={build.profile}", "-Dtests=enabled"],
                                    log, env)
        return output if status else ""
    options = build_options(build.folder)
    if options.get("profile") != build.profile:
        return f"{build.folder} is configured for profile {options.get('profile')}, not {build.profile}: remove it"
    if options.get("tests") != "enabled":
        status, output = run_logged(["meson", "configure", build.folder, "-Dtests=enabled"], log)
        return output if status else ""
    return ""


def compile_all(build):
    """Configures and builds; a warning is a failure, in every profile and with both compilers."""
    name, started = f"build/{build.folder}", time.monotonic()
    trouble = configure(build)
    if not trouble:
        status, output = run_logged(["ninja", "-C", build.folder, "-k", "0", f"-j{CORES}"],
                                    ROOT / build.folder / "compile.log")
        if status or re.search(r"\bwarning: ", output):
            # Not the compiler's command lines: they name every warning.
            wanted = [line for line in output.splitlines()
                      if re.search(r": (error|warning): |undefined reference|ninja: error", line)]
            trouble = "\n".join(list(dict.fromkeys(wanted))[:40] or output.splitlines()[-20:])
    seconds = time.monotonic() - started
    say(f"== build  {build.folder:<12} {build.label:<14} {'FAILED' if trouble else 'ok':<6} {seconds:6.1f} s")
    return Case(name, "failed" if trouble else "passed", seconds, trouble)


def suite_tests(folder):
    """suite -> names of its tests, as configured."""
    done = subprocess.run(["meson", "introspect", "--tests", folder], cwd=ROOT, capture_output=True, text=True)
    suites = {}
    for test in json.loads(done.stdout or "[]"):
        for suite in test["suite"]:
            suites.setdefault(suite.split(":")[-1], []).append(test["name"])
    return suites


CASE_PATTERNS = (
    ("passed", re.compile(r"^ok \d+(?: -)? (?!.*# SKIP)(.*)$", re.M)),
    ("failed", re.compile(r"^not ok \d+(?: -)? (.*)$", re.M)),
    ("skipped", re.compile(r"^ok \d+(?: -)? (.*?) *# SKIP", re.M)),
    ("passed", re.compile(r"^\[       OK \] (.*)$", re.M)),
    ("failed", re.compile(r"^\[  FAILED  \] (?!\d+ test)(.*)$", re.M)),
    ("failed", re.compile(r"^\[  ERROR   \] (?!---)(.*)$", re.M)),
    ("skipped", re.compile(r"^\[  SKIPPED \] (?!\d+ test)(.*)$", re.M)),
)


def cases_of(suite, row, mark):
    """The cases of one program's row in meson's log."""
    name = f"{suite}/{row['name'].split(' / ')[-1]}{mark}"
    output = (row.get("stdout") or "") + "\n" + (row.get("stderr") or "")
    result = row["result"]
    if result == "SKIP":
        return [Case(name, "skipped", row["duration"])]
    outcomes = {}
    for outcome, pattern in CASE_PATTERNS:
        for found in pattern.findall(output):
            outcomes[f"{name}/{found.strip()}"] = outcome
    cases = [Case(case, outcome) for case, outcome in outcomes.items()]
    if cases:
        cases[0].seconds = row["duration"]
    if result in ("OK", "EXPECTEDFAIL"):
        return cases or [Case(name, "passed", row["duration"])]
    failed = [case for case in cases if case.outcome == "failed"]
    if not failed:
        failed = [Case(name, "failed", row["duration"])]
        cases += failed
    tail = "\n".join(output.strip().splitlines()[-60:])
    failed[0].detail = f"{result}, exit status {row.get('returncode')}\n{tail}"
    return cases


def run_suite(build, suite, seed):
    """Runs one suite in one build directory; returns its cases."""
    mark = "@tsan" if build.profile == "tsan" else ""
    tests = suite_tests(build.folder).get(suite, [])
    if not tests:
        say(f"== {suite:<10} {build.folder:<12} has no tests")
        return [Case(f"{suite}{mark}", "failed", 0, "the suite is empty")] if suite in NEVER_EMPTY else []
    logbase = f"log-{suite}"
    log = ROOT / build.folder / "meson-logs" / f"{logbase}.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", build.folder, "--suite", suite, "--logbase", logbase, "--quiet",
               "--num-processes", str(CORES)]
    if suite != "gate":
        command.append("--no-rebuild")
    if build.profile == "tsan":
        command += ["--timeout-multiplier", "3"]
        # gcc 12's TSan does not know the address layout of kernels with more random bits.
        if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0:
            command = ["setarch", "-R", *command]
    started = time.monotonic()
    env = {**os.environ, **SANITIZER_ENV, "FLOTILLA_TEST_SEED": str(seed)}
    status, output = run_logged(command, ROOT / build.folder / f"test-{suite}.log", env)
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    cases = [case for row in rows for case in cases_of(suite, row, mark)]
    if len(rows) < len(tests):
        ran = {row["name"].split(" / ")[-1] for row in rows}
        lost = [name for name in tests if name not in ran]
        cases += [Case(f"{suite}/{name}{mark}", "failed", 0, f"did not run\n{output[-2000:]}") for name in lost]
    if status and not any(case.outcome == "failed" for case in cases):
        cases.append(Case(f"{suite}{mark}", "failed", 0, output[-2000:]))
    counts = {kind: sum(case.outcome == kind for case in cases) for kind in ("passed", "failed", "skipped")}
    say(f"== {suite:<10} {build.folder:<12} {build.label:<14} {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped  {time.monotonic() - started:6.1f} s")
    return cases


def has_io_uring():
    """Whether the kernel lets this process set a ring up (io_uring_setup with bad arguments says EFAULT or EINVAL)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(425), ctypes.c_long(1), None)
    return ctypes.get_errno() in (14, 22)


def condition_holds(condition):
    if condition == "always":
        return True
    if condition == "no-root":
        return os.geteuid() != 0
    if condition == "no-io_uring":
        return not has_io_uring()
    if condition == "no-netns":
        return subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0
    if condition == "no-npm":
        return not (shutil.which("node") and shutil.which("npm")) or subprocess.run(
            ["npm", "view", "consul", "version"], capture_output=True, timeout=120).returncode != 0
    if condition.startswith("no:"):
        return shutil.which(condition[3:]) is None
    raise ValueError(condition)


def check_skips(cases, suites):
    """Compares the skipped cases with tests/skipped.txt; returns the differences as failed cases."""
    listed, wrong = {}, []
    for number, line in enumerate((ROOT / "tests/skipped.txt").read_text().splitlines(), 1):
        fields = line.split("#")[0].split(None, 2)
        if not fields:
            continue
        try:
            holds = len(fields) == 3 and condition_holds(fields[1])
        except ValueError:
            fields = []
        if len(fields) < 3:
            wrong.append(Case(f"skipped.txt:{number}", "failed", 0, "a line is: test, condition, reason"))
        elif holds and fields[0].split("/")[0] in suites:
            listed[fields[0]] = fields[2]
    skipped = {case.name.replace("@tsan", "") for case in cases if case.outcome == "skipped"}
    wrong += [Case(f"{name} (skip)", "failed", 0, "was skipped, but tests/skipped.txt does not say so")
              for name in sorted(skipped - set(listed))]
    wrong += [Case(f"{name} (skip)", "failed", 0, "tests/skipped.txt says that it is skipped here, but it is not")
              for name in sorted(set(listed) - skipped)]
    for name in sorted(skipped & set(listed)):
        say(f"   skipped: {name}: {listed[name]}")
    return wrong


def write_report(cases):
    with open(ROOT / "build" / "test-report.txt", "w") as out:
        for case in cases:
            out.write(f"{case.outcome:<8} {case.seconds:8.2f} s  {case.name}\n")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./test", description="Builds and runs the tests; see docs/testing.md.")
    parser.add_argument("--quick", action="store_true", help="gates and unit tests only")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31),
                        help="seed of the random runs (default: a new one, printed)")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"only these of: {', '.join(OWN_SUITES)}")
    args = parser.parse_args()
    for suite in args.suites:
        if suite not in OWN_SUITES:
            parser.error(f"no suite {suite}: there are {', '.join(OWN_SUITES)}")
    return args


def plan(args):
    """[(build, suites to run)] for these arguments."""
    rows = [(build, build.quick_suites if args.quick else build.suites) for build in PLAN]
    if args.suites:
        rows = [(build, [suite for suite in suites if suite in args.suites]) for build, suites in rows]
    if args.quick or args.suites:
        rows = [(build, suites) for build, suites in rows if suites]
    return rows


def main():
    args = parse_arguments()
    started = time.monotonic()
    say(f"seed of the random runs: {args.seed} (repeat with ./test --seed {args.seed})")
    cases, built = [], {}
    rows = plan(args)
    for build, suites in rows:
        if build.folder not in built:
            only_gates = list(suites) == ["gate"] and (args.quick or args.suites)
            if only_gates and build.quick_targets == []:
                trouble = configure(build)
                built[build.folder] = Case(f"build/{build.folder}", "failed" if trouble else "passed", 0, trouble)
            else:
                built[build.folder] = compile_all(build)
            cases.append(built[build.folder])
        # Gates read the sources: they have something to say even when these do not compile.
        for suite in suites:
            if built[build.folder].outcome == "passed" or suite == "gate":
                cases += run_suite(build, suite, args.seed)
    cases += check_skips(cases, {suite for _, suites in rows for suite in suites})
    write_report(cases)

    failed = [case for case in cases if case.outcome == "failed"]
    for case in failed:
        say(f"\n-- FAILED {case.name}")
        say("\n".join(f"   {line}" for line in case.detail.splitlines()))
    say("\nslowest:")
    for case in sorted(cases, key=lambda case: -case.seconds)[:5]:
        say(f"   {case.seconds:7.1f} s  {case.name}")
    say(f"total {time.monotonic() - started:.0f} s; all cases: build/test-report.txt")
    counts = [sum(case.outcome == kind for case in cases) for kind in ("passed", "failed", "skipped")]
    say(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
