"""One Open WebUI, one scripted model and one guarded gateway with servers of others, for all tests here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import real
from tests.clients.test_real_servers import repository
from tests.faces.knocking import check_log
from tests.harness import free_port
from tests.openwebui_real.model import Model
from tests.openwebui_real.ways import MCP, OPENAPI, SERVERS, connection, toolkits
from tests.openwebui_real.webui import EVERYBODY, WebUI
from tests.security.cast import Guarded

READY_S = 90.0  # five interpreters start at once, beside Open WebUI


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openwebui")


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with Model() as model:
        yield model


@pytest.fixture(scope="session")
def webui_port() -> int:
    """Where Open WebUI will be, which the gateway has to know before."""
    return free_port()


@pytest.fixture(scope="session")
def gateway(directory: Path, webui_port: int) -> Iterator[Guarded]:
    """A gateway that wants a key, in front of servers that others wrote; its key `caller` may call.

    Pages of Open WebUI may call it, too.
    """
    real.need(real.EVERYTHING, real.FILESYSTEM, real.MEMORY, real.GIT, real.TIME)
    home = directory / "gateway"
    files = home / "files"
    files.mkdir(parents=True)
    (files / "note.txt").write_text("what is in the note, é😀\n")
    servers: dict[str, dict[str, Any]] = {
        "everything": {"command": str(real.EVERYTHING), "args": ["stdio"]},
        "filesystem": {"command": str(real.FILESYSTEM), "args": [str(files)]},
        "memory": {
            "command": str(real.MEMORY),
            "env": {"MEMORY_FILE_PATH": str(home / "memory.jsonl")},
            "concurrency": 1,  # it reads and writes its whole file at each call, without a lock
        },
        "git": {"command": str(real.GIT), "args": ["--repository", str(repository(home / "repository"))]},
        "time": {"command": str(real.TIME)},
    }
    keys = {"caller": {"rights": ["call"]}}
    assert set(servers) == set(SERVERS)
    settings = {"corsOrigins": ["http://chat.example.test", f"http://127.0.0.1:{webui_port}"]}
    with Guarded(servers, home, settings, keys=keys) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=READY_S)
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="session")
def webui(directory: Path, model: Model, gateway: Guarded, webui_port: int) -> Iterator[WebUI]:
    """Open WebUI with the gateway connected in each way, for everybody and for administrators only."""
    with WebUI(directory / "webui", model.url, port=webui_port) as webui:
        webui.connect(
            *(connection(gateway, way, EVERYBODY) for way in (OPENAPI, MCP)),
            *(connection(gateway, way, suffix="admins") for way in (OPENAPI, MCP)),
        )
        for toolkit in toolkits(gateway):
            webui.add_tool(toolkit, {"api_key": gateway.texts["caller"]})
        yield webui
