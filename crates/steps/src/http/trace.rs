//! The trace that a request belongs to.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use windlass_runtime::step::StepContext;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Says which trace the request belongs to, unless its headers do.
pub(crate) fn join(headers: &mut HeaderMap, context: &StepContext) {
    // A state belongs to its parent.
    if headers.contains_key(PARENT) {
        return;
    }
    let parent = context.trace.traceparent(context.run, &context.path, context.attempt);
    let state = context.trace.state.as_deref().filter(|_| !headers.contains_key(STATE));
    for (name, value) in [(PARENT, Some(parent.as_str())), (STATE, state)] {
        // Both are visible ASCII: they were read off headers, or are written in hexadecimal digits.
        if let Some(value) = value.and_then(|it| HeaderValue::from_str(it).ok()) {
            headers.insert(name, value);
        }
    }
}
