# A certificate from a certificate authority by way of the DNS, for a machine without a web server.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    domains = [ "example.org" ];
    openFirewall = true;
    tls.acmeHost = "mail.example.org";
  };

  security.acme = {
    acceptTerms = true;
    defaults.email = "hostmaster@example.org";
    certs."mail.example.org" = {
      dnsProvider = "rfc2136";
      environmentFile = "/run/secrets/acme.env";
    };
  };
}
