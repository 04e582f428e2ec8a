"""mutt and neomutt: read, flag, copy and send by key strokes, with their copy of sent mail in the server's Sent."""
# needs: mutt neomutt script
# accounts: u15 u16 u17 u18

import email
import email.policy

import rig

SETTINGS = """
set from = "{user}"
set realname = "Somebody"
set use_from = yes
set folder = "{imap}"
set spoolfile = "+INBOX"
set record = "+Sent"
set postponed = "+Drafts"
set smtp_url = "{smtp}"
set smtp_pass = "{password}"
set imap_user = "{user}"
set imap_pass = "{password}"
set smtp_authenticators = "{mechanism}"
set imap_authenticators = "{mechanism}"
set ssl_force_tls = yes
set ssl_starttls = yes
set ssl_ca_certificates_file = "{ca}"

set copy = yes
set fcc_clear = yes
set quit = yes
set confirmappend = no
set confirmcreate = no
set delete = yes
set move = no
set mark_old = no
set wait_key = no
set tmpdir = "{home}"
set header_cache = ""
set imap_check_subscribed = no
set imap_condstore = {extended}
set imap_qresync = {extended}
set charset = "utf-8"
set editor = "sh -c 'cat {home}/body >>$0'"
set abort_unmodified = no
set edit_headers = no
set sendmail = /bin/false
"""


def settle(program, number, imap, smtp, mechanism, extended):
    home = rig.folder(program)
    rc = home / "rc"
    rc.touch(mode=0o600)
    name = rig.user(number)
    text = SETTINGS.format(
        user=name,
        password=rig.PASSWORD,
        imap=imap,
        smtp=smtp.format(user=name),
        mechanism=mechanism,
        ca=rig.CAFILE,
        home=home,
        extended="yes" if extended else "no",
    )
    rc.write_text(text)
    return rc


def press(program, rc, keys, *arguments):
    """Opens the inbox and presses keys, the last of which ends the program."""
    return rig.run(program, "-n", "-F", rc, *arguments, "-e", f'push "{keys}"', terminal=True, env={"TERM": "vt100", "HOME": str(rc.parent)}, timeout=60)


def story(program, number, imap_url, smtp_url, mechanism, extended):
    rc = settle(program, number, imap_url, smtp_url, mechanism, extended)
    imap = rig.Imap(number)
    awkward = rig.awkward()

    with rig.step(f"{program}: send, with a copy in Sent"):
        body = rc.parent / "body"
        body.write_text("Grüße\n.\n.. dots\nFrom the start\n")
        if program == "neomutt":
            # Without a terminal this one makes no copy by IMAP.
            press(program, rc, f"<mail>{rig.user(number)}<enter>Sent by mutt: é<enter><send-message><quit>")
        else:
            rig.run(program, "-n", "-F", rc, "-s", "Sent by mutt: é", rig.user(number), stdin=body.read_bytes(), timeout=60)
        assert imap.status_of("Sent", "MESSAGES")["MESSAGES"] == 1
        imap.ok("select", "Sent")
        copied = imap.octets(imap.uids()[-1])
        imap.ok("select", "INBOX")
        arrived = imap.octets(imap.uids()[-1])
        assert arrived.split(b"\r\n\r\n", 1)[1] == copied.split(b"\r\n\r\n", 1)[1]
        found = email.message_from_bytes(arrived, policy=email.policy.default)["Subject"]
        assert found == "Sent by mutt: é", repr(found)

    with rig.step(f"{program}: send a draft with its header (-H) and an attachment"):
        draft = rc.parent / "draft"
        draft.write_text(f"From: {rig.user(number)}\nTo: {rig.user(number)}\nSubject: from a draft\n\nBody\n")
        rig.run(program, "-n", "-F", rc, "-H", draft, "-a", draft, stdin=b"\n", timeout=60)
        imap.ok("select", "INBOX")
        [uid] = imap.uids("SUBJECT", '"from a draft"')
        assert b"multipart/mixed" in imap.octets(uid)
        imap.ok("select", "Sent")
        assert len(imap.uids("SUBJECT", '"from a draft"')) == (program == "mutt")

    with rig.step(f"{program}: read the inbox"):
        rig.deliver(number, *awkward.values())
        imap.ok("select", "INBOX")
        imap.ok("uid", "STORE", "1:*", "-FLAGS.SILENT", "(\\Seen)")
        count = len(imap.uids())
        press(program, rc, "<first-entry><display-message><exit><quit>")
        assert len(imap.uids("SEEN")) == 1, imap.uids("SEEN")
        imap.ok("noop")

    with rig.step(f"{program}: flag, delete, save elsewhere"):
        keys = "<limit>~s dots<enter><flag-message><limit>~s utf8<enter><save-message>=Archive<enter><limit>~s spaces<enter><delete-message><limit>all<enter><sync-mailbox><quit>"
        press(program, rc, keys)
        imap.ok("select", "INBOX")
        [uid] = imap.uids("SUBJECT", "dots")
        assert "\\Flagged" in imap.flags(uid)
        assert imap.uids("SUBJECT", "utf8") == [] and imap.uids("SUBJECT", "spaces") == []
        assert len(imap.uids()) == count - 2
        imap.ok("select", "Archive")
        [uid] = imap.uids("SUBJECT", "utf8")
        rig.same(rig.bare(imap.octets(uid)), awkward["utf8"])

    with rig.step(f"{program}: a second visit with nothing to do"):
        imap.ok("select", "INBOX")
        modseq = imap.status_of("Archive", "HIGHESTMODSEQ")
        press(program, rc, "<first-entry><quit>")
        press(program, rc, "<quit>", "-f", f"{imap_url}Archive")
        assert imap.status_of("Archive", "HIGHESTMODSEQ") == modseq

    imap.logout()


IMAPS = f"imaps://{rig.TLSNAME}:{rig.IMAPS_PORT}/"
IMAP = f"imap://{rig.TLSNAME}:{rig.IMAP_PORT}/"
SMTPS = "smtps://{user}@" + f"{rig.TLSNAME}:{rig.SUBMISSIONS_PORT}/"
SMTP = "smtp://{user}@" + f"{rig.TLSNAME}:{rig.SUBMISSION_PORT}/"
story("mutt", 15, IMAPS, SMTPS, "plain", extended=False)
story("mutt", 16, IMAP, SMTP, "plain", extended=True)
story("neomutt", 17, IMAPS, SMTPS, "plain", extended=False)
story("neomutt", 18, IMAP, SMTP, "plain", extended=True)
