start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")
mail.wait_for_open_port(25)

with subtest("what the policy lets in is delivered by LMTP and read by IMAP"):
    client.succeed("scenario-mail deliver --host mail --subject welcome")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mail --subject welcome)", timeout=60)

with subtest("a forged sender and a closed address are refused by Postfix, in the words of the policy"):
    client.fail("scenario-mail deliver --host mail --from anna@example.org --subject forged")
    said = client.fail("scenario-mail deliver --host mail --to closed@example.org --subject closed 2>&1")
    assert "closed by a rule" in said, said

with subtest("from another host neither policy nor LMTP can be asked"):
    for port in (24, 7777):
        found = client.succeed(f"scenario-mail scan --host mail --ports {port}").strip()
        assert found == "", found

with subtest("while the policy is away mail is put off, not lost and not let in"):
    mail.succeed("systemctl stop posthorn.service")
    said = client.fail("scenario-mail deliver --host mail --subject meanwhile 2>&1")
    assert "451" in said, said
    mail.succeed("systemctl start posthorn.service")
    client.wait_until_succeeds("scenario-mail deliver --host mail --subject afterwards", timeout=90)
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mail --subject afterwards)", timeout=60)
