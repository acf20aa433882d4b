# What people write, by name, and what comes of it: `nixos` and `home` are their modules, `standalone` is
# home-manager without NixOS. `failed` and `warned` have a piece of each message, in order; `error` is one of what
# the evaluation itself says.
{ pkgs }:
let
  tailnet = "taile0fb4.ts.net";
  gateway = options: on { tailscale = true; inherit options; };
  on = { tailscale, options }: {
    networking.hostName = "edge";
    services.tailscale.enable = tailscale;
    services.ai.enable = true;
    services.ai.mcpGateway = { enable = true; } // options;
  };
  served = { tailscaleServe.enable = true; pwa.tailnetDomain = tailnet; };
  good = {
    untouched.nixos = { };
    not-enabled.nixos = { services.ai.enable = true; };
    ai-not-enabled.nixos = { services.ai.mcpGateway = { enable = true; role = "client"; tailscaleServe.enable = true; pwa.enable = true; }; };

    server.nixos = import ./examples/server.nix;
    server-local.nixos = gateway { servers.time = { command = "uvx"; args = [ "mcp-server-time" ]; }; };
    server-local-pwa.nixos = gateway { port = 9001; pwa = { enable = true; tailnetDomain = tailnet; }; };
    server-odd-ports = {
      nixos = gateway (served // { port = 9001; tailscaleServe = { enable = true; httpsPort = 9443; }; serverHost = "Edge-1"; mcp.enable = false; });
    };
    server-socket.nixos = gateway (served // {
      tailscaleServe = { enable = true; viaSocket = true; acceptAppCapabilities = [ "example.com/cap/mcp-gateway" ]; };
      settings.publicUrl = [ "https://mcp.example.com" ];
    });
    server-open.nixos = gateway {
      host = "0.0.0.0";
      openFirewall = true;
      user = "alice";
      group = "users";
      environmentFile = "/run/agenix/mcp-gateway.env";
      credentials.phone-key = "/run/agenix/phone-key";
      settings.auth.keys = [ { name = "phone"; file = "/run/credentials/mcp-gateway.service/phone-key"; } ];
      settings.limits.rate = 20;
      readWritePaths = [ "/srv/repo" "/home/alice/notes" ];
    };
    server-one-address.nixos = gateway { host = "192.168.1.5"; };
    # Each way to give a value, and both kinds of what is off.
    server-values.nixos = gateway {
      serverEnvironment = { LANG = "C.UTF-8"; };
      servers.all = {
        title = "All of it";
        command = "${pkgs.nodejs}/bin/node";
        args = [ "--quoted" "a b" "\${HOME}" ];
        env = { TEXT = "1"; FILE.file = "/run/secrets/a"; CREDENTIAL.credential = "b"; COMMAND.command = [ "pass" "c" ]; };
        credentials.TOKEN = "/run/agenix/token";
        settings = { timeout = "2m"; tools = { deny = [ "rm" ]; rename.ls = "list"; }; };
      };
      servers.sleeping = { command = "uvx"; autoStart = false; };
      servers.remote = { url = "http://127.0.0.1:9000/sse"; transport = "sse"; headers.X-Tenant = "a"; };
      servers.gone = { enable = false; command = "x"; url = "http://both.example"; credentials.X = "/run/x"; };
    };
    # What a test can start: the programs of its PATH, secrets from its credentials, a Tailscale of another user.
    server-running.nixos = gateway (served // {
      environmentFile = "/run/agenix/mcp-gateway.env";
      credentials.phone-key = "/run/agenix/phone-key";
      settings.auth.keys = [ { name = "phone"; file = "\${CREDENTIALS_DIRECTORY}/phone-key"; } ];
      settings.tailscale.uid = 4242;
      servers.good = { command = "python3"; args = [ "-I" "-S" "\${HOSTILE}" "good" ]; credentials.TOKEN = "/run/agenix/token"; };
    });
    # As the modules of home-manager and mcp-servers-nix hand them over.
    server-by-value.nixos = gateway {
      servers = {
        fetch = { command = "uvx"; args = [ "mcp-server-fetch" ]; env.TOKEN.file = "/run/token"; url = null; headers = { }; enabled = true; };
        off = { command = "x"; enabled = false; };
        docs = { url = "https://mcp.example.com/mcp"; headers = { }; command = null; type = "http"; };
      };
    };

    client.nixos = import ./examples/client.nix;
    client-without-pwa.nixos = gateway { role = "client"; serverHost = "edge"; serverPort = 9443; };
    client-odd.nixos = gateway { role = "client"; serverHost = "edge"; serverPort = 9443; pwa = { enable = true; tailnetDomain = tailnet; }; };
    client-clients = {
      nixos = import ./examples/client.nix;
      home.services.ai.mcpGateway.clients = {
        sendKey = true;
        claudeCode.enable = true;
        codex.enable = true;
        geminiCli.enable = true;
        vscode.enable = true;
      };
    };

    standalone = { standalone = true; };
    standalone-home = { home = import ./examples/home.nix; standalone = true; };
    standalone-path = {
      standalone = true;
      home.services.ai.mcpGateway = { url = "https://gw.example.com/a%20b"; pwa = { enable = true; browser = "google-chrome"; }; };
    };
    standalone-clients = {
      standalone = true;
      home.services.ai.mcpGateway = {
        url = "https://gw.example.com";
        clients = { claudeCode.enable = true; codex.enable = true; geminiCli.enable = true; vscode.enable = true; };
      };
    };
  };

  refused = {
    pwa-without-domain = { nixos = gateway { pwa.enable = true; }; failed = [ "pwa.enable needs services.ai.mcpGateway.pwa.tailnetDomain" ]; };
    client-without-host = {
      nixos = gateway { role = "client"; pwa.tailnetDomain = tailnet; };
      failed = [ "role = \"client\" needs services.ai.mcpGateway.serverHost" ];
    };
    client-that-serves = {
      nixos = gateway { role = "client"; serverHost = "edge"; tailscaleServe.enable = true; };
      failed = [ "tailscaleServe.enable is for the machine that runs the gateway" ];
    };
    serve-without-tailscale = {
      nixos = on { tailscale = false; options = served; };
      failed = [ "tailscaleServe.enable needs Tailscale on this machine: services.tailscale.enable = true;" ];
    };
    serve-beyond-loopback = { nixos = gateway (served // { host = "0.0.0.0"; }); failed = [ "services.ai.mcpGateway.host = \"127.0.0.1\";" ]; };
    serve-on-v6 = { nixos = gateway (served // { host = "::1"; }); failed = [ "services.ai.mcpGateway.host = \"127.0.0.1\";" ]; };
    serve-without-domain = {
      nixos = gateway { tailscaleServe.enable = true; };
      warned = [ "set services.ai.mcpGateway.pwa.tailnetDomain" ];
    };
    firewall-for-nobody = { nixos = gateway { openFirewall = true; }; warned = [ "services.ai.mcpGateway.openFirewall opens a port on which nothing listens" ]; };
    secrets-in-the-clear = {
      nixos = gateway {
        servers.a = { command = "x"; env = { GITHUB_TOKEN = "abc"; OTHER_TOKEN = "\${HOME}"; FILE_TOKEN.file = "/run/t"; TOKENS = "3"; }; };
        servers.b = { url = "https://x.example"; headers = { X-Api-Key = "abc"; X-Tenant = "a"; }; };
      };
      warned = [ "servers.a.env.GITHUB_TOKEN is text, which everybody on this machine can read" "servers.b.headers.X-Api-Key is text" ];
    };
    neither = { nixos = gateway { servers.git = { }; }; failed = [ "services.ai.mcpGateway.servers.git needs exactly one of command and url" ]; };
    both = {
      nixos = gateway { servers.git = { command = "x"; url = "https://x.example"; }; };
      failed = [ "services.ai.mcpGateway.servers.git needs exactly one of command and url" ];
    };
    args-of-remote = {
      nixos = gateway { servers.docs = { url = "https://x.example"; args = [ "a" ]; }; };
      failed = [ "services.ai.mcpGateway.servers.docs.args and services.ai.mcpGateway.servers.docs.env are for a server with a command" ];
    };
    env-of-remote = {
      nixos = gateway { servers.docs = { url = "https://x.example"; env.A = "b"; }; };
      failed = [ "services.ai.mcpGateway.servers.docs.headers.X-Tenant = " ];
    };
    headers-of-local = {
      nixos = gateway { servers.git = { command = "x"; headers.A = "b"; }; };
      failed = [ "services.ai.mcpGateway.servers.git.headers is for a server with a url" ];
    };
    odd-name = {
      nixos = gateway { servers."my notes" = { command = "x"; }; };
      failed = [ "services.ai.mcpGateway.servers.\"my notes\" is no name for a server" ];
    };
    dashed-name = { nixos = gateway { servers."-a" = { command = "x"; }; }; failed = [ "a letter or a digit first" ]; };
    one-id = { nixos = gateway { servers.a_b.command = "x"; servers.A-b.command = "x"; }; failed = [ "names that become the same id (a-b, a-b)" ]; };
    twice = {
      nixos = gateway { servers.git = { command = "x"; env.A = "b"; credentials.A = "/run/a"; }; };
      failed = [ "services.ai.mcpGateway.servers.git.credentials and services.ai.mcpGateway.servers.git.env both give A" ];
    };
    two-transports = {
      nixos = gateway { servers.docs = { url = "https://x.example"; transport = "sse"; type = "http"; }; };
      failed = [ "services.ai.mcpGateway.servers.docs.transport = \"sse\";" ];
    };
    settings-of-server = {
      nixos = gateway { servers.git = { command = "x"; settings.args = [ "a" ]; }; };
      failed = [ "services.ai.mcpGateway.servers.git.settings has args" ];
    };
    settings-of-gateway = { nixos = gateway { settings.port = 1; settings.mcp.enabled = false; }; failed = [ "services.ai.mcpGateway.settings has mcp, port" ]; };
    two-capabilities = {
      nixos = gateway (served // { tailscaleServe = { enable = true; acceptAppCapabilities = [ "a.example/x" "a.example/y" ]; }; });
      failed = [ "services.ai.mcpGateway.settings.tailscale.capability = " ];
    };
    several-at-once = {
      nixos = gateway { role = "client"; pwa.enable = true; servers.git = { }; };
      failed = [ "pwa.tailnetDomain" "serverHost" "servers.git needs" ];
      warned = [ "services.ai.mcpGateway.servers is not used on a client" ];
      homeFailed = [ "services.ai.mcpGateway.pwa.enable needs to know where the gateway is" ];
    };
    clients-without-mcp = {
      nixos = gateway { mcp.enable = false; };
      home.services.ai.mcpGateway.clients.codex.enable = true;
      homeFailed = [ "services.ai.mcpGateway.clients.codex needs MCP URLs" ];
    };
    home-without-url = {
      standalone = true;
      home.services.ai.mcpGateway = { pwa.enable = true; clients.codex.enable = true; };
      homeFailed = [ "services.ai.mcpGateway.url = \"https://" "services.ai.mcpGateway.clients.codex needs" ];
    };
  };

  broken = {
    package = { nixos = gateway { }; without = [ "mcp-gateway" ]; error = "Import nixosModules.default of the gateway's flake"; };
    role = { nixos = gateway { role = "both"; }; error = "`services.ai.mcpGateway.role' is not of type `one of \"server\", \"client\"'"; };
    port = { nixos = gateway { port = 70000; }; error = "`services.ai.mcpGateway.port' is not of type `16 bit"; };
    port-as-text = { nixos = gateway { port = "8085"; }; error = "`services.ai.mcpGateway.port' is not of type `16 bit"; };
    option = { nixos = gateway { prot = 8085; }; error = "`services.ai.mcpGateway.prot' does not exist"; };
    option-of-server = { nixos = gateway { servers.git.comand = "x"; }; error = "`services.ai.mcpGateway.servers.git.comand' does not exist"; };
    url = { nixos = gateway { url = "https://x.example/"; }; error = "`services.ai.mcpGateway.url' is read-only"; };
    secret-in-the-store = { nixos = gateway { environmentFile = ./cases.nix; }; error = "`services.ai.mcpGateway.environmentFile' is not of type"; };
    secret-of-server-in-the-store = {
      nixos = gateway { servers.git = { command = "x"; credentials.A = ./cases.nix; }; };
      error = "`services.ai.mcpGateway.servers.git.credentials.A' is not of type";
    };
    relative-secret = { nixos = gateway { credentials.a = "secrets/a"; }; error = "`services.ai.mcpGateway.credentials.a' is not of type"; };
    path-to-write = { nixos = gateway { readWritePaths = [ "/srv/a b" ]; }; error = "absolute path without spaces"; };
    domain = { nixos = gateway { pwa.tailnetDomain = "https://x.ts.net"; }; error = "domain such as taile0fb4.ts.net"; };
    host-with-domain = { nixos = gateway { serverHost = "edge.taile0fb4.ts.net"; }; error = "without its domain"; };
    home-url = { home.services.ai.mcpGateway.url = "https://x.example/ --no-sandbox"; error = "`services.ai.mcpGateway.url' is not of type"; };
  };
in
{ inherit good refused broken; }
