//! A response body that ends at the call's deadline and survives a panic of the stream behind it.

use std::{
    future::Future as _,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Status, body::Body};

use super::stack::{deadline_exceeded, panicked};

/// Wraps the body of an answer.
pub(crate) struct CallBody {
    /// `None` once the stream has ended.
    inner: Option<Body>,
    deadline: Option<Pin<Box<Sleep>>>,
    method: String,
}

impl CallBody {
    pub(crate) fn wrap(inner: Body, deadline: Option<Pin<Box<Sleep>>>, method: &str) -> Body {
        if inner.is_end_stream() {
            return inner;
        }
        Body::new(Self { inner: Some(inner), deadline, method: method.to_owned() })
    }

    /// Ends the stream with `status` as its trailers, as a server does.
    fn end(&mut self, status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.inner = None;
        let mut trailers = HeaderMap::new();
        Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(frame)) => {
                if frame.is_none() {
                    this.inner = None;
                }
                return Poll::Ready(frame);
            }
            Err(panic) => {
                let status = panicked(&this.method, &*panic);
                return Poll::Ready(this.end(&status));
            }
        }
        let Some(deadline) = this.deadline.as_mut() else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(this.end(&deadline_exceeded()))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
