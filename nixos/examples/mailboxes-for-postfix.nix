# Mailboxes for a Postfix that does the rest: it delivers by LMTP on loopback, people read by IMAP.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    preset = "mailboxes-for-postfix";
    domains = [ "example.org" ];
    openFirewall = true;
    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";
  };

  services.postfix = {
    enable = true;
    settings.main = {
      virtual_mailbox_domains = [ "example.org" ];
      virtual_transport = "lmtp:inet:127.0.0.1:24";
    };
  };
}
