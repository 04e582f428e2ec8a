"""Amavis' tables in a real PostgreSQL and a real MariaDB are taken over: settings, senders, and held mail that is then released."""
# needs: namespaces ip openssl mariadbd mariadb-install-db mariadb mariadb-dump psql initdb swaks

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import rig
import world

world.enter()

NOW = int(time.time())
# What both dialects understand; {octets} is the type of octets, {serial} a number that counts up.
TABLES = """
create table users (id {serial} primary key, priority integer not null default 7, policy_id integer not null default 1, email {octets255} not null unique,
    fullname varchar(255), local char(1));
create table mailaddr (id {serial} primary key, priority integer not null default 7, email {octets255} not null unique);
create table wblist (rid integer not null, sid integer not null, wb varchar(10) not null, primary key (rid, sid));
create table policy (id {serial} primary key, policy_name varchar(255), virus_lover char(1), spam_lover char(1), unchecked_lover char(1),
    banned_files_lover char(1), bad_header_lover char(1), bypass_virus_checks char(1), bypass_spam_checks char(1), bypass_banned_checks char(1),
    bypass_header_checks char(1), virus_quarantine_to varchar(64), spam_quarantine_to varchar(64), banned_quarantine_to varchar(64),
    unchecked_quarantine_to varchar(64), bad_header_quarantine_to varchar(64), clean_quarantine_to varchar(64), archive_quarantine_to varchar(64),
    spam_tag_level float, spam_tag2_level float, spam_tag3_level float, spam_kill_level float, spam_dsn_cutoff_level float,
    spam_quarantine_cutoff_level float, addr_extension_virus varchar(64), addr_extension_spam varchar(64), addr_extension_banned varchar(64),
    addr_extension_bad_header varchar(64), warnvirusrecip char(1), warnbannedrecip char(1), warnbadhrecip char(1), newvirus_admin varchar(64),
    virus_admin varchar(64), banned_admin varchar(64), bad_header_admin varchar(64), spam_admin varchar(64), spam_subject_tag varchar(64),
    spam_subject_tag2 varchar(64), spam_subject_tag3 varchar(64), message_size_limit integer, banned_rulenames varchar(64),
    disclaimer_options varchar(64), forward_method varchar(64), sa_userconf varchar(64), sa_username varchar(64));
create table maddr (partition_tag integer default 0, id {serial} primary key, email {octets255} not null, domain varchar(255) not null);
create table msgs (partition_tag integer not null default 0, mail_id {octets16} not null, secret_id {octets16}, am_id varchar(20) not null,
    time_num integer not null, time_iso varchar(30) not null, sid integer not null, policy varchar(255), client_addr varchar(255), size integer not null,
    originating char(1) not null default ' ', content char(1), quar_type char(1), quar_loc {octets255}, dsn_sent char(1), spam_level float,
    message_id varchar(255), from_addr varchar(255), subject varchar(255), host varchar(255) not null, primary key (partition_tag, mail_id));
create table msgrcpt (partition_tag integer not null default 0, mail_id {octets16} not null, rseqnum integer not null, rid integer not null,
    is_local char(1) not null default ' ', content char(1), ds char(1) not null, rs char(1) not null, bl char(1) default ' ', wl char(1) default ' ',
    bspam_level float, smtp_resp varchar(255), primary key (partition_tag, mail_id, rseqnum));
create table quarantine (partition_tag integer not null default 0, mail_id {octets16} not null, chunk_ind integer not null, mail_text {blob} not null,
    primary key (partition_tag, mail_id, chunk_ind));

insert into policy (policy_name, spam_lover, virus_lover, virus_quarantine_to, spam_tag2_level, spam_kill_level, banned_rulenames)
    values ('everybody', 'N', 'N', 'virus-quarantine', 5.5, 8, 'office,default');
insert into policy (policy_name, bypass_spam_checks, message_size_limit, sa_userconf) values ('ann', 'Y', 1048576, 'sql:ann');
insert into users (policy_id, email) values (1, '@sender.example'), (2, 'ann@sender.example'), (0, 'bob@sender.example'), (1, 'without-domain'),
    (9, 'carl@sender.example');
insert into mailaddr (email) values ('friend@example.com'), ('@.example.net'), ('192.0.2.1');
insert into wblist values (2, 1, 'W'), (3, 2, 'B'), (3, 1, '-2.5'), (3, 3, 'B'), (8, 1, 'W');
insert into maddr (email, domain) values ('spammer@example.net', 'net.example'), ('ann@sender.example', 'example.sender'), ('bob@sender.example', 'example.sender');
"""
DIALECTS = {
    "mysql": {"serial": "integer auto_increment", "octets255": "varbinary(255)", "octets16": "varbinary(16)", "blob": "blob"},
    "postgresql": {"serial": "serial", "octets255": "bytea", "octets16": "bytea", "blob": "bytea"},
}
BODY = (
    "Return-Path: <>\nX-Envelope-From: <spammer@example.net>\nX-Envelope-To: <ann@sender.example>,\n <bob@sender.example>\nX-Quarantine-ID: <heldmail0001>\n"
    "X-Spam-Flag: YES\nFrom: Spammer <spammer@example.net>\nTo: ann@sender.example\nSubject: gr\u00fc\u00dfe \\ 'x'\nMessage-ID: <one@example.net>\n\n"
    + "A line of text that is long enough to fill parts. \u00e4\n" * 800
).encode()
# In this order they lie in the table; the last part comes first.
CHUNKS = [(2, BODY[16384:32768]), (1, BODY[:16384])] + [(3 + at, BODY[start : start + 16384]) for at, start in enumerate(range(32768, len(BODY), 16384))]


def octets(dialect, data):
    return f"x'{data.hex()}'" if dialect == "mysql" else f"'\\x{data.hex()}'"


def held(dialect):
    """One that two people wait for, one that was released, one in a file, and one of which a part is missing."""
    lines = []
    for name, secret, kind, place in (
        ("heldmail0001", "secret000001", "Q", ""),
        ("heldmail0002", "secret000002", "Q", ""),
        ("heldmail0003", "secret000003", "F", "spam-0003.gz"),
        ("heldmail0004", "secret000004", "Q", ""),
    ):
        lines.append(
            "insert into msgs (mail_id, secret_id, am_id, time_num, time_iso, sid, client_addr, size, content, quar_type, quar_loc, spam_level, message_id,"
            f" from_addr, subject, host) values ('{name}', '{secret}', '1-1', {NOW - 3600}, '20260101T000000Z', 1, '192.0.2.7', {len(BODY)}, 'S', '{kind}',"
            f" '{place}', 12.25, '<one@example.net>', 'Spammer <spammer@example.net>', 'gr\u00fc\u00dfe', 'old.example');"
        )
    for name, number, rid, ds, rs in (
        ("heldmail0001", 1, 2, "D", " "),
        ("heldmail0001", 2, 3, "D", " "),
        ("heldmail0002", 1, 2, "D", "R"),
        ("heldmail0003", 1, 2, "D", " "),
        ("heldmail0004", 1, 2, "D", " "),
    ):
        lines.append(f"insert into msgrcpt (mail_id, rseqnum, rid, ds, rs) values ('{name}', {number}, {rid}, '{ds}', '{rs}');")
    for at, data in CHUNKS:
        lines.append(f"insert into quarantine (mail_id, chunk_ind, mail_text) values ('heldmail0001', {at}, {octets(dialect, data)});")
    lines.append(f"insert into quarantine (mail_id, chunk_ind, mail_text) values ('heldmail0004', 2, {octets(dialect, b'rest')});")
    return "\n".join(lines)


class MariaDb:
    """A server on a socket in a folder of the test."""

    scheme = "mysql"

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
            self.sql("create database amavisd character set utf8mb4; create user reader@localhost identified by 'a secret'; grant select on *.* to reader@localhost")
            yield self
        finally:
            server.terminate()
            server.wait(60)

    def client(self, *arguments):
        return ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--default-character-set=utf8mb4", *arguments]

    def sql(self, text, *database):
        rig.run(*self.client(*database), stdin=text)

    def fill(self, text):
        self.sql(text, "amavisd")

    def dsn(self):
        return f"mysql://reader@localhost/amavisd?socket={self.socket}"


class PostgreSql:
    """The database that Posthorn brought up for itself has room for another one."""

    scheme = "postgresql"

    def __init__(self, ours):
        self.ours = ours

    def psql(self, database, text):
        rig.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url(database), stdin=text)

    def url(self, database):
        socket = next(path for path in Path(self.ours.home).rglob(".s.PGSQL.*") if path.suffix != ".lock" and path.is_socket())
        return f"postgresql:///{database}?host={socket.parent}&user=posthorn&port={socket.name.rsplit('.', 1)[1]}"

    def fill(self, text):
        self.psql("posthorn", "create database amavisd encoding 'UTF8' template template0")
        self.psql("amavisd", text)

    def dsn(self):
        return self.url("amavisd")


names = world.Names()
CA = world.Authority()


def server(number, host):
    here = world.address(10 + number)
    names.put(f"{host}.example", f"@ MX 10 mail\nmail A {here}\n")
    return world.Posthorn(f"mail.{host}.example", here, names, CA.issue(f"mail.{host}.example"))


def taken(report):
    return {one["table"]: one["taken"] for one in report["tables"]}


def proves(ours, database):
    dialect = DIALECTS[database.scheme]
    database.fill(TABLES.format(**dialect) + held(database.scheme))
    dsn = database.dsn()
    everything = ("import", "amavisd", dsn, "--quarantine")
    with rig.step(f"{database.scheme}: a dry run writes nothing"):
        wanted = taken(ours.json(*everything, "--dry-run"))
        assert {name: count for name, count in wanted.items() if count} == {"users": 2, "wblist": 3, "msgs": 1, "msgrcpt": 2}, wanted
        assert ours.json("quarantine", "list") == [] and ours.json("filter", "settings", "list") == []
    with rig.step(f"{database.scheme}: all is taken once, and what could not be is told"):
        report = ours.json(*everything)
        assert taken(report) == wanted, report
        told = " | ".join(f"{one['row']}: {one['why']}" for one in report["remarks"])
        for part in ("without-domain", "there is no policy 9", "sa_userconf", "192.0.2.1", "rid 8", "spam-0003.gz", "heldmail0004: a part of it is missing"):
            assert part in told, (part, told)
        print(ours.ask(*everything))
        assert not any(taken(ours.json(*everything)).values())
    with rig.step(f"{database.scheme}: settings and senders hold"):
        said = {one["field"]: (one["value"], one["from"]) for one in ours.json("filter", "settings", "show", "ann@sender.example")}
        assert float(said["tag2"][0]) == 5.5 and said["tag2"][1] == "@sender.example", said
        assert said["bypass_spam"] == ("true", "ann@sender.example") and said["virus"] == ("hold", "@sender.example"), said
        senders = {(one["who"], one["sender"]): one["score"] for one in ours.json("filter", "senders", "list")}
        assert senders == {
            ("ann@sender.example", "friend@example.com"): -100, ("bob@sender.example", "@.example.net"): 100, ("bob@sender.example", "friend@example.com"): -2.5,
        }, senders  # fmt: skip
    with rig.step(f"{database.scheme}: held mail is as it was, and is released"):
        (one,) = ours.json("quarantine", "list")
        assert (one["id"], one["category"], one["score"], one["sender"]) == ("heldmail0001", "spam", 12.25, "spammer@example.net"), one
        assert [to["recipient"] for to in one["recipients"]] == ["ann@sender.example", "bob@sender.example"], one
        text = ours.ask("quarantine", "show", "heldmail0001", "--message")
        assert text.count("A line of text that is long enough") == 800 and "X-Spam-Flag" not in text, text[:500]
        (dry,) = ours.json("quarantine", "release", "--to", "ann@sender.example", "--dry-run")
        assert dry["outcome"] == "would be released", dry
        (done,) = ours.json("quarantine", "release", "heldmail0001", "--to", "ann@sender.example")
        assert done["outcome"] == "released", done
        (left,) = ours.json("quarantine", "delete", "--category", "spam", "--older-than", "10m")
        assert (left["recipient"], left["outcome"]) == ("bob@sender.example", "deleted"), left
        assert ours.json("quarantine", "list") == []
        assert not any(taken(ours.json(*everything)).values()), "what was released or deleted does not come back"
        ours.ask("check")


first, second = server(0, "sender"), server(1, "second")
os.environ["POSTHORN_IMPORT_PASSWORD"] = "a secret"
mariadb = MariaDb()
with names.serving(), mariadb.serving():
    for ours, database in ((first, mariadb), (second, PostgreSql(second))):
        with ours.serving():
            ours.people("ann@sender.example", "bob@sender.example")
            proves(ours, database)
