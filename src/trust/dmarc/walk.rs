//! What senders of reports must know of the DNS: a domain's record, and whose organization a domain belongs to.

use super::Record;
use super::check::{above, organization as of_walk, record_of};
use crate::resolver::{Found, Resolver};

/// The record of this very domain.
pub async fn published(domain: &str, resolver: &dyn Resolver) -> Found<Record> {
    match resolver.texts(&format!("_dmarc.{domain}")).await {
        Found::Some(texts) => record_of(&texts).map_or(Found::Nothing, Found::Some),
        Found::Nothing => Found::Nothing,
        Found::NoSuchName => Found::NoSuchName,
        Found::Later(why) => Found::Later(why),
    }
}

/// The organizational domain of a domain (RFC 9989 §4.10.2); itself where nothing above it has a record.
///
/// # Errors
/// Why it cannot be told now.
pub async fn organization(domain: &str, resolver: &dyn Resolver) -> Result<String, String> {
    let (mut records, mut next) = (Vec::new(), Some(domain));
    while let Some(name) = next {
        match published(name, resolver).await {
            Found::Some(record) => {
                let ends = record.public_suffix.is_some();
                records.push((name.to_owned(), record));
                if ends {
                    break;
                }
            }
            Found::Nothing | Found::NoSuchName => {}
            Found::Later(why) => return Err(why),
        }
        next = above(name);
    }
    let walk: Vec<(String, &Record)> = records.iter().map(|(name, record)| (name.clone(), record)).collect();
    Ok(of_walk(domain, &walk))
}
