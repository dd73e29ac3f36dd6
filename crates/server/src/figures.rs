//! What the runtime counts, in Prometheus' text format.

use windlass_runtime::MetricsSnapshot;

use crate::metrics::Exposition;

/// Numbers that go up and down; the rest are counters.
const GAUGES: [&str; 4] = ["runs_in_memory", "runs_active", "attempts_open", "commits_in_flight"];

/// Writes the runtime's figures, each under its own name.
pub fn write(snapshot: &MetricsSnapshot, text: &mut Exposition) {
    // The snapshot is a flat object of numbers: one definition there, and a family here for each.
    let Ok(serde_json::Value::Object(figures)) = serde_json::to_value(snapshot) else { return };
    for (name, value) in figures {
        let Some(value) = value.as_f64() else { continue };
        let help = format!("{}.", name.replace('_', " "));
        if GAUGES.contains(&name.as_str()) {
            text.gauge(&format!("windlass_{name}"), &help, value);
        } else {
            text.counter(&format!("windlass_{name}_total"), &help, value);
        }
    }
}
