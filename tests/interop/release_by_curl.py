"""A letter about held mail arrives, and curl follows its link: looking releases nothing, the button does, once; other links lead nowhere."""
# needs: namespaces ip openssl swaks curl psql

import re

import rig
import world

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("sender.example", f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n')
authority = world.Authority()
# Letters are written each hour, and whoever starts in between is in time for the last one.
ours = world.Posthorn(
    "mail.here.example", HERE, names, authority.issue("mail.here.example"),
    '[quarantine.digest]\nenable = true\nevery = "1 h"\nurl = "https://mail.here.example:8025/held"\n\n'
    f'[[listener]]\nname = "release"\nspeaks = "release"\nlisten = ["{HERE}:8025"]\ntls = "implicit"\n\n',
)  # fmt: skip
EVE = "eve@here.example"


def swaks(subject):
    # fmt: off
    rig.run("swaks", "--server", HERE, "--local-interface", CLIENT, "--ehlo", "client.sender.example", "--from", "ann@sender.example",
            "--to", EVE, "--header", f"Subject: {subject}", "--body", "A marble owl.")
    # fmt: on


def curl(path, *more):
    """The status, and the page."""
    said = rig.run("curl", "-sS", "--cacert", authority.file, "-w", "\n%{http_code}", *more, f"https://mail.here.example:8025{path}")
    page, code = said.rsplit("\n", 1)
    return int(code), page


def inbox(subject):
    return [octets for octets in ours.inbox(EVE) if f"\nSubject: {subject}\r".encode() in octets]


with names.serving():
    with ours.serving():
        ours.people(EVE)
        ours.ask("filter", "settings", "set", EVE, "spam=hold", "spammy=hold")
        ours.ask("filter", "senders", "set", EVE, "@sender.example", "50")
        for subject in ("first", "second"):
            swaks(subject)
        assert len(ours.json("quarantine", "list")) == 2
        # The moment that the letters of this hour were due becomes an earlier one: they are due again.
        rig.eventually(lambda: ours.sql("select count(*) from digest_round where done_at is not null").strip() != "0")
        ours.sql("update digest_round set due = due - interval '1 hour'")
    with ours.serving():
        with rig.step("a letter tells of both, with a link for each"):
            letter = ours.report(EVE, b"2 messages are held for you").decode()
            text = letter.replace("=\r\n", "").split("Content-Type: text/html")[0]
            links = re.findall(r"release  https://mail\.here\.example:8025/held(/release/\S+)", text)
            assert len(links) == 2, letter
        first, second = links
        with rig.step("looking releases nothing, and needs no login"):
            for _ in range(3):
                code, page = curl(first)
                assert code == 200 and "Release this message?" in page and EVE not in page, (code, page)
            assert not inbox("first") and not inbox("second")
        with rig.step("the button releases, once"):
            code, page = curl(first, "-X", "POST", "-d", "")
            assert code == 200 and "The message is released" in page, (code, page)
            assert len(inbox("first")) == 1 and not inbox("second")
            for more in ((), ("-X", "POST", "-d", "")):
                code, page = curl(first, *more)
                assert code == 410 and "released already" in page, (code, page)
            assert len(inbox("first")) == 1
        with rig.step("without the secret there is nothing"):
            for path in ("/", "/release/", "/release/x", second[:-1], second + "A", "/quarantine", "/metrics"):
                code, page = curl(path, "-X", "POST", "-d", "")
                assert code == 404, (path, code, page)
            assert not inbox("second")
        with rig.step("a link ends with its time"):
            ours.sql("update release_link set expires_at = now() - interval '1 minute'")
            for more in ((), ("-X", "POST", "-d", "")):
                code, page = curl(second, *more)
                assert code == 410 and "expired" in page, (code, page)
            assert not inbox("second")
        with rig.step("the quarantine as programs read it"):
            rows = {row["subject"]: row["recipients"][0]["status"] for row in ours.json("quarantine", "list", "--all")}
            assert rows == {"first": "released", "second": "held"}, rows
            (row,) = ours.json("quarantine", "list")
            (done,) = ours.json("quarantine", "requeue", row["id"])
            assert done["outcome"].startswith("still held: "), "nothing has changed: " + done["outcome"]
        with rig.step("an administrator lets it out, and its sender in from now on"):
            (done,) = ours.json("quarantine", "whitelist", row["id"])
            assert done["outcome"] == "released" and len(inbox("second")) == 1, done
            wanted = {(one["who"], one["sender"]): one["score"] for one in ours.json("filter", "senders", "list")}
            assert wanted[EVE, "ann@sender.example"] == -100, wanted
            swaks("third")
            assert len(inbox("third")) == 1 and ours.json("quarantine", "list") == []
