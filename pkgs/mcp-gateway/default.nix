# The gateway as nixpkgs would build it; `callPackage ./pkgs/mcp-gateway { }`. docs/decisions/0036-nix.md.
{ lib
, python3Packages
, buildNpmPackage
, importNpmLock
, nodejs
  # Build with what this nixpkgs has, although it is older than what the gateway is tested with.
, acceptOlder ? false
}:
let
  project = builtins.fromTOML (builtins.readFile ./pyproject.toml);
  inherit (project.project) version;

  # What `make` leaves in a clone is not source. The browser assets depend on none of it.
  src = lib.cleanSourceWith {
    name = "axios-mcp-gateway-source";
    src = lib.cleanSource ./.;
    filter = path: _type: !(builtins.elem (baseNameOf path) [
      "node_modules" "static" "__pycache__" ".mypy_cache" ".ruff_cache" ".pytest_cache" ".hypothesis" "dist" "screenshots"
    ]);
  };

  # ---- what browsers load
  # The lock file has names, versions and hashes, and not where to fetch: that is the public npm registry.
  address = path: entry:
    let
      name = entry.name or (lib.last (lib.splitString "node_modules/" path));
      file = lib.last (lib.splitString "/" name);
    in
    "https://registry.npmjs.org/${name}/-/${file}-${entry.version}.tgz";
  lock = lib.importJSON ./ui/package-lock.json;
  packageLock = lock // {
    packages = lib.mapAttrs
      (path: entry: if entry ? integrity then entry // { resolved = address path entry; } else entry)
      lock.packages;
  };
  ui = buildNpmPackage {
    pname = "axios-mcp-gateway-ui";
    inherit version src nodejs;
    npmRoot = "ui";
    npmDeps = importNpmLock { npmRoot = ./ui; inherit packageLock; };
    npmConfigHook = importNpmLock.npmConfigHook;
    nativeBuildInputs = [ python3Packages.python ];
    # The hook has put files of its own in the place of these two, by which build.py knows what it built of.
    # The stamp says that what the lock file names is installed, so npm is not asked again.
    buildPhase = ''
      runHook preBuild
      cp --no-preserve=mode "$src/ui/package.json" "$src/ui/package-lock.json" ui/
      cp ui/package-lock.json ui/node_modules/.stamp
      python3 ui/build.py
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      cp -r src/mcp_gateway/faces/ui/static "$out"
      runHook postInstall
    '';
  };

  # ---- what it needs of Python
  # pyproject.toml says what and which; `NAME>=VERSION,<NEXT` is all it uses.
  parsed = map
    (requirement:
      let found = builtins.match "([a-z0-9-]+)>=([0-9.]+),<([0-9.]+)" requirement; in
      if found == null then throw "mcp-gateway: default.nix does not understand ${requirement} in pyproject.toml"
      else { name = builtins.elemAt found 0; least = builtins.elemAt found 1; })
    project.project.dependencies;
  missing = builtins.filter (need: !(python3Packages ? ${need.name})) parsed;
  older = builtins.filter (need: !lib.versionAtLeast python3Packages.${need.name}.version need.least) parsed;
  words = lib.concatMapStringsSep ", " (need: "${need.name} ${need.least} (here ${python3Packages.${need.name}.version})") older;
  dependencies =
    if missing != [ ] then
      throw "mcp-gateway needs ${lib.concatMapStringsSep ", " (need: need.name) missing}, which this nixpkgs does not have: take a newer one, nixos-unstable for instance"
    else if older != [ ] && !acceptOlder then
      throw "mcp-gateway needs ${words} or later: take a newer nixpkgs, nixos-unstable for instance, or try with what is there: mcp-gateway.override { acceptOlder = true; }"
    else map (need: python3Packages.${need.name}) parsed;
in
python3Packages.buildPythonApplication {
  pname = "axios-mcp-gateway";
  inherit version src dependencies;
  pyproject = true;

  build-system = [ python3Packages.hatchling ];
  # nixpkgs has one version of each, which is rarely the one of uv.lock; that it is not too old is checked above.
  pythonRelaxDeps = true;

  # hatch_build.py asks for Node only when what lies there was not built of these sources.
  preBuild = ''
    cp -r --no-preserve=mode ${ui} src/mcp_gateway/faces/ui/static
  '';

  # The suite wants browsers, other servers and a machine of its own: `make test`, in the repository's CI.
  doCheck = false;
  pythonImportsCheck = [ "mcp_gateway" "mcp_gateway.app" "mcp_gateway.faces.ui" ];

  passthru = { inherit ui; };

  meta = {
    description = project.project.description;
    license = lib.licenses.mit;
    mainProgram = "mcp-gateway";
    platforms = lib.platforms.linux;
  };
}
