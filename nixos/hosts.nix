# The nodes of nixos/tests as units and files, for tests/scenarios/run --nixos: the same text that NixOS would give
# systemd, started by the systemd of a container.
{
  nixpkgs,
  module,
  system,
}:
let
  inherit (nixpkgs) lib;
  pkgs = nixpkgs.legacyPackages.${system};
  ours = lib.filterAttrs (
    name: _: lib.hasPrefix "posthorn" name || lib.hasPrefix "first-" name
  );
  describe =
    config:
    {
      units = lib.mapAttrs (_: unit: { inherit (unit) text wantedBy requiredBy; }) (ours config.systemd.units);
      files = lib.mapAttrs (_: file: {
        source = "${file.source}";
        inherit (file) mode;
      }) (ours config.environment.etc);
      tmpfiles = config.systemd.tmpfiles.rules;
      users = lib.attrNames (ours config.users.users);
      commands = map lib.getExe (lib.filter (package: lib.hasPrefix "posthorn" (lib.getName package)) config.environment.systemPackages);
    };
  hostOf =
    name: node:
    describe
      (lib.nixosSystem {
        inherit system;
        modules = [
          module
          node
          ./tests/people.nix
          {
            nixpkgs.hostPlatform = system;
            system.stateVersion = lib.mkDefault "26.05";
            networking.hostName = lib.mkDefault name;
          }
        ];
      }).config;
  tests = lib.filterAttrs (
    name: _: name != "default.nix" && name != "people.nix"
  ) (builtins.readDir ./tests);
  hosts = lib.mapAttrs' (
    file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (lib.mapAttrs hostOf (import (./tests + "/${file}")))
  ) tests;
in
pkgs.writeText "posthorn-hosts.json" (builtins.toJSON hosts)
