# A second instance that only judges: somebody else's Postfix on the same machine asks it, and it has no mailbox.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    preset = "submission-only";
    openFirewall = true;
    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";

    instances.filter = {
      enable = true;
      hostname = "filter.example.org";
      preset = "filter-for-postfix";
      clamav.enable = true;
    };
  };
}
