"""What a server offers is shown without the secrets that were fetched for it, and is otherwise untouched."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcp_gateway.catalog import Tool
from mcp_gateway.config.model import SecretRef, ServerConfig
from mcp_gateway.listed import PROMPT_LIST, RESOURCE_LIST
from mcp_gateway.shelves import Prompt, Resource
from mcp_gateway.upstream.offered import Offered, fetched

SECRET = 'p"a/ss+w<o>rd'


def tool(name: str = "t", **members: Any) -> Tool:
    return Tool(name, json.dumps({"name": name, "inputSchema": {}, **members}).encode())


@pytest.mark.parametrize(
    ("configured", "is_secret"),
    [
        (SecretRef(file="/run/token"), True),
        (SecretRef(credential="token"), True),
        (SecretRef(command=("pass", "token")), True),
        ("${TOKEN}", True),
        ("${env:TOKEN}", True),
        ("${TOKEN:-none}", True),
        ("Europe/Berlin", False),
        ("${HOME}", False),
        ("${HOME}/notes", False),
    ],
)
def test_what_is_fetched_for_one_variable_is_a_secret_and_a_plain_text_is_not(
    configured: str | SecretRef, is_secret: bool
) -> None:
    config = ServerConfig(id="s", title="s", command="c", env={"NAME": configured})
    assert fetched(config, {"NAME": "value"}, (), "") == (["value"] if is_secret else [])


def test_headers_and_the_keys_of_an_address_are_secrets() -> None:
    config = ServerConfig(id="s", title="s", url="http://127.0.0.1/mcp")
    found = fetched(config, {}, ["Bearer abc"], "http://me:pass@127.0.0.1/mcp?key=k")
    assert found == ["Bearer abc", "abc", "pass", "k"]


def test_a_secret_is_replaced_wherever_it_stands_and_the_rest_keeps_its_bytes() -> None:
    offered = Offered([SECRET])
    odd = Tool("odd", b'{ "inputSchema":{}, "x":1.0, "name" : "odd"}')
    schema = {"properties": {"token": {"default": SECRET}}}
    tools, remarks = offered.tools([tool(inputSchema=schema, description=f"uses {SECRET}"), odd])
    assert json.loads(tools[0].definition) == {
        "name": "t",
        "inputSchema": {"properties": {"token": {"default": "•••"}}},
        "description": "uses •••",
    }
    assert tools[1] is odd
    assert remarks == ["tool 1 of the list is shown without a secret that its server put there"]
    assert offered.text(f"say {SECRET}") == "say •••"


def test_a_secret_in_what_a_server_says_of_itself_is_replaced() -> None:
    offered = Offered([SECRET, "12345678"])
    info = Raw(b'{"name": "n", "version":1.0}')
    assert offered.value(info) is info
    assert json.loads(bytes(offered.value(Raw(json.dumps({"name": SECRET}).encode())))) == {"name": "•••"}
    assert offered.value(Raw(b'{"number":12345678}')) == Raw(b"null")


@pytest.mark.parametrize(
    "spoilt", [tool(f"tool-{'a' * 9}"), tool(number=12345678)], ids=["in its name", "as a number"]
)
def test_a_tool_that_is_no_tool_without_the_secret_is_left_out(spoilt: Tool) -> None:
    good = tool("good")
    tools, remarks = Offered(["a" * 9, "12345678"]).tools([spoilt, good])
    assert tools == (good,)
    assert remarks == ["tool 1 of the list is left out: it is made of a secret of its server"]


def test_resources_and_prompts_are_shown_without_secrets_as_tools_are() -> None:
    offered = Offered(["hush-hush"])
    told = Resource("x://a", b'{"uri":"x://a","name":"hush-hush"}')
    itself = Resource("x://hush-hush", b'{"uri":"x://hush-hush","name":"n"}')
    plain = Resource("x://b", b'{"uri":"x://b", "name":"n"}')
    kept, remarks = offered.entries((told, itself, plain), RESOURCE_LIST)
    assert [one.uri for one in kept] == ["x://a", "x://b"]
    assert b"hush" not in kept[0].definition
    assert kept[1] is plain
    assert [sentence.split(" of ")[0] for sentence in remarks] == ["resource 1", "resource 2"]
    prompt = Prompt("p", b'{"name":"p","title":"hush-hush"}')
    ((shown,), _) = offered.entries((prompt,), PROMPT_LIST)
    assert (shown.name, b"hush" in shown.definition) == ("p", False)
