"""swaks submits by 587; what comes back is read; and every command of `posthorn queue` is used once."""
# needs: namespaces ip openssl swaks perl:Net::SSLeay postfix

import json

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, FAR, AWAY = (world.address(last) for last in (10, 20, 21))
names.put("sender.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("far.example", f"@ MX 10 mx\nmx A {FAR}\n")
names.put("nomail.example", "@ MX 0 .\n")
maps = world.place("maps")
(maps / "access").write_text(
    "nobody@far.example 550 5.1.1 <nobody@far.example>: Recipient address rejected: User unknown in virtual mailbox table\n"
    "full@far.example 452 4.2.2 mailbox full\n"
)
restrictions = f"reject_unauth_destination check_recipient_access texthash:{maps}/access"
far = world.Postfix("mx.far.example", FAR, ["far.example"], smtpd_recipient_restrictions=restrictions)
away = world.Postfix("mx.away.example", AWAY, ["far.example"])
ours = world.Posthorn("mail.sender.example", HERE, names, (*authority.issue("mail.sender.example"), authority.file))


def swaks(to, subject, *arguments):
    # fmt: off
    return rig.run("swaks", "--server", HERE, "--port", "587", "--tls", "--tls-verify", "--tls-ca-path", authority.file, "--helo", "client.example",
                   "--auth", "PLAIN", "--auth-user", "ann@sender.example", "--auth-password", world.PASSWORD, "--auth-hide-password",
                   "--from", "ann@sender.example", "--to", to, "--header", f"Subject: {subject}", "--body", "Hello from swaks.\n", *arguments)
    # fmt: on


def queued(*conditions):
    return {one["recipient"].split("@")[0]: one for one in ours.queue(*conditions)}


with names.serving(), far.serving(), away.serving(), ours.serving():
    ours.people("ann@sender.example")

    with rig.step("swaks, 587, AUTH: out to another host"):
        swaks("bob@far.example", "from swaks")
        ours.traced("bob@far.example", "delivered")
        (octets,) = far.received(b"Subject: from swaks")
        assert b"Hello from swaks." in octets and b"with ESMTPSA" in octets, octets

    with rig.step("a hard bounce is in the INBOX, in plain words, and its class in the trace"):
        swaks("nobody@far.example", "to nobody")
        (failed,) = ours.traced("nobody@far.example", "failed")
        assert failed["class"] == "10 Invalid Recipient", failed
        report = ours.report("ann@sender.example", b"Subject: to nobody")
        print(report.decode())
        assert b"Return-Path: <>" in report and b"Auto-Submitted: auto-replied" in report and b"multipart/report" in report
        assert b"There is no such mailbox" in report and b"Status: 5.1.1" in report and b"Remote-MTA: dns; mx.far.example" in report
        assert "10 Invalid Recipient" in ours.ask("queue", "classify", failed["reply"])

    with rig.step("what does not exist is remembered, and refused at once"):
        text = rig.run(
            "swaks", "--server", HERE, "--port", "465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", "ann@sender.example", "--auth-password",
            world.PASSWORD, "--from", "ann@sender.example", "--to", "nobody@far.example", status=24,
        )  # fmt: skip
        assert "550 5.1.1 nobody@far.example refused mail" in text, text
        assert "nobody@far.example" in ours.ask("suppression", "list")
        ours.ask("suppression", "remove", "nobody@far.example")

    with rig.step("a domain that takes no mail"):
        swaks("bob@nomail.example", "null MX")
        (failed,) = ours.traced("bob@nomail.example", "failed")
        assert failed["reply"].startswith("556 5.1.10"), failed
        ours.report("ann@sender.example", b"Subject: null MX")

    with rig.step("suspend: mail waits"):
        assert ours.json("queue", "suspend", "--domain", "far.example", "--note", "by hand")["suspended"] == "domain far.example"
        assert "far.example" in ours.ask("queue", "suspensions")
        rig.eventually(lambda: 'operators suspended or resumed mail suspended=["domain far.example"]' in ours.log(), 3)
        for number, name in enumerate(["kept", "lost", "moved", "first", "second"]):
            swaks(f"{name}@far.example", f"waits {number}")
        rig.eventually(lambda: len(ours.queue()) == 5)
        assert len(far.received(b"")) == 1, "only the first one is there"
        print(json.dumps(ours.queue()[0], indent=1))

    with rig.step("list and show"):
        text = ours.ask("queue", "list", "--domain", "far.example")
        assert all(name in text for name in ("kept@", "lost@", "moved@", "first@", "second@")), text
        assert text.count("domain far.example suspended: by hand") == 5, text
        ids = {name: one["queue_id"] for name, one in queued().items()}
        text = ours.ask("queue", "show", ids["kept"])
        assert "kept@far.example" in text and "ann@sender.example" in text, text
        assert isinstance(ours.json("queue", "show", ids["kept"]), dict)
        assert set(queued("--recipient", "lost@far.example")) == {"lost"}
        assert set(queued("--header", "subject:waits 2")) == {"moved"}
        assert set(queued("--sender", "@sender.example")) == set(ids) and not queued("--sender", "@elsewhere.example")
        assert set(queued("--newer-than", "1h")) == set(ids) and not queued("--older-than", "1h")
        assert "5" in ours.ask("queue", "list", "--count")

    with rig.step("everything is there for programs, too"):
        assert all(key in ours.queue()[0] for key in ("queue_id", "delivery", "sender", "recipient", "state", "due_at", "attempts"))
        assert "far.example" in json.dumps(ours.json("queue", "suspensions"))
        assert "Invalid Recipient" in json.dumps(ours.json("queue", "classify", "550 5.1.1 user unknown"))
        for order in (["hold"], ["release"], ["retry"], ["fail"], ["reroute", "--to", "mx"]):
            # What would be done is said, and not done.
            assert isinstance(ours.json("queue", *order, "--all", "--dry-run"), dict)
        assert len(queued("--state", "new")) == 5
        assert ours.json("trace", "--to", "bob@far.example")[0]["entries"][-1]["what"] == "delivered"

    with rig.step("hold, first in thought"):
        text = ours.ask("queue", "hold", "--recipient", "kept@far.example", "--dry-run")
        assert "1" in text and "kept@far.example" in text and queued()["kept"]["state"] != "held", text
        ours.json("queue", "hold", "--recipient", "kept@far.example", "--note", "wait for the lawyer")
        kept = queued()["kept"]
        assert kept["state"] == "held" and kept["note"] == "wait for the lawyer", kept

    with rig.step("fail: the sender is told why"):
        ours.ask("queue", "fail", "--id", ids["lost"], "--reason", "no such business partner any more")
        report = ours.report("ann@sender.example", b"Subject: waits 1")
        print(report.decode())
        assert b"no such business partner any more" in report, report
        assert "lost" not in queued()

    with rig.step("reroute: another host takes it"):
        ours.ask("queue", "reroute", "--id", ids["moved"], "--to", f"smtp://{AWAY}:25")
        assert queued()["moved"]["route"] == f"smtp://{AWAY}:25"

    with rig.step("resume: everything but what is held leaves"):
        ours.ask("queue", "resume", "--domain", "far.example")
        for name in ("first", "second"):
            ours.traced(f"{name}@far.example", "delivered")
        ours.traced("moved@far.example", "delivered")
        away.received(b"Subject: waits 2")
        assert not [one for one in far.received(b"Subject: waits") if b"waits 2" in one]
        assert set(queued()) == {"kept"}

    with rig.step("release: its domain was resumed meanwhile, so it goes at once"):
        ours.ask("queue", "release", "--all")
        ours.traced("kept@far.example", "delivered")

    with rig.step("retry: at once instead of in twenty minutes"):
        swaks("full@far.example", "try again")
        (deferred,) = ours.traced("full@far.example", "deferred")
        assert deferred["class"] == "22 Mailbox Full", deferred
        assert set(queued("--state", "deferred", "--error", "mailbox full")) == {"full"}
        (maps / "access").write_text("\n")
        rig.run("postfix", "-c", far.etc, "reload")
        # Postfix has what it read of the file until the connection, which is used again, ends.
        rig.eventually(lambda: far.log().count("]: connect from unknown") == far.log().count("]: disconnect from unknown"))
        ours.ask("queue", "retry", "--error", "mailbox full")
        (delivered,) = ours.traced("full@far.example", "delivered")
        assert delivered["attempt"] == 2, delivered
        assert ours.queue() == []

    with rig.step("orders without a condition, or for nothing, are not obeyed"):
        ours.ask("queue", "hold", status=2)
        assert "0" in ours.ask("queue", "retry", "--recipient", "nobody@nowhere.example")
        ours.ask("queue", "show", "1234567", status=1)
