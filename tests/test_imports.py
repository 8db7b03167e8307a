"""Imports go one way: what each package may use, and no cycles inside one."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src"
EVERYBODY = {"vipnet", "vipnet.types", "vipnet.errors", "vipnet.policy"}
ANY_DEPENDENCY = "any dependency"

# docs/architecture.md has this table too. A package may import its own modules unless `system` it is.
MAY_IMPORT: dict[str, set[str]] = {
    "wire": set(),
    "crypto": {"vipnet.wire", "cryptography", "nacl"},
    "core": {"vipnet.crypto", "vipnet.wire"},
    "names": {"dns"},
    "publish": {"vipnet.names", "httpx", "dns", "trio"},
    "system": {
        "vipnet.core.outputs", "vipnet.names", "vipnet.wire",
        "trio", "dns", "pytun", "pyroute2", "jeepney",
    },
    "app": {
        "vipnet.wire", "vipnet.crypto", "vipnet.core", "vipnet.names", "vipnet.publish", "vipnet.system",
        ANY_DEPENDENCY,
    },
    "lab": {"vipnet.app.control", "vipnet.app.config", "dns", "trio"},
    "cli": {"vipnet.app", "vipnet.lab", "click", "rich", "segno"},
}  # fmt: skip
AT_THE_TOP = {"types", "errors", "policy"}  # what everybody may import imports nothing but msgspec and itself


class Import(NamedTuple):
    """`importer` names `imported` at `line`; `typing_only`: under `if TYPE_CHECKING`, never run."""

    importer: str
    imported: str
    line: int
    typing_only: bool


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_in(module: str, source: str, *, is_package: bool, known: set[str]) -> Iterator[Import]:
    """The imports of SOURCE with absolute names, down to the module where that can be told."""
    tree = ast.parse(source)
    for_types = {
        id(node)
        for condition in ast.walk(tree)
        if isinstance(condition, ast.If) and ast.unparse(condition.test) == "TYPE_CHECKING"
        for node in ast.walk(condition)
    }
    for node in ast.walk(tree):
        typing_only = id(node) in for_types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(module, full if full in known else base, node.lineno, typing_only)


@cache
def all_imports() -> tuple[Import, ...]:
    known = set(modules())
    return tuple(
        found
        for module, path in modules().items()
        for found in imports_in(module, path.read_text(), is_package=path.name == "__init__.py", known=known)
    )


def package_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else None


def is_allowed(found: Import) -> bool:
    top = found.imported.split(".")[0]
    if top in sys.stdlib_module_names or top == "msgspec" or found.imported in EVERYBODY:
        return True
    package = package_of(found.importer)
    if package is None:
        # vipnet/__main__.py is the command line's other door.
        return found.importer == "vipnet.__main__" and found.imported == "vipnet.cli.main"
    allowed = MAY_IMPORT[package]
    if top != "vipnet":
        return ANY_DEPENDENCY in allowed or top in allowed
    if package_of(found.imported) == package:
        return package != "system" or _same_device(found)
    return any(found.imported == name or found.imported.startswith(f"{name}.") for name in allowed)


def _same_device(found: Import) -> bool:
    """In `system` each module stands alone; a device that takes several files is a package of its own."""
    importer, imported = found.importer.split("."), found.imported.split(".")
    return len(imported) > 2 and importer[2:3] == imported[2:3]


def cycles(imports: Iterable[Import], known: set[str]) -> list[str] | None:
    """A ring of modules that need each other to run. One that waits inside a function closes it as well."""
    graph: dict[str, set[str]] = {module: set() for module in known}
    for found in imports:
        if found.importer != found.imported and found.imported in known and not found.typing_only:
            graph[found.importer].add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_the_table_names_the_packages_there_are() -> None:
    packages = {path.parent.name for path in (SOURCE / "vipnet").glob("*/__init__.py")}
    assert packages == MAY_IMPORT.keys()
    top = {path.stem for path in (SOURCE / "vipnet").glob("*.py")}
    assert top == AT_THE_TOP | {"__init__", "__main__"}


def test_every_package_has_code_that_is_looked_at() -> None:
    assert {package_of(found.importer) for found in all_imports()} >= {"wire", "crypto", "core", "app", "cli"}
    assert len(all_imports()) > 100


def test_imports_are_allowed() -> None:
    wrong = [f"{f.importer}, line {f.line}: {f.imported}" for f in all_imports() if not is_allowed(f)]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycles(all_imports(), set(modules())) is None


# --- the check itself


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("vipnet.core.node", "import struct, msgspec", True),
        ("vipnet.core.node", "from vipnet.wire import control", True),
        ("vipnet.core.node", "from vipnet.core.peer import Peer", True),
        ("vipnet.core.node", "from .peer import Peer", True),
        ("vipnet.core.node", "import trio", False),
        ("vipnet.core.node", "def f():\n    from vipnet.system import tun", False),
        ("vipnet.core.node", "from ..system import tun", False),
        ("vipnet.wire.inner", "from vipnet.crypto import noise", False),
        ("vipnet.wire.inner", "from vipnet.types import Token", True),
        ("vipnet.names.answer", "from vipnet.core.outputs import LookupResult", False),
        ("vipnet.system.tun", "from vipnet.system.udp import UdpSockets", False),
        ("vipnet.system.tun", "from vipnet.system import udp", False),
        ("vipnet.system.lookup.query", "from vipnet.system.lookup.wire import ask", True),
        ("vipnet.system.store", "from vipnet.core.outputs import StoreOutput", True),
        ("vipnet.system.store", "from vipnet.core.node import Node", False),
        ("vipnet.lab.demo", "from vipnet.app.control import ask_daemon", True),
        ("vipnet.lab.demo", "from vipnet.app import control", True),
        ("vipnet.lab.demo", "from vipnet.app.daemon import run_daemon", False),
        ("vipnet.app.daemon", "from vipnet.cli import main", False),
        ("vipnet.app.daemon", "import anything", True),
        ("vipnet.cli.run", "import trio", False),
        ("vipnet.cli.run", "from vipnet.core.node import Node", False),
        ("vipnet.types", "import msgspec", True),
        ("vipnet.types", "from vipnet.wire import control", False),
    ],
)
def test_the_check_finds_what_is_wrong(module: str, line: str, allowed: bool) -> None:
    known = {
        *modules(),
        "vipnet.system.udp",
        "vipnet.system.tun",
        "vipnet.app.control",
        "vipnet.wire.control",
    }
    found = list(imports_in(module, line, is_package=False, known=known))
    assert found
    assert all(is_allowed(one) for one in found) is allowed


def test_the_check_finds_a_cycle() -> None:
    known = {"a", "b", "c"}

    def imports(*sources: tuple[str, str]) -> list[Import]:
        return [i for name, text in sources for i in imports_in(name, text, is_package=False, known=known)]

    one_way = (("a", "import b"), ("b", "from c import x"))
    assert cycles(imports(*one_way), known) is None
    assert set(cycles(imports(*one_way, ("c", "def f():\n    import a")), known) or ()) == known
    assert cycles(imports(*one_way, ("c", "if TYPE_CHECKING:\n    import a")), known) is None
