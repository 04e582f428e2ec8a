# An amavisd behind the server. It runs elsewhere on the machine, with the ports that it has by itself:
#   $inet_socket_port = 10024;  $forward_method = $notify_method = 'smtp:[127.0.0.1]:10025';
{
  services.posthorn = {
    enable = true;
    hostname = "mail.example.org";
    domains = [ "example.org" ];
    openFirewall = true;
    tls.certificate = "/var/lib/certificates/mail.pem";
    tls.key = "/var/lib/certificates/mail.key";

    amavisd.enable = true;
    # It waits for engines of its own.
    amavisd.settings.time = "2 min";
  };
}
