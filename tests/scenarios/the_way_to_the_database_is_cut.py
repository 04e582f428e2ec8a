start_all()
db.wait_for_unit("postgresql.service")
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")
PROCESS = "systemctl show --property MainPID --value posthorn.service"
main_process = mail.succeed(PROCESS).strip()

with subtest("the way to PostgreSQL is cut under load, and mended"):
    client.succeed(
        "systemd-run --quiet --unit scenario-load --property RemainAfterExit=yes --property StandardOutput=file:/tmp/load"
        " -- \"$(command -v scenario-mail)\" load --host mail --seconds 35 --log /tmp/acknowledged"
    )
    client.wait_until_succeeds("test $(wc -l < /tmp/acknowledged) -gt 20")
    mail.succeed("posthorn health ready")
    db.block()
    mail.wait_until_fails("timeout 20 posthorn health ready", timeout=60)
    mail.succeed("timeout 20 posthorn health live")
    mail.succeed("sleep 12")
    db.unblock()
    mail.wait_until_succeeds("timeout 20 posthorn health ready", timeout=60)

with subtest("mail goes on by itself, in the same process"):
    before = int(client.succeed("wc -l < /tmp/acknowledged"))
    client.wait_until_succeeds(f"test $(wc -l < /tmp/acknowledged) -gt {before} || test -s /tmp/load", timeout=60)
    client.succeed("scenario-mail deliver --host mail --subject mended")
    now = mail.succeed(PROCESS).strip()
    assert now == main_process, f"{main_process} became {now}"

with subtest("everything that was acknowledged is there"):
    client.wait_until_succeeds("test -s /tmp/load", timeout=120)
    print(client.succeed("cat /tmp/load").strip())
    print(client.succeed("scenario-mail compare --host mail --log /tmp/acknowledged").strip())
    mail.succeed("posthorn check")
