"""Toolkits made of what servers say, however hostile: they always load, and nothing of it is ever run."""

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_gateway.catalog import Entry
from mcp_gateway.faces.openwebui.functions import argument_names, literal, method_names, source, toolkit_id
from mcp_gateway.names import exposed_names
from tests.openwebui.loading import Toolkit, cleaned, formatted, load

BASE = "http://127.0.0.1:8085"
NASTY = (
    '"""\nraise SystemExit\n"""',
    "'''",
    '"',
    "\\",
    "\\\n",
    "'); raise SystemExit  #",
    "{{ 7 * 7 }} {% raise %} {# x #}",
    "${x} %s {x}",
    "\ud800",
    "\u202eevil\u2066",
    "\u2028\x00\x1b[31m\r\n\t\x0c",
    "from utils import x, from config, from main, from apps",
    ":param x: y\n:return: z",
    "__import__('os')",
    "é😀ﬁ",
    "x" * 300,
    "words " * 60,
    '{"a": "b"}' * 20,
)
# Names that mean something to Python, pydantic or Open WebUI.
KNOWN = (
    *("from", "class", "None", "self", "async", "match", "__user__", "__event_emitter__", "_private"),
    *("model_config", "model_dump", "model_fields_set", "model_name", "schema", "copy", "json", "title"),
    *("user-id", "user_id", "user.id", "1st", "", "ﬁle", "file", "$ref", "args", "kwargs", "type", "x" * 200),
)
texts = st.text(max_size=40) | st.sampled_from(NASTY) | st.sampled_from(KNOWN)
names = st.sampled_from(KNOWN) | st.from_regex("[a-z_-]{1,12}", fullmatch=True) | texts
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "object", "array", "boolean", ["string", "null"]]),
        "description": texts,
        "default": values,
        "enum": st.lists(st.integers() | texts, min_size=1, max_size=3),
        "items": st.just({"type": "string"}),
        "properties": st.dictionaries(texts, st.just({"type": "integer"}), max_size=2),
        "title": texts,
    },
)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    properties = draw(st.dictionaries(names, schemas | values, max_size=5))
    required = draw(st.lists(st.sampled_from(list(properties)), unique=True)) if properties else []
    return {
        "description": draw(texts | values),
        "inputSchema": {"type": "object", "properties": properties, "required": required},
    }


def entries(tools: dict[str, dict[str, Any]], server: str = "git") -> list[Entry]:
    exposed = exposed_names(server, tools)
    return [
        Entry(server, name, exposed[name], True, json.dumps({"name": name, **definition}).encode())
        for name, definition in tools.items()
    ]


def made(tools: dict[str, dict[str, Any]], server: str = "git", base: str = BASE) -> str:
    return asyncio.run(source(server, entries(tools, server), base))


def loaded(tools: dict[str, dict[str, Any]]) -> Toolkit:
    return load(made(tools))


def taking(**properties: Any) -> dict[str, Any]:
    return {"inputSchema": {"type": "object", "properties": properties}}


# -- whatever servers say -------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, definitions(), max_size=3))
@example({text: {"description": text, **taking(**{text: {"description": text}})} for text in NASTY})
@example({name: taking(**{key: {"type": "string"} for key in KNOWN}) for name in KNOWN[:3]})
def test_S30_nothing_that_a_server_says_is_code(tools: dict[str, dict[str, Any]]) -> None:
    ours = made({})
    written = made(tools)
    # The same statements around the methods, and only literals of strings in what a method is made of.
    tree, plain = ast.parse(written).body, ast.parse(ours).body
    *helpers, plain_toolkit = plain
    assert [ast.dump(one) for one in tree[: len(helpers)]] == [ast.dump(one) for one in helpers]
    *hints, toolkit = tree[len(helpers) :]
    assert isinstance(toolkit, ast.ClassDef)
    assert isinstance(plain_toolkit, ast.ClassDef)
    head, methods = toolkit.body[: len(plain_toolkit.body)], toolkit.body[len(plain_toolkit.body) :]
    assert [ast.dump(one) for one in head] == [ast.dump(one) for one in plain_toolkit.body]
    check_methods([*hints, *methods], len(tools))
    found = load(written)
    assert len(found.specs) == len(tools)


def check_methods(nodes: Sequence[ast.stmt], count: int) -> None:
    defined: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Assign):
            match node:
                case ast.Assign(
                    targets=[ast.Name(name)],
                    value=ast.Call(ast.Name("_schema"), [ast.Constant(str())], []),
                ) if name not in defined:
                    defined.add(name)
                case _:
                    raise AssertionError(ast.unparse(node))
            continue
        assert isinstance(node, ast.AsyncFunctionDef)
        assert node.name not in defined
        assert not node.name.startswith("_")
        defined.add(node.name)
        (decorator,), (statement,) = node.decorator_list, node.body
        match decorator:
            case ast.Call(ast.Name("_described"), [ast.Constant(str())], []):
                pass
            case _:
                raise AssertionError(ast.unparse(decorator))
        for argument in node.args.args[1:-1]:
            assert isinstance(argument.annotation, ast.Name)
            assert argument.annotation.id in defined
        match statement:
            case ast.Return(
                ast.Await(
                    ast.Call(
                        ast.Name("_call"),
                        [
                            ast.Attribute(ast.Name("self"), "valves"),
                            ast.Constant(str()),
                            ast.Constant(str()),
                            ast.Dict(keys, given),
                            ast.List(nullable),
                            ast.Name("__event_emitter__"),
                        ],
                        [],
                    )
                )
            ):
                assert all(isinstance(one, ast.Constant) for one in (*keys, *nullable))
                assert all(isinstance(one, ast.Name) for one in given)
            case _:
                raise AssertionError(ast.unparse(statement))
    assert len([node for node in nodes if isinstance(node, ast.AsyncFunctionDef)]) == count


@settings(max_examples=30, deadline=None)
@given(definitions())
@example(taking(**{"from": {"default": None}, "from_": {"default": 1}, "user id": {"type": "string"}}))
def test_a_model_is_told_the_schema_as_it_is(definition: dict[str, Any]) -> None:
    (spec,) = loaded({"tool": definition}).specs.values()
    (entry,) = entries({"tool": definition})
    schema = entry.inlined.schema
    renamed = argument_names(schema["properties"])
    assert spec.parameters["properties"].keys() == set(renamed.values())
    assert set(spec.parameters["required"]) == {renamed[name] for name in schema.get("required", ())}
    for name, argument in renamed.items():
        told, wanted = dict(spec.parameters["properties"][argument]), cleaned(schema["properties"][name])
        if "$ref" in json.dumps(wanted) or not isinstance(wanted, dict):
            continue  # the model is told of an object: what reads schemas follows such a word
        if name != argument:
            own = wanted.pop("description", "")
            assert told.pop("description").endswith(whole(f" by the tool. {own}" if own else " by the tool."))
        assert told == whole(wanted)


def whole(value: Any) -> Any:
    """With what stands for half a character, which no text on its way to a model can hold."""
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


def test_the_code_is_formatted_whatever_is_in_it(tmp_path: Path) -> None:
    files: list[Path] = []

    @settings(max_examples=30, deadline=None)
    @given(st.dictionaries(names, definitions(), max_size=3))
    @example({text: {"description": text, **taking(**{text: {"description": text}})} for text in NASTY})
    @example({name: taking(**{key: {"type": ["null", "string"]} for key in KNOWN}) for name in KNOWN[:3]})
    @example({"a": {"description": "x" * 74}, "b": {"description": "x" * 75}, "c": {"description": "x" * 95}})
    def write(tools: dict[str, dict[str, Any]]) -> None:
        files.append(tmp_path / f"toolkit{len(files)}.py")
        files[-1].write_text(made(tools))

    write()
    formatted(*files)


@given(texts)
def test_a_literal_is_the_text(text: str) -> None:
    written = literal(text)
    assert ast.literal_eval(written) == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert written.isprintable()


@given(st.lists(names | st.sampled_from(["a-b", "a_b", "a--b", "a-_b"]), unique=True))
def test_names_are_unique_and_the_same_in_any_order(native: list[str]) -> None:
    exposed = list(exposed_names("git", native).values())
    methods = method_names(exposed)
    assert len(set(methods.values())) == len(native)
    assert method_names(reversed(exposed)) == methods
    assert all(name.isidentifier() and name.isascii() and name[0].isalpha() for name in methods.values())
    arguments = argument_names(native)
    assert len(set(arguments.values())) == len(native)
    assert all(name.isidentifier() and name.isascii() and len(name) <= 64 for name in arguments.values())


def test_what_can_keep_its_name_keeps_it() -> None:
    assert method_names(["git__log", "git__git-log", "git__git_log", "7zip__list"]) == {
        "git__log": "git__log",
        "git__git_log": "git__git_log",
        "git__git-log": "git__git_log_cf59187c",
        "7zip__list": "t7zip__list",
    }
    assert argument_names(["user-id", "user_id", "from", "model_name", "model_config", "1st", "", "é"]) == {
        "user-id": "user_id_2",
        "user_id": "user_id",
        "from": "from_",
        "model_name": "model_name",
        "model_config": "argument_model_config",
        "1st": "argument_1st",
        "": "argument",
        "é": "argument_2",
    }
    assert toolkit_id("my-server") == "gateway_my_server"


def test_a_description_is_told_to_the_letter_but_where_open_webui_would_end_it() -> None:
    text = '  Runs a "query".\n\n    rows:\n\t1\n:param x: y\n:returns: z\n'
    found = loaded({"a": {"description": text}, "b": {"title": "B"}, "c": {"description": 7}})
    assert {name: spec.description for name, spec in found.specs.items()} == {
        "git__a": text.replace(":param", ": param").replace(":return", ": return"),
        "git__b": "B",
        "git__c": "The tool c of the server git",
    }
    assert found.specs["git__a"].parameters["properties"] == {}


def test_what_open_webui_shows_of_it_is_in_its_head() -> None:
    found = loaded({})
    assert found.frontmatter.keys() == {
        *("title", "author", "version", "description", "license", "required_open_webui_version")
    }
    assert found.tools.valves.gateway_url == BASE
    shown = found.tools.Valves.model_json_schema()["properties"]
    assert shown["api_key"]["input"] == {"type": "password"}
    assert shown["api_key"]["default"] == ""


def test_the_same_tools_make_the_same_text() -> None:
    tools = {"a": taking(b={}, c={}), "d": {"description": "e"}}
    assert made(tools) == made(tools)


async def test_thousands_of_tools_leave_others_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    tools = {f"tool{n}": {"description": "d" * 200, **taking(a={}, b={}, c={})} for n in range(300)}
    task = asyncio.ensure_future(others())
    try:
        written = await source("git", entries(tools), BASE)
    finally:
        task.cancel()
    assert turns > 3
    assert written.count("    async def git__tool") == 300


# -- calls ----------------------------------------------------------------------------------------------


class Door:
    """Stands where the gateway does: keeps what it was asked, and answers what a test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[], web.Response] | None = lambda: web.json_response({"ok": True})
        self.url = ""
        self.is_closing = asyncio.Event()

    async def serve(self, request: web.BaseRequest) -> web.Response:
        self.asked.append((request.raw_path, dict(request.headers), await request.json()))
        if self.answer is None:
            await self.is_closing.wait()
            return web.Response()
        return self.answer()

    def toolkit(self, tools: dict[str, dict[str, Any]], written: str, **valves: Any) -> Toolkit:
        found = load(written)
        found.set_valves(**{"gateway_url": self.url, **valves})
        return found


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    runner = web.ServerRunner(web.Server(door.serve), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield door
    finally:
        door.is_closing.set()
        await runner.cleanup()


async def opened(door: Door, tools: dict[str, dict[str, Any]], **valves: Any) -> Toolkit:
    return door.toolkit(tools, await source("git", entries(tools), BASE), **valves)


async def test_arguments_go_under_their_own_names_and_what_was_left_out_stays_out(door: Door) -> None:
    properties = {
        "user-id": {"type": "integer"},
        "from": {"type": ["string", "null"]},
        "limit": {"type": "integer", "default": 10},
    }
    found = await opened(door, {"log/é": taking(**properties)}, gateway_url=f"{door.url}/below/")
    (method,) = found.specs
    for given_, sent in (
        ({}, {}),
        ({"user_id": 1, "from_": "é", "limit": 2}, {"user-id": 1, "from": "é", "limit": 2}),
        ({"user_id": None, "from_": None, "limit": None}, {"from": None}),
        ({"user_id": 0, "limit": 10, "other": 1}, {"user-id": 0, "limit": 10}),
    ):
        assert await found.call(method, given_) == {"ok": True}
        path, headers, body = door.asked[-1]
        assert (path, body) == ("/below/tools/git/log%2F%C3%A9", sent)
        assert "Authorization" not in headers
    assert found.specs[method].parameters["properties"]["limit"]["default"] == 10


async def test_the_key_of_the_valves_goes_with_every_call(door: Door) -> None:
    found = await opened(door, {"a": {}}, api_key="k-1")
    await found.call("git__a", {})
    assert door.asked[0][1]["Authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ('["data:image/png;base64,eA==", "text"]', ["data:image/png;base64,eA==", "text"]),
        ('"data:image/png;base64,eA=="', "data:image/png;base64,eA=="),
        ('""', ""),
        ("null", "null"),
        ("true", "true"),
        ("1.5", "1.5"),
        ("no JSON", "no JSON"),
    ],
)
async def test_an_answer_is_what_open_webui_can_show_and_never_none(
    door: Door, body: str, told: object
) -> None:
    door.answer = lambda: web.Response(text=body, content_type="application/json")
    assert await (await opened(door, {"a": {}})).call("git__a", {}) == told


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda: web.json_response({"code": "tool_error", "detail": "no such file"}, status=422),
            "^no such file$",
        ),
        (lambda: web.json_response({"detail": ""}, status=503), "^The gateway answered with status 503$"),
        (lambda: web.json_response([1], status=500), "status 500"),
        (
            lambda: web.Response(text="<h1>Bad gateway</h1>", status=502),
            "^The gateway answered with status 502$",
        ),
        (lambda: web.Response(status=307, headers={"Location": "/elsewhere"}), "status 307"),
    ],
)
async def test_a_failure_is_raised_in_the_words_of_who_failed(
    door: Door, answer: Callable[[], web.Response], words: str
) -> None:
    door.answer = answer
    events: list[Any] = []
    with pytest.raises(RuntimeError, match=words):
        await (await opened(door, {"a": {}})).call("git__a", {}, events)
    assert len(door.asked) == 1
    assert [event["data"] for event in events] == [
        {"description": "git__a is running", "done": False},
        {"description": "git__a failed", "done": True},
    ]


async def test_a_gateway_that_is_away_or_silent_is_a_failure_too(door: Door) -> None:
    found = await opened(door, {"a": {}}, timeout=0.2)
    door.answer = None
    with pytest.raises(RuntimeError, match=r"no answer within 0\.2 seconds"):
        await found.call("git__a", {})
    found.set_valves(gateway_url="http://127.0.0.1:1", api_key="k-1")
    with pytest.raises(RuntimeError, match="cannot be reached") as caught:
        await found.call("git__a", {})
    assert "k-1" not in str(caught.value)


def stream(*events: tuple[str, Any]) -> Callable[[], web.Response]:
    text = ": alive\n\n" + "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events)
    return lambda: web.Response(text=text, content_type="text/event-stream")


async def test_who_can_see_it_sees_how_far_a_call_is(door: Door) -> None:
    found = await opened(door, {"a": {}})
    door.answer = stream(
        ("progress", {"progress": 1, "total": 2}),
        ("log", {"data": "hidden"}),
        ("progress", {"progress": 0.5, "message": "almost " * 99}),
        ("result", ["é" * 200_000]),
    )
    events: list[Any] = []
    assert await found.call("git__a", {}, events) == ["é" * 200_000]
    assert door.asked[0][1]["Accept"] == "text/event-stream"
    shown = [event["data"]["description"] for event in events]
    assert shown[1] == "git__a is running: 1 of 2"
    assert shown[2].startswith("git__a is running: 0.5, almost almost")
    assert len(shown[2]) < 250
    assert len(shown) == 4


async def test_a_stream_that_ends_in_a_failure_or_in_nothing_is_a_failure(door: Door) -> None:
    found = await opened(door, {"a": {}})
    for answer, words in (
        (stream(("error", {"detail": "no such file", "status": 422})), "^no such file$"),
        (stream(("progress", {"progress": 1})), "went away"),
    ):
        door.answer = answer
        events: list[Any] = []
        with pytest.raises(RuntimeError, match=words):
            await found.call("git__a", {}, events)
        assert events[-1]["data"] == {"description": "git__a failed", "done": True}


async def test_that_a_call_runs_is_shown_and_does_not_depend_on_who_sees_it(door: Door) -> None:
    found = await opened(door, {"a": {}})
    events: list[Any] = []
    await found.call("git__a", {}, events)
    assert events == [
        {"type": "status", "data": {"description": "git__a is running", "done": False}},
        {"type": "status", "data": {"description": "git__a has answered", "done": True}},
    ]

    async def broken(_event: Any) -> None:
        raise LookupError

    assert await found.tools.git__a(__event_emitter__=broken) == {"ok": True}
