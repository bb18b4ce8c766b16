//! Answers as they are sent to a step: always made of what is kept, or is about to be.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Response, StatusCode};
use store::Store;
use tokio::sync::mpsc;

use super::exchange::Exchange;

/// The body of an answer.
pub(super) enum Sent {
    /// These bytes.
    Whole(Option<Bytes>),
    /// As many bytes as this, as they come.
    Coming {
        rest: u64,
        from: mpsc::Receiver<io::Result<Bytes>>,
    },
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Sent::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Sent::Coming { rest, from } => match from.poll_recv(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    *rest = rest.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) if *rest == 0 => Poll::Ready(None),
                Poll::Ready(None) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Sent::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Sent::Coming { rest, .. } => *rest,
        })
    }
}

/// An answer of the proxy's own.
pub(super) fn refusal(status: u16, text: &str) -> Response<Sent> {
    let body = Bytes::from(format!("polpo: {text}\n"));
    let mut response = Response::new(Sent::Whole(Some(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

fn head(exchange: &Exchange, body: Sent) -> Response<Sent> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in &exchange.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer whose body is under way.
pub(super) fn coming(
    exchange: &Exchange,
    from: mpsc::Receiver<io::Result<Bytes>>,
) -> Response<Sent> {
    let rest = exchange.size;
    head(exchange, Sent::Coming { rest, from })
}

/// Whether a question can only be answered once the whole body is there.
pub(super) fn needs_whole(headers: &HeaderMap) -> bool {
    [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// The kept answer, or the part of it that is asked for, or that it has not changed.
pub(super) fn kept(
    exchange: &Exchange,
    method: &Method,
    headers: &HeaderMap,
    store: &Store,
) -> Response<Sent> {
    if *method == Method::HEAD {
        let mut response = head(exchange, Sent::Whole(None));
        if exchange.method != "HEAD" {
            let length = HeaderValue::from(exchange.size);
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        return response;
    }
    if *method == Method::GET && exchange.status == 200 {
        if is_unchanged(exchange, headers) {
            let mut response = head(exchange, Sent::Whole(None));
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        match part(exchange, headers) {
            Some(Ok((start, end))) => {
                let body = match open(store, exchange, start, end - start + 1) {
                    Ok(body) => body,
                    Err(error) => return lost(exchange, &error),
                };
                let mut response = head(exchange, body);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {start}-{end}/{}", exchange.size);
                insert(&mut response, CONTENT_RANGE, &range);
                return response;
            }
            Some(Err(())) => {
                let mut response = refusal(416, "the file has no such part");
                insert(
                    &mut response,
                    CONTENT_RANGE,
                    &format!("bytes */{}", exchange.size),
                );
                return response;
            }
            None => {}
        }
    }
    match open(store, exchange, 0, exchange.size) {
        Ok(body) => head(exchange, body),
        Err(error) => lost(exchange, &error),
    }
}

fn insert(response: &mut Response<Sent>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn lost(exchange: &Exchange, error: &io::Error) -> Response<Sent> {
    let text = format!(
        "{} ({}) can't be read: {error}",
        exchange.url, exchange.digest
    );
    refusal(502, &text)
}

/// RFC 9110, 13.2.2: `If-None-Match` goes before `If-Modified-Since`.
fn is_unchanged(exchange: &Exchange, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if let Some(tags) = text(IF_NONE_MATCH) {
        let Some(etag) = exchange.headers.get("etag") else {
            return tags.trim() == "*";
        };
        let mut tags = tags.split(',');
        return tags.any(|tag| tag.trim() == "*" || weak(tag) == weak(etag));
    }
    match (
        text(IF_MODIFIED_SINCE),
        exchange.headers.get("last-modified"),
    ) {
        (Some(since), Some(modified)) => since == modified,
        _ => false,
    }
}

/// The first and the last byte that are asked for, if it is one part; an error if there are none
/// there (RFC 9110, 14.1.2 and 14.2).
fn part(exchange: &Exchange, headers: &HeaderMap) -> Option<Result<(u64, u64), ()>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let range = text(RANGE)?.strip_prefix("bytes=")?;
    if let Some(condition) = text(IF_RANGE) {
        let same = |name: &str| exchange.headers.get(name).map(String::as_str) == Some(condition);
        if condition.starts_with("W/") || !(same("etag") || same("last-modified")) {
            return None;
        }
    }
    let (first, last) = range.trim().split_once('-')?;
    let size = exchange.size;
    let parsed = |text: &str| text.trim().parse::<u64>();
    if first.is_empty() {
        let count = parsed(last).ok()?.min(size);
        return Some(if count == 0 {
            Err(())
        } else {
            Ok((size - count, size - 1))
        });
    }
    let first = parsed(first).ok()?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        parsed(last).ok()?
    };
    if last < first {
        return None;
    }
    Some(if first < size {
        Ok((first, last.min(size - 1)))
    } else {
        Err(())
    })
}

/// A body that is read from the store as it is sent.
fn open(store: &Store, exchange: &Exchange, start: u64, length: u64) -> io::Result<Sent> {
    if length == 0 {
        return Ok(Sent::Whole(None));
    }
    let mut file = store
        .open_blob(&exchange.digest)
        .map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(start))?;
    let (sender, from) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || pour(&file, length, &sender));
    Ok(Sent::Coming { rest: length, from })
}

fn pour(file: &File, length: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut rest = length;
    while rest > 0 {
        let mut bytes = Vec::new();
        let read = file
            .take(rest.min(256 << 10))
            .read_to_end(&mut bytes)
            .and_then(|count| match count {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            });
        let message = match read {
            Ok(count) => {
                rest = rest.saturating_sub(count as u64);
                Ok(Bytes::from(bytes))
            }
            Err(error) => {
                rest = 0;
                Err(error)
            }
        };
        if sender.blocking_send(message).is_err() {
            return; // the step does not want the rest
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Digest;

    use super::*;

    fn exchange() -> Exchange {
        Exchange {
            url: "https://x.example/a".into(),
            method: "GET".into(),
            request: BTreeMap::new(),
            question: None,
            status: 200,
            headers: BTreeMap::from([
                ("etag".to_owned(), "\"a\"".to_owned()),
                (
                    "last-modified".to_owned(),
                    "Sun, 06 Nov 1994 08:49:37 GMT".to_owned(),
                ),
            ]),
            digest: Digest::of(b"0123456789"),
            size: 10,
        }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn parts_are_what_was_asked_for() {
        let part = |range: &str| part(&exchange(), &headers(&[("range", range)]));
        assert_eq!(part("bytes=2-4"), Some(Ok((2, 4))));
        assert_eq!(part("bytes=2-"), Some(Ok((2, 9))));
        assert_eq!(part("bytes=2-400"), Some(Ok((2, 9))));
        assert_eq!(part("bytes=-3"), Some(Ok((7, 9))));
        assert_eq!(part("bytes=-300"), Some(Ok((0, 9))));
        assert_eq!(part("bytes=10-"), Some(Err(())));
        assert_eq!(part("bytes=-0"), Some(Err(())));
        for whole in [
            "bytes=4-2",
            "bytes=0-1,4-5",
            "lines=1-2",
            "bytes=a-b",
            "bytes=5",
        ] {
            assert_eq!(part(whole), None, "{whole}");
        }
        let conditional = |tag: &str| {
            let headers = headers(&[("range", "bytes=5-"), ("if-range", tag)]);
            super::part(&exchange(), &headers)
        };
        assert_eq!(conditional("\"a\""), Some(Ok((5, 9))));
        assert_eq!(conditional("\"b\""), None);
        assert_eq!(conditional("W/\"a\""), None);
    }

    #[test]
    fn what_is_known_already_is_not_sent_again() {
        let unchanged = |list: &[(&'static str, &str)]| is_unchanged(&exchange(), &headers(list));
        assert!(unchanged(&[("if-none-match", "\"b\", W/\"a\"")]));
        assert!(unchanged(&[("if-none-match", "*")]));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert!(unchanged(&[("if-modified-since", date)]));
        assert!(!unchanged(&[
            ("if-none-match", "\"b\""),
            ("if-modified-since", date)
        ]));
        assert!(!unchanged(&[]));
    }
}
