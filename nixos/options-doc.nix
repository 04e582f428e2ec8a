# nixos/options.md, from the options themselves.
{ lib, pkgs }:
let
  evaluated = lib.evalModules {
    modules = [
      ./module.nix
      {
        _module.check = false;
        _module.args = { inherit pkgs; };
      }
    ];
  };
  all = lib.optionAttrSetToDocList evaluated.options.services;
  # Instances have the options of the service itself.
  told = lib.filter (
    option:
    option.visible && !option.internal && option.name != "services.posthorn" && !(lib.hasPrefix "services.posthorn.instances.<name>." option.name)
  ) all;
  sorted = lib.sort (a: b: a.name < b.name) told;

  textOf = value: if lib.isAttrs value then value.text else value;
  isCode = value: !(lib.isAttrs value && (value._type or "") == "literalMD");
  line = text: lib.concatStringsSep " " (lib.filter (word: word != "") (lib.splitString " " (lib.replaceStrings [ "\n" ] [ " " ] text)));
  shown =
    title: value:
    let
      text = lib.trim (textOf value);
    in
    if !isCode value then
      "- ${title}: ${line text}\n"
    else if lib.hasInfix "\n" text then
      "- ${title}:\n\n  ```nix\n${lib.concatMapStrings (row: if row == "" then "\n" else "  ${row}\n") (lib.splitString "\n" text)}  ```\n"
    else
      "- ${title}: `${text}`\n";
  # How a nixpkgs words the types of rows is its own matter.
  typeOf =
    type:
    if !(lib.hasInfix "submodule" type) then
      type
    else if lib.hasPrefix "attribute set of" type then
      "attribute set of rows"
    else
      "attribute set";
  section =
    option:
    "## `${option.name}`\n\n${line (textOf option.description)}\n\n- Type: ${typeOf option.type}\n"
    + lib.optionalString (option ? default) (shown "Default" option.default)
    + lib.optionalString (option ? example) (shown "Example" option.example);
in
''
  # Options of `services.posthorn`

  Printed from `nixos/instance.nix` and `nixos/module.nix`; do not edit by hand (`nix build .#options-doc`, or `nixos/check --bless`).
  Every option may also stand below `services.posthorn.instances.NAME`.

''
+ lib.concatStringsSep "\n" (map section sorted)
