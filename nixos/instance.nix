# The options of one instance: `services.posthorn` itself, and each of `services.posthorn.instances`.
{
  lib,
  pkgs,
  listeners,
  scanners,
  networking,
  acme,
}:
{ name, user }:
{ config, ... }:
let
  inherit (lib) mkOption types;
  toml = pkgs.formats.toml { };
  # Said here rather than by the formats, so that the documentation depends on nothing else.
  described = description: type: type // { inherit description; };
  secret = described "path outside of the store" types.path;

  listenerType = types.submodule {
    freeformType = toml.type;
    options = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether it listens; a disabled listener is still checked.";
      };
      speaks = mkOption {
        type = types.enum (listeners.public ++ listeners.internal);
        description = "The protocol.";
      };
      listen = mkOption {
        type = described "list of addresses" (types.listOf (types.either types.str toml.type));
        example = [
          "*:25"
          "[*]:25"
        ];
        description = "The addresses, as `posthorn.toml` writes them.";
      };
    };
  };

  accountType = types.submodule {
    freeformType = toml.type;
    options.passwordHashFile = mkOption {
      type = types.nullOr secret;
      default = null;
      example = "/run/secrets/anna.hash";
      description = ''
        A file with the hash of the password, such as `mkpasswd -m sha-512` prints. It is read as root when the accounts are
        applied. Without it the password stays as it is.
      '';
    };
  };

  # The rest of a row that the module makes.
  scannerKeys = mkOption {
    type = described "keys of a row" (types.submodule { freeformType = toml.type; });
    default = { };
    example = {
      on_failure = "pass";
    };
    description = "Further keys of its `[[scanner]]` row, such as what becomes of mail while it cannot be asked.";
  };

  databaseUrl =
    if config.database.url != null then
      config.database.url
    else if config.database.createLocally then
      "postgres://${user}@%2Frun%2Fpostgresql/${user}"
    else
      null;

  fromAcme = file: "${acme.certs.${config.tls.acmeHost}.directory}/${file}";
  fromFile = file: if file == null then null else toString file;
  certificate = if config.tls.acmeHost != null then fromAcme "fullchain.pem" else fromFile config.tls.certificate;
  key = if config.tls.acmeHost != null then fromAcme "key.pem" else fromFile config.tls.key;
in
{
  options = {
    enable = lib.mkEnableOption "the Posthorn mail server";

    package = mkOption {
      type = types.package;
      defaultText = lib.literalMD "the package of this flake";
      description = "The program.";
    };

    stateVersion = mkOption {
      type = types.enum [ 1 ];
      default = 1;
      description = ''
        The layout of what the service stores, as it was when this machine was set up. A later version that cannot take it over
        by itself says here what to do first.
      '';
    };

    hostname = mkOption {
      type = types.str;
      default = networking.fqdnOrHostName;
      defaultText = lib.literalExpression "config.networking.fqdnOrHostName";
      example = "mail.example.org";
      description = "The name in greetings, Received headers and Message-IDs (`server.hostname`).";
    };

    domains = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "example.org" ];
      description = "Domains that mail is taken for. What is not named here and was added by hand stays, unless `prune` is set.";
    };

    accounts = mkOption {
      type = types.attrsOf accountType;
      default = { };
      example = lib.literalExpression ''
        {
          "anna@example.org" = {
            passwordHashFile = "/run/secrets/anna.hash";
            quota = "5 GiB";
          };
        }
      '';
      description = ''
        Accounts by address, with the keys of an `[[account]]` row of `posthorn apply`: `display_name`, `quota`,
        `quota_messages`, `forward_to`, `keep_copy`, `delegate`, `enabled`.
      '';
    };

    aliases = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      example = {
        "info@example.org" = [ "anna@example.org" ];
      };
      description = "Addresses that stand for others.";
    };

    prune = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether domains, accounts **with all their mail** and aliases that are not declared here are removed. It needs at least
        one declared domain.
      '';
    };

    preset = mkOption {
      type = types.enum (lib.attrNames listeners.presets);
      default = "full";
      description = ''
        Which listeners there are: `full` is all public services, and on loopback LMTP, policy, SRS, filters, milter, quarantine and metrics; `mx` takes mail
        from other servers; `submission-only` takes mail from people. Beside a Postfix that does the rest:
        `mailboxes-for-postfix` is LMTP on loopback and IMAP, `policy-for-postfix` policy and SRS on loopback, and
        `filter-for-postfix` on loopback content filters (10024, and 10026 for mail of the machine's own people; both give
        back to 10025), milter (2500), quarantine (9998) and metrics. `none` leaves it to `listeners`.
      '';
    };

    listeners = mkOption {
      type = types.attrsOf listenerType;
      default = { };
      example = lib.literalExpression ''
        {
          imap.enable = false;
          smtp.peer = [ { network = "10.0.0.0/16"; relay = true; } ];
          partners = { speaks = "smtp"; listen = [ "192.0.2.25:2525" ]; };
        }
      '';
      description = ''
        Listeners by name, over those of the preset; every other key of a `[[listener]]` row may stand beside the ones below.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the firewall lets the world in to the listeners that are made for it. The ports follow from `listeners`; an
        internal service is never opened.
      '';
    };

    socketActivation = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the service manager opens the TCP sockets. The service then runs without any capability, and clients wait instead
        of being refused while it restarts.
      '';
    };

    database = {
      createLocally = mkOption {
        type = types.bool;
        default = config.database.url == null && config.database.urlFile == null;
        defaultText = lib.literalMD "true unless `url` or `urlFile` is set";
        description = "Whether a PostgreSQL of this machine holds everything, reached over its socket by peer authentication.";
      };
      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "postgres://posthorn@db.example.org/posthorn";
        description = "An existing PostgreSQL. It ends up in the world-readable store: no password here.";
      };
      urlFile = mkOption {
        type = types.nullOr secret;
        default = null;
        example = "/run/secrets/posthorn-database-url";
        description = "A file with the URL of an existing PostgreSQL, which may hold a password.";
      };
    };

    tls = {
      acmeHost = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "mail.example.org";
        description = ''
          The certificate of `security.acme.certs` to use. How the challenge is met is set there. A renewed certificate is
          noticed within seconds; no session ends for it.
        '';
      };
      certificate = mkOption {
        type = types.nullOr secret;
        default = null;
        description = "The certificate chain, PEM. It is read again when it changes, so the service's user must be able to.";
      };
      key = mkOption {
        type = types.nullOr secret;
        default = null;
        description = "The private key, PEM, readable by the service's user.";
      };
    };

    clamav = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether ClamAV looks at all mail: `services.clamav.daemon` and its updater are enabled, and asked over the daemon's
          Unix socket. Until the updater has fetched the first signatures mail is put off.
        '';
      };
      settings = scannerKeys;
    };

    rspamd = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether rspamd looks at all mail: `services.rspamd` is enabled, and asked over the Unix socket of its normal worker.
          What it finds counts beside the points of Posthorn's own filter.
        '';
      };
      settings = scannerKeys;
    };

    amavisd = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether amavisd stands behind Posthorn: mail goes to 127.0.0.1:10024, where the listener `filter-inbound` then does
          not listen, and comes back to the listener `reinject` on 127.0.0.1:10025, as amavisd does by itself. NixOS has no
          module for amavisd, nor nixpkgs the program: it runs in a container, for example. While it does not, mail is put off.
        '';
      };
      settings = scannerKeys;
    };

    backup = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether `posthorn backup` runs by the clock, while the server does. One file holds everything: the database, the
          master key of the DKIM keys, the configuration. Copy the folder to another machine: a backup beside the original
          burns with it. `posthorn backup verify FILE` proves that it can be restored.
        '';
      };
      folder = mkOption {
        type = types.str;
        default = "/var/backup/${name}";
        description = "Where backups are written; made for the service's user alone.";
      };
      schedule = mkOption {
        type = types.str;
        default = "*-*-* 02:30:00";
        example = "hourly";
        description = "When, as systemd.time(7) writes it.";
      };
      keep = mkOption {
        type = types.ints.positive;
        default = 14;
        description = "How many are kept.";
      };
      secrets = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether the master key and other secret files of the data folder are inside. Credentials of the service manager never
          are. Without the master key the DKIM keys of a restored database cannot be opened.
        '';
      };
    };

    credentials = mkOption {
      type = types.attrsOf secret;
      default = { };
      example = {
        "relay-password" = "/run/secrets/relay-password";
      };
      description = ''
        Files that the service manager reads as root at the start and shows to the service alone, below
        `/run/credentials/${name}.service/`. A credential named like a setting, such as `database.url`, becomes that setting.
      '';
    };

    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example = lib.literalExpression ''{ mail.quota = "5 GiB"; smtp.max_recipients = 200; }'';
      description = ''
        `posthorn.toml`. Everything that `posthorn config reference` lists may stand here; the options above are written into
        it. It is checked when the system is built.
      '';
    };

    name = mkOption {
      type = types.str;
      default = name;
      readOnly = true;
      internal = true;
      description = "The name of the service and of its folders.";
    };

    user = mkOption {
      type = types.str;
      default = user;
      readOnly = true;
      internal = true;
      description = "The user and group that it runs as; also the role and the database.";
    };
  };

  config = {
    listeners = lib.mapAttrs (
      label: row:
      lib.mapAttrs (_: lib.mkDefault) (
        lib.removeAttrs row [
          "port"
          "address"
        ]
      )
      // {
        listen = lib.mkDefault (
          listeners.addressesOf {
            inherit row;
            ipv6 = networking.enableIPv6;
          }
        );
      }
      // lib.optionalAttrs (label == "filter-inbound" && config.amavisd.enable) { enable = lib.mkDefault false; }
    ) (listeners.presets.${config.preset} // lib.optionalAttrs config.amavisd.enable listeners.back);

    settings = {
      server = {
        hostname = lib.mkDefault config.hostname;
        data = lib.mkDefault "/var/lib/${name}";
      };
      # Of contradictions the assertions speak.
      database = lib.mkIf (databaseUrl != null) { url = lib.mkDefault databaseUrl; };
      tls = lib.mkIf (certificate != null) {
        certificate = lib.mkDefault "${certificate}";
        key = lib.mkIf (key != null) (lib.mkDefault "${key}");
      };
      scanner = lib.mkIf (scanners.rows config != [ ]) (scanners.rows config);
      listener = lib.mapAttrsToList (
        label: listener:
        lib.filterAttrs (_: value: value != null) listener
        // {
          name = label;
          listen = if config.socketActivation && listener.enable then listeners.handedOver label listener else listener.listen;
        }
      ) config.listeners;
    };
  };
}
