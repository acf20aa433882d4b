"""Results for a person: every kind of content, repeated content once, and odd ones without a failure."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.cli.result import read_result, save, show
from mcp_gateway.visible import safe

PNG = base64.b64encode(b"\x89PNG....").decode()


def shown(capsys: pytest.CaptureFixture[str], result: Any) -> str:
    show(read_result(result if isinstance(result, bytes) else json.dumps(result).encode()), saved=False)
    return capsys.readouterr().out


def test_every_kind_of_content_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    content = [
        {"type": "text", "text": "two\nlines"},
        {"type": "image", "data": PNG, "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
        {"type": "resource_link", "uri": "file:///b", "name": "b"},
        {"type": "new", "x": 1},
    ]
    assert shown(capsys, {"content": content}).splitlines() == [
        "two",
        "lines",
        "[image image/png, 8 B; --output FILE keeps it]",
        "[resource file:///a]",
        "inside",
        "[link] b  file:///b",
        *json.dumps({"type": "new", "x": 1}, indent=2).splitlines(),
    ]


def test_structured_content_is_shown_once_with_its_own_digits(capsys: pytest.CaptureFixture[str]) -> None:
    text = {"type": "text", "text": '{"a": 1}'}
    assert shown(capsys, {"content": [text], "structuredContent": {"a": 1}}) == '{"a": 1}\n'
    raw = b'{"content":[],"structuredContent":{"n":12345678901234567890.10}}'
    assert "12345678901234567890.10" in shown(capsys, raw)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert safe("a\x1b[2J\rb\tc\nd\u2028\ud800\U000e0041") == "a\\x1b[2J\\x0db\tc\nd\\u2028\\ud800\\U000e0041"


def test_binary_content_is_kept_in_files_and_text_where_there_is_none(tmp_path: Path) -> None:
    image = {"type": "image", "data": PNG, "mimeType": "image/png"}
    result = read_result(json.dumps({"content": [image, image]}).encode())
    assert save(result, tmp_path / "a.png") == [tmp_path / "a.png", tmp_path / "a-2.png"]
    assert (tmp_path / "a-2.png").read_bytes() == b"\x89PNG...."
    save(read_result(b'{"content":[{"type":"text","text":"x"}]}'), tmp_path / "b")
    assert (tmp_path / "b").read_text() == "x\n"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "text", "data"]), inner)
    ),
)


@given(values, values, values)
def test_no_result_is_a_reason_to_fail(content: Any, structured: Any, is_error: Any) -> None:
    raw = {"content": content, "structuredContent": structured, "isError": is_error}
    assert read_result(json.dumps(raw).encode()).is_error is (is_error is True)
