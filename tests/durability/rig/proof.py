"""What is stored, read by IMAP, against what was acknowledged."""

import re
from collections import Counter

from appliance import COUNTED, PASSWORD, USERS, Fault
from load import Ledger, Wire

# IMAP announces the length of what it quotes; the field alone has one line and an empty one.
ROW = re.compile(rb"^\* \d+ FETCH \(.*?UID (\d+)")
FIELD = re.compile(rb"^message-id:\s*<([^>]+)>", re.IGNORECASE)


def inbox(appliance, user):
    """UIDVALIDITY and all (UID, Message-ID) of the inbox."""
    wire = Wire(appliance.port["imap"], Ledger())
    wire.line()
    wire.send(f'a LOGIN "{user}" "{PASSWORD}"\r\n'.encode())
    if not (said := wire.tagged()).startswith("a OK"):
        raise Fault(f"{user} cannot log in: {said}")
    wire.send(b"a EXAMINE INBOX\r\n")
    validity = exists = 0
    while not (line := wire.line()).startswith(b"a "):
        if known := re.match(rb"\* OK \[UIDVALIDITY (\d+)\]", line):
            validity = int(known[1])
        if known := re.match(rb"\* (\d+) EXISTS", line):
            exists = int(known[1])
    found, uid = [], None
    if exists:
        wire.send(b"a FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (Message-ID)])\r\n")
        while not (line := wire.line()).startswith(b"a "):
            if known := ROW.match(line):
                uid = int(known[1])
            elif known := FIELD.match(line):
                found.append((uid, known[1].decode()))
        if not line.startswith(b"a OK"):
            raise Fault(f"FETCH: {line}")
    wire.send(b"a LOGOUT\r\n")
    wire.close()
    if len(found) != exists:
        raise Fault(f"{user}: {exists} messages, {len(found)} with a Message-ID")
    return validity, found


def prove(appliance, ledger, counted):
    """Everything acknowledged is there once, nothing is there that nobody sent. Gives the numbers."""
    lost, twice, foreign, moved, extra, found = [], [], [], [], Counter(), 0
    for user in USERS:
        validity, rows = inbox(appliance, user)
        times = Counter(ident for _, ident in rows)
        twice += [(user, ident) for ident, count in times.items() if count > 1]
        if user == COUNTED:
            if len(rows) < counted:
                lost.append(f"{user}: {counted} acknowledged to smtp-source, {len(rows)} there")
            found += counted
            extra["smtp-source, unknown"] += len(rows) - counted
            continue
        by_ident = {ident: (validity, uid) for uid, ident in rows}
        for (whose, ident), place in ledger.acknowledged.items():
            if whose != user:
                continue
            if ident not in by_ident:
                lost.append((user, ident))
            else:
                found += 1
                if place and place != by_ident[ident]:
                    moved.append((user, ident, place, by_ident[ident]))
        for ident in by_ident:
            if (user, ident) in ledger.unsure:
                extra[ledger.unsure[user, ident] or "no answer"] += 1
            elif (user, ident) not in ledger.acknowledged:
                foreign.append((user, ident))
    for what, which in (("lost", lost), ("twice", twice), ("never sent", foreign), ("another UID than APPENDUID", moved), ("hung", ledger.hung)):
        if which:
            raise Fault(f"{what}: {len(which)}, such as {which[:5]}")
    return len(ledger.acknowledged) + counted, found, extra
