"""A host with Posthorn as Debian would have it: its unit files, a PostgreSQL of the machine, files below /etc."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
UNITS = CHECKOUT / "containers" / "systemd"
CLIENT = (CHECKOUT / "tests" / "scenarios" / "client.py", "/usr/local/lib/scenario-mail.py")
# What Debian starts by itself and a host may not want.
NO_POSTFIX = {"/etc/systemd/system/postfix@.service.d/off.conf": ("[Unit]\nConditionPathExists=/etc/posthorn-test/postfix\n", 0o644)}
NO_DATABASE = {"/etc/systemd/system/postgresql@.service.d/off.conf": ("[Unit]\nConditionPathExists=/never\n", 0o644)}
HASH = (
    "$6$posthorntest$Ot5nocLKgjX08fuA0f8fiWyuB2RerANPXCAbWcY7JdgGk73gpvfpbdt3FlSXZrURtYOD3zg/0NZ8LHtpt6LFT/"
)

# Postfix' own services, nothing of which is chrooted; a table may add more.
MASTER = """\
smtp inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
DATABASE = '[database]\nurl = "postgres://posthorn@%2Frun%2Fpostgresql/posthorn"\n'
# Nobody on this network knows names, so nothing is checked that is about them.
NAMES = "[checks]\nenable = false\n\n"
# What an administrator does once: the role and the database, and here the first certificate.
PREPARE = """\
[Unit]
After=postgresql.service
Wants=postgresql.service
Before=posthorn.service
[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=/bin/bash /etc/posthorn-test/prepare
[Install]
WantedBy=multi-user.target
"""
ROLE = """\
set -eu
cd /
until runuser -u postgres -- psql -qc 'select' >/dev/null 2>&1; do sleep 0.1; done
if ! runuser -u postgres -- psql -Atc "select 1 from pg_roles where rolname = '{user}'" | grep -q 1; then
    runuser -u postgres -- createuser {user}
    runuser -u postgres -- createdb --owner {user} --encoding UTF8 --template template0 --locale C.UTF-8 {user}
fi
"""
# The database of an earlier program: its migrations as sqlx notes them, and what lived in it.
EARLIER = """\
query() { runuser -u posthorn -- psql -qv ON_ERROR_STOP=1 -d posthorn "$@"; }
if [ -z "$(query -Atc "select to_regclass('_sqlx_migrations')")" ]; then
    query -c "create table _sqlx_migrations (version bigint primary key, description text not null, installed_on timestamptz not null
        default now(), success boolean not null, checksum bytea not null, execution_time bigint not null)"
    for file in /etc/posthorn-test/earlier/*_*.sql; do
        number=$(basename "$file" | cut -c1-4)
        query -f "$file"
        query -c "insert into _sqlx_migrations values ($number::int, '$(basename "${file#*_}" .sql | tr _ ' ')', now(), true,
            decode('$(sha384sum "$file" | cut -c1-96)', 'hex'), 1)"
        [ ! -e "/etc/posthorn-test/earlier/$number.sql" ] || query -f "/etc/posthorn-test/earlier/$number.sql"
    done
    query -f /etc/posthorn-test/earlier/loaded.sql
fi
"""
MIGRATIONS = CHECKOUT / "src" / "store" / "migrations"
# What a server at each schema would have left, as the tests of upgrades have it.
LIVED = CHECKOUT / "tests" / "integration" / "upgrades"
SERVER = """\
runuser -u postgres -- psql -qc "alter role posthorn password '{password}'"
grep -q scenario /etc/postgresql/15/main/pg_hba.conf || {{
    echo "host posthorn posthorn all scram-sha-256 # scenario" >> /etc/postgresql/15/main/pg_hba.conf
    systemctl reload postgresql.service
}}
"""
CERTIFICATE = """\
mkdir -p /var/lib/certificates
cd /var/lib/certificates
[ -e mail.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN={name} \
    -keyout mail.key -out mail.pem
chgrp posthorn mail.key
chmod 0640 mail.key
"""
# The administrator's command, as the NixOS module has one.
COMMAND = """\
#!/bin/bash
[ "$(id -u)" = 0 ] || exec /usr/bin/posthorn "$@"
url=/etc/posthorn-test/database.url
exec systemd-run --quiet --collect --wait --pipe --uid=posthorn --gid=posthorn --property=UMask=0077 \\
    $([ -e $url ] && echo --property=LoadCredential=database.url:$url) -- /usr/bin/posthorn "$@"
"""


class Host:
    """What a container is made of."""

    def __init__(self, mounts, files, enabled):
        self.mounts = mounts
        self.files = files
        self.enabled = enabled


def deploy(program, _scenario, _name, host):
    """A host with the program, its unit files and what its table says."""
    wanted = ["posthorn.service", "posthorn-provision.service"] if "posthorn" in host else []
    wanted += ["scenario-prepare.service"] if "server" in host else []
    wanted += [unit for unit in host.get("units", {}) if unit.endswith(".socket")]
    return Host([(program, "/usr/bin/posthorn"), CLIENT], {**common(), **postfix(host), **files(host)}, wanted)


def common():
    """What every host has."""
    start = '#!/bin/sh\nexec python3 /usr/local/lib/scenario-mail.py "$@"\n'
    return {"/usr/local/bin/scenario-mail": (start, 0o755), **NO_POSTFIX}


def postfix(host):
    """The Postfix of the machine, where the table has its settings."""
    if "postfix" not in host:
        return {}
    found = {"/etc/postfix/main.cf": (host["postfix"], 0o644), "/etc/posthorn-test/postfix": ("", 0o644)}
    if "postfix_services" in host:
        found["/etc/postfix/master.cf"] = (MASTER + host["postfix_services"], 0o644)
    return found


def database(users, prepare):
    """The users, and what makes their roles and databases before the servers start for the first time."""
    order = "[Unit]\nRequires=scenario-prepare.service\nAfter=scenario-prepare.service\n"
    sysusers = "".join(f'u {user} - "Posthorn mail server" /var/lib/{user}\n' for user in users)
    return {
        "/usr/lib/sysusers.d/posthorn.conf": (sysusers, 0o644),
        "/etc/posthorn-test/prepare": (prepare, 0o644),
        "/etc/systemd/system/scenario-prepare.service": (PREPARE, 0o644),
        **{f"/etc/systemd/system/{user}.service.d/scenario.conf": (order, 0o644) for user in users},
    }


def files(host):
    """The files of a host as its table says, as `{path: (text, mode)}`."""
    if "server" in host:
        return {
            "/etc/posthorn-test/prepare": (ROLE.format(user="posthorn") + SERVER.format(password=host["server"]), 0o644),
            "/etc/systemd/system/scenario-prepare.service": (PREPARE, 0o644),
            "/etc/postgresql/15/main/conf.d/scenario.conf": ("listen_addresses = '*'\n", 0o644),
        }
    if "posthorn" not in host:
        return NO_DATABASE
    prepare = "" if "database" in host else ROLE.format(user="posthorn")
    if "schema" in host:
        prepare += EARLIER
    if "certificate" in host:
        prepare += CERTIFICATE.format(name=host["certificate"])
    found = database(["posthorn"], prepare) | (NO_DATABASE if "database" in host else {})
    found["/usr/lib/sysusers.d/posthorn.conf"] = ((UNITS / "posthorn.sysusers").read_text(), 0o644)
    found["/usr/local/bin/posthorn"] = (COMMAND, 0o755)
    found["/etc/posthorn/posthorn.toml"] = (NAMES + (DATABASE if prepare else "") + host["posthorn"], 0o644)
    if "people" in host:
        found["/etc/posthorn/people.toml"] = (host["people"], 0o644)
    found["/etc/posthorn-test/anna.hash"] = (HASH + "\n", 0o400)
    for name, text in host.get("secrets", {}).items():
        found[f"/etc/posthorn-test/{name}"] = (text + "\n", 0o400)
    if "schema" in host:
        for source in [*MIGRATIONS.glob("*.sql"), *LIVED.glob("*.sql")]:
            if int(source.name[:4]) <= host["schema"]:
                found[f"/etc/posthorn-test/earlier/{source.name}"] = (source.read_text(), 0o644)
        found["/etc/posthorn-test/earlier/loaded.sql"] = (host["loaded"], 0o644)
    for unit in UNITS.glob("*.service"):
        found[f"/etc/systemd/system/{unit.name}"] = (unit.read_text(), 0o644)
    for unit, text in host.get("units", {}).items():
        found[f"/etc/systemd/system/{unit}"] = (text, 0o644)
    server = [f"{name}:{path}" for name, path in host.get("credentials", {}).items()]
    people = [f"{name}:/etc/posthorn-test/anna.hash" for name in re.findall(r'posthorn-provision\.service/([^"]+)"', host.get("people", ""))]
    found["/etc/systemd/system/posthorn.service.d/credentials.conf"] = ("[Service]\n" + loads(server), 0o644)
    # Commands need the database as well.
    people += [credential for credential in server if credential.startswith("database.url:")]
    found["/etc/systemd/system/posthorn-provision.service.d/credentials.conf"] = ("[Service]\n" + loads(people), 0o644)
    return found


def loads(credentials):
    """Lines of a unit."""
    return "".join(f"LoadCredential={credential}\n" for credential in credentials)
