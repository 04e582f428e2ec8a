start_all()
mail.wait_for_unit("posthorn.service")

with subtest("the database of an earlier program was backed up, then upgraded"):
    mail.succeed("posthorn migrate status | tee /dev/stderr | grep -v -i pending >/dev/null")
    mail.succeed("ls /var/lib/posthorn/backups/*.tar")
    print(mail.succeed("posthorn backup verify --quick - < $(ls /var/lib/posthorn/backups/*.tar | head -n 1)").strip())
    mail.succeed("posthorn check")

with subtest("the loaded mailbox is there, and takes more"):
    client.succeed("test 1001 = $(scenario-mail count --host mail --user ann@example.org)")
    before = client.succeed("scenario-mail digest --host mail --user ann@example.org")
    client.succeed("scenario-mail submit --host mail --user ann@example.org --to ann@example.org --subject today")
    client.succeed("test 1 = $(scenario-mail count --host mail --user ann@example.org --subject today)")

with subtest("what the policy was told then holds, and what waited waits"):
    said = client.fail("scenario-mail deliver --host mail --to ann@example.org --subject unknown 2>&1")
    assert "greylisted" in said, said
    mail.succeed("posthorn queue list | grep example.invalid")

with subtest("a restart changes nothing, and makes no further backup"):
    mail.succeed("systemctl restart posthorn.service")
    client.succeed("test 1002 = $(scenario-mail count --host mail --user ann@example.org)")
    mail.succeed("test 1 = $(ls /var/lib/posthorn/backups/*.tar | wc -l)")

with subtest("the way back: the backup becomes the database of then, upgraded again"):
    mail.succeed("cp /var/lib/posthorn/backups/*.tar /var/tmp/backup.tar")
    mail.succeed("systemctl stop posthorn.service")
    mail.succeed("posthorn restore --replace --exact - < /var/tmp/backup.tar")
    mail.succeed("systemctl start posthorn.service")
    mail.succeed("posthorn check")
    assert before == client.succeed("scenario-mail digest --host mail --user ann@example.org")

with subtest("a program that is too old for the database does not start, and changes nothing"):
    mail.succeed("systemctl stop posthorn.service")
    query = "runuser -u postgres -- psql -qAtd posthorn -c"
    mail.succeed(f"cd /; {query} \"insert into _sqlx_migrations values (9999, 'of the future', now(), true, '', 1)\"")
    mail.fail("systemctl start posthorn.service")
    mail.succeed("systemctl stop posthorn.service; journalctl --unit posthorn.service | grep 9999")
    mail.succeed(f"cd /; {query} 'delete from _sqlx_migrations where version = 9999'")
    mail.succeed("systemctl start posthorn.service")
    client.succeed("test 1001 = $(scenario-mail count --host mail --user ann@example.org)")
