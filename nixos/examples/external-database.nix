# PostgreSQL elsewhere; the URL with its password is read by the service manager and is in no file of the store.
{
  services.posthorn = {
    enable = true;
    hostname = "mx1.example.org";
    preset = "mx";
    openFirewall = true;
    database.urlFile = "/run/secrets/posthorn-database-url";
    tls.certificate = "/var/lib/certificates/mx1.pem";
    tls.key = "/var/lib/certificates/mx1.key";
    # Every node of one database needs the same key.
    credentials."dkim-master-key" = "/run/secrets/dkim-master-key";
    settings.dkim.master_key = "/run/credentials/posthorn.service/dkim-master-key";
  };
}
