//! The Kubernetes API as a function from request to response: routing, then one file per step.

pub(crate) mod answer;
mod body;
mod decode;
mod delete;
mod discovery;
mod list;
mod query;
mod route;
mod scale;
mod watching;
pub(crate) mod write;

pub(crate) use self::list::partial;
pub(crate) use self::query::Query;

use self::answer::{Body, Form};
use self::query::WriteOptions;
use self::route::{Route, Target};
use self::write::{Writer, Written};
use super::addresses::Addresses;
use super::kinds::{Kind, named};
use super::logs::PodLogs;
use super::part::Part;
use super::patch;
use super::persist::Persisted;
use super::status::Refusal;
use super::storage::{Key, Storage, Stored};
use super::table;
use crate::clock::Clock;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::{Arc, OnceLock};

/// The server: everything that answering a request needs.
pub(crate) struct Api {
    pub(crate) storage: Storage,
    pub(crate) addresses: Addresses,
    pub(crate) clock: Clock,
    pub(crate) persisted: Persisted,
    pub(crate) logs: OnceLock<Arc<dyn PodLogs>>,
}

/// A request whose body has been read.
pub(crate) struct Call {
    method: Method,
    query: Query,
    form: Form,
    content_type: String,
    user_agent: String,
    body: Bytes,
}

impl Api {
    /// Answers one request. Never fails: what goes wrong is a Status.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.answer(request).await {
            Ok(response) => response,
            Err(refusal) => answer::refusal(&refusal),
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let route = route::route(head.uri.path());
        let form = answer::form(&head.headers);
        let target = match route {
            Route::Resource(target) => target,
            // a client that asks for a document that is not here wants to hear that, in whatever form
            Route::Nothing => return discovery::answer(&route, Form::Full),
            other => return discovery::answer(&other, form?),
        };
        let call = Call {
            query: Query::parse(head.uri.query()),
            // logs are text, whatever the client says that it would rather have
            form: if target.subresource.as_deref() == Some("log") { Form::Full } else { form? },
            content_type: text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned(),
            user_agent: text(header::USER_AGENT).to_owned(),
            body: collected(body).await?,
            method: head.method,
        };
        let has_body = !call.body.is_empty() && call.method != Method::PATCH;
        if has_body && !matches!(call.content_type.as_str(), "application/json" | "" | "*/*") {
            return Err(Refusal::unsupported_media_type());
        }
        let mut response = self.resource(&target, &call).await?;
        if target.kind.kind == "Endpoints" {
            let warning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
            answer::warn(&mut response, &[warning.to_owned()]);
        }
        Ok(response)
    }

    async fn resource(&self, target: &Target, call: &Call) -> Result<Response<Body>, Refusal> {
        match (&target.name, target.subresource.as_deref()) {
            (None, _) => self.collection(target, call).await,
            (Some(name), None) => self.object(target, name, Part::Main, call).await,
            (Some(name), Some("status")) if target.kind.status => {
                self.object(target, name, Part::Status, call).await
            }
            (Some(name), Some("scale")) if target.kind.scale => {
                self.object(target, name, Part::Scale, call).await
            }
            (Some(name), Some("finalize")) if target.kind.kind == "Namespace" => {
                self.object(target, name, Part::Finalize, call).await
            }
            (Some(name), Some("log")) if target.kind.kind == "Pod" && call.method == Method::GET => {
                self.log(&key(target, name), &call.query).await
            }
            _ => Err(Refusal::no_such_resource()),
        }
    }

    async fn collection(&self, target: &Target, call: &Call) -> Result<Response<Body>, Refusal> {
        match call.method {
            Method::GET if call.query.flag("watch") => self.watch(target, call),
            Method::GET => self.list(target, call),
            Method::POST if target.kind.namespaced == target.namespace.is_some() => {
                let mut writer = self.writer(target, Part::Main, call, "CreateOptions", false)?;
                let parsed =
                    body::json(&call.body).map_err(|error| unreadable(target.kind, &error, &call.body))?;
                let written = writer.create(parsed)?;
                self.written(target, call, &writer, written).await
            }
            Method::DELETE if target.kind.kind != "Namespace" => self.delete_collection(target, call).await,
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    async fn object(
        &self,
        target: &Target,
        name: &str,
        part: Part,
        call: &Call,
    ) -> Result<Response<Body>, Refusal> {
        match call.method {
            Method::GET if part == Part::Finalize => Err(Refusal::method_not_allowed()),
            Method::GET => {
                let found = self.storage.get(target.kind, &key(target, name));
                let stored = found.ok_or_else(|| Refusal::not_found(target.kind, name))?;
                if part == Part::Scale {
                    return Ok(answer::json(200, &scale::of(target.kind, &stored.value)));
                }
                if call.form == Form::MetadataList {
                    let of = target.kind.kind;
                    return Err(Refusal::not_acceptable(format!(
                        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.{of})"
                    )));
                }
                Ok(self.one(target.kind, call.form, 200, &stored))
            }
            Method::PUT => {
                let mut writer = self.writer(target, part, call, "UpdateOptions", false)?;
                let parsed =
                    body::json(&call.body).map_err(|error| unreadable(target.kind, &error, &call.body))?;
                let written = match part {
                    Part::Scale => writer.replace_scale(name, &parsed)?,
                    _ => writer.replace(name, parsed)?,
                };
                self.written(target, call, &writer, written).await
            }
            Method::PATCH if part != Part::Finalize => self.patch(target, name, part, call).await,
            Method::DELETE if part == Part::Main => self.delete(target, name, call).await,
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    async fn patch(
        &self,
        target: &Target,
        name: &str,
        part: Part,
        call: &Call,
    ) -> Result<Response<Body>, Refusal> {
        let kind = patch::Kind::of(&call.content_type)?;
        let apply = kind == patch::Kind::Apply;
        let mut writer = self.writer(target, part, call, "PatchOptions", apply)?;
        let written = match (apply, part) {
            (true, Part::Scale) => writer.apply_scale(name, &body::apply(&call.body)?)?,
            (true, _) => writer.apply(name, body::apply(&call.body)?)?,
            (false, Part::Scale) => {
                let patch = patch::Patch::parse(kind, &call.body, "Scale")?;
                writer.patch_scale(name, &patch)?
            }
            (false, _) => {
                let patch = patch::Patch::parse(kind, &call.body, target.kind.kind)?;
                writer.patch(name, |live| patch.apply(live))?
            }
        };
        self.written(target, call, &writer, written).await
    }

    fn writer<'a>(
        &'a self,
        target: &'a Target,
        part: Part,
        call: &Call,
        options: &str,
        apply: bool,
    ) -> Result<Writer<'a>, Refusal> {
        Ok(Writer {
            api: self,
            kind: target.kind,
            namespace: target.namespace.as_deref().unwrap_or_default(),
            part,
            options: WriteOptions::parse(&call.query, &call.user_agent, options, apply)?,
            replaces: options == "UpdateOptions",
            warnings: Vec::new(),
            now: self.now(),
        })
    }

    /// The time of a request, as objects hold it.
    pub(crate) fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Answers a write once what must survive us is safe.
    async fn written(
        &self,
        target: &Target,
        call: &Call,
        writer: &Writer<'_>,
        (code, stored): Written,
    ) -> Result<Response<Body>, Refusal> {
        if !writer.options.dry_run {
            self.persist(target.kind, &stored.value).await?;
        }
        let mut response = if writer.part == Part::Scale {
            answer::json(code, &scale::of(target.kind, &stored.value))
        } else {
            self.one(target.kind, call.form, code, &stored)
        };
        answer::warn(&mut response, &writer.warnings);
        Ok(response)
    }

    /// Hands an object that must survive a restart to the state store.
    pub(crate) async fn persist(&self, kind: &Kind, object: &Value) -> Result<(), Refusal> {
        self.persisted.follow(kind, object, &self.storage).await.map_err(|error| {
            tracing::error!(error = %error, "An object of the embedded cluster could not be kept.");
            Refusal::internal(format!("the object was stored but not kept for the next start: {error}"))
        })
    }

    /// One object in the form that the client asked for.
    pub(crate) fn one(&self, kind: &Kind, form: Form, code: u16, stored: &Stored) -> Response<Body> {
        match form {
            Form::Full | Form::Discovery => answer::json_bytes(code, stored.json()),
            Form::Metadata | Form::MetadataList => answer::json(code, &list::partial(&stored.value, true)),
            Form::Table => {
                let metadata = json!({"resourceVersion": stored.value["metadata"]["resourceVersion"]});
                let now = self.clock.now();
                answer::json(code, &table::of(kind, &[&stored.value], &metadata, now, true))
            }
        }
    }

    async fn log(&self, key: &Key, query: &Query) -> Result<Response<Body>, Refusal> {
        let pod = self.storage.get(named("Pod"), key);
        let pod = pod.ok_or_else(|| Refusal::not_found(named("Pod"), &key.name))?;
        super::logs::answer(self.logs.get(), &pod.value, query).await
    }
}

fn key(target: &Target, name: &str) -> Key {
    Key::new(target.namespace.as_deref().unwrap_or_default(), name)
}

async fn collected<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match Limited::new(body, body::LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(body::LIMIT)),
        Err(error) => Err(Refusal::bad_request(format!("the body could not be read: {error}"))),
    }
}

fn unreadable(kind: &Kind, error: &serde_json::Error, body: &[u8]) -> Refusal {
    let (what, shown) = if body.is_empty() {
        ("unexpected end of JSON input".to_owned(), "<empty>".to_owned())
    } else {
        (error.to_string(), String::from_utf8_lossy(body).chars().take(1024).collect())
    };
    Refusal::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
         json parse error: {what} ({shown})",
        kind.kind
    ))
}
