# What `nix flake check` looks at besides the packages.
{ self, pkgs }:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (self.packages.${system}) posthorn;

  # The same sources with another purpose than to be installed.
  instead =
    name: change:
    posthorn.overrideAttrs (
      old:
      {
        pname = "posthorn-${name}";
        installPhase = "touch $out";
        dontFixup = true;
      }
      // change old
    );

  evaluated = import ./evaluate.nix {
    inherit (self.inputs) nixpkgs;
    inherit system;
    module = self.nixosModules.default;
  };
  passes = name: case: lib.assertMsg (case.complaints == [ ]) "example ${name}: ${toString case.complaints}";
  # Where assertions are silent, building the settings must fail; nixos/check does that.
  asserted = lib.filterAttrs (_: case: case.complaints != [ ]) evaluated.refused;
  refuses =
    name: case:
    lib.assertMsg (lib.any (lib.hasInfix case.says) case.complaints) "${name}: ${toString case.complaints}";
  all = judge: cases: lib.all (name: judge name cases.${name}) (lib.attrNames cases);

  documentation = pkgs.writeText "options.md" (import ./options-doc.nix { inherit lib pkgs; });
in
{
  fmt = instead "fmt" (old: {
    nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.rustfmt ];
    buildPhase = "cargo fmt --all -- --check";
  });

  clippy = instead "clippy" (old: {
    nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.clippy ];
    buildPhase = "cargo clippy --workspace --all-targets --offline -- -D warnings";
  });

  tests = instead "tests" (old: {
    nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.postgresql ];
    buildPhase = "cargo test --workspace --offline";
  });

  examples =
    assert all passes evaluated.examples;
    assert all refuses asserted;
    pkgs.runCommand "posthorn-examples" { } ''
      cat ${toString (lib.concatMap (case: case.settings) (lib.attrValues evaluated.examples))} > $out
    '';

  options-doc = pkgs.runCommand "posthorn-options-doc" { } ''
    diff -u ${./options.md} ${documentation} || { echo "run nixos/check --bless"; exit 1; }
    cp ${documentation} $out
  '';
}
# Machines that boot.
// import ./tests { inherit self pkgs; }
