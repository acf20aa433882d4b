"""The checks find faults: each row is one small mistake in a copy of the project, and who has to see it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.nix import checking
from tests.nix.checking import Check
from tests.nix.evaluating import Nix, copy_sources, evaluate

MODULE: Final = "modules/ai/mcp-gateway.nix"
HOME: Final = "home/ai/mcp-gateway.nix"
PACKAGE: Final = "pkgs/mcp-gateway/default.nix"


@dataclass(frozen=True)
class Fault:
    file: str
    right: str
    wrong: str
    found_by: Check


FAULTS: Final = {
    # Who is asked, and what is refused
    "a module that ignores services.ai.enable": Fault(
        *(MODULE, "on = config.services.ai.enable && cfg.enable;", "on = cfg.enable;"),
        checking.what_is_off_leaves_no_trace,
    ),
    "a client that runs a gateway": Fault(
        *(MODULE, 'isServer = on && cfg.role == "server";', "isServer = on;"),
        checking.a_client_runs_nothing,
    ),
    "an assertion that holds always": Fault(
        *(MODULE, '(needs (cfg.role != "client" || cfg.serverHost != null)', "(needs true"),
        checking.what_is_wrong_is_refused_with_words,
    ),
    "assertions of a gateway that is off": Fault(
        *(MODULE, "config = mkIf on {", "config = mkIf cfg.enable {"),
        checking.what_is_wrong_is_refused_with_words,
    ),
    "one of command and url, or both": Fault(
        *(MODULE, "(needs ((server.command == null) != (server.url == null))"),
        "(needs (server.command != null || server.url != null)",
        checking.what_is_wrong_is_refused_with_words,
    ),
    "a secret that may be in the store": Fault(
        *(MODULE, "secretFile = types.externalPath;", "secretFile = types.path;"),
        checking.what_has_the_wrong_type_is_refused,
    ),
    "an address that can be set": Fault(
        *(MODULE, "readOnly = true;", ""), checking.what_has_the_wrong_type_is_refused
    ),
    "a secret in the clear that nobody hears of": Fault(
        *(MODULE, 'secretName = ".*(token|', 'secretName = ".*('),
        checking.what_is_wrong_is_refused_with_words,
    ),
    # Addresses
    "a client at the port of its own machine": Fault(
        *(MODULE, "onTailnet cfg.serverHost cfg.serverPort", "onTailnet cfg.serverHost serve.httpsPort"),
        checking.the_address_is_that_of_the_role,
    ),
    "a server whose name in the tailnet is ignored": Fault(
        *(MODULE, "if cfg.serverHost != null then cfg.serverHost else", "if false then null else"),
        checking.the_address_is_that_of_the_role,
    ),
    "a public address that the gateway is not told": Fault(
        *(MODULE, "MCP_GATEWAY_PUBLIC_URL", "MCP_GATEWAY_PUBLICURL"), checking.the_unit_says_where_and_who
    ),
    "localhost as a public address": Fault(
        *(MODULE, "lib.optionals (isServed && url != null)", "lib.optionals (url != null)"),
        checking.the_configuration_says_what_was_written,
    ),
    # The configuration
    "a key that the gateway does not know": Fault(
        *(
            MODULE,
            "// lib.optionalAttrs (!cfg.mcp.enable) { mcp.enabled",
            "// lib.optionalAttrs (!cfg.mcp.enable) { mcp.enable",
        ),
        checking.the_gateway_accepts_its_configuration,
    ),
    "a server that is off and written": Fault(
        *(
            MODULE,
            "mcpServers = lib.mapAttrs entry enabledServers;",
            "mcpServers = lib.mapAttrs entry cfg.servers;",
        ),
        checking.the_gateway_accepts_its_configuration,
    ),
    "autoStart the wrong way round": Fault(
        *(MODULE, "if server.autoStart then null else false", "if server.autoStart then false else null"),
        checking.the_configuration_says_what_was_written,
    ),
    "nobody is known by their log-in": Fault(
        *(MODULE, "identity = true; inherit (serve) operators;", "identity = true;"),
        checking.the_configuration_says_what_was_written,
    ),
    "settings that lose": Fault(
        *(MODULE, '(removeAttrs cfg.settings [ "publicUrl" ]);', "{ };"),
        checking.the_configuration_says_what_was_written,
    ),
    "a Python that uv downloads": Fault(
        *(MODULE, 'UV_PYTHON_DOWNLOADS = "never";', 'UV_PYTHON_DOWNLOADS = "automatic";'),
        checking.servers_have_a_cache_and_a_python_that_runs,
    ),
    "settings that are strings": Fault(
        *(MODULE, "settings = mkOption {\n      type = types.attrsOf types.anything;"),
        "settings = mkOption {\n      type = types.attrsOf types.str;",
        checking.every_key_of_the_schema_can_be_written,
    ),
    "a credential under another name": Fault(
        *(MODULE, '"${credentialName server name}:${file}"', '"${name}:${file}"'),
        checking.no_secret_is_in_the_store,
    ),
    # The unit
    "a port of the firewall for everybody": Fault(
        *(MODULE, "mkIf (isServer && cfg.openFirewall)", "mkIf isServer"),
        checking.the_machine_is_changed_as_asked,
    ),
    "a number in the environment": Fault(
        *(MODULE, "MCP_GATEWAY_PORT = toString cfg.port;", 'MCP_GATEWAY_PORT = "8085";'),
        checking.the_unit_says_where_and_who,
    ),
    "memory that node cannot compile into": Fault(
        *(MODULE, 'AmbientCapabilities = "";', 'AmbientCapabilities = ""; MemoryDenyWriteExecute = true;'),
        checking.the_unit_is_as_it_should_be,
    ),
    "a signal instead of a refusal": Fault(
        *(MODULE, 'SystemCallErrorNumber = "EPERM";\n        # Not', "# Not"),
        checking.the_unit_is_as_it_should_be,
    ),
    "a unit that is not sandboxed": Fault(
        *(
            MODULE,
            'ProtectProc = "invisible";\n        ProtectSystem = "strict";\n        RemoveIPC',
            "RemoveIPC",
        ),
        checking.little_is_left_to_attack,
    ),
    "a directive that systemd does not know": Fault(
        *(MODULE, 'KillMode = "mixed";', 'KillMode = "mixd";'), checking.systemd_finds_no_fault
    ),
    "a home that is hidden although it may be written": Fault(
        *(MODULE, 'if ofPeople == [ ] then true else "tmpfs"', "true"),
        checking.what_may_be_written_is_what_was_named,
    ),
    # tailscale serve
    "the port of the tailnet behind, that of the gateway in front": Fault(
        *(MODULE, "--bg --yes --https=${httpsPort}", "--bg --yes --https=${toString cfg.port}"),
        checking.serving_serves_and_stopping_stops,
    ),
    "serving in the foreground": Fault(
        *(MODULE, "serve --bg --yes", "serve --yes"), checking.serving_serves_and_stopping_stops
    ),
    "stopping that resets everything": Fault(
        *(MODULE, "tailscale serve --yes --https=${httpsPort} --set-path=/ off", "tailscale serve reset"),
        checking.serving_serves_and_stopping_stops,
    ),
    "stopping whatever is there": Fault(
        *(MODULE, "if is_ours; then tailscale serve --yes", "if true; then tailscale serve --yes"),
        checking.stopping_leaves_what_is_not_ours,
    ),
    "stopping all paths of the port": Fault(
        *(MODULE, " --set-path=/ off", " off"), checking.stopping_leaves_what_is_not_ours
    ),
    "serving that believes what it is told": Fault(
        *(MODULE, "if is_ours; then exit 0; fi", "exit 0"), checking.a_tailnet_without_https_is_a_failure
    ),
    "serving without a bound": Fault(
        *(MODULE, "timeout 30 tailscale", "timeout 3000 tailscale"),
        checking.a_tailnet_without_https_is_a_failure,
    ),
    "serving that does not wait": Fault(
        *(MODULE, '"$state" = Running', '"$state" != ""'), checking.serving_waits_until_tailscale_runs
    ),
    "serving that tries once": Fault(
        *(MODULE, "for _ in 1 2 3 4 5; do", "for _ in 1; do"),
        checking.serving_tries_again_when_somebody_else_was_quicker,
    ),
    "serving that nobody asked for": Fault(
        *(MODULE, "isServed = isServer && serve.enable;", "isServed = isServer;"),
        checking.only_who_asked_is_served,
    ),
    # What a person gets
    "a window that keeps the port in its name": Fault(
        *(HOME, '(:[0-9]+)?(/[^?#]*)?" cfg.url', '()(/[^?#]*)?" cfg.url'),
        checking.the_desktop_entry_opens_the_gateway,
    ),
    "a window without a class": Fault(
        *(HOME, '"--class=${appId}"\n', "\n"), checking.the_desktop_entry_opens_the_gateway
    ),
    "an entry for a gateway that is off": Fault(
        *(HOME, "if ai.enable or false then ai.mcpGateway or { } else { }", "ai.mcpGateway or { }"),
        checking.what_is_wrong_is_refused_with_words,
    ),
    "an icon in the folder of another size": Fault(
        *(HOME, '"256" = "axios-mcp-gateway-256.png"', '"256" = "axios-mcp-gateway-512.png"'),
        checking.icons_have_the_size_that_they_are_found_by,
    ),
    "a key in a file": Fault(
        *(HOME, 'withKey "\\${${variable}}"', 'withKey "secret"'),
        checking.clients_are_told_what_the_page_tells_them,
    ),
    # The package and the flake
    "an address of another registry": Fault(
        *(PACKAGE, "https://registry.npmjs.org/", "https://registry.example/"),
        checking.the_browsers_files_come_from_the_lock_file,
    ),
    "a wheel without what browsers load": Fault(
        *(PACKAGE, "src/mcp_gateway/faces/ui/static\n  ''", "static\n  ''"),
        checking.the_package_has_what_the_gateway_needs,
    ),
    "a module of the flake without the package": Fault(
        *("flake.nix", "nixpkgs.overlays = [ self.overlays.default ];", ""),
        checking.the_flake_offers_what_it_should,
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(tmp_path_factory: pytest.TempPathFactory, nix: Nix, fault: Fault) -> None:
    repository = tmp_path_factory.mktemp("fault")
    copy_sources(repository)
    file = repository / fault.file
    text = file.read_text()
    assert text.count(fault.right) >= 1, "the table has a line that is not there any more"
    file.write_text(text.replace(fault.right, fault.wrong, 1))
    try:
        evaluated = evaluate(nix, Path(repository))
    except ValueError:
        return  # Nix itself has found it
    assert next(fault.found_by(evaluated), None) is not None
