//! What the mutations begin with: the conversations in `tests/transcripts`, and messages made by hand.

use harness::transcript;
use std::collections::BTreeSet;

use super::targets::OPTIONS;

/// Octets of a client's line that are kept.
const LONGEST_LINE: usize = 3000;

/// Inputs and words of one target.
#[derive(Debug)]
pub(super) struct Corpus {
    inputs: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

const LISTEN_ADDRESSES: [&str; 22] = [
    "*:25",
    ":25",
    "[*]:25",
    "127.0.0.1:25",
    "0.0.0.0:0",
    "[::]:993",
    "[::1]:143",
    "[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:587",
    "[FD82:7796:815B:AF9D:0230:48FF:FEF2:AA4A]:587",
    "[::ffff:192.0.2.1]:25",
    "[2001:db8::192.0.2.1]:25",
    "2001:db8::1:25",
    "[fe80::1%eth0]:25",
    "localhost:25",
    "mx.example.org",
    "/run/posthorn/lmtp.sock",
    "//run/./posthorn/../x/",
    "systemd:lmtp",
    "systemd:",
    "192.0.2.0/24",
    "2001:db8::/32",
    "::ffff:10.0.0.0/104",
];

const MESSAGES: [&[u8]; 10] = [
    b"From: \"Al \\\"ice\" <alice@example.net>, Bob (nobody) <bob@example.org>\r\nTo: friends: a@b.example, c@d.example;\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?B?w6Q=?=\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nMessage-ID: <1@example.net>\r\nIn-Reply-To: <0@example.net>\r\nReferences: <a@x> <b@x>\r\n\r\nHello.\r\n",
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"a b\"; charset=\"x\\\"y\"\r\n\r\npreamble\r\n--a b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe=\r\n!\r\n--a b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>html &amp; more</p>\r\n--c--\r\n--a b--\r\nepilogue\r\n",
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: message/rfc822\r\n\r\nSubject: innermost\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: in a digest\r\n\r\nx\r\n--d--\r\n",
    b"Content-Type: application/octet-stream; name*0*=utf-8'en'a%20; name*1=b; name*2*=%E4\r\nContent-Disposition: attachment; filename=\"=?utf-8?B?w6Q=?=\"; size=3\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <id@x>\r\nContent-Description: a\r\n thing\r\nContent-MD5: Q2hlY2s=\r\nContent-Language: en, (c) de\r\nContent-Location: http://x.example/\r\n\r\nSGVsbG8=\r\n",
    b"Subject: bare line ends\nContent-Type: multipart/mixed; boundary=e\n\n--e\nContent-Type: text/plain\n\nx\n--e\n",
    b"Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\nContent-Type: multipart/mixed; boundary=ff\r\n\r\n--ff\r\n\r\n1\r\n--f\r\n\r\n2\r\n--ff--\r\n--f--\r\n",
    b"Subject: \0 \xff\xfe \xc3\xa4\r\nFrom: (((\r\nTo: <<>>,,;: @\r\nSender: \"unclosed\r\nDate: 99 Foo 99999 99:99\r\n\r\n\0\xff\r\n",
    b"no header at all",
    b"\r\n",
    b"",
];

const PROXY_HEADERS: [&[u8]; 9] = [
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\nEHLO client.example\r\n",
    b"PROXY TCP6 2001:db8::7 ::1 65535 993\r\n\x16\x03\x01",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    // Version 2: LOCAL, an IPv4 and an IPv6 client, and one of a Unix socket.
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00A1 NOOP\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x00\x19EHLO x\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67\x03\xe1",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\x04/a/b",
    // The values authority, unique id, and TLS with a version, a cipher and a verified certificate.
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x42\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x03\xe1\
      \x02\x00\x04mx.a\x05\x00\x02\xab\x01\x20\x00\x27\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x04name\
      \x23\x00\x0eAES128-GCM-SHA",
];

impl Corpus {
    pub(super) fn of(target: &str) -> Self {
        let inputs: Vec<Vec<u8>> = match target {
            "smtp_server" => conversations("smtp")
                .into_iter()
                .flat_map(|stream| {
                    // Everything allowed in the clear, then the same under TLS, then as LMTP.
                    [[0, 0, 0, 0], [0x81, 0, 5, 1], [2, 0, 9, 2]].map(|options| with_options(options, &stream))
                })
                .collect(),
            "imap_server" => conversations("imap")
                .into_iter()
                .flat_map(|stream| [[4, 0, 0, 0], [13, 3, 0, 1]].map(|options| with_options(options, &stream)))
                .collect(),
            "listen_address" => LISTEN_ADDRESSES.iter().map(|text| text.as_bytes().to_vec()).collect(),
            "message" => MESSAGES.iter().map(|raw| raw.to_vec()).collect(),
            "proxy_header" => PROXY_HEADERS.iter().map(|header| header.to_vec()).collect(),
            "structure_codec" => MESSAGES.iter().map(|raw| posthorn_mime::Structure::of(raw).to_bytes()).collect(),
            other => panic!("{other} has no corpus"),
        };
        let words = words(&inputs);
        Self { inputs, words }
    }

    pub(super) fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// Pieces between spaces and line ends, each once.
    pub(super) fn words(&self) -> &[Vec<u8>] {
        &self.words
    }
}

fn with_options(options: [u8; OPTIONS], stream: &[u8]) -> Vec<u8> {
    [&options, stream].concat()
}

fn words(inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let cut = |octet: &u8| matches!(octet, b' ' | b'\n' | b'(' | b';');
    let all = inputs.iter().flat_map(|input| input.split_inclusive(cut));
    let words: BTreeSet<&[u8]> = all.filter(|word| !word.is_empty() && word.len() <= 200).collect();
    words.into_iter().map(<[u8]>::to_vec).collect()
}

/// What the clients send in the transcripts of a protocol, a file each.
fn conversations(protocol: &str) -> Vec<Vec<u8>> {
    let streams: Vec<_> = transcript::files(protocol).iter().map(|(_, text)| client_of(text)).collect();
    assert!(streams.len() > 20, "only {} transcripts of {protocol}", streams.len());
    streams
}

/// The lines of the client in a transcript. Long ones are cut: what is longer shows nothing else, later.
fn client_of(transcript: &str) -> Vec<u8> {
    let mut stream = Vec::new();
    for line in transcript.lines() {
        let Some((kind, text)) = line.split_once(' ') else { continue };
        if !kind.starts_with('C') {
            continue;
        }
        let octets = transcript::unescape(text);
        stream.extend_from_slice(&octets[..octets.len().min(LONGEST_LINE)]);
        if kind.ends_with(':') {
            stream.extend_from_slice(b"\r\n");
        }
    }
    stream
}
