{
  description = "MCP Gateway: one door for every MCP server";

  # There is no flake.lock: one is made by a nix with a network, which nothing here was built with. Your own
  # flake's lock pins this input; let it follow the nixpkgs you have.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forAll = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAll (pkgs: rec {
        mcp-gateway = pkgs.callPackage ./pkgs/mcp-gateway { };
        default = mcp-gateway;
      });

      overlays.default = final: _prev: {
        mcp-gateway = final.callPackage ./pkgs/mcp-gateway { };
      };

      nixosModules = {
        # All of it, with the package.
        default = {
          imports = [ ./modules/ai ];
          nixpkgs.overlays = [ self.overlays.default ];
        };
        # The same without the package.
        ai = ./modules/ai;
        # The options of the gateway alone, for who declares services.ai.enable already, as axiOS does.
        mcp-gateway = ./modules/ai/mcp-gateway.nix;
      };

      homeModules.default = ./home/ai;

      devShells = forAll (pkgs: {
        # What `make` wants of a machine; it brings the rest itself.
        default = pkgs.mkShell {
          packages = [ pkgs.python3 pkgs.gnumake pkgs.git pkgs.nodejs pkgs.chromium pkgs.desktop-file-utils ];
        };
      });

      # Evaluated in CI with a stand-in for nixpkgs; built by nobody yet.
      checks = forAll (pkgs: { package = self.packages.${pkgs.stdenv.hostPlatform.system}.mcp-gateway; });
    };
}
