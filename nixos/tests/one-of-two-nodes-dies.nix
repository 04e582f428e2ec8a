let
  node = more: {
    environment.etc = {
      "posthorn-test/database.url" = {
        mode = "0400";
        text = "postgres://posthorn:swordfish@db/posthorn\n";
      };
      # 32 octets with the end of the line.
      "posthorn-test/dkim.key" = {
        mode = "0400";
        text = "0123456789abcdef0123456789abcde\n";
      };
    };
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      openFirewall = true;
      database.urlFile = "/etc/posthorn-test/database.url";
      credentials.dkim-master-key = "/etc/posthorn-test/dkim.key";
      settings = {
        dkim.master_key = "/run/credentials/posthorn.service/dkim-master-key";
        queue = {
          lease = "5 s";
          retry_first = "3 s";
          retry_factor = 1.0;
        };
        route = [
          {
            recipients = [ "elsewhere.test" ];
            to = "smtp://client:25";
          }
        ];
      };
    }
    // more;
  };
in
{
  db =
    { pkgs, ... }:
    {
      networking.firewall.allowedTCPPorts = [ 5432 ];
      services.postgresql = {
        enable = true;
        enableTCPIP = true;
        authentication = "host posthorn posthorn all scram-sha-256";
        initialScript = pkgs.writeText "posthorn.sql" ''
          create role posthorn login password 'swordfish';
          create database posthorn owner posthorn encoding 'UTF8' template template0;
        '';
      };
    };
  node1 = node {
    domains = [ "example.org" ];
    accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
  };
  node2 = node { };
  client = {
    # The other server of this story.
    networking.firewall.allowedTCPPorts = [ 25 ];
  };
}
