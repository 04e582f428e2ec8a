# ClamAV and rspamd beside the server, by a switch each.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    domains = [ "example.org" ];
    openFirewall = true;
    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";

    clamav.enable = true;
    rspamd = {
      enable = true;
      # Without its opinion mail goes on; without that of ClamAV it waits.
      settings.on_failure = "pass";
      settings.ways = [ "inbound" ];
    };
  };
}
