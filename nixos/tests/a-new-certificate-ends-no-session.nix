{
  mail = {
    systemd.tmpfiles.rules = [ "d /var/lib/certificates 0755 root root" ];
    # The first certificate; later ones come from the script.
    systemd.services.first-certificate = {
      before = [ "posthorn.service" ];
      requiredBy = [ "posthorn.service" ];
      path = [ "/run/current-system/sw" ];
      serviceConfig.Type = "oneshot";
      script = ''
        cd /var/lib/certificates
        [ -e mail.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 \
          -subj /CN=first.example.org -keyout mail.key -out mail.pem
        chgrp posthorn mail.key
        chmod 0640 mail.key
      '';
    };
    services.posthorn = {
      enable = true;
      hostname = "mail.example.org";
      domains = [ "example.org" ];
      accounts."anna@example.org".passwordHashFile = "/etc/posthorn-test/anna.hash";
      tls.certificate = "/var/lib/certificates/mail.pem";
      tls.key = "/var/lib/certificates/mail.key";
      openFirewall = true;
    };
  };
  client = { };
}
