"""What a request of the modern era must say first; the official SDK is the other opinion on every rule."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    decode_header_value,
    encode_header_value,
    find_duplicated_routing_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_gateway.errors import GatewayError
from mcp_gateway.wire.envelope import read_message
from mcp_gateway.wire.headers import BETWEEN_LINES, decoded_value, mirrors_of, repeats_the_body
from mcp_gateway.wire.inbound import (
    OtherRevision,
    is_modern,
    require_mirrored,
    require_revision,
    require_sound,
    speaks_modern,
)
from mcp_gateway.wire.revisions import META_CAPABILITIES, META_REVISION, MODERN

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
METHODS = ("tools/call", "prompts/get", "resources/read", "tools/list", "initialize", "no/such")
NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
# Header lines: (name, value). What is sent over HTTP is bytes, and a name that comes twice is two lines.
Lines = list[tuple[str, str]]

WRAPPED_BADLY = (
    "=?base64?=?=",
    "=?base64?YQ?=",  # no padding
    "=?base64?YR==?=",  # another spelling of YQ==
    "=?base64?Y Q==?=",
    "=?base64?_w==?=",
    "=?base64?/w==?=",  # no UTF-8
)


def folded(lines: Lines) -> dict[bytes, bytes]:
    """The headers as the edge hands them on."""
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        key, sent = name.lower().encode(), value.encode("latin-1")
        headers[key] = headers[key] + BETWEEN_LINES + sent if key in headers else sent
    return headers


def ours(body: Any, lines: Lines) -> int | None:
    return refusal(lambda: require_sound(read_message(json.dumps(body).encode()), folded(lines)))


def refusal(rule: Callable[[], None]) -> int | None:
    """The code that it refuses with, or None."""
    try:
        rule()
    except GatewayError as error:
        return error.rpc_code
    return None


def theirs(body: Any, lines: Lines) -> int | None:
    if find_duplicated_routing_header(lines) is not None:
        return -32020
    headers = {name.lower(): value.strip(" \t") for name, value in lines}
    verdict = classify_inbound_request(body, headers=headers, supported_modern_versions=(MODERN,))
    return verdict.code if isinstance(verdict, InboundLadderRejection) else None


def request(method: str = "tools/call", **changes: Any) -> dict[str, Any]:
    meta = {META_REVISION: MODERN, META_CAPABILITIES: {}}
    params = {"name": "echo", "uri": "file:///a", "_meta": meta} | changes
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def lines_for(body: Mapping[str, Any]) -> Lines:
    """The headers that go with a request."""
    lines = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", body["method"])]
    if body["method"] in NAMES:
        lines.append(("Mcp-Name", encode_header_value(body["params"][NAMES[body["method"]]])))
    return lines


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_says_all_and_says_it_twice_alike_is_sound(method: str) -> None:
    assert ours(request(method), lines_for(request(method))) is None


@given(TEXT)
def test_a_name_of_any_text_is_found_in_its_header(name: str) -> None:
    body = request(name=name)
    assert ours(body, lines_for(body)) is None


REVISIONS = st.sampled_from([MODERN, "2025-11-25", "2099-01-01", "", "2026-07-28 "])
HEADERS = st.one_of(
    REVISIONS, st.sampled_from([*METHODS, *WRAPPED_BADLY]), st.text("a =?\u00e9\t", max_size=8)
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], Lines]:
    """A request and headers of which each is as it should be, more or less often."""
    body = request(draw(st.sampled_from(METHODS)))
    if draw(st.booleans()):
        body["params"]["name"] = body["params"]["uri"] = draw(TEXT)
    lines = lines_for(body)
    for at, (name, _) in enumerate(lines):
        if draw(st.integers(0, 3)) == 0:
            lines[at] = (name, draw(HEADERS))
    if draw(st.integers(0, 3)) == 0:
        lines.append(draw(st.sampled_from([*lines, ("mCP-name", "x"), ("mcp-param-a", "b")])))
    if draw(st.integers(0, 3)) == 0:
        lines.remove(draw(st.sampled_from(lines)))
    meta = body["params"]["_meta"]
    if draw(st.integers(0, 3)) == 0:
        meta[META_REVISION] = draw(st.one_of(REVISIONS, st.integers(), st.none(), st.just([])))
    if draw(st.integers(0, 5)) == 0:
        del meta[draw(st.sampled_from([META_REVISION, META_CAPABILITIES]))]
    if draw(st.integers(0, 5)) == 0:
        body["params"][draw(st.sampled_from(["name", "uri"]))] = draw(st.one_of(st.none(), st.integers()))
    if draw(st.integers(0, 9)) == 0:
        del body["params"][draw(st.sampled_from(["name", "uri", "_meta"]))]
    return body, lines


@given(requests())
def test_the_rules_and_their_order_are_those_of_the_sdk(sent: tuple[dict[str, Any], Lines]) -> None:
    body, lines = sent
    assert ours(body, lines) == theirs(body, lines)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_the_id_of_a_task_may_be_repeated_and_then_truly(method: str) -> None:
    body = request(method, taskId="t-1")
    lines = lines_for(body)
    assert ours(body, lines) is None
    assert ours(body, [*lines, ("Mcp-Name", "t-1")]) is None
    assert ours(body, [*lines, ("Mcp-Name", "t-2")]) == -32020


@given(
    st.one_of(
        TEXT.map(encode_header_value), st.sampled_from(WRAPPED_BADLY), st.text("=?base64YQ", max_size=20)
    )
)
def test_a_header_is_read_as_the_sdk_reads_it(value: str) -> None:
    assert decoded_value(b" \t" + value.encode("latin-1") + b"\t ") == decode_header_value(value.strip(" \t"))


# The SDK stumbles over a character that is no ASCII where base64 should be.
@pytest.mark.parametrize("value", [*WRAPPED_BADLY, "=?base64?YQ==\u00e9?="])
def test_what_is_wrapped_badly_says_nothing(value: str) -> None:
    assert decoded_value(value.encode("latin-1")) is None


def test_who_asks_for_a_revision_that_is_not_spoken_is_told_which_are() -> None:
    body = request()
    body["params"]["_meta"][META_REVISION] = "2099-01-01"
    lines = [("MCP-Protocol-Version", "2099-01-01"), *lines_for(body)[1:]]
    with pytest.raises(OtherRevision) as refused:
        require_sound(read_message(json.dumps(body).encode()), folded(lines))
    facts = refused.value.facts()
    assert (refused.value.rpc_code, facts["requested"]) == (-32022, "2099-01-01")
    assert facts["supported"][0] == MODERN
    assert set(facts["supported"]) == {MODERN, *HANDSHAKE_PROTOCOL_VERSIONS}


# -- which era ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [*HANDSHAKE_PROTOCOL_VERSIONS, " 2025-11-25\t"])
def test_a_handshake_revision_is_not_of_the_modern_era(revision: str) -> None:
    assert not is_modern({b"mcp-protocol-version": revision.encode()})


@pytest.mark.parametrize("revision", [MODERN, "2099-01-01", "", "x", "2025-11-25\n2025-11-25"])
def test_any_other_revision_is(revision: str) -> None:
    assert is_modern({b"mcp-protocol-version": revision.encode()})


def test_without_a_header_the_body_tells() -> None:
    def told(body: dict[str, Any]) -> bool:
        return speaks_modern(read_message(json.dumps({"jsonrpc": "2.0", "id": 1} | body).encode()))

    assert not is_modern({})
    assert told({"method": "server/discover"})
    assert told({"method": "tools/list", "params": {"_meta": {META_REVISION: "x"}}})
    assert not told({"method": "tools/list", "params": {"_meta": {META_CAPABILITIES: {}}}})
    assert not told({"method": "tools/list"})


def test_of_a_notification_only_the_revision_counts() -> None:
    require_revision({b"mcp-protocol-version": b" 2026-07-28 "})
    for headers in (
        {},
        {b"mcp-protocol-version": b"2099-01-01"},
        {b"mcp-protocol-version": b"2026-07-28\nx"},
    ):
        with pytest.raises(OtherRevision):
            require_revision(headers)


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-x"])
def test_these_headers_repeat_the_body(name: str) -> None:
    assert repeats_the_body(name.encode())
    assert not repeats_the_body(b"x-" + name.encode())


# -- what a tool wants repeated -----------------------------------------------------------------------------

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "n": {"type": "integer", "x-mcp-header": "N"},
        "deep": {"properties": {"b": {"type": "boolean", "x-mcp-header": "B"}}},
    },
}
MIRRORS = mirrors_of(json.dumps({"name": "t", "inputSchema": SCHEMA}).encode())
VALUES = st.one_of(
    TEXT,
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-50, 50).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=1),
    st.sampled_from([0, 42, 42.0, -0.0, 2**53, 2**53 + 1, 1e22, "42", "true"]),
)
SENT = st.one_of(
    VALUES.map(lambda value: encode_header_value(str(value))),
    st.sampled_from(
        ["42", "42.0", "42.00", "042", "4.2e1", "+42", "42.", "-0", "0", "9007199254740993.0", "true", "True"]
    ),
    st.sampled_from(WRAPPED_BADLY),
)


@given(st.data())
def test_headers_and_arguments_agree_as_the_sdk_has_it(data: st.DataObject) -> None:
    arguments: dict[str, Any] = data.draw(
        st.fixed_dictionaries({}, optional={"region": VALUES, "n": VALUES, "deep": VALUES})
    )
    if data.draw(st.booleans()):
        arguments["deep"] = {"b": data.draw(VALUES)}
    right = mcp_param_headers(x_mcp_header_map(SCHEMA), arguments)
    lines: Lines = []
    for name in ("Mcp-Param-Region", "Mcp-Param-N", "Mcp-Param-B", "Mcp-Param-Other"):
        usual = [st.just(right[name])] * 3 if name in right else []
        value = data.draw(st.one_of(*usual, st.none(), SENT))
        if value is not None:
            lines.append((name, value))
    if lines and data.draw(st.integers(0, 5)) == 0:
        name, value = data.draw(st.sampled_from(lines))
        lines.append((name.lower(), value))
    rejected = validate_mcp_param_headers(
        SCHEMA, arguments, {name: value.strip(" \t") for name, value in lines}
    )
    code = refusal(lambda: require_mirrored(MIRRORS, json.dumps(arguments).encode(), folded(lines)))
    assert code == (None if rejected is None else rejected.code)


def test_a_tool_that_wants_nothing_repeated_is_not_looked_at() -> None:
    require_mirrored({}, b"{no json", {b"mcp-param-n": b"1"})
