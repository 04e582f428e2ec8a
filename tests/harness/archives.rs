//! Archives, sound ones and others, made by hand.

use std::io::Write;

/// A file of a ZIP.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its octets, as they come out.
    pub octets: Vec<u8>,
    /// Whether it is packed.
    pub packed: bool,
    /// Whether it says that it is encrypted.
    pub locked: bool,
    /// How many octets the archive says that it has.
    pub claimed: Option<u32>,
}

impl Member {
    /// A file as it is.
    #[must_use]
    pub fn stored(name: &str, octets: &[u8]) -> Self {
        Self { name: name.to_owned(), octets: octets.to_vec(), ..Self::default() }
    }

    /// A file that is packed.
    #[must_use]
    pub fn packed(name: &str, octets: &[u8]) -> Self {
        Self { packed: true, ..Self::stored(name, octets) }
    }
}

/// A ZIP.
///
/// # Panics
/// When it would have more than 4 GiB.
#[must_use]
pub fn zip(members: &[Member]) -> Vec<u8> {
    let number = |size: usize| u32::try_from(size).expect("a small archive").to_le_bytes();
    let (mut whole, mut list) = (Vec::new(), Vec::new());
    for member in members {
        let content = if member.packed { deflated(&member.octets) } else { member.octets.clone() };
        let mut crc = flate2::Crc::new();
        crc.update(&member.octets);
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(u16::from(member.locked).to_le_bytes());
        common.extend(if member.packed { 8_u16 } else { 0 }.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc.sum().to_le_bytes());
        common.extend(number(content.len()));
        common.extend(member.claimed.map_or(number(member.octets.len()), u32::to_le_bytes));
        common.extend(u16::try_from(member.name.len()).expect("a short name").to_le_bytes());
        common.extend([0; 2]);
        let at = number(whole.len());
        whole.extend(b"PK\x03\x04");
        whole.extend(&common);
        whole.extend(member.name.as_bytes());
        whole.extend(content);
        list.extend(b"PK\x01\x02\x14\0");
        list.extend(&common);
        list.extend([0; 10]);
        list.extend(at);
        list.extend(member.name.as_bytes());
    }
    let (start, size) = (number(whole.len()), number(list.len()));
    let count = u16::try_from(members.len()).expect("few files").to_le_bytes();
    whole.extend(list);
    whole.extend(b"PK\x05\x06\0\0\0\0");
    whole.extend([count, count].concat());
    whole.extend([size, start].concat());
    whole.extend([0; 2]);
    whole
}

/// A tar of one file of this kind: `0` is a file, `2` a symbolic link to `target`.
///
/// # Panics
/// When a name is longer than 100 octets.
#[must_use]
pub fn tar(name: &str, kind: u8, target: &str, octets: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000644\0");
    head[124..136].copy_from_slice(format!("{:011o}\0", octets.len()).as_bytes());
    head[148..156].copy_from_slice(b"        ");
    head[156] = kind;
    head[157..157 + target.len()].copy_from_slice(target.as_bytes());
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = head.iter().map(|octet| u32::from(*octet)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head.extend(octets);
    head.resize(head.len().div_ceil(512) * 512 + 1024, 0);
    head
}

/// A file packed by gzip.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(octets).and_then(|()| encoder.finish()).expect("memory takes everything")
}

fn deflated(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(octets).and_then(|()| encoder.finish()).expect("memory takes everything")
}

/// A message with a file attached; `name` is the parameter of Content-Disposition that names it.
#[must_use]
pub fn attached(header: &str, name: &str, octets: &[u8]) -> String {
    let encoded = crate::smtp_client::base64(octets);
    let lines: Vec<_> = encoded.as_bytes().chunks(76).map(String::from_utf8_lossy).collect();
    format!(
        "{header}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
         See.\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; {name}\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        lines.join("\r\n")
    )
}
