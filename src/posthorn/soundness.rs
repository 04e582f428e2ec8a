//! What is wrong with a configuration, as far as any part of the program can tell.

use posthorn_config::{Loaded, Problem, Problems, Sources, check, check_without_files, load};

/// Reads a configuration that can be used; with `files`, certificates and keys are read too.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn load_sound(sources: &Sources, files: bool) -> Result<Loaded, Problems> {
    let loaded = load(sources)?;
    let problems = problems(&loaded, files);
    if problems.is_empty() { Ok(loaded) } else { Err(Problems(problems)) }
}

/// Everything that is wrong; with `files`, certificates and keys are read too.
pub(crate) fn problems(loaded: &Loaded, files: bool) -> Vec<Problem> {
    let mut problems = if files { check(loaded) } else { check_without_files(loaded) };
    // What a rule says by itself comes first: what it builds on means little until then.
    if !problems.iter().any(|problem| problem.key.starts_with("filter.rule")) {
        let faults = posthorn_filter::score::rule_faults(&loaded.config.filter);
        problems.extend(faults.into_iter().map(|(key, why)| loaded.problem(&key, why)));
    }
    if !problems.iter().any(|problem| problem.key.starts_with("filter.file_rule")) {
        let faults = posthorn_filter::file_rule_faults(&loaded.config.filter);
        problems.extend(faults.into_iter().map(|(key, why)| loaded.problem(&key, why)));
    }
    for (at, scanner) in loaded.config.scanner.iter().enumerate() {
        if !posthorn_scan::asks(scanner.kind) {
            let why = format!("this program was built without the feature `{}`", scanner.kind.name());
            problems.push(loaded.problem(&format!("scanner[{at}].kind"), why));
        }
    }
    problems
}
