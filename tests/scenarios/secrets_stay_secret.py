start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")

HASH = "Ot5nocLKgjX08fuA0f8fiWyuB2RerANPXCAbWcY7JdgGk73gpvfpbdt3FlSXZrURtYOD3zg"
DUMP = "cd / && runuser -u posthorn -- pg_dump --dbname posthorn"

with subtest("before anybody logged in, the store knows the hash and nothing else does"):
    assert HASH in mail.succeed(DUMP)

# The secrets of the next checks: the password that is used here, the hash of it, and the secret behind the relay.
client.succeed("scenario-mail submit --host mail --subject from-anna")
SECRETS = ["correct horse", HASH, "hunter2-relay"]

with subtest("the service was given its secret, and it alone"):
    mail.succeed("grep -q hunter2-relay /run/credentials/posthorn.service/relay-password")
    mail.fail("runuser -u nobody -- cat /run/credentials/posthorn.service/relay-password")
    mail.fail("runuser -u posthorn -- cat /etc/posthorn-test/relay.password")
    mail.fail("runuser -u posthorn -- cat /etc/posthorn-test/anna.hash")

with subtest("nothing that it keeps can be read by others"):
    mail.fail("runuser -u nobody -- ls /var/lib/posthorn")
    loose = mail.succeed("find /var/lib/posthorn -perm /077").strip()
    assert loose == "", loose

with subtest("no secret is in an argument, a variable, the log, the units or the configuration"):
    main_process = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()
    for name, command in {
        "arguments": "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true",
        "variables": f"tr '\\0' ' ' < /proc/{main_process}/environ",
        "log": "journalctl --no-pager",
        "units": "systemctl cat posthorn.service posthorn-provision.service",
        "configuration": "cat /etc/posthorn/*; posthorn config show",
    }.items():
        text = mail.succeed(command)
        assert len(text) > 100, f"{name}: {text}"
        for secret in SECRETS:
            assert secret not in text, f"{name}: {secret}"

with subtest("after the first login the store knows neither the password nor the weak hash"):
    dump = mail.succeed(DUMP)
    assert "anna" in dump
    for secret in SECRETS:
        assert secret not in dump, secret
