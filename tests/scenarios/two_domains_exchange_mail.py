start_all()
for host in (mx1, mx2):
    host.wait_for_unit("posthorn.service")
    host.wait_for_unit("posthorn-provision.service")

with subtest("anna writes to ben, ben answers"):
    client.succeed("scenario-mail submit --host mx1 --to ben@example.net --subject question")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mx2 --user ben@example.net --subject question)", timeout=60)
    client.succeed("scenario-mail submit --host mx2 --user ben@example.net --to anna@example.org --subject answer")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mx1 --subject answer)", timeout=60)

with subtest("mail waits while the other host is cut off, and arrives once"):
    mx2.block()
    for number in range(5):
        client.succeed(f"scenario-mail submit --host mx1 --to ben@example.net --subject cut-off-{number}")
    mx1.wait_until_succeeds("posthorn queue list --state deferred --count | grep 5", timeout=120)
    mx2.unblock()
    mx1.wait_for_open_port(25, "mx2")
    # An attempt that began before may still count against the host, so it may be asked again.
    mx1.wait_until_succeeds("posthorn queue retry --all >/dev/null || true; sleep 1; ! posthorn queue list --state deferred --count | grep '[1-9]'", timeout=60)
    client.wait_until_succeeds("test 5 = $(scenario-mail count --host mx2 --user ben@example.net --subject cut-off)", timeout=120)

with subtest("an address that does not exist comes back with the reason"):
    client.succeed("scenario-mail submit --host mx1 --to nobody@example.net --subject lost")
    # A connection that was tried while the cable was out may still count against the host.
    mx1.succeed("sleep 1; posthorn queue retry --all")
    client.wait_until_succeeds("test 1 = $(scenario-mail count --host mx1 --subject 'could not be delivered')", timeout=60)
