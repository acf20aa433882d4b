# MCP Gateway on NixOS: `services.ai.mcpGateway`, for the machine that runs it (role "server") and for those
# that use it (role "client"). docs/nixos.md explains it, docs/MODULE_REFERENCE.md lists every option.
{ config, lib, pkgs, ... }:
let
  inherit (lib) literalExpression mkDefault mkIf mkOption types;

  at = "services.ai.mcpGateway";
  cfg = config.services.ai.mcpGateway;
  serve = cfg.tailscaleServe;
  on = config.services.ai.enable && cfg.enable;
  isServer = on && cfg.role == "server";
  isServed = isServer && serve.enable;

  # systemd makes these from the name of the unit.
  stateDir = "/var/lib/mcp-gateway";
  cacheDir = "/var/cache/mcp-gateway";
  socket = cfg.settings.socket or "/run/mcp-gateway/socket";

  # ---- where people reach it
  onTailnet = host: port:
    if host == null || cfg.pwa.tailnetDomain == null then null
    else "https://${lib.toLower "${host}.${cfg.pwa.tailnetDomain}"}:${toString port}/";
  ownName = if cfg.serverHost != null then cfg.serverHost else config.networking.hostName;
  url =
    if !on then null
    else if cfg.role == "client" then onTailnet cfg.serverHost cfg.serverPort
    else if serve.enable then onTailnet ownName serve.httpsPort
    # A gateway that listens on one address of the machine is at that, and nowhere else.
    else if builtins.elem cfg.host [ "127.0.0.1" "localhost" "::1" "0.0.0.0" "::" ] then "http://localhost:${toString cfg.port}/"
    else if builtins.match ".*:.*" cfg.host != null then null
    else "http://${cfg.host}:${toString cfg.port}/";
  # An address of our own in `publicUrl` would make everybody on this machine sign in, so localhost is none.
  publicUrls = lib.optionals (isServed && url != null) [ (lib.removeSuffix "/" url) ]
    ++ lib.toList (cfg.settings.publicUrl or [ ]);

  # ---- the configuration file
  json = pkgs.formats.json { };
  # A reference to a secret as the file writes it: the one member that is set.
  plain = value: if builtins.isAttrs value then lib.filterAttrs (_: v: v != null) value else value;
  credentialName = server: name: "${server}.${name}";
  entry = name: server:
    let
      isLocal = server.command != null;
      given = lib.mapAttrs (of: _: { credential = credentialName name of; }) server.credentials;
      ours = {
        inherit (server) title command args url;
        env = lib.optionalAttrs isLocal (cfg.serverEnvironment // lib.mapAttrs (_: plain) server.env // given);
        headers = lib.mapAttrs (_: plain) server.headers // lib.optionalAttrs (!isLocal) given;
        type = if server.transport != null then server.transport else server.type;
        enabled = if server.autoStart then null else false;
      };
    in
    lib.filterAttrs (_: value: value != null && value != [ ] && value != { }) ours // server.settings;
  capability = lib.optionalAttrs (serve.acceptAppCapabilities != [ ]) {
    capability = builtins.head serve.acceptAppCapabilities;
  };
  tailscale = lib.optionalAttrs serve.enable ({ identity = true; inherit (serve) operators; } // capability);
  gatewaySection = lib.recursiveUpdate
    (lib.optionalAttrs (tailscale != { }) { inherit tailscale; }
      // lib.optionalAttrs (!cfg.mcp.enable) { mcp.enabled = false; }
      // lib.optionalAttrs (serve.enable && serve.viaSocket) { inherit socket; })
    (removeAttrs cfg.settings [ "publicUrl" ]);
  enabledServers = lib.filterAttrs (_: server: server.enable && server.enabled != false) cfg.servers;
  configFile = json.generate "mcp-gateway.json" {
    gateway = gatewaySection // lib.optionalAttrs (publicUrls != [ ]) { publicUrl = publicUrls; };
    mcpServers = lib.mapAttrs entry enabledServers;
  };
  credentials = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials
    ++ lib.concatLists (lib.mapAttrsToList
      (server: of: lib.mapAttrsToList (name: file: "${credentialName server name}:${file}") of.credentials)
      enabledServers);

  # Below these the unit sees nothing; a directory there that it may write is put back alone.
  isOfAPerson = path: lib.any (home: lib.hasPrefix home "${path}/") [ "/home/" "/root/" "/run/user/" ];
  ofPeople = builtins.filter isOfAPerson cfg.readWritePaths;

  # ---- tailscale serve
  target = if serve.viaSocket then "unix:${socket}" else "http://127.0.0.1:${toString cfg.port}";
  httpsPort = toString serve.httpsPort;
  capabilities = lib.optionalString (serve.acceptAppCapabilities != [ ])
    " --accept-app-caps=${lib.concatStringsSep "," serve.acceptAppCapabilities}";
  # Succeeds when the port of ours leads to the gateway, whatever else this machine serves.
  isOurs = ''
    is_ours() {
      tailscale serve status --json | jq --exit-status \
        --arg port ${lib.escapeShellArg ":${httpsPort}"} --arg target ${lib.escapeShellArg target} \
        '[.Web // {} | to_entries[] | select(.key | endswith($port)) | .value.Handlers["/"].Proxy] | any(. == $target)' \
        >/dev/null
    }
  '';

  # ---- what can be wrong
  needs = assertion: message: { inherit assertion message; };
  isNamed = name: builtins.match "[A-Za-z0-9][A-Za-z0-9_-]*" name != null;
  idOf = name: builtins.substring 0 32 (builtins.replaceStrings [ "_" ] [ "-" ] (lib.toLower name));
  ids = map idOf (lib.attrNames enabledServers);
  hasOption = known: given: builtins.filter (key: builtins.elem key known) (lib.attrNames given);
  listed = keys: lib.concatStringsSep ", " keys;
  checkServer = name: server:
    let
      here = "${at}.servers.${name}";
      taken = hasOption [ "title" "command" "args" "url" "env" "headers" "type" "enabled" ] server.settings;
      both = builtins.filter (key: server.env ? ${key} || server.headers ? ${key}) (lib.attrNames server.credentials);
    in
    [
      (needs (isNamed name)
        ''${at}.servers."${name}" is no name for a server: use letters, digits, "-" and "_", a letter or a digit first, for example ${at}.servers.my-notes = { ... }; (`title` is what people see)'')
      (needs ((server.command == null) != (server.url == null))
        ''${here} needs exactly one of command and url, for example ${here}.command = "''${pkgs.mcp-server-git}/bin/mcp-server-git"; or ${here}.url = "https://mcp.example.com/mcp";'')
      (needs (server.command != null || server.url == null || (server.args == [ ] && server.env == { }))
        "${here}.args and ${here}.env are for a server with a command; a remote server takes headers, for example ${here}.headers.X-Tenant = \"a\";")
      (needs (server.url != null || server.command == null || server.headers == { })
        "${here}.headers is for a server with a url; one with a command takes variables, for example ${here}.env.TENANT = \"a\";")
      (needs (taken == [ ])
        "${here}.settings has ${listed taken}, which the module writes: use the option of that name, for example ${here}.title = \"Notes\"; (enabled is ${here}.autoStart, type is ${here}.transport)")
      (needs (both == [ ])
        "${here}.credentials and ${here}.${if server.url == null then "env" else "headers"} both give ${listed both}: keep the one in credentials: ${lib.concatMapStringsSep " " (key: "${here}.credentials.${key} = \"/run/agenix/token\";") both}")
      (needs (server.transport == null || server.type == null || server.transport == server.type)
        "${here}.transport and ${here}.type say different things; keep one, for example ${here}.transport = \"sse\";")
    ];

  # Text that looks like a secret, by the name of its variable or header; `\${VAR}` in it says that it is none.
  secretName = ".*(token|secret|password|passwd|api[_-]?key|access[_-]?key|authorization)";
  isInTheClear = name: value:
    builtins.isString value && builtins.match secretName (lib.toLower name) != null
    && builtins.match ".*[$][{].*" value == null;
  inTheClear = lib.concatLists (lib.mapAttrsToList
    (name: server: lib.concatLists (map
      (kind: map (of: "${at}.servers.${name}.${kind}.${of}") (lib.attrNames (lib.filterAttrs isInTheClear server.${kind})))
      [ "env" "headers" ]))
    enabledServers);

  # ---- option types
  host = types.strMatching "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?" // { description = "name of a machine, without its domain"; };
  domain = types.strMatching "[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+" // { description = "domain such as taile0fb4.ts.net"; };
  mountPath = types.strMatching "/[^:%[:space:]]*" // { description = "absolute path without spaces, : and %"; };
  # A string: a path literal would be copied into the store, which everybody may read.
  secretFile = types.externalPath;
  secret = types.submodule {
    options = {
      file = mkOption {
        type = types.nullOr secretFile;
        default = null;
        description = "A file that holds the value and that the gateway's user may read.";
      };
      credential = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The name of a systemd credential.";
      };
      command = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        description = "A program with its arguments that prints the value; run without a shell.";
      };
    };
  };
  value = types.either types.str secret;
  transport = types.nullOr (types.enum [ "stdio" "http" "streamable-http" "sse" ]);

  server.options = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the gateway knows this server.";
    };
    enabled = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = "The same, as home-manager's `programs.mcp.servers` calls it; false is enough.";
    };
    autoStart = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether it runs at once. If not it is listed and off until somebody who may operate switches it on;
        what is switched by hand is remembered.
      '';
    };
    title = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "Notes of the team";
      description = "What people see; the name when null.";
    };
    command = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = literalExpression "lib.getExe pkgs.github-mcp-server";
      description = ''
        The program of a local server, as a path or as a name on the `PATH` that `runtimePackages` make.
        Exactly one of `command` and `url`.
      '';
    };
    args = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--repository" "/srv/repo" ];
      description = "Its arguments. Everybody on the machine can read them: no secrets.";
    };
    env = mkOption {
      type = types.attrsOf value;
      default = { };
      example = literalExpression ''{ LOG_LEVEL = "info"; TOKEN = { file = "/run/agenix/token"; }; }'';
      description = ''
        Its variables, beside those of `serverEnvironment`. Text is copied into the store, which everybody may
        read; secrets belong into `credentials`, or are named as `{ file }`, `{ credential }`, `{ command }`
        or `''${VAR}` of `environmentFile`.
      '';
    };
    url = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "https://mcp.example.com/mcp";
      description = "The address of a remote server.";
    };
    headers = mkOption {
      type = types.attrsOf value;
      default = { };
      example = literalExpression ''{ X-Tenant = "a"; }'';
      description = "Headers that a remote server is sent; as `env`.";
    };
    transport = mkOption {
      type = transport;
      default = null;
      description = "How a remote server is spoken to; null lets the gateway find out.";
    };
    type = mkOption {
      type = transport;
      default = null;
      description = "The same, as other clients and mcp-servers-nix call it.";
    };
    credentials = mkOption {
      type = types.attrsOf secretFile;
      default = { };
      example = { GITHUB_TOKEN = "/run/agenix/github-token"; };
      description = ''
        Variables (headers, for a remote server) whose value is in a file. systemd reads it as root and hands
        it to the gateway, so it may belong to root alone.
      '';
    };
    settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      example = literalExpression ''{ timeout = "2m"; tools.deny = [ "delete_*" ]; }'';
      description = ''
        All else that the gateway's configuration knows of a server (`mcp-gateway schema`, ServerConfig).
      '';
    };
  };
in
{
  options.services.ai.mcpGateway = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to use MCP Gateway. Takes effect with `services.ai.enable` only.";
    };
    role = mkOption {
      type = types.enum [ "server" "client" ];
      default = "server";
      description = "`server` runs the gateway on this machine, `client` uses that of `serverHost`.";
    };
    package = mkOption {
      type = types.package;
      default = pkgs.mcp-gateway or (throw ''
        ${at}.package: this nixpkgs has no mcp-gateway. Import nixosModules.default of the gateway's flake, which brings it, or write
          ${at}.package = inputs.axios-mcp-gateway.packages.''${pkgs.stdenv.hostPlatform.system}.default;'');
      defaultText = literalExpression "pkgs.mcp-gateway";
      description = "The gateway.";
    };
    host = mkOption {
      type = types.str;
      default = "127.0.0.1";
      description = ''
        Address to listen on. Beyond loopback everybody needs a key, and without one the gateway does not
        start.
      '';
    };
    port = mkOption {
      type = types.port;
      default = 8085;
      description = "Port to listen on.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open `port` in the firewall; `tailscaleServe` does not need it.";
    };
    user = mkOption {
      type = types.str;
      default = "mcp-gateway";
      description = "User that the gateway and its servers run as; made unless you name another.";
    };
    group = mkOption {
      type = types.str;
      default = "mcp-gateway";
      description = "Its group; made unless you name another.";
    };
    environmentFile = mkOption {
      type = types.nullOr secretFile;
      default = null;
      example = "/run/agenix/mcp-gateway.env";
      description = ''
        File with `NAME=value` lines for the gateway's environment, from which `''${NAME}` in the
        configuration is filled in.
      '';
    };
    credentials = mkOption {
      type = types.attrsOf secretFile;
      default = { };
      example = { phone-key = "/run/agenix/phone-key"; };
      description = ''
        Files for the gateway itself, by systemd's LoadCredential. In `settings` such a file is
        `/run/credentials/mcp-gateway.service/NAME`.
      '';
    };
    runtimePackages = mkOption {
      type = types.listOf types.package;
      default = [ pkgs.bash pkgs.nodejs pkgs.uv pkgs.python3 pkgs.git ];
      defaultText = literalExpression "[ pkgs.bash pkgs.nodejs pkgs.uv pkgs.python3 pkgs.git ]";
      description = "The `PATH` of the servers, for `npx` and `uvx` among others.";
    };
    serverEnvironment = mkOption {
      type = types.attrsOf types.str;
      default = {
        XDG_CACHE_HOME = cacheDir;
        npm_config_cache = "${cacheDir}/npm";
        UV_CACHE_DIR = "${cacheDir}/uv";
        # What uv downloads is linked for other systems and does not run on NixOS.
        UV_PYTHON_DOWNLOADS = "never";
        UV_PYTHON = "${pkgs.python3}/bin/python3";
      };
      defaultText = literalExpression ''{ XDG_CACHE_HOME, npm_config_cache and UV_CACHE_DIR below /var/cache/mcp-gateway; UV_PYTHON_DOWNLOADS = "never"; UV_PYTHON = "''${pkgs.python3}/bin/python3"; }'';
      description = ''
        Variables of every server with a command. Servers inherit little else of the gateway's own
        environment: `PATH`, `HOME` and the like.
      '';
    };
    readWritePaths = mkOption {
      type = types.listOf mountPath;
      default = [ ];
      example = [ "/srv/repo" ];
      description = ''
        Directories that servers may write; all else is read-only. One below `/home` is shown to them without
        its neighbours. The user needs the right to write there, too.
      '';
    };
    mcp.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether there are MCP URLs; REST, OpenAPI and the pages are there either way.";
    };
    servers = mkOption {
      type = types.attrsOf (types.submodule server);
      default = { };
      example = literalExpression ''{ git = { command = "uvx"; args = [ "mcp-server-git" ]; }; docs.url = "https://mcp.example.com/mcp"; }'';
      description = ''
        The MCP servers, by name. Takes those of home-manager's `programs.mcp.servers` and of mcp-servers-nix
        (`settings.servers`) as they are.
      '';
    };
    settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      example = literalExpression ''{ limits.rate = 20; auth.keys = [ { name = "phone"; file = "/run/credentials/mcp-gateway.service/phone-key"; } ]; }'';
      description = ''
        All else of the section `gateway` in its configuration (`mcp-gateway schema`, GatewayConfig). Copied
        into the store: no secrets. Addresses in `publicUrl` come beside `url`.
      '';
    };
    tailscaleServe = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether this machine's `tailscale serve` offers the gateway to the tailnet by https. People are then
          known by their Tailscale log-in.
        '';
      };
      httpsPort = mkOption {
        type = types.port;
        default = 8448;
        description = ''
          The port on the tailnet. Tailscale Funnel takes 443, 8443 and 10000 only, and this module opens no
          Funnel.
        '';
      };
      operators = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "alice@example.com" ];
        description = ''
          Log-ins that may switch and restart servers; everybody else on the tailnet may read and call.
        '';
      };
      acceptAppCapabilities = mkOption {
        type = types.listOf (types.strMatching "([A-Za-z0-9_-]+[.])+[A-Za-z0-9_-]+/[A-Za-z0-9_/-]+");
        default = [ ];
        example = [ "example.com/cap/mcp-gateway" ];
        description = ''
          App capabilities that Tailscale passes on. With one, a caller may do what its grants say and nothing
          else. Needs Tailscale 1.92.
        '';
      };
      viaSocket = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether Tailscale reaches the gateway by a unix socket. Better proof of who asks; needs Tailscale
          1.94.
        '';
      };
    };
    serverHost = mkOption {
      type = types.nullOr host;
      default = null;
      example = "edge";
      description = ''
        Name of the gateway's machine in the tailnet. Needed by clients; on the server where it differs from
        `networking.hostName`.
      '';
    };
    serverPort = mkOption {
      type = types.port;
      default = 8448;
      description = "For clients: the server's `tailscaleServe.httpsPort`.";
    };
    pwa.enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the home-manager module adds the desktop entry \"Axios MCP Gateway\".";
    };
    pwa.tailnetDomain = mkOption {
      type = types.nullOr domain;
      default = null;
      example = "taile0fb4.ts.net";
      description = ''
        Domain of the tailnet, as `tailscale status --json` has it in `MagicDNSSuffix`. The gateway answers to
        its tailnet name only when it knows it.
      '';
    };
    url = mkOption {
      type = types.nullOr types.str;
      default = url;
      defaultText = literalExpression "computed";
      readOnly = true;
      description = ''
        Where the gateway is reached; null where that is not known. Also `MCP_GATEWAY_URL` in every session,
        for the command line.
      '';
    };
  };

  config = mkIf on {
    assertions = [
      (needs (!cfg.pwa.enable || cfg.pwa.tailnetDomain != null)
        "${at}.pwa.enable needs ${at}.pwa.tailnetDomain, the domain of your tailnet, for example ${at}.pwa.tailnetDomain = \"taile0fb4.ts.net\";")
      (needs (cfg.role != "client" || cfg.serverHost != null)
        "${at}.role = \"client\" needs ${at}.serverHost, the name of the gateway's machine in the tailnet, for example ${at}.serverHost = \"edge\";")
      (needs (!serve.enable || cfg.role == "server")
        "${at}.tailscaleServe.enable is for the machine that runs the gateway: leave it out here, or write ${at}.role = \"server\";")
      (needs (!serve.enable || config.services.tailscale.enable)
        "${at}.tailscaleServe.enable needs Tailscale on this machine: services.tailscale.enable = true;")
      (needs (!serve.enable || cfg.host == "127.0.0.1" || cfg.host == "localhost")
        "${at}.tailscaleServe.enable needs the loopback host that Tailscale can dial, or others could pretend to be Tailscale: ${at}.host = \"127.0.0.1\"; (it is \"${cfg.host}\")")
      (let taken = hasOption [ "host" "port" "mcp" ] cfg.settings; in
        needs (taken == [ ])
          "${at}.settings has ${listed taken}, for which there are options: for example ${at}.port = 8085; or ${at}.mcp.enable = false;")
      (needs (builtins.length serve.acceptAppCapabilities <= 1 || cfg.settings ? tailscale.capability)
        "${at}.tailscaleServe.acceptAppCapabilities has several; say which of them the gateway reads, for example ${at}.settings.tailscale.capability = \"example.com/cap/mcp-gateway\";")
      (needs (builtins.length (lib.unique ids) == builtins.length ids)
        "${at}.servers has names that become the same id (${listed ids}): case does not count, \"_\" is \"-\", and 32 characters are kept; for example ${at}.servers.notes-2 = { ... };")
    ] ++ lib.concatLists (lib.mapAttrsToList checkServer enabledServers);

    warnings = map
      (place: "${place} is text, which everybody on this machine can read in the store. If it is a secret keep it in a file, for example ${at}.servers.github.credentials.GITHUB_TOKEN = \"/run/agenix/github-token\";")
      inTheClear
    ++
      lib.optional (isServed && publicUrls == [ ])
        "${at}.tailscaleServe is on, and the gateway does not know its address in the tailnet, so it refuses what comes from there: set ${at}.pwa.tailnetDomain, for example \"taile0fb4.ts.net\""
      ++ lib.optional (cfg.role == "client" && cfg.servers != { })
        "${at}.servers is not used on a client: write it on the machine with ${at}.role = \"server\";"
      ++ lib.optional (isServer && cfg.openFirewall && builtins.elem cfg.host [ "127.0.0.1" "::1" "localhost" ])
        "${at}.openFirewall opens a port on which nothing listens: ${at}.host is \"${cfg.host}\", which only this machine reaches";

    environment.systemPackages = [ cfg.package ];
    environment.sessionVariables = lib.optionalAttrs (url != null) { MCP_GATEWAY_URL = lib.removeSuffix "/" url; };
    networking.firewall.allowedTCPPorts = mkIf (isServer && cfg.openFirewall) [ cfg.port ];

    users.users = mkIf (isServer && cfg.user == "mcp-gateway") {
      mcp-gateway = { isSystemUser = true; inherit (cfg) group; home = stateDir; description = "MCP Gateway"; };
    };
    users.groups = mkIf (isServer && cfg.group == "mcp-gateway") { mcp-gateway = { }; };

    systemd.services.mcp-gateway = mkIf isServer {
      description = "MCP Gateway";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      path = cfg.runtimePackages;
      environment = {
        HOME = stateDir;
        MCP_GATEWAY_CONFIG = "${configFile}";
        MCP_GATEWAY_HOST = cfg.host;
        MCP_GATEWAY_PORT = toString cfg.port;
        MCP_GATEWAY_STATE_DIR = stateDir;
      } // lib.optionalAttrs (publicUrls != [ ]) {
        MCP_GATEWAY_PUBLIC_URL = lib.concatStringsSep " " publicUrls;
      };
      serviceConfig = {
        Type = "exec";
        ExecStart = "${lib.getExe cfg.package} serve";
        User = cfg.user;
        Group = cfg.group;
        StateDirectory = "mcp-gateway";
        StateDirectoryMode = "0700";
        CacheDirectory = "mcp-gateway";
        CacheDirectoryMode = "0700";
        RuntimeDirectory = "mcp-gateway";
        RuntimeDirectoryMode = "0750";
        WorkingDirectory = stateDir;
        UMask = "0077";
        Restart = "on-failure";
        RestartSec = 5;
        # The configuration is wrong; it will be wrong in five seconds, too.
        RestartPreventExitStatus = 2;
        # The gateway ends its servers itself, in 30 s at most, or 40 s with a disk that hangs.
        KillMode = "mixed";
        TimeoutStopSec = 45;

        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = if ofPeople == [ ] then true else "tmpfs";
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        # AF_NETLINK: getifaddrs, by which programs list their addresses.
        RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
        # Servers that make a sandbox of their own (a browser) need this off.
        RestrictNamespaces = mkDefault true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged" ];
        # A refusal instead of a signal, which node and others survive.
        SystemCallErrorNumber = "EPERM";
        # Not set on purpose: MemoryDenyWriteExecute (node compiles at run time), PrivateUsers and DynamicUser
        # (no group could give a server access to data), ProcSubset (the gateway asks /proc/net/tcp who calls).
      }
      // lib.optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = cfg.environmentFile; }
      // lib.optionalAttrs (credentials != [ ]) { LoadCredential = credentials; }
      // lib.optionalAttrs (cfg.readWritePaths != [ ]) { ReadWritePaths = cfg.readWritePaths; }
      // lib.optionalAttrs (ofPeople != [ ]) { BindPaths = ofPeople; };
    };

    # What `tailscale serve --bg` sets stays in tailscaled's own state, so this runs once, and again when it changes.
    systemd.services.mcp-gateway-tailscale-serve = mkIf isServed {
      description = "MCP Gateway on the tailnet (tailscale serve)";
      wantedBy = [ "multi-user.target" ];
      wants = [ "tailscaled.service" ];
      after = [ "tailscaled.service" "tailscaled-autoconnect.service" "mcp-gateway.service" ];
      path = [ config.services.tailscale.package pkgs.jq ];
      # After=tailscaled.service alone is too early: until it is Running it refuses.
      preStart = ''
        for _ in $(seq 60); do
          state=$(tailscale status --json --peers=false | jq --raw-output .BackendState) || state=unknown
          if [ "$state" = Running ]; then exit 0; fi
          sleep 2
        done
        echo "Tailscale is not running after two minutes, it is: $state. Log this machine in: tailscale up" >&2
        exit 1
      '';
      # It fails when somebody else changes what is served in the same moment, and waits for ever where the
      # tailnet has no HTTPS.
      script = ''
        for _ in 1 2 3 4 5; do
          status=0
          timeout 30 tailscale serve --bg --yes --https=${httpsPort}${capabilities} ${lib.escapeShellArg target} || status=$?
          if [ "$status" = 0 ]; then exit 0; fi
          if [ "$status" = 124 ]; then
            echo "tailscale serve does not come back. Enable HTTPS for the tailnet: https://tailscale.com/kb/1153/enabling-https" >&2
            exit 1
          fi
          sleep 2
        done
        exit "$status"
      '';
      # It also says 0 where the tailnet has no HTTPS, and then serves nothing.
      postStart = ''
        ${isOurs}
        if is_ours; then exit 0; fi
        echo "tailscale serve reports success and does not serve port ${httpsPort}. Enable HTTPS for the tailnet: https://tailscale.com/kb/1153/enabling-https" >&2
        exit 1
      '';
      # Neither what was put there since, nor other paths of that port, nor other ports.
      preStop = ''
        ${isOurs}
        if is_ours; then tailscale serve --yes --https=${httpsPort} --set-path=/ off || true; fi
      '';
      startLimitIntervalSec = 600;
      startLimitBurst = 5;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        TimeoutStartSec = 180;
        TimeoutStopSec = 30;
        Restart = "on-failure";
        RestartSec = 10;

        # root is whom tailscaled obeys; it needs none of root's powers for that.
        CapabilityBoundingSet = "";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        UMask = "0077";
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged" ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
