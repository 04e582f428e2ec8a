start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

with subtest("the public sockets are systemd's, and the server has no capability"):
    mail.succeed("systemctl is-active posthorn-smtp.socket posthorn-imaps.socket")
    main_process = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()
    status = mail.succeed(f"cat /proc/{main_process}/status")
    assert "CapEff:\t0000000000000000" in status, status

with subtest("nobody is refused while the server restarts, three times"):
    client.succeed(
        "systemd-run --quiet --unit scenario-visits --property RemainAfterExit=yes --property StandardOutput=file:/tmp/visits"
        " -- \"$(command -v scenario-mail)\" visit --host mail --seconds 12"
    )
    for _ in range(3):
        mail.succeed("sleep 2; systemctl restart posthorn.service")
    client.wait_until_succeeds("test -s /tmp/visits", timeout=60)
    said = client.succeed("cat /tmp/visits").strip()
    print(said)
    assert said.endswith(" 0 refused"), said

with subtest("stopped for good, the socket starts it again"):
    mail.succeed("systemctl stop posthorn.service")
    client.succeed("scenario-mail deliver --host mail --subject woken")
    mail.wait_for_unit("posthorn.service")
    found = client.succeed("scenario-mail count --host mail --subject woken").strip()
    assert found == "1", found
