# Backups by the clock: the program's own, while the server runs. The service manager's credentials are not in them: they
# are declared where they come from.
{ lib }:
let
  credentials = import ./credentials.nix { inherit lib; };
  hardening = lib.importJSON ./hardening.json;
in
{ instance, configFile }:
let
  unit = "${instance.name}-backup";
  arguments = [
    (lib.getExe instance.package)
    "--config"
    "${configFile}"
    "backup"
    instance.backup.folder
    "--keep"
    (toString instance.backup.keep)
  ]
  ++ lib.optional (!instance.backup.secrets) "--without-secrets";
in
lib.optionalAttrs instance.backup.enable {
  services.${unit} = {
    description = "Backup of ${instance.name}";
    after = [ "${instance.name}.service" ];
    enableDefaultPath = false;
    serviceConfig =
      hardening
      // {
        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        Type = "oneshot";
        ExecStart = lib.escapeShellArgs arguments;
        User = instance.user;
        Group = instance.user;
        StateDirectory = instance.name;
        StateDirectoryMode = "0700";
        ReadWritePaths = [ instance.backup.folder ];
        LoadCredential = credentials.lines (credentials.ofCommand instance);
        # Mail goes first.
        Nice = 10;
        IOSchedulingClass = "idle";
      };
  };
  timers.${unit} = {
    description = "Backup of ${instance.name}, by the clock";
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = instance.backup.schedule;
      # What was missed while the machine was off is made good.
      Persistent = true;
      RandomizedDelaySec = "10min";
    };
  };
  # For the service's user alone: whoever reads a backup reads all mail.
  tmpfiles.settings.${unit}.${instance.backup.folder}.d = {
    inherit (instance) user;
    group = instance.user;
    mode = "0700";
  };
}
