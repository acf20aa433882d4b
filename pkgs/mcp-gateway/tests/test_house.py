"""Holds the house together: who may import whom, and what only one room may do.

Reads the source as syntax trees and runs none of it, so a broken module cannot hide a broken rule.
import-linter (pyproject.toml) holds the same direction transitively; here every module must have a
rank, and the rules that are not about modules (spawning, the environment) are checked at the name.
"""

import ast
import json
import re
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).resolve().parents[1]
REPOSITORY: Final = PROJECT.parents[1]
SOURCE: Final = PROJECT / "src" / "mcp_gateway"
PACKAGE: Final = "mcp_gateway"

# Lowest first; a module may import its own rank and every rank below. The longest matching prefix counts,
# so `upstream.lifecycle` is pure although `upstream` is not. A module without a rank is a failure.
RANKS: Final[tuple[tuple[str, ...], ...]] = (
    ("", "errors", "names", "uris", "clock", "version", "visible", "wire"),
    ("catalog", "listed", "shelves", "schemas", "access", "config", "upstream.lifecycle"),
    ("config.load", "config.secrets", "config.watching", "config.aside", "config.writing"),
    ("upstream", "store"),
    ("gateway",),
    ("faces",),
    ("app",),
    ("cli", "__main__"),
)

# Rooms that never see each other, although they have one rank.
STRANGERS: Final = (("upstream", "store"),)

# What a face may know below the facade's rank: words and pure decisions, never a link or a database.
FACES_MAY_SEE: Final = (
    *RANKS[0],
    *RANKS[1],
    "gateway",
    "faces",
)
FACES_MAY_NOT_SEE: Final = ("config.load", "config.secrets", "config.writing")

# Which rooms may import an outside library; prefixes of module names below the package.
ONLY_IN: Final = {
    "starlette": ("faces", "app"),
    "fastapi": ("faces", "app"),
    "uvicorn": ("faces", "app"),
    "aiohttp": ("cli",),
    "aiohappyeyeballs": ("upstream.dialing",),
    "httptools": ("upstream.pool",),
    "argon2": ("gateway.sign_ins", "cli.keys"),
    "cryptography": ("gateway.parking", "gateway.tickets"),
    "click": ("cli",),
    "jinja2": ("faces.ui", "faces.openwebui"),
    "rich": ("cli",),
    "watchfiles": ("config.watching",),
    "prometheus_client": ("gateway.metrics",),
    "psutil": ("upstream.usage",),
    "sqlite3": ("store",),
    "subprocess": ("upstream.process", "config.secrets"),
    "multiprocessing": (),
    "pty": (),
}

MAY_SPAWN: Final = ("upstream.process", "config.secrets")
SPAWNERS: Final = re.compile(
    r"(create_subprocess_(exec|shell)|subprocess_(exec|shell)|ProcessPoolExecutor"
    r"|os\.(system|popen|fork|forkpty|posix_spawnp?|spawn[lv]p?e?|exec[lv]p?e?))$"
)

MAY_READ_ENVIRONMENT: Final = ("config.load",)
ENVIRONMENT: Final = re.compile(r"(os\.(environb?|getenvb?|putenv|unsetenv)|expandvars)$")


@dataclass(frozen=True)
class Module:
    name: str  # below the package, dotted; "" is the package itself
    path: Path
    tree: ast.Module

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported module by full name, wherever in the file the import stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: imports are absolute here"
                for alias in node.names:
                    # `from package import room` imports the room, `from room import thing` only the room.
                    whole = f"{node.module}.{alias.name}"
                    yield (whole if whole in MODULES else str(node.module)), node.lineno

    def names(self) -> Iterator[tuple[str, int]]:
        """Every dotted name that is used or imported, as far as it can be read off the text."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name):
                yield ast.unparse(node), node.lineno
            elif isinstance(node, ast.ImportFrom):
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {
    f"{PACKAGE}.{name}".rstrip("."): Module(name, path, ast.parse(path.read_bytes(), filename=str(path)))
    for path in sorted(SOURCE.rglob("*.py"))
    for name in (_module_name(path),)
}


def _is_in(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or (room != "" and name.startswith(f"{room}.")) for room in rooms)


def _rank(name: str) -> int | None:
    best: tuple[int, int] | None = None
    for rank, rooms in enumerate(RANKS):
        for room in rooms:
            if _is_in(name, (room,)) and (best is None or len(room) > best[0]):
                best = (len(room), rank)
    return None if best is None else best[1]


def _inner_imports() -> Iterator[tuple[Module, str, int]]:
    for module in MODULES.values():
        for imported, line in module.imports():
            if imported in MODULES:
                yield module, MODULES[imported].name, line


def _breaches(found: Iterable[tuple[Module, int, str]]) -> str:
    return "\n".join(f"{module.path.relative_to(REPOSITORY)}:{line}: {what}" for module, line, what in found)


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 10


def test_every_module_has_a_room() -> None:
    homeless = [name for name, module in MODULES.items() if _rank(module.name) is None]
    assert homeless == [], "give these a place in RANKS, and in the list of rooms of ARCHITECTURE.md"


def test_imports_run_one_way() -> None:
    wrong = [
        (module, line, f"`{module.name}` must not know `{imported}`, which is built on top of it")
        for module, imported, line in _inner_imports()
        if (_rank(imported) or 0) > (_rank(module.name) or 0)
    ]
    assert _breaches(wrong) == ""


def test_links_and_the_store_never_see_each_other() -> None:
    wrong = [
        (module, line, f"`{module.name}` and `{imported}` never see each other")
        for module, imported, line in _inner_imports()
        for one, other in STRANGERS
        if (_is_in(module.name, (one,)) and _is_in(imported, (other,)))
        or (_is_in(module.name, (other,)) and _is_in(imported, (one,)))
    ]
    assert _breaches(wrong) == ""


def test_faces_see_the_facade_and_the_pure_rooms_only() -> None:
    wrong = [
        (module, line, f"a face asks the facade, not `{imported}`")
        for module, imported, line in _inner_imports()
        if _is_in(module.name, ("faces",))
        and (_is_in(imported, FACES_MAY_NOT_SEE) or not _is_in(imported, FACES_MAY_SEE))
    ]
    assert _breaches(wrong) == ""


@pytest.mark.parametrize("library", ONLY_IN)
def test_an_outside_library_stays_in_its_room(library: str) -> None:
    wrong = [
        (module, line, f"`{library}` is only for {' and '.join(ONLY_IN[library]) or 'nobody'}")
        for module in MODULES.values()
        for imported, line in module.imports()
        if imported.partition(".")[0] == library and not _is_in(module.name, ONLY_IN[library])
    ]
    assert _breaches(wrong) == ""


def test_processes_are_started_in_two_places_only() -> None:
    wrong = [
        (module, line, f"`{name}` starts a process; that is for {' and '.join(MAY_SPAWN)}")
        for module in MODULES.values()
        for name, line in module.names()
        if SPAWNERS.search(name) and not _is_in(module.name, MAY_SPAWN)
    ]
    assert _breaches(wrong) == ""


def test_the_environment_is_read_in_one_place_only() -> None:
    wrong = [
        (module, line, f"`{name}` reads the environment; that is for {' and '.join(MAY_READ_ENVIRONMENT)}")
        for module in MODULES.values()
        for name, line in module.names()
        if ENVIRONMENT.search(name) and not _is_in(module.name, MAY_READ_ENVIRONMENT)
    ]
    assert _breaches(wrong) == ""


def test_every_module_says_what_it_is() -> None:
    silent = [str(module.path) for module in MODULES.values() if not ast.get_docstring(module.tree)]
    assert silent == []


def test_nothing_silences_the_linter_or_the_type_checker() -> None:
    """An exception is a rule of pyproject.toml with its reason, where it can be seen."""
    silencer = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:\s*no\s*cover)")
    found = []
    for folder in ("src", "tests", "bench", "starter"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            with tokenize.open(path) as file:
                for token in tokenize.generate_tokens(file.readline):
                    if token.type == tokenize.COMMENT and silencer.match(token.string):
                        found.append(f"{path.relative_to(REPOSITORY)}:{token.start[0]}: {token.string}")
    assert found == []


def test_every_dependency_has_its_reason_written_down() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    names = {re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0] for group in groups for line in group}
    reasons = (REPOSITORY / "docs" / "decisions" / "0012-dependencies.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in reasons] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [path.name[:5] for path in sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))]
    assert numbers == [f"{number:04}-" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("folder", ["starter", "tests/npm", "tests/conformance"])
def test_a_node_lock_file_pins_contents_and_not_where_they_come_from(folder: str) -> None:
    lock = json.loads((PROJECT / folder / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    package = json.loads((PROJECT / folder / "package.json").read_text(encoding="utf-8"))
    wanted = package["dependencies"] | package.get("optionalDependencies", {})
    versions = {name: version.rpartition("@")[2] for name, version in wanted.items()}  # npm:NAME@VERSION
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == versions
