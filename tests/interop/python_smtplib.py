"""Python's smtplib: logins, SMTPUTF8, several recipients, refusals as exceptions."""
# accounts: u10 u11

import email.message
import email.policy
import smtplib

import rig

FROM, TO = rig.user(10), rig.user(11)
sender_box, box = rig.Imap(10), rig.Imap(11)


def last(imap):
    imap.ok("select", "INBOX")
    return imap.octets(imap.uids()[-1])


def count(imap):
    return imap.status_of("INBOX", "MESSAGES")["MESSAGES"]


def submission(login=True):
    smtp = smtplib.SMTP(rig.TLSNAME, rig.SUBMISSION_PORT, local_hostname="client.example", timeout=60)
    smtp.starttls(context=rig.tls())
    if login:
        smtp.login(FROM, rig.PASSWORD)
    return smtp


def refused(what, error, code, enhanced):
    try:
        what()
    except error as refusal:
        found = refusal.recipients if isinstance(refusal, smtplib.SMTPRecipientsRefused) else {None: (refusal.smtp_code, refusal.smtp_error)}
        for said, text in found.values():
            assert said == code and text.startswith(enhanced), (said, text)
        return
    raise AssertionError(f"{code} was due")


with rig.step("both ports, both mechanisms"):
    for mechanism in ("PLAIN", "LOGIN"):
        for connect in (lambda: smtplib.SMTP_SSL(rig.TLSNAME, rig.SUBMISSIONS_PORT, context=rig.tls(), timeout=60), lambda: submission(login=False)):
            smtp = connect()
            smtp.ehlo_or_helo_if_needed()
            for extension in ("pipelining", "size", "8bitmime", "smtputf8", "enhancedstatuscodes", "dsn", "chunking", "auth"):
                assert smtp.has_extn(extension), extension
            assert "CRAM-MD5" not in smtp.esmtp_features["auth"].split()
            smtp.user, smtp.password = FROM, rig.PASSWORD
            code, said = smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower()}"), initial_response_ok=mechanism == "PLAIN")
            assert code == 235, said
            before = count(box)
            assert smtp.sendmail(FROM, [TO], rig.message(mechanism)) == {}
            assert count(box) == before + 1
            assert smtp.quit()[0] == 221

with rig.step("several messages in one session, byte for byte"):
    smtp = submission()
    for octets in rig.awkward().values():
        octets = octets.replace(b"sender@elsewhere.example", FROM.encode())
        assert smtp.sendmail(FROM, [TO], octets, ["BODY=8BITMIME"]) == {}
        # smtplib ends the last line.
        rig.same(rig.bare(last(box)), octets.removesuffix(b"\r\n") + b"\r\n")

with rig.step("several recipients, some of them unknown"):
    assert list(smtp.sendmail(FROM, [TO, FROM, "nobody-here@example.org"], rig.message("to all"))) == ["nobody-here@example.org"]
    assert last(box).split(b"\r\nFrom: ")[1] == last(sender_box).split(b"\r\nFrom: ")[1]
    refused(lambda: smtp.sendmail(FROM, ["nobody-here@example.org"], rig.message("x")), smtplib.SMTPRecipientsRefused, 550, b"5.1.1")
    # Elsewhere is no matter of a reply: what the demo does not send comes back.
    assert smtp.sendmail(FROM, ["x@elsewhere.example"], rig.message("x")) == {}
    rig.eventually(lambda: b"this is a demo, it sends nothing to other hosts" in rig.unfolded(last(sender_box)))
    refused(lambda: smtp.sendmail(TO, [TO], rig.message("x")), smtplib.SMTPSenderRefused, 553, b"5.7.1")

with rig.step("SMTPUTF8"):
    message = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = FROM, TO, "Grüße aus 東京"
    message["Cc"] = "Zoë <zoë@example.org>"
    message.set_content("Hallo\n")
    assert smtp.send_message(message, to_addrs=[TO], mail_options=["SMTPUTF8", "BODY=8BITMIME"]) == {}
    assert "Subject: Grüße aus 東京\r\n".encode() in last(box)
    refused(lambda: smtp.sendmail(FROM, ["zoë@example.org"], rig.message("x"), ["SMTPUTF8"]), smtplib.SMTPRecipientsRefused, 550, b"5.1.1")
    # Case of the domain is folded, a detail is the same person.
    assert smtp.sendmail(FROM, [TO.replace("example.org", "EXAMPLE.Org"), TO.replace("@", "+detail@")], rig.message("folded")) == {}

with rig.step("verify, expand, help, noop, reset"):
    assert smtp.vrfy(TO)[0] in (250, 252)
    assert smtp.expn("list")[0] in (250, 252, 502, 550)
    assert smtp.noop()[0] == 250 and smtp.rset()[0] == 250
    assert smtp.docmd("HELP")[0] in (211, 214)
    assert smtp.docmd("NONSENSE")[0] == 500
    smtp.quit()

with rig.step("without a login, with a wrong password"):
    refused(lambda: submission(login=False).sendmail(FROM, [TO], rig.message("x")), smtplib.SMTPSenderRefused, 530, b"5.7.0")
    smtp = smtplib.SMTP_SSL(rig.TLSNAME, rig.SUBMISSIONS_PORT, context=rig.tls(), timeout=60, source_address=("127.0.10.1", 0))
    refused(lambda: smtp.login(FROM, "wrong"), smtplib.SMTPAuthenticationError, 535, b"5.7.8")

with rig.step("port 25 and LMTP"):
    smtp = smtplib.SMTP(rig.HOST, rig.SMTP_PORT, local_hostname="client.example", timeout=60)
    smtp.ehlo()
    assert not smtp.has_extn("auth")
    assert smtp.sendmail("", [TO], rig.message("a bounce")) == {}
    assert b"Return-Path: <>" in last(box)
    refused(lambda: smtp.sendmail("a@b.example", ["c@d.example"], rig.message("x")), smtplib.SMTPRecipientsRefused, 550, b"5.7.1")
    lmtp = smtplib.LMTP(rig.HOST, rig.LMTP_PORT, timeout=60)
    assert list(lmtp.sendmail("a@b.example", [TO, "nobody-here@example.org"], rig.message("by LMTP"))) == ["nobody-here@example.org"]
    assert b"Subject: by LMTP" in last(box)
