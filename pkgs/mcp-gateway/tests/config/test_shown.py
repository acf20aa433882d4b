"""What is shown of a server holds no secret, and says where each comes from."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.config import load, shown
from mcp_gateway.config.model import ServerConfig, keys_of

KEY = "s3cr3t-Value-71f0"
UUID = "550e8400-e29b-41d4-a716-446655440000"


def server(**entry: Any) -> dict[str, Any]:
    config = load.parse(load.as_text({"mcpServers": {"a": entry}}), source="f", env={})
    return shown.server(config.servers["a"], {"THERE": "x"})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--token", KEY], ["--token", "<set>"]),
        (["--token", KEY, "x"], ["--token", "<set>", "x"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        ([f"--api-key={KEY}"], ["--api-key=<set>"]),
        ([f"-e=TOKEN={KEY}"], ["-e=TOKEN=<set>"]),
        (["-e", f"GITHUB_TOKEN={KEY}"], ["-e", "GITHUB_TOKEN=<set>"]),
        (["-e", "LOG=debug"], ["-e", "LOG=debug"]),
        (["--header", f"Authorization: Bearer {KEY}"], ["--header", "Authorization: Bearer <set>"]),
        (["--header", f"Authorization:{KEY}"], ["--header", "Authorization:<set>"]),
        (["--header", "Authorization: Bearer ${T}"], ["--header", "Authorization: Bearer ${T}"]),
        (["--token", "${T}"], ["--token", "${T}"]),
        (["--token", f"${{T:-{KEY}}}"], ["--token", "${T:-<set>}"]),
        (["${T:-secret}"], ["${T:-<set>}"]),
        ([f"--config={json.dumps({'apiKey': KEY, 'a': 1})}"], ['--config={"apiKey": <set>, "a": 1}']),
        (["-c", f"PASSWORD={KEY} x --token {KEY} y"], ["-c", "PASSWORD=<set> x --token <set> y"]),
        ([f"postgres://me:{KEY}@h:5432/db"], ["postgres://<set>@h:5432/db"]),
        ([f"https://h/mcp?key={KEY}&b=1"], ["https://h/mcp?key=<set>&b=<set>"]),
        ([f"--url=https://h/mcp?k={KEY}"], ["--url=https://h/mcp?k=<set>"]),
        ([UUID], ["<set>"]),
        (["ghp_0123456789abcdefghij0123"], ["<set>"]),
        (["sk-abcdefghijklmnopqrstuvwx"], ["<set>"]),
        (["-y", "@modelcontextprotocol/server-everything@1.2.3"], None),
        (["run", "-i", "--rm", "ghcr.io/github/github-mcp-server:v1.2.3"], None),
        (["--repository", "/home/me/projects/some-long-directory-name-2"], None),
        (["mcp-server-with-a-very-long-name-indeed"], None),
        (["--local-timezone=Europe/Vienna", "--port", "8080"], None),
    ],
    ids=str,
)
def test_arguments_are_shown_as_written_but_for_secrets(words: list[str], told: list[str] | None) -> None:
    assert shown.arguments(tuple(words)) == (words if told is None else told)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://h/mcp", "https://h/mcp"),
        ("https://me@h/mcp", "https://<set>@h/mcp"),
        (f"https://me:{KEY}@h:1/mcp", "https://<set>@h:1/mcp"),
        (f"https://h/mcp?token={KEY}", "https://h/mcp?token=<set>"),
        ("https://h/mcp?a&b=", "https://h/mcp?a&b="),
        (f"https://h/mcp?{UUID}", "https://h/mcp?<set>"),
        (f"https://h/mcp#{KEY}", "https://h/mcp#<set>"),
        (f"https://h/s/{UUID}/mcp", "https://h/s/<set>/mcp"),
        ("https://${USER}:${PASS}@h/mcp?k=${K}", "https://${USER}:${PASS}@h/mcp?k=${K}"),
        ("https://h/mcp?k=${K:-abc}", "https://h/mcp?k=${K:-<set>}"),
        ("${BASE}/mcp", "${BASE}/mcp"),
        ("https://[::1", "<set>"),
    ],
)
def test_an_address_is_shown_without_what_lets_somebody_in(url: str, told: str) -> None:
    assert shown.url(url) == told


def test_a_value_is_never_shown_but_where_it_is_from() -> None:
    told = server(
        command="x",
        env={
            "A": KEY,
            "B": "${THERE}",
            "C": "${GONE}",
            "D": "${GONE:-x}",
            "E": {"file": "/run/e"},
            "F": {"credential": "f"},
            "G": {"command": ["/bin/pass", KEY]},
        },
    )
    assert KEY not in json.dumps(told)
    assert [tuple(one.values()) for one in told["env"]] == [
        ("A", "set", "literal", None),
        ("B", "set", "variable", "THERE"),
        ("C", "unset", "variable", "GONE"),
        ("D", "set", "variable", "GONE"),
        ("E", "set", "file", "/run/e"),
        ("F", "set", "credential", "f"),
        ("G", "set", "command", "/bin/pass"),
    ]


def test_every_key_is_there_with_its_default() -> None:
    told = server(url="https://h/mcp", timeout="2m", tools={"allow": ["a"]}, headers={"X-Key": KEY})
    assert told["timeout"] == 120.0
    assert told["maxTimeout"] == 900.0
    assert told["isolation"] == "shared"
    assert told["tools"] == {"allow": ["a"], "deny": [], "rename": {}, "describe": {}}
    assert told["headers"] == [{"name": "X-Key", "value": "set", "from": "literal", "of": None}]
    assert told.keys() == set(keys_of(ServerConfig))
    json.dumps(told)


FORMS = ("--token {}", "API_KEY={}", "https://u:{}@h/", "https://h/?x={}", "password: {}", "a=b=c token={}")
SECRET = st.text(st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=127), min_size=12, max_size=30)


@settings(max_examples=200, deadline=None)
@given(SECRET, st.sampled_from(FORMS))
def test_a_secret_where_one_is_expected_is_never_shown(secret: str, form: str) -> None:
    assert secret not in shown.text(form.format(secret))
    assert secret not in " ".join(shown.arguments(("--token", secret)))
