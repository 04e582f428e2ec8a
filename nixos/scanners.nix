# Engines of others beside an instance, by one switch each: the service of NixOS, and the rows that lead to it and back.
{
  lib,
  config,
  options,
}:
let
  inherit (config) services;

  engines = {
    clamav = {
      row = {
        kind = "clamd";
        address = [ (services.clamav.daemon.settings.LocalSocket or "/run/clamav/clamd.ctl") ];
      };
      # Its socket is for everybody on the machine.
      group = null;
      units = [ "clamav-daemon.service" ];
      service = {
        daemon.enable = true;
        updater.enable = true;
      };
    };
    rspamd = {
      row = {
        kind = "rspamd";
        address = [ (lib.head (services.rspamd.workers.normal.bindSockets or [ { socket = "/run/rspamd/rspamd.sock"; } ])).socket ];
      };
      group = services.rspamd.group or null;
      units = [ "rspamd.service" ];
      service = {
        enable = true;
        # As without any workers of one's own.
        workers.normal = { };
        workers.controller = { };
      };
    };
    # There is none in NixOS: what it passes comes back to the listener `reinject`.
    amavisd = {
      row = {
        kind = "smtp";
        address = [ "127.0.0.1:10024" ];
      };
      group = null;
      units = [ ];
      service = null;
    };
  };

  chosen = instance: lib.filterAttrs (name: _: instance.${name}.enable) engines;
  ofNixos = lib.filterAttrs (_: engine: engine.service != null) engines;
  wanted = name: instances: lib.any (instance: instance.${name}.enable) instances;
  # Something that is less than NixOS may not know them.
  known = name: options.services ? ${name};
in
{
  rows = instance: lib.mapAttrsToList (name: engine: { inherit name; } // engine.row // instance.${name}.settings) (chosen instance);
  units = instance: lib.concatMap (engine: engine.units) (lib.attrValues (chosen instance));
  groups = instance: lib.filter (group: group != null) (map (engine: engine.group) (lib.attrValues (chosen instance)));

  services =
    instances:
    lib.mapAttrs (name: engine: lib.mkIf (wanted name instances) engine.service) (
      lib.filterAttrs (name: _: known name) ofNixos
    );
  warnings =
    instances:
    map (name: "services.posthorn.${name}: this system has no services.${name}, so only the way to it is made") (
      lib.filter (name: wanted name instances && !known name) (lib.attrNames ofNixos)
    );
}
