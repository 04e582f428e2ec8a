start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

with subtest("mail from another server is stored and read"):
    client.succeed("scenario-mail deliver --host mail --subject from-outside")
    found = client.succeed("scenario-mail count --host mail --subject from-outside").strip()
    assert found == "1", found

with subtest("mail from somebody who logs in is stored and read"):
    client.succeed("scenario-mail submit --host mail --subject from-anna")
    found = client.succeed("scenario-mail count --host mail --subject from-anna").strip()
    assert found == "1", found

with subtest("nobody relays and nobody guesses"):
    client.fail("scenario-mail deliver --host mail --to eve@elsewhere.test --subject relayed")
    client.fail("scenario-mail count --host mail --password wrong")

with subtest("what was stored outlives a restart"):
    mail.succeed("systemctl restart posthorn.service")
    found = client.succeed("scenario-mail count --host mail").strip()
    assert found == "2", found

with subtest("the administrator's command finds the same server"):
    listed = mail.succeed("posthorn account list")
    assert "anna@example.org" in listed, listed
    mail.succeed("posthorn check")
