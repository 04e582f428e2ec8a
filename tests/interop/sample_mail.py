"""The sample mails that come with SpamAssassin, and mail of our own: what `filter test` says of each."""
# needs: namespaces ip openssl spamassassin

import pathlib

import rig
import world

world.enter()

SAMPLES = pathlib.Path("/usr/share/doc/spamassassin/examples")
OURS = pathlib.Path(__file__).resolve().parents[2] / "src/filter/score/samples"

names = world.Names()
ours = world.Posthorn("mail.rules.example", world.address(10), names, world.Authority().issue("mail.rules.example"))


def tested(file):
    """What the program says of a message in a file; a line of the table."""
    said = ours.json("filter", "test", str(file))
    points = " ".join(f"{point['name']}={point['value']:g}" for point in said["points"])
    print(f"{file.name:24} {said['score']:8g}  {said['level']:24}  {points}")
    return said


with names.serving():
    with rig.step("the sample spam is spam beyond doubt, by GTUBE"):
        said = tested(SAMPLES / "sample-spam.txt")
        assert said["score"] >= 1000 and "kill" in said["level"], said
        assert said["points"][0]["name"] == "GTUBE", said

    with rig.step("the sample that is none is not, nor anywhere near"):
        said = tested(SAMPLES / "sample-nonspam.txt")
        assert said["level"] == "clean" and said["score"] < 2, said

    with rig.step("without the test string the sample spam says nothing: it is a letter about one"):
        text = (SAMPLES / "sample-spam.txt").read_bytes().replace(b"XJS*C4JDBQADN1", b"XJS-C4JDBQADN1")
        file = rig.folder("letters") / "no-gtube.txt"
        file.write_bytes(text)
        assert tested(file)["level"] == "clean"

    with rig.step("newsletters and letters are clean or suspicious at most, spam of every kind is spam, untaught"):
        for file in sorted((OURS / "ham").glob("*.eml")):
            assert tested(file)["level"] in ("clean", "suspicious (tag)"), file
        for file in sorted((OURS / "spam").glob("*.eml")):
            assert tested(file)["level"].startswith("spam"), file
