# MCP Gateway for a person: a desktop entry that opens its pages as an app, and files that connect clients to
# it. Takes what the NixOS module says where there is one; standalone home-manager sets the options here.
{ config, lib, pkgs, osConfig ? null, ... }:
let
  inherit (lib) literalExpression mkIf mkOption types;

  at = "services.ai.mcpGateway";
  cfg = config.services.ai.mcpGateway;
  # osConfig is null under standalone home-manager, of which `or` makes nothing as well.
  ai = osConfig.services.ai or { };
  gateway = if ai.enable or false then ai.mcpGateway or { } else { };
  fromNixos = if gateway.enable or false then gateway else { };

  origin = if cfg.url == null then null else lib.removeSuffix "/" cfg.url;
  isUsable = cfg.url != null;

  # ---- the desktop entry
  # What the windows of `--app=URL` are called on Wayland: the browser's word, the host, the path and the
  # profile; the port is not in it. X11 has no such name, so `--class` gives it the same.
  browsers = {
    brave = { word = "brave"; package = pkgs.brave; };
    chromium = { word = "chrome"; package = pkgs.chromium; };
    google-chrome = { word = "chrome"; package = pkgs.google-chrome; };
  };
  browser = browsers.${cfg.pwa.browser};
  appId =
    let
      parts = builtins.match "https?://([^:/?#]+)(:[0-9]+)?(/[^?#]*)?" cfg.url;
      path = builtins.elemAt parts 2;
      # A missing path is "/" to a browser.
      named = "${builtins.elemAt parts 0}_${if path == null then "/" else path}";
    in
    "${browser.word}-${builtins.replaceStrings [ "/" ] [ "_" ] named}-Default";
  # In Exec a percent sign begins a field; a URL may have some.
  exec = lib.concatStringsSep " " (map (builtins.replaceStrings [ "%" ] [ "%%" ]) [
    (lib.getExe browser.package)
    "--app=${cfg.url}"
    "--class=${appId}"
    # A running browser ignores --class; one with a directory of its own is never running already.
    "--user-data-dir=${config.xdg.dataHome}/axios-pwa/mcp-gateway"
  ]);
  icons = ../resources/pwa-icons;
  iconSizes = { "128" = "axios-mcp-gateway.png"; "256" = "axios-mcp-gateway-256.png"; "512" = "axios-mcp-gateway-512.png"; };

  # ---- clients
  mcpUrl = "${origin}/mcp";
  withKey = key: lib.optionalAttrs cfg.clients.sendKey { headers.Authorization = "Bearer ${key}"; };
  variable = cfg.clients.keyVariable;
  files = {
    claudeCode = {
      path = "${config.xdg.configHome}/mcp-gateway/claude-code.json";
      text = builtins.toJSON { mcpServers.gateway = { type = "http"; url = mcpUrl; } // withKey "\${${variable}}"; };
    };
    codex = {
      path = "${config.home.homeDirectory}/.codex/config.toml";
      text = ''
        [mcp_servers.gateway]
        url = ${builtins.toJSON mcpUrl}
      '' + lib.optionalString cfg.clients.sendKey ''
        bearer_token_env_var = ${builtins.toJSON variable}
      '';
    };
    geminiCli = {
      path = "${config.home.homeDirectory}/.gemini/settings.json";
      text = builtins.toJSON { mcpServers.gateway = { httpUrl = mcpUrl; } // withKey "\$${variable}"; };
    };
    vscode = {
      path = "${config.xdg.configHome}/Code/User/mcp.json";
      text = builtins.toJSON (lib.optionalAttrs cfg.clients.sendKey {
        inputs = [ { type = "promptString"; id = "gateway-key"; description = "Key of the MCP gateway"; password = true; } ];
      } // { servers.gateway = { type = "http"; url = mcpUrl; } // withKey "\${input:gateway-key}"; });
    };
  };
  wanted = builtins.filter (client: cfg.clients.${client}.enable) (lib.attrNames files);
  client = name: what: {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to write ${what}. The file then belongs to home-manager whole.";
    };
  };
in
{
  options.services.ai.mcpGateway = {
    url = mkOption {
      type = types.nullOr (types.strMatching "https?://[^:/?#[:space:]\"\\`$]+(:[0-9]+)?(/[^?#[:space:]\"\\`$]*)?");
      default = fromNixos.url or null;
      defaultText = literalExpression "osConfig.services.ai.mcpGateway.url";
      example = "https://edge.taile0fb4.ts.net:8448/";
      description = "Where the gateway is. NixOS knows it; standalone home-manager has to be told.";
    };
    pwa.enable = mkOption {
      type = types.bool;
      default = fromNixos.pwa.enable or false;
      defaultText = literalExpression "osConfig.services.ai.mcpGateway.pwa.enable";
      description = "Whether to add the desktop entry \"Axios MCP Gateway\".";
    };
    pwa.browser = mkOption {
      type = types.enum [ "brave" "chromium" "google-chrome" ];
      default = "brave";
      description = "The browser that shows it.";
    };
    clients = {
      sendKey = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether clients send an API key. Over `tailscale serve` people are known without one, and a gateway
          that is not served asks nobody on its own machine.
        '';
      };
      keyVariable = mkOption {
        type = types.strMatching "[A-Za-z_][A-Za-z0-9_]*";
        default = "GATEWAY_KEY";
        description = ''
          The environment variable that holds the key. No file has the key itself; VS Code asks for it.
        '';
      };
      claudeCode = client "claudeCode" "`mcp-gateway/claude-code.json` in the configuration directory, for `claude --mcp-config FILE`";
      codex = client "codex" "`~/.codex/config.toml`";
      geminiCli = client "geminiCli" "`~/.gemini/settings.json`";
      vscode = client "vscode" "VS Code's `mcp.json` of the user";
    };
  };

  config = {
    assertions = [
      {
        assertion = !cfg.pwa.enable || isUsable;
        message = "${at}.pwa.enable needs to know where the gateway is: on NixOS set ${at}.pwa.tailnetDomain there, and ${at}.serverHost on a client; else set ${at}.url = \"https://edge.taile0fb4.ts.net:8448/\"; for home-manager";
      }
      {
        assertion = wanted == [ ] || isUsable;
        message = "${at}.clients.${lib.concatStringsSep ", " wanted} needs to know where the gateway is, for example ${at}.url = \"https://edge.taile0fb4.ts.net:8448/\";";
      }
      {
        # On the gateway's own machine this is known.
        assertion = wanted == [ ] || (fromNixos.mcp.enable or true);
        message = "${at}.clients.${lib.concatStringsSep ", " wanted} needs MCP URLs, which NixOS closes: ${at}.mcp.enable = true;";
      }
    ];

    home.file = mkIf isUsable (lib.listToAttrs (map
      (name: lib.nameValuePair files.${name}.path { inherit (files.${name}) text; })
      wanted));

    xdg.dataFile = mkIf (cfg.pwa.enable && isUsable) (lib.mapAttrs'
      (size: file: lib.nameValuePair "icons/hicolor/${size}x${size}/apps/axios-mcp-gateway.png" { source = icons + "/${file}"; })
      iconSizes);

    xdg.desktopEntries = mkIf (cfg.pwa.enable && isUsable) {
      axios-mcp-gateway = {
        name = "Axios MCP Gateway";
        genericName = "MCP servers";
        comment = "Servers, tools and activity of the MCP gateway";
        inherit exec;
        icon = "axios-mcp-gateway";
        terminal = false;
        type = "Application";
        categories = [ "Network" "Development" ];
        settings = {
          StartupWMClass = appId;
          Keywords = "mcp;tools;ai;";
        };
      };
    };
  };
}
