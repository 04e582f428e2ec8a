"""Mail that is sent on: SPF passes (asked by Postfix of pyspf), DKIM and ARC verify (dkimpy), bounces find the first sender."""
# needs: namespaces ip openssl postfix python:dkim python:authres python:dns python:spf

import base64
import re
import smtplib
import socketserver
import subprocess
import threading

import dkim
import spf

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, ORIGIN, RECEIVER, LIAR = (world.address(last) for last in (10, 30, 20, 66))

rsa = rig.folder("key") / "rsa.pem"
subprocess.run(["openssl", "genrsa", "-traditional", "-out", rsa, "2048"], check=True, stderr=subprocess.DEVNULL)
public = subprocess.run(["openssl", "rsa", "-in", rsa, "-pubout", "-outform", "DER"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
p = base64.b64encode(public).decode()
names.put("origin.example", f'@ MX 10 mx\nmx A {ORIGIN}\n@ TXT "v=spf1 ip4:{ORIGIN} -all"\none._domainkey TXT "v=DKIM1; k=rsa; " "p={p[:200]}" "{p[200:]}"\n')
names.put("receiver.example", f"@ MX 10 mx\nmx A {RECEIVER}\n")
RECORDS = f'@ MX 10 mail\nmail A {HERE}\nmail TXT "v=spf1 a -all"\n@ TXT "v=spf1 mx -all"\n'
names.put("forwarder.example", RECORDS)


class Asked(socketserver.StreamRequestHandler):
    """Postfix's policy protocol, answered by pyspf."""

    def handle(self):
        while True:
            said = {}
            while line := self.rfile.readline().decode().rstrip("\n"):
                name, _, said[name] = line.partition("=")
            if not said:
                return
            result, explanation = spf.check2(i=said["client_address"], s=said["sender"], h=said["helo_name"])
            verdicts.append((result, said["sender"], said["client_address"]))
            print("SPF", verdicts[-1], explanation, flush=True)
            self.wfile.write(b"action=550 5.7.23 SPF says no\n\n" if result in ("fail", "permerror") else b"action=DUNNO\n\n")


verdicts = []
server = socketserver.ThreadingTCPServer(("127.0.0.1", 10024), Asked)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()

# `gone@` is taken and then has nowhere to go; `refused@` is refused at once.
maps = world.place("maps")
(maps / "alias").write_text("gone@receiver.example nobody@nowhere.example\n")
(maps / "access").write_text("refused@receiver.example 550 5.2.1 mailbox disabled\n")
origin = world.Postfix("mx.origin.example", ORIGIN, ["origin.example"])
receiver = world.Postfix(
    "mx.receiver.example", RECEIVER, ["receiver.example"], virtual_alias_maps=f"texthash:{maps}/alias",
    smtpd_recipient_restrictions=f"reject_unauth_destination check_recipient_access texthash:{maps}/access check_policy_service inet:127.0.0.1:10024",
)  # fmt: skip
ours = world.Posthorn("mail.forwarder.example", HERE, names, authority.issue("mail.forwarder.example"))


def arrive(recipient, subject, source=ORIGIN, body="Grüße\r\n.\r\n".encode(), to=None, sender="ann@origin.example", seal=False):
    """A signed message of origin.example comes from an address."""
    fields = {"MIME_Version": "1.0", "Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "8bit"}
    octets = rig.message(subject, body, **{"From": "Ann <ann@origin.example>", "To": recipient, **fields})
    octets = dkim.sign(octets, b"one", b"origin.example", rsa.read_bytes()) + octets
    if seal:
        octets = b"Authentication-Results: mx.origin.example; dkim=pass header.d=origin.example\r\n" + octets
        octets = b"".join(dkim.arc_sign(octets, b"one", b"origin.example", rsa.read_bytes(), b"mx.origin.example")) + octets
    with smtplib.SMTP(to or HERE, 25, local_hostname="mx.origin.example", source_address=(source, 0), timeout=30) as smtp:
        smtp.sendmail(sender, [recipient], octets, ["BODY=8BITMIME"])


with names.serving(), origin.serving(), receiver.serving(), ours.serving():
    ours.people("local@forwarder.example")
    ours.ask("alias", "add", "bob@forwarder.example", "bob@receiver.example")
    ours.ask("alias", "add", "both@forwarder.example", "both@receiver.example", "local@forwarder.example")
    ours.ask("alias", "add", "gone@forwarder.example", "gone@receiver.example")
    ours.ask("alias", "add", "refused@forwarder.example", "refused@receiver.example")
    ours.ask("dkim", "create", "forwarder.example")
    names.put("forwarder.example", RECORDS + ours.ask("dkim", "dns", "forwarder.example"))

    with rig.step("the receiver does look at SPF"):
        try:
            arrive("bob@receiver.example", "a lie", source=LIAR, to=RECEIVER)
        except smtplib.SMTPRecipientsRefused as refused:
            assert b"SPF says no" in str(refused).encode(), refused
        else:
            raise AssertionError("taken from anywhere")
        assert verdicts[-1][0] == "fail"

    with rig.step("sent on: SPF passes for our rewritten sender, DKIM and ARC verify"):
        arrive("bob@forwarder.example", "sent on")
        ours.traced("bob@receiver.example", "delivered")
        (octets,) = receiver.received(b"Subject: sent on")
        print(octets.decode())
        result, sender, client = verdicts[-1]
        assert result == "pass" and client == HERE and re.fullmatch(r"SRS0=[^=]+=[^=]+=origin\.example=ann@mail\.forwarder\.example", sender), verdicts
        checker = dkim.DKIM(octets)
        domains = [re.search(rb"\bd=([^;]+);", one)[1] for one in re.findall(rb"(?ms)^DKIM-Signature:.*?(?=^\S)", octets)]
        assert b"origin.example" in domains and checker.verify(idx=domains.index(b"origin.example")), domains
        state, results, reason = dkim.arc_verify(octets)
        print("ARC", state, reason, results)
        assert state == b"pass", reason
        assert results[0]["as-domain"] == b"forwarder.example", results
        text = rig.run("arcverify", stdin=octets)
        assert "cv=b'pass' success" in text, text

        assert b"Authentication-Results: mail.forwarder.example;" in octets, octets
        found = octets.partition(b"ARC-Authentication-Results: i=1; mail.forwarder.example;")[2].partition(b"\r\nDelivered-To")[0]
        for result in (b"spf=pass smtp.mailfrom=origin.example", b"dkim=pass header.d=origin.example", b"arc=none", b"dmarc=none"):
            assert result in found, found

    with rig.step("a chain that was there goes on, and holds as dkimpy sees it"):
        arrive("bob@forwarder.example", "sealed before", seal=True)
        (octets,) = receiver.received(b"Subject: sealed before")
        state, results, reason = dkim.arc_verify(octets)
        print("ARC", state, reason, results)
        assert state == b"pass", reason
        sealed = [(one["instance"], one["as-domain"], one["cv"]) for one in sorted(results, key=lambda one: one["instance"])]
        assert sealed == [(1, b"origin.example", b"none"), (2, b"forwarder.example", b"pass")], sealed
        assert dkim.verify(octets)

    with rig.step("an alias with one here and one there: the copy here is as it came"):
        arrive("both@forwarder.example", "for both")
        ours.traced("both@receiver.example", "delivered")
        (there,) = receiver.received(b"Subject: for both")
        assert dkim.arc_verify(there)[0] == b"pass" and dkim.verify(there)
        (here,) = rig.eventually(lambda: ours.inbox("local@forwarder.example"))
        assert dkim.verify(here) and b"Return-Path: <ann@origin.example>" in here and b"ARC-Seal" not in here, here

    with rig.step("a bounce of the receiver's finds the first sender"):
        arrive("gone@forwarder.example", "to one who is gone")
        ours.traced("gone@receiver.example", "delivered")
        (bounce,) = origin.received(b"to one who is gone")
        print(bounce.decode())
        assert b"Return-Path: <>" in bounce and b"Undelivered Mail Returned to Sender" in bounce and b"Delivered-To: ann@origin.example" in bounce, bounce
        assert b"Reporting-MTA: dns; mx.receiver.example" in bounce

    with rig.step("a refusal is reported to the first sender by us"):
        arrive("refused@forwarder.example", "to one who refuses")
        (failed,) = ours.traced("refused@receiver.example", "failed")
        assert failed["reply"].startswith("550 5.2.1"), failed
        (report,) = origin.received(b"to one who refuses")
        print(report.decode())
        assert b"Return-Path: <>" in report and b"Reporting-MTA: dns; mail.forwarder.example" in report and b"Status: 5.2.1" in report

    with rig.step("nobody uses us for bounces to others"):
        def reply_to(recipient):
            with smtplib.SMTP(HERE, 25, source_address=(LIAR, 0), timeout=30) as smtp:
                smtp.ehlo("liar.example")
                assert smtp.mail("")[0] == 250
                return smtp.rcpt(recipient)

        code, text = reply_to("SRS0=AAAA=BB=origin.example=ann@mail.forwarder.example")
        assert code in (550, 553), (code, text)
        genuine = next(sender for result, sender, _ in verdicts if sender.startswith("SRS0="))
        assert reply_to(genuine)[0] == 250
        hash_part = genuine.split("=")[1]
        code, text = reply_to(genuine.replace("origin.example", "victim.example"))
        assert code in (550, 553), (code, text)

    with rig.step("a message without a sender stays without one"):
        arrive("bob@forwarder.example", "from nobody", sender="")
        (octets,) = receiver.received(b"Subject: from nobody")
        assert b"Return-Path: <>" in octets and dkim.arc_verify(octets)[0] == b"pass"
    assert ours.queue() == []
