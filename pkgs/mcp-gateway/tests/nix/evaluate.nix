# Everything that the modules of `repository` make of the cases, as one value for JSON. With `broken`, the one
# case of that name, which ends in an error.
# `library` is what stands for nixpkgs' lib: ours, or a copy of the real one where somebody has it.
{ repository, versions ? "{}", documents ? "{}", broken ? null, library ? toString ./lib.nix }:
let
  lib = import (/. + library);
  pkgs = import ./packages.nix { inherit lib; versions = builtins.fromJSON versions; };
  host = import ./host.nix { inherit lib pkgs; };
  root = /. + repository;
  cases = import ./cases.nix { inherit pkgs; };

  failed = config: map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
  evaluated = case:
    let
      nixos = lib.evalModules {
        modules = [ host.nixos (root + "/modules/ai") (case.nixos or { }) ];
        specialArgs.pkgs = removeAttrs pkgs (case.without or [ ]);
      };
      home = lib.evalModules {
        modules = [ host.home (root + "/home/ai") (case.home or { }) ];
        specialArgs = { inherit pkgs; osConfig = if case.standalone or false then null else nixos.config; };
      };
      c = nixos.config;
      h = home.config;
    in
    {
      expected = removeAttrs case [ "nixos" "home" "standalone" "without" ];
      failed = failed c;
      inherit (c) warnings;
      inherit (c.services.ai.mcpGateway) url;
      # All of them, so that a wrong value is an error whoever reads it.
      options = removeAttrs c.services.ai.mcpGateway [ "package" "runtimePackages" ];
      units = lib.mapAttrs host.unitText c.systemd.services;
      session = c.environment.sessionVariables;
      packages = map (p: p.name) c.environment.systemPackages;
      ports = c.networking.firewall.allowedTCPPorts;
      users = c.users.users;
      groups = lib.attrNames c.users.groups;
      homeFailed = failed h;
      entries = lib.mapAttrs (_: host.entryText) h.xdg.desktopEntries;
      icons = lib.mapAttrs (_: file: "${file.source}") h.xdg.dataFile;
      mcpServers = h.programs.mcp.servers;
      files = lib.mapAttrs (_: file: file.text) h.home.file;
    };

  # ---- options, as the documentation lists them
  options = prefix: tree: lib.concatLists (lib.mapAttrsToList
    (name: option:
      let place = prefix ++ [ name ]; in
      if !lib.isOption option then options place option
      else [ {
        name = lib.concatStringsSep "." place;
        type = option.type.description;
        description = option.description or "";
        readOnly = option.readOnly or false;
        default = option.defaultText or option.default or null;
        hasDefault = option ? default;
        example = option.example or null;
      } ] ++ options (place ++ [ "<name>" ]) (option.type.below or { }))
    tree);
  ours = modules: (lib.evalModules {
    inherit modules;
    specialArgs = { inherit pkgs; osConfig = null; };
  }).options.services.ai;

  # ---- the flake, as its users call it
  flake = import (root + "/flake.nix");
  outputs = flake.outputs {
    self = outputs;
    nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs); };
  };
  package = outputs.packages.x86_64-linux.default;
  throughTheFlake = lib.evalModules {
    modules = [ host.nixos outputs.nixosModules.default (import ./examples/server.nix) ];
    specialArgs = { inherit pkgs; };
  };
in
if broken != null then evaluated cases.broken.${broken}
else {
  cases = lib.mapAttrs (_: evaluated) (cases.good // cases.refused);
  broken = lib.mapAttrs (_: case: case.error) cases.broken;
  documents = lib.mapAttrs
    (_: file: evaluated (
      if file.isHome then { home = import (/. + file.path); standalone = true; } else { nixos = import (/. + file.path); }
    ))
    (builtins.fromJSON documents);
  options = {
    nixos = options [ "services" "ai" ] (ours [ host.nixos (root + "/modules/ai") ]);
    home = options [ "services" "ai" ] (ours [ host.home (root + "/home/ai") ]);
  };
  flake = {
    inherit (flake) inputs;
    packages = lib.attrNames outputs.packages;
    checks = lib.mapAttrs (_: lib.attrNames) outputs.checks;
    devShells = lib.mapAttrs (_: shells: map (p: p.name) shells.default.asked.packages) outputs.devShells;
    overlay = (outputs.overlays.default pkgs pkgs).mcp-gateway.name;
    nixosModules = lib.attrNames outputs.nixosModules;
    homeModules = lib.attrNames outputs.homeModules;
    overlays = builtins.length throughTheFlake.config.nixpkgs.overlays;
    units = lib.attrNames throughTheFlake.config.systemd.services;
    alone = lib.attrNames (lib.evalModules {
      modules = [
        host.nixos
        outputs.nixosModules.mcp-gateway
        { options.services.ai.enable = lib.mkEnableOption "what axiOS declares"; }
      ];
      specialArgs = { inherit pkgs; };
    }).config.systemd.services;
  };
  # Whatever the versions are.
  lenient = map (p: p.name) (pkgs.callPackage (root + "/pkgs/mcp-gateway") { acceptOlder = true; }).asked.dependencies;
  package = {
    inherit (package.asked) pname version pyproject preBuild doCheck pythonRelaxDeps pythonImportsCheck meta;
    dependencies = map (p: p.name) package.asked.dependencies;
    buildSystem = map (p: p.name) package.asked.build-system;
    src = "${package.asked.src}";
    ui = {
      inherit (package.asked.passthru.ui.asked) buildPhase installPhase npmRoot;
      path = "${package.asked.passthru.ui}";
      lock = package.asked.passthru.ui.asked.npmDeps.asked.packageLock;
    };
  };
}
