"""swaks sends what scores below and above each level, mbsync reads what became of it, and two people who set levels of their own
do not notice each other."""
# needs: namespaces ip openssl swaks mbsync

import re

import rig
import world
from engines import GTUBE

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("sender.example", f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n')
authority = world.Authority()
BOB, EVE = "bob@here.example", "eve@here.example"
# What it says decides what it scores; that the sender sent spam before counts a few points more.
ours = world.Posthorn(
    "mail.here.example", HERE, names, authority.issue("mail.here.example"),
    '[filter]\nsubject_tag = "[SPAM] "\nsubject_tag3 = "[SPAM!] "\nlevels = { tag = 2, tag2 = 6, tag3 = 9, kill = 14 }\ndestiny = { spam = "hold" }\n'
    + "".join(f'[[filter.rule]]\nname = "TEST_{points}"\npoints = {points}\nbody = "worth {points} points"\n' for points in (4, 7, 10, 15))
    + "\n",
)  # fmt: skip


def swaks(points, *to):
    # fmt: off
    said = rig.run("swaks", "--server", HERE, "--local-interface", CLIENT, "--ehlo", "client.sender.example", "--from", "ann@sender.example",
                   "--to", ",".join(to), "--header", f"Subject: worth {points}", "--header-Message-ID", f"<{points}.{len(to)}@sender.example>",
                   "--body", GTUBE.decode().strip() if points == 1000 else f"This is worth {points} points.")
    # fmt: on
    assert "250 2.0.0" in said, said


class Reader:
    """mbsync's copy of somebody's mail."""

    def __init__(self, who):
        self.home = rig.folder(f"mail-{who.split('@')[0]}")
        self.rc = self.home / "rc"
        self.rc.touch(mode=0o600)
        self.rc.write_text(
            f"IMAPAccount account\nHost mail.here.example\nUser {who}\nPass \"{world.PASSWORD}\"\nSSLType IMAPS\n"
            f"CertificateFile {authority.file}\nSystemCertificates no\n\nIMAPStore far\nAccount account\n\n"
            f"MaildirStore near\nPath {self.home}/\nInbox {self.home}/INBOX\nSubFolders Verbatim\n\n"
            "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync Pull\nSyncState *\n"
        )

    def found(self, points):
        """The folder and the text of the one message that is worth so many points; nothing where there is none."""
        rig.run("mbsync", "-c", self.rc, "all")
        all_of_it = [(file.parent.parent.name, file.read_text()) for file in self.home.glob("*/*/*") if file.is_file() and file.parent.name in ("new", "cur")]
        own = [(folder, text) for folder, text in all_of_it if re.search(rf"(?m)^Subject: .*\bworth {points}$", text)]
        assert len(own) < 2, own
        return own[0] if own else None


def held():
    return sorted((row["subject"], to["recipient"]) for row in ours.json("quarantine", "list") for to in row["recipients"] if to["status"] == "held")


with names.serving(), ours.serving():
    ours.people(BOB, EVE)
    bob, eve = Reader(BOB), Reader(EVE)

    with rig.step("between tag and tag2 the status alone"):
        swaks(4, BOB)
        folder, text = bob.found(4)
        assert folder == "INBOX" and "X-Spam-Status: No, score=" in text and "TEST_4=4" in text, text
        assert "X-Spam-Flag" not in text and "\nSubject: worth 4\n" in text, text

    with rig.step("between tag2 and kill flag and prefix, in Junk; from tag3 on the other prefix"):
        for points, tag in ((7, "[SPAM] "), (10, "[SPAM!] ")):
            swaks(points, BOB)
            folder, text = bob.found(points)
            assert folder == "Junk" and "X-Spam-Flag: YES" in text and f"\nSubject: {tag}worth {points}\n" in text, (folder, text)

    with rig.step("from kill on it is held, GTUBE too"):
        for points in (15, 1000):
            swaks(points, BOB)
            assert bob.found(points) is None
        assert held() == [("worth 1000", BOB), ("worth 15", BOB)], held()

    with rig.step("one sets a level and a friend of her own: the other does not notice"):
        ours.ask("filter", "settings", "set", EVE, "kill=40", "spammy=deliver")
        swaks(15, BOB, EVE)
        assert held() == [("worth 1000", BOB), ("worth 15", BOB), ("worth 15", BOB)], held()
        folder, text = eve.found(15)
        assert folder == "INBOX" and "X-Spam-Flag: YES" in text, (folder, text)
        ours.ask("filter", "senders", "set", EVE, "ann@sender.example", "-100")
        swaks(7, BOB, EVE)
        folder, text = eve.found(7)
        assert folder == "INBOX" and "X-Spam-" not in text, (folder, text)
        shown = {row["field"]: (row["value"], row["from"]) for row in ours.json("filter", "settings", "show", EVE)}
        assert shown["kill"] == ("40", EVE) and shown["tag2"] == ("6", None), shown
        shown = {row["field"]: (row["value"], row["from"]) for row in ours.json("filter", "settings", "show", BOB)}
        assert shown["kill"] == ("14", None), shown
