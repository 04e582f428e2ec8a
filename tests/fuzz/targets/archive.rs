//! The walk over what is inside a message, against any message and any attachment.

use bytes::Bytes;
use posthorn_contents::{Attribute, Contents, FileRules, Limits};

/// What is attached needs no encoding here.
const HEAD: &[u8] = b"Content-Type: application/octet-stream; name=a\r\nContent-Transfer-Encoding: binary\r\n\r\n";

/// Limits that are met soon.
fn limits() -> Limits {
    Limits {
        depth: 6,
        nodes: 60,
        expanded: 1 << 20,
        memory: 1 << 19,
        steps: 4000,
        text: 4096,
        links: 20,
        ..Limits::default()
    }
}

/// Walks the octets as a message, and as what is attached to one.
pub fn target(octets: &[u8]) {
    for message in [Bytes::copy_from_slice(octets), Bytes::from([HEAD, octets].concat())] {
        walk(&message);
    }
}

fn walk(message: &Bytes) {
    let limits = limits();
    let contents = Contents::of(message, &limits);
    let nodes = contents.nodes();
    assert!((1..=limits.nodes).contains(&nodes.len()), "{} nodes", nodes.len());
    let mut unpacked = 0;
    for (at, node) in nodes.iter().enumerate() {
        assert!(node.parent.is_none_or(|parent| parent < at && nodes[parent].is_container));
        assert_eq!(node.parent.map_or(1, |parent| nodes[parent].depth + 1), node.depth);
        assert!(node.depth <= limits.depth);
        assert!(node.names.iter().all(|name| name.len() <= limits.name));
        assert!(!contents.path(at).to_string().contains(['\n', '\r']));
        if let Some(section) = &node.section {
            assert!(contents.structure().part(section).is_some(), "{section:?}");
            let unknown = node.attributes.contains(Attribute::UnknownEncoding);
            assert_eq!(contents.decoded(at).is_none(), unknown);
        }
        let inside = node.is_member && !node.is_container && node.attributes.is_empty();
        unpacked += if inside { node.size } else { 0 };
    }
    // What is unpacked is paid for; the last chunk may go beyond.
    assert!(unpacked <= limits.expanded.max(limits.floor) + (1 << 20), "{unpacked}");
    let text: usize = contents.texts().iter().map(|text| text.text.len()).sum();
    assert!(text <= limits.text + 8, "{text}");
    assert!(contents.links().len() <= limits.links);
    assert!(contents.flaws().windows(2).all(|pair| pair[0].line <= pair[1].line));
    let rules = FileRules::standard();
    assert_eq!(rules.judge(&contents, &["everything", "default"]), None);
    let again = Contents::of(message, &limits);
    assert_eq!((again.nodes().len(), again.limit()), (nodes.len(), contents.limit()));
}
