start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

FILE = "/etc/posthorn/posthorn.toml"
GREETING = "timeout 5 python3 -c \"import smtplib; print(smtplib.SMTP('mail', 25, timeout=5).docmd('NOOP'))\" && " \
    "timeout 5 python3 -c \"import socket; s = socket.create_connection(('mail', 25), 5); print(s.recv(512).decode())\""
PROCESS = "systemctl show --property MainPID --value posthorn.service"
main_process = mail.succeed(PROCESS).strip()
client.succeed(
    "systemd-run --quiet --unit scenario-stay --property RemainAfterExit=yes --property StandardOutput=file:/tmp/stay"
    " -- \"$(command -v scenario-mail)\" stay --host mail --seconds 20"
)

with subtest("a valid configuration is taken while a session is open"):
    # It may be a link to where nothing can be written.
    mail.succeed(f"cp {FILE} /tmp/kept.toml && sed 's/\"first\"/\"second\"/' /tmp/kept.toml > /tmp/next.toml")
    mail.succeed(f"cp --remove-destination /tmp/next.toml {FILE}")
    mail.succeed("systemctl reload posthorn.service")
    client.succeed(f"{GREETING} | grep second")

with subtest("an invalid one is refused with its place, and replaces nothing"):
    mail.succeed(f"sed -i 's/^banner/baner/' {FILE}")
    mail.fail("systemctl reload posthorn.service")
    mail.wait_until_succeeds("journalctl --unit posthorn.service | grep -F 'smtp.baner'", timeout=20)
    client.succeed(f"{GREETING} | grep second")
    mail.succeed(f"cp --remove-destination /tmp/kept.toml {FILE}")

with subtest("a signal does the same"):
    mail.succeed("systemctl kill --kill-whom=main --signal=HUP posthorn.service")
    client.wait_until_succeeds(f"{GREETING} | grep first", timeout=20)

with subtest("one listener closes and opens"):
    mail.succeed("posthorn listener disable smtp")
    client.fail(GREETING)
    mail.succeed("posthorn listener enable smtp")
    client.succeed(f"{GREETING} | grep first")

with subtest("the session ended by itself, and the server was never restarted"):
    client.wait_until_succeeds("grep stayed /tmp/stay", timeout=60)
    now = mail.succeed(PROCESS).strip()
    assert now == main_process, f"{main_process} became {now}"
