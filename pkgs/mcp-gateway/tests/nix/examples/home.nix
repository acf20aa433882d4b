{
  services.ai.mcpGateway = {
    # NixOS tells the next two; they are for home-manager on another system.
    url = "https://edge.taile0fb4.ts.net:8448/";
    pwa.enable = true;

    pwa.browser = "chromium";
    clients.claudeCode.enable = true;
    clients.vscode.enable = true;
  };
}
