{
  mail = {
    environment.etc."posthorn-test/relay.password" = {
      mode = "0400";
      text = "hunter2-relay\n";
    };
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      openFirewall = true;
      credentials.relay-password = "/etc/posthorn-test/relay.password";
      settings.route = [
        {
          recipients = [ "elsewhere.test" ];
          to = "smtps://relay.test:465";
          user = "example-org";
          password_file = "/run/credentials/posthorn.service/relay-password";
        }
      ];
    };
  };
  client = { };
}
