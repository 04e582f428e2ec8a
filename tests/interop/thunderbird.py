"""What Thunderbird says from start to a waiting inbox, word for word, and every answer it needs."""
# accounts: u19

import base64
import re

import rig

HEADERS = "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To"
AGENT = '("name" "Thunderbird" "version" "128.5.0")'


class Session:
    def __init__(self, secure):
        self.lines = rig.Lines(rig.IMAPS_PORT if secure else rig.IMAP_PORT, secure=secure)
        self.number = 0
        greeting = self.response()
        assert greeting.startswith(b"* OK "), greeting

    def response(self):
        """One response with its literals."""
        response = b""
        while True:
            response += self.lines.line()
            assert response.endswith(b"\r\n"), response
            literal = re.search(rb"\{(\d+)\}\r\n\Z", response)
            if not literal:
                return response[:-2]
            response += self.lines.exactly(int(literal[1]))

    def begin(self, command):
        self.number += 1
        self.lines.send(b"%d %s\r\n" % (self.number, command.encode()))

    def end(self, status=b"OK"):
        """The untagged responses up to the tagged one, which comes last."""
        responses = []
        while True:
            response = self.response()
            responses.append(response)
            if not response.startswith(b"* "):
                assert response.startswith(b"%d %s " % (self.number, status)), response
                return responses

    def ask(self, command, status=b"OK"):
        self.begin(command)
        return self.end(status)


def some(responses, pattern):
    found = [match for match in (re.match(pattern, response, re.DOTALL) for response in responses) if match]
    assert found, f"no {pattern} in {responses}"
    return found


def log_in(session, initial):
    words = some(session.ask("capability"), rb"\* CAPABILITY (.*)")[0][1].split()
    for word in (b"IMAP4rev1", b"AUTH=PLAIN", b"SASL-IR", b"ID", b"ENABLE"):
        assert word in words, (word, words)
    response = base64.b64encode(f"\0{rig.user(19)}\0{rig.PASSWORD}".encode()).decode()
    if initial:
        last = session.ask(f"authenticate PLAIN {response}")[-1]
    else:
        session.begin("authenticate PLAIN")
        assert session.response() in (b"+ ", b"+")
        session.lines.send(response.encode() + b"\r\n")
        last = session.end()[-1]
    # What holds now comes along, so that nobody has to ask.
    words = re.search(rb"\[CAPABILITY ([^\]]*)\]", last)[1].split()
    for word in b"IDLE NAMESPACE UIDPLUS MOVE CONDSTORE QRESYNC SPECIAL-USE LIST-EXTENDED QUOTA LITERAL+ ID ENABLE".split():
        assert word in words, word


for secure in (True, False):
    with rig.step("greeting, TLS, login"):
        session = Session(secure)
        if not secure:
            words = some(session.ask("capability"), rb"\* CAPABILITY (.*)")[0][1].split()
            assert b"STARTTLS" in words
            session.ask("STARTTLS")
            session.lines.start_tls()
        log_in(session, initial=secure)

    with rig.step("ID, NAMESPACE, ENABLE"):
        some(session.ask(f"ID {AGENT}"), rb'\* ID \("name" "Posthorn".*\)')
        some(session.ask("namespace"), rb'\* NAMESPACE \(\("" "/"\)\) NIL NIL')
        some(session.ask("ENABLE UTF8=ACCEPT"), rb"\* ENABLED UTF8=ACCEPT")

    with rig.step("LIST, LSUB, STATUS"):
        special = some(session.ask('list (SPECIAL-USE) "" "*"'), rb'\* LIST \(([^)]*)\) "/" "?([^"]*)"?')
        assert {match[2].decode() for match in special} == set(rig.FOLDERS) - {"INBOX"}
        session.ask('list "" "" RETURN (SPECIAL-USE)')
        [root] = some(session.ask('list "" ""'), rb'\* LIST \(([^)]*)\) "/" (.*)')
        assert b"\\Noselect" in root[1] and root[2] == b'""', root[0]
        listed = some(session.ask('list "" "*" RETURN (SPECIAL-USE)'), rb'\* LIST \(([^)]*)\) "/" "?([^"]*)"?')
        uses = {match[2].decode(): match[1].decode().split() for match in listed}
        for name, use in rig.FOLDERS.items():
            assert name in uses and (use is None or use in uses[name]), uses
        subscribed = some(session.ask('lsub "" "*"'), rb'\* LSUB \(([^)]*)\) "/" "?([^"]*)"?')
        assert {match[2].decode() for match in subscribed} >= {"INBOX"}
        some(session.ask('list "" "INBOX"'), rb'\* LIST \([^)]*\) "/" "?INBOX"?')
        session.ask('create "Trash"', b"NO")
        session.ask('subscribe "Trash"')
        rig.deliver(19, *rig.awkward().values())
        # A mailbox that is not open is looked at in passing.
        found = some(session.ask('STATUS "Sent" (UIDNEXT MESSAGES UNSEEN RECENT)'), rb'\* STATUS "?Sent"? \((.*)\)')
        assert re.match(rb"UIDNEXT \d+ MESSAGES %d UNSEEN 0" % (not secure), found[0][1]), found[0][1]
        some(session.ask("getquotaroot INBOX"), rb"\* QUOTAROOT \"?INBOX\"?")

    with rig.step("select the inbox, flags of all"):
        answers = session.ask('select "INBOX" (CONDSTORE)')
        [exists] = some(answers, rb"\* (\d+) EXISTS")
        [flags] = some(answers, rb"\* FLAGS \((.*)\)")
        [permanent] = some(answers, rb"\* OK \[PERMANENTFLAGS \((.*)\)\]")
        [validity] = some(answers, rb"\* OK \[UIDVALIDITY (\d+)\]")
        [following] = some(answers, rb"\* OK \[UIDNEXT (\d+)\]")
        [modseq] = some(answers, rb"\* OK \[HIGHESTMODSEQ (\d+)\]")
        assert b"[READ-WRITE]" in answers[-1] and b"\\*" in permanent[1] and b"\\Flagged" in flags[1]
        count = int(exists[1])
        all_flags = some(session.ask("UID fetch 1:* (FLAGS)"), rb"\* (\d+) FETCH \((?=.*UID (\d+))(?=.*FLAGS \(([^)]*)\))")
        assert [int(match[1]) for match in all_flags] == list(range(1, count + 1))
        assert int(all_flags[-1][2]) == int(following[1]) - 1
        # A search of what is new: nobody has seen them.
        [unseen] = some(session.ask("UID search UNSEEN UNDELETED"), rb"\* SEARCH(.*)")
        assert len(unseen[1].split()) == len(rig.awkward())

    with rig.step("headers of all, as Thunderbird asks for them"):
        first = int(all_flags[0][2])
        fetched = session.ask(f"UID fetch {first}:{int(following[1]) - 1} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({HEADERS})])")
        items = some(fetched, rb"\* (\d+) FETCH \((?=.*UID \d+)(?=.*RFC822.SIZE (\d+))(?=.*FLAGS \()(?=.*BODY\[HEADER.FIELDS \((.*?)\)\] \{(\d+)\}\r\n)(.*)\)\Z")
        assert len(items) == count
        assert all(match[3].lower() == HEADERS.lower().encode() for match in items)
        subjects = [re.search(rb"(?m)^Subject: (.*?)\r$", match[5])[1] for match in items]
        assert subjects[-len(rig.awkward()):] == [name.encode() if name != "folded" else b"a subject" for name in rig.awkward()]
        assert b"\r\n that is folded\r\n\tthree times\r\n" in items[-3][5], items[-3][5]

    with rig.step("open a message in chunks, then mark it"):
        uid = int(following[1]) - 1
        [size] = some(session.ask(f"UID fetch {uid} (UID RFC822.SIZE BODY.PEEK[]<0.20480>)"), rb"\* \d+ FETCH \((?=.*RFC822.SIZE (\d+))(?=.*BODY\[\]<0> \{20480\})")
        whole, at = b"", 0
        while at < int(size[1]):
            [part] = some(session.ask(f"UID fetch {uid} (UID BODY.PEEK[]<{at}.500000>)"), rb"\* \d+ FETCH \(.*?BODY\[\]<%d> \{(\d+)\}\r\n" % at)
            whole += part.string[part.end() : part.end() + int(part[1])]
            at += int(part[1])
            assert int(part[1])
        assert len(whole) == int(size[1]) and whole.endswith(b"\r\n" + b"0123456789abcdef" * 4 + b"\r\n")
        [stored] = some(session.ask(f"UID store {uid} +Flags (\\Seen)"), rb"\* \d+ FETCH \((?=.*FLAGS \(([^)]*)\))(?=.*MODSEQ \((\d+)\))")
        assert b"\\Seen" in stored[1] and int(stored[2]) > int(modseq[1])
        some(session.ask(f"UID store {uid} +Flags ($Junk NonJunk)"), rb"\* \d+ FETCH \(.*NonJunk")
        some(session.ask("noop"), rb"\d+ OK")

    with rig.step("a copy of sent mail, a draft, the trash"):
        octets = rig.message("sent by Thunderbird")
        session.begin(f'append "Sent" (\\Seen) {{{len(octets)}}}')
        assert session.response().startswith(b"+")
        session.lines.send(octets + b"\r\n")
        assert re.search(rb"\[APPENDUID \d+ \d+\]", session.end()[-1])
        assert re.search(rb"\[COPYUID \d+ %d \d+\]" % uid, b" ".join(session.ask(f'uid move {uid} "Trash"')))
        assert not re.search(rb"UID %d\b" % uid, b" ".join(session.ask("UID fetch 1:* (FLAGS)")))

    with rig.step("IDLE: what others do is told at once"):
        session.begin("IDLE")
        assert session.response().startswith(b"+")
        rig.deliver(19, rig.message("pushed"))
        assert session.response() == b"* %d EXISTS" % count
        other = rig.Imap(19)
        other.ok("select", "INBOX")
        other.ok("store", "1", "+FLAGS", "(\\Flagged)")
        told = [session.response()]
        while b" FETCH " not in told[-1]:
            told.append(session.response())
        assert b"\\Flagged" in told[-1], told
        other.ok("store", "1:*", "+FLAGS.SILENT", "(\\Deleted)")
        other.ok("expunge")
        told, left = [], count
        while left:
            told.append(session.response())
            if told[-1].endswith(b" EXPUNGE"):
                assert 1 <= int(told[-1].split()[1]) <= left
                left -= 1
        other.logout()
        session.lines.send(b"DONE\r\n")
        session.end()
        some(session.ask("UID fetch 1:* (FLAGS)"), rb"\d+ OK")

    with rig.step("a second connection comes back with QRESYNC"):
        again = Session(True)
        log_in(again, initial=True)
        some(again.ask("ENABLE QRESYNC CONDSTORE"), rb"\* ENABLED (?=.*QRESYNC)")
        answers = again.ask(f'select "INBOX" (QRESYNC ({validity[1].decode()} {modseq[1].decode()} 1:{uid}))')
        [gone] = some(answers, rb"\* VANISHED \(EARLIER\) (\S+)")
        last = max(int(number) for number in re.findall(rb"\d+", gone[1]))
        assert last >= uid, gone[1]
        some(again.ask("LOGOUT"), rb"\* BYE")
        assert again.lines.line() == b"", "the connection ends"

    with rig.step("goodbye"):
        session.ask("close")
        some(session.ask("logout"), rb"\* BYE")
        assert session.lines.line() == b""
