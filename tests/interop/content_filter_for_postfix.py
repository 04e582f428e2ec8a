"""Postfix hands its mail to our content filter: behind its queue by SMTP and by LMTP, before it as a proxy; and our process dies
in the middle of a message, which loses nothing."""
# needs: namespaces ip openssl postfix dkimverify python:dkim python:dns

import os
import re
import signal
import smtplib
import socket
import threading
import time

import dkim

import rig
import world

world.enter()

names = world.Names()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
SENDER = f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n'
names.put("sender.example", SENDER)

ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[[listener]]\nname = "inbound"\nspeaks = "filter"\nlisten = ["127.0.0.1:10024"]\n\n'
    '[[listener]]\nname = "originating"\nspeaks = "filter"\nlisten = ["127.0.0.1:10026"]\n'
    'filter = { way = "originating", next_hop = "127.0.0.1:10025" }\n\n'
    '[[listener]]\nname = "before"\nspeaks = "filter"\nlisten = ["127.0.0.1:10034"]\n'
    'filter = { asked = "before-queue", next_hop = "127.0.0.1:10025" }\n\n',
)  # fmt: skip
theirs = world.Postfix("mx.there.example", THEIRS, ["there.example"], content_filter="smtp:[127.0.0.1]:10024", minimal_backoff_time="2s",
                       queue_run_delay="2s", smtp_bind_address="127.0.0.1", lmtp_bind_address="127.0.0.1")  # fmt: skip
BACK = "-o content_filter= -o smtpd_milters= -o mynetworks=127.0.0.0/8 -o smtpd_authorized_xforward_hosts=127.0.0.0/8 -o local_header_rewrite_clients="
PASS = "-o smtp_send_xforward_command=yes -o disable_dns_lookups=yes"
theirs.services += f"""\
127.0.0.1:10025 inet n - n - - smtpd {BACK}
{THEIRS}:2525 inet n - n - - smtpd -o content_filter=lmtp:[127.0.0.1]:10024 -o smtpd_client_restrictions=
{THEIRS}:2526 inet n - n - - smtpd -o content_filter=smtp:[127.0.0.1]:10026
{THEIRS}:2527 inet n - n - - smtpd -o content_filter= -o smtpd_proxy_filter=127.0.0.1:10034
"""
theirs.services = theirs.services.replace("-  -  smtp\n", f"-  -  smtp {PASS}\n").replace("-  -  lmtp\n", "-  -  lmtp -o lmtp_send_xforward_command=yes\n")

EXECUTABLE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\n"
    b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="bill.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n--x--\r\n"
)
HEAD = b"From: ann@sender.example\r\nTo: bob@there.example\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\n"


def send(octets, port=25, recipients=("bob@there.example",), options=()):
    """What Postfix says behind the final dot."""
    with smtplib.SMTP(THEIRS, port, timeout=60, source_address=(CLIENT, 0), local_hostname="client.example") as smtp:
        smtp.ehlo()
        for code, reply in [smtp.mail("ann@sender.example", list(options)), *map(smtp.rcpt, recipients)]:
            assert code == 250, reply
        return smtp.data(octets)


def passes(subject, port, answer):
    code, words = send(rig.message(subject, From="ann@sender.example", To="bob@there.example"), port)
    assert code == 250, words
    (octets,) = theirs.received(f"Subject: {subject}".encode())
    assert re.search(answer, theirs.log()), theirs.log()[-3000:]
    return octets


with names.serving(), ours.serving(), theirs.serving():
    with rig.step("behind the queue by SMTP: it comes back, and the second half of the log knows the client"):
        octets = passes("by SMTP", 25, r"from MTA\(smtp:127\.0\.0\.1:10025\): 250 2\.0\.0 Ok: queued as")
        assert b"Authentication-Results: mail.rules.example;" in octets and b"spf=pass" in octets, octets
        assert re.search(rf"client=\S+\[127\.0\.0\.1\], orig_queue_id=\w+, orig_client=\S*\[{CLIENT}\]", theirs.log()), theirs.log()[-3000:]

    with rig.step("by LMTP, four recipients"):
        four = [f"{name}@there.example" for name in ("bob", "eve", "joe", "zoe")]
        code, words = send(rig.message("by LMTP", From="ann@sender.example", To="all"), 2525, four)
        assert code == 250, words
        assert len(theirs.received(b"Subject: by LMTP", count=4)) == 4

    with rig.step("by LMTP, four recipients who do not agree: one transaction, a reply and a fate for each"):
        for who, field in (("eve", "banned=deliver"), ("joe", "banned=junk"), ("zoe", "banned=defer")):
            ours.ask("filter", "settings", "set", f"{who}@there.example", field)
        code, words = send(HEAD + b"Subject: differing\r\n" + EXECUTABLE, 2525, four)
        assert code == 250, words
        queue_id = words.split()[-1].decode()

        def fate(who):
            found = re.search(rf"{queue_id}: to=<{who}@there.example>.*status=(.*)", theirs.log())
            return found and found[1]

        fates = rig.eventually(lambda: all(map(fate, ("bob", "eve", "joe", "zoe"))) and {who: fate(who) for who in ("bob", "eve", "joe", "zoe")})
        print(fates)
        assert re.match(r"sent \(250 2\.0\.0 held as ", fates["bob"]), fates
        for who in ("eve", "joe"):
            assert re.match(r"sent \(250 2\.0\.0 from MTA\(smtp:127\.0\.0\.1:10025\): 250 2\.0\.0 Ok: queued as", fates[who]), fates
        assert re.match(r"deferred \(.*45\d 4\.", fates["zoe"]), fates
        arrived = theirs.received(b"Subject: differing", count=2)
        assert sorted(re.search(rb"Delivered-To: (\w+)@", one)[1] for one in arrived) == [b"eve", b"joe"], arrived
        (held,) = [row for row in ours.json("quarantine", "list") if row["subject"] == "differing"]
        print(held)
        assert "status=bounced" not in theirs.log()
        # The one who waits is let in later, by Postfix's own retry.
        ours.ask("filter", "settings", "set", "zoe@there.example", "banned=deliver")
        rig.eventually(lambda: rig.run("postqueue", "-c", theirs.etc, "-f") is None or len(theirs.received(b"Subject: differing", count=3)) == 3, 60)

    with rig.step("our own people's: 10026 signs, eight bits and all"):
        ours.people("ann@sender.example")
        ours.ask("dkim", "create", "sender.example")
        text = ours.ask("dkim", "dns", "sender.example")
        names.put("sender.example", SENDER + "".join(line + "\n" for line in text.splitlines() if line.strip()))
        eight = {"MIME_Version": "1.0", "Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "8bit"}
        for subject, body in (("originating", b"Hello.\r\n.dot\r\n"), ("eight", "Grüße, 挨拶.\r\n".encode())):
            octets = rig.message(subject, body, From="ann@sender.example", To="bob@there.example", **eight)
            code, words = send(octets, 2526, options=["BODY=8BITMIME"])
            assert code == 250, words
            (octets,) = theirs.received(f"Subject: {subject}\r\n".encode().replace(b"\r\n", b"\n"))
            assert octets.count(b"\nDKIM-Signature:") == 2, octets
            assert octets.endswith(b"\r\n\r\n" + body), octets
            # Each of the two by itself, and once by the program.
            for index in range(2):
                assert dkim.DKIM(octets).verify(idx=index), f"{subject}, signature {index}"
            said = rig.run("dkimverify", stdin=octets)
            assert "signature ok" in said, said
        assert re.search(r"10026.*status=sent \(250 2\.0\.0 from MTA", theirs.log())

    with rig.step("mail of a stranger in our name is signed by nobody"):
        octets = passes("not ours", 25, r"10024")
        assert b"\nDKIM-Signature:" not in octets, octets

    with rig.step("a program is held behind the queue, and nobody gets a bounce"):
        code, words = send(HEAD + b"Subject: held\r\n" + EXECUTABLE)
        assert code == 250, words
        rig.eventually(lambda: "250 2.0.0 held as " in theirs.log())
        assert "status=bounced" not in theirs.log()

    with rig.step("as a proxy it is refused at the sender"):
        passes("by proxy", 2527, "10034|proxy")
        code, words = send(HEAD + b"Subject: refused\r\n" + EXECUTABLE, 2527)
        print(code, words)
        assert code == 554 and b"5.7" in words, (code, words)

# Killed in the middle of messages: whatever Postfix has taken arrives when the filter is back.
with names.serving(), theirs.serving():
    sent, stop = [], threading.Event()

    def many():
        while not stop.is_set() and len(sent) < 60:
            subject = f"number-{len(sent)}-"
            assert send(rig.message(subject, b"x" * 70 + b"\r\n" * 1 + (b"y" * 70 + b"\r\n") * 4000, From="ann@sender.example", To="bob@there.example"))[0] == 250
            sent.append(subject)

    with rig.step("killed in the middle, three times"):
        sender = threading.Thread(target=many)
        sender.start()
        for _ in range(3):
            log = (ours.home / "log").open("ab")
            server = world.subprocess.Popen([world.POSTHORN, "--config", ours.config, "serve"], stdin=world.subprocess.DEVNULL, stdout=log, stderr=log)
            rig.eventually(lambda: world.opens("127.0.0.1", 10024), 60)
            time.sleep(1.5)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        stop.set()
        sender.join()
    with ours.serving():
        rig.run("postqueue", "-c", theirs.etc, "-f")
        with rig.step("nothing is lost"):
            def missing():
                there = b"".join(file.read_bytes()[:4000] for file in theirs.mail.glob("all/new/*"))
                return [subject for subject in sent if f"Subject: {subject}".encode() not in there]

            rig.eventually(lambda: not missing() or (rig.run("postqueue", "-c", theirs.etc, "-f") and False) or time.sleep(1), 120)
            print(len(sent), "messages")
        with rig.step("what came twice was with the next hop when we died, and no more than that"):
            copies = {subject: sum(f"Subject: {subject}".encode() in file.read_bytes()[:4000] for file in theirs.mail.glob("all/new/*")) for subject in sent}
            print(sorted(copies.values())[-5:])
            # Each time, each of the connections may have had one of which we had not told yet.
            assert max(copies.values()) <= 4 and sum(copies.values()) <= len(sent) + 3 * 20, copies
