"""Postfix as the next hop: in the clear and by TLS, behind a greylist (postgrey), and with what a sender asked about reports."""
# needs: namespaces ip openssl postfix postgrey

import os
import pwd
import re

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, PLAIN, SECURE, GREY = (world.address(last) for last in (10, 20, 21, 22))
names.put("sender.example", f"@ MX 10 mail\nmail A {HERE}\n")
for zone, where in (("plain.example", PLAIN), ("secure.example", SECURE), ("grey.example", GREY)):
    names.put(zone, f"@ MX 10 mx\nmx A {where}\n")

chain, key = authority.issue("mx.secure.example")
plain = world.Postfix("mx.plain.example", PLAIN, ["plain.example"], smtpd_tls_security_level="none")
secure = world.Postfix(
    "mx.secure.example", SECURE, ["secure.example"], smtpd_tls_security_level="may", smtpd_tls_cert_file=chain, smtpd_tls_key_file=key,
    smtpd_tls_received_header="yes",
)  # fmt: skip
grey = world.Postfix(
    "mx.grey.example", GREY, ["grey.example"], smtpd_recipient_restrictions="reject_unauth_destination check_policy_service inet:127.0.0.1:10023",
)  # fmt: skip
ours = world.Posthorn(
    "mail.sender.example", HERE, names, authority.issue("mail.sender.example"),
    '[queue]\nretry_first = "4 s"\nretry_factor = 1.0\nretry_jitter = 0.0\n\n'
    # What is built in waits longer than this test does.
    '[[delivery_rule]]\nname = "grey"\nwhen = "Greylisted"\ncode = "450"\naction = "greylisted"\nvalue = 4\nfor = "1 h"\n',
)  # fmt: skip


def send(recipients, subject, **more):
    ours.submit("ann@sender.example", recipients, rig.message(subject, b"Hello\r\n..dotted\r\n", From="ann@sender.example"), **more)


with names.serving(), plain.serving(), secure.serving(), ours.serving():
    ours.people("ann@sender.example")

    with rig.step("without TLS"):
        send(["bob@plain.example"], "in the clear")
        (delivered,) = ours.traced("bob@plain.example", "delivered")
        assert delivered["tls"] == "none", delivered
        assert re.match(r"250 2\.0\.0 Ok: queued as ", delivered["reply"]), delivered
        assert delivered["peer"] == f"{PLAIN}:25" and delivered["from"] == HERE and delivered["host"] == "mx.plain.example", delivered
        (octets,) = plain.received(b"Subject: in the clear")
        assert octets.endswith(b"\r\n\r\nHello\r\n..dotted\r\n"), octets
        assert b"Return-Path: <ann@sender.example>" in octets

    with rig.step("by STARTTLS, unasked"):
        send(["bob@secure.example"], "by TLS")
        (delivered,) = ours.traced("bob@secure.example", "delivered")
        assert re.match(r"TLS ?v?1\.3\b", delivered["tls"]), delivered
        (octets,) = secure.received(b"Subject: by TLS")
        assert re.search(rb"\(using TLSv1\.3 with cipher ", octets) and b"with ESMTPS id" in octets, octets

    with rig.step("what the sender asked of reports is passed on"):
        send(
            ["carl@plain.example"], "with parameters", options=["RET=HDRS", "ENVID=QQ+2B314159"],
            recipient_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;carl+2Bx@elsewhere.example"],
        )  # fmt: skip
        ours.traced("carl@plain.example", "delivered")
        # Postfix says so itself: it delivers, and reports it to the sender with what it was given.
        report = ours.report("ann@sender.example", b"Original-Envelope-Id")
        print(report.decode(errors="replace"))
        assert b"Original-Envelope-Id: QQ+314159\r\n" in report
        assert b"Original-Recipient: rfc822;carl+x@elsewhere.example\r\n" in report
        assert b"Action: delivered" in report and b"\r\nStatus: 2." in report

    with rig.step("ten messages, one after the other, in few connections"):
        for number in range(10):
            send(["bob@secure.example"], f"row {number} of ten")
        secure.received(b" of ten", count=10)
        assert secure.log().count("]: connect from") <= 4, secure.log()
        assert not re.search(r"lost connection after (?!CONNECT)|improper|warning", secure.log()), secure.log()

    with rig.step("a greylist: first refused, later taken"):
        db = world.place("postgrey")
        os.chown(db, pwd.getpwnam("postgrey").pw_uid, -1)
        world.background(
            "postgrey", "--inet=127.0.0.1:10023", "--delay=3", f"--dbdir={db}", "--user=postgrey", "--group=nogroup", "--syslog-facility=mail",
            ready=lambda: world.opens("127.0.0.1", 10023),
        )  # fmt: skip
        with grey.serving():
            send(["bob@grey.example"], "greylisted at first")
            (deferred,) = ours.traced("bob@grey.example", "deferred")
            assert re.match(r"450 4\.2\.0 .*Greylisted", deferred["reply"]), deferred
            assert deferred["attempt"] == 1
            (delivered,) = ours.traced("bob@grey.example", "delivered", seconds=60)
            assert delivered["attempt"] == 2 and delivered["reply"].startswith("250 2.0.0"), delivered
            kinds = [kind for kind, _ in ours.trace("bob@grey.example") if kind in ("deferred", "delivered", "failed")]
            assert kinds == ["deferred", "delivered"], kinds
            assert len(grey.received(b"Subject: greylisted at first")) == 1
            assert ours.queue() == []
