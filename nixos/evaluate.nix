# The examples as machines, and configurations that must not become one. Both are looked at without building a machine.
{
  nixpkgs,
  module,
  system,
}:
let
  inherit (nixpkgs) lib;
  configOf =
    config:
    (lib.nixosSystem {
      inherit system;
      modules = [
        module
        config
        {
          nixpkgs.hostPlatform = system;
          system.stateVersion = lib.mkDefault "26.05";
        }
      ];
    }).config;
  # Assertions of others, such as the one about a missing root file system, are not what is asked here.
  complaints =
    config:
    map (found: found.message) (
      lib.filter (found: !found.assertion && lib.hasInfix "posthorn" found.message) config.assertions
    );
  settingsOf = config: lib.filterAttrs (name: _: lib.hasPrefix "posthorn" name) config.environment.etc;
  files = lib.filterAttrs (name: _: lib.hasSuffix ".nix" name) (builtins.readDir ./examples);
in
{
  examples = lib.mapAttrs' (
    file: _:
    let
      config = configOf (./examples + "/${file}");
    in
    lib.nameValuePair (lib.removeSuffix ".nix" file) {
      complaints = complaints config;
      settings = lib.mapAttrsToList (_: entry: entry.source) (settingsOf config);
      ports = config.networking.firewall.allowedTCPPorts;
    }
  ) files;

  refused = lib.mapAttrs (
    _: case:
    let
      config = configOf case.config;
    in
    {
      inherit (case) says;
      complaints = complaints config;
      settings = lib.mapAttrsToList (_: entry: entry.source) (settingsOf config);
    }
  ) (import ./refused.nix);
}
