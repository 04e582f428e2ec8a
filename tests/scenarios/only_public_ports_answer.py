start_all()
mail.wait_for_unit("posthorn.service")

PUBLIC = "25 143 465 587 993"

with subtest("internal services do run"):
    mail.wait_for_open_port(24)
    mail.succeed("test -S /run/postgresql/.s.PGSQL.5432")

with subtest("from another host exactly the public ports answer"):
    for family in (4, 6):
        found = client.succeed(f"scenario-mail scan --host mail --family {family}").strip()
        assert found == PUBLIC, f"IPv{family}: {found}"
