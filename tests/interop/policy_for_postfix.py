"""Postfix asks our policy port: at each stage, and each action is seen in Postfix; greylisting, throttling, DNS lists."""
# needs: namespaces ip openssl postfix

import re
import smtplib
import time

import rig
import world

world.enter()

names = world.Names()
HERE, THEIRS = world.address(10), world.address(20)
CLIENTS = {stage: world.address(last) for last, stage in enumerate(("connect", "helo", "good", "listed", "spf", "stranger"), 71)}
names.put("rules.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
names.put("else.example", "@ A 192.0.2.99\n")
names.put("sender.example", f'@ A {CLIENTS["spf"]}\n@ TXT "v=spf1 ip4:{CLIENTS["spf"]} -all"\n')
names.put("list.example", f'{".".join(reversed(CLIENTS["listed"].split(".")))} A 127.0.0.2\n')

# What a recipient's name asks for.
ACTIONS = {
    "ok": "OK",
    "dunno": "DUNNO",
    "reject": "REJECT not to this one",
    "code": "554 5.7.9 by a code of its own",
    "later": "450 4.7.8 later by a code",
    "defer": "DEFER come back",
    "if-reject": "DEFER_IF_REJECT perhaps later",
    "if-permit": "DEFER_IF_PERMIT perhaps now",
    "bcc": "BCC copy@there.example",
    "discard": "DISCARD nobody wants it",
    "filter": "FILTER discard:through-a-filter",
    "hold": "HOLD somebody looks at it",
    "prepend": "PREPEND X-Rule: prepended by a rule",
    "redirect": "REDIRECT other@there.example",
    "info": "INFO only told",
    "warn": "WARN only warned of",
}
RULES = "".join(f'[[policy.rule]]\nname = "{name}"\ndestination = ["{name}@there.example"]\naction = "{action}"\n\n' for name, action in ACTIONS.items())
RULES += "".join(
    f'[[policy.rule]]\nname = "at-{stage}"\nsource = ["{source}"]\nstage = "{stage}"\n{more}action = "554 5.7.1 refused at {stage}"\n\n'
    for stage, source, more in (
        ("connect", CLIENTS["connect"], ""),
        ("helo", CLIENTS["helo"], ""),
        ("mail", "mail@sender.example", ""),
        ("data", "data@sender.example", ""),
        ("end-of-message", "end@sender.example", 'larger = "100 KiB"\n'),
    )
)

ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[[listener]]\nname = "policy"\nspeaks = "policy"\nlisten = ["127.0.0.1:7777", "127.0.0.1:10031"]\n\n'
    '[policy.greylist]\ndelay = "2 s"\n\n'
    '[[policy.dns_list]]\nzone = "list.example"\n\n'
    '[[policy.throttle.limit]]\nkind = "external"\nwho = "busy@sender.example"\nperiod = "1 h"\nmessages = 3\n\n' + RULES,
)  # fmt: skip
ask = "check_policy_service inet:127.0.0.1:7777"
theirs = world.Postfix(
    "mx.there.example", THEIRS, ["there.example"], smtpd_delay_reject="no", smtpd_client_restrictions=ask, smtpd_helo_restrictions=ask,
    smtpd_sender_restrictions=ask, smtpd_recipient_restrictions=f"reject_unauth_destination {ask}",
    smtpd_data_restrictions=ask, smtpd_end_of_data_restrictions="check_policy_service inet:127.0.0.1:10031",
)  # fmt: skip


def send(recipient, subject="a message", sender="ann@sender.example", client="spf", size=0):
    """What Postfix said: the code and the words of the first refusal, or of the acceptance."""
    body = b"Hello.\r\n" + b"x" * 70 + b"\r\n" * (size > 0)
    octets = rig.message(subject, body + (b"y" * 70 + b"\r\n") * (size // 72), From=sender, To=recipient)
    smtp = smtplib.SMTP(timeout=60, source_address=(CLIENTS[client], 0), local_hostname="client.example")
    said = []
    try:
        said.append(smtp.connect(THEIRS, 25))
        for step in (smtp.ehlo, lambda: smtp.mail(sender), lambda: smtp.rcpt(recipient), lambda: smtp.data(octets)):
            if said[-1][0] < 400:
                said.append(step())
    except smtplib.SMTPServerDisconnected:
        pass
    except smtplib.SMTPDataError as error:
        said.append((error.smtp_code, error.smtp_error))
    finally:
        smtp.close()
    code, words = said[-1]
    return code, words.decode(), len(said)


def queued():
    """What waits in Postfix: (name, whether held, recipients)."""
    rows = rig.run("postqueue", "-c", theirs.etc, "-j").splitlines()
    import json

    return [json.loads(row) for row in rows]


with names.serving(), ours.serving(), theirs.serving():
    with rig.step("each stage"):
        # Greeting, EHLO, MAIL, RCPT, DATA: how many steps Postfix took.
        for client, sender, stage, steps, size in (
            ("connect", "ann@sender.example", "connect", 1, 0),
            ("helo", "ann@sender.example", "helo", 2, 0),
            ("spf", "mail@sender.example", "mail", 3, 0),
            ("spf", "data@sender.example", "data", 5, 0),
            ("spf", "end@sender.example", "end-of-message", 5, 200_000),
        ):
            code, words, taken = send("plain@there.example", sender=sender, client=client, size=size)
            print(stage, code, words, taken)
            assert code == 554 and f"refused at {stage}" in words and taken == steps, (stage, code, words, taken)
        assert send("plain@there.example", "a small one", sender="end@sender.example")[0] == 250, "it is the size that is refused"

    with rig.step("refusals come as they are written"):
        for name, code, text in (
            ("reject", 554, "not to this one"),
            ("code", 554, "5.7.9 "),
            ("later", 450, "4.7.8 "),
            ("defer", 450, "come back"),
            ("if-permit", 450, "perhaps now"),
        ):
            found, words, _ = send(f"{name}@there.example")
            print(name, found, words)
            assert found == code and text in words, (name, found, words)
        assert send("if-reject@there.example")[0] == 250, "nothing else rejects it"

    with rig.step("what passes arrives, and what is told is told"):
        for name in ("ok", "dunno", "info", "warn"):
            assert send(f"{name}@there.example", f"for {name}")[0] == 250
            theirs.received(f"Subject: for {name}".encode())
        rig.eventually(lambda: "only told" in theirs.log() and "only warned of" in theirs.log())

    with rig.step("OK gives nobody the right to relay"):
        code, words, _ = send("ok@else.example")
        assert code == 554 and "Relay access denied" in words, (code, words)

    with rig.step("PREPEND, BCC, REDIRECT, DISCARD, FILTER"):
        for name in ("prepend", "bcc", "redirect", "discard", "filter"):
            assert send(f"{name}@there.example", f"for {name}")[0] == 250, name
        (octets,) = theirs.received(b"Subject: for prepend")
        assert b"X-Rule: prepended by a rule\r\n" in octets
        copies = theirs.received(b"Subject: for bcc", count=2)
        assert {re.search(rb"Delivered-To: (\S+)", octets)[1] for octets in copies} == {b"bcc@there.example", b"copy@there.example"}
        (octets,) = theirs.received(b"Subject: for redirect")
        assert b"Delivered-To: other@there.example" in octets
        rig.eventually(lambda: re.search(r"postfix/discard\[.*through-a-filter", theirs.log()))
        rig.eventually(lambda: "triggers DISCARD action" in theirs.log() or "nobody wants it" in theirs.log())
        time.sleep(0.5)
        assert not any(b"for discard" in file.read_bytes() for file in theirs.mail.glob("all/new/*"))

    with rig.step("HOLD"):
        assert send("hold@there.example", "for hold")[0] == 250
        (held,) = rig.eventually(lambda: [row for row in queued() if row["queue_name"] == "hold"])
        assert [one["address"] for one in held["recipients"]] == ["hold@there.example"], held
        text = rig.run("postcat", "-c", theirs.etc, "-q", held["queue_id"])
        assert "Subject: for hold" in text, text
        rig.run("postsuper", "-c", theirs.etc, "-H", held["queue_id"])
        rig.run("postqueue", "-c", theirs.etc, "-f")
        theirs.received(b"Subject: for hold")

    with rig.step("a DNS list"):
        code, words, _ = send("plain@there.example", client="listed")
        assert code >= 500 and "list.example" in words, (code, words)

    with rig.step("three messages an hour"):
        said = [send("plain@there.example", f"busy {number}", sender="busy@sender.example") for number in range(4)]
        print(said)
        assert [code for code, *_ in said[:3]] == [250] * 3 and said[3][0] >= 500, said

    with rig.step("a greylist: now, later, and whom it spares"):
        ours.ask("policy", "greylist", "enable", "--to", "there.example")
        wait = {"sender": "new@else.example", "client": "stranger"}
        first = rig.eventually(lambda: (said := send("grey@there.example", **wait))[0] != 250 and said)
        assert first[0] in (450, 451), first
        assert send("plain@there.example", "by SPF", client="spf")[0] == 250, "its SPF record names the client"
        assert send("grey@there.example", **wait)[0] in (450, 451), "too early"
        rig.eventually(lambda: "grey@there.example" in ours.ask("policy", "greylist", "held"))
        time.sleep(2.2)
        assert send("grey@there.example", "came back", **wait)[0] == 250
        assert send("other@there.example", "trusted", **wait)[0] == 250, "the client came back once"
        theirs.received(b"Subject: came back")

    with rig.step("why"):
        text = ours.ask("policy", "why", "--to", "reject@there.example")
        assert "not to this one" in text, text

    with rig.step("Postfix never lost its policy server"):
        bad = re.findall(r".*(?:warning: problem talking to server|warning: access|warning: unknown smtpd).*", theirs.log())
        assert not bad, bad

    with rig.step("the port stays up, whatever is said to it"):
        import socket

        for nonsense in (b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"request=smtpd_access_policy\n\n", b"a=" + b"x" * 2_000_000):
            with socket.create_connection(("127.0.0.1", 7777), timeout=20) as one:
                try:
                    one.sendall(nonsense)
                    one.shutdown(socket.SHUT_WR)
                    assert one.recv(100) == b""
                except (BrokenPipeError, ConnectionResetError):
                    pass
        assert send("plain@there.example", "still there")[0] == 250
