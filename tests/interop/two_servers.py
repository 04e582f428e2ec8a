"""Two servers on one database: what arrives at one is announced, read and changed at the other."""
# needs: swaks
# accounts: u4

import re
import smtplib
import threading

import rig
import serve

PORTS = serve.free_ports(3)
SMTP, IMAPS, SUBMISSIONS = PORTS
ROWS = "".join(
    f'[[listener]]\nname = "{name}"\nspeaks = "{name}"\nlisten = ["{rig.HOST}:{port}"]\n\n' for name, port in zip(("smtp", "imaps", "submissions"), PORTS)
)


class Idle:
    """A session that waits for news."""

    def __init__(self, port):
        self.lines = rig.Lines(port, secure=True)
        self.lines.line()
        self.ask(f'LOGIN "{rig.user(4)}" "{rig.PASSWORD}"')
        self.ask("SELECT INBOX")
        self.lines.send(b"a IDLE\r\n")
        assert self.lines.line().startswith(b"+")

    def ask(self, command):
        self.lines.send(b"a " + command.encode() + b"\r\n")
        while not (line := self.lines.line()).startswith(b"a "):
            assert line, "hung up"
        assert line.startswith(b"a OK"), line

    def hears(self, pattern):
        while not re.search(pattern, line := self.lines.line()):
            assert line, "hung up"


with serve.serving(ROWS, PORTS):
    here, there = Idle(rig.IMAPS_PORT), Idle(IMAPS)

    with rig.step("mail for both"):
        rig.deliver(4, rig.message("arrived at the first"))
        for session in (here, there):
            session.hears(rb"^\* 1 EXISTS\r\n")
        rig.run("swaks", "--server", rig.HOST, "--port", SMTP, "--from", "s@elsewhere.example", "--to", rig.user(4), "--header", "Subject: arrived at the second")
        for session in (here, there):
            session.hears(rb"^\* 2 EXISTS\r\n")

    with rig.step("flags and expunges cross over"):
        first, second = rig.Imap(4), rig.Imap(4, IMAPS)
        for imap in (first, second):
            imap.ok("select", "INBOX")
            assert imap.uids() == [1, 2]
        first.ok("store", "1", "+FLAGS", "(\\Flagged)")
        for session in (here, there):
            session.hears(rb"^\* 1 FETCH .*\\Flagged")
        second.ok("noop")
        assert "\\Flagged" in second.flags(1)
        second.ok("uid", "MOVE", "1", "Archive")
        for session in (here, there):
            session.hears(rb"^\* 1 EXPUNGE\r\n")
        first.ok("noop")
        assert first.uids() == [2]
        assert first.status_of("Archive", "MESSAGES")["MESSAGES"] == 1

    with rig.step("mailboxes made at one are known to the other"):
        first.ok("create", "Both")
        second.ok("append", "Both", "(\\Seen)", None, rig.message("put"))
        first.ok("select", "Both")
        assert first.uids() == [1] and first.flags(1) == {"\\Seen"}
        second.ok("delete", "Both")
        assert first.status("Both", "(MESSAGES)")[0] == "NO"

    with rig.step("both at once: every message once, no UID twice"):
        def deliveries(count):
            with smtplib.SMTP(rig.HOST, SMTP) as smtp:
                for number in range(count):
                    smtp.sendmail("s@elsewhere.example", [rig.user(4)], rig.message(f"second {number}"))

        other = threading.Thread(target=deliveries, args=(100,))
        other.start()
        rig.deliver(4, *[rig.message(f"first {number}") for number in range(100)])
        other.join()
        for imap in (first, second):
            imap.ok("select", "INBOX")
            assert imap.uids() == list(range(2, 203)), imap.uids()
        here.hears(rb"^\* 201 EXISTS\r\n")
        there.hears(rb"^\* 201 EXISTS\r\n")

with rig.step("one goes, the other stays"):
    rig.deliver(4, rig.message("later"))
    here.hears(rb"^\* 202 EXISTS\r\n")
