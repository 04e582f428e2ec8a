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
  mail = {
    environment.etc."posthorn-test/database.url" = {
      mode = "0400";
      text = "postgres://posthorn:swordfish@db/posthorn\n";
    };
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      openFirewall = true;
      database.urlFile = "/etc/posthorn-test/database.url";
    };
  };
  client = { };
}
