"""Results of the modern era for clients of the handshake era: without what is new, else as they came."""

import pytest
from msgspec import Raw

from mcp_gateway.wire.bridge import as_handshake

SAME = [
    b'{"content":[]}',
    b"{}",
    b'{"content":[{"type":"text","text":"\\"resultType\\":\\"complete\\" and ttlMs"}]}',
    b'{"structuredContent":{"a":1,"resultType":"complete"}}',
    b'{"_meta":{"cacheScope":"public","ttlMs":1}}',
    b'{ "content" : [ ] }',
]
CHANGED = [
    (b'{"resultType":"complete","content":[]}', b'{"content":[]}'),
    (b'{"content":[],"resultType":"complete"}', b'{"content":[]}'),
    (b'{"resultType":"complete"}', b"{}"),
    (b'{ "resultType": "complete", "content": [ ] }', b'{"content":[ ]}'),
    (b'{"contents":[],"ttlMs":5,"resultType":"complete","cacheScope":"public"}', b'{"contents":[]}'),
    (b'{"resultType":"complete","contents":[],"ttlMs":5,"cacheScope":"public"}', b'{"contents":[]}'),
    (b'{"ttlMs":5,"contents":[],"resultType":"complete"}', b'{"contents":[]}'),
    (
        b'{"resultType":"complete","structuredContent":{"resultType":"complete","n":1.0}}',
        b'{"structuredContent":{"resultType":"complete","n":1.0}}',
    ),
    (b'{"resultType":"complete","x":1,"resultType":"complete"}', b'{"x":1}'),
]


@pytest.mark.parametrize("result", SAME)
def test_what_has_nothing_new_is_left_alone(result: bytes) -> None:
    assert bytes(as_handshake(Raw(result))) == result


@pytest.mark.parametrize(("result", "expected"), CHANGED)
def test_what_is_new_is_left_out_and_nothing_else(result: bytes, expected: bytes) -> None:
    assert bytes(as_handshake(Raw(result))) == expected
