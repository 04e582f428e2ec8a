# Much of what can be said: socket activation, people, a smart host with a password, limits for a network.
{
  networking.hostName = "mail";
  networking.domain = "example.org";

  services.posthorn = {
    enable = true;
    openFirewall = true;
    socketActivation = true;

    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";

    domains = [
      "example.org"
      "example.net"
    ];
    accounts."anna@example.org" = {
      passwordHashFile = "/run/secrets/anna.hash";
      display_name = "Anna";
      quota = "5 GiB";
    };
    accounts."ben@example.net" = {
      forward_to = [ "anna@example.org" ];
      keep_copy = true;
    };
    aliases."info@example.org" = [
      "anna@example.org"
      "ben@example.net"
    ];
    prune = true;

    listeners.imap.enable = false;
    listeners.smtp.peer = [
      {
        network = "10.0.0.0/16";
        relay = true;
      }
    ];
    listeners.partners = {
      speaks = "smtp";
      listen = [ "192.0.2.25:2525" ];
      require_tls = true;
    };

    backup.enable = true;
    backup.folder = "/mnt/backup/posthorn";

    credentials."relay-password" = "/run/secrets/relay-password";
    settings = {
      mail.quota = "10 GiB";
      log.format = "json";
      queue.expire = "3 d";
      route = [
        {
          recipients = [ "*" ];
          to = "smtps://relay.example.com:465";
          tls = "verified";
          user = "example-org";
          password_file = "/run/credentials/posthorn.service/relay-password";
        }
      ];
    };
  };
}
