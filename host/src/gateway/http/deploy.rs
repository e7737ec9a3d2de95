//! Orders to deploy, and how they go.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use multer::Multipart;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::respond;
use crate::{
    address::is_name,
    config::units,
    deploy::{
        gates::Gate,
        order::{Order, What, Words},
        replay::pick::{MAX_SAMPLE, Sample},
    },
    failure::Failure,
    gateway::{problem::Problem, reply, request::invalid},
    host::Bundle,
};

/// How long histories are replayed before an activation, if nobody says.
pub const BUDGET: Duration = Duration::from_secs(120);

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 4096;

const FORM: &str = "expected multipart/form-data with the parts `order` (JSON), `model` and one `component` for each component file, the last two with file names: `aether deploy` sends it";

/// How an order is to be carried out, as it is sent: each of these may be left out.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Told {
    /// Only tell what would happen.
    pub dry_run: bool,
    /// Only replay, and only tell what that finds.
    pub what_if: bool,
    /// Replay this actor alone, with `what-if`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Replay so many actors alone, taken at random, with `what-if`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// Which; the same number takes the same actors. By default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Gates that need not be passed.
    pub force: Vec<String>,
    /// States may differ from those that the active code folds.
    pub accept_state_changes: bool,
    /// How long histories are replayed before the activation, with its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Replay everything.
    pub all: bool,
    /// Why.
    pub because: String,
    /// What to roll back; only in a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The deployment to go back to; only in a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

impl Told {
    fn order(self, what: What, by: Option<Arc<str>>) -> Result<Order, Failure> {
        if self.because.len() > MAX_REASON_BYTES {
            return Err(invalid(format!("the reason has more than {MAX_REASON_BYTES} bytes")));
        }
        let force = self.force.iter().map(|gate| gate.parse::<Gate>());
        let force = force.collect::<Result<BTreeSet<_>, _>>().map_err(invalid)?;
        let budget = self.budget.as_deref().map(units::duration).transpose();
        let budget = budget.map_err(|why| invalid(format!("`budget`: {why}")))?;
        let actor = self.actor.as_deref().map(str::parse).transpose();
        let actor = actor.map_err(|error| invalid(format!("`actor`: {error}")))?;
        if actor.is_some() && !self.what_if {
            return Err(invalid("`actor` is for a `what-if`"));
        }
        let sample = self.sample()?;
        Ok(Order {
            what,
            dry_run: self.dry_run,
            what_if: self.what_if,
            actor,
            sample,
            force,
            accept_state_changes: self.accept_state_changes,
            budget: budget.unwrap_or(BUDGET),
            all: self.all,
            by: by.as_deref().unwrap_or("somebody").to_owned(),
            because: self.because,
        })
    }
}

impl Told {
    /// The actors that are to be replayed alone.
    fn sample(&self) -> Result<Option<Sample>, Failure> {
        let Some(count) = self.sample else {
            let idle = self.seed.map(|_| invalid("`seed` is for a `sample`"));
            return idle.map_or(Ok(None), Err);
        };
        if !self.what_if || self.actor.is_some() {
            return Err(invalid("`sample` is for a `what-if` without `actor`"));
        }
        if !(1..=MAX_SAMPLE).contains(&count) {
            return Err(invalid(format!(
                "`sample`: expected 1 to {MAX_SAMPLE} actors, found {count}"
            )));
        }
        Ok(Some(Sample { count, seed: self.seed.unwrap_or_else(rand::random) }))
    }
}

/// What the form of a deploy says, which comes in pieces.
///
/// # Errors
/// `invalid` if it is no such form.
pub async fn order(
    headers: &HeaderMap,
    body: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>,
    by: Option<Arc<str>>,
) -> Result<Order, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| invalid(FORM))?;
    let mut parts = Multipart::new(stream::iter(body).map(Ok::<_, Infallible>), boundary);
    let (mut told, mut model, mut components) = (Told::default(), None, Vec::new());
    let broken =
        |error: multer::Error| invalid(format!("the form cannot be read: {error}; {FORM}"));
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let file = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(broken)?;
        match (name.as_str(), file) {
            ("order", _) => {
                told = serde_json::from_slice(&bytes)
                    .map_err(|error| invalid(format!("the part `order`: {error}")))?;
            }
            ("model", Some(file)) if model.is_none() => model = Some((file, bytes)),
            ("component", Some(file)) => components.push((file, bytes)),
            _ => return Err(invalid(format!("the part `{name}` is not expected there; {FORM}"))),
        }
    }
    if told.context.is_some() || told.to.is_some() {
        return Err(invalid("`context` and `to` are for a rollback"));
    }
    let (file, model) = model.ok_or_else(|| invalid(format!("there is no model; {FORM}")))?;
    told.order(What::Bundle(Bundle { file, model, components }), by)
}

/// What the body of a rollback says: `{"context","to"}` and what a deploy's order has.
///
/// # Errors
/// `invalid` if it says something else.
pub fn again(body: &[u8], by: Option<Arc<str>>) -> Result<Order, Failure> {
    let told: Told = serde_json::from_slice(body).map_err(|error| {
        invalid(format!(
            "the body is not an order to roll back: {error}; expected {{\"context\": \"bank\"}}, and `to` for a deployment other than the one before"
        ))
    })?;
    let context = told.context.clone().filter(|context| is_name(context));
    let context = context.ok_or_else(|| invalid("`context`: expected the name of a context"))?;
    let to = told.to;
    told.order(What::Again { context, to }, by)
}

/// The response that tells how an order goes, one JSON object per line, and `{"problem":…}` as the
/// last if it broke off. It ends with `stop`.
#[must_use]
pub fn words(words: Words, stop: CancellationToken) -> Response {
    use futures::StreamExt as _;
    let lines = stream::unfold(words, |mut words| async move {
        let line = match words.recv().await? {
            Ok(word) => reply::json(&word),
            Err(failure) => format!("{{\"problem\":{}}}", Problem::of_failure(&failure).to_json()),
        };
        Some((Ok::<_, Infallible>(format!("{line}\n")), words))
    });
    let lines = lines.take_until(stop.cancelled_owned());
    let mut response = respond::typed("application/x-ndjson", Body::from_stream(lines));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn form(parts: &[(&str, Option<&str>, &str)]) -> (HeaderMap, Bytes) {
        let mut body = String::new();
        for (name, file, content) in parts {
            let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
            body.push_str(&format!(
                "--xx\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
            ));
        }
        body.push_str("--xx--\r\n");
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("multipart/form-data; boundary=xx");
        headers.insert(header::CONTENT_TYPE, kind);
        (headers, body.into())
    }

    #[tokio::test]
    async fn a_form_is_an_order() {
        let said = r#"{"dry-run":true,"force":["replay","diff"],"budget":"5s","because":"why"}"#;
        let (headers, body) = form(&[
            ("order", None, said),
            ("model", Some("bank.storm.yaml"), "context: bank"),
            ("component", Some("account.wasm"), "bytes"),
        ]);
        let order = order(&headers, [body], Some("alice".into())).await.unwrap();
        assert!(order.dry_run && !order.accept_state_changes && !order.all);
        assert_eq!(order.force, [Gate::Diff, Gate::Replay].into());
        assert_eq!((order.budget, order.by.as_str()), (Duration::from_secs(5), "alice"));
        let What::Bundle(bundle) = order.what else { panic!("{:?}", order.what) };
        assert_eq!(bundle.file, "bank.storm.yaml");
        assert_eq!(bundle.components, [("account.wasm".to_owned(), "bytes".into())]);
    }

    #[tokio::test]
    async fn what_is_no_order_is_invalid() {
        let model = ("model", Some("m"), "x");
        let wrong: [&[(&str, Option<&str>, &str)]; 11] = [
            &[],
            &[("order", None, "{}")],
            &[("model", None, "x")],
            &[model, model],
            &[model, ("order", None, r#"{"force":["all"]}"#)],
            &[model, ("order", None, r#"{"budget":"soon"}"#)],
            &[model, ("order", None, r#"{"to":1}"#)],
            &[model, ("order", None, r#"{"actor":"bank/account/a"}"#)],
            &[model, ("order", None, r#"{"sample":5}"#)],
            &[model, ("order", None, r#"{"what-if":true,"seed":5}"#)],
            &[model, ("order", None, r#"{"what-if":true,"sample":0}"#)],
        ];
        for parts in wrong {
            let (headers, body) = form(parts);
            let refused = order(&headers, [body], None).await.unwrap_err();
            assert_eq!(refused.code, Code::Invalid, "{parts:?}");
        }
        let refused = order(&HeaderMap::new(), [Bytes::from_static(b"{}")], None).await;
        assert!(refused.unwrap_err().detail.contains("multipart/form-data"));
    }

    #[test]
    fn a_rollback_names_its_context() {
        let order = again(br#"{"context":"bank","to":3}"#, None).unwrap();
        assert!(matches!(order.what, What::Again { context, to: Some(3) } if context == "bank"));
        for wrong in ["{}", r#"{"context":"a/b"}"#, r#"{"context":"bank","version":1}"#, "[]"] {
            assert_eq!(again(wrong.as_bytes(), None).unwrap_err().code, Code::Invalid, "{wrong}");
        }
    }
}
