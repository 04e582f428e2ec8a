"""Python's imaplib: every command it has, over TLS and with STARTTLS."""
# accounts: u8

import imaplib
import re
import time

import rig

imap = rig.Imap(8)
awkward = rig.awkward()

with rig.step("greeting, capabilities, STARTTLS"):
    for capability in "IMAP4REV1 IDLE UIDPLUS MOVE QUOTA NAMESPACE CONDSTORE SPECIAL-USE".split():
        assert capability in imap.capabilities, imap.capabilities
    plain = imaplib.IMAP4(rig.HOST, rig.IMAP_PORT, timeout=30)
    assert "STARTTLS" in plain.capabilities
    # The name to verify is the host that imaplib was given.
    plain.host = rig.TLSNAME
    assert plain.starttls(rig.tls())[0] == "OK"
    assert "STARTTLS" not in plain.capabilities
    assert plain.authenticate("PLAIN", lambda _: f"\0{rig.user(8)}\0{rig.PASSWORD}".encode())[0] == "OK"
    assert plain.noop()[0] == "OK"
    plain.logout()

with rig.step("mailboxes"):
    listed = imap.ok("list")
    names = {re.search(rb' "/" "?([^"]+)"?$', line)[1].decode(): line.decode() for line in listed}
    assert set(names) == set(rig.FOLDERS), names
    for name, use in rig.FOLDERS.items():
        assert use is None or use in names[name], names[name]
    imap.ok("create", '"with space"')
    imap.ok("create", "a/b/c")
    assert {b'"a/b/c"', b"a/b/c"} & {line.split(b' "/" ')[1] for line in imap.ok("list", '""', '"a/*"')}
    assert len(imap.ok("list", '""', '"%"')) == len(rig.FOLDERS) + 2, "a and the one with a space"
    imap.ok("subscribe", "a/b/c")
    assert any(b"a/b/c" in line for line in imap.ok("lsub", '""', "*"))
    imap.ok("unsubscribe", "a/b/c")
    assert not any(line and b"a/b/c" in line for line in imap.ok("lsub", '""', "*"))
    imap.ok("rename", "a/b/c", "a/renamed")
    assert imap.select("a/b/c")[0] == "NO"
    imap.ok("delete", "a/renamed")
    assert imap.delete("INBOX")[0] == "NO" and imap.create("INBOX")[0] == "NO" and imap.create("Sent")[0] == "NO"
    assert b"(" in imap.ok("namespace")[0]

with rig.step("append and read back, byte for byte"):
    for name, octets in awkward.items():
        said = imap.ok("append", '"with space"', "(\\Seen $Label1)", imaplib.Time2Internaldate(1700000000), octets)[0]
        uid = int(re.search(rb"APPENDUID \d+ (\d+)", said)[1])
        assert imap.ok("select", '"with space"') == [str(uid).encode()]
        rig.same(imap.octets(uid), octets, name)
        assert imap.flags(uid) == {"\\Seen", "$Label1"}
        answer = imap.ok("uid", "FETCH", str(uid), "(INTERNALDATE RFC822.SIZE)")[0]
        assert f"RFC822.SIZE {len(octets)}".encode() in answer
        assert time.mktime(imaplib.Internaldate2tuple(answer)) == 1700000000
    assert imap.ok("recent") is not None

with rig.step("fetch parts"):
    imap.ok("select", '"with space"', True)
    index = str(list(awkward).index("multipart") + 1)
    # imaplib's data: the octets of each literal.
    part = lambda item: b"".join(piece[1] for piece in imap.ok("fetch", index, f"({item})") if isinstance(piece, tuple))
    assert part("BODY.PEEK[1]") == b"one"
    assert part("BODY.PEEK[2.MIME]").startswith(b"Content-Type: application/octet-stream\r\n")
    assert part("BODY.PEEK[HEADER.FIELDS (Subject)]") == b"Subject: multipart\r\n\r\n"
    assert part("BODY.PEEK[]<5.10>") == awkward["multipart"][5:15]
    assert part("RFC822.HEADER") + part("BODY.PEEK[TEXT]") == awkward["multipart"]
    structure = imap.ok("fetch", index, "(BODYSTRUCTURE)")[0]
    assert b'"application" "octet-stream"' in structure.lower() and b'"mixed"' in structure.lower(), structure
    assert b"NIL" in imap.ok("fetch", index, "(ENVELOPE)")[0]
    assert len(imap.ok("fetch", "1:*", "ALL")) == len(awkward) == len(imap.ok("fetch", "1:*", "FAST"))
    assert imap.store("1", "+FLAGS", "\\Flagged")[0] == "NO", "EXAMINE is for reading"
    imap.ok("unselect")

with rig.step("flags, search"):
    imap.ok("select", '"with space"')
    assert imap.uids("SUBJECT", "utf8") == [list(awkward).index("utf8") + 1]
    imap.literal = "挨拶".encode()
    assert imap.ok("search", "UTF-8", "BODY")[0].split() == [str(list(awkward).index("utf8") + 1).encode()]
    imap.literal = "grüße".encode()
    # Both the UTF-8 and the ISO-8859-1 message say it, and case does not matter.
    assert imap.ok("search", "UTF-8", "TEXT")[0].split() == [str(list(awkward).index(name) + 1).encode() for name in ("utf8", "latin1")]
    assert imap.uids("KEYWORD", "$Label1") == imap.uids("ALL")
    assert imap.uids("NOT", "SEEN") == [] and imap.uids("UNSEEN") == []
    assert imap.uids("ON", "14-Nov-2023") == imap.uids("SENTSINCE", "1-Jan-2026") == imap.uids()
    assert imap.uids("OR", "SUBJECT", "dots", "SUBJECT", "big") == [1, len(awkward)]
    assert imap.uids("UID", "2:4", "SMALLER", "100000") == [2, 3, 4]
    imap.ok("store", "1:3", "-FLAGS", "(\\Seen)")
    assert imap.uids("UNSEEN") == [1, 2, 3]
    imap.ok("store", "2", "FLAGS.SILENT", "(\\Draft)")
    assert imap.flags(2) == {"\\Draft"}
    # The body, unlike a peek, is read.
    imap.ok("fetch", "3", "(RFC822)")
    assert "\\Seen" in imap.flags(3)

with rig.step("copy, move, expunge"):
    said = imap.ok("copy", "1:2", "Archive")[0]
    assert re.search(rb"COPYUID \d+ 1:2 1:2", said), said
    imap.ok("uid", "MOVE", "1", "Trash")
    assert imap.status_of("Trash", "MESSAGES", "UIDNEXT", "UNSEEN") == {"MESSAGES": 1, "UIDNEXT": 2, "UNSEEN": 1}
    assert imap.copy("1", "Nowhere")[0] == "NO"
    assert b"TRYCREATE" in imap.copy("1", "Nowhere")[1][0]
    imap.ok("store", "1:2", "+FLAGS", "(\\Deleted)")
    # imaplib keeps what it was told of the MOVE.
    imap.untagged_responses.clear()
    assert imap.ok("expunge") in ([b"1", b"1"], [b"2", b"1"])
    left = imap.uids()
    imap.ok("store", "1", "+FLAGS", "(\\Deleted)")
    imap.ok("close")
    assert imap.ok("select", '"with space"') == [str(len(left) - 1).encode()]

with rig.step("quota"):
    roots, quota = imap.ok("getquotaroot", "INBOX")
    assert b"INBOX" in roots[0]
    assert imap.setquota('""', "(STORAGE 1)")[0] == "NO"

with rig.step("two sessions see each other"):
    other = rig.Imap(8)
    imap.ok("select", "INBOX")
    other.ok("select", "INBOX")
    rig.deliver(8, *awkward.values())
    imap.ok("noop")
    assert imap.untagged_responses["EXISTS"][-1] == str(len(awkward)).encode()
    other.ok("noop")
    imap.untagged_responses.clear()
    other.ok("store", "1", "+FLAGS", "(\\Flagged)")
    other.ok("uid", "MOVE", "2:3", "Archive")
    imap.ok("noop")
    assert b"\\Flagged" in imap.untagged_responses["FETCH"][0]
    # Gone from the end or from the start, the view is the same.
    assert sorted(imap.untagged_responses["EXPUNGE"]) in ([b"2", b"2"], [b"2", b"3"])
    other.logout()

with rig.step("wrong commands do no harm"):
    for command in (lambda: imap.uid("FETCH", "nonsense", "(FLAGS)"), lambda: imap.search(None, "NONSENSE"), lambda: imap.fetch("1", "(NONSENSE)")):
        try:
            command()
        except imaplib.IMAP4.error as error:
            assert "BAD" in str(error), error
        else:
            raise AssertionError("an error was due")
    for command in (lambda: imap.thread("REFERENCES", "UTF-8", "ALL"), lambda: imap.sort("(DATE)", "UTF-8", "ALL")):
        try:
            command()
        except imaplib.IMAP4.error as error:
            assert "BAD" in str(error), error
        else:
            raise AssertionError("THREAD and SORT are not offered, so they are unknown")
    imap.ok("noop")

imap.logout()
