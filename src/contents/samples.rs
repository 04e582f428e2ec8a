//! Messages and archives for tests.

use std::io::Write as _;

use bytes::Bytes;

use crate::{Contents, Limits};

/// A message with one attachment in base64.
pub(crate) fn with_attachment(name: &str, octets: &[u8]) -> Bytes {
    with_attachments(&[(name, octets)])
}

/// A message with a text and attachments.
pub(crate) fn with_attachments(files: &[(&str, &[u8])]) -> Bytes {
    let mut message = b"Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nFrom: a@example.org\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"=b\"\r\n\r\n--=b\r\n\r\nHello.\r\n"
        .to_vec();
    for (name, octets) in files {
        let head = format!(
            "--=b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n"
        );
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(&base64(octets));
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"--=b--\r\n");
    message.into()
}

/// Octets of hexadecimal digits.
pub(crate) fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("an octet")).collect()
}

fn base64(octets: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(octets.len() / 3 * 4 + 4);
    for group in octets.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0_usize, |bits, b| bits << 8 | usize::from(*b));
        for place in 0..4 {
            text.push(if place <= group.len() { ALPHABET[bits >> (18 - 6 * place) & 63] } else { b'=' });
        }
    }
    text
}

/// What is inside, within the usual limits.
pub(crate) fn inside(message: &Bytes) -> Contents {
    Contents::of(message, &Limits::default())
}

/// Paths of all nodes below the first, in their short form: names and kinds.
pub(crate) fn told(contents: &Contents) -> Vec<String> {
    let shown = |node: &crate::Node| {
        let attributes: Vec<_> = node.attributes.iter().map(crate::Attribute::as_str).collect();
        format!("{} {} {}", node.names.join(";"), node.kind.as_str(), attributes.join(",")).trim().to_owned()
    };
    contents.nodes().iter().skip(2).map(shown).collect()
}

/// One member of a ZIP to be written.
#[derive(Clone, Default)]
pub(crate) struct ZipMember {
    pub(crate) name: String,
    /// As they are in the archive.
    pub(crate) packed: Vec<u8>,
    pub(crate) claimed: u32,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) mode: u32,
}

impl ZipMember {
    pub(crate) fn stored(name: &str, octets: &[u8]) -> Self {
        Self { name: name.to_owned(), packed: octets.to_vec(), claimed: short(octets.len()), ..Self::default() }
    }

    pub(crate) fn deflated(name: &str, octets: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(octets).expect("memory");
        let packed = encoder.finish().expect("memory");
        Self { packed, method: 8, ..Self::stored(name, octets) }
    }
}

pub(crate) fn zip(members: &[ZipMember]) -> Vec<u8> {
    let (mut octets, mut list) = (Vec::new(), Vec::new());
    for member in members {
        let offset = short(octets.len());
        octets.extend_from_slice(b"PK\x03\x04\x14\0");
        let fields = zip_fields(member);
        octets.extend_from_slice(&fields);
        octets.extend_from_slice(&[0, 0]);
        octets.extend_from_slice(member.name.as_bytes());
        octets.extend_from_slice(&member.packed);
        list.extend_from_slice(&zip_list_entry(member, offset));
    }
    finish_zip(&mut octets, &list, members.len());
    octets
}

pub(crate) fn zip_list_entry(member: &ZipMember, offset: u32) -> Vec<u8> {
    let mut entry = b"PK\x01\x02\x14\x03\x14\0".to_vec();
    entry.extend_from_slice(&zip_fields(member));
    entry.extend_from_slice(&[0; 8]);
    entry.extend_from_slice(&(member.mode << 16).to_le_bytes());
    entry.extend_from_slice(&offset.to_le_bytes());
    entry.extend_from_slice(member.name.as_bytes());
    entry
}

pub(crate) fn finish_zip(octets: &mut Vec<u8>, list: &[u8], count: usize) {
    let begin = short(octets.len());
    octets.extend_from_slice(list);
    octets.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    octets.extend_from_slice(&count);
    octets.extend_from_slice(&count);
    octets.extend_from_slice(&short(list.len()).to_le_bytes());
    octets.extend_from_slice(&begin.to_le_bytes());
    octets.extend_from_slice(&[0, 0]);
}

fn zip_fields(member: &ZipMember) -> Vec<u8> {
    let mut fields = Vec::new();
    fields.extend_from_slice(&member.flags.to_le_bytes());
    fields.extend_from_slice(&member.method.to_le_bytes());
    fields.extend_from_slice(&[0; 8]);
    fields.extend_from_slice(&short(member.packed.len()).to_le_bytes());
    fields.extend_from_slice(&member.claimed.to_le_bytes());
    fields.extend_from_slice(&u16::try_from(member.name.len()).expect("short").to_le_bytes());
    fields
}

pub(crate) fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(octets).expect("memory");
    encoder.finish().expect("memory")
}

/// A tar member; the kind as in its header.
pub(crate) fn tar_member(name: &str, kind: u8, octets: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", octets.len()).as_bytes());
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend_from_slice(octets);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("short")
}

/// Archives that another program wrote: two files in one block, a directory, a file in a block of its own.
pub(crate) const SEVENZ_LZMA2: &str = "\
    377abcaf271c0004d6093eda9c0000000000000028000000000000002abc627b01002a68656c6c6f20776f726c640a68656c\
    6c6f20776f726c640a68656c6c6f20776f726c640a7f454c460201010001000573696e676c65000000813307ae319b1aa68f\
    bf209e09fd38c3e9f3bf5d6ade4cf67d7d96d217bc1fac93c344333fcf68917e0e235b62af7ac990192d11c04451041704d2\
    a6a1eebf3d44c5dee03a8b981efcb73e71b94348f47ed746937552b78fc5f9b47f99d2c87c271706390109630a0132927c12\
    00070b01000123030101055d000080000c7900080a01fba5daf20000";
pub(crate) const SEVENZ_BZIP2: &str = "\
    377abcaf271c0004c00144d3cd000000000000002800000000000000022b02d0425a6836314159265359bf41583800000955\
    8030104000030406449080a000223d486864c4298000556e1e2dde493b09450c859059bf8bb9229c28485fa0ac1c00425a68\
    36314159265359b4132f89000002818002a50800200022186830094a185dc914e14242d04cbe240000813307ae319c0a714b\
    c44ad41ec0ff09182bca05b843c7c378d581464b77f90f343ee65150efc02fc7fec8bb42bc49114930f239e85945f9d0c59c\
    3bc872c40225b839f5f29325c1af859d4d7b239dfc2330c5289594747b2701a77a64dee84c17066b0109620a0101cfe80600\
    070b01000123030101055d000080000c7900080a01145d0e050000";
pub(crate) const SEVENZ_BCJ: &str = "\
    377abcaf271c0004f918a36797000000000000002900000000000000510f4c6200341949ee8de917893a335ffcb38104d8be\
    4a1a124001ec27852000399a4a1f3754333f25800000813307ae319a03a71a37b4b77f0135f1054a9862899198ebe1e7544e\
    b27c294b4d03262f939d18dfdb313fbaecf7d490672aacab84f95b88adcf4e7ef59f15479b5ac8806fc0da46c36423e031fa\
    0d27bb1ff626782a7b65827d40005ad231e935fbbf83e15579876f20cff10902001706260109710a0182e1aa7500070b0100\
    0123030101055d000080000c809500080a0160f9727f0000";
pub(crate) const SEVENZ_AES: &str = "\
    377abcaf271c0004bcbcca20e00000000000000056000000000000008cbf8112e55ac483b8943e789fc80bb4ae3dae19261e\
    d402360282a54a4099bb6ba3c3c1483895bb9f5946efc63502d4be9846db4b94b589124f39b31ac9341eb415a8067dd75fde\
    13e9f7250729aef84a5c6a71249a8eee7147c6edf41ff069d062d78e61757a6d34a7e26c725ecb3feb54a9ddebd251d6579d\
    9333cf6c97ee7b3283f53c03dd030e8f0b4913a71d96e84a47f7fda17e8f5a7e6b8196a2a5398f6461f44629948f3a02f578\
    75dc60537fa1ec479ed2bed69e47332f01052a00ec44c3f052dcf6f19a7da8e4772a637283e86dfc46a9c30a8f9d0c3e9240\
    2db732f26668170640010980a00a0160402c5600070b0100022406f1070122c8fff7025da88bce1093a53aceacb24d362e35\
    2f68f40a6d448bbbca366b5f9c8a3823030101055d0000800001000c809180cf00080a0106774bd10000";
