"""Postfix's smtp-source: 20 parallel sessions, 10,000 messages by LMTP and by SMTP; every one of them is stored once."""
# needs: smtp-source
# accounts: u13 u14

import os
import re
import time

import rig

SESSIONS = 20
MESSAGES = 10000


def flood(number, port, *arguments, count=MESSAGES):
    imap = rig.Imap(number)
    before = imap.status_of("INBOX", "MESSAGES")["MESSAGES"]
    start = time.monotonic()
    text = rig.run(
        # fmt: off
        "smtp-source", "-s", SESSIONS, "-m", count, "-l", 2048, "-f", "sender@elsewhere.example", "-t", rig.user(number),
        *arguments, f"inet:{rig.HOST}:{port}", timeout=250,
        # fmt: on
    )
    assert not text.strip(), "smtp-source complained"
    print(f"{count / (time.monotonic() - start):.0f} messages/s")
    found = imap.status_of("INBOX", "MESSAGES", "UIDNEXT", "UNSEEN")
    assert found["MESSAGES"] == before + count, found
    assert found["UNSEEN"] == found["MESSAGES"] and found["UIDNEXT"] == found["MESSAGES"] + 1, found
    imap.ok("select", "INBOX")
    assert imap.uids() == list(range(1, found["UIDNEXT"])), "no UID was given twice or lost"
    imap.logout()


with rig.step("LMTP, one connection for each session"):
    # -d: do not disconnect after each message.
    flood(13, rig.LMTP_PORT, "-L", "-d")

with rig.step("SMTP"):
    flood(14, rig.SMTP_PORT, "-d")

with rig.step("SMTP, a connection for each message"):
    flood(14, rig.SMTP_PORT, count=1000)

with rig.step("posthorn check finds nothing"):
    config = rig.folder("check") / "posthorn.toml"
    config.write_text(f'[database]\nurl = "{os.environ["DATABASE_URL"]}"\n')
    text = rig.run(os.environ["POSTHORN"], "--config", config, "check")
    assert not re.search(r"(?i)\b(damaged|wrong|missing|lost)\b", text), text
