# What a person of the machine gets of its AI services.
{ imports = [ ./mcp-gateway.nix ]; }
