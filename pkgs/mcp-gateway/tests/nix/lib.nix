# A small module system under nixpkgs' names, to evaluate our modules where nixpkgs is not at hand. It has what
# the modules use and no more, so that a function it lacks is an error, and it is stricter than the real one: every
# definition is checked, whether somebody reads it or not. Decision 36 says what that proves and what it does not.
let
  inherit (builtins)
    all attrNames concatLists concatMap elem elemAt filter foldl' head isAttrs isBool isFunction isInt isList isPath
    isString length listToAttrs mapAttrs match removeAttrs replaceStrings sort split stringLength substring toJSON;

  # ---- plain functions
  inherit (builtins) concatStringsSep;
  optionals = condition: list: if condition then list else [ ];
  nameValuePair = name: value: { inherit name value; };
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  filterAttrs = keep: set:
    listToAttrs (concatMap (name: optionals (keep name set.${name}) [ (nameValuePair name set.${name}) ]) (attrNames set));
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix = suffix: text:
    let start = stringLength text - stringLength suffix; in start >= 0 && substring start (-1) text == suffix;
  removeSuffix = suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  toList = x: if isList x then x else [ x ];
  last = list: elemAt list (length list - 1);
  letters = text: filter (x: isString x && x != "") (split "" text);
  special = letters ".+*?()[{^$|\\";
  splitString = sep: text: filter isString (split (replaceStrings special (map (c: "\\${c}") special) sep) text);
  recursiveUpdate = one: other:
    one // mapAttrs (n: v: if isAttrs v && isAttrs (one.${n} or null) then recursiveUpdate one.${n} v else v) other;
  escapeShellArg = x:
    let text = toString x; in
    if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
  dotted = concatStringsSep ".";

  # ---- what stands around a value
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  # Moved to the attributes, without a look at the condition, which may need what comes of them.
  pushed = v:
    if v._type or "" == "if" then map (mapAttrs (_: mkIf v.condition)) (pushed v.content)
    else if v._type or "" == "override" then map (mapAttrs (_: mkOverride v.priority)) (pushed v.content)
    else [ v ];
  discharged = v:
    if v._type or "" == "if" then optionals (assert isBool v.condition; v.condition) (discharged v.content)
    else if v._type or "" == "override" then map (d: d // { inherit (v) priority; }) (discharged v.content)
    else [ { value = v; priority = 100; } ];
  winners = definitions:
    let best = foldl' (least: d: if d.priority < least then d.priority else least) 9999 definitions; in
    filter (d: d.priority == best) definitions;

  isDerivation = x: isAttrs x && x.type or "" == "derivation";
  shown = v: if isFunction v then "<function>" else if isDerivation v then "<${v.name}>" else toJSON v;
  merged = place: type: definitions:
    let
      chosen = winners definitions;
      wrong = filter (d: !type.check d.value) chosen;
    in
    if wrong != [ ] then
      throw "A definition for option `${dotted place}' is not of type `${type.description}'. Value: ${shown (head wrong).value}"
    else type.merge place (map (d: d.value) chosen);

  # ---- types
  one = place: values:
    if all (v: v == head values) values then head values
    else throw "The option `${dotted place}' has conflicting definition values: ${concatStringsSep ", " (map shown values)}";
  mkType = description: check: { inherit description check; merge = one; };
  isStored = text: hasPrefix "${builtins.storeDir}/" text;
  types = rec {
    bool = mkType "boolean" isBool;
    int = mkType "signed integer" isInt;
    str = mkType "string" isString;
    lines = mkType "strings, each on its line" isString // { merge = _: concatStringsSep "\n"; };
    port = mkType "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (x: isInt x && x >= 0 && x <= 65535);
    package = mkType "package" isDerivation;
    path = mkType "absolute path" (x: (isString x || isPath x || isDerivation x) && hasPrefix "/" (toString x));
    externalPath = mkType "absolute path not in the Nix store" (x: isString x && hasPrefix "/" x && !isStored x);
    unspecified = mkType "anything" (_: true);
    anything = unspecified // {
      merge = place: values: if all isAttrs values then (attrsOf anything).merge place values else one place values;
    };
    strMatching = pattern: mkType "string matching the pattern ${pattern}" (x: isString x && match pattern x != null);
    enum = values: mkType "one of ${concatStringsSep ", " (map toJSON values)}" (x: elem x values);
    nullOr = type: mkType "null or ${type.description}" (x: x == null || type.check x) // {
      merge = place: values:
        if all (v: v == null) values then null
        else if elem null values then throw "The option `${dotted place}' is both null and not null"
        else type.merge place values;
    };
    either = a: b: mkType "${a.description} or ${b.description}" (x: a.check x || b.check x) // {
      merge = place: values:
        if all a.check values then a.merge place values
        else if all b.check values then b.merge place values
        else one place values;
    };
    oneOf = list: foldl' either (head list) (builtins.tail list);
    listOf = type: mkType "list of ${type.description}" isList // {
      merge = place: values: map (x: merged (place ++ [ "*" ]) type [ x ]) (concatMap (concatMap discharged) values);
    };
    attrsOf = type: mkType "attribute set of ${type.description}" isAttrs // {
      below = type.below or { };
      merge = place: values:
        let
          sets = concatMap pushed values;
          of = name: concatMap (set: optionals (set ? ${name}) (discharged set.${name})) sets;
          names = attrNames (foldl' (a: b: a // b) { } sets);
        in
        mapAttrs (name: merged (place ++ [ name ]) type) (filterAttrs (_: found: found != [ ]) (genAttrs names of));
    };
    submodule = module: mkType "submodule" isAttrs // {
      below = if isFunction module then { } else module.options or { };
      merge = place: values:
        (evalModules {
          prefix = place;
          modules = [ module ] ++ map (config: { inherit config; }) values;
          specialArgs.name = last place;
        }).config;
    };
  };

  # ---- options and modules
  optionKeys = [ "type" "default" "defaultText" "example" "description" "readOnly" ];
  mkOption = option:
    let unknown = attrNames (removeAttrs option optionKeys); in
    if unknown != [ ] then throw "mkOption: unknown attribute ${head unknown}"
    else { _type = "option"; type = types.unspecified; } // option;
  isOption = option: option._type or "" == "option";

  evalModules = { modules, specialArgs ? { }, prefix ? [ ] }:
    let
      given = { inherit lib config options; } // specialArgs;
      load = module:
        let
          raw = if isPath module || isString module then import module else module;
          wanted = builtins.functionArgs raw;
          arguments = mapAttrs (name: _: given.${name} or (throw "no module argument `${name}'"))
            (filterAttrs (name: optional: !optional || given ? ${name}) wanted);
          value = if isFunction raw then raw (if wanted == { } then given else given // arguments) else raw;
          isWhole = value ? config || value ? options;
          stray = attrNames (removeAttrs value [ "imports" "options" "config" ]);
        in
        [ {
          options = value.options or { };
          config =
            if !isWhole then removeAttrs value [ "imports" ]
            else if stray == [ ] then value.config or { }
            else throw "attribute `${head stray}' beside `config' or `options'";
        } ] ++ concatMap load (value.imports or [ ]);
      loaded = concatMap load modules;
      declared = place: trees:
        genAttrs (attrNames (foldl' (a: b: a // b) { } trees)) (name:
          let
            here = concatMap (tree: optionals (tree ? ${name}) [ tree.${name} ]) trees;
            found = filter isOption here;
          in
          if found == [ ] then declared (place ++ [ name ]) here
          else if length here > 1 then throw "The option `${dotted (place ++ [ name ])}' is declared more than once"
          else head found);
      options = declared prefix (map (m: m.options) loaded);
      evaluated = place: tree: definitions:
        let
          sets = concatMap pushed definitions;
          unknown = concatMap (set: attrNames (removeAttrs set (attrNames tree))) sets;
          of = name: concatMap (set: optionals (set ? ${name}) [ set.${name} ]) sets;
        in
        if filter (set: !isAttrs set) sets != [ ] then throw "`${dotted place}' is not an attribute set"
        else if unknown != [ ] then throw "The option `${dotted (place ++ [ (head unknown) ])}' does not exist."
        else mapAttrs
          (name: below: (if isOption below then valueOf else evaluated) (place ++ [ name ]) below (of name))
          tree;
      valueOf = place: option: definitions:
        let
          default = optionals (option ? default) [ { value = option.default; priority = 1500; } ];
          found = concatMap discharged definitions ++ default;
        in
        if found == [ ] then throw "The option `${dotted place}' was accessed but has no value defined."
        else if option.readOnly or false && length found > 1 then
          throw "The option `${dotted place}' is read-only, but it is set multiple times."
        else merged place option.type found;
      config = evaluated prefix options (map (m: m.config) loaded);
    in
    { inherit options config; };

  lib = {
    inherit (builtins) attrNames concatLists listToAttrs mapAttrs;
    inherit
      concatStringsSep escapeShellArg evalModules filterAttrs genAttrs hasPrefix isOption last mapAttrsToList mkIf mkOption
      nameValuePair optionals recursiveUpdate removeSuffix splitString toList types;
    mkDefault = mkOverride 1000;
    mkEnableOption = what:
      mkOption { type = types.bool; default = false; example = true; description = "Whether to enable ${what}."; };
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    any = f: list: filter f list != [ ];
    optional = condition: x: optionals condition [ x ];
    optionalString = condition: text: if condition then text else "";
    optionalAttrs = condition: set: if condition then set else { };
    mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
    concatMapStringsSep = sep: f: list: concatStringsSep sep (map f list);
    toLower = replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (letters "abcdefghijklmnopqrstuvwxyz");
    unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
    getExe = p: "${p}/bin/${p.meta.mainProgram or (throw "getExe: ${p.name} has no meta.mainProgram")}";
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    cleanSource = path: path;
    cleanSourceWith = { src, filter, name }: builtins.path { path = src; inherit filter name; };
    licenses.mit.spdxId = "MIT";
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
  };
in
lib
