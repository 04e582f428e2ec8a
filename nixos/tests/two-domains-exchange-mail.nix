let
  server =
    {
      hostname,
      domain,
      account,
      peer,
      peerDomain,
    }:
    {
      services.posthorn = {
        enable = true;
        inherit hostname;
        domains = [ domain ];
        accounts.${account}.passwordHashFile = "/etc/posthorn-test/anna.hash";
        openFirewall = true;
        settings.route = [
          {
            recipients = [ peerDomain ];
            to = "smtp://${peer}:25";
          }
        ];
        # So that a cable that was taken out is noticed at once.
        settings.delivery = {
          connect_time = "3 s";
          idle = "0 s";
        };
      };
    };
in
{
  mx1 = server {
    hostname = "mx1.example.org";
    domain = "example.org";
    account = "anna@example.org";
    peer = "mx2";
    peerDomain = "example.net";
  };
  mx2 = server {
    hostname = "mx2.example.net";
    domain = "example.net";
    account = "ben@example.net";
    peer = "mx1";
    peerDomain = "example.org";
  };
  client = { };
}
