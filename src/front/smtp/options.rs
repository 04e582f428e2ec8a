//! What a session offers to its client, from the options that hold for the client's address.

use chrono::{DateTime, Utc};
use posthorn_config::{Access, Effective, Mechanism, SmtpExtension, Speaks};
use posthorn_net::Connection;
use posthorn_smtp::{Dialect, Extension, Extensions, Limits, Options};

use crate::{Settings, terms};

/// The machine's options for this connection as it stands.
pub(super) fn of(connection: &Connection, settings: &Settings, dialect: Dialect, now: DateTime<Utc>) -> Options {
    let effective = connection.options();
    let smtp = &settings.smtp;
    let mut options = Options::new(dialect, settings.hostname.clone());
    if dialect != Dialect::Lmtp {
        options.banner.clone_from(&smtp.banner);
    }
    // Only strangers talk too early; people's programs and front ends are not kept waiting.
    if connection.listener().speaks == Speaks::Smtp && effective.access != Access::Allowed {
        options.banner_delay = smtp.banner_delay.duration();
    }
    options.require_ehlo = smtp.require_ehlo;
    options.extensions = extensions(effective, dialect);
    options.hold = Some(terms::longest_hold(now));
    options.max_size = effective.max_message_size.octets();
    options.tls_available = connection.can_secure();
    if !options.tls_available {
        options.extensions = options.extensions.without(Extension::StartTls);
    }
    let logs_in = dialect == Dialect::Submission && effective.auth;
    options.require_tls = dialect != Dialect::Submission && effective.require_tls;
    options.auth_needs_tls = effective.require_tls;
    options.auth_required = logs_in;
    if logs_in {
        let binding = connection.peer().tls.as_ref().is_some_and(|tls| tls.channel_binding.is_some());
        let secured = connection.peer().tls.is_some() || connection.can_secure();
        options.auth = settings
            .mechanisms
            .iter()
            .filter(|mechanism| effective.offers_mechanism(**mechanism))
            .filter(|mechanism| **mechanism != Mechanism::ScramSha256Plus || binding || secured)
            .map(|mechanism| mechanism.name().to_owned())
            .collect();
    }
    options.limits = limits(effective, settings);
    options
}

fn extensions(effective: &Effective, dialect: Dialect) -> Extensions {
    let submits = dialect == Dialect::Submission;
    let wanted = |extension: &Extension| match extension {
        Extension::Pipelining => effective.offers(SmtpExtension::Pipelining),
        Extension::Size => effective.offers(SmtpExtension::Size),
        Extension::StartTls => effective.offers(SmtpExtension::StartTls),
        Extension::Auth => effective.auth && effective.offers(SmtpExtension::Auth(None)),
        Extension::EnhancedStatusCodes => effective.offers(SmtpExtension::EnhancedStatusCodes),
        Extension::EightBitMime => effective.offers(SmtpExtension::EightBitMime),
        Extension::BinaryMime => effective.offers(SmtpExtension::BinaryMime),
        Extension::Chunking => effective.offers(SmtpExtension::Chunking),
        Extension::SmtpUtf8 => effective.offers(SmtpExtension::SmtpUtf8),
        Extension::Dsn => effective.offers(SmtpExtension::Dsn),
        Extension::DeliverBy => effective.offers(SmtpExtension::DeliverBy),
        Extension::FutureRelease => submits && effective.offers(SmtpExtension::FutureRelease),
        // Strangers may not push ahead of others.
        Extension::MtPriority => (submits || effective.relay) && effective.offers(SmtpExtension::MtPriority),
        Extension::RequireTls => effective.offers(SmtpExtension::RequireTls),
        Extension::Limits => effective.offers(SmtpExtension::Limits),
        Extension::Xclient => effective.xclient && effective.offers(SmtpExtension::Xclient),
        Extension::Xforward => effective.xforward && effective.offers(SmtpExtension::Xforward),
        Extension::Help => effective.offers(SmtpExtension::Help),
    };
    Extension::ALL.into_iter().filter(wanted).collect()
}

fn limits(effective: &Effective, settings: &Settings) -> Limits {
    let smtp = &settings.smtp;
    let unless_zero = |count: u32| if count == 0 { u32::MAX } else { count };
    let mut limits = Limits {
        bad_commands: unless_zero(smtp.max_errors),
        junk: unless_zero(smtp.max_junk),
        recipients: effective.max_recipients as usize,
        messages: (smtp.max_messages > 0).then_some(smtp.max_messages),
        header_bytes: smtp.max_header_size.octets(),
        swallow: effective.max_message_size.octets().saturating_mul(2).max(1 << 20),
        session: effective.total_time.limit(),
        ..Limits::default()
    };
    if let Some(idle) = effective.idle_time.limit() {
        limits.idle = idle;
        limits.body_idle = limits.body_idle.min(idle);
    }
    limits
}
