# People as they are declared: a file without secrets, applied behind every start and whenever it changes.
{ lib, pkgs }:
let
  credentials = import ./credentials.nix { inherit lib; };
  hardening = lib.importJSON ./hardening.json;
in
{ instance, configFile }:
let
  unit = "${instance.name}-provision";
  accounts = lib.mapAttrsToList (
    address: account:
    lib.removeAttrs account [ "passwordHashFile" ]
    // {
      inherit address;
    }
    // lib.optionalAttrs (account.passwordHashFile != null) {
      password_file = "/run/credentials/${unit}.service/${credentials.passwordName address}";
    }
  ) instance.accounts;
  aliases = lib.mapAttrsToList (address: targets: { inherit address targets; }) instance.aliases;
  people =
    lib.optionalAttrs (instance.domains != [ ]) { domain = map (name: { inherit name; }) instance.domains; }
    // lib.optionalAttrs (accounts != [ ]) { account = accounts; }
    // lib.optionalAttrs (aliases != [ ]) { alias = aliases; };
  file = (pkgs.formats.toml { }).generate "${instance.name}-people.toml" people;
in
lib.optionalAttrs (people != { }) {
  ${unit} = {
    description = "Declared domains, accounts and aliases of ${instance.name}";
    wantedBy = [ "multi-user.target" ];
    requires = [ "${instance.name}.service" ];
    after = [ "${instance.name}.service" ];
    enableDefaultPath = false;
    serviceConfig =
      hardening
      // {
        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe instance.package} --config ${configFile} apply ${file}${lib.optionalString instance.prune " --prune"}";
        User = instance.user;
        Group = instance.user;
        StateDirectory = instance.name;
        StateDirectoryMode = "0700";
        LoadCredential = credentials.lines (credentials.ofProvision instance);
        TimeoutStartSec = "15min";
      };
  };
}
