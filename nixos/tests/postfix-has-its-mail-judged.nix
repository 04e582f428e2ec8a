{
  mail = {
    imports = [ ../examples/filter-for-postfix.nix ];
    networking.firewall.allowedTCPPorts = [ 25 ];
    services.postfix.settings.main = {
      myhostname = "mail.example.org";
      mydestination = [ ];
      virtual_transport = "lmtp:inet:127.0.0.1:24";
      # So that a filter that comes back is noticed at once.
      minimal_backoff_time = "2s";
      queue_run_delay = "2s";
    };
    services.posthorn = {
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      openFirewall = true;
      # The mailboxes too are here, so that the test can read them.
      listeners.lmtp = {
        speaks = "lmtp";
        listen = [ "127.0.0.1:24" ];
      };
      listeners.imaps = {
        speaks = "imaps";
        listen = [
          "*:993"
          "[*]:993"
        ];
      };
    };
  };
  client = { };
}
