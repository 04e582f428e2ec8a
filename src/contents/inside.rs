//! What is found in messages that nobody meant badly.

use bytes::Bytes;

use crate::samples::{
    SEVENZ_AES, SEVENZ_BCJ, SEVENZ_BZIP2, SEVENZ_LZMA2, ZipMember, gzip, inside, octets, tar_member, told,
    with_attachment, with_attachments, zip,
};
use crate::{Attribute, Contents, FileRules, Kind, Limits, LinkOrigin};

/// What is in one attachment, from the attachment itself on.
fn in_file(name: &str, octets: &[u8]) -> Vec<String> {
    told(&inside(&with_attachment(name, octets)))
}

#[test]
fn a_path_is_written_as_amavis_writes_it() {
    let program = zip(&[ZipMember::deflated("sub/a.exe", b"\x7fELF\x02\x01\x01")]);
    let contents = inside(&with_attachments(&[("a.zip", &program), ("b.txt", b"text")]));
    assert_eq!(
        contents.path(3).to_string(),
        "P=p001,L=1,M=multipart/mixed | P=p003,L=1/2,M=application/octet-stream,T=zip,N=a.zip | \
         P=p004,L=1/2/1,T=exe,T=exe-unix,N=sub/a.exe"
    );
    assert_eq!(contents.path(4).level(), "1/3");
    assert_eq!(contents.nodes()[2].section.as_deref(), Some(&[2][..]));
    assert_eq!(contents.decoded(4).as_deref(), Some(&b"text"[..]));
    assert_eq!((contents.decoded(3), contents.limit(), contents.unchecked()), (None, None, None));
    assert_eq!(contents.leaves().map(|(at, _)| at).collect::<Vec<_>>(), [1, 3, 4]);
    let rules = FileRules::standard();
    let banned = rules.judge(&contents, &["default"]).expect("a program");
    assert_eq!((banned.node, banned.set, banned.rule), (3, "default", "program"));
    assert_eq!(rules.judge(&contents, &["archive", "default"]), None);
}

#[test]
fn archives_of_every_kind_are_looked_into() {
    let tar = [
        tar_member("d/", b'5', b""),
        tar_member("d/a.txt", b'0', b"hello\n"),
        tar_member("l", b'2', b""),
        vec![0; 1024],
    ]
    .concat();
    assert_eq!(
        in_file("a.tar", &tar),
        ["a.tar tar", "d/ unknown directory", "d/a.txt text", "l unknown symbolic-link"]
    );
    assert_eq!(
        in_file("a.tgz", &gzip(&tar_member("a.sh", b'0', b"#!/bin/sh\n"))),
        ["a.tgz gzip", "a.tar tar", "a.sh unix-script"]
    );
    for (name, packed) in [
        (
            "a.txt.xz",
            "fd377a585a000004e6d6b4460200210116000000742fe5a301000568656c6c6f0a000000a56097f194f6fde000011e06c12fa41d\
             1fb6f37d010000000004595a",
        ),
        ("a.txt.lzma", "5d00008000ffffffffffffffff00341949ee8ddd43f10ca2b7fffedfd000"),
        ("a.txt.zst", "28b52ffd000031000068656c6c6f0a"),
    ] {
        let told = in_file(name, &octets(packed));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], "a.txt text");
    }
    let ar = b"!<arch>\na.txt/          0           0     0     644     6         `\nhello\n".to_vec();
    assert_eq!(in_file("a.a", &ar), ["a.a ar", "a.txt text"]);
    let cpio = |name: &str, mode: u32, data: &str| {
        let mut member = format!(
            "070701{:08x}{mode:08x}{}{:08x}{}{:08x}{:08x}{name}\0",
            0,
            "0".repeat(32),
            data.len(),
            "0".repeat(32),
            name.len() + 1,
            0
        );
        member.extend(std::iter::repeat_n('\0', member.len().next_multiple_of(4) - member.len()));
        member.push_str(data);
        member.extend(std::iter::repeat_n('\0', member.len().next_multiple_of(4) - member.len()));
        member
    };
    let archive = [cpio("a.txt", 0o100_644, "hello"), cpio("d", 0o040_755, ""), cpio("TRAILER!!!", 0, "")].concat();
    assert_eq!(in_file("a.cpio", archive.as_bytes()), ["a.cpio cpio", "a.txt text", "d unknown directory"]);
    assert_eq!(in_file("a.txt", b"begin 644 c.txt\n#0V%T\n`\nend\n"), ["a.txt uuencoded", "c.txt text"]);
}

#[test]
fn what_is_locked_is_said_and_its_names_are_seen() {
    let mut locked = ZipMember::stored("secret.exe", b"xxxxxxxxxxxxyyyy");
    locked.flags = 1;
    let contents = inside(&with_attachment("a.zip", &zip(&[locked, ZipMember::stored("b", b"b")])));
    assert_eq!(told(&contents), ["a.zip zip", "secret.exe unknown encrypted", "b text"]);
    assert_eq!(contents.unchecked(), Some((Some(3), "encrypted")));

    // RAR 4: a main header, then a file with its flag for a password, and one that is stored.
    let header = |kind: u8, flags: u16, body: &[u8]| {
        let mut octets = vec![0, 0, kind];
        octets.extend_from_slice(&flags.to_le_bytes());
        octets.extend_from_slice(&u16::try_from(body.len() + 7).expect("short").to_le_bytes());
        octets.extend_from_slice(body);
        octets
    };
    let file = |name: &str, method: u8, data: &[u8]| {
        let len = u32::try_from(data.len()).expect("short").to_le_bytes();
        let mut body = [&len[..], &len, &[3], &[0; 8], &[29, method]].concat();
        body.extend_from_slice(&u16::try_from(name.len()).expect("short").to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(name.as_bytes());
        body
    };
    let rar = [
        b"Rar!\x1a\x07\0".to_vec(),
        header(0x73, 0, &[0; 6]),
        header(0x74, 0x8004, &file("a.exe", 0x33, b"????")),
        b"????".to_vec(),
        header(0x74, 0x8000, &file("b.sh", 0x30, b"#!/bin/sh")),
        b"#!/bin/sh".to_vec(),
        header(0x74, 0x8000, &file("c", 0x33, b"??")),
        b"??".to_vec(),
        header(0x7b, 0, &[]),
    ];
    assert_eq!(
        in_file("a.rar", &rar.concat()),
        ["a.rar rar", "a.exe unknown encrypted", "b.sh unix-script", "c unknown unopened"]
    );
    let hidden = [b"Rar!\x1a\x07\0".to_vec(), header(0x73, 0x80, &[0; 6])].concat();
    assert_eq!(in_file("a.rar", &hidden), ["a.rar rar encrypted"]);
    // RAR 5: sum, length, kind, flags, lengths; then a file that is stored, and the end.
    let five = b"Rar!\x1a\x07\x01\0ssss\x03\x01\0\0ssss\x0e\x02\x02\x05\0\x05\0\0\0\x05a.txthelloSSSS\x03\x05\0\0";
    assert_eq!(in_file("a.rar", five), ["a.rar rar", "a.txt text"]);
}

#[test]
fn winmail_gives_its_attachments() {
    let attribute = |id: u32, value: &[u8]| {
        let len = u32::try_from(value.len()).expect("short").to_le_bytes();
        [&[2][..], &id.to_le_bytes(), &len, value, &[0, 0]].concat()
    };
    let tnef = [
        b"\x78\x9f\x3e\x22\x01\0".to_vec(),
        attribute(0x0006_9002, b"x"),
        attribute(0x0001_8010, b"LONGNA~1.EXE\0"),
        attribute(0x0006_800f, b"\x7fELF\x01"),
        attribute(0x0006_9005, b"\x01\0\0\0\x1e\0\x07\x37\x01\0\0\0\x0d\0\0\0long name.exe\0\0\0"),
    ];
    assert_eq!(in_file("winmail.dat", &tnef.concat()), ["winmail.dat tnef", "long name.exe elf"]);
}

#[test]
fn office_documents_tell_of_macros_and_polyglots_are_zips() {
    let members = [
        ZipMember::deflated("[Content_Types].xml", b"<?xml version='1.0'?><x/>"),
        ZipMember::stored("word/vbaProject.bin", b"\x01\x02\x00"),
    ];
    let contents = inside(&with_attachment("a.docm", &zip(&members)));
    assert_eq!(contents.nodes()[2].kind, Kind::OfficeOpenXml);
    assert!(contents.nodes()[2].attributes.contains(Attribute::Macros));
    let picture = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &zip(&[ZipMember::stored("a.sh", b"#!/bin/sh")])].concat();
    assert_eq!(in_file("a.png", &picture), ["a.png png", "a.sh unix-script"]);
}

#[test]
fn messages_inside_are_walked_wherever_they_are() {
    let inner = b"From: a@b\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n<p>see <a href='http://a.example'>this</a>";
    let contents = inside(&with_attachment("a.eml", inner));
    assert_eq!(told(&contents), ["a.eml message", "html"]);
    assert_eq!(contents.texts().len(), 2);
    assert_eq!((contents.texts()[1].node, contents.texts()[1].text.as_str()), (3, "see this"));
    assert_eq!(
        (contents.links()[0].url.as_str(), contents.links()[0].origin),
        ("http://a.example", LinkOrigin::Anchor)
    );
    assert_eq!(contents.nodes()[3].section, None);
    // In a ZIP it is walked as well, but its text is not the letter's.
    let packed = inside(&with_attachment("a.zip", &zip(&[ZipMember::deflated("a.eml", inner)])));
    assert_eq!(told(&packed), ["a.zip zip", "a.eml message", "html"]);
    assert_eq!(packed.texts().len(), 1);

    let forwarded = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: in\r\n\r\none www.a.example\r\n--d--\r\n";
    let contents = inside(&Bytes::from(forwarded));
    let sections: Vec<_> = contents.nodes().iter().map(|node| node.section.clone().expect("seen by IMAP")).collect();
    assert_eq!(sections, [vec![], vec![1], vec![1, 1]]);
    assert_eq!(contents.decoded(2).as_deref(), Some(&b"one www.a.example"[..]));
    assert_eq!(contents.links()[0].url, "http://www.a.example");
}

#[test]
fn texts_are_decoded_once_with_their_charset_and_names() {
    let message = "Content-Type: multipart/alternative; boundary=d\r\n\r\n--d\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn\r\n--d\r\nContent-Type: text/html; charset=UTF-8; \
        name*=utf-8''%C3%BC.html\r\n\r\n<b>gr\u{fc}n</b><i hidden>x</i>\r\n--d\r\nContent-Transfer-Encoding: x-odd\r\n\r\n?\r\n--d--\r\n";
    let contents = inside(&Bytes::from(message));
    let texts: Vec<_> =
        contents.texts().iter().map(|text| (text.text.as_str(), text.is_html, text.hidden.as_str())).collect();
    assert_eq!(texts, [("gr\u{fc}n", false, ""), ("gr\u{fc}n", true, "x")]);
    assert_eq!(contents.charsets(), ["iso-8859-1", "utf-8"]);
    assert_eq!(contents.nodes()[2].names, ["\u{fc}.html"]);
    assert!(contents.nodes()[3].attributes.contains(Attribute::UnknownEncoding));
    assert_eq!(contents.html().parts, 1);
    let few = Contents::of(&Bytes::from(message), &Limits { text: 3, ..Limits::default() });
    assert_eq!(few.texts().iter().map(|text| text.text.len() + text.hidden.len()).sum::<usize>(), 3);
}

#[test]
fn seven_zip_is_read_with_its_packed_list() {
    for archive in [SEVENZ_LZMA2, SEVENZ_BZIP2, SEVENZ_BCJ] {
        let told = in_file("a.7z", &octets(archive));
        assert_eq!(told, ["a.7z 7z", "dir unknown directory", "a.txt text", "dir/b.exe elf", "c.txt text"]);
    }
    let contents = inside(&with_attachment("a.7z", &octets(SEVENZ_AES)));
    assert_eq!(told(&contents), ["a.7z 7z encrypted"]);
}
