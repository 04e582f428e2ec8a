# The program, built from the checkout. Its tests are a check of their own (checks.nix): they start a PostgreSQL.
{
  lib,
  rustPlatform,
}:
let
  manifest = (lib.importTOML ../Cargo.toml).workspace.package;
in
rustPlatform.buildRustPackage {
  pname = "posthorn";
  inherit (manifest) version;

  # What Cargo reads and nothing else, so that a changed word in a README builds nothing anew.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.clippy.toml
      ../.rustfmt.toml
      ../Cargo.lock
      ../Cargo.toml
      ../README.md
      ../src
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--package"
    "posthorn"
  ];
  # Queries are checked against what src/store/.sqlx knows of the schema.
  env.SQLX_OFFLINE = "true";
  doCheck = false;

  meta = {
    description = "Mail server appliance: one program, one PostgreSQL, one configuration";
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "posthorn";
    platforms = lib.platforms.linux;
  };
}
