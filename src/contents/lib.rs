//! What is inside a message: every part and every file in an archive, what each is by its content and not by its name,
//! whether it may pass by the rules for files, whether the header is sound, and the text that people and
//! classifiers read. One walk ([`Contents::of`]) answers all of it, and every transfer encoding is undone once.
//!
//! Words only: octets in, values out. Every input ends: depth, nodes, octets, memory and steps are counted, and what is
//! beyond a bound becomes a [`Limit`] with a name or an [`Attribute`] of the node.
//!
//! Deliberately not here: looking for malware, verdicts and what follows from them, passwords of archives, the
//! text of office documents, and unpacking for use: no name inside an archive is ever a path of this machine.

mod archive;
mod attribute;
mod banned;
mod binary;
mod contents;
mod flaw;
#[cfg(test)]
mod hostile;
mod html;
#[cfg(test)]
mod inside;
mod kind;
mod limits;
mod link;
mod magic;
mod node;
mod prose;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod speed;
mod text;
mod walk;

pub use attribute::{Attribute, Attributes};
pub use banned::{Banned, FileAction, FilePattern, FileRule, FileRuleSet, FileRules, double_extension};
pub use contents::Contents;
pub use flaw::{HeaderClass, HeaderFlaw, header_flaws};
pub use html::{HtmlFacts, HtmlText, html_text};
pub use kind::{Family, Kind};
pub use limits::{Limit, Limits};
pub use link::{Link, LinkOrigin, links_in_text};
pub use magic::recognize;
pub use node::{Node, NodePath};
pub use text::Text;
