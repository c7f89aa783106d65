//! A caller of the API.

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;

use super::contract::{self, Answered};

/// Calls the API with one key.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Client {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        // The client wants a TLS library even for plain http; that a test before this one has set it is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        Self { http, url: url.to_owned(), key: key.to_owned() }
    }

    /// A request as it is, for what the other methods would not send.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// Sends a request that was made beforehand.
    pub(crate) async fn execute(&self, request: reqwest::Request) -> Answer {
        Answer::read(&self.http, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, body.to_string()).await
    }

    /// A body as it is.
    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::of(request.body(body)).await
    }
}

impl Answer {
    /// Sends a request and reads the answer, which must be one that the OpenAPI document allows.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let (http, request) = request.build_split();
        Self::read(&http, request.unwrap()).await
    }

    async fn read(http: &reqwest::Client, request: reqwest::Request) -> Self {
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        contract::check(&Answered { method: &method, target: url.path(), status, headers: &headers, body: &bytes });
        Self { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// The data of an answer of this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body["data"].clone()
    }

    /// The fields that an error of this status and code names, in order.
    #[track_caller]
    pub(crate) fn expect_error(self, status: StatusCode, code: &str) -> Vec<String> {
        assert_eq!(self.status, status.as_u16(), "{}", self.body);
        let error = &self.body["error"];
        assert_eq!(error["code"], code, "{error}");
        assert_eq!(error["request_id"].as_str(), self.headers["x-request-id"].to_str().ok(), "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        let details = error["details"].as_array().cloned().unwrap_or_default();
        details.iter().filter_map(|detail| detail["field"].as_str().map(str::to_owned)).collect()
    }
}
