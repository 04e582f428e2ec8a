start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")
mail.wait_for_open_port(25)

with subtest("what nobody minds comes back from the filter and is delivered once"):
    client.succeed("scenario-mail deliver --host mail --subject welcome")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mail --subject welcome)", timeout=60)

with subtest("a program is held, and nobody gets a bounce"):
    client.succeed("scenario-mail deliver --host mail --subject invoice --attach bill.exe")
    mail.wait_until_succeeds("posthorn quarantine list --category banned | grep invoice", timeout=60)
    mail.wait_until_succeeds("postqueue -p | grep 'queue is empty'", timeout=60)
    client.succeed("test 0 = $(scenario-mail count --host mail --subject invoice)")

with subtest("released, it is in the mailbox"):
    mail.succeed("posthorn quarantine release --to anna@example.org")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mail --subject invoice)", timeout=60)

with subtest("from another host neither filter, milter, quarantine nor metrics can be reached"):
    for port in (24, 2500, 9464, 9998, 10024, 10025, 10026):
        found = client.succeed(f"scenario-mail scan --host mail --ports {port}").strip()
        assert found == "", found

with subtest("while the filter is away mail waits with Postfix, and nothing comes in unjudged"):
    mail.succeed("systemctl stop posthorn.service")
    client.succeed("scenario-mail deliver --host mail --subject meanwhile")
    client.succeed("scenario-mail deliver --host mail --subject worse --attach worse.exe")
    mail.wait_until_succeeds("test 2 = $(postqueue -p | grep -c 'Connection refused')", timeout=60)
    mail.succeed("systemctl start posthorn.service")
    mail.wait_for_unit("posthorn.service")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mail --subject meanwhile)", timeout=90)
    mail.wait_until_succeeds("posthorn quarantine list --category banned | grep worse", timeout=90)
    client.succeed("test 0 = $(scenario-mail count --host mail --subject worse)")

with subtest("it is well, and says so"):
    mail.succeed("posthorn health ready")
    mail.succeed("posthorn check")
