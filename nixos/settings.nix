# posthorn.toml as a file in the store. What `posthorn config check` refuses does not become a system.
{ lib, pkgs }:
instance:
let
  written = (pkgs.formats.toml { }).generate "${instance.name}.toml" instance.settings;
  # A program for another kind of machine cannot be asked.
  runs = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
in
if !runs then
  written
else
  pkgs.runCommand "${instance.name}-checked.toml" { } ''
    ${lib.getExe instance.package} --config ${written} config check --without-files
    cp ${written} $out
  ''
