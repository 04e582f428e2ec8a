import time

start_all()
mail.wait_for_unit("posthorn.service")
mail.wait_for_unit("posthorn-provision.service")
main_process = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()


def under_load(seconds, disturb):
    client.succeed(
        "systemd-run --quiet --unit scenario-load --property RemainAfterExit=yes --property StandardOutput=file:/tmp/load"
        f" -- \"$(command -v scenario-mail)\" load --host mail --seconds {seconds} --log /tmp/acknowledged"
    )
    time.sleep(2)
    disturb()
    client.wait_until_succeeds("test -s /tmp/load")
    print(client.succeed("cat /tmp/load; systemctl stop scenario-load.service; rm /tmp/load").strip())


def restart():
    for _ in range(3):
        mail.succeed("systemctl restart postgresql.service")
        time.sleep(1)


def kill():
    mail.succeed('kill -KILL "$(head -n 1 "$(find /var/lib/postgresql -name postmaster.pid)")"')
    time.sleep(1)
    mail.wait_until_succeeds("systemctl restart postgresql.service")


with subtest("PostgreSQL restarts three times under load"):
    under_load(15, restart)

with subtest("PostgreSQL is killed under load"):
    under_load(15, kill)

with subtest("everything that was acknowledged is there, and the server never went down"):
    print(client.succeed("scenario-mail compare --host mail --log /tmp/acknowledged").strip())
    mail.succeed("posthorn check")
    now = mail.succeed("systemctl show --property MainPID --value posthorn.service").strip()
    assert now == main_process, f"{main_process} became {now}"
