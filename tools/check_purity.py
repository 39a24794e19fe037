#!/usr/bin/env python3
"""Purity gate: the pure layers (@pure in tools/layers.txt) decide, they do nothing themselves.

Reads their static libraries, built plain (sanitizers add symbols of their own), with nm. Refuses every
undefined symbol that is neither in tools/purity_allow.txt nor defined by base (without base/log, which
writes), and every variable that outlives a call: state of a pure layer lives in the objects that its
caller hands in.

usage: check_purity.py --base libbase.a core=libcore.a proto=libproto.a
"""

import fnmatch
import pathlib
import re
import subprocess
import sys

from gatelib import Gate

# Sections that hold variables; tables of constants with pointers are in .data.rel.ro and are fine.
VARIABLE_SECTIONS = re.compile(r"^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)(?!\.rel\.ro)")
IMPURE_BASE_MODULES = ("log_",)


def symbols(library):
    """Symbols of a static library as (member, name, kind, section); kind is nm's letter."""
    done = subprocess.run(["nm", "--format=sysv", "--print-file-name", str(library)],
                          capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 7 or len(fields[2]) != 1:
            continue
        place, name = fields[0].rsplit(":", 1)
        yield place.rstrip(":").rsplit("/", 1)[-1].rsplit(":", 1)[-1], name.strip(), fields[2], fields[6]


def offered_by_base(library):
    return {name for member, name, kind, _ in symbols(library)
            if kind in "TRDBWVi" and not member.startswith(IMPURE_BASE_MODULES)}


def load_allowed(path):
    """[(pattern, layers)]; a line without a reason is an error of the list itself."""
    allowed = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split("#")[0].split(None, 2)
        if fields and len(fields) < 3:
            sys.exit(f"{path}:{number}: an allowance is: symbol, layers, reason")
        if fields:
            allowed.append((fields[0], fields[1].split(",")))
    return allowed


def check_library(gate, layer, library, base, allowed):
    rows = [row for row in symbols(library) if row[1] != "_GLOBAL_OFFSET_TABLE_"]
    if not rows:
        gate.refuse(f"{layer}: {library}", 0, "has no symbols: nothing was checked")
    own = {name for _, name, kind, _ in rows if kind not in "Uw"}
    for member, name, kind, section in rows:
        gate.checked += 1
        if kind in "Uw":
            fine = name in own or name in base or any(
                layer in layers and fnmatch.fnmatchcase(name, pattern) for pattern, layers in allowed)
            if not fine:
                gate.refuse(f"{layer}: {member}", 0, f"calls {name}, which a pure layer may not")
        elif kind in "dDbBC" and VARIABLE_SECTIONS.match(section):
            gate.refuse(f"{layer}: {member}", 0, f"{name} is a variable that outlives a call ({section})")


def main():
    gate = Gate("purity", __doc__)
    gate.parser.add_argument("--base", type=pathlib.Path, required=True)
    gate.parser.add_argument("libraries", nargs="+", metavar="LAYER=LIBRARY")
    args = gate.arguments()
    base = offered_by_base(args.base)
    allowed = load_allowed(gate.root / "tools/purity_allow.txt")
    for pair in args.libraries:
        layer, _, library = pair.partition("=")
        check_library(gate, layer, library, base, allowed)
    return gate.verdict("symbols")


sys.exit(main())
