#!/usr/bin/env python3
"""The test runner must not take a failure for a success: how rows of meson's log become counted cases, and what
happens when tests are skipped that nobody allowed to be. Output is TAP."""

import contextlib
import io
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import run_tests  # noqa: E402  (the path comes first)


def count(result, stdout="", stderr="", status=0):
    row = {"name": "flotilla:unit / t", "result": result, "stdout": stdout, "stderr": stderr, "duration": 1.0,
           "returncode": status}
    cases = run_tests.cases_of("unit", row, "")
    return {kind: sorted(c.name for c in cases if c.outcome == kind) for kind in ("passed", "failed", "skipped")}


def skips(listed, names, suites=("unit",)):
    """The complaints about these skipped cases under this list."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "tests").mkdir()
        (root / "tests/skipped.txt").write_text(listed)
        run_tests.ROOT, kept = root, run_tests.ROOT
        try:
            return [c.detail for c in run_tests.check_skips([run_tests.Case(n, "skipped") for n in names], set(suites))]
        finally:
            run_tests.ROOT = kept


def cases_are_counted_one_by_one():
    both = count("OK", "[       OK ] a\n[       OK ] b\n[  PASSED  ] 2 test(s).\n")
    assert both["passed"] == ["unit/t/a", "unit/t/b"], both


def program_without_cases_is_one():
    assert count("OK", "hello\n")["passed"] == ["unit/t"]


def failed_case_is_counted_once():
    got = count("FAIL", "[       OK ] a\n[  FAILED  ] b\n", "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] b\n", 1)
    assert got == {"passed": ["unit/t/a"], "failed": ["unit/t/b"], "skipped": []}, got


def crash_after_good_cases_is_a_failure():
    got = count("FAIL", "[       OK ] a\n", "Sanitizer: heap-use-after-free", -6)
    assert got["failed"] == ["unit/t"] and got["passed"] == ["unit/t/a"], got


def timeout_is_a_failure():
    assert count("TIMEOUT")["failed"] == ["unit/t"]


def interrupted_program_is_a_failure():
    assert count("INTERRUPT")["failed"] == ["unit/t"]


def tap_failure_is_a_failure():
    got = count("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", "", 1)
    assert got["failed"] == ["unit/t/b"] and got["passed"] == ["unit/t/a"], got


def exit_77_is_a_skip():
    assert count("SKIP")["skipped"] == ["unit/t"]


def single_skipped_case_is_a_skip():
    got = count("OK", "[  SKIPPED ] a\n[       OK ] b\n[  SKIPPED ] 1 test(s), listed below:\n")
    assert got["skipped"] == ["unit/t/a"] and got["passed"] == ["unit/t/b"], got


def listed_skip_is_fine():
    assert skips("unit/t always no such hardware\n", ["unit/t"]) == []


def unlisted_skip_is_refused():
    assert "does not say so" in skips("", ["unit/t"])[0]


def skip_whose_condition_does_not_hold_is_refused():
    assert "does not say so" in skips("unit/t no:sh no shell\n", ["unit/t"])[0]


def listed_test_that_ran_is_refused():
    assert "but it is not" in skips("unit/t always no such hardware\n", [])[0]


def suite_that_did_not_run_is_not_asked():
    assert skips("wire/t always no such hardware\n", []) == []


def skip_without_a_reason_is_refused():
    assert "test, condition, reason" in skips("unit/t always\n", [])[0]


def unknown_condition_is_refused():
    assert "test, condition, reason" in skips("unit/t sometimes no luck\n", [])[0]


def main():
    claims = [value for value in list(globals().values()) if callable(value) and value.__module__ == __name__
              and value.__name__ not in ("count", "skips", "main")]
    print(f"1..{len(claims)}")
    failed = 0
    for number, claim in enumerate(claims, 1):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what the runner says is not TAP
                claim()
            print(f"ok {number} - {claim.__name__}")
        except (AssertionError, IndexError) as error:
            failed += 1
            print(f"not ok {number} - {claim.__name__}\n#   {error!r}")
    return 1 if failed else 0


sys.exit(main())
