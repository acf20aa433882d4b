"""The values themselves: server ids, units, rules between keys, the schema, and what a repr may show."""

import json
import re

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mcp_gateway.config import foreign
from mcp_gateway.config.load import parse
from mcp_gateway.config.model import (
    Config,
    ConfigError,
    Keep,
    Problem,
    SecretRef,
    ServerConfig,
    ToolRules,
    schema,
    slug,
)

SECRET = "CANARY-5f1c"


def server(**keys: object) -> ServerConfig:
    return ServerConfig.model_validate({"id": "x", "title": "X", "command": "run", **keys})


@given(st.text())
def test_a_slug_is_empty_or_a_valid_server_id_and_its_own_slug(name: str) -> None:
    made = slug(name)
    assert made == "" or re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", made)
    assert slug(made) == made
    if re.search(r"[A-Za-z0-9]", name):
        assert made


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z").filter(lambda name: "--" not in name))
def test_a_name_that_is_already_an_id_stays_as_it_is(name: str) -> None:
    assert slug(name) == name


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Git", "git"),
        ("My Server (dev)", "my-server-dev"),
        ("Zürich ÉCOLE", "zurich-ecole"),
        ("Straße", "strasse"),
        ("@scope/server.name", "scope-server-name"),
        ("io.github.user/thing_one", "io-github-user-thing-one"),
        ("a" * 31 + "/b", "a" * 31),
        ("ﬁle №1", "file-no1"),
        ("日本", ""),
        ("--", ""),
        ("", ""),
    ],
)
def test_slugs_read_like_their_names(name: str, made: str) -> None:
    assert slug(name) == made


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(5, 5.0), (0.25, 0.25), ("90s", 90.0), ("5m", 300.0), ("1.5 m", 90.0), ("1h", 3600.0)],
)
def test_durations_count_seconds_or_name_their_unit(written: object, seconds: float) -> None:
    assert server(startTimeout=written).start_timeout_s == seconds


@pytest.mark.parametrize("written", [0, -1, "0s", 86_401, 10**400, 1e308, "90", "5 min", "", True, None, [1]])
def test_a_duration_without_sense_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        server(startTimeout=written)


@pytest.mark.parametrize(
    ("written", "size"),
    [(4096, 4096), ("4096", 4096), ("64MiB", 64 << 20), ("2 KiB", 2048), ("1GiB", 1 << 30)],
)
def test_sizes_count_bytes_or_name_their_unit(written: object, size: int) -> None:
    assert server(maxResult=written).max_result_bytes == size


@pytest.mark.parametrize("written", [0, 1023, "2GiB", 10**400, 4096.0, "64MB", "64 mib", True, None])
def test_a_size_without_sense_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        server(maxResult=written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12h", Keep(days=0.5)),
        (7, Keep(days=7.0)),
        ({"rows": 5000}, Keep(rows=5000)),
        ({"days": "2d", "rows": 5000}, Keep(days=2.0, rows=5000)),
    ],
)
def test_what_is_kept_is_an_age_or_an_age_and_a_count_and_the_schema_agrees(
    written: object, meant: Keep
) -> None:
    text = json.dumps({"gateway": {"activity": {"keep": written}}})
    assert parse(text.encode(), source="f", env={}).gateway.activity.keep == meant
    jsonschema.Draft202012Validator(schema()).validate(json.loads(text))


def test_defaults_are_those_of_the_contract() -> None:
    one = server()
    assert (one.start_timeout_s, one.timeout_s, one.max_timeout_s) == (60.0, 60.0, 900.0)
    assert (one.concurrency, one.queue, one.max_result_bytes) == (64, 1024, 256 << 20)
    assert (one.enabled, one.isolation, one.tools) == (True, "shared", ToolRules())
    gateway = Config().gateway
    assert (gateway.host, gateway.port, gateway.log_format, gateway.mcp.enabled) == (
        "127.0.0.1",
        8085,
        "text",
        True,
    )
    assert gateway.limits.body_bytes == 4 << 20
    assert (gateway.activity.keep, gateway.activity.payloads) == (Keep(days=30.0, rows=1_000_000), "memory")
    assert one.payloads is None


def test_code_may_use_field_names_and_equal_configurations_are_equal() -> None:
    one = ServerConfig(id="x", title="X", command="run", start_timeout_s=5.0, args=("a",))
    assert one == server(startTimeout=5, args=["a"])
    with pytest.raises(ValidationError, match="frozen"):
        one.enabled = False


def test_no_repr_and_no_error_shows_a_value_that_could_be_a_secret() -> None:
    local = server(args=[SECRET], env={"A": SECRET, "B": {"command": ["echo", SECRET]}})
    remote = ServerConfig.model_validate(
        {"id": "x", "title": "X", "url": f"https://host/{SECRET}", "headers": {"Authorization": SECRET}}
    )
    shown = [repr(local), str(local), repr(remote), repr(Config({"x": local})), repr(local.env["B"])]
    for keys in (
        {"env": {"A": f"{SECRET}\0"}},
        {"args": [SECRET, 1]},
        {"env": {"A": [SECRET]}},
        {"cwd": SECRET},
    ):
        with pytest.raises(ValidationError) as raised:
            server(**keys)
        shown += [str(raised.value), repr(raised.value)]
    assert not [text for text in shown if SECRET in text]


def test_a_secret_comes_from_exactly_one_place() -> None:
    wrongs: list[object] = [
        {},
        {"file": "/f", "credential": "c"},
        {"command": []},
        {"credential": "../c"},
        {"file": "f"},
    ]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            SecretRef.model_validate(wrong)


def test_two_tools_cannot_be_renamed_to_one_name() -> None:
    with pytest.raises(ValidationError, match="same name"):
        ToolRules(rename={"a": "c", "b": "c"})


def test_a_problem_reads_as_one_line_with_its_place() -> None:
    problem = Problem("mcpServers.git.comand", 3, "unknown key", "command", "f.json")
    assert str(problem) == "f.json:3: mcpServers.git.comand: unknown key (did you mean `command`?)"
    assert str(ConfigError((problem, Problem("", None, "is not a file", None, "g.json")))) == (
        f"{problem}\ng.json: is not a file"
    )


def test_the_schema_is_valid_and_describes_every_key_the_loader_reads() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    known = made["$defs"]["ServerConfig"]["properties"].keys()
    assert known >= foreign.TRANSLATED | foreign.IGNORED.keys() | {"startTimeout", "idleStop", "command"}
    assert not known & {"id", "start_timeout_s"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"mcpServers": {"a": {"comand": "x"}}}',
        b'{"mcpServers": {"a": {"command": "x", "timeout": "5 minutes"}}}',
        b'{"mcpServers": {"a": {"command": "x", "env": {"A": 1}}}}',
        b'{"mcpServers": {"a": {"url": "ftp://x"}}}',
        b'{"gateway": {"port": 70000}}',
        b'{"gateway": {"auth": {"keys": [{"name": "a", "hash": "sha256:0"}]}}}',
        b'{"gateway": {"auth": {"password": {"hash": "secret"}}}}',
        b'{"gateway": {"activity": {"keep": {"rows": 1}}}}',
        b'{"gateway": {"activity": {"payloads": "file"}}}',
        b'{"mcpservers": {}}',
    ],
)
def test_the_schema_and_the_loader_refuse_the_same_files(text: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(text, source="f", env={})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(json.loads(text))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"2027-01-31"', 1_801_440_000.0),  # the whole day
        ('"2027-01-31T18:00:00Z"', 1_801_418_400.0),
        ('"2027-01-31T18:00:00"', 1_801_418_400.0),
        ("1801418400", 1_801_418_400.0),
        ('"9999-12-31"', None),
        ("1e308", None),
        ("1e400", None),
        ("1" + "0" * 400, None),
        ('"tomorrow"', None),
        ("true", None),
    ],
)
def test_a_key_ends_at_a_day_or_a_time_that_a_calendar_holds(written: str, seconds: float | None) -> None:
    key = f'{{"name": "a", "hash": "sha256:{"0" * 64}", "expires": {written}}}'
    text = f'{{"gateway": {{"auth": {{"keys": [{key}]}}}}}}'.encode()
    if seconds is None:
        with pytest.raises(ConfigError, match="expires"):
            parse(text, source="f", env={})
    else:
        (declared,) = parse(text, source="f", env={}).gateway.auth.keys
        assert declared.expires == seconds
