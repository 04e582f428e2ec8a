{
  description = "Posthorn, a mail server appliance: one program, one PostgreSQL, one configuration";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (
        pkgs:
        let
          posthorn = pkgs.callPackage ./nixos/package.nix { };
          images = pkgs.callPackage ./containers/images.nix {
            inherit posthorn;
            revision = self.rev or self.dirtyRev or "unknown";
          };
        in
        {
          inherit posthorn;
          inherit (images) image image-appliance;
          default = posthorn;
        }
      );

      overlays.default = final: _: { posthorn = final.callPackage ./nixos/package.nix { }; };

      nixosModules.posthorn =
        { lib, pkgs, ... }:
        {
          imports = [ ./nixos/module.nix ];
          services.posthorn.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.posthorn;
        };
      nixosModules.default = self.nixosModules.posthorn;

      checks = each (pkgs: import ./nixos/checks.nix { inherit self pkgs; });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.postgresql
            pkgs.rust-analyzer
            pkgs.rustc
            pkgs.rustfmt
          ];
        };
      });

      formatter = each (pkgs: pkgs.nixfmt-tree);
    };
}
