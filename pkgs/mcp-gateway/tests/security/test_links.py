"""Links in answers of the tool API: each opens one thing without a key, as long as its caller may go on."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.faces.knocking import check_problem
from tests.harness import Gateway
from tests.security.cast import ALL, Guarded, hash_of, wait_ready
from tests.tools.conftest import FREE, saying

BLOB = base64.b64encode(b"%PDF-1.7").decode()
FILE: dict[str, Any] = {
    "type": "resource",
    "resource": {"uri": "files:///a.pdf", "mimeType": "application/pdf", "blob": BLOB},
}
SAID: list[dict[str, Any]] = [{"type": "resource_link", "uri": "files:///plain", "name": "x"}, FILE]


def links(gateway: Gateway) -> list[str]:
    """The paths in an answer: to a resource, and to a file that was in it."""
    said = {"say": json.dumps({"content": SAID})}
    answer = gateway.request("POST", "/tools/saying/free", said)
    assert answer.status == 200, answer
    return [link["url"].partition(str(gateway.port))[2] for link in answer.json()]


def test_S28_links_end_with_the_key_that_got_them(tmp_path: Path) -> None:
    with Guarded({"saying": saying(tmp_path / "saying", [FREE])}, tmp_path) as gateway:
        wait_ready(gateway, "saying")
        key_id, friend = gateway.make_key("friend", rights=["read", "call"])
        other_id, other = gateway.make_key("other", rights=["read", "call"])
        hers, his = links(friend), links(other)
        for path in (*hers, *his):
            assert gateway.nobody.get(path).status == 200
            # The link is the right, not a way to be somebody.
            assert gateway.nobody.get("/api/tools").status == 401
        # It is on record as what its caller did.
        calls = gateway.get("/api/calls?limit=1&method=resources/read").json()["calls"]
        assert calls[0]["caller"] == f"key:{other_id}"
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            assert gateway.nobody.request(method, his[0]).status in (401, 405)
        gateway.revoke(key_id)
        for path in hers:
            assert gateway.nobody.get(path).status in (401, 404)
            assert gateway.get(path).status in (401, 404)  # nor does another key help
        assert [gateway.nobody.get(path).status for path in his] == [200, 200]


def test_S28_links_of_an_open_gateway_end_when_it_begins_to_ask_for_keys(tmp_path: Path) -> None:
    key = "mgk_links_0123456789abcdefghijklmnopqrstuvwxyz"
    with Gateway({"saying": saying(tmp_path / "saying", [FREE])}, tmp_path) as gateway:
        gateway.wait_for_state("saying", "ready")
        mine = links(gateway)
        assert [gateway.get(path).status for path in mine] == [200, 200]
        gateway.gateway["auth"] = {"keys": [{"name": "full", "hash": hash_of(key), "scopes": ALL}]}
        gateway.reload()
        gateway.credentials = {"Authorization": f"Bearer {key}"}
        for path in mine:
            check_problem(gateway.get(path), 404, "unknown", "link")
