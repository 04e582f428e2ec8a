"""Postfix with `smtpd_milters` at our milter: fields are added, bad files are refused at the sender, and what was said stays."""
# needs: namespaces ip openssl postfix

import re
import smtplib

import rig
import world
from engines import GTUBE

world.enter()

names = world.Names()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
names.put("sender.example", f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n')

ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[[listener]]\nname = "milter"\nspeaks = "milter"\nlisten = ["127.0.0.1:2500"]\n\n',
)  # fmt: skip
theirs = world.Postfix(
    "mx.there.example", THEIRS, ["there.example"], smtpd_milters="inet:127.0.0.1:2500", milter_default_action="tempfail",
    milter_protocol="6", smtpd_relay_restrictions="reject_unauth_destination", recipient_delimiter="+",
)  # fmt: skip

EXECUTABLE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\n"
    b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="bill.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n--x--\r\n"
)


def send(octets, recipients=("bob@there.example",), sender="ann@sender.example"):
    """What Postfix says behind the final dot."""
    with smtplib.SMTP(THEIRS, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.example") as smtp:
        smtp.ehlo()
        for code, reply in [smtp.mail(sender), *map(smtp.rcpt, recipients)]:
            assert code == 250, reply
        return smtp.data(octets)


with names.serving(), ours.serving(), theirs.serving():
    with rig.step("what is fine passes, with what was found out on top"):
        code, words = send(rig.message("a fine one", From="ann@sender.example", To="bob@there.example"))
        assert code == 250, words
        (octets,) = theirs.received(b"Subject: a fine one")
        print(octets.decode(errors="replace"))
        assert b"Authentication-Results: mail.rules.example;" in octets and b"spf=pass" in octets, octets
        assert octets.endswith(b"Hello.\r\n"), octets

    with rig.step("a forged field of ours goes"):
        code, words = send(b"X-Spam-Flag: NO\r\n" + rig.message("a forged one", From="ann@sender.example", To="bob@there.example"))
        assert code == 250, words
        (octets,) = theirs.received(b"Subject: a forged one")
        assert b"X-Spam-Flag: NO" not in octets, octets

    with rig.step("a program is refused while its sender is there"):
        head = b"From: ann@sender.example\r\nTo: bob@there.example\r\nSubject: a program\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\n"
        code, words = send(head + EXECUTABLE)
        print(code, words)
        assert code == 554 and b"5.7" in words, (code, words)

    with rig.step("one of them does not want it: he is taken away, another gets it at another address"):
        ours.ask("filter", "settings", "set", "bob@there.example", "banned=hold")
        ours.ask("filter", "settings", "set", "eve@there.example", "banned=deliver", "extension_banned=files")
        ours.ask("filter", "settings", "set", "joe@there.example", "banned=deliver")
        code, words = send(head.replace(b"a program", b"for some") + EXECUTABLE, [f"{who}@there.example" for who in ("bob", "eve", "joe")])
        assert code == 250, words
        arrived = theirs.received(b"Subject: for some", count=2)
        whom = sorted(re.search(rb"Delivered-To: (\S+)", octets)[1] for octets in arrived)
        assert whom == [b"eve+files@there.example", b"joe@there.example"], whom
        (held,) = ours.json("quarantine", "list")
        assert "for some" in str(held), held

    with rig.step("held for all: it lies with us, and Postfix has nothing to say of it"):
        code, words = send(head.replace(b"a program", b"for nobody") + EXECUTABLE)
        assert code == 250, words
        rig.eventually(lambda: "milter-discard: END-OF-MESSAGE" in theirs.log())
        assert len(ours.json("quarantine", "list")) == 2
        assert "status=bounced" not in theirs.log()

    with rig.step("GTUBE is called what it is"):
        code, words = send(rig.message("gtube", GTUBE, From="ann@sender.example", To="joe@there.example"), ["joe@there.example"])
        print(code, words)
        if code == 250:
            (octets,) = theirs.received(b"Subject: gtube")
            assert b"\r\nX-Spam-Flag: YES" in b"\r\n" + octets, octets
        else:
            assert code == 554 and b"5.7" in words, (code, words)

    with rig.step("Postfix understood all that was said"):
        warnings = [line for line in theirs.log().splitlines() if "warning: milter" in line]
        assert not warnings, warnings

with names.serving(), theirs.serving():
    with rig.step("the milter gone: Postfix asks its client to come back"):
        code = 0
        try:
            code, words = send(rig.message("gone", From="ann@sender.example", To="bob@there.example"))
        except (AssertionError, smtplib.SMTPException) as failure:
            print(failure)
            assert "451" in str(failure) or "4.7.1" in str(failure), failure
        assert code in (0, 451), code
    with ours.serving(), rig.step("and goes on when it is back"):
        code, words = send(rig.message("back", From="ann@sender.example", To="bob@there.example"))
        assert code == 250, words
        (octets,) = theirs.received(b"Subject: back")
        assert b"Authentication-Results: mail.rules.example;" in octets, octets
