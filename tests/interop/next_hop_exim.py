"""Exim as the next hop: several recipients of whom some are refused, one report about these, and a retry for one alone."""
# needs: namespaces ip openssl exim4

import re

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, THERE = world.address(10), world.address(30)
names.put("sender.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("exim.example", f"@ MX 10 mx\nmx A {THERE}\n")
exim = world.Exim("mx.exim.example", THERE, "exim.example", authority.issue("mx.exim.example"))
ours = world.Posthorn(
    "mail.sender.example", HERE, names, (*authority.issue("mail.sender.example"), authority.file),
    '[queue]\nretry_first = "1 h"\n\n[[delivery.domain]]\nname = "exim.example"\ntls = "verified"\n\n',
)  # fmt: skip

with names.serving(), exim.serving(), ours.serving():
    ours.people("ann@sender.example")

    with rig.step("delivered with a verified certificate"):
        ours.submit("ann@sender.example", ["bob@exim.example"], rig.message("hello Exim", "Grüße\r\n.\r\n..\r\n".encode(), From="ann@sender.example"))
        (delivered,) = ours.traced("bob@exim.example", "delivered")
        assert re.match(r"250 OK id=", delivered["reply"]), delivered
        assert re.fullmatch(r"TLSv1\.3 \S+ verified", delivered["tls"]), delivered
        (octets,) = exim.received(b"Subject: hello Exim")
        assert octets.endswith("\r\n\r\nGrüße\r\n.\r\n..\r\n".encode()), octets
        assert b"Return-path: <ann@sender.example>" in octets and b"with esmtps" in octets, octets

    with rig.step("of five recipients two are refused and one is put off: the others have it, in one transaction"):
        everybody = [f"{name}@exim.example" for name in ("carl", "nobody", "dora", "full", "emil")]
        ours.submit("ann@sender.example", everybody, rig.message("to five", b"Hello\r\n", From="ann@sender.example"))
        for one in ("carl", "dora", "emil"):
            ours.traced(f"{one}@exim.example", "delivered")
        (octets,) = exim.received(b"Subject: to five")
        assert all(one.encode() in octets for one in ("carl", "dora", "emil")), "one copy for all three"
        entries = ours.trace("full@exim.example")
        outcome = {detail["recipient"].split("@")[0]: (kind, detail["reply"]) for kind, detail in entries if kind in ("delivered", "failed", "deferred")}
        assert {name: kind for name, (kind, _) in outcome.items()} == {"carl": "delivered", "dora": "delivered", "emil": "delivered", "nobody": "failed", "full": "deferred"}, outcome
        assert outcome["nobody"][1].startswith("550 5.1.1 there is nobody of that name"), outcome
        assert outcome["full"][1].startswith("451 4.2.2 the mailbox is full"), outcome
        (waits,) = ours.queue()
        assert waits["recipient"] == "full@exim.example" and waits["state"] == "deferred", waits

    with rig.step("one report, about the one that was refused"):
        report = ours.report("ann@sender.example", b"Subject: to five")
        print(report.decode(errors="replace"))
        assert report.count(b"Final-Recipient:") == 1 and b"nobody@exim.example" in report
        assert b"Action: failed" in report and b"Status: 5.1.1" in report and b"Return-Path: <>" in report
        assert not any(f"{name}@exim.example".encode() in re.search(rb"(?s)Content-Type: message/delivery-status.*?\r\n--", report)[0] for name in ("carl", "dora", "full", "emil"))

    with rig.step("parameters are passed on to Exim too"):
        ours.submit(
            "ann@sender.example", ["fred@exim.example"], rig.message("with parameters", From="ann@sender.example"),
            options=["RET=HDRS", "ENVID=exim-1"], recipient_options=["NOTIFY=SUCCESS", "ORCPT=rfc822;fred@elsewhere.example"],
        )  # fmt: skip
        report = ours.report("ann@sender.example", b"Reporting-MTA: dns; mx.exim.example")
        print(report.decode(errors="replace"))
        assert b"exim-1" in report and b"Action: delivered" in report, report
        assert b"Original-Recipient: rfc822;fred@elsewhere.example" in report, report
        assert len(ours.inbox("ann@sender.example")) == 2

    with rig.step("connections end as they should"):
        def opened_and_closed():
            log = exim.log()
            return (log.count("SMTP connection from [192.0.2.10]"), len(re.findall(r"SMTP connection from .*192\.0\.2\.10\].* closed by QUIT", log)))

        rig.eventually(lambda: (lambda opened, closed: opened == closed)(*opened_and_closed()))
        assert "non-properly" not in exim.log() and "SMTP protocol" not in exim.log(), exim.log()
        assert 1 <= opened_and_closed()[0] <= 3, exim.log()
