# What the module system cannot see: options that contradict each other, and secrets in the wrong place.
{ lib, listeners }:
let
  credentials = import ./credentials.nix { inherit lib; };
  count = lib.count (value: value);

  ofInstance =
    instance:
    let
      option = if instance.name == "posthorn" then "services.posthorn" else "services.posthorn.instances.${lib.removePrefix "posthorn-" instance.name}";
      secrets = credentials.inStore (credentials.ofServer instance // credentials.ofProvision instance);
      exposed = lib.attrNames secrets ++ map (key: "settings.${key}") (credentials.settingsInStore instance.settings);
      url = (instance.settings.database or { }).url or "";
      named = address: lib.elem (lib.last (lib.splitString "@" address)) instance.domains;
    in
    [
      {
        assertion = exposed == [ ];
        message = "${option}: ${lib.concatStringsSep ", " exposed}: a file in the store can be read by everybody; name a path such as /run/secrets/NAME as a string";
      }
      {
        assertion =
          count [
            instance.database.createLocally
            (instance.database.url != null)
            (instance.database.urlFile != null)
          ] <= 1;
        message = "${option}.database: createLocally, url and urlFile exclude each other";
      }
      {
        # The private PostgreSQL that the program can run is for machines without a module for one.
        assertion =
          instance.database.createLocally
          || instance.database.urlFile != null
          || (instance.settings.database or { }) ? url;
        message = "${option}.database: nothing says where the data is: createLocally, url or urlFile";
      }
      {
        assertion = builtins.match ".*://[^/@]*:[^/@]*@.*" url == null;
        message = "${option}.database.url holds a password, which everybody can read in the store: use urlFile";
      }
      {
        assertion = instance.tls.acmeHost == null || (instance.tls.certificate == null && instance.tls.key == null);
        message = "${option}.tls: acmeHost stands for both files: leave certificate and key out";
      }
      {
        assertion = (instance.tls.certificate == null) == (instance.tls.key == null);
        message = "${option}.tls: certificate and key belong together";
      }
      {
        assertion = lib.all named (lib.attrNames instance.accounts ++ lib.attrNames instance.aliases);
        message = "${option}: every declared account and alias needs its domain in ${option}.domains";
      }
      {
        assertion = !instance.prune || instance.domains != [ ];
        message = "${option}.prune without declared domains would remove all mail";
      }
      {
        assertion = !instance.socketActivation || !(lib.any (listener: lib.any lib.isAttrs listener.listen) (lib.attrValues instance.listeners));
        message = "${option}.socketActivation: a socket that is handed over has no options of its own; write the addresses as texts";
      }
      {
        assertion = (instance.settings.scanner or [ ]) == [ ] || (instance.settings.filter or { }).enable or true;
        message = "${option}.settings.filter.enable: without the filter nobody asks ${lib.concatMapStringsSep ", " (row: row.name or "a scanner") instance.settings.scanner}";
      }
      {
        assertion = lib.hasInfix "." instance.hostname;
        message = "${option}.hostname is ${instance.hostname}: other servers want a full name such as mail.example.org";
      }
    ];
in
{
  assertions =
    instances:
    let
      bound = lib.concatMap (instance: listeners.boundAddresses instance.listeners) instances;
      twice = lib.unique (lib.filter (address: count (map (other: other == address) bound) > 1) bound);
    in
    lib.concatMap ofInstance instances
    ++ [
      {
        assertion = twice == [ ];
        message = "services.posthorn: ${lib.concatStringsSep ", " twice} is listened on more than once";
      }
    ];

  warnings = lib.concatMap (
    instance:
    lib.optional (listeners.publicPorts instance.listeners != [ ] && instance.tls.acmeHost == null && instance.tls.certificate == null && !((instance.settings.tls or { }) ? certificate))
      "${instance.name}: no certificate is configured; it makes a self-signed one that no client trusts (tls.acmeHost, or tls.certificate and tls.key)"
  );
}
