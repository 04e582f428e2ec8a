"""curl lists, reads, searches and appends by IMAP and submits by SMTP, with TLS from the start and with STARTTLS."""
# needs: curl
# accounts: u2 u3

import rig

USER = rig.user(2)
OTHER = rig.user(3)
IMAPS = f"imaps://{rig.TLSNAME}:{rig.IMAPS_PORT}"
IMAP = f"imap://{rig.TLSNAME}:{rig.IMAP_PORT}"


def curl(*arguments, number=2, status=0):
    return rig.run("curl", "--silent", "--show-error", "--cacert", rig.CAFILE, "--user", f"{rig.user(number)}:{rig.PASSWORD}", *arguments, status=status)


def fetched(url, *arguments):
    """The octets that curl writes into a file."""
    path = rig.folder("curl") / "out"
    curl("--output", path, *arguments, url)
    return path.read_bytes()


awkward = {name: octets for name, octets in rig.awkward().items() if name != "unended"}
rig.deliver(2, *awkward.values())

for name, base, arguments in [("imaps", IMAPS, []), ("STARTTLS", IMAP, ["--ssl-reqd"])]:
    with rig.step(f"{name}: list, examine, status"):
        listed = curl(*arguments, base + "/")
        for mailbox, use in rig.FOLDERS.items():
            assert any(line.endswith(f' {mailbox}') and (use or "") in line for line in listed.splitlines()), mailbox
        assert f"* {len(awkward)} EXISTS" in curl(*arguments, "--request", "EXAMINE INBOX", base + "/")
        assert f"MESSAGES {len(awkward)}" in curl(*arguments, "--request", "STATUS INBOX (MESSAGES UIDNEXT)", base + "/")

    with rig.step(f"{name}: fetch by MAILINDEX and UID"):
        for index, octets in enumerate(awkward.values(), 1):
            whole = fetched(f"{base}/INBOX;MAILINDEX={index}", *arguments)
            rig.same(rig.bare(whole), octets, f"message {index}")
            rig.same(fetched(f"{base}/INBOX;UID={index}", *arguments), whole, f"UID {index}")
        last = fetched(f"{base}/INBOX;MAILINDEX=*", *arguments)
        rig.same(rig.bare(last), list(awkward.values())[-1], "the last message")

    with rig.step(f"{name}: sections"):
        index = list(awkward).index("multipart") + 1
        assert fetched(f"{base}/INBOX;MAILINDEX={index};SECTION=1", *arguments) == b"one"
        assert fetched(f"{base}/INBOX;MAILINDEX={index};SECTION=2", *arguments).strip() == b"AAECAwQ="
        text = fetched(f"{base}/INBOX;MAILINDEX={index};SECTION=TEXT", *arguments)
        rig.same(text, awkward["multipart"].split(b"\r\n\r\n", 1)[1], "SECTION=TEXT")
        field = fetched(f"{base}/INBOX;MAILINDEX={index};SECTION=HEADER.FIELDS%20(SUBJECT)", *arguments)
        assert field == b"Subject: multipart\r\n\r\n", field
        # What is not there is an error, never another message.
        curl(*arguments, f"{base}/INBOX;MAILINDEX=99", status=78)
        curl(*arguments, f"{base}/INBOX;UID=99", status=78)
        curl(*arguments, f"{base}/Nowhere;MAILINDEX=1", status=67)

    with rig.step(f"{name}: search, flags"):
        assert curl(*arguments, f"{base}/INBOX?SUBJECT%20utf8").strip() == "* SEARCH " + str(list(awkward).index("utf8") + 1)
        assert curl(*arguments, "--request", "SEARCH LARGER 100000", f"{base}/INBOX").strip() == "* SEARCH " + str(list(awkward).index("big") + 1)
        assert curl(*arguments, "--request", "SEARCH FROM nobody-at-all", f"{base}/INBOX").strip() == "* SEARCH"
        assert "\\Flagged" in curl(*arguments, "--request", "STORE 2 +FLAGS (\\Flagged)", f"{base}/INBOX")
        assert curl(*arguments, "--request", "SEARCH FLAGGED", f"{base}/INBOX").strip() == "* SEARCH 2"

    with rig.step(f"{name}: append with -T, create, copy, delete"):
        curl(*arguments, "--request", "CREATE Curl", base + "/")
        for index, octets in enumerate(awkward.values(), 1):
            path = rig.folder("curl") / "message"
            path.write_bytes(octets)
            curl(*arguments, "--upload-file", path, f"{base}/Curl")
            rig.same(fetched(f"{base}/Curl;MAILINDEX={index}", *arguments), octets, f"appended {index}")
        curl(*arguments, "--request", "COPY 1:2 Archive", f"{base}/Curl")
        assert "MESSAGES 2" in curl(*arguments, "--request", "STATUS Archive (MESSAGES)", base + "/")
        curl(*arguments, "--request", "STORE 1:* +FLAGS.SILENT (\\Deleted)", f"{base}/Archive")
        assert curl(*arguments, "--request", "EXPUNGE", f"{base}/Archive").count(" EXPUNGE\n") == 2
        assert "MESSAGES 0" in curl(*arguments, "--request", "STATUS Archive (MESSAGES)", base + "/")
        curl(*arguments, "--request", "DELETE Curl", base + "/")
        assert "Curl" not in curl(*arguments, base + "/")

with rig.step("login options"):
    for arguments in [[], ["--sasl-ir"]]:
        assert "INBOX" in curl(*arguments, "--login-options", "AUTH=PLAIN", IMAPS + "/")
    rig.run("curl", "--silent", "--cacert", rig.CAFILE, "--user", f"{USER}:wrong", IMAPS + "/", status=67)
    # The certificate is not for this name, and nobody else vouches for it.
    rig.run("curl", "--silent", "--user", f"{USER}:{rig.PASSWORD}", IMAPS + "/", status=60)

SUBMIT = [
    ("smtps", f"smtps://{rig.TLSNAME}:{rig.SUBMISSIONS_PORT}/client.example", []),
    ("STARTTLS", f"smtp://{rig.TLSNAME}:{rig.SUBMISSION_PORT}/client.example", ["--ssl-reqd"]),
]
imap = rig.Imap(3)
for name, url, arguments in SUBMIT:
    with rig.step(f"submit by {name}"):
        for octets in awkward.values():
            octets = octets.replace(b"sender@elsewhere.example", USER.encode())
            path = rig.folder("curl") / "message"
            path.write_bytes(octets)
            curl(*arguments, "--mail-from", USER, "--mail-rcpt", OTHER, "--upload-file", path, url)
            imap.ok("select", "INBOX")
            rig.same(rig.bare(imap.octets(imap.uids()[-1])), octets, "submitted")
    with rig.step(f"refusals by {name}"):
        path = rig.folder("curl") / "message"
        path.write_bytes(rig.message("refused"))
        # The answer is an error and names the reason.
        said = curl(*arguments, "-v", "--mail-from", "somebody@else.example", "--mail-rcpt", OTHER, "--upload-file", path, url, status=55)
        assert "553 5.7.1" in said, said
        said = curl(*arguments, "-v", "--mail-from", USER, "--mail-rcpt", "nobody-here@example.org", "--upload-file", path, url, status=55)
        assert "550 5.1.1" in said, said
        said = curl(*arguments, "-v", "--mail-from", USER, "--mail-rcpt", "a@b.example", "--upload-file", path, url)
        assert "250 2.0.0 queued as " in said, said
    for mechanism in ["PLAIN", "LOGIN"]:
        with rig.step(f"{name} with {mechanism}"):
            path.write_bytes(rig.message(f"with {mechanism}"))
            curl(*arguments, "--login-options", f"AUTH={mechanism}", "--mail-from", USER, "--mail-rcpt", OTHER, "--mail-rcpt", USER, "--upload-file", path, url)

with rig.step("without a login nothing is submitted"):
    said = rig.run("curl", "-sv", "--cacert", rig.CAFILE, "--mail-from", USER, "--mail-rcpt", OTHER, "--upload-file", path, SUBMIT[0][1], status=55)
    assert "530 5.7.0" in said, said
