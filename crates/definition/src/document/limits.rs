//! How large a document may be: settings of the server, with the language's defaults.

/// The bounds of a document that a server's settings may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its text: `document_bytes_max`.
    pub document_bytes: usize,
    /// Its steps: `steps_max`.
    pub steps: usize,
    /// Blocks within each other: `nesting_max`.
    pub nesting: usize,
    /// Characters of a name: `name_chars_max`.
    pub name_chars: usize,
    /// Items or branches open at once: `parallel_max`.
    pub parallel: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { document_bytes: 2 << 20, steps: 5_000, nesting: 32, name_chars: 200, parallel: 1_000 }
    }
}
