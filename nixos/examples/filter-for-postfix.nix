# A Postfix whose mail is judged behind its queue: it goes to 10024 (of its own people to 10026) and comes back to 10025.
# Held mail is in Posthorn's quarantine; amavisd-release reaches it at 127.0.0.1:9998.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    preset = "filter-for-postfix";
    domains = [ "example.org" ];
  };

  services.postfix = {
    enable = true;
    settings.main = {
      virtual_mailbox_domains = [ "example.org" ];
      content_filter = "judged:[127.0.0.1]:10024";
    };
    settings.master = {
      # Whose mail it was goes with it, and nobody is asked for 127.0.0.1.
      judged = {
        type = "unix";
        private = true;
        chroot = false;
        maxproc = 20;
        command = "smtp";
        args = [
          "-o"
          "smtp_send_xforward_command=yes"
          "-o"
          "disable_dns_lookups=yes"
        ];
      };
      # The way back, which must not lead to the filter again.
      "127.0.0.1:10025" = {
        type = "inet";
        private = false;
        chroot = false;
        command = "smtpd";
        args = [
          "-o"
          "content_filter="
          "-o"
          "smtpd_milters="
          "-o"
          "mynetworks=127.0.0.0/8"
          "-o"
          "smtpd_authorized_xforward_hosts=127.0.0.0/8"
          "-o"
          "local_header_rewrite_clients="
        ];
      };
    };
  };
}
