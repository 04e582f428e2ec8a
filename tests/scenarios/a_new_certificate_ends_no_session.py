start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

SUBJECT = "openssl s_client -connect mail:993 </dev/null 2>/dev/null | openssl x509 -noout -subject"
MAKE = (
    "cd /var/lib/certificates && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9"
    " -subj /CN={name} -keyout new.key -out new.pem 2>/dev/null && chmod 0644 new.pem && chgrp posthorn new.key"
    " && chmod 0640 new.key && mv new.key mail.key && mv new.pem mail.pem"
)
main_process = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()

with subtest("a session is open while the certificate changes"):
    client.succeed(
        "systemd-run --quiet --unit scenario-stay --property RemainAfterExit=yes --property StandardOutput=file:/tmp/stay"
        " -- \"$(command -v scenario-mail)\" stay --host mail --seconds 12"
    )
    mail.succeed(MAKE.format(name="renewed.example.org"))
    client.wait_until_succeeds(f"{SUBJECT} | grep renewed.example.org", timeout=10)

with subtest("a broken certificate replaces nothing"):
    mail.succeed("cd /var/lib/certificates && cp mail.pem kept.pem && echo broken > mail.pem && sleep 3")
    client.succeed(f"{SUBJECT} | grep renewed.example.org")
    mail.succeed("cd /var/lib/certificates && mv kept.pem mail.pem")

with subtest("the session ended by itself, and the server was never restarted"):
    client.wait_until_succeeds("grep stayed /tmp/stay", timeout=60)
    now = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()
    assert now == main_process, f"{main_process} became {now}"
