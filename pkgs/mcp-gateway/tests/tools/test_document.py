"""The OpenAPI documents of the tool API: valid, complete, as the caller may see it, and made once."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mcp_gateway.catalog import Offer, Tool, build
from mcp_gateway.config.model import ToolRules
from mcp_gateway.faces.tools.document import document as make
from tests.faces.knocking import check_problem
from tests.harness import Gateway
from tests.tools.conftest import NAMES

ALL = "/tools/openapi.json"


def document(gateway: Gateway, server: str | None = None, dialect: str | None = None) -> dict[str, Any]:
    path = ALL if server is None else f"/tools/{server}/openapi.json"
    answer = gateway.get(path + ("" if dialect is None else f"?dialect={dialect}"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    found: dict[str, Any] = answer.json()
    return found


def operations(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {path: item["post"] for path, item in found["paths"].items()}


def test_a_path_of_any_document_leads_to_the_tool_whichever_way_it_is_resolved(gateway: Gateway) -> None:
    for server in (None, "saying"):
        found = document(gateway, server)
        base = f"http://127.0.0.1:{gateway.port}/tools" + ("" if server is None else f"/{server}")
        # RFC 3986 from where the document is, as standard clients do; and as Open WebUI does, which
        # ignores `servers`.
        assert urljoin(f"{base}/openapi.json", found["servers"][0]["url"]) == base
        for path in found["paths"]:
            url = (base + path).partition(str(gateway.port))[2]
            if path.endswith(("/echo", "/free", "/strict")):
                assert gateway.request("POST", url, {"count": 1, "text": "x"}).status == 200, path


def test_names_of_any_kind_are_in_it_encoded_once(gateway: Gateway) -> None:
    found = document(gateway, "saying")
    OpenAPIV31SpecValidator(found).validate()
    names = {unquote(path[1:]) for path in found["paths"]}
    assert names == {"free", "strict", *NAMES}
    assert f"/{quote('{x}')}" in found["paths"]
    ids = [operation["operationId"] for operation in operations(found).values()]
    assert len(set(ids)) == len(ids)


def test_a_document_is_read_again_only_when_it_is_another_one(gateway: Gateway) -> None:
    first = gateway.get(ALL)
    tag = first.headers["etag"]
    assert gateway.get(ALL).headers["etag"] == tag
    for known in (tag, f'W/{tag}, "x"', f'"x", {tag}', "*"):
        again = gateway.request("GET", ALL, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    gateway.request("PATCH", "/api/tools/saying/free", {"enabled": False})
    try:
        answer = gateway.request("GET", ALL, headers={"If-None-Match": tag})
        assert answer.status == 200
        assert "/saying/free" not in answer.json()["paths"]
    finally:
        gateway.request("PATCH", "/api/tools/saying/free", {"enabled": True})
    assert gateway.get(ALL).headers["etag"] == tag


def test_a_server_that_is_off_has_an_empty_document_and_an_unknown_one_none(gateway: Gateway) -> None:
    gateway.switch("other", False)
    try:
        assert document(gateway, "other")["paths"] == {}
        assert not [path for path in document(gateway)["paths"] if path.startswith("/other/")]
    finally:
        gateway.switch("other", True)
        gateway.wait_for_state("other", "ready")
    check_problem(gateway.get("/tools/nobody/openapi.json"), 404, "unknown", "nobody")
    check_problem(gateway.get(f"{ALL}?dialect=klingon"), 400, "invalid", "dialect")


def test_who_sees_less_gets_a_document_of_less(tmp_path: Path) -> None:
    from tests.harness import hostile
    from tests.security.cast import Guarded, wait_ready

    keys = {"reader": {"rights": ["call"], "servers": ["good"]}, "all": {"rights": ["read"]}}
    with Guarded({"good": hostile("good"), "other": hostile("good")}, tmp_path, {}, keys=keys) as gateway:
        wait_ready(gateway, "good")
        wait_ready(gateway, "other")
        assert gateway.nobody.get(ALL).status == 401
        whole, part = gateway.as_("all").get(ALL).json(), gateway.as_("reader").get(ALL).json()
        assert {path.split("/")[1] for path in whole["paths"]} == {"good", "other"}
        assert {path.split("/")[1] for path in part["paths"]} == {"good"}
        assert whole["security"] == [{"key": []}]
        OpenAPIV31SpecValidator(whole).validate()
        assert gateway.as_("reader").get("/tools/other/openapi.json").status == 404


async def test_who_leaves_does_not_take_the_document_from_others() -> None:
    definition = b'{"name":"%d","inputSchema":{"type":"object"}}'
    tools = tuple(Tool(str(number), definition % number) for number in range(500))
    catalog = build(1, [Offer("s", tools, ToolRules())])
    askers = [asyncio.create_task(make(catalog, None, "exact", is_guarded=False)) for _ in range(3)]
    await asyncio.sleep(0)
    askers[0].cancel()
    one, other = await asyncio.gather(*askers[1:])
    assert one is other is await make(catalog, None, "exact", is_guarded=False)
    assert len(json.loads(one.body)["paths"]) == 500
    with pytest.raises(asyncio.CancelledError):
        await askers[0]


async def test_what_was_not_finished_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = build(1, [Offer("s", (Tool("a", b'{"name":"a","inputSchema":{}}'),), ToolRules())])
    with monkeypatch.context() as broken:
        broken.setattr("mcp_gateway.faces.tools.document.encode", _fail)
        with pytest.raises(MemoryError):
            await make(catalog, "s", "inlined", is_guarded=True)
    assert b'"/a"' in (await make(catalog, "s", "inlined", is_guarded=True)).body


def _fail(_value: Any) -> bytes:
    raise MemoryError
