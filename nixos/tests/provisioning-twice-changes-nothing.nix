{
  mail = {
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [
        "example.org"
        "example.net"
      ];
      accounts."anna@example.org" = {
        passwordHashFile = "/etc/posthorn-test/anna.hash";
        display_name = "Anna";
        quota = "1 GiB";
      };
      aliases."info@example.org" = [ "anna@example.org" ];
      openFirewall = true;
    };
  };
  client = { };
}
