//! Messages that are meant to take all time and all memory, or to hide what they carry.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::samples::{
    SEVENZ_BCJ, SEVENZ_LZMA2, ZipMember, finish_zip, gzip, inside, octets, tar_member, told, with_attachment,
    with_attachments, zip, zip_list_entry,
};
use crate::{Attribute, Contents, Kind, Limit, Limits};

/// Octets of zeros, gzipped; as a bomb for its size.
const ZEROS: usize = 8 << 20;

/// Nothing here may take long, even without optimization and on a busy machine.
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let made = work();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    made
}

fn small() -> Limits {
    Limits { expanded: 32 << 20, memory: 16 << 20, ..Limits::default() }
}

#[test]
fn a_nested_bomb_ends_at_the_quota() {
    let zeros = ZipMember::deflated("zeros", &vec![0; ZEROS]);
    let layer =
        |inner: &[u8]| zip(&(0..16).map(|at| ZipMember::deflated(&format!("{at}.zip"), inner)).collect::<Vec<_>>());
    // 16³ times 8 MiB: 32 GiB in some KiB.
    let bomb = layer(&layer(&zip(&vec![zeros; 16])));
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let contents = soon(|| Contents::of(&with_attachment("42.zip", &bomb), &small()));
    assert_eq!((contents.limit(), contents.unchecked()), (Some(Limit::Expansion), Some((None, "expansion"))));
    let unpacked: u64 = contents.leaves().map(|(_, node)| node.size).sum();
    assert!(unpacked < 40 << 20, "{unpacked}");
}

#[test]
fn members_that_share_octets_are_unpacked_once() {
    // One body, and 500 entries of the list that all lead to it.
    let member = ZipMember::deflated("a", &vec![0; 1 << 20]);
    let mut octets = zip(std::slice::from_ref(&member));
    octets.truncate(30 + 1 + member.packed.len());
    let list = zip_list_entry(&member, 0).repeat(500);
    finish_zip(&mut octets, &list, 500);
    let contents = soon(|| inside(&with_attachment("overlap.zip", &octets)));
    let nodes = &contents.nodes()[3..];
    assert_eq!(nodes.len(), 500);
    assert_eq!(nodes.iter().filter(|node| node.attributes.contains(Attribute::Overlapping)).count(), 499);
    assert_eq!(contents.limit(), None);
    assert!(contents.unchecked().is_some_and(|(_, what)| what == "overlapping"));
}

#[test]
fn fifteen_levels_are_one_too_many() {
    // The message and the attachment are two levels, so that 12 archives are 14.
    let nested = |levels: usize| (0..levels).fold(b"#!/bin/sh\n".to_vec(), |inner, _| gzip(&inner));
    let fits = inside(&with_attachment("a.gz", &nested(12)));
    assert_eq!(
        (fits.limit(), fits.nodes().last().map(|node| (node.depth, node.kind))),
        (None, Some((14, Kind::UnixScript)))
    );
    let deep = inside(&with_attachment("a.gz", &nested(13)));
    assert_eq!((deep.limit(), deep.unchecked()), (Some(Limit::Depth), Some((Some(14), "too-deep"))));

    let multiparts: String =
        (0..15).map(|at| format!("Content-Type: multipart/mixed; boundary={at}x\r\n\r\n--{at}x\r\n")).collect();
    let contents = inside(&Bytes::from(format!("{multipart}\r\nx", multipart = multiparts)));
    assert_eq!((contents.limit(), contents.nodes().len()), (Some(Limit::Depth), 14));
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(2000);
    assert_eq!(soon(|| inside(&Bytes::from(messages))).limit(), Some(Limit::Depth));
}

#[test]
fn what_contains_itself_ends_by_its_depth() {
    // A quine cannot be told from a tower of 100 levels; which a tower is easier to make.
    let tower = (0..100).fold(b"x".to_vec(), |inner, _| zip(&[ZipMember::stored("r.zip", &inner)]));
    let contents = soon(|| inside(&with_attachment("r.zip", &tower)));
    assert_eq!((contents.limit(), contents.nodes().len()), (Some(Limit::Depth), 15));
}

#[test]
fn there_are_three_thousand_nodes_and_no_more() {
    let parts = |count: usize| {
        let parts = "--b\r\n\r\nx\r\n".repeat(count);
        Bytes::from(format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n"))
    };
    let fits = inside(&parts(2999));
    assert_eq!((fits.limit(), fits.nodes().len()), (None, 3000));
    let many = soon(|| inside(&parts(3001)));
    assert_eq!((many.limit(), many.nodes().len(), many.unchecked()), (Some(Limit::Nodes), 3000, Some((None, "nodes"))));
    let empty: Vec<_> = (0..5000).map(|at| ZipMember::stored(&at.to_string(), b"")).collect();
    let many = soon(|| inside(&with_attachment("a.zip", &zip(&empty))));
    assert_eq!((many.limit(), many.nodes().len()), (Some(Limit::Nodes), 3000));
}

#[test]
fn sizes_that_lie_are_seen_and_believed_by_nobody() {
    let mut tiny = ZipMember::deflated("tiny", &vec![b'a'; 1 << 20]);
    tiny.claimed = 1;
    let mut huge = ZipMember::stored("huge", b"abc");
    huge.claimed = u32::MAX - 1;
    let contents = inside(&with_attachment("a.zip", &zip(&[tiny, huge])));
    assert_eq!(told(&contents), ["a.zip zip", "tiny text lying-size", "huge text lying-size"]);
    assert_eq!((contents.nodes()[3].size, contents.nodes()[4].size), (1 << 20, 3));
    // A header that says more than the file has.
    let mut tar = tar_member("a", b'0', b"x");
    tar.truncate(512);
    assert_eq!(told(&inside(&with_attachment("a.tar", &tar))), ["a.tar tar damaged"]);
    let text: String = (0..5000).map(|number| format!("{number} ")).collect();
    let packed = gzip(text.as_bytes());
    let cut = &packed[..packed.len() / 2];
    assert_eq!(told(&inside(&with_attachment("a.gz", cut)))[1], "a text damaged");
}

#[test]
fn names_that_leave_the_archive_and_links_are_marked() {
    let mut link = ZipMember::stored("link", b"/etc/passwd");
    link.mode = 0o120_777;
    let long = "x".repeat(5000);
    let members = [
        ZipMember::stored("/etc/cron.d/a", b"a"),
        ZipMember::stored("..\\..\\a", b"a"),
        ZipMember::stored("C:\\a", b"a"),
        link,
        ZipMember::stored(&long, b"a"),
    ];
    let contents = inside(&with_attachment("a.zip", &zip(&members)));
    let kept = format!("{} text long-name", &long[..1024]);
    assert_eq!(
        told(&contents),
        [
            "a.zip zip",
            "/etc/cron.d/a text absolute-path",
            "..\\..\\a text upwards",
            "C:\\a text absolute-path",
            "link unknown symbolic-link",
            kept.as_str()
        ]
    );
}

#[test]
fn a_list_that_hides_members_or_is_missing_is_seen_through() {
    let mut octets = zip(&[ZipMember::stored("a.exe", b"#!/bin/sh")]);
    octets.truncate(30 + 5 + 9);
    assert_eq!(told(&inside(&with_attachment("a.zip", &octets))), ["a.zip zip damaged", "a.exe unix-script unlisted"]);
    // Other names in the list than in front of the octets.
    let mut octets = zip(&[ZipMember::stored("a.exe", b"#!/bin/sh")]);
    octets[30..35].copy_from_slice(b"a.txt");
    assert_eq!(told(&inside(&with_attachment("a.zip", &octets)))[1], "a.exe unix-script unlisted");
}

#[test]
fn what_does_not_fit_in_memory_is_known_by_its_head() {
    let big = gzip(&tar_member("zeros", b'0', &vec![0; ZEROS]));
    let limits = Limits { memory: 1 << 20, floor: 32 << 20, ..Limits::default() };
    let contents = soon(|| Contents::of(&with_attachment("a.tgz", &big), &limits));
    assert_eq!(told(&contents), ["a.tgz gzip", "a.tar tar too-large"]);
    assert_eq!((contents.limit(), contents.nodes()[3].size > 8 << 20), (Some(Limit::Memory), true));
}

#[test]
fn steps_run_out_as_time_would() {
    let files: Vec<_> = (0..50).map(|at| ZipMember::deflated(&at.to_string(), &[b'x'; 4096])).collect();
    let limits = Limits { steps: 60, ..Limits::default() };
    let contents = Contents::of(&with_attachment("a.zip", &zip(&files)), &limits);
    assert_eq!((contents.limit(), contents.unchecked()), (Some(Limit::Steps), Some((None, "steps"))));
    assert!(contents.nodes().len() < 20);
}

#[test]
fn damaged_archives_end_somewhere() {
    // Every archive that the samples make, cut and bent at every place.
    let zip = zip(&[ZipMember::deflated("a", b"hello hello hello"), ZipMember::stored("b", b"x")]);
    let archives = [
        zip,
        gzip(b"hello"),
        tar_member("a", b'0', b"hello"),
        octets(SEVENZ_LZMA2),
        octets(SEVENZ_BCJ),
        b"Rar!\x1a\x07\x01\0ssss\x03\x01\0\0ssss\x0e\x02\x02\x05\0\x05\0\0\0\x05a.txthelloSSSS\x03\x05\0\0".to_vec(),
    ];
    for archive in archives {
        for at in 0..archive.len() {
            let mut bent = archive.clone();
            for value in [0, 0x7f, 0xff] {
                bent[at] = value;
                let contents = inside(&with_attachments(&[("a", &bent), ("b", &archive[..at])]));
                assert!(contents.nodes().len() < 50);
            }
        }
    }
}
