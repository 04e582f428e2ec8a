"""Our DKIM signatures as others see them: dkimpy and opendkim-testmsg, on what came over the wire."""
# needs: namespaces ip openssl smtp-sink dkimverify opendkim-testmsg python:dkim python:nacl python:dns

import re
import subprocess

import dkim

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, SINK = world.address(10), world.address(20)
RECORDS = f"@ MX 10 mail\nmail A {HERE}\n"
names.put("sender.example", RECORDS)
names.put("sink.example", f"@ MX 10 mx\nmx A {SINK}\n")
ours = world.Posthorn("mail.sender.example", HERE, names, authority.issue("mail.sender.example"))

TEXT = {"MIME_Version": "1.0", "Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "8bit", "From": "Ann <ann@sender.example>"}
MESSAGES = {
    **{name: octets.replace(b"From: Sender <sender@elsewhere.example>", b"From: Ann <ann@sender.example>") for name, octets in rig.awkward().items()},
    "all at once": rig.message("all at once", ".\r\n..\r\n.dot\r\nGrüße, 挨拶\r\n".encode() + b"x" * 998 + b"\r\n \t \r\n\r\n\r\n", **TEXT),
    "head": rig.message("=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n and   more\t of it", b"Hello\r\n", **{**TEXT, "Cc": "a@sink.example,\r\n\tb@sink.example"}),
}
kept = rig.folder("sink")
kept.chmod(0o777)


def records():
    """Publishes the keys as the program prints them."""
    text = ours.ask("dkim", "dns", "sender.example")
    names.put("sender.example", RECORDS + "".join(line + "\n" for line in text.splitlines() if line.strip()))
    return text


def arrived(octets):
    """What the sink was sent, without its own lines, as a file."""
    return [file for file in kept.iterdir() if octets in file.read_bytes().replace(b"\r\n", b"\n")]


def unframed(octets):
    """smtp-sink keeps messages with an envelope in front of it and an empty line behind, line ends as LF."""
    octets = octets.replace(b"\r\n", b"\n")
    while re.match(rb"X-[A-Za-z-]+:", octets) or octets.startswith(b"Received: from mail.sender.example"):
        octets = re.sub(rb"\A[^\n]*\n([ \t][^\n]*\n)*", b"", octets)
    return octets.removesuffix(b"\n").replace(b"\n", b"\r\n")


with names.serving(), ours.serving():
    ours.people("ann@sender.example")

    with rig.step("two keys are made, and their records published"):
        assert "ed25519" in ours.ask("dkim", "create", "sender.example")
        text = records()
        assert "k=rsa" in text and "k=ed25519" in text
        assert len(ours.json("dkim", "list")) == 2

    # smtp-sink writes what it is sent, dots and all.
    sink = world.background("smtp-sink", "-u", "nobody", "-d", f"{kept}/%M.", f"{SINK}:25", 100, ready=lambda: world.opens(SINK, 25))

    for name, octets in MESSAGES.items():
        with rig.step(name):
            ours.submit("ann@sender.example", [f"{name.replace(' ', '-')}@sink.example"], octets, options=["BODY=8BITMIME"])
            ours.traced(f"{name.replace(' ', '-')}@sink.example", "delivered")
            mark = re.search(rb"Message-ID: (\S+)", octets)[1]
            (file,) = rig.eventually(lambda mark=mark: arrived(mark))
            received = unframed(file.read_bytes())
            body = octets.split(b"\r\n\r\n", 1)[1]
            assert received.endswith(b"\r\n\r\n" + body + (b"" if body.endswith(b"\r\n") or not body else b"\r\n")), received[-300:]
            signatures = re.findall(rb"(?m)^DKIM-Signature:", received)
            assert len(signatures) == 2, received[:2000]

            verifier = dkim.DKIM(received)
            for index in range(2):
                assert verifier.verify(idx=index), f"dkimpy, signature {index}"
            algorithms = set(re.findall(rb"(?s)DKIM-Signature:.*?\ba=([a-z0-9-]+)", received))
            assert algorithms == {b"rsa-sha256", b"ed25519-sha256"}, algorithms
            assert all(value.lower().count(b"from") == 2 for value in re.findall(rb"(?s)\bh=([^;]+);", received)), "From is signed twice"

            for index in range(2):
                text = rig.run("dkimverify", "--index", index, stdin=received)
                assert "signature ok" in text, text
            print(subprocess.run(["opendkim-testmsg"], input=received, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout.decode())

    with rig.step("what was changed on the way is not accepted"):
        changed = received.replace(b"Hello", b"Hallo")
        assert not dkim.verify(changed)
        assert subprocess.run(["opendkim-testmsg"], input=changed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).returncode != 0
        again = received.replace(b"Subject:", b"From: Mallory <m@elsewhere.example>\r\nSubject:", 1)
        assert not dkim.verify(again), "a second From"

    with rig.step("after a rotation both the old and the new are published, and mail verifies"):
        ours.ask("dkim", "rotate", "sender.example", "--in", "0 s")
        text = records()
        assert text.count("k=rsa") == 2 and text.count("k=ed25519") == 2, text

        def signed_anew():
            octets = rig.message("after", b"Hello\r\n", **TEXT)
            ours.submit("ann@sender.example", ["after@sink.example"], octets)
            mark = re.search(rb"Message-ID: (\S+)", octets)[1]
            (file,) = rig.eventually(lambda: arrived(mark))
            after = unframed(file.read_bytes())
            assert dkim.DKIM(after).verify(idx=0) and dkim.DKIM(after).verify(idx=1)
            assert dkim.DKIM(received).verify(), "older mail still verifies"
            selectors = set(re.findall(rb"\bs=([^;]+);", received))
            return selectors.isdisjoint(re.findall(rb"\bs=([^;]+);", after))

        rig.eventually(signed_anew, 70)
