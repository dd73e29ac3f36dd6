//! State machines: the transitions of a record, what each asks for and what it does.

/// A way from one state to another, taken by its verb: `POST /articles/{id}/publish`.
#[derive(Debug, Clone, Copy)]
pub struct Transition {
    /// What is asked for.
    pub verb: &'static str,
    /// The states in which it may be.
    pub from: &'static [&'static str],
    /// The state after it.
    pub to: &'static str,
    /// What it does, for people: a sentence.
    pub doc: &'static str,
    /// What must hold besides.
    pub guards: &'static [Guard],
    /// What it changes besides the state.
    pub effects: &'static [Effect],
    /// The permission that it needs, when that is not the area's to write.
    pub permission: Option<&'static str>,
    /// Whether the program alone takes it.
    pub by_program: bool,
}

/// What must hold for a transition. Where more is to be said, behaviour in Rust says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The column has a value.
    Has(&'static str),
    /// The column has none.
    HasNot(&'static str),
    /// The time in the column is over.
    Past(&'static str),
    /// The time in the column is still to come, or there is none.
    NotPast(&'static str),
    /// The caller is another than the one in the column.
    AnotherThan(&'static str),
}

/// What a transition changes besides the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The column gets the time.
    Stamp(&'static str),
    /// The column gets the caller.
    Sign(&'static str),
    /// The column gets null.
    Clear(&'static str),
    /// The column counts one more.
    Count(&'static str),
    /// The column gets what the body says; it may be left out unless the column is required.
    Take(&'static str),
    /// The same, and it may not be left out.
    Demand(&'static str),
}

/// A transition by its verb, the states that it leads from, and the one that it leads to.
pub const fn transition(verb: &'static str, from: &'static [&'static str], to: &'static str) -> Transition {
    Transition { verb, from, to, doc: "", guards: &[], effects: &[], permission: None, by_program: false }
}

impl Transition {
    /// The program alone takes it: it has no route and no command.
    #[must_use]
    pub const fn by_program(mut self) -> Transition {
        self.by_program = true;
        self
    }

    /// What it does, for people: a sentence.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Transition {
        self.doc = doc;
        self
    }

    /// What must hold besides.
    #[must_use]
    pub const fn guards(mut self, guards: &'static [Guard]) -> Transition {
        self.guards = guards;
        self
    }

    /// What it changes besides the state.
    #[must_use]
    pub const fn effects(mut self, effects: &'static [Effect]) -> Transition {
        self.effects = effects;
        self
    }

    /// The permission that it needs, such as `workflows.publish`.
    #[must_use]
    pub const fn permission(mut self, permission: &'static str) -> Transition {
        self.permission = Some(permission);
        self
    }
}

impl Guard {
    /// The column that it looks at.
    pub fn column(self) -> &'static str {
        match self {
            Guard::Has(it) | Guard::HasNot(it) | Guard::Past(it) | Guard::NotPast(it) | Guard::AnotherThan(it) => it,
        }
    }

    /// What it asks for, as the rest of a sentence.
    pub fn words(self) -> String {
        match self {
            Guard::Has(it) => format!("`{it}` must be set"),
            Guard::HasNot(it) => format!("`{it}` must not be set"),
            Guard::Past(it) => format!("the time in `{it}` must be over"),
            Guard::NotPast(it) => format!("the time in `{it}` must not be over"),
            Guard::AnotherThan(it) => format!("it must be done by another than the one in `{it}`"),
        }
    }
}

impl Effect {
    /// The column that it changes.
    pub fn column(self) -> &'static str {
        match self {
            Effect::Stamp(it)
            | Effect::Sign(it)
            | Effect::Clear(it)
            | Effect::Count(it)
            | Effect::Take(it)
            | Effect::Demand(it) => it,
        }
    }

    /// What it does, as the rest of a sentence.
    pub fn words(self) -> String {
        match self {
            Effect::Stamp(it) => format!("sets `{it}` to the time"),
            Effect::Sign(it) => format!("sets `{it}` to the caller"),
            Effect::Clear(it) => format!("clears `{it}`"),
            Effect::Count(it) => format!("adds one to `{it}`"),
            Effect::Take(it) => format!("sets `{it}` if the body has it"),
            Effect::Demand(it) => format!("sets `{it}` from the body"),
        }
    }
}
