# What the service manager reads as root and hands to the service alone (systemd.exec(5), LoadCredential=).
{ lib }:
rec {
  # A credential named like a setting becomes that setting, so the URL with its password is in no file of ours.
  ofServer =
    instance:
    instance.credentials // lib.optionalAttrs (instance.database.urlFile != null) { "database.url" = instance.database.urlFile; };

  # Commands need the database, not the server's other secrets.
  ofCommand = instance: lib.filterAttrs (name: _: name == "database.url") (ofServer instance);

  passwordName = address: "password-${address}";

  # Applying people's passwords needs the files with their hashes.
  ofProvision =
    instance:
    ofCommand instance
    // lib.mapAttrs' (address: account: lib.nameValuePair (passwordName address) account.passwordHashFile) (
      lib.filterAttrs (_: account: account.passwordHashFile != null) instance.accounts
    );

  lines = lib.mapAttrsToList (name: file: "${name}:${toString file}");

  # A path in the store is a secret that everybody can read.
  inStore = lib.filterAttrs (_: file: lib.hasPrefix builtins.storeDir (toString file));

  # The keys of settings that name files with secrets, where such a path stands; each as its path.
  settingsInStore =
    let
      secret = key: lib.elem key [ "file" "key" "master_key" "old_secrets" "password_file" "secret" ];
      walk =
        path: key: value:
        if lib.isAttrs value then
          lib.concatLists (lib.mapAttrsToList (name: walk (path ++ [ name ]) name) value)
        else if lib.isList value then
          lib.concatMap (walk path key) value
        else
          lib.optional (secret key && (builtins.isPath value || lib.hasPrefix builtins.storeDir (toString value))) (lib.concatStringsSep "." path);
    in
    walk [ ] "";
}
