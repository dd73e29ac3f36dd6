//! What belongs to the editor: where a step stands on its canvas, how large it is there, and whatever else it keeps.
//!
//! Invariant: none of it changes what a document does. So it is not read at all in a document that was kept before:
//! a newer rule about it stops no run.

use super::{
    fields::Fields,
    read::{Reader, missing},
};
use crate::{
    diagnostic::Problem,
    print::Editor,
    source::{Kind, Node},
};

/// The furthest that a step stands from the middle of the canvas, and the largest that it is, in the editor's units.
const LENGTH_MAX: u32 = 1_000_000;
/// Bytes of one `ui`, as compact JSON.
const UI_BYTES_MAX: usize = 64 << 10;

impl Reader<'_> {
    /// `position` of a step.
    pub(super) fn position(&mut self, fields: &mut Fields<'_>) -> Option<Node> {
        let node = fields.take("position").filter(|_| self.editor == Editor::Kept)?;
        let Some(mut inner) = self.fields(node, "`position`") else { return Some(missing(Kind::Null)) };
        for name in ["x", "y"] {
            let Some(number) = self.require(&mut inner, name) else { continue };
            let far = f64::from(LENGTH_MAX);
            let range = format!("from -{LENGTH_MAX} to {LENGTH_MAX}");
            self.number(number, (name, &range), |it| (-far..=far).contains(&it));
        }
        self.finish(&inner);
        Some(node.clone())
    }

    /// `ui` of a step: a map, in which `width` and `height` are a size.
    pub(super) fn step_ui(&mut self, fields: &mut Fields<'_>) -> Option<Node> {
        let node = self.ui(fields)?;
        for name in ["width", "height"] {
            let Some(entry) = node.as_map().into_iter().flatten().find(|it| &*it.key == name) else { continue };
            let range = format!("above 0, at most {LENGTH_MAX}");
            self.number(&entry.value, (name, &range), |it| it > 0.0 && it <= f64::from(LENGTH_MAX));
        }
        Some(node)
    }

    /// `ui`: any map of a bounded size.
    pub(super) fn ui(&mut self, fields: &mut Fields<'_>) -> Option<Node> {
        let node = fields.take("ui").filter(|_| self.editor == Editor::Kept)?;
        self.map(node, "`ui`");
        let bytes = node.to_value().to_string().len();
        if bytes > UI_BYTES_MAX {
            let message = format!("`ui` has {bytes} bytes as compact JSON; the limit is {UI_BYTES_MAX}");
            self.report(Problem::of_map(node.span, message));
        }
        Some(node.clone())
    }

    /// Reports what is no number, or not one that fits.
    fn number(&mut self, node: &Node, (name, range): (&str, &str), fits: impl Fn(f64) -> bool) {
        let number = match node.kind {
            // Rounding is far beyond every range.
            Kind::Int(number) => number as f64,
            Kind::Uint(number) => number as f64,
            Kind::Double(number) => number,
            _ => return self.mismatch(node, &format!("`{name}`"), "a number"),
        };
        if !fits(number) {
            self.report(Problem::new(node.span, format!("`{name}` must be {range}")));
        }
    }
}
