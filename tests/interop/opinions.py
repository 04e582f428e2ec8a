"""What others think of the same mail: opendmarc's verdicts, opendkim-testmsg's, dkimverify's and dkimpy's are ours, also about
ARC chains; and an aggregate report of ours is read by dmarc-cat."""
# needs: namespaces ip openssl postfix psql opendmarc opendkim-testmsg dkimverify dmarc-cat python:dkim python:dns

import base64
import re
import smtplib
import subprocess

import dkim

import rig
import world

world.enter()

names = world.Names()
authority = world.Authority()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))

rsa = rig.folder("key") / "rsa.pem"
subprocess.run(["openssl", "genrsa", "-traditional", "-out", rsa, "2048"], check=True, stderr=subprocess.DEVNULL)
public = subprocess.run(["openssl", "rsa", "-in", rsa, "-pubout", "-outform", "DER"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
p = base64.b64encode(public).decode()
KEY = f'one._domainkey{{}} TXT "v=DKIM1; k=rsa; " "p={p[:200]}" "{p[200:]}"\n'
POLICIES = {
    "strict.example": "v=DMARC1; p=reject; adkim=s; aspf=s",
    "relaxed.example": "v=DMARC1; p=quarantine; sp=reject; rua=mailto:rua@relaxed.example",
    "mild.example": "v=DMARC1; p=none",
    "silent.example": None,
}
for domain, policy in POLICIES.items():
    spf = f'@ TXT "v=spf1 ip4:{CLIENT} -all"\nmail TXT "v=spf1 ip4:{CLIENT} -all"\nbad TXT "v=spf1 -all"\n'
    names.put(domain, f"@ A {CLIENT}\nmail A {CLIENT}\nsub A {CLIENT}\n" + spf + KEY.format("") + KEY.format(".mail") + (f'_dmarc TXT "{policy}"\n' if policy else ""))
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
names.put("list.example", f"@ A {CLIENT}\n" + KEY.format(""))
names.put("rules.example", f"@ MX 10 mail\nmail A {HERE}\n")

# Author, reverse path, who signs, and whether the body is changed afterwards.
CASES = {
    "path of the domain": ("relaxed.example", "relaxed.example", None, False),
    "path below the domain": ("relaxed.example", "mail.relaxed.example", None, False),
    "path elsewhere": ("relaxed.example", "mild.example", None, False),
    "path that fails": ("relaxed.example", "bad.relaxed.example", None, False),
    "signature of the domain": ("relaxed.example", "mild.example", "relaxed.example", False),
    "signature below the domain": ("relaxed.example", "mild.example", "mail.relaxed.example", False),
    "signature elsewhere": ("relaxed.example", "mild.example", "strict.example", False),
    "signature broken": ("relaxed.example", "mild.example", "relaxed.example", True),
    "author below the domain": ("sub.relaxed.example", "mild.example", None, False),
    "author below, signature above": ("sub.relaxed.example", "mild.example", "relaxed.example", False),
    "strict, path of the domain": ("strict.example", "strict.example", None, False),
    "strict, path below": ("strict.example", "mail.strict.example", None, False),
    "strict, signature of the domain": ("strict.example", "mild.example", "strict.example", False),
    "strict, signature below": ("strict.example", "mild.example", "mail.strict.example", False),
    "strict, signature broken": ("strict.example", "mild.example", "strict.example", True),
    "mild, path of the domain": ("mild.example", "mild.example", None, False),
    "mild, nothing": ("mild.example", "strict.example", None, False),
    "no policy, path of the domain": ("silent.example", "silent.example", None, False),
    "no policy, nothing": ("silent.example", "mild.example", None, False),
}

# opendmarc 1.4.2 passes what `aspf=s` and `adkim=s` say it must not: the record wants the very domain (RFC 7489 section 3.1).
ODD = {"strict, path below": "pass", "strict, signature below": "pass"}

work = world.place("opendmarc")
(work / "suffixes").write_text("com\nexample\n")
(work / "conf").write_text(
    f"AuthservID opendmarc.example\nTrustedAuthservIDs mail.rules.example\nIgnoreHosts {work}/nobody\nPublicSuffixList {work}/suffixes\n"
    "Socket inet:8893@127.0.0.1\nRejectFailures false\nSyslog false\nSPFIgnoreResults false\nBackground false\nAutoRestart false\n"
)
(work / "nobody").write_text("203.0.113.99\n")
ours = world.Posthorn("mail.rules.example", HERE, names, authority.issue("mail.rules.example"), "[filter]\nenable = false\n\n[policy]\nenable = false\n")
theirs = world.Postfix("mx.there.example", THEIRS, ["there.example"], smtpd_milters="inet:127.0.0.1:8893", milter_default_action="tempfail", milter_protocol="6", smtpd_relay_restrictions="reject_unauth_destination")


def signed(octets, domain):
    return dkim.sign(octets, b"one", domain.encode(), rsa.read_bytes()) + octets


def sealed(octets, domain, says):
    """A hop of dkimpy's: it writes what it found, and seals."""
    octets = f"Authentication-Results: {domain}; {says}\r\n".encode() + octets
    return b"".join(dkim.arc_sign(octets, b"one", domain.encode(), rsa.read_bytes(), domain.encode())) + octets


def deliver(where, sender, recipient, octets):
    with smtplib.SMTP(where, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.example") as smtp:
        smtp.sendmail(sender, [recipient], octets)


def judged(octets, sender):
    """What we store of a message, and what we found: methods with their results, and the whole field."""
    token = re.search(rb"Message-ID: (\S+)", octets)[1]
    deliver(HERE, sender, "ann@rules.example", octets)
    stored = ours.report("ann@rules.example", token)
    field = re.search(rb"(?m)^Authentication-Results: mail\.rules\.example;((?:.*\r\n)(?:[ \t].*\r\n)*)", stored)[1].decode()
    return stored, {method: result for method, result in re.findall(r"\s(spf|dkim|arc|dmarc|iprev)=(\w+)", field)}, field


def status(*command, octets):
    done = subprocess.run(command, input=octets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(command[0], done.returncode, done.stdout.decode(errors="replace").strip())
    return done.returncode


with names.serving(), ours.serving(), theirs.serving():
    ours.people("ann@rules.example")
    world.background("opendmarc", "-f", "-c", work / "conf", ready=lambda: world.opens("127.0.0.1", 8893))
    counted = {"pass": 0, "fail": 0, "none": 0}

    for name, (author, path, signer, changed) in CASES.items():
        with rig.step(name):
            octets = rig.message(name, b"Hello, this is a message.\r\n", **{"From": f"Ann <ann@{author}>", "To": "ann@rules.example"})
            if signer:
                octets = signed(octets, signer)
            if changed:
                octets = octets.replace(b"Hello", b"Hullo")
            stored, found, field = judged(octets, f"bounce@{path}")
            print(field)

            # The same, with what we found of SPF and DKIM on top, past opendmarc.
            token = re.search(rb"Message-ID: (\S+)", octets)[1]
            deliver(THEIRS, f"bounce@{path}", "bob@there.example", stored)
            (passed,) = theirs.received(token)
            opinion = re.search(rb"(?m)^Authentication-Results: opendmarc\.example;((?:.*\r\n)(?:[ \t].*\r\n)*)", passed)[1].decode()
            print("opendmarc:", opinion.strip())
            theirs_says = re.search(r"dmarc=(\w+)", opinion)[1]
            if name in ODD:
                assert (found["dmarc"], theirs_says) == ("fail", ODD[name]), (found, opinion)
            else:
                assert found["dmarc"] == theirs_says, (found, opinion)
            counted[found["dmarc"]] += 1
            if theirs_says == "fail":
                policy = re.search(r"policy\.dmarc=(\w+)", field)[1]
                assert f"p={policy}" in opinion, (field, opinion)

            if signer:
                whole = found["dkim"] == "pass"
                assert whole != changed, found
                assert (status("opendkim-testmsg", octets=octets) == 0) == whole
                assert (status("dkimverify", octets=octets) == 0) == whole
                assert dkim.verify(octets) == whole
            else:
                assert found["dkim"] == "none", found

    with rig.step("there was some of each"):
        print(counted)
        assert counted["pass"] >= 8 and counted["fail"] >= 8 and counted["none"] == 2, counted

    plain = signed(rig.message("a chain", b"Hello, this is a message.\r\n", From="Ann <ann@relaxed.example>", To="ann@rules.example"), "relaxed.example")
    once = sealed(plain, "list.example", "dkim=pass header.d=relaxed.example")
    twice = sealed(once, "strict.example", "arc=pass")
    changed = twice.replace(b"Hello", b"Hullo")
    torn = re.sub(rb"(?m)^ARC-Seal: i=1;(.*\r\n)([ \t].*\r\n)*", b"", twice)
    reworded = twice.replace(b"dkim=pass header.d=relaxed.example", b"dkim=pass header.d=bank.example", 1)
    chains = {"none": plain, "one hop": once, "two hops": twice, "changed": changed, "torn": torn, "reworded": reworded}
    # The next hop seals that the chain is broken, and dkimpy has no more to say about such a chain; it is one that fails.
    chains["changed, then sealed"] = sealed(once.replace(b"Hello", b"Hullo"), "strict.example", "arc=fail")
    for name, octets in chains.items():
        with rig.step(f"chain: {name}"):
            octets = octets.replace(b"Message-ID: <", b"Message-ID: <" + name.replace(" ", "").encode(), 1) if octets is plain else octets
            deliver(HERE, "bounce@list.example", "ann@rules.example", octets)
            verdict, _, reason = dkim.arc_verify(octets)
            stored = ours.inbox("ann@rules.example")[-1]
            word = re.search(rb"arc=(\w+)", stored)[1]
            print("dkimpy:", verdict, reason, "ours:", word)
            assert (verdict or b"fail").lower() == word, (verdict, reason, stored[:3000])

    with rig.step("dmarc-cat reads our report"):
        ours.ask("dkim", "create", "mail.rules.example")
        # It is about a day that is over: what was counted today is moved there.
        rig.eventually(lambda: ours.sql("select count(*) from dmarc_count").strip() not in ("", "0"))
        ours.sql("update dmarc_count set day = day - 1")
        reports = ours.json("dmarc", "send", "--dry-run")
        (report,) = [one for one in reports if one["domain"] == "relaxed.example"]
        assert report["to"] == ["rua@relaxed.example"] and report["outcome"] == "would be sent", report
        print(report["document"])
        file = rig.folder("report") / report["file"].removesuffix(".gz")
        file.write_text(report["document"])
        read = rig.run("dmarc-cat", "-N", file)
        assert "relaxed.example" in read and str(CLIENT) in read, read
        done = ours.json("dmarc", "send")
        assert [one["outcome"] for one in done if one["domain"] == "relaxed.example"] == ["sent"], done
        assert ours.json("dmarc", "send") == [], "once"
