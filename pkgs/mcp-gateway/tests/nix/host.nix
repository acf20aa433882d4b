# The options of NixOS and home-manager that our modules set, and the text that those make of a unit and of a
# desktop entry.
{ lib, pkgs }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];
  text = option types.lines "";
  scalar = types.oneOf [ types.str types.int types.bool types.path ];
  directives = option (types.attrsOf (types.either scalar (types.listOf scalar))) { };
  shown = x: if x == true then "true" else if x == false then "false" else toString x;

  # ---- units
  unitNames = option (types.listOf (types.strMatching "[a-zA-Z0-9@:_.-]+[.](service|socket|target|mount|timer|path)")) [ ];
  service.options = lib.genAttrs [ "wantedBy" "wants" "requires" "after" "before" ] (_: unitNames) // {
    description = option types.str "";
    environment = option (types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ]))) { };
    path = option (types.listOf types.package) [ ];
    serviceConfig = directives;
    script = text;
    preStart = text;
    postStart = text;
    preStop = text;
    startLimitIntervalSec = option (types.nullOr types.int) null;
    startLimitBurst = option (types.nullOr types.int) null;
  };
  lines = section: lib.concatStringsSep "" (lib.concatLists
    (lib.mapAttrsToList (key: value: map (one: "${key}=${shown one}\n") (lib.toList value)) section));
  unitText = name: unit:
    let
      listed = key: names: lib.optionalAttrs (names != [ ]) { ${key} = toString names; };
      script = suffix: body: lib.optional (body != "") "${pkgs.writeShellScript "${name}-${suffix}" "set -e\n\n${body}\n"}";
      from = key: suffix: body: lib.optionalAttrs (body != "") { ${key} = script suffix body; };
      path = unit.path ++ [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused pkgs.systemd ];
      environment = unit.environment // { PATH = lib.concatMapStringsSep ":" (p: "${p}/bin") path; };
    in
    "[Unit]\n" + lines ({ Description = unit.description; }
      // listed "Wants" unit.wants // listed "Requires" unit.requires
      // listed "After" unit.after // listed "Before" unit.before
      // lib.optionalAttrs (unit.startLimitIntervalSec != null) { StartLimitIntervalSec = unit.startLimitIntervalSec; }
      // lib.optionalAttrs (unit.startLimitBurst != null) { StartLimitBurst = unit.startLimitBurst; })
    + "\n[Service]\n"
    + lib.concatStringsSep "" (lib.mapAttrsToList (key: value: "Environment=${builtins.toJSON "${key}=${value}"}\n") environment)
    + lines (unit.serviceConfig
      // from "ExecStartPre" "pre-start" unit.preStart
      // from "ExecStart" "start" unit.script
      // from "ExecStartPost" "post-start" unit.postStart
      // from "ExecStop" "pre-stop" unit.preStop)
    + lib.optionalString (unit.wantedBy != [ ]) "\n[Install]\nWantedBy=${toString unit.wantedBy}\n";

  # ---- home-manager
  entry.options = {
    name = mkOption { type = types.str; };
    exec = option (types.nullOr types.str) null;
    icon = option (types.nullOr types.str) null;
    comment = option (types.nullOr types.str) null;
    genericName = option (types.nullOr types.str) null;
    terminal = option types.bool false;
    type = option (types.enum [ "Application" "Link" "Directory" ]) "Application";
    categories = option (types.listOf types.str) [ ];
    settings = option (types.attrsOf types.str) { };
  };
  file.options = { source = option (types.nullOr types.path) null; text = option (types.nullOr types.lines) null; };
  files = option (types.attrsOf (types.submodule file)) { };
  secrets = folder: option (types.attrsOf (types.submodule ({ name, ... }: {
    options = { file = option types.unspecified null; path = option types.str "${folder}/${name}"; };
  }))) { };
  # nixpkgs also writes Version=1.5, which Debian's validator is too old for.
  entryText = e: "[Desktop Entry]\n" + lines (lib.filterAttrs (_: value: value != null) ({
    Type = e.type; Name = e.name; GenericName = e.genericName; Comment = e.comment; Icon = e.icon; Exec = e.exec;
    Terminal = e.terminal; Categories = lib.concatMapStringsSep "" (c: "${c};") e.categories;
  } // e.settings));
in
{
  inherit unitText entryText;
  nixos.options = {
    # Of agenix and sops-nix, which documents show.
    age.secrets = secrets "/run/agenix";
    sops.secrets = secrets "/run/secrets";
    assertions = option (types.listOf types.unspecified) [ ];
    warnings = strings;
    environment.systemPackages = option (types.listOf types.package) [ ];
    environment.sessionVariables = option (types.attrsOf types.str) { };
    networking.hostName = option types.str "nixos";
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    nixpkgs.overlays = option (types.listOf types.unspecified) [ ];
    services.tailscale.enable = option types.bool false;
    services.tailscale.package = option types.package pkgs.tailscale;
    systemd.services = option (types.attrsOf (types.submodule service)) { };
    users.users = option (types.attrsOf types.unspecified) { };
    users.groups = option (types.attrsOf types.unspecified) { };
  };
  home.options = {
    assertions = option (types.listOf types.unspecified) [ ];
    home.homeDirectory = option types.str "/home/alice";
    home.file = files;
    xdg.dataHome = option types.str "/home/alice/.local/share";
    xdg.configHome = option types.str "/home/alice/.config";
    # home-manager's own list of servers, for its modules of clients.
    programs.mcp.enable = option types.bool false;
    programs.mcp.servers = option (types.attrsOf types.unspecified) { };
    xdg.dataFile = files;
    xdg.desktopEntries = option (types.attrsOf (types.submodule entry)) { };
  };
}
