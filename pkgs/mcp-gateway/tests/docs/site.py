"""Makes the documentation site of the Markdown that is in the repository, and looks for what is broken in it.

`python -m tests.docs.site --mkdocs PROGRAM FOLDER` (which `make docs` runs) copies the pages of
`docs/site/pages.toml` into `FOLDER/source`, lets mkdocs draw them into `FOLDER/html`, and fails for each link
that leads nowhere, each anchor that is not there and each thing that a browser would load from elsewhere.
Links are judged here, so the pages read the same in the repository, and what draws them can be exchanged.
"""

import argparse
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

REPOSITORY: Final = Path(__file__).resolve().parents[4]
SITE: Final = REPOSITORY / "docs" / "site"
ICON: Final = REPOSITORY / "pkgs" / "mcp-gateway" / "ui" / "icon" / "icon.svg"
INDEX: Final = "index.md"
DRAW_LIMIT_S: Final = 120

_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE: Final = re.compile(r"^\s*(```+|~~~+)")
_CODE: Final = re.compile(r"(`+)(.+?)\1")
_ITEM: Final = re.compile(r"(?:[-*]|\d\.) ")
_DEPTH: Final = 4  # of Python-Markdown, which draws
_HEADING: Final = re.compile(r"^# +(.+)$", re.MULTILINE)
# What makes a browser fetch something while it shows a page.
_LOADS: Final = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
_CSS_ADDRESS: Final = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")
# Said by the theme's scripts, which ask for it only where a page has what none of ours has.
MERMAID: Final = "mermaid"


class Broken(Exception):
    """The pages cannot become a site; one sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


# --- which pages there are


def pages(repository: Path = REPOSITORY) -> list[tuple[str, list[str]]]:
    """Sections with their pages, as paths from the root of the repository.

    A page that is named and not there raises `Broken`; one that is there and not named comes under "More".
    """
    table = tomllib.loads((repository / "docs" / "site" / "pages.toml").read_text())
    sections: list[tuple[str, list[str]]] = []
    for section in table["section"]:
        folder = section.get("folder")
        found = (
            sorted(_relative(path, repository) for path in (repository / folder).glob("*.md"))
            if folder
            else []
        )
        sections.append((section["title"], [*section.get("pages", ()), *found]))
    named = {page for _, members in sections for page in members}
    if missing := sorted(page for page in named if not (repository / page).is_file()):
        raise Broken([f"docs/site/pages.toml names {page}, which is not there" for page in missing])
    there = {_relative(path, repository) for path in (repository / "docs").rglob("*.md")}
    if more := sorted(there - named):
        sections.append(("More", more))
    return sections


def place(page: str) -> str:
    """Where on the site a file of the repository is: `docs/` is its root, the rest has a folder."""
    return page.removeprefix("docs/") if page.startswith("docs/") else f"repository/{page}"


def title(text: str) -> str:
    """The first heading of a page."""
    found = _HEADING.search(text)
    return re.sub(r"[`*]", "", found.group(1)).strip() if found else ""


def _relative(path: Path, repository: Path) -> str:
    return path.relative_to(repository).as_posix()


# --- links


@dataclass
class Source:
    """Copies pages so that their links hold on the site; keeps what is wrong with them in `problems`."""

    repository: Path
    folder: Path
    members: frozenset[str]
    problems: list[str] = field(default_factory=list)

    def copy(self, page: str) -> None:
        text = (self.repository / page).read_text()
        if not title(text):
            self.problems.append(f"{page}: has no heading of the first level")
        linked = _outside_code(text, lambda prose: self._linked(prose, page))
        self.write(place(page), _as_deep_as_drawn(linked))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _linked(self, prose: str, page: str) -> str:
        return _LINK.sub(lambda link: self._link(link, page), prose)

    def _link(self, link: re.Match[str], page: str) -> str:
        bang, text, target = link.groups()
        address = urlsplit(target)
        if address.scheme or address.netloc or not address.path:
            return link.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(address.path)))
        there = self.repository / path
        if path.startswith("..") or not there.exists():
            self.problems.append(f"{page}: leads to {target}, which is not there")
            return text
        if path == "README.md":
            path = "docs/index.md"
        if bang and there.suffix == ".svg" and path.startswith("docs/images/"):
            # Drawn into the page, where it has the colours of the theme.
            return f'<div class="diagram" role="img" aria-label="{text}">{_drawing(there)}</div>'
        if bang:
            shutil.copyfile(there, self._made(place(path)))
        elif there.is_dir() and path == "docs/decisions":
            path += f"/{INDEX}"
        elif path not in self.members:
            return text  # a file of the repository that is no page: the words stay
        here = posixpath.relpath(place(path), posixpath.dirname(place(page)) or ".")
        anchor = f"#{address.fragment}" if address.fragment else ""
        return f"{bang}[{text}]({here}{anchor})"

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _drawing(path: Path) -> str:
    """An SVG as part of a page: on one line, which Markdown leaves alone, and without its own title."""
    text = re.sub(r"<title>.*?</title>|<!--.*?-->|<\?.*?\?>", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", " ", text).strip()


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """`change` of what is prose; fenced blocks and code within a line stay as they are."""
    done: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark.group(1).startswith(fence) else fence
            done.append(line)
        elif mark:
            fence = mark.group(1)
            done.append(line)
        else:
            done.append(_outside_spans(line, change))
    return "".join(done)


def _as_deep_as_drawn(text: str) -> str:
    """What belongs to an item of a list, by four columns; CommonMark counts the width of its mark."""
    done: list[str] = []
    width = 0
    is_code = False  # that belongs to no item
    for line in text.splitlines(keepends=True):
        is_code ^= _FENCE.match(line) is not None and not line.startswith(" ")
        depth = len(line) - len(line.lstrip(" "))
        if is_code:
            width = 0
        elif item := _ITEM.match(line):
            width = len(item.group())
        elif line.strip() and depth < width:
            width = 0
        elif line.strip() and width:
            line = " " * (_DEPTH - width) + line
        done.append(line)
    return "".join(done)


def _outside_spans(line: str, change: Callable[[str], str]) -> str:
    """Code is set aside by a mark that no page holds, so that a link around it stays one."""
    spans: list[str] = []

    def aside(span: re.Match[str]) -> str:
        spans.append(span.group())
        return f"\x00{len(spans) - 1}\x00"

    changed = change(_CODE.sub(aside, line))
    return re.sub(r"\x00(\d+)\x00", lambda mark: spans[int(mark.group(1))], changed)


# --- drawing


def prepare(folder: Path, repository: Path = REPOSITORY) -> Path:
    """The pages and mkdocs's configuration in `folder`; the path of the latter. Raises `Broken`."""
    sections = pages(repository)
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    members = frozenset(page for _, found in sections for page in found)
    copier = Source(repository, source, members)
    for page in sorted(members):
        copier.copy(page)
    decisions = [page for page in sorted(members) if page.startswith("docs/decisions/")]
    copier.write(f"decisions/{INDEX}", _decisions(decisions, repository))
    copier.write("images/icon.svg", ICON.read_text())
    copier.write("style.css", (repository / "docs" / "site" / "style.css").read_text())
    if copier.problems:
        raise Broken(copier.problems)
    navigation = [
        {
            name: [
                *_overview(found),
                *({title((repository / page).read_text()): place(page)} for page in found),
            ]
        }
        for name, found in sections
    ]
    # JSON is YAML.
    configuration = {
        "INHERIT": os.path.relpath(repository / "docs" / "site" / "mkdocs.yml", folder),
        "docs_dir": "source",
        "site_dir": "html",
        "nav": navigation,
    }
    path = folder / "mkdocs.yml"
    path.write_text(json.dumps(configuration, indent=2))
    return path


def _overview(found: Sequence[str]) -> list[str]:
    """The list of decisions, before them."""
    return [f"decisions/{INDEX}"] if any(page.startswith("docs/decisions/") for page in found) else []


def _decisions(found: Sequence[str], repository: Path) -> str:
    lines = [f"- [{title((repository / page).read_text())}]({Path(page).name})" for page in found]
    words = "Why things are as they are: each with its context, what was rejected and what follows."
    return "\n".join(["# Decisions", "", words, "", *lines, ""])


def build(mkdocs: Path, folder: Path, repository: Path = REPOSITORY) -> Path:
    """The whole site in `folder / "html"`, checked. Raises `Broken`."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = prepare(folder, repository)
    done = subprocess.run(
        (str(mkdocs), "build", "--strict", "--clean", "--quiet", "--config-file", str(configuration)),
        # Its notice about versions to come is not about these pages.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        timeout=DRAW_LIMIT_S,
    )
    if done.returncode:
        raise Broken([line for line in (done.stdout + done.stderr).splitlines() if line.strip()])
    html = folder / "html"
    if problems := [*broken_links(html), *loads_from_elsewhere(html)]:
        raise Broken(problems)
    return html


# --- looking at what was drawn


@dataclass
class _Page(HTMLParser):
    """What a page offers to be linked to, where it leads, and what it loads."""

    anchors: set[str] = field(default_factory=set)
    leads: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if values.get(name))
        if tag == "a" and "href" in values:
            self.leads.append(values["href"])
        self.loads += [
            values[name]
            for of, name in _LOADS
            if of == tag and name in values and values.get("rel") != "canonical"
        ]


def _read(html: Path) -> Mapping[str, _Page]:
    found: dict[str, _Page] = {}
    for path in sorted(html.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text())
        found[_relative(path, html)] = page
    return found


def broken_links(html: Path) -> Iterator[str]:
    """A sentence for each link or file of a page that leads nowhere on the site."""
    read = _read(html)
    for name, page in read.items():
        if name == "404.html":
            continue  # its links are those of the navigation, from the root of a host
        for target in dict.fromkeys((*page.leads, *page.loads)):
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(address.path)))
            path = name if not address.path else path
            if (html / path).is_dir():
                path = posixpath.join(path, "index.html")
            if not (html / path).is_file():
                yield f"{name}: leads to {target}, which is not there"
            elif address.fragment and path in read and unquote(address.fragment) not in read[path].anchors:
                yield f"{name}: leads to {target}, and that page has no such place"


def loads_from_elsewhere(html: Path) -> Iterator[str]:
    """A sentence for whatever a browser would fetch from another host."""
    for name, page in _read(html).items():
        for target in page.loads:
            if urlsplit(target).netloc:
                yield f"{name}: loads {target}"
        if f'class="{MERMAID}"' in (html / name).read_text():
            yield f"{name}: has a diagram that the theme would fetch a program for"
    for path in sorted(html.rglob("*.css")):
        for address in _CSS_ADDRESS.findall(path.read_text()):
            yield f"{_relative(path, html)}: loads {address}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mkdocs", type=Path, required=True, help="the program of docs/site/uv.lock")
    parser.add_argument("folder", type=Path)
    given: Any = parser.parse_args(arguments)
    try:
        html = build(given.mkdocs.absolute(), given.folder.absolute())
    except Broken as broken:
        print("\n".join(broken.problems), file=sys.stderr)
        return 1
    print(html / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
