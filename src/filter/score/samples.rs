//! Messages of many sorts, and what they score.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use posthorn_config::FilterSection;
use posthorn_contents::{Contents, Limits};
use posthorn_mail::envelope::Envelope;
use posthorn_model::policy::Inquiry;
use posthorn_trust::resolver::Asked;
use posthorn_trust::{Found, Resolver};

use super::{Lookups, Scored, Scoring};
use crate::{Case, Evidence, Point, Way};

/// A DNS in which every name below `listed.uribl.example` is listed.
struct Lists;

impl Resolver for Lists {
    fn addresses<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(async { Found::NoSuchName })
    }

    fn addresses_of<'a>(&'a self, name: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
        let listed = name == "bad.example.uribl.example";
        Box::pin(
            async move { if listed { Found::Some(vec![IpAddr::from([127, 0, 0, 2])]) } else { Found::NoSuchName } },
        )
    }

    fn texts<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
        Box::pin(async { Found::NoSuchName })
    }

    fn exchangers<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
        Box::pin(async { Found::NoSuchName })
    }

    fn names(&self, _: IpAddr) -> Asked<'_, Vec<String>> {
        Box::pin(async { Found::NoSuchName })
    }
}

fn scoring() -> Scoring {
    let section: FilterSection =
        serde_json::from_value(serde_json::json!({ "uri_list": [{ "zone": "uribl.example" }] })).expect("a section");
    Scoring::new(&section, &Lookups::default(), Arc::new(Lists), b"secret")
}

async fn scored(scoring: &Scoring, message: &str) -> Scored {
    of(scoring, Bytes::from(message.replace("\r\n", "\n").replace('\n', "\r\n"))).await
}

async fn of(scoring: &Scoring, octets: Bytes) -> Scored {
    let inquiry = Inquiry::default();
    let envelope =
        Envelope { sender: posthorn_model::Address::parse("someone@sender.example").ok(), ..Envelope::default() };
    let now = posthorn_mime::parse_date(field(&octets, "Date").as_bytes()).unwrap_or_default();
    let case = Case { way: Way::Inbound, inquiry: &inquiry, envelope: &envelope, octets: &octets, checked: None, now };
    let contents = Contents::of(&octets, &Limits::default());
    scoring.score(&Evidence { case: &case, contents: &contents }).await
}

fn field(message: &[u8], name: &str) -> String {
    posthorn_mime::header_text(message, name).next().unwrap_or_default()
}

/// Messages of our own writing of one kind, with their names.
fn written(kind: &str) -> Vec<(String, Bytes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("score/samples").join(kind);
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, Bytes::from(std::fs::read(path).expect("a message")))
    };
    let mut all: Vec<_> = files.map(read).collect();
    all.sort();
    assert!(all.len() >= 15, "{kind}: {} messages", all.len());
    all
}

/// The table of all samples of one kind: what each scores, and by which points. Shown with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the table is for people")]
async fn table(kind: &str) -> Vec<(String, f64)> {
    let scoring = scoring();
    let mut all = Vec::new();
    for (name, octets) in written(kind) {
        let points = of(&scoring, octets).await.points;
        println!("{kind:4}  {name:22}  {:6.2}  {}", sum(&points), super::named(&points));
        all.push((name, sum(&points)));
    }
    all
}

fn sum(points: &[Point]) -> f64 {
    points.iter().map(|point| point.value).sum::<f64>() + 0.0
}

/// What is wanted stays below half of what spam begins at.
const HAM_MOST: f64 = 3.0;

const FRAME: &str =
    "Date: Wed, 01 Jul 2026 11:00:00 +0000\nMessage-ID: <1@sender.example>\nMIME-Version: 1.0\nTo: me@example.org\n";

fn plain(from: &str, subject: &str, text: &str) -> String {
    format!("{FRAME}From: {from}\nSubject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{text}\n")
}

fn newsletter(brand: &str, n: usize) -> String {
    let host = format!("{brand}.example");
    let items: String = (0..20)
        .map(|item| {
            format!(
                "<tr><td><a href=\"https://click.{host}/c/{n}/{item}?u=me%40example.org\"><img src=\"https://img.{host}/{item}.png\" alt=\"Offer {item}\"></a>\
                 <p>Our offer number {item}: 20% off until Sunday. Limited time only, order now and get free shipping!</p></td></tr>\n"
            )
        })
        .collect();
    format!(
        "{FRAME}From: {brand} News <news@{host}>\nReply-To: service@{host}\nSubject: {brand}: Summer sale! Up to 50% off this week\n\
         List-Id: <news.{host}>\nList-Unsubscribe: <https://click.{host}/u/{n}>, <mailto:unsubscribe@{host}>\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\nPrecedence: bulk\n\
         Content-Type: multipart/alternative; boundary=b{n}\n\n\
         --b{n}\nContent-Type: text/plain; charset=utf-8\n\nSummer sale at {brand}. Click here: https://click.{host}/c/{n}\nUnsubscribe: https://click.{host}/u/{n}\n\n\
         --b{n}\nContent-Type: text/html; charset=utf-8\n\n<html><body><div style=\"display:none\">Up to 50% off \u{200c}\u{200c}\u{200c}</div>\
         <table>{items}</table><p>You get this mail because you subscribed. <a href=\"https://click.{host}/u/{n}\">www.{host}</a></p></body></html>\n--b{n}--\n"
    )
}

#[tokio::test]
async fn the_test_string_scores_a_thousand() {
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN", "*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    let scored = scored(&scoring(), &plain("a@sender.example", "test", &gtube)).await;
    assert!(sum(&scored.points) >= 1000.0, "{:?}", scored.points);
    assert!(super::named(&scored.points).starts_with("GTUBE=1000"), "{}", super::named(&scored.points));
}

#[tokio::test]
async fn what_was_asked_for_stays_far_below_spam() {
    let high: Vec<_> = table("ham").await.into_iter().filter(|(_, sum)| *sum >= HAM_MOST).collect();
    assert!(high.is_empty(), "{high:?}");
}

#[tokio::test]
async fn spam_of_many_kinds_is_known_untaught() {
    let tag2 = FilterSection::default().levels.tag2.as_f64();
    let low: Vec<_> = table("spam").await.into_iter().filter(|(_, sum)| *sum < tag2).collect();
    assert!(low.is_empty(), "{low:?}");
}

#[tokio::test]
async fn newsletters_of_many_brands_stay_below_three_points() {
    let scoring = scoring();
    for (brand, n) in ["gartenfreund", "shoes", "bookshop", "paperclips"].iter().zip(1..) {
        let scored = scored(&scoring, &newsletter(brand, n)).await;
        assert!(sum(&scored.points) < HAM_MOST, "{:?}", scored.points);
    }
}

#[tokio::test]
async fn listed_domains_of_links_are_told() {
    let message = plain("a@sender.example", "hello", "see https://www.bad.example/x and https://good.example/");
    let scored = scored(&scoring(), &message).await;
    let listed: Vec<&Point> = scored.points.iter().filter(|point| point.name == "URI_LISTED").collect();
    assert_eq!(
        listed.iter().map(|point| (point.value, point.why.as_str())).collect::<Vec<_>>(),
        [(2.5, "bad.example is listed at uribl.example")]
    );
}

/// How long it takes; run by hand in a release build: `cargo test --release -p posthorn-filter speed -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    use super::counts::Count;
    use super::reading::Reading;
    let scoring = scoring();
    let words: String = (0..1600).map(|n: u32| format!("word{} ", n.wrapping_mul(2_654_435_761) % 700)).collect();
    let octets = Bytes::from(plain("Ann <ann@friend.example>", "a long letter", &words).replace('\n', "\r\n"));
    let (inquiry, envelope) = (Inquiry::default(), Envelope::default());
    let now = "2026-07-01T12:00:00Z".parse().expect("a moment");
    let case = Case { way: Way::Inbound, inquiry: &inquiry, envelope: &envelope, octets: &octets, checked: None, now };
    let contents = Contents::of(&octets, &Limits::default());
    let evidence = Evidence { case: &case, contents: &contents };
    let word = |n: i64| posthorn_store::filter::words::Word {
        token: super::tokens::finish(n.cast_unsigned()).cast_signed(),
        spam: 3,
        ham: 1,
    };
    let mut all: Vec<_> = (0..500_000).map(word).collect();
    let reading = Reading::of(&evidence);
    let tokens = super::classify::tokens(&reading, scoring.secret);
    all.extend(tokens.all().iter().map(|token| posthorn_store::filter::words::Word {
        token: token.cast_signed(),
        spam: 9,
        ham: 2,
    }));
    scoring.words.set_known(&[posthorn_store::filter::words::Corpus {
        account: 0,
        spam: 1000,
        ham: 1000,
        generation: 0,
    }]);
    scoring.words.fill(0, &all);
    assert_ne!(Count { spam: 9, ham: 2 }, Count::default());
    let rounds = 2000_u32;
    let begun = std::time::Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(scoring.score(&evidence).await);
    }
    let all = begun.elapsed() / rounds;
    let begun = std::time::Instant::now();
    for _ in 0..rounds {
        let tokens = super::classify::tokens(&reading, scoring.secret);
        std::hint::black_box(scoring.words.likeness(tokens.all()));
    }
    let words = begun.elapsed() / rounds;
    tracing::info!(?all, ?words, tokens = tokens.all().len(), octets = octets.len(), "speed");
    assert!(all.as_micros() < 150, "{all:?} of which {words:?} for {} words", tokens.all().len());
}
