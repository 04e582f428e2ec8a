//! A short run of every fuzz target with each `cargo test`: seeds count up from the same number, so that every run of
//! the same sources tries the same inputs. `FUZZ_SECONDS=60` goes on with further seeds for so long, for each target;
//! `FUZZ_SEED=4711` repeats one.

mod corpus;
mod mutation;
#[expect(unreachable_pub, reason = "for cargo-fuzz the same file is a library")]
#[path = "targets/lib.rs"]
mod targets;

use std::io::Write as _;
use std::time::{Duration, Instant};

use harness::dice::Dice;

use self::corpus::Corpus;

/// Inputs of each target in a run without `FUZZ_SECONDS`.
const INPUTS: u64 = 1200;

/// Says which input it was, should the target panic.
struct Witness<'i> {
    target: &'static str,
    seed: u64,
    input: &'i [u8],
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { target, seed, input } = self;
            let shown = input[..input.len().min(4000)].escape_ascii();
            let words = format!("\nFUZZ_SEED={seed} breaks {target}, {} octets:\n{shown}\n", input.len());
            let _unheard = std::io::stderr().write_all(words.as_bytes());
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

/// Tries seeds on the target of this name, and the whole corpus unchanged first.
fn run(name: &'static str) {
    let (_, target) = targets::TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    let corpus = Corpus::of(name);
    let attempt = |seed: u64, input: &[u8]| {
        let _witness = Witness { target: name, seed, input };
        target(input);
    };
    if let Some(seed) = number("FUZZ_SEED") {
        return attempt(seed, &mutation::mutated(&corpus, &mut Dice::new(seed)));
    }
    for input in corpus.inputs() {
        attempt(0, input);
    }
    let (began, time) = (Instant::now(), Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(0)));
    let mut seed = 0;
    while seed < INPUTS || began.elapsed() < time {
        seed += 1;
        attempt(seed, &mutation::mutated(&corpus, &mut Dice::new(seed)));
    }
}

#[test]
fn the_smtp_server_bears_every_stream() {
    run("smtp_server");
}

#[test]
fn the_imap_server_bears_every_stream() {
    run("imap_server");
}

#[test]
fn listen_addresses_are_read_as_they_are_written() {
    run("listen_address");
}

#[test]
fn every_message_has_a_structure() {
    run("message");
}

#[test]
fn the_policy_protocol_bears_every_stream() {
    run("policy");
}

#[test]
fn the_quarantines_protocol_bears_every_stream() {
    run("ampdp");
}

#[test]
fn milters_and_their_clients_bear_every_stream() {
    run("milter");
}

#[test]
fn proxy_headers_are_read_to_their_end_and_no_further() {
    run("proxy_header");
}

#[test]
fn damaged_structures_are_refused_or_harmless() {
    run("structure_codec");
}

#[test]
fn nothing_passes_that_nobody_signed() {
    run("authentication");
}

#[test]
fn every_message_has_a_score() {
    run("scoring");
}

#[test]
fn every_text_has_words() {
    run("tokenizer");
}

#[test]
fn archives_are_walked_within_their_limits() {
    run("archive");
}

#[test]
fn html_and_addresses_are_read_to_their_end() {
    run("html");
}

#[test]
fn spf_ends_whatever_the_dns_says() {
    run("spf");
}

#[test]
fn every_target_has_its_run_under_cargo_fuzz() {
    let manifest = include_str!("Cargo.toml");
    for (name, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in Cargo.toml");
    }
}
