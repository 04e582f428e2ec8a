"""Debian's amavisd-milter and amavisd-submit, as they are, have their files judged at our AM.PDP socket: Postfix asks the first, mail comes on
with what we say of it, is refused, held, and sent to other addresses."""
# needs: namespaces ip openssl postfix amavisd-milter amavisd-submit dkimverify

import os
import re
import smtplib
import subprocess

import rig
import world
from engines import GTUBE

world.enter()

names = world.Names()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
SENDER = f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n'
names.put("sender.example", SENDER)
# Where amavisd-submit looks for its server, and puts its files.
os.makedirs("/var/lib/amavis", exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/amavis"], check=True)
os.mkdir("/var/lib/amavis/tmp")
SOCKET = "/var/lib/amavis/amavisd.sock"
work = world.place("amavisd-milter")
work.chmod(0o700)

ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[filter]\nsubject_tag = "[SPAM] "\n\n'
    f'[[listener]]\nname = "am-pdp"\nspeaks = "am-pdp"\nlisten = ["{SOCKET}"]\n'
    f'quarantine = {{ directories = ["{work}", "/var/lib/amavis/tmp"] }}\n\n',
)  # fmt: skip
theirs = world.Postfix(
    "mx.there.example", THEIRS, ["there.example"], smtpd_milters="inet:127.0.0.1:8899", milter_default_action="tempfail",
    milter_protocol="6", smtpd_relay_restrictions="reject_unauth_destination", recipient_delimiter="+",
)  # fmt: skip
EXECUTABLE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\n"
    b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="bill.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n--x--\r\n"
)
HEAD = b"From: ann@sender.example\r\nTo: bob@there.example\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\nMessage-ID: <1@sender.example>\r\n"


def send(octets, *to):
    """What Postfix says behind the final dot."""
    with smtplib.SMTP(THEIRS, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.example") as smtp:
        smtp.ehlo()
        for code, reply in [smtp.mail("ann@sender.example"), *(smtp.rcpt(f"{who}@there.example") for who in to or ("bob",))]:
            assert code == 250, reply
        code, words = smtp.data(octets)
        print(code, words.decode(), flush=True)
        return code, words


def submit(octets, status=0):
    """What amavisd-submit prints of a message with the system's line ends."""
    return rig.run("amavisd-submit", "ann@sender.example", "bob@there.example", stdin=octets.replace(b"\r\n", b"\n"), status=status)


with names.serving(), ours.serving(), theirs.serving():
    # fmt: off
    world.background("amavisd-milter", "-f", "-s", "inet:8899@127.0.0.1", "-S", SOCKET, "-w", work, "-p", work / "pid",
                     ready=lambda: world.opens("127.0.0.1", 8899))
    # fmt: on
    with rig.step("what is fine comes on, with what was found on top; forged fields go"):
        code, words = send(b"X-Spam-Flag: NO\r\n" + rig.message("a fine one", From="ann@sender.example", To="bob@there.example"))
        assert code == 250, words
        (octets,) = theirs.received(b"Subject: a fine one")
        assert b"Authentication-Results: mail.rules.example;" in octets and b"spf=pass" in octets, octets
        assert b"X-Spam-Flag" not in octets and octets.endswith(b"Hello.\r\n"), octets

    with rig.step("a program is refused while its sender is there"):
        code, words = send(HEAD + b"Subject: a program\r\n" + EXECUTABLE)
        assert code == 554 and b"5.7" in words, (code, words)

    with rig.step("spam is tagged for one, sent to a folder for another, held for a third"):
        for who, fields in (("bob", ["spam=deliver"]), ("eve", ["spam=deliver", "extension_spam=junk"]), ("joe", ["spam=hold"])):
            ours.ask("filter", "settings", "set", f"{who}@there.example", *fields)
        code, words = send(HEAD + b"Subject: an offer\r\n\r\n" + GTUBE, "bob", "eve", "joe")
        assert code == 250, words
        arrived = theirs.received(b"an offer", count=2)
        whom = sorted(re.search(rb"Delivered-To: (\S+)", octets)[1] for octets in arrived)
        assert whom == [b"bob@there.example", b"eve+junk@there.example"], whom
        for octets in arrived:
            assert b"\r\nSubject: [SPAM] an offer\r\n" in octets and b"X-Spam-Flag: YES" in octets, octets
        (held,) = ours.json("quarantine", "list")
        assert [one["recipient"] for one in held["recipients"]] == ["joe@there.example"], held

    with rig.step("held for all: nobody gets it, and nobody a bounce"):
        code, words = send(HEAD + b"Subject: for nobody\r\n\r\n" + GTUBE, "joe")
        assert code == 250, words
        rig.eventually(lambda: len(ours.json("quarantine", "list")) == 2)
        assert "status=bounced" not in theirs.log()

    with rig.step("what was asked for that way can be looked up"):
        (entry,) = [detail for what, detail in ours.trace("eve@there.example") if what == "judged"]
        assert entry["protocol"] == "am-pdp" and re.search(rf"{entry['foreign_queue_id']}: ", theirs.log()), entry

    with rig.step("the milter says nothing that Postfix does not understand"):
        warnings = [line for line in theirs.log().splitlines() if "warning: milter" in line]
        assert not warnings, warnings

    with rig.step("amavisd-submit: fine and bad, by its exit code"):
        assert "5.7" not in submit(rig.message("submitted", From="ann@sender.example", To="bob@there.example"))
        said = submit(HEAD + b"Subject: a program\r\n" + EXECUTABLE, status=69)
        assert "554" in said and "not allowed" in said, said
