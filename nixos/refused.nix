# Configurations that must not become a machine. `says` is a part of the reason; where assertions say nothing, it is
# `posthorn config check` that refuses the file when it is built.
let
  server = more: {
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
    }
    // more;
  };
in
{
  a-secret-in-the-store = {
    says = "a file in the store can be read by everybody";
    config = server { credentials.relay = builtins.toFile "relay" "secret"; };
  };
  a-password-hash-in-the-store = {
    says = "a file in the store can be read by everybody";
    config = server {
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = builtins.toFile "hash" "$6$";
    };
  };
  a-password-in-the-url = {
    says = "use urlFile";
    config = server { database.url = "postgres://posthorn:secret@db.example.org/posthorn"; };
  };
  a-password-in-the-url-of-the-settings = {
    says = "use urlFile";
    config = server { settings.database.url = "postgres://posthorn:secret@db.example.org/posthorn"; };
  };
  a-secret-of-the-settings-in-the-store = {
    says = "settings.route.password_file: a file in the store can be read by everybody";
    config = server {
      settings.route = [
        {
          recipients = [ "*" ];
          to = "smtps://relay.example.com:465";
          user = "example-org";
          password_file = builtins.toFile "relay" "secret";
        }
      ];
    };
  };
  a-key-beside-the-configuration = {
    says = "settings.dkim.key.file: a file in the store can be read by everybody";
    config = server {
      settings.dkim.key = [
        {
          domain = "example.org";
          selector = "mail";
          file = ./refused.nix;
        }
      ];
    };
  };
  two-databases = {
    says = "exclude each other";
    config = server {
      database.createLocally = true;
      database.url = "postgres://posthorn@db.example.org/posthorn";
    };
  };
  no-database = {
    says = "nothing says where the data is";
    config = server { database.createLocally = false; };
  };
  half-a-certificate = {
    says = "belong together";
    config = server { tls.certificate = "/var/lib/certificates/mail.pem"; };
  };
  pruning-everything = {
    says = "would remove all mail";
    config = server { prune = true; };
  };
  an-account-of-nobody = {
    says = "needs its domain";
    config = server { accounts."anna@example.org" = { }; };
  };
  a-short-name = {
    says = "other servers want a full name";
    config = server { hostname = "mail"; };
  };
  one-port-for-two = {
    says = "listened on more than once";
    config = server {
      instances.second = {
        enable = true;
        hostname = "second.example.org";
        preset = "mx";
      };
    };
  };
  engines-that-nobody-asks = {
    says = "nobody asks clamav";
    config = server {
      clamav.enable = true;
      settings.filter.enable = false;
    };
  };
  options-of-a-socket-that-is-handed-over = {
    says = "no options of its own";
    config = server {
      socketActivation = true;
      listeners.smtp.listen = [
        {
          address = "*:25";
          sessions = 5;
        }
      ];
    };
  };
  an-internal-service-for-everybody = {
    says = "loopback or a Unix socket";
    config = server { listeners.lmtp.listen = [ "*:24" ]; };
  };
  a-setting-that-does-not-exist = {
    says = "unknown key";
    config = server { settings.smtp.max_recipient = 5; };
  };
  a-setting-that-cannot-be = {
    says = "mail.quota";
    config = server { settings.mail.quota = "much"; };
  };
}
