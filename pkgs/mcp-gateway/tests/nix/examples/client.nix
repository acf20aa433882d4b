{
  services.ai.enable = true;
  services.ai.mcpGateway = {
    enable = true;
    role = "client";
    serverHost = "edge";
    pwa.enable = true;
    pwa.tailnetDomain = "taile0fb4.ts.net";
  };
}
