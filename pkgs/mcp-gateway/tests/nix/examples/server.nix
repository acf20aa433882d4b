{ lib, pkgs, ... }:
{
  networking.hostName = "edge";
  services.tailscale.enable = true;

  services.ai.enable = true;
  services.ai.mcpGateway = {
    enable = true;
    role = "server";

    servers.time = {
      command = "uvx";
      args = [ "mcp-server-time" ];
    };
    servers.git = {
      command = "uvx";
      args = [ "mcp-server-git" "--repository" "/srv/repo" ];
      settings.tools.deny = [ "git_reset" ];
    };
    servers.github = {
      command = lib.getExe pkgs.github-mcp-server;
      args = [ "stdio" ];
      credentials.GITHUB_PERSONAL_ACCESS_TOKEN = "/run/agenix/github-token";
    };
    servers.tickets = {
      url = "https://mcp.example.com/mcp";
      credentials.Authorization = "/run/agenix/tickets-authorization";
    };
    readWritePaths = [ "/srv/repo" ];

    tailscaleServe.enable = true;
    tailscaleServe.operators = [ "alice@example.com" ];
    pwa.enable = true;
    pwa.tailnetDomain = "taile0fb4.ts.net";
  };
}
