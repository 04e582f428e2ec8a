{
  mail = {
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      openFirewall = true;
      settings.smtp.banner = "first";
    };
  };
  client = { };
}
