//! What the mutations begin with: the conversations in `tests/transcripts`, and messages made by hand.

mod archives;

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

/// Texts of many scripts.
const WORDS: [&str; 4] = [
    "Cheap PILLS online, $99.00 (100%) don't_wait",
    "\u{c4}rger \u{fc}ber Stra\u{df}en \u{130}stanbul \u{1c5}",
    "\u{514d}\u{8d39}\u{53d1}\u{7968}\u{4ee3}\u{5f00} invoice \u{e2a}\u{e27}\u{e31}\u{e2a}\u{e14}\u{e35}",
    "\0\u{fffd}\u{200b}\u{feff}\r\n\u{1f4b0}",
];

/// Texts with markup and addresses.
const HTML: [&str; 4] = [
    "<html><head><base href='http://b.example/'><style>p{}</style></head><body><p hidden>x</p><a href=\"http://a.example/?x=1&amp;y=2\" onclick=go()>see <b>this</b></a></body></html>",
    "<div style='display:none'>a<div>b</div></div><img src=//c.example/i.png><form action=https://f.example><input type=password></form><!-- c --><script>var x = '</p>';</script>",
    "see http://a.example/x(y)z. www.b.example, mailto:c@d.example; <https://e.example/\u{fc}>",
    "<!--><a href=x>&lt;&#228;&nbsp;&unknown;<meta http-equiv=refresh content='0;url=http://m.example'><area href=y><iframe src=z",
];

/// What a policy server answers, and what a table is asked.
const POLICY: [&[u8]; 4] = [
    b"action=450 4.7.1 wait\n\n",
    b"later=x\naction=PREPEND X-A: b\r\n\r\n",
    b"get a%40example.org\nget SRS0=AAAA=AA=example.net=a@mx.example.org\nput a b\nget %\n",
    b"action=\n\naction=REJECT\n\n",
];

/// What clients of a quarantine ask.
const AM_PDP: [&[u8]; 5] = [
    b"request=release\r\nmail_id=aBcDeFgHiJkL\r\nquar_type=Z\r\nsecret_id=s3cret\r\nmail_file=Y/spam-aBcDeFgHiJkL.gz\r\nrecipient=<bob@example.org>\r\nrecipient=eve%20x@example.org\r\n\r\n",
    b"request=requeue\nmail_file=virus-aBcDeFgHiJkL\nrequested_by=Anna%20%25\nsender=<>\n\nrequest=report\nmail_id=x\n\n",
    b"request=AM.PDP\nsender=<a@example.org>\nrecipient=<b@example.org>\ntempdir=/x/y\nmail_file=/x/y/email.txt\nclient_address=192.0.2.1\nhelo_name=mx\nprotocol_name=ESMTP\npolicy_bank=A,B\n\n",
    b"request=dance\n\n",
    b"request=release\nno attribute\n\n",
];

/// What a milter hears of its mail server, and the other way round.
const MILTER: [(u8, &[u8]); 4] = [
    (
        0,
        b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff\0\0\0\x05DCj\0x\0\0\0\x15Cmx\x004\x9c\x40192.0.2.1\0\
          \0\0\0\x04Hmx\0\0\0\0\x05DMi\0Q\0\0\0\x08M<a@b>\0\0\0\0\x07R<c@d>\0\0\0\0\x01T\0\0\0\x06LA\0 b\0\0\0\0\x01N\0\0\0\x04Bx\r\n\0\0\0\x01E\0\0\0\x01Q",
    ),
    (0, b"\0\0\0\x0dO\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x04M<>\0\0\0\0\x01A\0\0\0\x01K\0\0\0\x04M<>\0\0\0\0\x01E"),
    (
        1,
        b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x3f\0\0\0\0\0\0\0\x01c\0\0\0\x01c\0\0\0\x01c\0\0\0\x01c\0\0\0\x01c\0\0\0\x01c\0\0\0\x01c\0\0\0\x01s\
          \0\0\0\x05hA\0b\0\0\0\0\x09m\0\0\0\x01A\0c\0\0\0\0\x02bx\0\0\0\x01p\0\0\0\x05qwhy\0\0\0\0\x01a",
    ),
    (1, b"\xff\xff\xff\xffO\0\0\0\x06\0\0\0\0"),
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

const AUTHENTICATED: [&[u8]; 4] = [
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=a.example; s=k; i=@a.example; q=dns/txt; t=1; x=9999999999; l=3;\r\n h=From : To:subject; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\r\nFrom: A <a@a.example>\r\nTo: b@b.example\r\n\r\nabc\r\n",
    b"ARC-Seal: i=1; a=rsa-sha256; cv=none; t=1; d=a.example; s=k; b=AAAA\r\nARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\nARC-Authentication-Results: i=1; a.example; none\r\nFrom: a@a.example\r\n\r\n",
    b"Authentication-Results: mx.example (c) 1; spf=pass (a (b) c) smtp.mailfrom=a.example; dkim / 1 = fail reason=\"x\\\"y\" header.d=a.example header.b=AA+/; none\r\nAuthentication-Results: other.example; none\r\n\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=; b=\r\nAuthentication-Results: \"mx.example\"\r\n\r\n",
];

const SPF_ANSWERS: [&str; 6] = [
    "Tv=spf1 +a/24//64 -mx:x.example ?ip4:192.0.2.0/24 ~ip6:2001:db8::/32 ptr include:a.%{d} exists:%{ir}.%{v}.x.example redirect=b.example exp=c.example -all\nA192.0.2.7\nHx.example\n",
    "Tv=spf1 include:%{d2}.example -all\nTv=spf1 redirect=%{o}\nTv=spf1 mx ptr -all exp=%{p}.e.example\nHa.example b.example\nA2001:db8::1\nTno %{c} %{r} %{t} %{S} %%%_%-\n",
    "Tv=spf1 a:%{l1r-}.%{h}.x.example mx//0 ptr:%{p}.example -all\n-\n!\n?slow\n",
    "Tv=spf1 exists:%{s}.x%{i}.example all\nA10.0.0.1\n",
    "Tv=spf1\nT\nTv=spf1 a a a a a a a a a a a\n",
    "-\n",
];

impl Corpus {
    pub(super) fn of(target: &str) -> Self {
        let inputs: Vec<Vec<u8>> = match target {
            "smtp_server" => conversations("smtp", 20)
                .into_iter()
                .flat_map(|stream| {
                    // Everything allowed in the clear, then the same under TLS, then as LMTP.
                    [[0, 0, 0, 0], [0x81, 0, 5, 1], [2, 0, 9, 2]].map(|options| with_options(options, &stream))
                })
                .collect(),
            "imap_server" => conversations("imap", 20)
                .into_iter()
                .flat_map(|stream| [[4, 0, 0, 0], [13, 3, 0, 1]].map(|options| with_options(options, &stream)))
                .collect(),
            "listen_address" => LISTEN_ADDRESSES.iter().map(|text| text.as_bytes().to_vec()).collect(),
            "message" => MESSAGES.iter().map(|raw| raw.to_vec()).collect(),
            "policy" => conversations("policy", 5)
                .into_iter()
                .chain(POLICY.iter().map(|stream| stream.to_vec()))
                .flat_map(|stream| [0, 1, 2].map(|kind| with_options([kind, 3, 0, 1], &stream)))
                .collect(),
            "ampdp" => {
                AM_PDP.iter().flat_map(|stream| [0, 1].map(|kind| with_options([kind, 0, 0, 1], stream))).collect()
            }
            "milter" => MILTER
                .iter()
                .flat_map(|(role, stream)| [0, 1, 4].map(|manners| with_options([*role, manners, 0, 1], stream)))
                .collect(),
            "proxy_header" => PROXY_HEADERS.iter().map(|header| header.to_vec()).collect(),
            "structure_codec" => MESSAGES.iter().map(|raw| posthorn_mime::Structure::of(raw).to_bytes()).collect(),
            "authentication" => AUTHENTICATED.iter().chain(&MESSAGES).map(|raw| raw.to_vec()).collect(),
            "archive" => archives::all().into_iter().chain(MESSAGES.iter().map(|raw| raw.to_vec())).collect(),
            "scoring" => scored(),
            "tokenizer" => HTML.iter().chain(&WORDS).map(|text| text.as_bytes().to_vec()).collect(),
            "html" => HTML.iter().map(|text| text.as_bytes().to_vec()).collect(),
            "spf" => SPF_ANSWERS.iter().map(|answers| with_options([0, 1, 2, 3], answers.as_bytes())).collect(),
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
fn conversations(protocol: &str, least: usize) -> Vec<Vec<u8>> {
    let streams: Vec<_> = transcript::files(protocol).iter().map(|(_, text)| client_of(text)).collect();
    assert!(streams.len() >= least, "only {} transcripts of {protocol}", streams.len());
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

/// Messages that rules find something in, and others.
fn scored() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/filter/score/samples");
    let mut all: Vec<Vec<u8>> = MESSAGES.iter().map(|message| message.to_vec()).collect();
    for kind in ["ham", "spam"] {
        let files = std::fs::read_dir(folder.join(kind)).expect("a folder");
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        all.extend(files.into_iter().map(|file| std::fs::read(file).expect("a message")));
    }
    all
}
