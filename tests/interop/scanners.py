"""Engines of others in place of our own parts: clamd, rspamd, spamd, opendkim's milter, and amavisd as a content filter; each judges, dies
and comes back."""
# needs: namespaces ip openssl clamd rspamd spamd opendkim amavisd

import re
import signal
import smtplib
import time

import rig
import world
from engines import EICAR, GTUBE, amavisd, attached, clamd, opendkim, rspamd, scanner, spamd

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{CLIENT} -all"\n@ A {CLIENT}\n')
CERTIFICATE = world.Authority().issue("mail.here.example")

class Sent:
    """What became of a message: the reply to its end, and how long that took."""

    def __init__(self, subject, body, to="bob@here.example"):
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
        head = f"From: ann@origin.example\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{time.monotonic_ns()}@origin.example>\r\n"
        separator = b"" if body.startswith(b"MIME-Version") else b"\r\n"
        with smtplib.SMTP(timeout=90, source_address=(CLIENT, 0), local_hostname="client.origin.example") as smtp:
            smtp.connect(HERE, 25)
            smtp.ehlo()
            smtp.mail("ann@origin.example")
            code, words = smtp.rcpt(to)
            assert code == 250, words
            began = time.monotonic()
            self.code, words = smtp.data(head.encode() + separator + body)
            self.seconds, self.words = time.monotonic() - began, words.decode()
        print(subject, self.code, self.words, f"{self.seconds:.2f} s", flush=True)


def inbox(ours, token, mailbox="INBOX"):
    found = [octets for octets in ours.inbox("bob@here.example", mailbox) if token in octets]
    return found[0] if found else None


socket, virus = clamd()

ours = world.Posthorn(
    "mail.here.example", HERE, names, CERTIFICATE,
    scanner("clamd", "clamd", socket, time="5 s"),
)  # fmt: skip
with names.serving(), ours.serving():
    ours.people("bob@here.example")
    with rig.step("clamd: what it knows does not come in"):
        assert Sent("plain", b"Hello.\r\n").code == 250
        for what in (EICAR, b"This is a specimen of our own.\r\n"):
            sent = Sent("virus", attached(what))
            assert sent.code == 554, sent.words
    with rig.step("clamd dies: mail waits, soon without being asked; it comes back"):
        virus.kill()
        for _ in range(4):
            sent = Sent("waits", b"Hello.\r\n" + str(time.monotonic()).encode())
            assert sent.code == 451 and sent.seconds < 6, (sent.code, sent.words, sent.seconds)
        socket.unlink(missing_ok=True)
        virus.start()
        time.sleep(11)
        assert Sent("again", b"Hello again.\r\n").code == 250
    with rig.step("clamd hangs: its time is over, not ours"):
        virus.daemon.send_signal(signal.SIGSTOP)
        sent = Sent("hangs", b"Hello, silence.\r\n")
        assert sent.code == 451 and sent.seconds < 12, (sent.code, sent.seconds)
        virus.daemon.send_signal(signal.SIGCONT)
        assert Sent("goes on", b"Hello, world.\r\n").code == 250

points = rspamd()
assassin = spamd()
milter = opendkim()
ours = world.Posthorn(
    "mail.here.example", HERE, names, CERTIFICATE,
    scanner("rspamd", "rspamd", "127.0.0.1:11333", time="5 s", on_failure="pass")
    + scanner("spamd", "spamd", "127.0.0.1:7830", time="20 s", on_failure="pass")
    + scanner("opendkim", "milter", "127.0.0.1:8891", time="5 s"),
)  # fmt: skip
with names.serving(), ours.serving():
    ours.people("bob@here.example")
    with rig.step("rspamd refuses what it is sure of"):
        sent = Sent("gtube", GTUBE)
        assert sent.code == 554 and "Gtube" in sent.words, sent.words
    with rig.step("spamd's score and opendkim's field come with the message"):
        assert Sent("first", b"Hello, engines.\r\n").code == 250
        octets = inbox(ours, b"Hello, engines.")
        print(octets.decode())
        assert re.search(rb"(?m)^Authentication-Results: milter.here.example;", octets)
    with rig.step("rspamd dies: spamd goes on, and mail passes"):
        points.kill()
        assert Sent("without rspamd", b"Hello, one engine less.\r\n").code == 250
        assert Sent("gtube again", GTUBE).code in (250, 554)
        assert inbox(ours, b"STANDARD-ANTI-UBE-TEST-EMAIL") is None, "it is no mail for the inbox"
    with rig.step("spamd dies as well: mail passes by choice"):
        assassin.kill()
        sent = Sent("without both", b"Hello, nobody.\r\n")
        assert sent.code == 250 and sent.seconds < 10, (sent.words, sent.seconds)
        assert inbox(ours, b"Hello, nobody.") is not None
    with rig.step("the milter dies: mail waits, and goes on when it is back"):
        milter.kill()
        sent = Sent("without milter", b"Hello, milter.\r\n")
        assert sent.code == 451, sent.words
        milter.start()
        assert Sent("with milter", b"Hello, milter.\r\n").code == 250

filter_ = amavisd(socket)
ours = world.Posthorn(
    "mail.here.example", HERE, names, CERTIFICATE,
    '[[listener]]\nname = "back"\nspeaks = "reinject"\nlisten = ["127.0.0.1:10025"]\n\n'
    + scanner("amavisd", "smtp", "127.0.0.1:10024", time="60 s"),
)  # fmt: skip
with names.serving(), ours.serving():
    ours.people("bob@here.example")
    with rig.step("amavisd behind us: what it passes comes back once"):
        sent = Sent("passed", b"Hello, filter.\r\n")
        assert sent.code == 250, sent.words
        octets = inbox(ours, b"Hello, filter.")
        print(octets.decode())
        assert b"X-Virus-Scanned: " in octets and b"X-Spam-Status: No" in octets
        assert sum(b"Hello, filter." in one for one in ours.inbox("bob@here.example")) == 1
    with rig.step("what it refuses is refused in its words"):
        sent = Sent("specimen", attached(b"This is a specimen of our own.\r\n"))
        assert sent.code == 554 and "INFECTED" in sent.words, sent.words
    with rig.step("it dies: mail waits"):
        filter_.kill()
        sent = Sent("waits", b"Hello, nobody.\r\n")
        assert sent.code == 451, sent.words
    with rig.step("it comes back: so does mail"):
        filter_.start()
        assert Sent("goes on", b"Hello, again.\r\n").code == 250
        assert inbox(ours, b"Hello, again.") is not None
