//! What others watch the appliance by: numbers and health, over HTTP.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use posthorn_web::Web;

use crate::health::Health;
use crate::openmetrics::OpenMetrics;

/// The text format's own name.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The service of listeners that speak metrics: `/metrics`, `/health/live`, `/health/ready`.
#[must_use]
pub fn service(metrics: OpenMetrics, health: Health) -> Web {
    let numbers = Router::new().route("/metrics", get(numbers)).with_state(metrics);
    let health = Router::new().route("/health/ready", get(ready)).with_state(health);
    Web::new(Router::new().route("/health/live", get(async || "ok\n")).merge(numbers).merge(health))
}

async fn numbers(State(metrics): State<OpenMetrics>) -> Response {
    ([(CONTENT_TYPE, TEXT)], metrics.text().await).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    let report = health.ready().await;
    let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}
