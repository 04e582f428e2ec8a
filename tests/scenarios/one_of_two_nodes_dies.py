start_all()
db.wait_for_unit("postgresql.service")
for node in (node1, node2):
    node.wait_for_unit("posthorn.service")
node1.wait_for_unit("posthorn-provision.service")

with subtest("two servers on one database are one mail system"):
    client.succeed("scenario-mail deliver --host node1 --subject by-the-first")
    client.succeed("scenario-mail deliver --host node2 --subject by-the-second")
    for host in ("node1", "node2"):
        found = client.succeed(f"scenario-mail count --host {host}").strip()
        assert found == "2", f"{host}: {found}"

with subtest("the URL with its password is a credential, and nowhere else"):
    node1.fail("runuser -u nobody -- cat /run/credentials/posthorn.service/database.url")
    node1.fail("grep -r swordfish /etc/posthorn")

with subtest("one dies under load, with mail in its queue"):
    client.succeed("scenario-mail submit --host node1 --to eve@elsewhere.test --subject left-behind")
    client.succeed(
        "systemd-run --quiet --unit scenario-load --property RemainAfterExit=yes --property StandardOutput=file:/tmp/load"
        " -- \"$(command -v scenario-mail)\" load --host node1 --seconds 10 --log /tmp/acknowledged"
    )
    client.wait_until_succeeds("test $(wc -l < /tmp/acknowledged) -gt 20")
    node1.crash()

with subtest("the other has everything that was acknowledged"):
    client.wait_until_succeeds("test -s /tmp/load", timeout=120)
    print(client.succeed("cat /tmp/load").strip())
    print(client.succeed("scenario-mail compare --host node2 --log /tmp/acknowledged").strip())
    node2.succeed("posthorn check")

with subtest("the other takes over what the dead one had in its queue"):
    client.succeed(
        "systemd-run --quiet --unit scenario-sink -- \"$(command -v scenario-mail)\" receive --host client --log /tmp/received"
    )
    client.wait_for_open_port(25)
    client.wait_until_succeeds(
        "grep left-behind /tmp/received || { sleep 1; false; }",
        timeout=90,
    )
    seen = client.succeed("grep -c left-behind /tmp/received").strip()
    assert seen == "1", seen
