"""SRS by tcp_table: `postmap -q`, Postfix as a forwarder with stock canonical maps, and postsrsd with the same secret."""
# needs: namespaces ip openssl postfix postsrsd

import re
import smtplib

import rig
import world

world.enter()

SECRET = "a secret that both of us know"
names = world.Names()
HERE, FORWARDER, ORIGIN, RECEIVER = (world.address(last) for last in (10, 20, 30, 40))
names.put("rules.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("forward.example", f'@ MX 10 mx\nmx A {FORWARDER}\n@ TXT "v=spf1 mx -all"\n')
names.put("origin.example", f'@ MX 10 mx\nmx A {ORIGIN}\n@ TXT "v=spf1 mx -all"\n')
names.put("receiver.example", f"@ MX 10 mx\nmx A {RECEIVER}\n")

secret = world.place("secret") / "srs"
secret.write_text(SECRET + "\n")
secret.chmod(0o600)
ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[[listener]]\nname = "srs-forward"\nspeaks = "srs-forward"\nlisten = ["127.0.0.1:7778"]\n\n'
    '[[listener]]\nname = "srs-reverse"\nspeaks = "srs-reverse"\nlisten = ["127.0.0.1:7779"]\n\n'
    f'[srs]\ndomain = "forward.example"\nsecret = "{secret}"\n\n',
)  # fmt: skip
maps = world.place("maps")
(maps / "alias").write_text("bob@forward.example bob@receiver.example\ngone@forward.example gone@receiver.example\n")
(maps / "access").write_text("gone@receiver.example 550 5.1.1 nobody\n")
forwarder = world.Postfix(
    "mx.forward.example", FORWARDER, ["forward.example"], virtual_alias_maps=f"texthash:{maps}/alias",
    sender_canonical_maps="tcp:127.0.0.1:7778", sender_canonical_classes="envelope_sender",
    recipient_canonical_maps="tcp:127.0.0.1:7779", recipient_canonical_classes="envelope_recipient,header_recipient",
    smtpd_recipient_restrictions="reject_unauth_destination",
)  # fmt: skip
origin = world.Postfix("mx.origin.example", ORIGIN, ["origin.example"])
receiver = world.Postfix(
    "mx.receiver.example", RECEIVER, ["receiver.example"],
    smtpd_recipient_restrictions=f"reject_unauth_destination check_recipient_access texthash:{maps}/access",
)  # fmt: skip


def look(port, key, status=0):
    return rig.run("postmap", "-c", forwarder.etc, "-q", key, f"tcp:127.0.0.1:{port}", status=status).strip()


def arrive(recipient, subject):
    octets = rig.message(subject, b"Hello.\r\n", From="ann@origin.example", To=recipient)
    with smtplib.SMTP(FORWARDER, 25, local_hostname="mx.origin.example", source_address=(ORIGIN, 0), timeout=30) as smtp:
        smtp.sendmail("ann@origin.example", [recipient], octets)


with names.serving(), ours.serving():
    with rig.step("postmap: there and back"):
        ours.people("carl@local.example")
        written = look(7778, "ann@origin.example")
        assert re.fullmatch(r"SRS0=[A-Za-z0-9+/]{6}=[A-Z2-7]{2}=origin\.example=ann@forward\.example", written), written
        assert look(7779, written) == "ann@origin.example"
        for ours_already in ("carl@local.example", "x@forward.example"):
            assert look(7778, ours_already, status=1) == "", ours_already
        for no_srs in ("bob@forward.example", written.replace("=ann@", "=eve@"), "SRS0=AAAA=AA=a.example=b@forward.example"):
            assert look(7779, no_srs, status=1) == "", no_srs

    with rig.step("postsrsd reads ours, and we read postsrsd's"):
        world.background("postsrsd", f"-s{secret}", "-dforward.example", "-f10001", "-r10002", "-4", ready=lambda: world.opens("127.0.0.1", 10002))
        assert look(10002, written) == "ann@origin.example"
        made = look(10001, "eve@origin.example")
        print("postsrsd wrote", made)
        assert look(7779, made) == "eve@origin.example"
        assert look(7779, made.lower()) == "eve@origin.example", "somebody on the way folds case"
        again = look(7778, made.replace("@forward.example", "@other.example"))
        print("behind another forwarder:", again)
        assert re.fullmatch(r"SRS1=[^=]+=other\.example==[^=]+=[^=]+=origin\.example=eve@forward\.example", again), again
        back = made.replace("@forward.example", "@other.example")
        assert look(7779, again) == back and look(10002, again) == back

    with forwarder.serving(), origin.serving(), receiver.serving():
        with rig.step("Postfix forwards with our sender"):
            arrive("bob@forward.example", "sent on by Postfix")
            (octets,) = receiver.received(b"Subject: sent on by Postfix")
            path = re.search(rb"Return-Path: <([^>]*)>", octets)[1].decode()
            assert re.fullmatch(r"SRS0=\S+=origin\.example=ann@forward\.example", path), path

        with rig.step("a bounce finds its way back"):
            arrive("gone@forward.example", "it will bounce")
            (octets,) = origin.received(b"it will bounce")
            assert b"Delivered-To: ann@origin.example" in octets, octets
            assert not re.search(r"warning: .*tcp:127", forwarder.log()), forwarder.log()
