//! What lists in the DNS say of the domains that links lead to: a bounded number, all at once, in bounded time.

use std::net::IpAddr;

use futures_util::future::join_all;
use posthorn_config::{FilterScores, FilterUriList};
use posthorn_policy::{Asking, Breaker, reversed};
use posthorn_trust::Found;

use super::hosts::{Host, registered};
use super::reading::Reading;
use crate::Point;

/// The lists that are asked.
pub(crate) struct UriLists {
    lists: Vec<(FilterUriList, Breaker)>,
    most: usize,
    harmless: Vec<String>,
}

impl UriLists {
    pub(crate) fn new(rows: &[FilterUriList], scores: &FilterScores, asking: &Asking) -> Self {
        let most = usize::try_from(scores.uri_domains).unwrap_or(usize::MAX);
        let harmless = scores.harmless.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        Self { lists: rows.iter().map(|row| (row.clone(), asking.breaker())).collect(), most, harmless }
    }

    /// Asks all lists for all domains; each list counts once, by its worst answer. With the lists that did not answer.
    pub(crate) async fn points(&self, asking: &Asking, reading: &Reading<'_>) -> (Vec<Point>, Vec<String>) {
        let questions = self.lists.iter().enumerate().flat_map(|(at, (row, _))| {
            self.things(row, reading).into_iter().map(move |thing| (at, format!("{thing}.{}", row.zone), thing))
        });
        let answers = join_all(questions.map(|(at, question, thing)| async move {
            let (row, breaker) = &self.lists[at];
            let found = asking.ask_list(breaker, asking.resolver().addresses_of(&question, false)).await;
            if let Found::Later(why) = &found {
                return (at, Err(format!("{}: {why}", row.zone)), thing);
            }
            (at, Ok(worst(row, found)), thing)
        }));
        let mut unanswered: Vec<String> = Vec::new();
        let mut points: Vec<Option<Point>> = vec![None; self.lists.len()];
        for (at, value, thing) in answers.await {
            let value = match value {
                Ok(value) => value,
                Err(silent) => {
                    if !unanswered.contains(&silent) {
                        unanswered.push(silent);
                    }
                    continue;
                }
            };
            let (Some(value), Some(point)) = (value, points.get_mut(at)) else { continue };
            if point.as_ref().is_none_or(|point| point.value < value) {
                let row = &self.lists[at].0;
                let name = row.name.clone().unwrap_or_else(|| "URI_LISTED".to_owned());
                *point = Some(Point::new(name, value, format!("{thing} is listed at {}", row.zone)));
            }
        }
        (points.into_iter().flatten().collect(), unanswered)
    }

    /// What one list is asked for.
    fn things(&self, row: &FilterUriList, reading: &Reading<'_>) -> Vec<String> {
        let mut things: Vec<String> = Vec::new();
        for target in &reading.hosts {
            if things.len() >= self.most {
                break;
            }
            let thing = match &target.host {
                Host::Name(name) => {
                    let domain = registered(name);
                    let is_harmless = self.harmless.iter().any(|harmless| harmless == domain || harmless == name);
                    if is_harmless || !domain.contains('.') || name.len() > 180 {
                        continue;
                    }
                    if row.whole_host { name.clone() } else { domain.to_owned() }
                }
                Host::Address(address) if row.addresses => reversed(*address),
                Host::Address(_) => continue,
            };
            if !things.contains(&thing) {
                things.push(thing);
            }
        }
        things
    }
}

/// What the heaviest answer counts.
fn worst(row: &FilterUriList, found: Found<Vec<IpAddr>>) -> Option<f64> {
    let values = found.some()?.into_iter().filter_map(|answer| {
        // Answers outside 127.0.0.0/8 come from a zone that was given up; 127.255.255.0/24 and 127.0.0.1 refuse to say.
        let IpAddr::V4(answer) = answer.to_canonical() else { return None };
        let octets = answer.octets();
        if octets[0] != 127 || octets[..3] == [127, 255, 255] || octets == [127, 0, 0, 1] {
            return None;
        }
        let known = row.answers.iter().find(|known| known.is.contains(answer));
        Some(known.map_or(row.points, |known| known.points).as_f64())
    });
    values.reduce(f64::max).filter(|value| *value != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_as_their_row_says() {
        let row: FilterUriList = serde_json::from_value(serde_json::json!({
            "zone": "uribl.example", "points": 2, "answers": [{ "is": "127.0.0.8", "points": 5 }, { "is": "127.0.0.9", "points": 0 }]
        }))
        .expect("a row");
        let of = |answers: &[[u8; 4]]| {
            worst(&row, Found::Some(answers.iter().map(|octets| IpAddr::from(*octets)).collect()))
        };
        assert_eq!(of(&[[127, 0, 0, 2]]), Some(2.0));
        assert_eq!(of(&[[127, 0, 0, 2], [127, 0, 0, 8]]), Some(5.0));
        for none in [[127, 0, 0, 9], [127, 0, 0, 1], [127, 255, 255, 254], [192, 0, 2, 1]] {
            assert_eq!(of(&[none]), None, "{none:?}");
        }
        assert_eq!(worst(&row, Found::NoSuchName), None);
    }
}
