"""URIs of resources: as their servers write them, marked where they meet, and always found again."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_gateway.uris import UriTable, is_reserved, marked, recordable, unmarked

SERVERS = ("a", "git", "a-b", "0")
# Few letters, so that URIs, marks and servers meet often.
texts = st.text(alphabet="ax:/.?#{}%é" + string.whitespace[:2], max_size=8)
uris = st.one_of(
    texts,
    st.builds("{}:{}".format, st.sampled_from(("ui", "file", "urn", "mcp-gateway", "X+y.z-1")), texts),
    st.builds("{}://{}".format, st.sampled_from(("ui", "file", "mcp-gateway")), texts),
    st.builds(marked, st.sampled_from(SERVERS), texts),
    st.builds("ui://{}.mcp-gateway/{}".format, st.sampled_from(SERVERS), texts),
)
servers = st.sampled_from(SERVERS)


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        ("ui://clock/view", "ui://git.mcp-gateway/clock/view"),
        ("file:///etc/hosts", "file://git.mcp-gateway//etc/hosts"),
        ("https://u@h:80/p?q#f", "https://git.mcp-gateway/u@h:80/p?q#f"),
        ("urn:isbn:0", "urn:git.mcp-gateway/isbn:0"),
        ("db://{table}/{id}", "db://git.mcp-gateway/{table}/{id}"),
        ("no scheme", "git.mcp-gateway/no scheme"),
    ],
)
def test_a_mark_keeps_the_scheme(uri: str, seen: str) -> None:
    assert marked("git", uri) == seen
    assert unmarked(seen) == ("git", uri)


@given(servers, uris)
def test_a_mark_is_taken_out_again(server: str, uri: str) -> None:
    assert unmarked(marked(server, uri)) == (server, uri)
    assert is_reserved(marked(server, uri))


tables = st.dictionaries(servers, st.lists(uris, max_size=6))


@given(tables)
@example({"a": ["ui://x", "ui://git.mcp-gateway/x"], "git": ["ui://x"]})
@example({"a": ["mcp-gateway://artifacts/x"], "git": ["mcp-gateway://artifacts/y"]})
def test_what_is_listed_is_told_apart_and_found_again(known: dict[str, list[str]]) -> None:
    table = UriTable(known)
    seen: dict[str, tuple[str, str]] = {}
    for server, of_it in known.items():
        for uri in of_it:
            exposed = table.exposed(server, uri)
            assert seen.setdefault(exposed, (server, uri)) == (server, uri), "two have one URI"
            assert table.find(exposed) == (server, uri)
            holders = [other for other, theirs in known.items() if uri in theirs]
            assert (exposed == uri) == (len(holders) == 1 and not is_reserved(uri)), (
                "verbatim where it can be"
            )
            assert ((server, uri) in table.moved) == (exposed != uri)
            # What a caller has kept goes on working when the other server is gone.
            assert UriTable({server: of_it}).find(exposed) == (server, uri)


@given(tables, servers, uris)
def test_what_is_in_no_list_never_passes_for_another_servers(
    known: dict[str, list[str]], server: str, uri: str
) -> None:
    table = UriTable(known)
    found = table.find(table.exposed(server, uri))
    assert found is None or found == (server, uri)


def test_order_and_other_servers_do_not_change_a_mark() -> None:
    one = UriTable({"a": ["ui://x"], "git": ["ui://x"]})
    other = UriTable({"git": ["ui://x"], "0": ["ui://y"], "a": ["ui://x", "ui://y"]})
    for server in ("a", "git"):
        assert one.exposed(server, "ui://x") == other.exposed(server, "ui://x")


def test_a_shared_uri_alone_is_nobodys() -> None:
    table = UriTable({"a": ["ui://x"], "git": ["ui://x"]})
    assert table.find("ui://x") is None
    assert table.find("ui://nobody.mcp-gateway/x") is None
    assert table.find("ui://git.mcp-gateway/x") == ("git", "ui://x")


def test_a_uri_in_no_list_goes_to_the_most_certain_template() -> None:
    table = UriTable(
        {"a": ["db://known/1"], "git": [], "0": []},
        {"a": ["{+any}"], "git": ["db://{table}/{id}"], "0": ["db://users/{id}", "db://{table}/{row}"]},
    )
    assert table.find("db://known/1") == ("a", "db://known/1")
    assert table.find("db://users/7") == ("0", "db://users/7")
    assert table.find("db://posts/7") == ("git", "db://posts/7"), "of equals, the first server's"
    assert table.find("other://x") is None, "what stands for anything stands for nothing"


def test_of_a_shared_template_each_server_has_its_own() -> None:
    template = "db://{table}/{id}"
    table = UriTable({"a": [], "git": ["db://t/9"]}, {"a": [template], "git": [template]})
    assert table.exposed("a", template) == "db://a.mcp-gateway/{table}/{id}"
    assert table.find("db://a.mcp-gateway/users/7") == ("a", "db://users/7")
    assert table.find("db://users/7") is None
    assert table.exposed("git", "db://users/7") == "db://git.mcp-gateway/users/7"
    assert table.exposed("git", "db://t/9") == "db://t/9", "listed, and by this server alone"


@pytest.mark.parametrize(
    ("uri", "recorded"),
    [
        ("https://user:secret@host/p?token=1#f", "https://host/p"),
        ("file:///a/b@c", "file:///a/b@c"),
        ("urn:x?y", "urn:x"),
    ],
)
def test_what_may_be_a_secret_is_not_recorded(uri: str, recorded: str) -> None:
    assert recordable(uri) == recorded
