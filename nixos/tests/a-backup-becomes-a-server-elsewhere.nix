let
  server = more: {
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      openFirewall = true;
      settings.route = [
        {
          recipients = [ "elsewhere.test" ];
          to = "smtp://client:25";
        }
      ];
    }
    // more;
  };
in
{
  mail = server {
    domains = [ "example.org" ];
    accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
    accounts."ben@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
  };
  spare = server { };
  client = { };
}
