"""Layering of the package: rooms import downwards only, modules form no cycle, and a start does not load torch.

Imports are read with `ast`: at module level, inside functions, and under TYPE_CHECKING. Nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT

PACKAGE = ROOT / "gfla_cli"
# Bottom to top. A module may import from its own level and from lower ones.
LEVELS = (
    ("errors", "config", "arrays"),
    ("io",),
    ("geometry",),
    ("synth",),
    ("distributed",),
    ("person",),
    ("conditioning",),
    ("ops",),
    ("networks",),
    ("bundles",),
    ("losses",),
    ("inference",),
    ("datasets",),
    ("training",),
    ("pipelines",),
    ("evaluation",),
    ("webapp",),
    ("study",),
    ("benchmark",),
    ("commands",),
    ("app", "__main__"),
)
FACADE = "__init__"  # gfla_cli itself: it loads nothing, and looks up its public names in any room on first use
# `gfla --help`, `gfla doctor` and `gfla pose-transfer` with an ONNX file load these rooms. Torch would take a second.
NO_TORCH = (
    "errors",
    "config",
    "arrays",
    "io",
    "geometry",
    "person",
    "pipelines",
    "commands",
    "app",
    "__main__",
    FACADE,
)

# Violations that exist today, each with its reason. The tables only shrink: a mended violation has to be taken out.
UPWARD: dict[tuple[str, str], str] = {}
CYCLES: dict[tuple[str, ...], str] = {}
TORCH = {
    "gfla_cli.pipelines.render_data": "writes training data; datasets.people is a torch Dataset",
}


class Import(NamedTuple):
    """One module of the package imports another one, or a package from outside."""

    importer: str
    imported: str
    at_start: bool  # when the importer is loaded: at module level, outside `if TYPE_CHECKING`

    @property
    def is_own(self) -> bool:
        """Whether the imported module is part of the package."""
        return self.importer.split(".")[0] == self.imported.split(".")[0]


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module below `root`, the folder of a package."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(root: Path) -> list[Import]:
    """All imports of a package; of its own modules the longest dotted name that is one."""
    known = modules(root)
    found = []
    for importer, path in known.items():
        package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node, at_start in _statements(tree, at_start=True):
            found += [Import(importer, name, at_start) for name in _imported(node, package, known)]
    return found


def _statements(node: ast.AST, *, at_start: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every import statement, and whether it runs when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_start
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _statements(child, at_start=False)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), at_start=False)
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), at_start=at_start)
        else:
            yield from _statements(child, at_start=at_start)


def _imported(node: ast.AST, package: str, known: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    members = [f"{base}.{alias.name}" for alias in node.names]
    return sorted({member if member in known else base for member in members})


def room(module: str) -> str:
    """The part of a dotted name that has a level."""
    return module.split(".")[1] if "." in module else FACADE


def upward(found: list[Import]) -> set[tuple[str, str]]:
    """Pairs of modules of which the first is on a lower level than the second, which it imports."""
    level = {name: number for number, names in enumerate(LEVELS) for name in names} | {FACADE: -1}
    return {
        (i.importer, i.imported)
        for i in found
        if i.is_own and room(i.importer) != FACADE and level[room(i.importer)] < level[room(i.imported)]
    }


def cycles(found: list[Import]) -> set[tuple[str, ...]]:
    """Groups of modules that load each other, each sorted by name."""
    graph = _graph([i for i in found if i.is_own])
    reached = {module: _reachable(graph, module) for module in graph}
    return {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in graph
        if module in reached[module]
    }


def loads_torch(found: list[Import]) -> set[str]:
    """Modules of the NO_TORCH rooms that load torch, directly or through others."""
    graph = _graph(found)
    for module in list(graph):  # a module's packages are loaded before it
        graph[module] |= {module.rpartition(".")[0]} - {""}
    torch_like = ("torch", "torchvision")
    return {
        module
        for module in graph
        if room(module) in NO_TORCH and any(name.split(".")[0] in torch_like for name in _reachable(graph, module))
    }


def _graph(found: list[Import]) -> dict[str, set[str]]:
    """What every module imports when it is loaded."""
    graph: dict[str, set[str]] = {}
    for i in found:
        graph.setdefault(i.importer, set())
        if i.at_start:
            graph[i.importer].add(i.imported)
    return graph


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


FOUND = imports(PACKAGE)


def test_every_room_has_a_level():
    assert {room(module) for module in modules(PACKAGE)} == {FACADE, *(name for names in LEVELS for name in names)}
    assert len(FOUND) > 1000


def test_no_room_imports_a_higher_one():
    assert upward(FOUND) == set(UPWARD)


def test_no_modules_load_each_other():
    assert cycles(FOUND) == set(CYCLES)


def test_what_starts_without_torch_does_not_load_it():
    assert loads_torch(FOUND) == set(TORCH)


def test_the_facade_loads_nothing_of_the_package():
    assert [i for i in FOUND if i.importer == PACKAGE.name and i.is_own and i.at_start] == []


@pytest.fixture
def planted(tmp_path):
    """The imports of a package of given sources: file -> text."""

    def plant(sources: dict[str, str]) -> list[Import]:
        root = tmp_path / "pack"
        for name, source in sources.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            for folder in (root, path.parent):
                (folder / "__init__.py").touch()
        return imports(root)

    return plant


@pytest.mark.parametrize(
    "statement",
    [
        "from pack.app import app",
        "from pack import app",
        "import pack.app",
        "from ..app import app",
        "from .. import app",
        "def late():\n    from pack.app import app",
        "class Late:\n    async def late(self):\n        import pack.app as other",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.app import app",
        "try:\n    from pack.app import app\nexcept ImportError:\n    pass",
    ],
)
def test_a_planted_import_of_a_higher_room_is_found(planted, statement):
    assert upward(planted({"app.py": "", "io/files.py": statement})) == {("pack.io.files", "pack.app")}
    assert upward(planted({"app.py": "from pack.io import files", "io/files.py": "import os"})) == set()


def test_a_planted_cycle_is_found(planted):
    ring = {"io/a.py": "import pack.io.b", "io/b.py": "from pack.io.c import c", "io/c.py": "from . import a"}
    assert cycles(planted(ring)) == {("pack.io.a", "pack.io.b", "pack.io.c")}
    assert cycles(planted(ring | {"io/a.py": "def late():\n    import pack.io.b"})) == set()


def test_a_planted_torch_is_found(planted):
    start = {"io/a.py": "import pack.networks.n", "networks/n.py": "import torch.nn as nn"}
    assert loads_torch(planted(start)) == {"pack.io.a"}  # networks may load it
    assert loads_torch(planted(start | {"io/a.py": "def late():\n    import pack.networks.n"})) == set()
    checked = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import os"
    assert loads_torch(planted(start | {"io/a.py": checked})) == set()
    package = {"io/__init__.py": "from torch import Tensor", "io/a.py": "import os"}
    assert loads_torch(planted(start | package)) == {"pack.io", "pack.io.a"}  # a package is loaded before its modules
