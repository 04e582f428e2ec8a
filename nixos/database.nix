# A PostgreSQL on this machine: one role and one database named like the service's user, which peer authentication lets
# in over the socket. There is no password and no TCP.
{ lib }:
instances:
let
  local = lib.filter (instance: instance.database.createLocally) instances;
in
lib.mkIf (local != [ ]) {
  enable = true;
  ensureDatabases = map (instance: instance.user) local;
  ensureUsers = map (instance: {
    name = instance.user;
    ensureDBOwnership = true;
  }) local;
}
