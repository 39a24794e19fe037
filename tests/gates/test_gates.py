#!/usr/bin/env python3
"""Negative tests of the gates: each bad tree must be refused, with the message that tells what is wrong.

Every case starts from a small good tree, which the gate accepts, and spoils one thing in it: so a refusal has
the reason that the case is about. Output is TAP.

usage: test_gates.py layers|style|format|purity
"""

import os
import pathlib
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"

LAYERS = """base:
proto: base
core:  base
io:    base core
serve: base core io
@apart serve
@shared serve web
@pure core proto
"""

HEAD = "/* A file of the small tree that the gates are tried on.\n * Place: anywhere. */\n"


def header(path, body=""):
    guard = path.replace("/", "_").replace(".", "_").upper()
    return f"{HEAD}#ifndef {guard}\n#define {guard}\n{body}\n#endif\n"


GOOD = {
    "tools/layers.txt": LAYERS,
    "tools/purity_allow.txt": "memcpy core,proto bytes\n",
    ".clang-format": (REPOSITORY / ".clang-format").read_text(),
    "src/base/mem/mem.h": header("mem/mem.h", "\nint mem_get(int size);\n"),
    "src/base/mem/mem.c": HEAD + '#include "mem/mem.h"\n\nint mem_get(int size)\n{\n    return size + 1;\n}\n',
    "src/core/raft/raft.h": header("raft/raft.h", '\n#include "mem/mem.h"\n\nint raft_step(int input);\n'),
    "src/core/raft/raft_priv.h": header("raft/raft_priv.h"),
    "src/core/raft/raft.c": HEAD + '#include "raft/raft.h"\n\n#include "raft/raft_priv.h"\n\n'
                            "int raft_step(int input)\n{\n    return mem_get(input);\n}\n",
    "src/base/mem/meson.build": "base_sources += files('mem.c')\n",
    "src/core/raft/meson.build": "core_sources += files('raft.c')\n",
    "tests/unit/core/meson.build": "foreach t : ['raft']\n",
    "src/io/net/net.h": header("net/net.h"),
    "src/io/meson.build": "io_deps = [base_dep, core_dep]\n",
    "src/serve/dns/dns.h": header("dns/dns.h", '\n#include "net/net.h"\n#include "web/web.h"\n'),
    "src/serve/web/web.h": header("web/web.h"),
    "src/serve/nats/nats.h": header("nats/nats.h"),
    "tests/unit/core/test_raft.c": HEAD + '#include "raft/raft.h"\n#include "test.h"\n',
    "tests/lib/test.h": HEAD,
}


def picture(root):
    done = subprocess.run([sys.executable, TOOLS / "check_layers.py", "--root", root, "--mermaid"],
                          capture_output=True, text=True, check=True)
    return done.stdout


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    docs = root / "docs/architecture.md"
    if not docs.exists() and (root / "tools/layers.txt").exists():
        docs.parent.mkdir(exist_ok=True)
        docs.write_text("# Architecture\n\n" + picture(root))


def compile_library(root, layer):
    """A plain static library of one layer of the tree."""
    objects = []
    for source in sorted((root / "src" / layer).rglob("*.c")):
        target = root / f"{source.parent.name}_{source.name}.o"
        roots = [f"-I{root / 'src' / name}" for name in ("base", "core", "proto")]
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-O1", "-c", *roots, source, "-o", target], check=True)
        objects.append(target)
    library = root / f"lib{layer}.a"
    subprocess.run(["ar", "rcs", library, *objects], check=True)
    return library


def run_gate(gate, root):
    command = [sys.executable, TOOLS / f"check_{gate}.py", "--root", root]
    if gate == "purity":
        command += ["--base", compile_library(root, "base"), f"core={compile_library(root, 'core')}"]
    return subprocess.run(command, capture_output=True, text=True)


def core_file(body):
    return {"src/core/raft/raft.c": HEAD + '#include "raft/raft.h"\n\n' + body}


def function(lines=1, head="int raft_step(int input)", body="    input++;\n"):
    return f"{head}\n{{\n{body * lines}    return input;\n}}\n"


NESTED = ("    if (input) {\n    for (;;) {\n    while (input) {\n    switch (input) {\n    default:\n"
          "    if (input) {\n    break;\n    }\n    }\n    }\n    }\n    }\n")
WRONG_PICTURE = {"docs/architecture.md": "# Architecture\n\n```mermaid\ngraph TD\n  core --> io\n```\n"}

# gate -> [(claim, spoiled files, what the refusal must say)]; no files: an empty tree.
CASES = {
    "layers": [
        ("upward_include_is_refused", core_file('#include "net/net.h"\n'), 'layer core may not include "net/net.h" of layer io'),
        ("sideways_include_is_refused", {"src/proto/json/json.h": header("json/json.h", '#include "raft/raft.h"\n')},
         "layer proto may not include"),
        ("dot_dot_is_refused", core_file('#include "../../io/net/net.h"\n'), 'never with ".."'),
        ("missing_header_is_refused", core_file('#include "raft/gone.h"\n'), "no such header"),
        ("own_header_in_angle_brackets_is_refused", core_file("#include <mem/mem.h>\n"), "own headers are included in double quotes"),
        ("foreign_private_header_is_refused", {"src/core/log/log.h": header("log/log.h", '#include "raft/raft_priv.h"\n')},
         "is private to its module"),
        ("door_including_a_door_is_refused", {"src/serve/dns/dns.h": header("dns/dns.h", '#include "nats/nats.h"\n')},
         "modules of serve never include each other"),
        ("shared_module_including_a_door_is_refused", {"src/serve/web/web.h": header("web/web.h", '#include "nats/nats.h"\n')},
         "modules of serve never include each other"),
        ("header_cycle_is_refused", {"src/core/raft/raft_priv.h": header("raft/raft_priv.h", '#include "raft/b.h"\n'),
                                     "src/core/raft/b.h": header("raft/b.h", '#include "raft/raft_priv.h"\n')}, "header cycle: "),
        ("own_header_must_come_first", {"src/core/raft/raft.c": HEAD + '#include "mem/mem.h"\n#include "raft/raft.h"\n'},
         "raft.h is not its first include"),
        ("same_name_in_two_layers_is_refused", {"src/proto/raft/raft.h": header("raft/raft.h")}, "has the same include name as"),
        ("unknown_layer_is_refused", {"src/extra/x/x.h": header("x/x.h")}, "is not a layer of tools/layers.txt"),
        ("table_that_points_up_is_refused", {"tools/layers.txt": LAYERS.replace("base:\n", "base: io\n")}, "not listed above it"),
        ("test_reaching_above_its_layer_is_refused", {"tests/unit/core/test_raft.c": HEAD + '#include "net/net.h"\n'},
         "layer core may not include"),
        ("build_that_links_upward_is_refused", {"src/io/meson.build": "io_deps = [base_dep, serve_dep]\n"}, "may not link serve_dep"),
        ("source_that_is_not_built_is_refused", {"src/core/raft/vote.c": HEAD}, "vote.c: is not named in the meson.build"),
        ("test_that_is_not_run_is_refused", {"tests/unit/core/test_log.c": HEAD}, "test_log.c: is not named in the meson.build"),
        ("stale_picture_is_refused", WRONG_PICTURE, "the layer picture is stale"),
        ("tree_without_files_is_refused", None, "nothing to check"),
    ],
    "style": [
        ("long_function_is_refused", core_file(function(lines=70)), "function raft_step has 73 lines (limit 70)"),
        ("seven_parameters_are_refused", core_file(function(head="int raft_step(int a, int b, int c, int d, int e, int f, int input)")),
         "7 parameters (limit 6)"),
        ("deep_nesting_is_refused", core_file(function(body=NESTED)), "nesting 5 (limit 4)"),
        ("long_file_is_refused", core_file("int a;\n" * 800), "lines (limit 800)"),
        ("long_line_is_refused", core_file("/* " + "x" * 98 + " */\n"), "columns (limit 100)"),
        ("allowance_that_is_too_large_is_refused", {**core_file(function(lines=70)),
         "tools/size_allow.txt": "function src/core/raft/raft.c:raft_step 80 one table\n"}, "lower the allowance from 80"),
        ("allowance_without_use_is_refused", {"tools/size_allow.txt": "file src/core/raft/raft.c 900 one table\n"},
         "needs no allowance any more"),
        ("allowance_without_reason_is_refused", {"tools/size_allow.txt": "file src/core/raft/raft.c 900\n"}, "kind, path, number, reason"),
        ("growth_beyond_the_allowance_is_refused", {**core_file(function(lines=72)),
         "tools/size_allow.txt": "function src/core/raft/raft.c:raft_step 74 one table\n"}, "has 75 lines (limit 74)"),
        ("missing_head_comment_is_refused", {"src/core/raft/raft_priv.h": header("raft/raft_priv.h")[len(HEAD):]}, "no head comment"),
        ("empty_head_comment_is_refused", {"tests/lib/test.h": "/* test */\n"}, "the head comment is not a sentence"),
        ("wrong_guard_is_refused", {"src/core/raft/raft_priv.h": header("wrong/guard.h")}, "the include guard must be RAFT_RAFT_PRIV_H"),
        ("line_comment_is_refused", core_file("int a; // a\n"), "// comment"),
        ("reminder_is_refused", core_file("/* TO" + "DO: later. */\n"), "finish it, or open an issue"),
        ("reminder_in_a_script_is_refused", {"tools/some.py": "# FIX" + "ME\n"}, "finish it, or open an issue"),
        ("commented_out_code_is_refused", core_file("/* a = 1;\n * b = 2;\n */\n"), "commented-out code"),
        ("dead_code_is_refused", core_file("#if 0\nint a;\n#endif\n"), "#if 0"),
        ("struct_typedef_is_refused", core_file("typedef struct a b;\n"), "write its tag out"),
        ("banned_call_is_refused", core_file(function(body="    strcpy(a, b);\n")), "strcpy() can write past its target"),
        ("hidden_clock_is_refused", core_file(function(body="    input = time(0);\n")), "time() reads a hidden clock"),
        ("malloc_outside_mem_is_refused", core_file(function(body="    malloc(1);\n")), "malloc() outside src/base/mem/"),
        ("backward_goto_is_refused", core_file(function(body="out:\n    input++;\n    goto out;\n")), "jumps back"),
        ("goto_with_another_label_is_refused", core_file(function(body="    goto again;\n")), "labels are out or fail_<what>"),
        ("tree_without_files_is_refused", None, "nothing to check"),
    ],
    "format": [
        ("badly_laid_out_file_is_refused", core_file("int  a;\n"), "src/core/raft/raft.c:5: not formatted"),
        ("bad_test_file_is_refused", {"tests/unit/core/test_raft.c": HEAD + "int a ;\n"}, "not formatted"),
        ("missing_settings_are_refused", {".clang-format": None}, ".clang-format: is missing"),
        ("tree_without_files_is_refused", None, "nothing to check"),
    ],
    "purity": [
        ("system_call_is_refused", core_file('#include <unistd.h>\n' + function(body='    (void)!write(1, "", 0);\n')), "calls write"),
        ("clock_is_refused", core_file("#include <time.h>\n" + function(body="    struct timespec t;\n    clock_gettime(0, &t);\n")),
         "calls clock_gettime"),
        ("malloc_is_refused", core_file("#include <stdlib.h>\n" + function(body="    input += malloc((size_t)input) == 0;\n")),
         "calls malloc"),
        ("logging_of_base_is_refused", {**core_file("void log_line(void);\n" + function(body="    log_line();\n")),
         "src/base/log/log.c": HEAD + "void log_line(void);\nvoid log_line(void)\n{\n}\n"}, "calls log_line"),
        ("global_is_refused", core_file("int raft_count = 3;\n" + function()), "raft_count is a variable that outlives a call"),
        ("static_local_is_refused", core_file(function(body="    static int calls;\n    input += calls++;\n")), "outlives a call"),
        ("reason_is_needed", {"tools/purity_allow.txt": "memcpy core\n"}, "an allowance is: symbol, layers, reason"),
    ],
}


def attempt(gate, changes, message):
    """None when the gate refuses as it should, else what happened instead."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        files = {"tools/layers.txt": LAYERS, ".clang-format": ""} if changes is None else {**GOOD, **changes}
        if changes is None:
            (root / "src").mkdir()
        write_tree(root, {name: text for name, text in files.items() if text is not None})
        done = run_gate(gate, root)
    if message is None:
        return None if done.returncode == 0 else f"refused a good tree: {done.stdout}{done.stderr}"
    if done.returncode == 0:
        return f"accepted: {done.stdout}"
    said = done.stdout + done.stderr
    return None if message in said else f"did not say '{message}': {said}"


def main():
    gate = sys.argv[1]
    cases = [("good_tree_is_accepted", {}, None)] + CASES[gate]
    print(f"1..{len(cases)}")
    failed = 0
    for number, (claim, changes, message) in enumerate(cases, 1):
        trouble = attempt(gate, changes, message)
        failed += trouble is not None
        print(f"{'not ok' if trouble else 'ok'} {number} - {claim}")
        for line in (trouble or "").splitlines():
            print(f"#   {line}")
    return 1 if failed else 0


sys.exit(main())
