"""imapclient, the library behind many scripts and archivers: IDLE, MOVE, CONDSTORE, QUOTA, NAMESPACE, SPECIAL-USE."""
# needs: python:imapclient
# accounts: u9

import datetime

import imapclient
import rig
from imapclient import exceptions


def connect():
    client = imapclient.IMAPClient(rig.TLSNAME, port=rig.IMAPS_PORT, ssl=True, ssl_context=rig.tls(), timeout=60)
    client.login(rig.user(9), rig.PASSWORD)
    return client


client = connect()
awkward = rig.awkward()

with rig.step("logins, capabilities, ID"):
    plain = imapclient.IMAPClient(rig.TLSNAME, port=rig.IMAP_PORT, ssl=False, timeout=60)
    plain.starttls(rig.tls())
    assert b"Logged in" in plain.plain_login(rig.user(9), rig.PASSWORD)
    plain.logout()
    for capability in ("IMAP4REV1", "IDLE", "MOVE", "CONDSTORE", "QRESYNC", "QUOTA", "NAMESPACE", "SPECIAL-USE", "ENABLE", "ESEARCH", "LITERAL+"):
        assert client.has_capability(capability), capability
    assert not client.has_capability("SORT") and not any(b"THREAD" in name for name in client.capabilities())
    for command in (lambda: client.sort("ARRIVAL"), lambda: client.thread()):
        try:
            command()
        except exceptions.CapabilityError:
            continue
        raise AssertionError("not offered")
    assert b"name" in client.id_({"name": "imapclient", "version": "3"})[0]

with rig.step("folders, names in other alphabets, special use"):
    folders = {name: flags for flags, delimiter, name in client.list_folders() if delimiter == b"/"}
    assert set(folders) == set(rig.FOLDERS)
    for name, use in rig.FOLDERS.items():
        assert use is None or use.encode() in folders[name]
    for use in (b"\\Sent", b"\\Drafts", b"\\Trash", b"\\Junk", b"\\Archive"):
        assert client.find_special_folder(use) == use.decode().lstrip("\\")
    for name in ("Entwürfe & Söhne", "日本語/メール", "back\\slash \"quoted\""):
        client.create_folder(name)
        assert client.folder_exists(name), name
        assert name in [found for _, _, found in client.list_folders()]
        client.subscribe_folder(name)
        assert name in [found for _, _, found in client.list_sub_folders()]
        client.rename_folder(name, name + " 2")
        assert client.folder_exists(name + " 2") and not client.folder_exists(name)
        client.delete_folder(name + " 2")
    namespace = client.namespace()
    assert namespace.personal == (("", "/"),) and namespace.shared is None and namespace.other is None

with rig.step("append, fetch"):
    client.create_folder("Work")
    when = datetime.datetime(2021, 3, 2, 4, 5, 6, tzinfo=datetime.timezone.utc)
    for octets in awkward.values():
        assert b"APPENDUID" in client.append("Work", octets, flags=[imapclient.SEEN, b"$Custom"], msg_time=when)
    selected = client.select_folder("Work")
    assert selected[b"EXISTS"] == len(awkward) and selected[b"UIDNEXT"] == len(awkward) + 1
    assert b"\\*" in selected[b"PERMANENTFLAGS"] and not selected.get(b"READ-ONLY")
    uids = client.search()
    found = client.fetch(uids, ["BODY.PEEK[]", "RFC822.SIZE", "FLAGS", "INTERNALDATE", "ENVELOPE", "BODYSTRUCTURE", "MODSEQ"])
    client.normalise_times = False
    for uid, (name, octets) in zip(uids, awkward.items()):
        message = found[uid]
        rig.same(message[b"BODY[]"], octets, name)
        assert message[b"RFC822.SIZE"] == len(octets)
        assert set(message[b"FLAGS"]) - {imapclient.RECENT} == {imapclient.SEEN, b"$Custom"}
        envelope = message[b"ENVELOPE"]
        assert envelope.from_[0].mailbox == b"sender" and envelope.from_[0].host == b"elsewhere.example" and envelope.date.year == 2026
        assert message[b"BODYSTRUCTURE"].is_multipart == (name == "multipart")
        assert message[b"MODSEQ"][0] > 0
    assert found[uids[0]][b"INTERNALDATE"].timestamp() == when.timestamp()

with rig.step("search, also with other alphabets"):
    uid = {name: uids[index] for index, name in enumerate(awkward)}
    assert client.search(["BODY", "привет"], charset="UTF-8") == [uid["utf8"]]
    assert client.search(["OR", "BODY", "挨拶", "SUBJECT", "dots"], charset="UTF-8") == sorted([uid["utf8"], uid["dots"]])
    assert client.search(["SINCE", datetime.date(2021, 3, 2), "BEFORE", datetime.date(2021, 3, 3)]) == uids
    assert client.search(["NOT", ["SUBJECT", "big"]]) == [each for each in uids if each != uid["big"]]
    assert client.search(["TEXT", "here it was"]) == [uid["from"]]
    assert client.search("HEADER Message-ID interop.example") == uids
    assert client.search(["TEXT", "nowhere to be found"]) == []

with rig.step("flags"):
    assert client.add_flags(uid["dots"], imapclient.FLAGGED)[uid["dots"]]
    assert imapclient.FLAGGED in client.get_flags([uid["dots"]])[uid["dots"]]
    assert imapclient.FLAGGED not in client.remove_flags(uid["dots"], imapclient.FLAGGED)[uid["dots"]]
    assert client.set_flags([uid["dots"]], [imapclient.ANSWERED], silent=True) is None
    assert set(client.get_flags([uid["dots"]])[uid["dots"]]) - {imapclient.RECENT} == {imapclient.ANSWERED}

with rig.step("CONDSTORE"):
    other = connect()
    selected = client.select_folder("Work")
    highest = selected[b"HIGHESTMODSEQ"]
    assert client.fetch(uids, ["FLAGS"], modifiers=[f"CHANGEDSINCE {highest}"]) == {}
    other.select_folder("Work")
    other.add_flags(uid["big"], b"$Later")
    changed = client.fetch(uids, ["FLAGS"], modifiers=[f"CHANGEDSINCE {highest}"])
    assert list(changed) == [uid["big"]] and changed[uid["big"]][b"MODSEQ"][0] > highest
    assert client.search(["MODSEQ", str(highest + 1)])[:1] == [uid["big"]]
    assert client.folder_status("Work", ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"] > highest
    assert b"QRESYNC" in connect().enable("QRESYNC")

with rig.step("QUOTA"):
    root, quotas = client.get_quota_root("INBOX")
    assert root.mailbox == "INBOX"
    for quota in quotas:
        assert quota.usage >= 0 and (quota.limit == 0 or quota.limit >= quota.usage)
    try:
        client.set_quota([imapclient.imapclient.Quota(root.quota_roots[0] if root.quota_roots else "", "STORAGE", 0, 1)])
    except exceptions.IMAPClientError as error:
        assert "NOPERM" in str(error) or "administrator" in str(error), error
    else:
        raise AssertionError("people do not set their quota")

with rig.step("copy, move, expunge by UID"):
    client.copy([uid["dots"], uid["utf8"]], "Archive")
    client.move([uid["latin1"]], "Archive")
    assert client.folder_status("Archive", ["MESSAGES"])[b"MESSAGES"] == 3
    assert uid["latin1"] not in client.search()
    client.delete_messages([uid["empty"], uid["long"]])
    client.uid_expunge([uid["long"]])
    assert uid["long"] not in client.search() and uid["empty"] in client.search()
    client.expunge()
    assert uid["empty"] not in client.search()
    client.unselect_folder()
    client.select_folder("Archive", readonly=True)
    try:
        client.add_flags(1, imapclient.SEEN)
    except exceptions.IMAPClientError as error:
        assert "READ-ONLY" in str(error).upper() or "read-only" in str(error), error
    else:
        raise AssertionError("the mailbox is open for reading only")
    client.close_folder()

with rig.step("IDLE: arrivals, flags and expunges of others"):
    client.select_folder("INBOX")
    client.idle()
    assert client.idle_check(timeout=0.2) == []

    def awaited(wanted):
        news = []
        rig.eventually(lambda: (news.extend(client.idle_check(timeout=0.2)), wanted in [part[:2] for part in news])[1])
        return news

    rig.deliver(9, rig.message("while idle"))
    awaited((1, b"EXISTS"))
    rig.deliver(9, rig.message("again"), rig.message("and again"))
    awaited((3, b"EXISTS"))
    other.select_folder("INBOX")
    other.add_flags(2, imapclient.FLAGGED)
    news = awaited((2, b"FETCH"))
    assert imapclient.FLAGGED in dict(zip(*[iter([part for part in news if part[1] == b"FETCH"][-1][2])] * 2))[b"FLAGS"]
    other.move([1], "Trash")
    awaited((1, b"EXPUNGE"))
    said, rest = client.idle_done()
    assert said.lower().startswith((b"done", b"idle")), said
    assert client.search() == [2, 3]
    other.logout()

client.logout()

with rig.step("a wrong password"):
    wrong = imapclient.IMAPClient(rig.TLSNAME, port=rig.IMAPS_PORT, ssl=True, ssl_context=rig.tls(), timeout=60)
    try:
        wrong.login(rig.user(9), "wrong")
    except exceptions.LoginError as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    else:
        raise AssertionError("logged in")
