{
  mail = {
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      openFirewall = true;

      instances.lists = {
        enable = true;
        hostname = "lists.example.org";
        domains = [ "lists.example.org" ];
        accounts."news@lists.example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
        openFirewall = true;
        preset = "none";
        settings.checks.enable = false;
        listeners.smtp = {
          speaks = "smtp";
          listen = [ "*:2525" ];
        };
        listeners.imaps = {
          speaks = "imaps";
          listen = [ "*:2993" ];
        };
      };
    };
  };
  client = { };
}
