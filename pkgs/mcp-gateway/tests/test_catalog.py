"""The catalog: what servers offer, under the operator's rules, in the servers' own bytes."""

import contextlib
import json
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Grant, Right
from mcp_gateway.catalog import (
    MAX_NAME_CHARS,
    MAX_VIEWS,
    Catalog,
    Offer,
    Tool,
    api_list,
    build,
    changed_lists,
    read_page,
)
from mcp_gateway.config.model import ToolRules
from mcp_gateway.shelves import Prompt, Resource, Shelf, Template
from mcp_gateway.wire.revisions import Era


def tool(name: str, **more: Any) -> Tool:
    """As a server might write it: `inputSchema` first, a blank here and there, numbers of its own."""
    members = {"inputSchema": {"type": "object"}, **more, "name": name}
    return Tool(name, json.dumps(members, separators=(", ", ": "), ensure_ascii=False).encode())


def one(*tools: Tool, off: frozenset[str] = frozenset(), **rules: Any) -> Catalog:
    return build(1, [Offer("git", tools, ToolRules(**rules), off)])


def listed(result: bytes) -> list[dict[str, Any]]:
    document = json.loads(result)
    assert list(document) == ["tools"]
    tools = document["tools"]
    assert isinstance(tools, list)
    return tools


def names(result: bytes) -> list[str]:
    return [entry["name"] for entry in listed(result)]


# -- reading a server's list ----------------------------------------------------------------------------


def test_a_page_gives_tools_in_their_own_bytes_and_the_next_cursor() -> None:
    first = b'{ "name" : "a","inputSchema":{"n":12345678901234567890}, "x-new":[null,1.0]}'
    second = b'{"inputSchema":{},"n\\u0061me":"b"}'
    tools, cursor, left_out = read_page(
        Raw(b'{"tools":[ %b ,%b],"nextCursor":"2","ttlMs":5}' % (first, second))
    )
    assert tools == [Tool("a", first), Tool("b", second)]
    assert (cursor, left_out) == ("2", [])


def test_bad_tools_are_left_out_one_by_one_with_the_reason() -> None:
    good = '{"name":"good","inputSchema":{}}'
    bad = [
        "null",
        '"echo"',
        "{}",
        '{"name":7,"inputSchema":{}}',
        '{"name":null,"inputSchema":{}}',
        '{"name":"","inputSchema":{}}',
        json.dumps({"name": "n" * (MAX_NAME_CHARS + 1), "inputSchema": {}}),
        '{"name":"no-schema"}',
        '{"name":"odd-schema","inputSchema":"any"}',
        '{"name":"null-schema","inputSchema":null}',
    ]
    page = f'{{"tools":[{",".join([good, *bad, good])}]}}'
    tools, cursor, left_out = read_page(Raw(page.encode()))
    assert [known.name for known in tools] == ["good", "good"]
    assert cursor is None
    assert len(left_out) == len(bad)
    for number, sentence in enumerate(left_out, 2):
        assert f"tool {number} " in sentence
        assert len(sentence) > len("tool 2 of the list is left out: ")
    assert "name" in left_out[3]
    assert "inputSchema" in left_out[7]


def test_half_a_character_in_a_description_does_not_cost_the_whole_list() -> None:
    """Servers in JavaScript cut descriptions by UTF-16 units; JSON's grammar allows what they write then."""
    cut = rb'{"name":"cut","description":"half \ud83d","inputSchema":{}}'
    tools, _, left_out = read_page(Raw(b'{"tools":[%b,{"name":"good","inputSchema":{}}]}' % cut))
    assert [known.name for known in tools] in (["cut", "good"], ["good"])
    assert len(tools) + len(left_out) == 2
    catalog = one(*tools)
    assert "git__good" in names(catalog.page("tools"))
    assert "good" in names(catalog.api_list)
    assert [entry.tool for entry in catalog.search(None, "good")] == ["good"]


def test_how_a_tool_runs_as_a_task_is_for_clients_of_the_handshake_era_only() -> None:
    plain = Tool("plain", b'{"name":"plain", "inputSchema":{"execution":1.0}}')
    task = Tool("task", b'{"name":"task", "execution":{"taskSupport":"optional"},"inputSchema":{}}')
    catalog = one(plain, task)
    assert plain.definition in catalog.page("tools", "git")
    assert task.definition in catalog.page("tools", "git")
    modern = catalog.page("tools", "git", era=Era.MODERN)
    assert listed(modern) == [
        {"name": "plain", "inputSchema": {"execution": 1.0}},
        {"name": "task", "inputSchema": {}},
    ]
    assert names(catalog.page("tools", era=Era.MODERN)) == names(catalog.page("tools"))
    without = one(Tool("plain", b'{"name":"plain","inputSchema":{}}'))
    assert without.page("tools", era=Era.MODERN) is without.page("tools"), "made once"


def test_the_longest_name_is_kept() -> None:
    name = "n" * MAX_NAME_CHARS
    tools, _, left_out = read_page(Raw(json.dumps({"tools": [{"name": name, "inputSchema": {}}]}).encode()))
    assert (tools[0].name, left_out) == (name, [])


@pytest.mark.parametrize(
    "page",
    [
        b"{}",
        b"[]",
        b'{"tools":{}}',
        b'{"tools":null}',
        b'{"tools":[],"nextCursor":7}',
        b'"tools"',
        b'{"tools":' + b"[" * 100_000,
    ],
)
def test_a_page_that_is_none_is_an_error_as_a_whole(page: bytes) -> None:
    with pytest.raises(ValueError, match="tools/list"):
        read_page(Raw(page))


def test_a_definition_that_could_only_just_be_read_is_left_out() -> None:
    """Deeper in the stack it could not, and would stand in everybody's list without its schema."""
    deep = {"name": "deep", "inputSchema": {"deep": "HERE"}}
    page = json.dumps({"tools": [{"name": "good", "inputSchema": {}}, deep]}).encode()

    def with_levels(number: int) -> bytes:
        return page.replace(b'"HERE"', b"[" * number + b"]" * number)

    readable = 0
    with contextlib.suppress(RecursionError):
        for number in count(50, 50):
            msgspec.json.decode(with_levels(number), type=dict[str, Raw])
            readable = number
    tools, _, left_out = read_page(Raw(with_levels(readable // 2)))
    assert ([tool.name for tool in tools], left_out) == (["good", "deep"], [])
    tools, _, left_out = read_page(Raw(with_levels(readable - 100)))
    assert [tool.name for tool in tools] == ["good"]
    assert left_out == ["tool 2 of the list is left out: it is nested too deep"]


# -- rules ----------------------------------------------------------------------------------------------


def test_without_rules_everything_is_offered_in_the_servers_order() -> None:
    catalog = one(tool("zeta"), tool("alpha"), tool("mid"))
    assert names(catalog.page("tools", "git")) == ["zeta", "alpha", "mid"]
    assert names(catalog.page("tools")) == ["git__zeta", "git__alpha", "git__mid"]


def test_denied_tools_do_not_exist_and_switched_off_ones_are_not_listed() -> None:
    catalog = one(tool("a"), tool("b"), tool("c"), off=frozenset({"b"}), deny=("c",))
    assert names(catalog.page("tools", "git")) == ["a"]
    assert names(catalog.page("tools")) == ["git__a"]
    assert "git__c" not in catalog.by_exposed
    assert catalog.by_server["git"].keys() == {"a", "b"}
    assert not catalog.by_exposed["git__b"].enabled
    shown = {entry["name"]: entry["enabled"] for entry in listed(catalog.api_list)}
    assert shown == {"a": True, "b": False}


def test_allow_is_a_closed_list() -> None:
    catalog = one(tool("read_a"), tool("write_a"), tool("read_b"), allow=("read_*",), deny=("read_b",))
    assert list(catalog.by_server["git"]) == ["read_a"]


def test_rules_speak_of_native_names_also_after_a_rename() -> None:
    catalog = one(tool("a"), tool("b"), rename={"a": "safe", "b": "danger"}, deny=("safe", "b"))
    assert list(catalog.by_exposed) == ["git__safe"]


def test_a_rename_changes_the_exposed_name_only() -> None:
    catalog = one(tool("a", title="A"), rename={"a": "better"})
    entry = catalog.by_exposed["git__better"]
    assert (entry.server, entry.tool) == ("git", "a")
    assert names(catalog.page("tools", "git")) == ["a"]
    assert list(catalog.by_server["git"]) == ["a"]


@pytest.mark.parametrize(
    ("rename", "exposed"),
    [
        ({"a": "b"}, {"a": "git__a", "b": "git__b"}),
        ({"a": "b", "b": "a"}, {"a": "git__a", "b": "git__b"}),
        ({"a": "a"}, {"a": "git__a", "b": "git__b"}),
        ({"a": "x", "b": "a"}, {"a": "git__x", "b": "git__b"}),
        ({"gone": "a"}, {"a": "git__a", "b": "git__b"}),
    ],
)
def test_a_rename_onto_another_tools_name_hides_neither(
    rename: dict[str, str], exposed: dict[str, str]
) -> None:
    catalog = one(tool("a"), tool("b"), rename=rename)
    assert {entry.tool: entry.exposed for entry in catalog.by_exposed.values()} == exposed


def test_a_denied_tools_name_is_free_for_a_rename() -> None:
    catalog = one(tool("a"), tool("b"), rename={"a": "b"}, deny=("b",))
    assert catalog.by_exposed["git__b"].tool == "a"


def test_a_description_is_replaced_in_its_place_and_nothing_else() -> None:
    before = tool("a", description="old", annotations={"n": 1.0})
    catalog = one(before, tool("b", description="kept"), describe={"a": 'new "words"\n'})
    shown = listed(catalog.page("tools", "git"))
    assert shown[0] == {**json.loads(before.definition), "description": 'new "words"\n'}
    assert list(shown[0]) == list(json.loads(before.definition))
    assert shown[1]["description"] == "kept"
    assert b'{"n": 1.0}' in catalog.page("tools", "git")


def test_a_description_is_given_to_a_tool_that_had_none() -> None:
    shown = listed(one(tool("a"), describe={"a": "now"}).page("tools"))
    assert shown[0]["description"] == "now"


def test_of_two_tools_with_one_name_the_first_is_offered() -> None:
    catalog = one(tool("a", title="first"), tool("b"), tool("a", title="second"))
    assert [(entry["name"], entry.get("title")) for entry in listed(catalog.page("tools", "git"))] == [
        ("a", "first"),
        ("b", None),
    ]
    assert names(catalog.page("tools")) == ["git__a", "git__b"]


def test_tools_of_several_servers_stand_side_by_side() -> None:
    catalog = build(7, [Offer("b", (tool("x"),), ToolRules()), Offer("a", (tool("x"),), ToolRules())])
    assert names(catalog.page("tools")) == ["b__x", "a__x"]
    assert catalog.by_exposed["a__x"].server == "a"
    assert (names(catalog.page("tools", "a")), names(catalog.page("tools", "b"))) == (["x"], ["x"])
    assert catalog.version == 7


def test_a_server_without_tools_has_an_empty_list() -> None:
    catalog = build(1, [Offer("none", (), ToolRules())])
    assert catalog.page("tools", "none") == catalog.page("tools", "other") == b'{"tools":[]}'
    assert catalog.page("tools") == catalog.api_list == b'{"tools":[]}'
    assert Catalog().page("tools") == b'{"tools":[]}'


# -- bytes ----------------------------------------------------------------------------------------------

ODD = (
    b'{"inputSchema" : {"type":"object","default":12345678901234567890,"x":1.0},\n "name":"odd",'
    b' "description":"\\u00fc\\/\xc3\xbc", "_meta":{"a":null}, "later":[1e2, -0]}'
)


def test_a_definition_is_shown_natively_byte_by_byte() -> None:
    catalog = one(Tool("odd", ODD), tool("b"))
    assert catalog.page("tools", "git") == b'{"tools":[' + ODD + b"," + tool("b").definition + b"]}"


def test_an_exposed_definition_differs_in_its_name_alone() -> None:
    catalog = one(Tool("odd", ODD))
    (shown,) = listed(catalog.page("tools"))
    assert shown == {**json.loads(ODD), "name": "git__odd"}
    assert list(shown) == list(json.loads(ODD)), "the order of members is the server's"
    for value in (
        b'{"type":"object","default":12345678901234567890,"x":1.0}',
        b'"\\u00fc\\/\xc3\xbc"',
        b"[1e2, -0]",
    ):
        assert value in catalog.page("tools")


def test_the_api_adds_where_a_tool_belongs_and_keeps_what_its_server_says() -> None:
    sneaky = tool("a", server="other", exposedName="x", enabled=False, title="T", later=[1])
    (shown,) = listed(one(sneaky).api_list)
    assert shown == {
        "server": "git",
        "name": "a",
        "exposedName": "git__a",
        "enabled": True,
        "inputSchema": {"type": "object"},
        "title": "T",
        "later": [1],
    }


DEFINITIONS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    max_size=4,
)
TOOL_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(TOOL_NAMES, DEFINITIONS, max_size=6))
def test_any_server_is_listed_as_it_is_and_exposed_without_loss(
    given_tools: dict[str, dict[str, Any]],
) -> None:
    tools = [{**more, "inputSchema": {}, "name": name} for name, more in given_tools.items()]
    page = json.dumps({"tools": tools}).encode()
    read, _, left_out = read_page(Raw(page))
    assert not left_out
    catalog = one(*read)
    assert listed(catalog.page("tools", "git")) == tools
    exposed = listed(catalog.page("tools"))
    assert len({entry["name"] for entry in exposed}) == len(tools)
    for native, shown in zip(tools, exposed, strict=True):
        assert catalog.by_exposed[shown["name"]].tool == native["name"]
        assert shown | {"name": native["name"]} == native
    assert {entry["name"] for entry in listed(catalog.api_list)} == set(given_tools)


# -- search ---------------------------------------------------------------------------------------------


def test_search_wants_every_word_in_names_titles_or_descriptions() -> None:
    catalog = build(
        1,
        [
            Offer("git", (tool("log", description="Shows COMMITS"), tool("diff", title="Show")), ToolRules()),
            Offer("time", (tool("now", description="Shows the time"),), ToolRules()),
        ],
    )

    def found(words: str | None, server: str | None = None) -> list[str]:
        return [entry.exposed for entry in catalog.search(server, words)]

    assert found(None) == found("") == found("  ") == ["git__log", "git__diff", "time__now"]
    assert found("show") == ["git__log", "git__diff", "time__now"]
    assert found("show commits") == found("COMMITS Show") == ["git__log"]
    assert found("show", "time") == ["time__now"]
    assert found("git") == ["git__log", "git__diff"]
    assert found("git__d") == ["git__diff"]
    assert found("nothing") == []
    assert found(None, "nobody") == []


def test_a_description_that_is_no_text_does_not_break_the_search() -> None:
    catalog = one(tool("a", description=7, title=["x"]), tool("b", description={"x": 1}))
    assert [entry.tool for entry in catalog.search(None, "a")] == ["a"]
    assert len(listed(catalog.page("tools"))) == 2


def test_search_finds_the_operators_words_not_the_servers() -> None:
    catalog = one(tool("a", description="old"), describe={"a": "fresh"})
    assert [entry.tool for entry in catalog.search(None, "fresh")] == ["a"]
    assert catalog.search(None, "old") == []


def test_a_part_of_the_catalog_is_encoded_like_the_whole() -> None:
    catalog = one(tool("a"), tool("b"))
    assert api_list(catalog.search(None, None)) == catalog.api_list
    assert names(api_list(catalog.search(None, "b"))) == ["b"]


def test_what_did_not_move_is_not_made_again() -> None:
    one, two = Offer("one", (tool("x"),), ToolRules()), Offer("two", (tool("x"),), ToolRules())
    before = build(1, [one, two])
    after = build(2, [one, Offer("two", two.tools, ToolRules(deny=("x",)))], before)
    assert after.by_server["one"] is before.by_server["one"]
    assert after.by_server["two"] == {}
    assert build(3, [two, one], after).by_server == {"two": before.by_server["two"], **before.by_server}
    assert list(build(3, [two, one], after).by_server) == ["two", "one"]
    assert "one" not in build(4, [two], after).by_server


# -- what one caller sees -------------------------------------------------------------------------------


def granted(**narrowed: Any) -> Caller:
    return Caller("key:a", (Grant(frozenset({Right.CALL}), **narrowed),))


def two() -> Catalog:
    read_only, lying = {"readOnlyHint": True}, {"readOnlyHint": "true"}
    git = (tool("status", annotations=read_only), tool("commit"), tool("lie", annotations=lying))
    return build(1, [Offer("git", git, ToolRules()), Offer("time", (tool("now"),), ToolRules())])


def test_a_view_holds_the_same_entries_and_lists_of_its_own() -> None:
    whole = two()
    view = whole.seen_by(granted(servers=("git",), tools=("status", "now")))
    assert {server: list(tools) for server, tools in view.by_server.items()} == {"git": ["status"]}
    assert view.by_server["git"]["status"] is whole.by_server["git"]["status"]
    assert names(view.page("tools")) == ["git__status"]
    assert names(view.page("tools", "git")) == ["status"]
    assert [entry["name"] for entry in json.loads(view.api_list)["tools"]] == ["status"]
    assert "git__commit" not in view.by_exposed
    assert [entry.tool for entry in view.search(None, "git")] == ["status"]


def test_who_is_not_narrowed_has_the_snapshot_itself_and_equal_grants_share_a_view() -> None:
    whole = two()
    assert whole.seen_by(LOCAL_OPERATOR) is whole
    view = whole.seen_by(granted(servers=("git",)))
    assert whole.seen_by(Caller("key:b", granted(servers=("git",)).grants)) is view
    assert whole.seen_by(granted(servers=("time",))) is not view
    assert build(2, whole.offers.values(), whole).seen_by(granted(servers=("git",))) is not view


def test_views_are_bounded() -> None:
    whole = two()
    first = whole.seen_by(granted(servers=("git", "0")))
    for number in range(1, MAX_VIEWS + 1):
        whole.seen_by(granted(servers=("git", str(number))))
    assert whole.seen_by(granted(servers=("git", "0"))) is not first


def test_read_only_is_what_the_server_says_in_so_many_words() -> None:
    assert list(two().seen_by(granted(read_only=True)).by_exposed) == ["git__status"]
    assert two().seen_by(Caller("nobody", ())).by_exposed == {}


# -- resources and prompts ------------------------------------------------------------------------------


def resource(uri: str) -> Resource:
    return Resource(uri, b'{ "name":"n", "x-new":1.0,"uri":"%b"}' % uri.encode())


def template(uri: str) -> Template:
    return Template(uri, b'{ "name":"n", "uriTemplate":"%b"}' % uri.encode())


def prompt(name: str) -> Prompt:
    return Prompt(name, b'{ "title":"T", "name":"%b"}' % name.encode())


def shelved(server: str, *uris: str, tools: tuple[Tool, ...] = (), **more: Any) -> Offer:
    return Offer(server, tools, ToolRules(), shelf=Shelf(tuple(map(resource, uris)), **more))


def test_where_nothing_collides_resources_are_listed_byte_for_byte() -> None:
    one = shelved("git", "file:///a", templates=(template("git://{rev}"),))
    catalog = build(1, [one, shelved("time", "file:///b")])
    definitions = (resource("file:///a").definition, resource("file:///b").definition)
    assert catalog.page("resources") == b'{"resources":[%b,%b]}' % definitions
    assert catalog.page("resources", "git") == b'{"resources":[%b]}' % resource("file:///a").definition
    theirs = b'{"resourceTemplates":[%b]}' % template("git://{rev}").definition
    assert catalog.page("resourceTemplates") == theirs == catalog.page("resourceTemplates", "git")


def test_where_uris_collide_each_is_marked_in_the_list_of_all_and_nowhere_else() -> None:
    both = template("x://{id}")
    servers = ("git", "time")
    catalog = build(1, [shelved(one, "ui://x", f"ui://{one}", templates=(both,)) for one in servers])
    listed_uris = [entry["uri"] for entry in json.loads(catalog.page("resources"))["resources"]]
    assert listed_uris == [
        *("ui://git.mcp-gateway/x", "ui://git"),
        *("ui://time.mcp-gateway/x", "ui://time"),
    ]
    assert [
        entry["uriTemplate"] for entry in json.loads(catalog.page("resourceTemplates"))["resourceTemplates"]
    ] == [
        "x://git.mcp-gateway/{id}",
        "x://time.mcp-gateway/{id}",
    ]
    assert catalog.page("resources", "git").startswith(b'{"resources":[' + resource("ui://x").definition)
    api = json.loads(catalog.api_resources("git"))
    assert [(entry["server"], entry["uri"]) for entry in api["resources"]] == [
        ("git", "ui://x"),
        ("git", "ui://git"),
    ]
    assert [entry["uriTemplate"] for entry in api["resourceTemplates"]] == ["x://{id}"]


def test_a_tool_names_its_view_as_the_list_does() -> None:
    """MCP Apps: the resource that shows a tool need not be in the list."""
    meta = {"ui": {"resourceUri": "ui://view", "csp": {}}, "ui/resourceUri": "ui://view", "x": 1}
    tools = (tool("clock", _meta=meta), tool("odd", _meta={"ui": {"resourceUri": 7}}))
    alone = build(1, [shelved("a", tools=tools)])
    assert listed(alone.page("tools"))[0]["_meta"] == meta
    assert alone.uris.find("ui://view") == ("a", "ui://view")
    catalog = build(1, [shelved("a", tools=tools), shelved("b", "ui://view")])
    seen = "ui://a.mcp-gateway/view"
    first, odd = listed(catalog.page("tools"))
    assert first["_meta"] == meta | {"ui": {"resourceUri": seen, "csp": {}}, "ui/resourceUri": seen}
    assert odd["_meta"] == {"ui": {"resourceUri": 7}}
    assert catalog.uris.find(seen) == ("a", "ui://view")
    assert listed(catalog.page("tools", "a"))[0]["_meta"] == meta


def test_prompts_have_exposed_names_by_the_rules_of_tools() -> None:
    prompts = (prompt("review"), prompt("a b"))
    catalog = build(1, [shelved("git", tools=(tool("review"),), prompts=prompts), shelved("time")])
    exposed = [entry["name"] for entry in json.loads(catalog.page("prompts"))["prompts"]]
    assert exposed[0] == "git__review"
    assert exposed[1].startswith("git__a_b_")
    assert [catalog.prompts_by_exposed[name].prompt for name in exposed] == ["review", "a b"]
    assert catalog.page("prompts", "git") == b'{"prompts":[%b]}' % b",".join(
        one.definition for one in prompts
    )
    assert catalog.page("prompts", "time") == b'{"prompts":[]}'
    (first, _) = json.loads(catalog.api_prompts())["prompts"]
    assert first == {"server": "git", "name": "review", "exposedName": "git__review", "title": "T"}


@pytest.mark.parametrize(
    ("narrowed", "seen"),
    [
        ({"servers": ("git",)}, ["git"]),
        ({"servers": ("g*", "time")}, ["git", "time"]),
        ({"tools": ("git/*",)}, []),
        ({"servers": ("git",), "tools": ("*",)}, []),
        ({"read_only": True}, []),
    ],
)
def test_resources_and_prompts_are_for_who_was_granted_the_server_as_a_whole(
    narrowed: dict[str, Any], seen: list[str]
) -> None:
    has = frozenset({"prompts"})
    whole = build(
        1,
        [
            shelved("git", "ui://x", prompts=(prompt("p"),), capabilities=has),
            shelved("time", "ui://x", prompts=(prompt("p"),), capabilities=has),
        ],
    )
    view = whole.seen_by(granted(**narrowed))
    assert [entry["server"] for entry in json.loads(view.api_resources())["resources"]] == seen
    assert [entry["server"] for entry in json.loads(view.api_prompts())["prompts"]] == seen
    assert view.may_have("prompts", None) is bool(seen)
    # Another server with the same URI is not to be noticed by who does not see it.
    if seen == ["git"]:
        assert view.page("resources") == b'{"resources":[%b]}' % resource("ui://x").definition


def test_capabilities_are_those_of_any_server_and_what_nobody_has_said_yet() -> None:
    said = {"resources", "completions"}
    catalog = build(
        1, [shelved("a", capabilities=frozenset(said)), shelved("b"), shelved("c", capabilities=None)]
    )
    assert [catalog.may_have("prompts", server) for server in ("a", "b", "c", None)] == [
        False,
        False,
        True,
        True,
    ]
    assert catalog.may_have("completions", "a")


def test_only_lists_that_changed_are_told() -> None:
    git, time = (
        shelved("git", "ui://x", tools=(tool("t"),), prompts=(prompt("p"),)),
        shelved("time", "ui://y"),
    )
    before = build(1, [git, time])
    assert list(changed_lists(Catalog(), before)) == ["tools", "resources", "prompts"]
    assert list(changed_lists(before, build(2, [git, time], before))) == []
    assert list(changed_lists(before, build(2, [git, shelved("time", "ui://z")], before))) == ["resources"]
    another = shelved("time", "ui://y", prompts=(prompt("q"),))
    assert changed_lists(before, build(2, [git, another])) == {"prompts": frozenset({"time"})}
    off = Offer("git", git.tools, git.rules, frozenset({"t"}), git.shelf)
    assert list(changed_lists(before, build(2, [off, time], before))) == ["tools"]
    assert list(changed_lists(before, build(2, [git], before))) == ["resources"]
    # A URI that is marked from now on may stand in a tool's definition as well.
    assert list(changed_lists(before, build(2, [git, shelved("time", "ui://x")]))) == ["tools", "resources"]


# -- what it takes of a model's context ------------------------------------------------------------------


def test_the_estimate_is_of_what_clients_hand_to_models() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    bare = one(tool("read", description="Reads a file", inputSchema=schema))
    (entry,) = bare.by_exposed.values()
    size = len("git__read") + len('"Reads a file"') + len(json.dumps(schema))
    assert entry.tokens == -(-size // 4)
    assert bare.tokens("git") == entry.tokens
    icons = [{"src": "data:image/png;base64," + "A" * 50_000}]
    adorned = tool(
        "read", description="Reads a file", inputSchema=schema, icons=icons, outputSchema=schema, title="Read"
    )
    assert one(adorned).tokens("git") == entry.tokens


def test_the_estimate_of_a_server_is_of_its_tools_that_are_on() -> None:
    both, first = one(tool("a"), tool("b")), one(tool("a"), tool("b"), off=frozenset({"b"}))
    assert 0 < first.tokens("git") < both.tokens("git")
    assert both.tokens("nothing") == 0


def test_a_definition_that_is_half_nonsense_has_an_estimate() -> None:
    assert one(tool("a", description=7, inputSchema={})).tokens("git") > 0


def test_what_was_made_of_a_tool_is_kept_while_that_tool_stays_as_it_was() -> None:
    a, b, c = tool("a"), tool("b"), tool("c")
    before = one(a, b, c)
    offer = Offer("git", (a, tool("b", description="other"), c, tool("d")), ToolRules(), frozenset({"c"}))
    after = build(2, [offer], before)
    kept = {
        name for name, entry in after.by_server["git"].items() if entry is before.by_server["git"].get(name)
    }
    assert kept == {"a"}
    assert after.by_server == build(2, [offer]).by_server
