"""The tool API over servers that others wrote: their documents, and what programs of others make of these."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.faces.exploring import explore
from tests.harness import Gateway, hostile
from tests.real import (
    EVERYTHING,
    FETCH,
    FILESYSTEM,
    GIT,
    MEMORY,
    OPENAPI,
    OPENAPI_GENERATOR,
    OPENAPI_PYTHON,
    TIME,
    need,
)
from tests.tools.test_document import document, operations

DIALECTS: Final = ("inlined", "exact")
GENERATES_S: Final = 60.0  # it takes three of an idle machine


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    need(EVERYTHING, FILESYSTEM, MEMORY, GIT, TIME, FETCH)
    directory = tmp_path_factory.mktemp("real")
    files = directory / "files"
    files.mkdir()
    servers: dict[str, dict[str, Any]] = {
        "everything": {"command": str(EVERYTHING), "args": ["stdio"]},
        "filesystem": {"command": str(FILESYSTEM), "args": [str(files)]},
        "memory": {"command": str(MEMORY), "env": {"MEMORY_FILE_PATH": str(directory / "memory.json")}},
        "git": {"command": str(GIT)},
        "time": {"command": str(TIME)},
        "fetch": {"command": str(FETCH)},
        "good": hostile("good"),
    }
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=30)
        yield gateway


@pytest.mark.parametrize("dialect", DIALECTS)
def test_documents_of_real_servers_are_valid_and_hold_every_tool(real: Gateway, dialect: str) -> None:
    tools = real.get("/api/tools").json()["tools"]
    assert len(tools) > 40
    whole = document(real, dialect=dialect)
    OpenAPIV31SpecValidator(whole).validate()
    told = operations(whole)
    assert {operation["operationId"] for operation in told.values()} == {
        tool["exposedName"] for tool in tools
    }
    for tool in tools:
        operation = told[f"/{tool['server']}/{tool['name']}"]
        assert operation["description"][:1_000] == tool["description"][:1_000]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert "x-mcp-schema-note" not in operation, operation
        if "$ref" not in schema:
            assert schema.get("properties", {}).keys() == tool["inputSchema"].get("properties", {}).keys()
    for server in {tool["server"] for tool in tools}:
        part = document(real, server, dialect)
        OpenAPIV31SpecValidator(part).validate()
        of_one = {f"/{server}{path}": operation for path, operation in operations(part).items()}
        assert of_one == {path: one for path, one in told.items() if path.startswith(f"/{server}/")}


def test_descriptions_are_cut_for_models_and_whole_in_the_exact_dialect(real: Gateway) -> None:
    tools = {tool["exposedName"]: tool for tool in real.get("/api/tools").json()["tools"]}
    for dialect, longest in (("inlined", 1_024), ("exact", 100_000)):
        for operation in operations(document(real, dialect=dialect)).values():
            description = tools[operation["operationId"]]["description"]
            told = operation["description"]
            assert told == description if len(description) <= longest else told.endswith("…")
            assert len(told) <= longest


def test_an_operation_tells_what_its_answers_are(real: Gateway) -> None:
    path = "/everything/get-structured-content"
    operation = operations(document(real, dialect="exact"))[path]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert "temperature" in json.dumps(schema)
    answer = real.request("POST", f"/tools{path}", {"location": "Chicago"})
    assert answer.json().keys() >= {"temperature", "conditions", "humidity"}


def generated(real: Gateway, directory: Path, dialect: str) -> Path:
    """A Python package that a code generator made of the document; it had nothing to complain about."""
    need(OPENAPI_GENERATOR, OPENAPI_PYTHON)
    described, package = directory / "tools.json", directory / f"client_{dialect}"
    described.write_bytes(real.get(f"/tools/openapi.json?dialect={dialect}").body)
    command = (OPENAPI_GENERATOR, "generate", "--path", described, "--meta", "none", "--fail-on-warning")
    done = subprocess.run(
        (*command, "--output-path", package),
        cwd=directory,
        env=os.environ | {"PATH": f"{OPENAPI}{os.pathsep}{os.environ['PATH']}"},  # it runs its own ruff
        capture_output=True,
        text=True,
        timeout=GENERATES_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arning" not in done.stdout + done.stderr, done.stdout
    return package


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_generated_client_calls_tools(real: Gateway, tmp_path: Path, dialect: str) -> None:
    package = generated(real, tmp_path, dialect)
    file = str(real.directory / "files" / f"{dialect}.txt")
    entity: dict[str, Any] = {"name": dialect, "entityType": "b", "observations": []}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("time", "get_current_time", {"timezone": "Europe/Zurich"}),
        ("filesystem", "write_file", {"path": file, "content": "né 😀"}),
        ("filesystem", "read_text_file", {"path": file}),
        ("filesystem", "read_text_file", {"path": f"{file}.none"}),
        ("everything", "get_sum", {"a": 2, "b": 3}),
        ("memory", "create_entities", {"entities": [entity]}),
        ("good", "refuse", {"code": -32099, "message": "not today"}),
    ]
    orders = [
        {"tag": server, "operation": f"{server}_{tool}", "arguments": arguments}
        for server, tool, arguments in calls
    ]
    program = Path(__file__).parents[1] / "clients" / "programs" / "python_generated.py"
    done = subprocess.run(
        (OPENAPI_PYTHON, program, package, f"http://127.0.0.1:{real.port}/tools"),
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        timeout=GENERATES_S,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    # Every tool is in it, and every one can be imported.
    assert said["operations"] == len(document(real, dialect=dialect)["paths"])
    now, written, read, missing, total, made, refused = said["told"]
    assert [one["status"] for one in said["told"]] == [200, 200, 200, 422, 200, 200, 502]
    assert now["value"]["timezone"] == "Europe/Zurich"
    assert "Successfully wrote" in json.dumps(written["value"])
    assert "né 😀" in json.dumps(read["value"], ensure_ascii=False)
    assert (missing["type"], missing["value"]["code"]) == ("Problem", "tool_error")
    assert "ENOENT" in missing["value"]["detail"]
    assert "5" in total["value"]
    assert made["value"]["entities"][0]["name"] == dialect
    assert (refused["type"], refused["value"]["code"]) == ("Problem", "lost")
    assert "not today" in refused["value"]["detail"]
    if dialect == "exact":  # which knows what answers are
        assert now["type"] == "TimeGetCurrentTimeTimeResult"


# What ends the server (some of ours by a mere wrong type), takes long by design or asks the network.
LEFT_ALONE: Final = (
    *("good__die", "good__refuse", "good__sleep", "good__act", "good__progress", "good__blob"),
    *("everything__trigger-long-running-operation", "everything__simulate-research-query"),
    *("everything__gzip-file-as-resource", "everything__toggle-simulated-logging"),
)
# What fails by design, and what takes the name of a time zone, which no schema says.
NEVER_RIGHT: Final = {
    *("POST /good/fail", "POST /time/get_current_time", "POST /time/convert_time"),
}
EXPLORED: Final = ("good", "everything", "time")
EXAMPLES: Final = 4  # of each tool, beside those at the edges of its schema


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whatever_a_stranger_makes_of_a_document_is_answered_as_it_says(real: Gateway, dialect: str) -> None:
    told = operations(document(real, dialect=dialect))
    ids = {path: operation["operationId"] for path, operation in told.items()}
    left = [path for path, id in ids.items() if path.split("/")[1] not in EXPLORED or id in LEFT_ALONE]
    quiet = {"extra-data-sources": {"responses": False}}
    settings: dict[str, Any] = {
        "continue-on-failure": True,
        "request-timeout": 30,
        "cache": {"enabled": False},
        "checks": {
            # What a tool makes of arguments that its schema forbids is its own affair, and it may
            # refuse others.
            "negative_data_rejection": {"enabled": False},
            "positive_data_acceptance": {"enabled": False},
        },
        "generation": {"deterministic": True, "database": "none", "max-examples": EXAMPLES},
        "phases": {
            "examples": quiet,
            "coverage": quiet,
            "fuzzing": quiet | {"error-feedback": {"enabled": False}},
            "stateful": {"enabled": False},
        },
        "operations": [{"include-path": left, "enabled": False}],
    }
    found = explore(real, settings, {}, f"/tools/openapi.json?dialect={dialect}")
    assert not found.failures, "\n\n".join(found.failures[:10])
    explored = {f"POST {path}" for path in ids if path not in left}
    assert found.asked == explored
    assert found.succeeded() >= explored - NEVER_RIGHT
    for label, kinds in found.kinds.items():
        assert kinds <= {"application/json", "application/problem+json"}, label
    assert sum(sum(seen.values()) for seen in found.statuses.values()) > 10 * len(explored)
