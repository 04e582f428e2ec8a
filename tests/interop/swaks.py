"""swaks on every service: what is accepted, what is refused, and with which code."""
# needs: swaks perl:Net::SSLeay
# accounts: u6 u7

import re

import rig

USER = rig.user(6)
OTHER = rig.user(7)
TRUST = ["--tls-verify", "--tls-ca-path", rig.CAFILE]
SERVER = f"{rig.TLSNAME}"
OUTSIDE = "sender@elsewhere.example"
HEADERS = ["--header", "Subject: swaks", "--body", "Hello from swaks.\n.a dot\n"]
# What swaks exits with.
DONE, NO_HELLO, NO_SENDER, NO_RECIPIENT, NO_DATA, NO_AUTH, NO_TLS = 0, 22, 23, 24, 26, 28, 29


def swaks(port, *arguments, status=DONE, sees=(), misses=(), sender=OUTSIDE, to=OTHER):
    where = ["--server", rig.HOST, "--port", port, "--helo", "client.example", "--from", sender, "--to", to, "--timeout", "60"]
    text = rig.run("swaks", *where, *(HEADERS if "--data" not in arguments else []), *arguments, status=status)
    for part in [sees] if isinstance(sees, str) else sees:
        assert part in text, f"no {part!r}"
    for part in [misses] if isinstance(misses, str) else misses:
        assert part not in text, f"{part!r} is there"
    return text


def login(mechanism, password=rig.PASSWORD, user=USER):
    return ["--auth", mechanism, "--auth-user", user, "--auth-password", password, "--auth-hide-password"]


imap = rig.Imap(7)


def stored():
    return imap.status_of("INBOX", "MESSAGES")["MESSAGES"]


def last():
    imap.ok("select", "INBOX")
    return imap.octets(imap.uids()[-1])


with rig.step("port 25: plain, STARTTLS, pipelined"):
    before = stored()
    swaks(rig.SMTP_PORT, sees=["<-  250-STARTTLS", "<-  250 2.0.0"], misses=["250-AUTH"])
    swaks(rig.SMTP_PORT, "--tls", *TRUST, sees=["TLS started", "<~  250 2.0.0"], misses=["<~  250-STARTTLS"])
    swaks(rig.SMTP_PORT, "--pipeline")
    swaks(rig.SMTP_PORT, "--tls", "--pipeline", *TRUST)
    swaks(rig.SMTP_PORT, "--protocol", "SMTP")
    assert stored() == before + 5
    # swaks speaks HELO then, and TLS is noted in the Received field (RFC 3848).
    received = [re.search(rb"(?s)Received:.*?\swith (\w+)", imap.octets(uid))[1] for uid in (imap.ok("select", "INBOX"), imap.uids())[1][-5:]]
    assert received == [b"ESMTP", b"ESMTPS", b"ESMTP", b"ESMTPS", b"SMTP"], received
    assert b"Hello from swaks.\r\n.a dot\r\n" in last()

with rig.step("port 25: TLS from the first octet is not spoken there"):
    swaks(rig.SMTP_PORT, "--tls-on-connect", status=NO_TLS)

with rig.step("port 25: several recipients, null sender, postmaster"):
    before = stored()
    swaks(rig.SMTP_PORT, to=f"{USER},{OTHER}")
    swaks(rig.SMTP_PORT, sender="<>")
    assert b"Return-Path: <>" in last()
    swaks(rig.SMTP_PORT, to="postmaster@example.org")
    swaks(rig.SMTP_PORT, to="Postmaster")
    # Somebody who claims to be one of us has to log in.
    swaks(rig.SMTP_PORT, sender=USER, status=NO_RECIPIENT, sees=f"<** 550 5.7.1 log in to send as {USER}")
    assert stored() == before + 2

with rig.step("port 25: refusals"):
    swaks(rig.SMTP_PORT, to="nobody-here@example.org", status=NO_RECIPIENT, sees="<** 550 5.1.1")
    swaks(rig.SMTP_PORT, to="somebody@elsewhere.example", status=NO_RECIPIENT, sees="<** 550 5.7.1")
    swaks(rig.SMTP_PORT, sender=USER, to="somebody@elsewhere.example", status=NO_RECIPIENT, sees="<** 550 5.7.1")
    # One good recipient is enough.
    swaks(rig.SMTP_PORT, to=f"nobody-here@example.org,{OTHER}", sees=["<** 550 5.1.1", "<-  250 2.0.0"])
    swaks(rig.SMTP_PORT, *login("PLAIN"), status=NO_AUTH, misses=["235"])
    swaks(rig.SMTP_PORT, "--tls", *TRUST, *login("PLAIN"), status=NO_AUTH, misses=["235"])

with rig.step("port 25: larger than allowed"):
    limit = int(re.search(r"250-SIZE (\d+)", swaks(rig.SMTP_PORT, "--quit-after", "EHLO"))[1])
    # swaks announces no size by itself.
    session = rig.Lines(rig.SMTP_PORT)
    session.send(b"EHLO client.example\r\n" if session.line() else b"")
    while session.line()[3:4] == b"-":
        pass
    session.send(f"MAIL FROM:<{OUTSIDE}> SIZE={limit + 1}\r\n".encode())
    assert session.line().startswith(b"552 5.3.4 ")
    session.send(f"MAIL FROM:<{OUTSIDE}> SIZE={limit}\r\n".encode())
    assert session.line().startswith(b"250 2.1.0 ")
    session.close()
    big = rig.folder("swaks") / "big"
    big.write_bytes(b"Subject: too big\r\n\r\n" + (b"x" * 70 + b"\r\n") * (limit // 72 + 10))
    before = stored()
    text = swaks(rig.SMTP_PORT, "--data", f"@{big}", "--suppress-data", status=NO_DATA, sees="<** 552 5.3.4")
    assert stored() == before

with rig.step("XCLIENT from a peer that may"):
    # The client's address decides nothing about relaying here, but it is what the Received field says.
    swaks(rig.SMTP_PORT, "--xclient-addr", "203.0.113.9", "--xclient-name", "relay.elsewhere.example", "--xclient-helo", "restated.example", sees=["<-  220 "])
    received = re.sub(rb"\s+", b" ", last().split(b"\r\nby ")[0])[:400]
    assert b"203.0.113.9" in received, received
    swaks(rig.SMTP_PORT, "--xclient-addr", "IPV6:2001:db8::9", "--xclient-optional")
    assert b"2001:db8::9" in last()[:600]
    swaks(rig.SMTP_PORT, "--xclient", "ADDR=203.0.113.9 NAME=[UNAVAILABLE]", to="somebody@elsewhere.example", status=NO_RECIPIENT, sees="<** 550 5.7.1")

with rig.step("submission: PLAIN and LOGIN, STARTTLS and TLS from the start"):
    before = stored()
    for port, how in [(rig.SUBMISSION_PORT, "--tls"), (rig.SUBMISSIONS_PORT, "--tls-on-connect")]:
        for mechanism in ["PLAIN", "LOGIN"]:
            swaks(port, how, *TRUST, *login(mechanism), sender=USER, sees="<~  235 2.7.0")
            assert b"127.0.0.1" not in last(), "the client's address is nobody's business"
    # The demo's peers may log in without TLS.
    swaks(rig.SUBMISSION_PORT, *login("PLAIN"), sender=USER, sees="<-  235 2.7.0")
    swaks(rig.SUBMISSION_PORT, "--tls", "--pipeline", *TRUST, *login("PLAIN"), sender=USER)
    assert stored() == before + 6

with rig.step("submission: a message without Date and Message-ID gets them"):
    data = rig.folder("swaks") / "data"
    data.write_text(f"From: {USER}\nSubject: bare\n\nHello\n")
    swaks(rig.SUBMISSION_PORT, "--tls", *TRUST, *login("PLAIN"), "--data", f"@{data}", sender=USER)
    text = last()
    assert len(re.findall(rb"(?mi)^Date: ", text)) == 1 and len(re.findall(rb"(?mi)^Message-ID: <[^>]+@[^>]+>\r", text)) == 1, text

with rig.step("submission: refusals"):
    tls = ["--tls", *TRUST]
    swaks(rig.SUBMISSION_PORT, *tls, sender=USER, status=NO_SENDER, sees="<~* 530 5.7.0")
    swaks(rig.SUBMISSION_PORT, *tls, *login("CRAM-MD5"), sender=USER, status=NO_AUTH, misses=["235"])
    swaks(rig.SUBMISSION_PORT, *tls, "--local-interface", "127.0.6.1", *login("PLAIN", "wrong"), sender=USER, status=NO_AUTH, sees="<~* 535 5.7.8")
    swaks(rig.SUBMISSION_PORT, *tls, "--local-interface", "127.0.6.2", *login("LOGIN", "wrong"), sender=USER, status=NO_AUTH, sees="<~* 535 5.7.8")
    swaks(rig.SUBMISSION_PORT, *tls, "--local-interface", "127.0.6.3", *login("PLAIN", user="nobody-here@example.org"), sender=USER, status=NO_AUTH, sees="<~* 535 5.7.8")
    swaks(rig.SUBMISSION_PORT, *tls, *login("PLAIN"), sender=OTHER, status=NO_SENDER, sees="<~* 553 5.7.1")
    swaks(rig.SUBMISSION_PORT, *tls, *login("PLAIN"), sender="x@elsewhere.example", status=NO_SENDER, sees="<~* 553 5.7.1")
    swaks(rig.SUBMISSION_PORT, *tls, *login("PLAIN"), sender=USER, to="nobody-here@example.org", status=NO_RECIPIENT, sees="<~* 550 5.1.1")

with rig.step("submission: elsewhere is taken, and what the demo does not send comes back"):
    swaks(rig.SUBMISSION_PORT, *tls, *login("PLAIN"), sender=USER, to="x@elsewhere.example", sees="<~  250 2.0.0 queued as ")
    returned = rig.Imap(6)
    returned.ok("select", "INBOX")

    def report():
        returned.ok("noop")
        return [uid for uid in returned.uids("SUBJECT", '"could not be delivered"') if b"this is a demo" in rig.unfolded(returned.octets(uid))]

    assert len(rig.eventually(report)) == 1

with rig.step("LMTP: one answer for each recipient"):
    before = stored()
    text = swaks(rig.LMTP_PORT, "--protocol", "LMTP", to=f"{USER},{OTHER}")
    assert "-> LHLO client.example" in text
    behind = text.split(" -> .\n")[1]
    assert len(re.findall(r"(?m)^<-  250 2\.\d\.\d", behind)) >= 1, behind
    swaks(rig.LMTP_PORT, "--protocol", "LMTP", to="nobody-here@example.org", status=NO_RECIPIENT, sees="<** 550 5.1.1")
    swaks(rig.LMTP_PORT, "--protocol", "LMTP", to="somebody@elsewhere.example", status=NO_RECIPIENT, sees="<** 550 5.")
    swaks(rig.LMTP_PORT, "--protocol", "SMTP", status=NO_HELLO, sees="<** 5")
    assert stored() == before + 1
