"""Files of `packaging/`: read by their programs where those are here, and else held to what they name."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

from mcp_gateway.config import load
from tests import real
from tests.docs.site import REPOSITORY
from tests.identity.through_caddy import need_caddy

PROXIES: Final = REPOSITORY / "packaging" / "proxies"
CONTAINER: Final = REPOSITORY / "packaging" / "container"
# It brings a reader of YAML, which nothing of ours needs otherwise.
READER: Final = REPOSITORY / ".venv-docs" / "bin" / "python"
LIMIT_S: Final = 30
NAME: Final = "mcp.example.com"
GATEWAY: Final = "127.0.0.1:8085"


def compose() -> dict[str, Any]:
    real.need(READER)
    program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    done = subprocess.run(
        (READER, "-c", program),
        input=(CONTAINER / "compose.yaml").read_text(),
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_caddy_takes_its_file(tmp_path: Path) -> None:
    done = subprocess.run(
        (need_caddy(), "adapt", "--adapter", "caddyfile", "--config", PROXIES / "Caddyfile", "--validate"),
        env={"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert GATEWAY in done.stdout
    assert NAME in done.stdout


def test_the_file_for_nginx_is_whole_and_holds_nothing_back(tmp_path: Path) -> None:
    text = re.sub(r"#.*", "", (PROXIES / "nginx.conf").read_text())
    depth = 0
    for statement in re.findall(r"[^;{}]*[;{}]", text):
        words = statement.strip()
        assert words[-1] in "{}" or len(words.split()) >= 2, words
        depth += {"{": 1, "}": -1}.get(words[-1], 0)
        assert depth >= 0
    assert depth == 0
    assert not text[text.rindex("}") + 1 :].strip()
    for wanted in (
        "proxy_buffering off",
        "proxy_set_header Host $host",
        "proxy_next_upstream off",
        GATEWAY,
        NAME,
    ):
        assert wanted in text


def test_nginx_takes_its_file_where_it_is_here(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        return  # not something that `make test` sets up; the test before reads the file
    text = re.sub(r".*ssl.*\n|.*http2.*\n", "", (PROXIES / "nginx.conf").read_text())
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"events {{}}\nhttp {{\n{text}\n}}\n")
    done = subprocess.run((nginx, "-t", "-c", whole), capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr


def test_the_file_for_traefik_leads_to_the_gateway() -> None:
    http = tomllib.loads((PROXIES / "traefik.toml").read_text())["http"]
    (router,) = http["routers"].values()
    balancer = http["services"][router["service"]]["loadBalancer"]
    assert NAME in router["rule"]
    assert balancer["passHostHeader"] is True
    assert balancer["serversTransport"] in http["serversTransports"]
    assert [server["url"] for server in balancer["servers"]] == [f"http://{GATEWAY}"]


def test_the_configuration_of_the_container_is_one() -> None:
    config = load.load(CONTAINER / "example.json", {})
    assert set(config.servers) == {"time", "everything"}
    assert config.gateway.is_guarded


def test_the_container_has_what_its_parts_ask_of_each_other() -> None:
    read = compose()
    gateway, chat = read["services"]["gateway"], read["services"]["open-webui"]
    containerfile = (CONTAINER / "Containerfile").read_text()
    assert (CONTAINER / gateway["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / gateway["build"]["dockerfile"]).is_file()
    for mounted in gateway["volumes"]:
        inside = mounted.split(":")[1]
        assert re.search(rf"={inside}\b", containerfile), inside
    (connection,) = json.loads(chat["environment"]["TOOL_SERVER_CONNECTIONS"])
    example = json.loads((CONTAINER / "example.json").read_text())["gateway"]
    assert connection["url"].removesuffix("/tools") in example["publicUrl"]
    assert connection["path"] == "openapi.json"
    (key,) = example["auth"]["keys"]
    assert key["file"].removeprefix("/run/secrets/") in gateway["secrets"]
    assert read["secrets"].keys() == {*gateway["secrets"]}
    published = [port.rsplit(":", 2) for port in (*gateway["ports"], *chat["ports"])]
    assert {host for host, _, _ in published} == {"127.0.0.1"}


def test_what_was_not_built_says_so() -> None:
    for name in ("Containerfile", "compose.yaml"):
        assert "NOT BUILT HERE" in (CONTAINER / name).read_text().splitlines()[0]
    assert "Not built here" in (REPOSITORY / "docs" / "containers.md").read_text()


def test_the_versions_of_the_container_are_those_of_the_repository() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    found = re.findall(r"uv==(\S+)", (CONTAINER / "Containerfile").read_text())
    assert found == [version, version]
    project = tomllib.loads((REPOSITORY / "pkgs" / "mcp-gateway" / "pyproject.toml").read_text())
    demo = {entry.split("==")[0]: entry for entry in project["dependency-groups"]["demo"]}
    assert demo["mcp-server-time"] in (CONTAINER / "example.json").read_text()
