"""The tables of iRedAPD and Amavis in a real MariaDB are taken over: by its own dump program, and from a dump."""
# needs: namespaces ip openssl mariadbd mariadb-install-db mariadb mariadb-dump

import contextlib
import os
import pwd
import shutil
import subprocess

import rig
import world

world.enter()

TABLES = {
    "iredapd": """
create table greylisting (id bigint unsigned auto_increment primary key, account varchar(100) not null default '', priority tinyint not null default 0,
    sender varchar(100) not null default '', sender_priority tinyint not null default 0, comment varchar(255) not null default '',
    active tinyint(1) not null default 1, unique key account (account, sender)) engine=InnoDB;
create table greylisting_whitelists (id bigint unsigned auto_increment primary key, account varchar(100) not null default '', sender varchar(100) not null,
    comment varchar(255) not null default '') engine=InnoDB;
create table greylisting_whitelist_domains (id bigint unsigned auto_increment primary key, domain varchar(255) not null) engine=InnoDB;
create table greylisting_tracking (id bigint unsigned auto_increment primary key, sender varchar(255) not null, recipient varchar(255) not null,
    client_address varchar(40) not null, init_time int unsigned not null, block_expired int unsigned not null, record_expired int unsigned not null,
    passed tinyint(1) not null default 0) engine=InnoDB;
create table throttle (id bigint unsigned auto_increment primary key, account varchar(255) not null, kind varchar(10) not null default 'outbound',
    priority tinyint not null default 0, period int unsigned not null, msg_size int not null default -1, max_msgs bigint not null default -1,
    max_quota bigint not null default -1, max_rcpts int not null default -1) engine=InnoDB;
create table wblist_rdns (id bigint unsigned auto_increment primary key, rdns varchar(255) not null, wb char(1) not null default 'B') engine=InnoDB;
insert into greylisting (account, sender, comment) values ('@.', '@.', 'it''s; (a) "comment"\\n\\\\'), ('ann@sender.example', '@.', '');
insert into greylisting_whitelists (account, sender) values ('@.', '192.168.1.*');
insert into greylisting_whitelist_domains (domain) values ('example.com');
insert into greylisting_tracking (sender, recipient, client_address, init_time, block_expired, record_expired, passed)
    values ('a@b.example', 'ann@sender.example', '203.0.113.7', 1, 2, 4000000000, 1);
insert into throttle (account, kind, period, max_msgs, msg_size) values ('@.', 'outbound', 3600, 100, 1048576), ('ann@sender.example', 'outbound', 3600, 7, -1);
insert into wblist_rdns (rdns) values ('.dyn.example.net');
""",
    "amavisd": """
create table users (id int unsigned auto_increment primary key, priority int not null default 7, email varbinary(255) not null unique) engine=InnoDB;
create table mailaddr (id int unsigned auto_increment primary key, priority int not null default 7, email varbinary(255) not null unique) engine=InnoDB;
create table wblist (rid int unsigned not null, sid int unsigned not null, wb varchar(10) not null, primary key (rid, sid)) engine=InnoDB;
create table outbound_wblist (rid int unsigned not null, sid int unsigned not null, wb varchar(10) not null, primary key (rid, sid)) engine=InnoDB;
insert into users (email) values ('@.'), ('ann@sender.example');
insert into mailaddr (email) values ('bad@example.com'), ('10.1.*.*');
insert into wblist select 1, id, 'B' from mailaddr;
insert into outbound_wblist values (1, 2, 'B');
""",
}
MANY = 20_000


class MariaDb:
    """A server on a socket in a folder of the test."""

    def __init__(self):
        self.home = world.place("mariadb")
        self.socket = self.home / "socket"
        self.user = pwd.getpwuid(os.getuid()).pw_name

    @contextlib.contextmanager
    def serving(self):
        data = f"--datadir={self.home}/data"
        rig.run("mariadb-install-db", "--no-defaults", data, f"--user={self.user}", "--auth-root-authentication-method=normal", "--skip-test-db")
        server = subprocess.Popen(
            [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", data, f"--user={self.user}", f"--socket={self.socket}", "--skip-networking",
             f"--pid-file={self.home}/pid", f"--log-error={self.home}/log"]
        )  # fmt: skip
        try:
            rig.eventually(lambda: self.socket.exists(), 60)
            rig.eventually(lambda: subprocess.run(self.client("-e", "select 1"), capture_output=True).returncode == 0, 60)
            yield self
        finally:
            server.terminate()
            server.wait(60)

    def client(self, *arguments):
        return ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", *arguments]

    def sql(self, text, *database):
        rig.run(*self.client(*database), stdin=text)

    def dsn(self, database, user="reader"):
        return f"mysql://{user}@localhost/{database}?socket={self.socket}"


names = world.Names()
HERE = world.address(10)
names.put("sender.example", f"@ MX 10 mail\nmail A {HERE}\n")
ours = world.Posthorn("mail.sender.example", HERE, names, world.Authority().issue("mail.sender.example"))
mariadb = MariaDb()


def taken(report):
    return {one["table"]: one["taken"] for one in report["tables"]}


with names.serving(), ours.serving(), mariadb.serving():
    for database, text in TABLES.items():
        mariadb.sql(f"create database {database}")
        mariadb.sql(text, database)
    mariadb.sql("create user reader@localhost identified by 'a secret'; grant select on *.* to reader@localhost")
    sources = [mariadb.dsn("iredapd"), mariadb.dsn("amavisd")]

    with rig.step("a wrong password takes nothing, one on the command line is refused"):
        os.environ["POSTHORN_IMPORT_PASSWORD"] = "wrong"
        print(ours.ask("import", "iredapd", *sources, status=1))
        ours.ask("import", "iredapd", mariadb.dsn("iredapd", "reader:a"), status=2)
        assert ours.json("policy", "throttle", "list") == []

    with rig.step("a dry run writes nothing"):
        os.environ["POSTHORN_IMPORT_PASSWORD"] = "a secret"
        wanted = {
            "greylisting": 2, "greylisting_whitelists": 1, "greylisting_whitelist_domains": 1, "greylisting_tracking": 1,
            "throttle": 2, "wblist_rdns": 1, "wblist": 2, "outbound_wblist": 1,
        }  # fmt: skip
        found = taken(ours.json("import", "iredapd", *sources, "--triplets", "--dry-run"))
        assert found == wanted, found
        assert ours.json("policy", "greylist", "list") == []

    with rig.step("all is taken, once"):
        print(ours.ask("import", "iredapd", *sources, "--triplets"))
        lists = {(one["account"], one["peer"], one["list"]) for one in ours.json("policy", "list", "in", "list")}
        assert lists == {("*", "bad@example.com", "black"), ("*", "10.1.0.0/16", "black"), ("*", "~.dyn.example.net", "black")}, lists
        (out,) = ours.json("policy", "list", "out", "list")
        assert (out["account"], out["peer"]) == ("ann@sender.example", "bad@example.com"), out
        limits = {one["who"]: one.get("messages") for one in ours.json("policy", "throttle", "list")}
        assert limits == {"*": 100, "ann@sender.example": 7}, limits
        again = taken(ours.json("import", "iredapd", *sources, "--triplets"))
        assert set(again.values()) == {0}, again

    with rig.step(f"{MANY} rows out of a dump"):
        rows = ",".join(f"('@.', 'sender{number}@example.com')" for number in range(MANY))
        mariadb.sql(f"insert into greylisting_whitelists (account, sender) values {rows}", "iredapd")
        dump = world.place("dump") / "iredapd.sql"
        dump.write_text(rig.run("mariadb-dump", "--no-defaults", f"--socket={mariadb.socket}", "--user=root", "iredapd"))
        report = ours.json("import", "iredapd", str(dump))
        assert taken(report)["greylisting_whitelists"] == MANY, taken(report)
        assert len(ours.json("policy", "greylist", "whitelist", "list")) == MANY + 1
