{
  mail = {
    networking.firewall.allowedTCPPorts = [ 25 ];
    services.postfix = {
      enable = true;
      settings.main = {
        myhostname = "mail.example.org";
        mydestination = [ ];
        virtual_mailbox_domains = [ "example.org" ];
        virtual_transport = "lmtp:inet:127.0.0.1:24";
        smtpd_recipient_restrictions = [
          "reject_unauth_destination"
          "check_policy_service inet:127.0.0.1:7777"
        ];
        smtpd_policy_service_try_limit = 1;
        smtpd_policy_service_timeout = "5s";
      };
    };
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      accounts."closed@example.org" = { };
      openFirewall = true;
      preset = "mailboxes-for-postfix";
      listeners.policy = {
        speaks = "policy";
        listen = [ "127.0.0.1:7777" ];
      };
      settings.policy.sender.forged_spf = false;
      settings.policy.rule = [
        {
          name = "closed";
          destination = [ "closed@example.org" ];
          action = "554 5.7.1 closed by a rule";
        }
      ];
    };
  };
  client = { };
}
