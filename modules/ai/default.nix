# The AI services of a machine. Inside axiOS, which declares `services.ai.enable` itself, import
# ./mcp-gateway.nix alone.
{ lib, ... }:
{
  imports = [ ./mcp-gateway.nix ];
  options.services.ai.enable = lib.mkEnableOption "the AI services of this machine";
}
