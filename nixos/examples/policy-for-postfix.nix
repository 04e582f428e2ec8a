# A Postfix that asks Posthorn whom to let in, and has it rewrite the senders of forwarded mail.
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    preset = "policy-for-postfix";
  };

  services.postfix = {
    enable = true;
    settings.main = {
      smtpd_recipient_restrictions = [
        "permit_mynetworks"
        "reject_unauth_destination"
        "check_policy_service inet:127.0.0.1:7777"
      ];
      sender_canonical_maps = "tcp:127.0.0.1:7778";
      sender_canonical_classes = "envelope_sender";
      recipient_canonical_maps = "tcp:127.0.0.1:7779";
      recipient_canonical_classes = [
        "envelope_recipient"
        "header_recipient"
      ];
    };
  };
}
