# Machines that boot, one test for each property. The scripts are those of tests/scenarios, which a small driver also
# runs over containers.
{ self, pkgs }:
let
  inherit (pkgs) lib;
  scenarios = ../../tests/scenarios;
  # The client that the scripts use on every node.
  client = pkgs.writers.writePython3Bin "scenario-mail" {
    doCheck = false;
  } (builtins.readFile (scenarios + "/client.py"));

  test =
    name: nodes:
    pkgs.testers.runNixOSTest {
      name = "posthorn-${name}";
      inherit nodes;
      defaults = {
        imports = [
          self.nixosModules.default
          ./people.nix
        ];
        environment.systemPackages = [
          client
          pkgs.openssl
        ];
      };
      testScript = builtins.readFile (scenarios + "/${lib.replaceStrings [ "-" ] [ "_" ] name}.py");
    };
  files = lib.filterAttrs (
    name: _:
    !lib.elem name [
      "default.nix"
      "people.nix"
    ]
  ) (builtins.readDir ./.);
in
lib.mapAttrs' (
  file: _:
  let
    name = lib.removeSuffix ".nix" file;
  in
  lib.nameValuePair name (test name (import (./. + "/${file}")))
) files
