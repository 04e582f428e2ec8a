"""offlineimap keeps a Maildir and the server equal, and its second run is quiet."""
# needs: offlineimap
# accounts: u12

import re

import rig

SETTINGS = """
[general]
accounts = account
metadata = {home}/metadata
ui = basic

[Account account]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {home}/mail

[Repository far]
type = IMAP
remotehost = {host}
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = {ssl}
starttls = {starttls}
sslcacertfile = {ca}
auth_mechanisms = {mechanism}
maxconnections = 3
expunge = yes
"""

home = rig.folder("offlineimap")
mail = home / "mail"
rc = home / "rc"
rc.touch(mode=0o600)


def settle(port, ssl, mechanism):
    rc.write_text(
        SETTINGS.format(
            home=home, host=rig.TLSNAME, port=port, user=rig.user(12), password=rig.PASSWORD, ssl=ssl, starttls=not ssl, ca=rig.CAFILE, mechanism=mechanism
        )
    )


def sync():
    text = rig.run("offlineimap", "-c", rc, "-o", env={"HOME": str(home)})
    assert not re.search(r"(?m)^ *(ERROR|WARNING|Traceback)\b", text), "offlineimap complained"
    return text


def quiet():
    text = sync()
    assert not re.search(r"(?i)(copy message|adding flags|deleting|removing flags|creating folder|establishing)", re.sub(r"(?i)establishing connection[^\n]*", "", text)), "nothing was to be done"


def files(box):
    return [path for part in ("cur", "new") for path in (mail / box / part).iterdir()]


def find(box, subject):
    return next((path for path in files(box) if re.search(rb"(?m)^Subject: %s\b" % subject.encode(), path.read_bytes())), None)


imap = rig.Imap(12)
awkward = rig.awkward()

for name, port, ssl, mechanism in [("TLS", rig.IMAPS_PORT, True, "PLAIN"), ("STARTTLS", rig.IMAP_PORT, False, "PLAIN")]:
    settle(port, ssl, mechanism)
    box = "Work" if ssl else "Work2"

    with rig.step(f"{name}: pull"):
        imap.ok("create", box)
        for octets in awkward.values():
            imap.ok("append", box, "(\\Seen)", None, octets)
        sync()
        assert set(path.name for path in mail.iterdir()) >= {*rig.FOLDERS, box}
        assert len(files(box)) == len(awkward)
        for what, octets in awkward.items():
            path = find(box, "a subject" if what == "folded" else what)
            # Some of its versions turn CRLF into LF, some keep it; none may lose an octet besides.
            rig.same(path.read_bytes().replace(b"\r\n", b"\n"), octets.replace(b"\r\n", b"\n"), what)
            assert path.name.endswith(":2,S"), path.name
        quiet()

    with rig.step(f"{name}: push a message, flags, a deletion"):
        (mail / box / "new" / "1700000000.1.here").write_bytes(rig.message("written here").replace(b"\r\n", b"\n"))
        path = find(box, "dots")
        path.rename(path.with_name(path.name.replace(":2,S", ":2,FRS")))
        find(box, "long").unlink()
        sync()
        imap.ok("select", box)
        [uid] = imap.uids("SUBJECT", '"written here"')
        assert imap.octets(uid).endswith(b"\r\n\r\nHello.\r\n")
        [uid] = imap.uids("SUBJECT", "dots")
        assert imap.flags(uid) == {"\\Seen", "\\Flagged", "\\Answered"}
        assert imap.uids("SUBJECT", "long") == []
        quiet()

    with rig.step(f"{name}: the server's flags, expunges, moves and arrivals"):
        [uid] = imap.uids("SUBJECT", "utf8")
        imap.ok("uid", "STORE", str(uid), "FLAGS", "(\\Flagged)")
        [uid] = imap.uids("SUBJECT", "spaces")
        imap.ok("uid", "MOVE", str(uid), "Archive")
        [uid] = imap.uids("SUBJECT", "from")
        imap.ok("uid", "STORE", str(uid), "+FLAGS.SILENT", "(\\Deleted)")
        imap.ok("expunge")
        rig.deliver(12, rig.message(f"arrived {name}"))
        sync()
        assert find(box, "utf8").name.endswith(":2,F")
        assert find(box, "spaces") is None and find("Archive", "spaces")
        assert find(box, "from") is None
        assert find("INBOX", f"arrived {name}")
        quiet()

    with rig.step(f"{name}: a new folder here"):
        for part in ("cur", "new", "tmp"):
            (mail / f"Near{port}" / part).mkdir(parents=True)
        sync()
        assert any(f"Near{port}".encode() in line for line in imap.ok("list"))
        quiet()
