start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

with subtest("the host loses its power under load, twice"):
    for turn in (1, 2):
        client.succeed(
            f"systemd-run --quiet --unit scenario-load-{turn} --property RemainAfterExit=yes --property StandardOutput=file:/tmp/load-{turn}"
            f" -- \"$(command -v scenario-mail)\" load --host mail --seconds 25 --log /tmp/acknowledged"
        )
        client.wait_until_succeeds(f"test $(wc -l < /tmp/acknowledged) -gt {20 * turn}")
        mail.crash()
        mail.start()
        mail.wait_for_unit("posthorn.service")
        client.wait_until_succeeds(f"test -s /tmp/load-{turn}", timeout=120)
        print(client.succeed(f"cat /tmp/load-{turn}").strip())

with subtest("everything that was acknowledged is there"):
    print(client.succeed("scenario-mail compare --host mail --log /tmp/acknowledged").strip())
    mail.succeed("posthorn check")
