start_all()
for host in (mail, spare):
    host.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

with subtest("a mailbox is loaded, with flags, a folder and a key that signs"):
    print(client.succeed("scenario-mail load --host mail --seconds 8 --log /tmp/acknowledged").strip())
    client.succeed("scenario-mail mark --host mail")
    client.succeed("scenario-mail submit --host mail --to nobody@elsewhere.test --subject waiting")
    keys = mail.succeed("posthorn dkim create example.org >/dev/null; posthorn dkim dns example.org")
    before = client.succeed("scenario-mail digest --host mail").strip()
    print(before)

with subtest("a backup is made while mail comes in"):
    client.succeed(
        "systemd-run --quiet --unit scenario-load --property RemainAfterExit=yes --property StandardOutput=file:/tmp/load"
        " -- \"$(command -v scenario-mail)\" load --host mail --to ben@example.org --seconds 10 --log /tmp/meanwhile"
    )
    client.wait_until_succeeds("test $(wc -l < /tmp/meanwhile) -gt 10")
    client.succeed("cp /tmp/meanwhile /tmp/promised")
    mail.succeed("umask 077; posthorn backup - > /var/tmp/backup.tar")
    print(mail.succeed("posthorn backup verify --quick - < /var/tmp/backup.tar").strip())

with subtest("what is damaged is refused"):
    # One octet in the midst.
    mail.succeed("cp /var/tmp/backup.tar /var/tmp/broken.tar; printf X | dd of=/var/tmp/broken.tar bs=1 seek=$(($(stat -c %s /var/tmp/broken.tar) / 2)) conv=notrunc status=none")
    mail.succeed("head -c -2000 /var/tmp/backup.tar > /var/tmp/short.tar")
    mail.fail("posthorn backup verify --quick - < /var/tmp/broken.tar")
    mail.fail("posthorn backup verify --quick - < /var/tmp/short.tar")

with subtest("the first host is gone, the backup was elsewhere"):
    client.wait_until_succeeds("test -s /tmp/load", timeout=60)
    text = mail.succeed("base64 --wrap 0 /var/tmp/backup.tar").strip()
    mail.crash()
    for at in range(0, len(text), 90000):
        spare.succeed(f"umask 077; echo {text[at:at + 90000]} | base64 --decode >> /var/tmp/backup.tar")

with subtest("a database that is in use is not overwritten"):
    spare.succeed("systemctl stop posthorn.service")
    spare.succeed("posthorn domain add example.net")
    spare.fail("posthorn restore - < /var/tmp/backup.tar")
    spare.succeed("posthorn domain list | grep example.net")

with subtest("a second host takes its place"):
    print(spare.succeed("posthorn restore - --replace --hold-queue < /var/tmp/backup.tar").strip())
    spare.fail("posthorn domain list | grep example.net")
    spare.succeed("systemctl start posthorn.service")
    spare.succeed("posthorn health ready")
    spare.succeed("posthorn check")

with subtest("every octet, flag and date of the mailbox is there, and all that was acknowledged before"):
    after = client.succeed("scenario-mail digest --host spare").strip()
    assert before == after, f"{before} became {after}"
    print(client.succeed("scenario-mail compare --host spare --log /tmp/acknowledged").strip())
    print(client.succeed("scenario-mail compare --host spare --user ben@example.org --log /tmp/promised").strip())

with subtest("keys sign as before, what waited is held, and new mail comes in"):
    assert keys == spare.succeed("posthorn dkim dns example.org")
    spare.succeed("posthorn queue list --state held --count | grep 1")
    client.succeed("scenario-mail deliver --host spare --subject afterwards")
    client.succeed("test 1 = $(scenario-mail count --host spare --subject afterwards)")
