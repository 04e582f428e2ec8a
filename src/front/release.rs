//! The pages behind the links in letters about held mail: one that asks, and one that says what came of it.
//!
//! Reading a page changes nothing, because what scans mail follows links; only the button releases. Who has a link sees
//! what its letter said, and nothing of the account.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use posthorn_filter::Filter;
use posthorn_filter::quarantine::{Followed, Quarantine};
use posthorn_web::Web;

use self::page::Page;

/// The service behind listeners that speak release.
#[must_use]
pub fn release(engine: &Filter) -> Web {
    let quarantine = Arc::new(engine.quarantine().clone());
    let router = Router::new()
        .route("/release/{token}", get(ask).post(confirm))
        .fallback(|| async { Said::Unknown })
        .with_state(quarantine);
    Web::new(router)
}

/// What a page says.
enum Said {
    Asked { sender: String, subject: String, at: String, why: String },
    Released,
    Refused(String),
    Over { at: Option<String>, released: bool },
    Expired(String),
    Unknown,
    Trouble,
}

async fn ask(State(quarantine): State<Arc<Quarantine>>, Path(token): Path<String>) -> Said {
    match quarantine.follow(&token).await {
        Ok(Followed::Open(offer)) => {
            let row = &offer.held.row;
            let category = posthorn_filter::Category::of_code(row.category).unwrap_or_default();
            Said::Asked {
                sender: if row.author.is_empty() { row.sender.clone() } else { row.author.clone() },
                subject: row.subject.clone(),
                at: time(row.at),
                why: category.to_string(),
            }
        }
        Ok(other) => closed(&other),
        Err(error) => trouble(&error),
    }
}

async fn confirm(State(quarantine): State<Arc<Quarantine>>, Path(token): Path<String>) -> Said {
    let offer = match quarantine.follow(&token).await {
        Ok(Followed::Open(offer)) => offer,
        Ok(other) => return closed(&other),
        Err(error) => return trouble(&error),
    };
    match quarantine.accept_offer(&offer).await {
        Ok(Some(Ok(()))) => {
            tracing::info!(
                mail_id = offer.held.row.mail_id,
                recipient = offer.recipient.recipient,
                "released by its link"
            );
            Said::Released
        }
        Ok(Some(Err(refusal))) => Said::Refused(refusal.text.to_string()),
        Ok(None) => Said::Over { at: None, released: true },
        Err(error) => trouble(&error),
    }
}

/// What a link says that opens nothing.
fn closed(followed: &Followed) -> Said {
    match followed {
        Followed::Over { at, released } => Said::Over { at: at.map(time), released: *released },
        Followed::Expired(at) => Said::Expired(time(*at)),
        Followed::Unknown | Followed::Open(_) => Said::Unknown,
    }
}

fn trouble(error: &posthorn_mail::Error) -> Said {
    tracing::error!(%error, "a link to held mail cannot be followed");
    Said::Trouble
}

fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.with_timezone(&chrono::Local).format("%A, %-d %B %Y, %H:%M").to_string()
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Asked { .. } | Self::Released => StatusCode::OK,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Over { .. } | Self::Expired(_) => StatusCode::GONE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Trouble => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = (status, Page::of(&self).html()).into_response();
        let fixed = |text| HeaderValue::from_static(text);
        let fields: [(HeaderName, HeaderValue); 6] = [
            (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (CACHE_CONTROL, fixed("no-store")),
            (REFERRER_POLICY, fixed("no-referrer")),
            (CONTENT_SECURITY_POLICY, fixed(ALLOWED)),
            (X_FRAME_OPTIONS, fixed("DENY")),
            (HeaderName::from_static("x-robots-tag"), fixed("noindex, nofollow")),
        ];
        response.headers_mut().extend(fields);
        response
    }
}

/// Nothing is fetched, nothing runs, and the form goes where the page came from.
const ALLOWED: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
