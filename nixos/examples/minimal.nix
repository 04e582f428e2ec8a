# Ten lines: a mail server with its PostgreSQL, its certificate and its open ports.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    domains = [ "example.org" ];
    accounts."anna@example.org".passwordHashFile = "/run/secrets/anna.hash";
    tls.acmeHost = "mail.example.org";
    openFirewall = true;
  };
  security.acme.acceptTerms = true;
  security.acme.certs."mail.example.org" = { email = "hostmaster@example.org"; listenHTTP = ":80"; };
  networking.firewall.allowedTCPPorts = [ 80 ]; # for the challenge
}
