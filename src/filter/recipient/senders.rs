//! What recipients think of senders.

use std::collections::HashMap;

use posthorn_store::filter::settings::SenderRow;

/// A score that decides alone: wanted below, not wanted above.
const FIRM: f64 = 100.0;

/// What the rows, the most specific recipient first, say of a sender's keys, the most specific first. One that is firm ends
/// it; others add up, one for each recipient's pattern.
pub(super) fn opinion<'r>(
    rows: impl Iterator<Item = &'r HashMap<String, SenderRow>>,
    from: &[String],
) -> Option<(f64, String)> {
    let (mut sum, mut by) = (0.0, Vec::new());
    for senders in rows {
        let Some(row) = from.iter().find_map(|key| senders.get(key)) else { continue };
        by.push(format!("{} for {}", row.sender, row.who));
        if row.score.abs() >= FIRM {
            return Some((row.score, by.pop().unwrap_or_default()));
        }
        sum += row.score;
    }
    (!by.is_empty()).then(|| (sum, by.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firm_ones_decide_and_others_add_up() {
        let row = |who: &str, sender: &str, score| {
            let row = SenderRow { who: who.to_owned(), sender: sender.to_owned(), score, note: String::new() };
            HashMap::from([(sender.to_owned(), row)])
        };
        let from = ["eve@a.example".to_owned(), "@a.example".to_owned()];
        let soft = [row("bob@b.example", "@a.example", 2.0), row("@.", "eve@a.example", 1.5)];
        assert_eq!(opinion(soft.iter(), &from).map(|said| said.0), Some(3.5));
        let firm = [row("bob@b.example", "@a.example", -100.0), row("@.", "eve@a.example", 1.5)];
        assert_eq!(opinion(firm.iter(), &from), Some((-100.0, "@a.example for bob@b.example".to_owned())));
        assert_eq!(opinion(soft.iter(), &["x@y.example".to_owned()]), None);
    }
}
