"""swaks sends GTUBE and EICAR: to our port 25, through Postfix behind its queue, and through Postfix before it, where the sender hears
of it and nothing is queued."""
# needs: namespaces ip openssl postfix swaks clamd

import re

import rig
import world
from engines import EICAR, GTUBE, clamd, scanner

world.enter()

names = world.Names()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
names.put("sender.example", f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n')
socket, _ = clamd()
ours = world.Posthorn(
    "mail.here.example", HERE, names, world.Authority().issue("mail.here.example"),
    '[[listener]]\nname = "inbound"\nspeaks = "filter"\nlisten = ["127.0.0.1:10024"]\n\n'
    '[[listener]]\nname = "before"\nspeaks = "filter"\nlisten = ["127.0.0.1:10034"]\n'
    'filter = { asked = "before-queue", next_hop = "127.0.0.1:10025" }\n\n' + scanner("clamd", "clamd", socket),
)  # fmt: skip
theirs = world.Postfix("mx.there.example", THEIRS, ["there.example"], content_filter="smtp:[127.0.0.1]:10024", smtp_bind_address="127.0.0.1")
theirs.services += f"""\
127.0.0.1:10025 inet n - n - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8 -o smtpd_authorized_xforward_hosts=127.0.0.0/8
{THEIRS}:2527 inet n - n - - smtpd -o content_filter= -o smtpd_proxy_filter=127.0.0.1:10034
"""
eicar = rig.folder("files") / "notes.dat"
eicar.write_bytes(EICAR)
gtube = rig.folder("files") / "gtube"
gtube.write_bytes(b"From: ann@sender.example\nTo: bob@there.example\nSubject: gtube\nDate: Mon, 7 Feb 1994 21:52:25 +0000\n"
                  b"Message-ID: <gtube@sender.example>\n\n" + GTUBE.replace(b"\r\n", b"\n"))  # fmt: skip


def swaks(where, port, to, *more, status=0):
    """What was said to its data, or how it ended."""
    # fmt: off
    return rig.run("swaks", "--server", where, "--port", port, "--local-interface", CLIENT, "--ehlo", "client.sender.example",
                   "--from", "ann@sender.example", "--to", to, *more, status=status)
    # fmt: on


VIRUS = ("--attach-type", "application/octet-stream", "--attach-name", "notes.dat", "--attach", f"@{eicar}", "--header", "Subject: eicar")
SPAM = ("--data", f"@{gtube}")

with names.serving(), ours.serving(), theirs.serving():
    ours.people("bob@here.example")
    with rig.step("port 25: EICAR is refused, GTUBE is kept out of the inbox"):
        said = swaks(HERE, 25, "bob@here.example", *VIRUS, status=26)
        assert re.search(r"(?m)^<\*\* +554 5\.7\.\d", said), said
        said = swaks(HERE, 25, "bob@here.example", *SPAM, status=None)
        assert "250 2.0.0" in said or "554 5.7" in said, said
        assert not [one for one in ours.inbox("bob@here.example") if b"GTUBE" in one]
        if "250 2.0.0" in said:
            assert len([one for one in ours.inbox("bob@here.example", "Junk") if b"GTUBE" in one]) == 1
        assert "250 2.0.0" in swaks(HERE, 25, "bob@here.example", "--body", "fine", "--header", "Subject: fine")
        assert ours.report("bob@here.example", b"Subject: fine")

    with rig.step("behind Postfix's queue: both are taken, EICAR is held, and nobody gets a bounce"):
        swaks(THEIRS, 25, "bob@there.example", *VIRUS)
        rig.eventually(lambda: "250 2.0.0 held as " in theirs.log())
        swaks(THEIRS, 25, "bob@there.example", *SPAM)
        rig.eventually(lambda: len(re.findall(r"10024.*status=sent", theirs.log())) == 2)
        for octets in [octets for octets in (file.read_bytes() for file in theirs.mail.glob("all/new/*")) if b"GTUBE" in octets]:
            assert re.search(rb"(?m)^X-Spam-Flag: YES", octets), octets
        assert not [file for file in theirs.mail.glob("all/new/*") if b"EICAR" in file.read_bytes()]
        assert "status=bounced" not in theirs.log()

    with rig.step("before Postfix's queue: the sender hears of EICAR, and nothing is queued"):
        queued = theirs.log().count("queued as")
        removed = theirs.log().count("postfix/qmgr")
        said = swaks(THEIRS, 2527, "bob@there.example", *VIRUS, status=26)
        assert re.search(r"(?m)^<\*\* +554 5\.7\.\d", said), said
        assert theirs.log().count("postfix/qmgr") == removed and theirs.log().count("queued as") == queued
        swaks(THEIRS, 2527, "bob@there.example", "--body", "fine", "--header", "Subject: fine")
        assert theirs.received(b"Subject: fine")
