//! Scoring by what a message says, alone: without lists, without memory, without a database.

use std::net::IpAddr;
use std::sync::Arc;

use posthorn_config::FilterSection;
use posthorn_contents::{Contents, Limits};
use posthorn_trust::resolver::Asked;
use posthorn_trust::{Found, Resolver};

use super::reading::Reading;
use super::tokens::{Place, Tokens};
use super::{Lookups, Scoring, classify};
use crate::{Case, Evidence, Point};

/// Rules, facts and words, for tools and tests that have nothing but a message.
pub struct Offline(Scoring);

impl Offline {
    /// Compiles the rules.
    #[must_use]
    pub fn new(section: &FilterSection) -> Self {
        Self(Scoring::new(section, &Lookups::default(), Arc::new(Nobody), b"offline"))
    }

    /// The points that rules give.
    #[must_use]
    pub fn points(&self, case: &Case<'_>) -> Vec<Point> {
        let contents = Contents::of(case.octets, &Limits::default());
        let evidence = Evidence { case, contents: &contents };
        self.0.at_once(&Reading::of(&evidence)).0.points
    }

    /// The words of a message as the classifier counts them, each once.
    #[must_use]
    pub fn words(&self, case: &Case<'_>) -> Vec<u64> {
        let contents = Contents::of(case.octets, &Limits::default());
        let evidence = Evidence { case, contents: &contents };
        classify::tokens(&Reading::of(&evidence), self.0.secret).all().to_vec()
    }

    /// The words of a text, each once.
    #[must_use]
    pub fn words_of(&self, text: &str) -> Vec<u64> {
        let mut tokens = Tokens::new(self.0.secret);
        tokens.text(Place::Text, text, true);
        tokens.all().to_vec()
    }
}

/// Who is asked and knows no name.
struct Nobody;

impl Resolver for Nobody {
    fn addresses<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(async { Found::NoSuchName })
    }

    fn addresses_of<'a>(&'a self, _: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(async { Found::NoSuchName })
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
