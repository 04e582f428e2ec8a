# `posthorn` for the administrator: the same program with the instance's configuration, its user and its database.
{ lib, pkgs }:
let
  credentials = import ./credentials.nix { inherit lib; };
in
{ instance, configFile }:
let
  load = map (line: "--property=LoadCredential=${line}") (credentials.lines (credentials.ofCommand instance));
in
pkgs.writeShellApplication {
  name = instance.name;
  runtimeInputs = [
    pkgs.coreutils
    pkgs.systemd
  ];
  text = ''
    command=(${lib.getExe instance.package} --config ${configFile} "$@")
    # Whoever is not root may ask what needs no database, such as `config show`.
    [ "$(id -u)" = 0 ] || exec "''${command[@]}"
    channel=--pipe
    if [ -t 0 ] && [ -t 1 ]; then channel=--pty; fi
    exec systemd-run --quiet --collect --wait "$channel" --uid=${instance.user} --gid=${instance.user} \
      --property=UMask=0077 ${lib.escapeShellArgs load} -- "''${command[@]}"
  '';
}
