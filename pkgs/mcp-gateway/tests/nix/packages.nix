# A stand-in for nixpkgs' package set: nothing is built. Packages are names; what makes text writes it into the
# store, which is a folder of the test's own, so that it can be read and run.
{ lib, versions ? { } }:
let
  programs = { nodejs = "node"; google-chrome = "google-chrome-stable"; };
  hash = text: builtins.substring 0 32 (builtins.hashString "sha256" text);
  package = name: extra:
    let
      self = {
        type = "derivation";
        inherit name;
        version = "0";
        outPath = "${builtins.storeDir}/${hash name}-${name}";
        meta.mainProgram = programs.${name} or name;
      } // extra;
    in
    self;
  textFile = name: text: package name { outPath = builtins.toFile name text; };
  # What a builder was asked to do, to be looked at.
  built = asked: package asked.pname { inherit asked; inherit (asked) version; meta = asked.meta or { }; };

  python = package "python3" { };
  pythonPackages = lib.mapAttrs (name: version: package name { inherit version; }) versions // {
    inherit python;
    hatchling = package "hatchling" { };
    buildPythonApplication = built;
  };
  json.generate = name: value: textFile name (builtins.toJSON value);
  self = lib.genAttrs [
    "bash" "brave" "chromium" "coreutils" "desktop-file-utils" "findutils" "git" "github-mcp-server" "gnugrep"
    "gnumake" "gnused" "google-chrome" "jq" "mcp-gateway" "nodejs" "systemd" "tailscale" "uv"
  ] (name: package name { }) // {
    stdenv.hostPlatform.system = "x86_64-linux";
    python3 = python;
    python3Packages = pythonPackages;
    formats.json = _: json;
    writeShellScript = name: text: textFile name "#!/bin/sh\n${text}";
    buildNpmPackage = built;
    importNpmLock = {
      __functor = _: asked: package "npm-deps" { inherit asked; };
      npmConfigHook = package "npm-config-hook" { };
    };
    mkShell = asked: package "shell" { inherit asked; };
    callPackage = file: given:
      let wanted = builtins.functionArgs (import file); in
      import file (builtins.intersectAttrs wanted (self // { inherit lib; }) // given);
  };
in
self
