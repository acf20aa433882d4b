"""What becomes of an MCP result on the tool API: a table of results and of what is answered instead."""

import asyncio
import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from mcp_gateway.faces.tools.results import LINK_CHARS_MAX, LINKS_MAX, Media, Text, Told, told

PNG = base64.b64encode(b"\x89PNG\r\n").decode()


class Files:
    """Links that say what they are of."""

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, str]] = []

    def to_resource(self, server_uri: str) -> str:
        return f"https://gw/{server_uri}"

    def to_artifact(self, artifact_id: str) -> str:
        return f"https://gw/artifact/{artifact_id}"

    async def keep(self, data: Raw, media_type: str) -> tuple[str, int] | None:
        try:
            file = base64.b64decode(json.loads(bytes(data)), validate=True)
        except ValueError:
            return None
        self.kept.append((file, media_type))
        return f"https://gw/kept/{len(self.kept)}", len(file)


async def of(result: Any) -> Told:
    text = result if isinstance(result, bytes) else json.dumps(result).encode()
    return await told(Raw(text), Files())


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(kind: str = "image/png", data: str = PNG) -> dict[str, Any]:
    return {"type": "image", "mimeType": kind, "data": data}


def embedded(**resource: Any) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": "files:///x"} | resource}


ANSWERS: list[tuple[str, Any, Any]] = [
    ("a text is a string", [text("hello")], "hello"),
    ("a text that holds an object is that", [text('{"a": [1, 2.50]}')], {"a": [1, 2.5]}),
    ("a text that holds a list is that", [text(" [1]\n")], [1]),
    ("a text that is a number stays a text", [text("5")], "5"),
    ("a text that is null is no empty success", [text("null")], "null"),
    ("a text that only begins like JSON is a text", [text("{not json")], "{not json"),
    ("texts are a list", [text("a"), text("{}")], ["a", {}]),
    ("nothing is said to have worked", [], {"ok": True}),
    ("an empty text is nothing", [text("")], {"ok": True}),
    ("an empty text beside another is left out", [text(""), text("a")], "a"),
    ("an image is a data URI", [image()], f"data:image/png;base64,{PNG}"),
    ("audio is a data URI", [image("audio/wav") | {"type": "audio"}], f"data:audio/wav;base64,{PNG}"),
    ("an image stands where it was", [text("see"), image()], ["see", f"data:image/png;base64,{PNG}"]),
    ("what calls itself a page is no page", [image("text/html")], f"data:image/x-unknown;base64,{PNG}"),
    (
        "a type that would end the URI is none",
        [image('image/png,<script>"')],
        f"data:image/x-unknown;base64,{PNG}",
    ),
    ("an embedded text is a text", [embedded(text="hello")], "hello"),
    (
        "an embedded image is a data URI",
        [embedded(mimeType="image/gif", blob=PNG)],
        f"data:image/gif;base64,{PNG}",
    ),
    (
        "any other file is a link",
        [embedded(mimeType="application/pdf", blob=PNG)],
        {"uri": "files:///x", "mimeType": "application/pdf", "size": 6, "url": "https://gw/kept/1"},
    ),
    (
        "what is no base64 stays what it was",
        [embedded(mimeType="application/pdf", blob="!")],
        {"uri": "files:///x", "mimeType": "application/pdf", "blob": "!"},
    ),
    (
        "a link leads to the resource through the gateway",
        [{"type": "resource_link", "uri": "demo://a", "name": "A", "mimeType": "text/plain", "size": 3}],
        {"uri": "demo://a", "name": "A", "mimeType": "text/plain", "size": 3, "url": "https://gw/demo://a"},
    ),
    (
        "a link to the web is one",
        [{"type": "resource_link", "uri": "https://example.com/a", "name": "A"}],
        {"uri": "https://example.com/a", "name": "A", "url": "https://example.com/a"},
    ),
    (
        "a kept result has a link of its own",
        [{"type": "resource_link", "uri": "mcp-gateway://artifacts/abc", "name": "all"}],
        {"uri": "mcp-gateway://artifacts/abc", "name": "all", "url": "https://gw/artifact/abc"},
    ),
    ("a kind nobody knows is handed on", [{"type": "hologram", "rays": 3}], {"type": "hologram", "rays": 3}),
    ("a text without text is handed on", [{"type": "text"}], {"type": "text"}),
    ("what is no block is handed on", [7, "x", None], [7, "x", None]),
]


@pytest.mark.parametrize(("content", "answer"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
async def test_content_is_told_as_http_clients_expect_it(content: list[Any], answer: Any) -> None:
    said = await of({"content": content})
    assert said.failure is None
    assert said.value is not None
    assert json.loads(bytes(said.value)) == answer


STRUCTURED: list[tuple[str, Any, list[Any], Any]] = [
    ("a text that says the same is left out", {"a": 1}, [text('{"a":1}')], {"a": 1}),
    ("alone it is the answer", {"a": 1}, [], {"a": 1}),
    ("an empty object is what the tool said", {}, [], {}),
    ("a text that says more stands beside it", {"a": 1}, [text("one")], [{"a": 1}, "one"]),
    ("an image stands beside it", {"a": 1}, [image()], [{"a": 1}, f"data:image/png;base64,{PNG}"]),
    ("what it wraps is the same", {"result": "hi"}, [text("hi")], {"result": "hi"}),
    ("what it wraps is the same, one by one", {"result": [1, 2]}, [text("1"), text("2")], {"result": [1, 2]}),
    ("null is none", None, [text("hi")], "hi"),
]


@pytest.mark.parametrize(
    ("structured", "content", "answer"), [row[1:] for row in STRUCTURED], ids=[row[0] for row in STRUCTURED]
)
async def test_structured_content_comes_first(structured: Any, content: list[Any], answer: Any) -> None:
    said = await of({"content": content, "structuredContent": structured})
    assert said.value is not None
    assert json.loads(bytes(said.value)) == answer


FAILURES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("its words", {"content": [text("no such file"), text("x")]}, "no such file\nx", None),
    ("no words", {"content": []}, "The tool reports failure and does not say why", None),
    ("what else it says", {"content": [text("no"), image()]}, "no", [f"data:image/png;base64,{PNG}"]),
    ("structured", {"content": [text("no")], "structuredContent": {"code": 7}}, "no", [{"code": 7}]),
]


@pytest.mark.parametrize(
    ("result", "words", "besides"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
async def test_a_failure_is_told_in_the_words_of_the_tool(
    result: dict[str, Any], words: str, besides: Any
) -> None:
    said = await of(result | {"isError": True})
    assert said.failure == words
    assert (None if said.value is None else json.loads(bytes(said.value))) == besides


@pytest.mark.parametrize(
    "written", [b'{"a":1.10,"b":1e400,"c":12345678901234567890123,"a":2}', b'{"z":1,  "a":"\\u00fc"}']
)
async def test_what_is_structured_stays_the_bytes_that_it_was(written: bytes) -> None:
    said = await of(b'{"structuredContent":%b,"content":[]}' % written)
    assert said.value is not None
    assert bytes(said.value) == written


async def test_half_a_character_passes_as_it_was_written() -> None:
    said = await of(b'{"content":[{"type":"text","text":"a\\ud83d"},{"type":"text","text":"b"}]}')
    assert said.value is not None
    assert bytes(said.value) == b'["a\\ud83d","b"]'


async def test_what_is_no_result_of_a_tool_is_handed_on_whole() -> None:
    written = b'{"task":{"taskId":"1"},"resultType":"task"}'
    said = await of(written)
    assert said.value is not None
    assert bytes(said.value) == written


async def test_one_piece_is_also_to_be_had_alone() -> None:
    assert (await of({"content": [image()]})).alone == Media("image/png", Raw(json.dumps(PNG).encode()))
    assert (await of({"content": [text("a")]})).alone == Text(Raw(b'"a"'), "a")
    assert (await of({"content": [text("a"), text("b")]})).alone is None


async def test_an_answer_has_a_bounded_number_of_links() -> None:
    link = {"type": "resource_link", "uri": "demo://a", "name": "A"}
    said = await of({"content": [link] * (LINKS_MAX + 1)})
    assert said.value is not None
    links = json.loads(bytes(said.value))
    assert [one for one in links if "url" not in one] == [{"uri": "demo://a", "name": "A"}]


async def test_a_failure_is_one_even_where_the_server_says_nothing_else() -> None:
    said = await of({"isError": True})
    assert said.failure == "The tool reports failure and does not say why"


@pytest.mark.parametrize(
    "nothing", [{}, {"_meta": {"a": 1}}, {"isError": False}, {"structuredContent": None}]
)
async def test_success_is_never_empty(nothing: dict[str, Any]) -> None:
    said = await of(nothing)
    assert said.value is not None
    assert json.loads(bytes(said.value)) == {"ok": True}


async def test_texts_that_repeat_parts_are_left_out_however_many_there_are() -> None:
    # Each against each would take hours.
    many = 40_000
    said = await of(
        {
            "structuredContent": {"result": [*range(many), {"a": 1, "b": 10**30}]},
            "content": [
                *(text(str(number + 3)) for number in range(many)),
                text(f'{{"b": {10**30}, "a": 1}}'),
            ],
        }
    )
    assert said.value is not None
    whole, *more = json.loads(bytes(said.value))
    assert len(whole["result"]) == many + 1
    assert more == [str(many), str(many + 1), str(many + 2)]


async def test_others_get_their_turn_while_an_answer_of_very_many_parts_is_gone_through() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await of({"content": [text(str(number)) for number in range(40_000)]})
    waiting.cancel()
    assert turns > 3


async def test_a_resource_of_a_name_too_long_for_a_url_is_named_and_no_link() -> None:
    link = {"type": "resource_link", "uri": "demo://" + "a" * LINK_CHARS_MAX, "name": "A"}
    said = await of({"content": [link]})
    assert said.value is not None
    assert json.loads(bytes(said.value)) == {"uri": link["uri"], "name": "A"}


@pytest.mark.parametrize(
    "kind", ["image/a\u4e2d", "image/\u00fc", "image/png\r\nX: y", "image/a b", "image/"]
)
async def test_what_is_no_media_type_is_not_passed_on_as_one(kind: str) -> None:
    said = await of({"content": [image(kind)]})
    assert isinstance(said.alone, Media)
    assert said.alone.type == "image/x-unknown"
