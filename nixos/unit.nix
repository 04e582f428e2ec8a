# The service of one instance, and its sockets when the service manager opens them.
{
  lib,
  listeners,
  scanners,
}:
let
  credentials = import ./credentials.nix { inherit lib; };
  hardening = lib.importJSON ./hardening.json;
in
{
  instance,
  configFile,
  settingsFile,
  acmeGroup,
}:
let
  # What a reload cannot change, as the program says it (src/posthorn/reload.rs).
  atStart = [
    "server.data"
    "server.control"
    "database"
    "log.format"
  ];
  valueOf = key: lib.attrByPath (lib.splitString "." key) null instance.settings;
  activated = lib.filterAttrs (_: listener: listeners.addresses listener != [ ]) instance.listeners;
  sockets = lib.optionalAttrs instance.socketActivation activated;
  socketName = label: "${instance.name}-${label}";
  socketUnits = map (label: "${socketName label}.socket") (lib.attrNames sockets);
  # Whoever is handed the low ports needs no capability to open them, and may then live among users of its own.
  capabilities = lib.optionalAttrs instance.socketActivation {
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    PrivateUsers = true;
  };
  # What should be there first. Wanted, not required: when PostgreSQL restarts, sessions wait instead of being cut.
  before =
    [ "network-online.target" ]
    ++ lib.optional instance.database.createLocally "postgresql.target"
    ++ lib.optional (instance.tls.acmeHost != null) "acme-${instance.tls.acmeHost}.service"
    ++ scanners.units instance;
in
{
  services.${instance.name} = {
    description = "Posthorn mail server (${instance.hostname})";
    documentation = [ "https://www.rfc-editor.org/info/rfc5321" ];
    wantedBy = [ "multi-user.target" ];
    wants = before;
    requires = socketUnits;
    after = before ++ socketUnits;
    reloadTriggers = [ settingsFile ];
    restartTriggers = [ (builtins.toJSON (map valueOf atStart)) ];
    # A database that is away for an hour is no reason to give up.
    startLimitIntervalSec = 0;
    # It starts no other program.
    enableDefaultPath = false;
    serviceConfig =
      hardening
      // capabilities
      // {
        Type = "notify";
        ExecStart = "${lib.getExe instance.package} --config ${configFile} serve";
        # Configuration, certificates and secrets are read again, and no session ends for it.
        ExecReload = "${lib.getExe instance.package} --config ${configFile} config reload";
        User = instance.user;
        Group = instance.user;
        StateDirectory = instance.name;
        StateDirectoryMode = "0700";
        RuntimeDirectory = instance.name;
        RuntimeDirectoryMode = "0750";
        LoadCredential = credentials.lines (credentials.ofServer instance);
        SupplementaryGroups = lib.optional (acmeGroup != null) acmeGroup ++ scanners.groups instance;
        Restart = "on-failure";
        RestartSec = 2;
        # A configuration that cannot be used does not mend itself.
        RestartPreventExitStatus = 78;
        # Migrations of a large database take their time.
        TimeoutStartSec = "15min";
        # server.grace, the last commits, and some.
        TimeoutStopSec = 45;
        WatchdogSec = 30;
        # Only the server is told to stop: a private PostgreSQL is stopped by it, behind the last commit.
        KillMode = "mixed";
        LimitNOFILE = 65536;
      };
  };

  sockets = lib.mapAttrs' (
    label: listener:
    lib.nameValuePair (socketName label) {
      description = "Posthorn ${label} socket";
      wantedBy = [ "sockets.target" ];
      listenStreams = map listeners.streamOf (listeners.addresses listener);
      socketConfig = {
        BindIPv6Only = "ipv6-only";
        FileDescriptorName = label;
        Service = "${instance.name}.service";
        Backlog = 500;
      };
    }
  ) sockets;
}
