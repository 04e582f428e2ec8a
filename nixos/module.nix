# services.posthorn: options to one configuration file, one hardened service, its database and its ports.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  listeners = import ./listeners.nix { inherit lib; };
  scanners = import ./scanners.nix { inherit lib config options; };
  instanceOf = import ./instance.nix {
    inherit
      lib
      pkgs
      listeners
      scanners
      ;
    inherit (config) networking;
    inherit (config.security) acme;
  };
  rules = import ./assertions.nix { inherit lib listeners; };
  settingsOf = import ./settings.nix { inherit lib pkgs; };
  unitOf = import ./unit.nix { inherit lib listeners scanners; };
  provisionOf = import ./provision.nix { inherit lib pkgs; };
  backupOf = import ./backup.nix { inherit lib; };
  commandOf = import ./command.nix { inherit lib pkgs; };
  portsOf = import ./firewall.nix { inherit lib listeners; };
  databaseOf = import ./database.nix { inherit lib; };

  cfg = config.services.posthorn;
  instances = lib.filter (instance: instance.enable) ([ cfg ] ++ lib.attrValues cfg.instances);
  forAll = make: lib.mkMerge (map make instances);
  # By a name that stays: other settings are then no other unit, and a reload reads them.
  fileOf = instance: "${instance.name}/posthorn.toml";
  configFileOf = instance: "/etc/${fileOf instance}";
  backup =
    instance:
    backupOf {
      inherit instance;
      configFile = configFileOf instance;
    };
  unit =
    instance:
    unitOf {
      inherit instance;
      configFile = configFileOf instance;
      settingsFile = settingsOf instance;
      acmeGroup =
        if instance.tls.acmeHost == null then null else config.security.acme.certs.${instance.tls.acmeHost}.group;
    };
in
{
  options.services.posthorn = lib.mkOption {
    default = { };
    description = "A Posthorn mail server.";
    type = lib.types.submodule {
      imports = [
        (instanceOf {
          name = "posthorn";
          user = "posthorn";
        })
      ];
      options.instances = lib.mkOption {
        default = { };
        example = lib.literalExpression ''
          {
            lists = {
              enable = true;
              hostname = "lists.example.org";
              preset = "none";
              listeners.smtp = { speaks = "smtp"; listen = [ "192.0.2.26:25" ]; };
            };
          }
        '';
        description = ''
          Further instances on the same machine. Instance NAME is the service `posthorn-NAME` with a user, a database and a
          data folder of that name; it has all the options above.
        '';
        type = lib.types.attrsOf (
          lib.types.submodule (
            { name, ... }:
            {
              imports = [
                (instanceOf {
                  name = "posthorn-${name}";
                  user = "posthorn-${name}";
                })
              ];
              config.package = lib.mkDefault cfg.package;
            }
          )
        );
      };
    };
  };

  config = lib.mkIf (instances != [ ]) {
    assertions = rules.assertions instances;
    warnings = rules.warnings instances ++ scanners.warnings instances;

    systemd.services = forAll (
      instance:
      (unit instance).services
      // provisionOf {
        inherit instance;
        configFile = configFileOf instance;
      }
      // (backup instance).services or { }
    );
    systemd.timers = forAll (instance: (backup instance).timers or { });
    systemd.tmpfiles = forAll (instance: (backup instance).tmpfiles or { });
    systemd.sockets = forAll (instance: (unit instance).sockets);

    services = scanners.services instances // {
      postgresql = databaseOf instances;
    };

    networking.firewall.allowedTCPPorts = lib.concatMap portsOf instances;

    # One certificate may serve others too: their group is asked for, not changed.
    users.users = forAll (instance: {
      ${instance.user} = {
        isSystemUser = true;
        group = instance.user;
      };
    });
    users.groups = forAll (instance: { ${instance.user} = { }; });

    environment.etc = forAll (instance: { ${fileOf instance}.source = settingsOf instance; });
    environment.systemPackages = map (
      instance:
      commandOf {
        inherit instance;
        configFile = configFileOf instance;
      }
    ) instances;
  };
}
