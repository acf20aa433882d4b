"""The runner of pages itself: what it finds, and that it fails for a page that does not hold."""

from pathlib import Path

import pytest

from tests.docs.running import Block, Folder, blocks, commands, to_run

PAGE = """# A page

```json title="c.json"
{"a": 1}
```

1. Indented:

   ```sh
   cat c.json
   ```

<!-- not run: needs another machine -->
```sh
false
```

```yaml
read: me
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "http://127.0.0.1:1", {"GREETING": "hello"})


def block(language: str, text: str) -> Block:
    return Block("p.md", 1, language, None, text)


def test_files_and_commands_are_found_with_their_lines_and_the_rest_is_for_reading(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text(PAGE)
    assert [(str(one), one.language, one.title, one.text) for one in to_run(page)] == [
        ("p.md:4", "json", "c.json", '{"a": 1}\n'),
        ("p.md:10", "sh", None, "cat c.json\n"),
    ]
    assert [one.why_not for one in blocks(page)] == [None, None, "needs another machine", None]


def test_a_block_that_is_not_closed_is_told(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text("```sh\ntrue\n")
    with pytest.raises(AssertionError, match="not closed"):
        blocks(page)


def test_a_command_finds_the_files_before_it_and_the_address_of_this_gateway(folder: Folder) -> None:
    folder.take(Block("p.md", 1, "json", "c.json", '{"url": "http://127.0.0.1:8085/mcp"}\n'))
    assert "127.0.0.1:1/mcp" in (folder.path / "c.json").read_text()
    folder.take(
        block("console", '$ cat c.json; echo $GREETING\n{"url": "http://127.0.0.1:8085/mcp"}\nhello\n')
    )


def test_a_console_is_held_to_what_stands_below_each_command(folder: Folder) -> None:
    text = "$ echo one \\\n    two\none two\n$ printf 'at 12:30:01 it is late'\nat ... it is late\n"
    assert [command for command, _ in commands(text)] == [
        "echo one \\\n    two",
        "printf 'at 12:30:01 it is late'",
    ]
    folder.take(block("console", text))
    with pytest.raises(AssertionError, match="and not 'two"):
        folder.take(block("console", "$ echo one\ntwo\n"))


@pytest.mark.parametrize("script", ["false\ntrue\n", "false | cat\n", "curl -s http://127.0.0.1:1/\n"])
def test_a_script_fails_with_any_of_its_commands(folder: Folder, script: str) -> None:
    with pytest.raises(AssertionError, match=r"p\.md:1: exit code"):
        folder.take(block("sh", script))


def test_our_command_is_the_one_under_test(folder: Folder) -> None:
    folder.take(block("sh", "mcp-gateway --version\n"))
