"""What must be true of what the modules, the package and the flake make; a check yields what is wrong.

The tests ask the checks about the project as it is; `test_faults.py` asks them about copies with one fault
each, which one of them has to find.
"""

import json
import re
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_gateway.config import load
from mcp_gateway.config.foreign import IGNORED, IGNORED_AT_TOP, RENAMED, SWITCHES, TOOL_LISTS
from mcp_gateway.config.model import schema
from mcp_gateway.faces import connecting
from tests.nix.evaluating import Evaluated, least_versions
from tests.nix.units import SERVE, Unit, analyzed, machine, units_of, written

Check = Callable[[Evaluated], Iterator[str]]
CHECKS: Final[list[Check]] = []

EXPOSURE_MAX: Final = {"mcp-gateway": 16, SERVE: 19}  # where 100 is the worst; systemd shows 1.6
STATE: Final = "/var/lib/mcp-gateway"
# What systemd and a file for the environment would set.
VARIABLES: Final = {"HOME": "/root", "HOSTILE": "x", "CREDENTIALS_DIRECTORY": "/run/credentials/x"}


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def _differ(what: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {found!r}, and should be {wanted!r}"


def _messages(what: str, found: list[str], pieces: list[str]) -> Iterator[str]:
    if len(found) != len(pieces):
        yield f"{what}: {len(found)} messages, and should be {len(pieces)}: {found}"
    for message, piece in zip(found, pieces, strict=False):
        if piece not in message:
            yield f"{what}: {message!r} does not say {piece!r}"


# --- options and what they refuse


@check
def what_is_wrong_is_refused_with_words(evaluated: Evaluated) -> Iterator[str]:
    for name, case in evaluated.cases.items():
        for kind, wanted in (("failed", "failed"), ("warnings", "warned"), ("homeFailed", "homeFailed")):
            yield from _messages(f"{name}, {kind}", case[kind], case["expected"].get(wanted, []))
        for message in (*case["failed"], *case["homeFailed"]):
            if not message.startswith("services.ai.mcpGateway."):
                yield f"{name}: {message!r} does not begin with the option"
            if not re.search(r"services\.[\w.\"-]+ = [^;]+;", message):
                yield f"{name}: {message!r} has no example"


@check
def what_has_the_wrong_type_is_refused(evaluated: Evaluated) -> Iterator[str]:
    for name, wanted in evaluated.all["broken"].items():
        if wanted not in evaluated.errors[name]:
            yield f"{name}: {evaluated.errors[name]!r} does not say {wanted!r}"


@check
def what_is_off_leaves_no_trace(evaluated: Evaluated) -> Iterator[str]:
    for name in ("untouched", "not-enabled", "ai-not-enabled", "standalone"):
        case = evaluated.cases[name]
        for kind in ("units", "session", "packages", "ports", "users", "groups", "entries", "icons", "files"):
            if case[kind]:
                yield f"{name}: there is something in {kind}: {case[kind]}"
        yield from _differ(f"{name}, url", case["url"], None)


@check
def a_client_runs_nothing(evaluated: Evaluated) -> Iterator[str]:
    for name in ("client", "client-without-pwa", "client-odd", "client-clients"):
        case = evaluated.cases[name]
        for kind in ("units", "ports", "users", "groups"):
            if case[kind]:
                yield f"{name}: there is something in {kind}: {case[kind]}"
        yield from _differ(f"{name}, packages", case["packages"], ["mcp-gateway"])


@check
def the_address_is_that_of_the_role(evaluated: Evaluated) -> Iterator[str]:
    wanted = {
        "server": "https://edge.taile0fb4.ts.net:8448/",
        "server-odd-ports": "https://edge-1.taile0fb4.ts.net:9443/",
        "server-local": "http://localhost:8085/",
        "server-local-pwa": "http://localhost:9001/",
        "server-open": "http://localhost:8085/",
        "server-one-address": "http://192.168.1.5:8085/",
        "client": "https://edge.taile0fb4.ts.net:8448/",
        "client-odd": "https://edge.taile0fb4.ts.net:9443/",
        "client-without-pwa": None,
        "serve-without-domain": None,
    }
    for name, url in wanted.items():
        case = evaluated.cases[name]
        yield from _differ(f"{name}, url", case["url"], url)
        told = case["session"].get("MCP_GATEWAY_URL")
        yield from _differ(f"{name}, MCP_GATEWAY_URL", told, None if url is None else url.removesuffix("/"))


@check
def the_machine_is_changed_as_asked(evaluated: Evaluated) -> Iterator[str]:
    yield from _differ("ports of server", evaluated.cases["server"]["ports"], [])
    yield from _differ("ports of server-open", evaluated.cases["server-open"]["ports"], [8085])
    user = {"isSystemUser": True, "group": "mcp-gateway", "home": STATE, "description": "MCP Gateway"}
    yield from _differ("users", evaluated.cases["server"]["users"], {"mcp-gateway": user})
    yield from _differ("groups", evaluated.cases["server"]["groups"], ["mcp-gateway"])
    yield from _differ("users of server-open", evaluated.cases["server-open"]["users"], {})
    yield from _differ("groups of server-open", evaluated.cases["server-open"]["groups"], [])


# --- the configuration


@check
def the_gateway_accepts_its_configuration(evaluated: Evaluated) -> Iterator[str]:
    for name in evaluated.served:
        if not evaluated.cases[name]["failed"]:
            file = Path(units_of(evaluated.cases[name])["mcp-gateway"].environment["MCP_GATEWAY_CONFIG"])
            report = load.check(file, VARIABLES)
            yield from (f"{name}: {problem}" for problem in (*report.problems, *report.warnings))
            # Files of credentials are there when systemd has started it.
            missing = [str(problem) for problem in report.unset if "/run/credentials/" not in str(problem)]
            yield from (f"{name}: {problem}" for problem in missing)


def _configs(evaluated: Evaluated) -> dict[str, Any]:
    return {name: units_of(case)["mcp-gateway"].config for name, case in evaluated.served.items()}


@check
def the_configuration_says_what_was_written(evaluated: Evaluated) -> Iterator[str]:
    configs = _configs(evaluated)
    servers = configs["server-values"]["mcpServers"]
    all_of_it = {
        "title": "All of it",
        "args": ["--quoted", "a b", "${HOME}"],
        "env": {
            "LANG": "C.UTF-8",
            "TEXT": "1",
            "FILE": {"file": "/run/secrets/a"},
            "CREDENTIAL": {"credential": "b"},
            "COMMAND": {"command": ["pass", "c"]},
            "TOKEN": {"credential": "all.TOKEN"},
        },
        "timeout": "2m",
        "tools": {"deny": ["rm"], "rename": {"ls": "list"}},
    }
    yield from _differ("all", {k: v for k, v in servers["all"].items() if k != "command"}, all_of_it)
    remote = {"url": "http://127.0.0.1:9000/sse", "type": "sse", "headers": {"X-Tenant": "a"}}
    yield from _differ("remote", servers.get("remote"), remote)
    yield from _differ("sleeping", servers["sleeping"].get("enabled"), False)
    yield from _differ("the servers of server-values", sorted(servers), ["all", "remote", "sleeping"])
    by_value = configs["server-by-value"]["mcpServers"]
    yield from _differ("docs", by_value["docs"], {"url": "https://mcp.example.com/mcp", "type": "http"})
    yield from _differ("the token of fetch", by_value["fetch"]["env"].get("TOKEN"), {"file": "/run/token"})
    yield from _differ("servers by value", sorted(by_value), ["docs", "fetch"])

    served = {"tailscale": {"identity": True, "operators": ["alice@example.com"]}}
    public = {"publicUrl": ["https://edge.taile0fb4.ts.net:8448"]}
    yield from _differ("gateway of server", configs["server"]["gateway"], {**served, **public})
    # Nobody on a machine of their own signs in, which an address in `publicUrl` would make them.
    yield from _differ("gateway of server-local", configs["server-local"]["gateway"], {})
    yield from _differ(
        "mcp of server-odd-ports", configs["server-odd-ports"]["gateway"].get("mcp"), {"enabled": False}
    )
    socket = configs["server-socket"]["gateway"]
    yield from _differ("socket", socket.get("socket"), "/run/mcp-gateway/socket")
    yield from _differ("capability", socket["tailscale"]["capability"], "example.com/cap/mcp-gateway")
    both = [*public["publicUrl"], "https://mcp.example.com"]
    yield from _differ("publicUrl", socket.get("publicUrl"), both)
    yield from _differ("limits", configs["server-open"]["gateway"].get("limits"), {"rate": 20})


@check
def servers_have_a_cache_and_a_python_that_runs(evaluated: Evaluated) -> Iterator[str]:
    for name, server in _configs(evaluated)["server"]["mcpServers"].items():
        if "command" not in server:
            continue
        env = server["env"]
        for variable in ("XDG_CACHE_HOME", "npm_config_cache", "UV_CACHE_DIR"):
            if not env.get(variable, "").startswith("/var/cache/mcp-gateway"):
                yield f"{name}: {variable} is {env.get(variable)!r}"
        yield from _differ(f"{name}, UV_PYTHON_DOWNLOADS", env.get("UV_PYTHON_DOWNLOADS"), "never")
        if not env.get("UV_PYTHON", "").endswith("-python3/bin/python3"):
            yield f"{name}: UV_PYTHON is {env.get('UV_PYTHON')!r}"


# Why there is no option for a key of the schema; all others have one or can be written in `settings`.
NO_WAY: Final = {
    "servers": "the same as mcpServers, which `servers` writes",
    "addedServers": "written by the gateway itself, into a file that it may write",
    "$schema": "for editors",
}
BY_OPTION: Final = {"host", "port", "mcp"}  # settings refuse these
FOREIGN: Final = {*IGNORED, *IGNORED_AT_TOP, *RENAMED, *SWITCHES, *TOOL_LISTS}
OF_SERVER: Final = {"title", "command", "args", "url", "env", "headers", "type", "enabled"}


@check
def every_key_of_the_schema_can_be_written(evaluated: Evaluated) -> Iterator[str]:
    known = schema()
    top = set(known["properties"]) - {"mcpServers", "gateway"} - set(NO_WAY) - FOREIGN
    yield from (f"nobody can write {key} at the top" for key in sorted(top))
    options = {option["name"]: option for option in evaluated.all["options"]["nixos"]}
    for kind, place, own in (
        ("GatewayConfig", "services.ai.mcpGateway", BY_OPTION),
        ("ServerConfig", "services.ai.mcpGateway.servers.<name>", OF_SERVER - {"enabled"}),
    ):
        if options[f"{place}.settings"]["type"] != "attribute set of anything":
            yield f"{place}.settings does not take everything"
        keys = set(known["$defs"][kind]["properties"])
        yield from (f"{key} is no key of {kind} any more" for key in sorted(own - keys))
        for key in own:
            name = f"{place}.{key}.enable" if key == "mcp" else f"{place}.{key}"
            if name not in options:
                yield f"{key} of {kind} has no option and cannot be written in settings"
    if "services.ai.mcpGateway.servers.<name>.autoStart" not in options:
        yield "enabled of a server cannot be written"


@check
def no_secret_is_in_the_store(evaluated: Evaluated) -> Iterator[str]:
    """What a person keeps in a file is named in the store, by its path, and never read."""
    server = units_of(evaluated.cases["server"])["mcp-gateway"]
    wanted = {
        "github.GITHUB_PERSONAL_ACCESS_TOKEN": "/run/agenix/github-token",
        "tickets.Authorization": "/run/agenix/tickets-authorization",
    }
    yield from _differ("LoadCredential", server.credentials, wanted)
    servers = server.config["mcpServers"]
    token = servers["github"]["env"]["GITHUB_PERSONAL_ACCESS_TOKEN"]
    yield from _differ("the token of github", token, {"credential": "github.GITHUB_PERSONAL_ACCESS_TOKEN"})
    header = servers["tickets"]["headers"]
    yield from _differ("the header", header, {"Authorization": {"credential": "tickets.Authorization"}})
    unit = units_of(evaluated.cases["server-open"])["mcp-gateway"]
    yield from _differ("credentials of server-open", unit.credentials, {"phone-key": "/run/agenix/phone-key"})
    yield from _differ("EnvironmentFile", unit.one("EnvironmentFile"), "/run/agenix/mcp-gateway.env")
    gone = units_of(evaluated.cases["server-values"])["mcp-gateway"].credentials
    yield from _differ("credentials of server-values", gone, {"all.TOKEN": "/run/agenix/token"})


# --- units

# Of the gateway's unit in every case; some more differ by case.
WANTED: Final = {
    "Type": "exec",
    "StateDirectory": "mcp-gateway",
    "StateDirectoryMode": "0700",
    "CacheDirectory": "mcp-gateway",
    "CacheDirectoryMode": "0700",
    "RuntimeDirectory": "mcp-gateway",
    "RuntimeDirectoryMode": "0750",
    "WorkingDirectory": STATE,
    "UMask": "0077",
    "Restart": "on-failure",
    "RestartPreventExitStatus": "2",
    "KillMode": "mixed",
    "TimeoutStopSec": "45",
    "SystemCallErrorNumber": "EPERM",
    "ProtectSystem": "strict",
    "NoNewPrivileges": "true",
    "After": "network-online.target",
    "Wants": "network-online.target",
    "WantedBy": "multi-user.target",
}
# Node compiles at run time; a server has to reach data by its group; /proc/net/tcp says who calls.
NEVER: Final = ("MemoryDenyWriteExecute", "DynamicUser", "PrivateUsers", "PrivateNetwork", "ProcSubset")


@check
def the_unit_is_as_it_should_be(evaluated: Evaluated) -> Iterator[str]:
    for name in evaluated.served:
        unit = units_of(evaluated.cases[name])["mcp-gateway"]
        for key, value in WANTED.items():
            yield from _differ(f"{name}, {key}", unit.one(key), value)
        yield from (f"{name}: {key} breaks servers" for key in NEVER if key in unit.directives)
        command = unit.one("ExecStart") or ""
        if not re.fullmatch(
            rf"{re.escape(str(evaluated.nix.store))}/\w+-mcp-gateway/bin/mcp-gateway serve", command
        ):
            yield f"{name}: ExecStart is {command!r}"
        if "AF_NETLINK" not in unit.directives.get("RestrictAddressFamilies", ()):
            yield f"{name}: getifaddrs fails without AF_NETLINK"
        if "~@privileged" not in unit.directives.get("SystemCallFilter", ()):
            yield f"{name}: privileged system calls are allowed"


@check
def the_unit_says_where_and_who(evaluated: Evaluated) -> Iterator[str]:
    wanted: Mapping[str, tuple[str, str, str | None, str]] = {
        "server": ("127.0.0.1", "8085", "https://edge.taile0fb4.ts.net:8448", "mcp-gateway"),
        "server-local": ("127.0.0.1", "8085", None, "mcp-gateway"),
        "server-odd-ports": ("127.0.0.1", "9001", "https://edge-1.taile0fb4.ts.net:9443", "mcp-gateway"),
        "server-open": ("0.0.0.0", "8085", None, "alice"),
        "server-socket": (
            *("127.0.0.1", "8085", "https://edge.taile0fb4.ts.net:8448 https://mcp.example.com"),
            "mcp-gateway",
        ),
    }
    for name, (host, port, public, user) in wanted.items():
        unit = units_of(evaluated.cases[name])["mcp-gateway"]
        env = unit.environment
        told = {
            key.removeprefix("MCP_GATEWAY_"): env.get(key) for key in env if key.startswith("MCP_GATEWAY_")
        }
        told.pop("CONFIG", None)
        expected = {"HOST": host, "PORT": port, "STATE_DIR": STATE}
        yield from _differ(name, told, expected if public is None else {**expected, "PUBLIC_URL": public})
        yield from _differ(f"{name}, HOME", env.get("HOME"), STATE)
        yield from _differ(f"{name}, User", unit.one("User"), user)
        for program in ("bash", "nodejs", "uv", "python3", "git"):
            if f"-{program}/bin" not in env["PATH"]:
                yield f"{name}: no {program} on the PATH"


@check
def what_may_be_written_is_what_was_named(evaluated: Evaluated) -> Iterator[str]:
    plain = units_of(evaluated.cases["server"])["mcp-gateway"]
    yield from _differ("ReadWritePaths", plain.one("ReadWritePaths"), "/srv/repo")
    yield from _differ("ProtectHome", plain.one("ProtectHome"), "true")
    yield from _differ("BindPaths", plain.one("BindPaths"), None)
    people = units_of(evaluated.cases["server-open"])["mcp-gateway"]
    yield from _differ("paths", people.directives["ReadWritePaths"], ["/srv/repo", "/home/alice/notes"])
    yield from _differ("ProtectHome, with a path of a person", people.one("ProtectHome"), "tmpfs")
    yield from _differ("BindPaths, with a path of a person", people.one("BindPaths"), "/home/alice/notes")


@check
def systemd_finds_no_fault(evaluated: Evaluated) -> Iterator[str]:
    for name in ("server", "server-open", "server-values"):
        done = analyzed("verify", "--man=no", *map(str, written(evaluated, name)))
        said = [
            line
            for line in done.stderr.splitlines()
            if f"{evaluated.nix.folder}" in line or "mcp-gateway" in line
        ]
        if done.returncode or said:
            yield f"{name}: {said or done.stderr}"


@check
def little_is_left_to_attack(evaluated: Evaluated) -> Iterator[str]:
    for path in written(evaluated, "server"):
        most = f"--threshold={EXPOSURE_MAX[path.stem]}"
        done = analyzed("security", "--offline=true", most, "--no-pager", str(path))
        if done.returncode:
            yield f"{path.name}: {done.stdout.splitlines()[-1:]} {done.stderr}"


# --- tailscale serve


def _serving(evaluated: Evaluated, case: str) -> Unit:
    written(evaluated, case)
    return units_of(evaluated.cases[case])[SERVE]


@check
def only_who_asked_is_served(evaluated: Evaluated) -> Iterator[str]:
    for name, case in evaluated.served.items():
        asked = case["options"]["tailscaleServe"]["enable"]
        yield from _differ(f"{name}: the unit for Tailscale is there", SERVE in case["units"], asked)


@check
def serving_is_bounded_and_in_order(evaluated: Evaluated) -> Iterator[str]:
    unit = _serving(evaluated, "server")
    wanted = {
        "Type": "oneshot",
        "RemainAfterExit": "true",
        "TimeoutStartSec": "180",
        "Restart": "on-failure",
        "RestartSec": "10",
        "StartLimitBurst": "5",
        "WantedBy": "multi-user.target",
        "After": "tailscaled.service tailscaled-autoconnect.service mcp-gateway.service",
    }
    for key, value in wanted.items():
        yield from _differ(key, unit.one(key), value)


@check
def serving_serves_and_stopping_stops(evaluated: Evaluated) -> Iterator[str]:
    wanted = {
        "server": (":8448/", "http://127.0.0.1:8085"),
        "server-odd-ports": (":9443/", "http://127.0.0.1:9001"),
        "server-socket": (":8448/", "unix:/run/mcp-gateway/socket"),
    }
    others = {
        "TCP": {"443": {"HTTPS": True}},
        "Web": {"edge.taile0fb4.ts.net:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:1"}}}},
    }
    for name, (at, target) in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            box = machine(Path(folder), _serving(evaluated, name), serve=others)
            before = box.served
            for turn in ("once", "again"):
                status, said = box.start()
                if status:
                    yield f"{name}, {turn}: {said}"
                yield from _differ(
                    f"{name}, {turn}", box.served, {**before, f"edge.taile0fb4.ts.net{at}": target}
                )
            if name == "server-socket" and not any(
                "--accept-app-caps" in " ".join(call) for call in box.changes
            ):
                yield f"{name}: Tailscale is not told of the capability"
            status, said = box.stop()
            if status:
                yield f"{name}, stopping: {said}"
            yield from _differ(f"{name}, stopped", box.served, before)
            status, said = box.stop()  # when it is gone already
            if status:
                yield f"{name}, stopping twice: {said}"


@check
def stopping_leaves_what_is_not_ours(evaluated: Evaluated) -> Iterator[str]:
    at = "edge.taile0fb4.ts.net:8448"
    unit = _serving(evaluated, "server")
    with tempfile.TemporaryDirectory() as folder:
        taken = {
            "TCP": {"8448": {"HTTPS": True}},
            "Web": {at: {"Handlers": {"/": {"Proxy": "http://127.0.0.1:3000"}}}},
        }
        box = machine(Path(folder), unit, serve=taken)
        box.stop()
        yield from _differ("somebody else's", box.served, {f"{at}/": "http://127.0.0.1:3000"})
    with tempfile.TemporaryDirectory() as folder:
        handlers = {"/": {"Proxy": "http://127.0.0.1:8085"}, "/other": {"Proxy": "http://127.0.0.1:3000"}}
        box = machine(
            Path(folder), unit, serve={"TCP": {"8448": {"HTTPS": True}}, "Web": {at: {"Handlers": handlers}}}
        )
        box.stop()
        yield from _differ("another path", box.served, {f"{at}/other": "http://127.0.0.1:3000"})


@check
def serving_waits_until_tailscale_runs(evaluated: Evaluated) -> Iterator[str]:
    unit = _serving(evaluated, "server")
    with tempfile.TemporaryDirectory() as folder:
        box = machine(Path(folder), unit, backend=["NoState", "Starting", "Running"])
        status, said = box.start()
        if status or not box.served:
            yield f"it was started, and: {said}"
    with tempfile.TemporaryDirectory() as folder:
        box = machine(Path(folder), unit, backend=["NeedsLogin"])
        status, said = box.start()
        if not status or "NeedsLogin" not in said or "tailscale up" not in said:
            yield f"nobody is logged in, and: {status} {said}"
        turns, pauses = ((Path(folder) / name).read_text().split() for name in ("turns", "slept"))
        yield from _differ("seconds waited", int(turns[0]) * int(pauses[0]), 120)


@check
def a_tailnet_without_https_is_a_failure(evaluated: Evaluated) -> Iterator[str]:
    unit = _serving(evaluated, "server")
    for waits in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            box = machine(Path(folder), unit, https=False, waits=waits)
            status, said = box.start()
            if not status or "Enable HTTPS for the tailnet" not in said:
                yield f"waits={waits}: {status} {said}"
            bounds = {int(text) for text in (Path(folder) / "bound").read_text().split()}
            yield from _differ("the bound", bounds, {30})


@check
def serving_tries_again_when_somebody_else_was_quicker(evaluated: Evaluated) -> Iterator[str]:
    unit = _serving(evaluated, "server")
    for conflicts, wanted in ((2, True), (9, False)):
        with tempfile.TemporaryDirectory() as folder:
            box = machine(Path(folder), unit, conflicts=conflicts)
            status, said = box.start()
            if (status == 0) != wanted:
                yield f"{conflicts} conflicts: {status} {said}"


# --- what a person gets

# By URL and browser, as Chromium 156 names its windows; the port is not in it, a path is, "/" is "_".
APP_IDS: Final = {
    "server": "brave-edge.taile0fb4.ts.net__-Default",
    "server-local-pwa": "brave-localhost__-Default",
    "client": "brave-edge.taile0fb4.ts.net__-Default",
    "client-odd": "brave-edge.taile0fb4.ts.net__-Default",
    "standalone-home": "chrome-edge.taile0fb4.ts.net__-Default",
    "standalone-path": "chrome-gw.example.com__a%20b-Default",
}


@check
def the_desktop_entry_opens_the_gateway(evaluated: Evaluated) -> Iterator[str]:
    with_entry = {name for name, case in evaluated.cases.items() if case["entries"] and not case["failed"]}
    yield from _differ("cases with an entry", with_entry, {*APP_IDS, "client-clients"})
    for name, app_id in APP_IDS.items():
        for file, text in evaluated.cases[name]["entries"].items():
            entry = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            yield from _differ(f"{name}, file", file, "axios-mcp-gateway")
            yield from _differ(f"{name}, Name", entry["Name"], "Axios MCP Gateway")
            yield from _differ(f"{name}, StartupWMClass", entry["StartupWMClass"], app_id)
            yield from _differ(f"{name}, Icon", entry["Icon"], "axios-mcp-gateway")
            yield from _differ(f"{name}, Terminal", entry["Terminal"], "false")
            yield from _differ(f"{name}, Categories", entry["Categories"], "Network;Development;")
            _program, *words = entry["Exec"].replace("%%", "%").split(" ")
            if re.search(r"(?<!%)%(?!%)", entry["Exec"].replace("%%", "")):
                yield f"{name}: a percent sign in Exec is not doubled"
            url = "https://gw.example.com/a%20b" if name == "standalone-path" else None
            url = url or evaluated.cases[name]["url"] or "https://edge.taile0fb4.ts.net:8448/"
            folder = "/home/alice/.local/share/axios-pwa/mcp-gateway"
            wanted = [f"--app={url}", f"--class={app_id}", f"--user-data-dir={folder}"]
            yield from _differ(f"{name}, Exec", words, wanted)


def png_side(file: Path) -> int:
    """The side of a square picture, from its header."""
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", f"{file} is no PNG"
    width, height = struct.unpack(">II", head[16:24])
    assert width == height, f"{file} is {width} by {height}"
    return int(width)


@check
def icons_have_the_size_that_they_are_found_by(evaluated: Evaluated) -> Iterator[str]:
    icons = evaluated.cases["client"]["icons"]
    if "icons/hicolor/128x128/apps/axios-mcp-gateway.png" not in icons or len(icons) < 3:
        yield f"there are {sorted(icons)}"
    for place, file in icons.items():
        side = png_side(Path(file))
        yield from _differ(place, place, f"icons/hicolor/{side}x{side}/apps/axios-mcp-gateway.png")


# Which text of the page Connect a file has, by its end.
FILES: Final = {
    "/home/alice/.config/mcp-gateway/claude-code.json": "claude-code",
    "/home/alice/.codex/config.toml": "codex",
    "/home/alice/.gemini/settings.json": "gemini-cli",
    "/home/alice/.config/Code/User/mcp.json": "vscode",
}


@check
def clients_are_told_what_the_page_tells_them(evaluated: Evaluated) -> Iterator[str]:
    for name, url, needs_key in (
        ("client-clients", "https://edge.taile0fb4.ts.net:8448", True),
        ("standalone-clients", "https://gw.example.com", False),
    ):
        files = evaluated.cases[name]["files"]
        yield from _differ(f"{name}, files", sorted(files), sorted(FILES))
        endpoint = connecting.Endpoint(url, needs_key=needs_key)
        told = {client["id"]: client for client in connecting.clients(endpoint)}
        for file, client in FILES.items():
            snippets = [snippet for snippet in told[client]["snippets"] if snippet["language"] != "sh"]
            text, wanted = files.get(file, ""), snippets[-1]["text"]
            if file.endswith(".json"):
                yield from _differ(f"{name}, {client}", json.loads(text or "null"), json.loads(wanted))
            else:
                yield from _differ(f"{name}, {client}", text.strip(), wanted)
    yield from _differ(
        "files of standalone-home",
        sorted(evaluated.cases["standalone-home"]["files"]),
        sorted(file for file, client in FILES.items() if client in ("claude-code", "vscode")),
    )


# --- the package and the flake


@check
def the_package_has_what_the_gateway_needs(evaluated: Evaluated) -> Iterator[str]:
    package = evaluated.all["package"]
    yield from _differ("dependencies", sorted(package["dependencies"]), sorted(least_versions()))
    yield from _differ("build system", package["buildSystem"], ["hatchling"])
    yield from _differ("main program", package["meta"]["mainProgram"], "mcp-gateway")
    yield from _differ("pyproject", package["pyproject"], True)
    yield from _differ("relaxed", package["pythonRelaxDeps"], True)
    if f"{package['ui']['path']} src/mcp_gateway/faces/ui/static" not in package["preBuild"]:
        yield "the browser's files are not put in their place"


@check
def the_browsers_files_come_from_the_lock_file(evaluated: Evaluated) -> Iterator[str]:
    packages = evaluated.all["package"]["ui"]["lock"]["packages"]
    for place, entry in packages.items():
        if "integrity" not in entry:
            if place and not entry.get("inBundle"):
                yield f"{place} is not pinned"
            continue
        address = urlsplit(entry.get("resolved", ""))
        name = place.rpartition("node_modules/")[2]
        path = f"/{name}/-/{name.rpartition('/')[2]}-{entry['version']}.tgz"
        wanted = ("https", "registry.npmjs.org", path)
        yield from _differ(place, (address.scheme, address.netloc, address.path), wanted)


@check
def the_flake_offers_what_it_should(evaluated: Evaluated) -> Iterator[str]:
    flake = evaluated.all["flake"]
    systems = ["aarch64-linux", "x86_64-linux"]
    yield from _differ("inputs", flake["inputs"], {"nixpkgs": {"url": "github:NixOS/nixpkgs/nixos-unstable"}})
    for kind in ("packages", "checks", "devShells"):
        yield from _differ(kind, sorted(flake[kind]), systems)
    yield from _differ("nixosModules", flake["nixosModules"], ["ai", "default", "mcp-gateway"])
    yield from _differ("homeModules", flake["homeModules"], ["default"])
    yield from _differ("the overlay has", flake["overlay"], "axios-mcp-gateway")
    yield from _differ("overlays of the module", flake["overlays"], 1)
    yield from _differ("units", flake["units"], ["mcp-gateway", SERVE])
    yield from _differ("units of our options alone", flake["alone"], [])
