"""The documentation becomes a site without a broken link, and asks nobody but its own host for anything."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests import real
from tests.docs import site

MKDOCS: Final = site.REPOSITORY / ".venv-docs" / "bin" / "mkdocs"
PAGES: Final = """
[[section]]
title = "Start"
pages = ["docs/index.md", "README.md"]
[[section]]
title = "Decisions"
folder = "docs/decisions"
"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    real.need(MKDOCS)
    return site.build(MKDOCS, tmp_path_factory.mktemp("site"))


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """A small repository whose first page says what a test wants."""

    def made(text: str, **more: str) -> Path:
        root = tmp_path / "repository"
        files = {
            "docs/index.md": f"# First\n\n{text}\n",
            "README.md": "# Read me\n\n## A place\n",
            "docs/decisions/0001-one.md": "# 1. One\n",
            "docs/site/pages.toml": PAGES,
            "docs/site/style.css": "",
            "docs/images/drawing.svg": "<svg>\n  <title>no</title>\n  <g/>\n</svg>",
            "tool.py": "",
        }
        for name, content in (files | more).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return root

    return made


def prepared(root: Path, tmp_path: Path) -> str:
    site.prepare(folder := tmp_path / "made", root)
    return (folder / "source" / "index.md").read_text()


def test_the_site_is_drawn_with_every_page_and_nothing_broken(html: Path) -> None:
    drawn = {path.relative_to(html).as_posix() for path in html.rglob("*.html")}
    wanted = {site.place(page) for _, found in site.pages() for page in found}
    # mkdocs takes a README for the page of its folder.
    assert {
        re.sub(r"(README)?\.md$", lambda end: ("index" if end[1] else "") + ".html", page) for page in wanted
    } <= drawn


def test_no_page_of_the_documentation_is_left_to_the_end_of_the_list() -> None:
    assert [title for title, _ in site.pages()][-1] == "Decisions"


def test_a_link_leads_to_where_the_page_is_on_the_site(
    repository: Callable[..., Path], tmp_path: Path
) -> None:
    text = "See [it](../README.md#a-place), [why](decisions), [`one`](decisions/0001-one.md)."
    root = repository(text)
    page = prepared(root, tmp_path)
    assert "[why](decisions/index.md), [`one`](decisions/0001-one.md)." in page
    configuration = json.loads((tmp_path / "made" / "mkdocs.yml").read_text())
    assert configuration["nav"][0] == {"Start": [{"First": "index.md"}, {"Read me": "repository/README.md"}]}
    assert "[1. One](0001-one.md)" in (tmp_path / "made" / "source" / "decisions" / "index.md").read_text()


def test_a_link_to_a_file_that_is_no_page_becomes_its_words(
    repository: Callable[..., Path], tmp_path: Path
) -> None:
    assert "Read the tool now." in prepared(repository("Read [the tool](../tool.py) now."), tmp_path)


def test_what_is_code_is_left_as_it_is(repository: Callable[..., Path], tmp_path: Path) -> None:
    text = "`[a](b)` and\n\n```sh\n[c](nowhere.md)\n```\n"
    assert text in prepared(repository(text), tmp_path)


def test_what_belongs_to_an_item_of_a_list_stays_in_it(
    repository: Callable[..., Path], tmp_path: Path
) -> None:
    text = "1. One\n\n   ![x](../icon.png)\n\n   ```sh\n   true\n   ```\n2. Two\n\n- a\n  - b\n\nAfter.\n"
    text += "\n```yaml\n- c\n  d\n```\n"
    page = prepared(repository(text, **{"icon.png": ""}), tmp_path)
    assert "1. One\n\n    ![x](repository/icon.png)\n\n    ```sh\n    true\n    ```\n2. Two\n" in page
    assert "- a\n    - b\n\nAfter.\n\n```yaml\n- c\n  d\n```\n" in page


def test_a_drawing_becomes_part_of_the_page(repository: Callable[..., Path], tmp_path: Path) -> None:
    page = prepared(repository("![a door](images/drawing.svg)"), tmp_path)
    assert 'aria-label="a door"><svg> <g/> </svg></div>' in page


@pytest.mark.parametrize("target", ["nowhere.md", "../../outside.md", "decisions/0002-two.md#x"])
def test_a_link_to_what_is_not_there_is_named(
    repository: Callable[..., Path], tmp_path: Path, target: str
) -> None:
    root = repository(f"See [it]({target}).")
    with pytest.raises(site.Broken, match=r"docs/index\.md: leads to") as broken:
        site.prepare(tmp_path / "made", root)
    assert target in str(broken.value)


def test_a_page_that_is_named_and_not_there_is_named(repository: Callable[..., Path], tmp_path: Path) -> None:
    root = repository("", **{"docs/site/pages.toml": PAGES.replace("README.md", "GONE.md")})
    with pytest.raises(site.Broken, match=r"GONE\.md"):
        site.prepare(tmp_path / "made", root)


def test_a_page_that_nobody_named_comes_last(repository: Callable[..., Path]) -> None:
    root = repository("", **{"docs/new.md": "# New\n"})
    assert site.pages(root)[-1] == ("More", ["docs/new.md"])


def test_broken_links_and_anchors_of_drawn_pages_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="#top">1</a><a href="b.html#there">2</a><a href="https://example.org/">3</a>'
        '<a href="c.html">4</a><a href="b.html#gone">5</a><a href="#gone">6</a><img src="no.png">'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    found = " ".join(site.broken_links(tmp_path))
    assert [name in found for name in ("c.html", "b.html#gone", " #gone", "no.png")] == [True] * 4
    assert len(list(site.broken_links(tmp_path))) == 4


def test_whatever_a_browser_would_fetch_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="//fonts.example/y.css">'
        '<link rel="canonical" href="https://example.org/"><pre class="mermaid">a</pre><a href="https://example.org">'
    )
    (tmp_path / "a.css").write_text('@import "https://fonts.example/z.css"; a{background:url(x.png)}')
    found = list(site.loads_from_elsewhere(tmp_path))
    assert len(found) == 4
    assert not any("example.org" in one for one in found)


def test_what_draws_the_site_is_locked_and_is_nothing_of_the_gateways() -> None:
    locked = tomllib.loads((site.SITE / "uv.lock").read_text())
    names = {package["name"] for package in locked["package"]}
    assert "mkdocs-material" in names
    assert "pydantic" not in names
