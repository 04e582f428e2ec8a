start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

STATE = "posthorn --json account list; posthorn --json alias list; posthorn --json domain list"

with subtest("what was declared is there"):
    before = mail.succeed(STATE)
    for name in ("anna@example.org", "info@example.org", "example.net"):
        assert name in before, before
    client.succeed("scenario-mail deliver --host mail --to info@example.org --subject to-an-alias")
    found = client.succeed("scenario-mail count --host mail --subject to-an-alias").strip()
    assert found == "1", found

with subtest("applied again, nothing changes and nothing is lost"):
    mail.succeed("systemctl restart posthorn-provision.service")
    said = mail.succeed("journalctl --no-pager --output cat --unit posthorn-provision.service")
    assert said.count("nothing to do") == 1, said
    assert mail.succeed(STATE).replace(" ", "") != "", said
    found = client.succeed("scenario-mail count --host mail").strip()
    assert found == "1", found

with subtest("what was added by hand stays, and a password that was changed by hand stays changed"):
    mail.succeed("posthorn alias add by-hand@example.org anna@example.org")
    mail.succeed("printf 'battery staple' | posthorn account set anna@example.org --password-stdin")
    mail.succeed("systemctl restart posthorn-provision.service")
    assert "by-hand@example.org" in mail.succeed("posthorn alias list")
    client.succeed("scenario-mail count --host mail --password 'battery staple'")

with subtest("a restart of the server applies it again, to the same end"):
    mail.succeed("systemctl restart posthorn.service")
    mail.wait_for_unit("posthorn-provision.service")
    assert "by-hand@example.org" in mail.succeed("posthorn alias list")
