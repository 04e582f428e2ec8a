"""mbsync keeps a local Maildir and the server equal, both ways, and has nothing to do the second time."""
# needs: mbsync script
# accounts: u0 u1

import re
import socket
import time

import rig

SETTINGS = """
IMAPAccount account
Host localhost
Port {port}
User {user}
Pass {password}
SSLType {tls}
CertificateFile {ca}
SystemCertificates no
AuthMechs {mechanism}

IMAPStore far
Account account

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Remove Both
SyncState *
CopyArrivalDate yes
"""


class Near:
    """The local side."""

    def __init__(self, name, number, port, tls, mechanism):
        self.home = rig.folder(name)
        self.maildir = self.home / "mail"
        self.maildir.mkdir()
        self.rc = self.home / "rc"
        self.rc.touch(mode=0o600)
        self.rc.write_text(
            SETTINGS.format(port=port, user=rig.user(number), password=rig.PASSWORD, tls=tls, ca=rig.CAFILE, maildir=self.maildir, mechanism=mechanism)
        )
        self.count = 0

    def sync(self):
        """Runs mbsync. Returns what it changed: (far new, flags, gone, near new, flags, gone)."""
        # The counters are shown on a terminal only.
        text = rig.run("mbsync", "-V", "-c", self.rc, "all", terminal=True)
        assert not re.search(r"(?i)\b(error|warning)\b", text), "mbsync complained"
        last = re.findall(r"(?:F|Far): \+(\d+)(?:/\d+)? \*(\d+)(?:/\d+)? #(\d+)(?:/\d+)? +(?:N|Near): \+(\d+)(?:/\d+)? \*(\d+)(?:/\d+)? #(\d+)", text)
        assert last, "mbsync printed no counters"
        return tuple(int(number) for number in last[-1])

    def quiet(self):
        for _ in range(2):
            done = self.sync()
            assert done == (0, 0, 0, 0, 0, 0), f"nothing was to be done, but mbsync did {done}"

    def files(self, box):
        return [path for part in ("cur", "new") for path in (self.maildir / box / part).iterdir()]

    def find(self, box, subject):
        return next((path for path in self.files(box) if re.search(rb"(?m)^Subject: %s\b" % re.escape(subject.encode()), path.read_bytes())), None)

    def add(self, box, octets, flags=""):
        self.count += 1
        path = self.maildir / box / "cur" / f"{time.time_ns()}.{self.count}.{socket.gethostname()}:2,{flags}"
        path.write_bytes(octets.replace(b"\r\n", b"\n"))

    def flag(self, box, subject, flags):
        path = self.find(box, subject)
        path.rename(self.maildir / box / "cur" / re.sub(r"(:2,.*)?$", f":2,{flags}", path.name, count=1))

    def move(self, source, target, subject):
        path = self.find(source, subject)
        # The U= in the name belongs to the old folder.
        name = re.sub(r",U=\d+", "", path.name)
        path.rename(self.maildir / target / "cur" / (name if ":2," in name else name + ":2,"))

    def subjects(self, box):
        return sorted(re.search(rb"(?m)^Subject: (.*)", path.read_bytes())[1].decode() for path in self.files(box))


def far_subjects(imap, box):
    imap.ok("select", box)
    return sorted(
        re.search(rb"Subject: (.*?)\r\n", part[1])[1].decode()
        for part in (imap.ok("fetch", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])") if imap.uids() else [])
        if isinstance(part, tuple)
    )


def far_uid(imap, box, subject):
    imap.ok("select", box)
    [uid] = imap.uids("HEADER", "SUBJECT", f'"{subject}"')
    return uid


def without_tuid(octets):
    """mbsync marks what it copies."""
    return re.sub(rb"(?m)^X-TUID: .*?\r?\n", b"", octets, count=1)


def story(number, port, tls, mechanism):
    imap = rig.Imap(number)
    near = Near(f"mbsync-{number}", number, port, tls, mechanism)
    awkward = rig.awkward()

    with rig.step("the first pull, with several mailboxes"):
        imap.ok("create", "Projects")
        imap.ok("create", "Projects/K&APY-ln")
        rig.deliver(number, *awkward.values())
        imap.ok("append", "Projects", "(\\Seen \\Flagged)", None, rig.message("flagged from the start"))
        imap.ok("append", "Projects/K&APY-ln", "(\\Answered)", '"02-Mar-2021 04:05:06 +0100"', rig.message("umlaut"))
        done = near.sync()
        assert done[3] == len(awkward) + 2 and done[:3] == (0, 0, 0), done
        assert {path.name for path in near.maildir.iterdir()} >= {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Projects"}
        imap.ok("select", "INBOX")
        for name, octets in awkward.items():
            subject = "a subject" if name == "folded" else name
            path = near.find("INBOX", subject)
            far = imap.octets(far_uid(imap, "INBOX", subject))
            # DATA ends the last line.
            rig.same(rig.bare(far), octets.removesuffix(b"\r\n") + b"\r\n", f"{name} as stored")
            rig.same(without_tuid(path.read_bytes()), far.replace(b"\r\n", b"\n"), f"{name} as pulled")
        assert near.find("Projects", "flagged from the start").name.endswith(":2,FS")
        [umlaut] = [path for path in near.maildir.rglob("*") if path.name.endswith(":2,R")]
        assert int(umlaut.stat().st_mtime) == 1614654306, "the arrival date is kept"
        near.quiet()

    with rig.step("the first push, into old and new mailboxes"):
        for part in ("cur", "new", "tmp"):
            (near.maildir / "Local" / part).mkdir(parents=True)
        for name, octets in awkward.items():
            near.add("Local", octets, "S")
        near.add("Sent", rig.message("sent from here"), "S")
        done = near.sync()
        assert done == (len(awkward) + 1, 0, 0, 0, 0, 0), done
        for name, octets in awkward.items():
            uid = far_uid(imap, "Local", "a subject" if name == "folded" else name)
            # A Maildir has bare line ends; IMAP has not.
            rig.same(without_tuid(imap.octets(uid)), octets, f"{name} as pushed")
            assert imap.flags(uid) == {"\\Seen"}
        assert far_subjects(imap, "Sent") == ["sent from here"]
        near.quiet()

    with rig.step("flags change on both sides"):
        near.flag("INBOX", "dots", "FS")
        uid = far_uid(imap, "INBOX", "utf8")
        imap.ok("uid", "STORE", str(uid), "+FLAGS", "(\\Answered \\Flagged)")
        uid = far_uid(imap, "Local", "dots")
        imap.ok("uid", "STORE", str(uid), "-FLAGS.SILENT", "(\\Seen)")
        done = near.sync()
        assert done == (0, 1, 0, 0, 2, 0), done
        assert imap.flags(far_uid(imap, "INBOX", "dots")) == {"\\Seen", "\\Flagged"}
        assert near.find("INBOX", "utf8").name.endswith(":2,FR")
        assert near.find("Local", "dots").name.endswith(":2,")
        near.quiet()

    with rig.step("moves on both sides"):
        near.move("INBOX", "Archive", "latin1")
        imap.ok("select", "INBOX")
        uid = far_uid(imap, "INBOX", "spaces")
        imap.ok("uid", "MOVE", str(uid), "Projects")
        near.sync()
        assert far_subjects(imap, "Archive") == ["latin1"]
        assert "latin1" not in far_subjects(imap, "INBOX")
        assert near.subjects("Projects") == ["flagged from the start", "spaces"]
        assert "spaces" not in near.subjects("INBOX")
        rig.same(rig.bare(without_tuid(imap.octets(far_uid(imap, "Archive", "latin1")))), awkward["latin1"], "moved here")
        near.quiet()

    with rig.step("expunges on both sides"):
        near.find("INBOX", "long").unlink()
        near.flag("INBOX", "empty", "T")
        uid = far_uid(imap, "INBOX", "unended")
        imap.ok("uid", "STORE", str(uid), "+FLAGS", "(\\Deleted)")
        imap.ok("expunge")
        uid = far_uid(imap, "INBOX", "from")
        imap.ok("uid", "STORE", str(uid), "+FLAGS", "(\\Deleted)")
        near.sync()
        left = ["a subject", "big", "dots", "multipart", "utf8"]
        assert [subject.strip() for subject in far_subjects(imap, "INBOX")] == left, far_subjects(imap, "INBOX")
        assert near.subjects("INBOX") == left, near.subjects("INBOX")
        near.quiet()

    with rig.step("both sides change the same messages"):
        # One flag each: both survive.
        near.flag("INBOX", "dots", "DFS")
        imap.ok("uid", "STORE", str(far_uid(imap, "INBOX", "dots")), "+FLAGS", "(\\Answered)")
        # Deleted here, flagged there; and the other way round.
        near.find("INBOX", "utf8").unlink()
        imap.ok("uid", "STORE", str(far_uid(imap, "INBOX", "utf8")), "+FLAGS", "(\\Draft)")
        near.flag("INBOX", "multipart", "FS")
        imap.ok("uid", "STORE", str(far_uid(imap, "INBOX", "multipart")), "+FLAGS", "(\\Deleted)")
        imap.ok("expunge")
        # New on both sides at once.
        near.add("INBOX", rig.message("new here"))
        rig.deliver(number, rig.message("new there"))
        for _ in range(3):
            near.sync()
        assert imap.flags(far_uid(imap, "INBOX", "dots")) == {"\\Seen", "\\Flagged", "\\Draft", "\\Answered"}
        assert near.find("INBOX", "dots").name.endswith(":2,DFRS")
        assert [subject.strip() for subject in far_subjects(imap, "INBOX")] == near.subjects("INBOX"), "both sides are equal"
        assert {"new here", "new there"} <= set(near.subjects("INBOX"))
        near.quiet()

    with rig.step("a mailbox goes away"):
        imap.ok("select", "INBOX")
        for path in near.files("Local"):
            path.unlink()
        near.sync()
        imap.ok("delete", "Local")
        near.sync()
        assert not (near.maildir / "Local" / "cur").exists()
        near.quiet()

    imap.logout()


story(0, rig.IMAPS_PORT, "IMAPS", "*")
story(1, rig.IMAP_PORT, "STARTTLS", "LOGIN")

with rig.step("a certificate that is not trusted, a wrong password"):
    wrong = Near("mbsync-wrong", 0, rig.IMAPS_PORT, "IMAPS", "*")
    text = wrong.rc.read_text()
    wrong.rc.write_text(text.replace(f"CertificateFile {rig.CAFILE}\n", ""))
    assert "certificate" in rig.run("mbsync", "-c", wrong.rc, "all", status=1)
    wrong.rc.write_text(text.replace(rig.PASSWORD, "wrong"))
    assert "AUTHENTICATIONFAILED" in rig.run("mbsync", "-c", wrong.rc, "all", status=1)
