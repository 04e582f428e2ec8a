start_all()
for unit in ("posthorn.service", "posthorn-provision.service", "posthorn-lists.service", "posthorn-lists-provision.service"):
    mail.wait_for_unit(unit)

with subtest("each takes mail for its own domain alone"):
    client.succeed("scenario-mail deliver --host mail --subject to-the-first")
    client.succeed("scenario-mail deliver --host mail --port 2525 --to news@lists.example.org --subject to-the-second")
    client.fail("scenario-mail deliver --host mail --port 2525 --subject astray")
    client.fail("scenario-mail deliver --host mail --to news@lists.example.org --subject astray")
    found = client.succeed("scenario-mail count --host mail --port 2993 --user news@lists.example.org").strip()
    assert found == "1", found

with subtest("neither reads what the other keeps"):
    mail.fail("runuser -u posthorn-lists -- ls /var/lib/posthorn")
    mail.fail("runuser -u posthorn -- ls /var/lib/posthorn-lists")
    mail.fail("cd / && runuser -u posthorn-lists -- psql --dbname posthorn --command 'select count(*) from account'")

with subtest("each has a command of its own"):
    assert "anna@example.org" in mail.succeed("posthorn account list")
    assert "news@lists.example.org" in mail.succeed("posthorn-lists account list")

with subtest("one stops, the other does not notice"):
    mail.succeed("systemctl stop posthorn-lists.service")
    client.fail("scenario-mail deliver --host mail --port 2525 --to news@lists.example.org --subject nobody-there")
    client.succeed("scenario-mail deliver --host mail --subject still-there")
