#!/usr/bin/env python3
"""Layer gate: every #include follows tools/layers.txt, and the drawn picture is the checked one.

Refuses: an include of a layer that is not listed below the own one; "..", absolute paths and own headers in
angle brackets; a header that is not there; foo_priv.h outside its own directory; one door including another;
header cycles; a .c that does not include its own header first; the same module/file.h in two layers; a layer
whose meson.build links more than the table allows; a .c that its folder's meson.build does not name; docs/architecture.md without the picture that --mermaid
prints.
"""

import re
import sys

from gatelib import Gate, c_files, includes


class Table:
    """tools/layers.txt: layer -> layers below it, and the marks @apart, @shared and @pure."""

    def __init__(self, path):
        self.below, self.apart, self.shared, self.pure = {}, set(), set(), set()
        for line in path.read_text().splitlines():
            line = line.split("#")[0].strip()
            if line.startswith("@apart "):
                self.apart |= set(line.split()[1:])
            elif line.startswith("@shared "):
                layer, *modules = line.split()[1:]
                self.shared |= {(layer, module) for module in modules}
            elif line.startswith("@pure "):
                self.pure |= set(line.split()[1:])
            elif line:
                layer, _, lower = line.partition(":")
                self.below[layer.strip()] = lower.split()

    def may(self, layer, lower):
        return layer == lower or lower in self.below.get(layer, ())

    def mermaid(self):
        """Only the arrows that are not implied by others: the picture stays readable, the rule is the same."""
        lines = ["```mermaid", "graph TD"]
        for layer in reversed(list(self.below)):
            direct = self.below[layer]
            implied = {far for near in direct for far in self.below.get(near, ())}
            note = " (pure)" if layer in self.pure else ""
            lines.append(f"  {layer}[\"{layer}/{note}\"]")
            lines += [f"  {layer} --> {near}" for near in direct if near not in implied]
        return "\n".join(lines + ["```"])


def check_table(gate, table):
    """Layers are listed lowest first, which also rules out a cycle among them."""
    seen = set()
    for layer, lower in table.below.items():
        for name in lower:
            if name not in seen:
                gate.refuse("tools/layers.txt", 0, f"layer {layer} stands on {name}, which is not listed above it")
        seen.add(layer)
    for folder in sorted((gate.root / "src").iterdir()):
        if folder.is_dir() and folder.name not in table.below:
            gate.refuse(folder, 0, "is not a layer of tools/layers.txt")


def index_headers(gate):
    """module/file.h -> path, for all headers under src/."""
    where = {}
    for path in c_files(gate.root, ("src",)):
        if path.suffix != ".h":
            continue
        name = str(path.relative_to(gate.root / "src").relative_to(layer_of(gate, path)))
        if name in where:
            other = where[name].relative_to(gate.root)
            gate.refuse(path, 0, f"has the same include name as {other}")
        where[name] = path
    return where


def layer_of(gate, path):
    """The layer that a file belongs to; unit tests of a layer count as that layer; None: a test of the whole."""
    parts = path.relative_to(gate.root).parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ("tests", "unit") and len(parts) > 3:
        return parts[2]
    return None


def check_include(gate, table, where, path, line, name):
    """One quoted include; returns the header it names, or None."""
    if name.startswith("/") or ".." in name.split("/"):
        gate.refuse(path, line, f'include "{name}": spell it module/file.h, never with ".."')
        return None
    in_tests = path.relative_to(gate.root).parts[0] != "src"
    if name not in where:
        if in_tests and ((path.parent / name).exists() or any((gate.root / "tests").rglob(name))):
            return None
        gate.refuse(path, line, f'include "{name}": no such header (spell it module/file.h)')
        return None
    target = where[name]
    layer, lower = layer_of(gate, path), layer_of(gate, target)
    if layer is not None and not table.may(layer, lower):
        gate.refuse(path, line, f'layer {layer} may not include "{name}" of layer {lower}')
    if name.endswith("_priv.h") and target.parent != path.parent:
        gate.refuse(path, line, f'"{name}" is private to its module')
    apart = not in_tests and layer == lower and layer in table.apart
    module = module_of(gate, target) if apart else None
    if apart and module != module_of(gate, path) and (layer, module) not in table.shared:
        gate.refuse(path, line, f'"{name}": modules of {layer} never include each other')
    return target


def module_of(gate, path):
    return path.relative_to(gate.root).parts[2]


def check_file(gate, table, where, path):
    """All includes of one file; returns the own headers that it includes."""
    targets, first = [], None
    for line, quote, name in includes(path.read_text()):
        if quote == "<":
            if name in where:
                gate.refuse(path, line, f"include <{name}>: own headers are included in double quotes")
            continue
        first = first or (line, name)
        target = check_include(gate, table, where, path, line, name)
        if target:
            targets.append(target)
    own = path.with_suffix(".h")
    if path.suffix == ".c" and own.exists() and layer_of(gate, path) and "src" in path.parts:
        if not targets or targets[0] != own or where.get(first[1]) != own:
            gate.refuse(path, first[0] if first else 1, f"{own.name} is not its first include")
    return targets


def check_cycles(gate, graph):
    """Depth-first over headers; each cycle is reported once, where it closes."""
    state, trail = {}, []

    def visit(node):
        state[node] = "open"
        trail.append(node)
        for after in graph.get(node, ()):
            if state.get(after) == "open":
                ring = trail[trail.index(after):] + [after]
                gate.refuse(node, 0, "header cycle: " + " -> ".join(p.name for p in ring))
            elif after not in state:
                visit(after)
        trail.pop()
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            visit(node)


def check_build(gate, table):
    """The build must not hand a layer more include roots than the table."""
    for layer in table.below:
        path = gate.root / "src" / layer / "meson.build"
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"\b(\w+)_dep\b", line.split("#")[0]):
                if name in table.below and not table.may(layer, name):
                    gate.refuse(path, number, f"layer {layer} may not link {name}_dep")


def check_listed(gate, path):
    """A .c file that no meson.build names is neither compiled nor tested, and nobody notices."""
    listing = path.parent / "meson.build"
    names = re.findall(r"'([^'\n]+)'", listing.read_text()) if listing.exists() else []
    if path.name not in names and path.stem not in names and path.stem.partition("_")[2] not in names:
        gate.refuse(path, 0, "is not named in the meson.build of its folder")


def main():
    gate = Gate("layers", __doc__)
    gate.parser.add_argument("--mermaid", action="store_true", help="print the picture for docs/architecture.md")
    args = gate.arguments()
    table = Table(gate.root / "tools/layers.txt")
    if args.mermaid:
        print(table.mermaid())
        return 0
    check_table(gate, table)
    where, graph = index_headers(gate), {}
    for path in c_files(gate.root):
        gate.checked += 1
        targets = check_file(gate, table, where, path)
        if path.suffix == ".h":
            graph[path] = sorted(set(targets))
        elif layer_of(gate, path):
            check_listed(gate, path)
    check_cycles(gate, graph)
    check_build(gate, table)
    picture = gate.root / "docs/architecture.md"
    if not picture.exists() or table.mermaid() not in picture.read_text():
        gate.refuse("docs/architecture.md", 0, "the layer picture is stale: paste what check_layers.py --mermaid prints")
    return gate.verdict()


sys.exit(main())
