# Two servers on one machine, each with its user, its database and its addresses.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    domains = [ "example.org" ];
    openFirewall = true;
    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";
    listeners.smtp.listen = [ "192.0.2.25:25" ];

    instances.lists = {
      enable = true;
      hostname = "lists.example.org";
      domains = [ "lists.example.org" ];
      openFirewall = true;
      preset = "none";
      listeners.smtp = {
        speaks = "smtp";
        listen = [ "192.0.2.26:25" ];
      };
      tls.certificate = "/var/lib/certificates/lists.pem";
      tls.key = "/var/lib/certificates/lists.key";
      settings.binding = [
        {
          name = "default";
          addresses = [ "192.0.2.26" ];
        }
      ];
    };
  };
}
