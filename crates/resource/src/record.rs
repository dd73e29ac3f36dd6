//! Records: what is kept together, who owns it, how it is written and how it ends.

use crate::{
    Access, Column, Fold, Kind, OnDelete, Secrecy, Transition,
    column::{id, integer, text, timestamp},
};

/// Records that belong together: a group of commands, of permissions and of pages.
#[derive(Debug)]
pub struct Area {
    /// Its name: `workflows`.
    pub name: &'static str,
    /// The permission to see its records: `workflows.read`.
    pub read: &'static str,
    /// The permission to change them: `workflows.write`.
    pub write: &'static str,
    /// What it is about: a sentence.
    pub doc: &'static str,
}

/// One kind of thing that is kept, listed, validated and permitted.
#[derive(Debug)]
pub struct Record {
    /// Where it belongs.
    pub area: &'static Area,
    /// The plural: its table, and with hyphens its address and command.
    pub name: &'static str,
    /// The singular, for people: `workflow tag`.
    pub noun: &'static str,
    /// What it is called in the commands of its area, where the name of its table says too much.
    pub command: Option<&'static str>,
    /// What it is: a sentence or two.
    pub doc: &'static str,
    /// What it holds, besides what every record has.
    pub columns: &'static [Column],
    /// What no two rows of a tenant have alike.
    pub unique: &'static [Unique],
    /// The hash by which the program finds a row in whichever tenant: no two rows of all have it alike.
    pub found_by: Option<&'static str>,
    /// The columns by which a row lies on a workflow: rights there are enough for it. None: rights in the tenant are needed.
    pub lies_by: &'static [&'static str],
    /// By what it is looked for often. References and unique columns have their indexes anyway.
    pub indexes: &'static [Index],
    /// The primary key of its table among what one owner has: `id`, unless the core counts its rows by another column.
    pub key: &'static str,
    /// Whose its rows are.
    pub ownership: Ownership,
    /// Whether who may do what depends on it: each change of it is told to every server.
    pub access: bool,
    /// Who writes it.
    pub writing: Writing,
    /// What deleting a row means.
    pub deletion: Deletion,
    /// How long rows are kept.
    pub retention: Retention,
    /// The ways between its states.
    pub transitions: &'static [Transition],
    /// Bodies that make one, as JSON.
    pub examples: &'static [&'static str],
}

/// Columns that no two rows of a tenant have alike: the last is unique within the others. Null is a value among the
/// others; rows whose last is null, and deleted rows, do not count.
#[derive(Debug, Clone, Copy)]
pub struct Unique(pub &'static [&'static str]);

/// Columns by which rows are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Index(pub &'static [&'static str]);

/// Whose the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// A tenant's: it leads every key.
    Tenant,
    /// The installation's: every tenant sees the same.
    Global,
}

/// Who writes rows, and whether they change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Callers make, change and delete them.
    Full,
    /// Callers make and change them; they stay.
    Stays,
    /// Callers make and delete them; they do not change.
    Link,
    /// The program makes them of what callers send by a way of its own; callers change and delete them.
    Upload,
    /// Callers make them; they stay as they are.
    Append,
    /// The program writes them; callers see them and may use their transitions.
    Program,
    /// The program writes them once; they stay as they are.
    Log,
}

/// What deleting a row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Hard,
    /// It is hidden, and can be restored until it is cleared away.
    Soft,
}

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Until somebody deletes them.
    Kept,
    /// That many days from the day they were made.
    Days(u32),
}

/// What a caller does with records.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Sees many.
    List,
    /// Takes out many, as a file.
    Export,
    /// Sees one.
    Get,
    /// Makes one.
    Create,
    /// Changes one.
    Update,
    /// Deletes one.
    Delete,
    /// Takes a deletion back.
    Restore,
    /// Takes one from a state to another.
    Transition(&'static Transition),
}

/// Days after which a deleted row that could still be restored is cleared away.
pub const DELETED_DAYS: u32 = 30;

static ID: Column = id("id").read_only().required().doc("Its id; ids grow with time.");
static SEARCH: Column = text("search_text").chars(0, u32::MAX).required().internal().doc("What `?q=` looks into.");
static REVISION: Column =
    integer("revision").read_only().required().doc("Counts its changes: the ETag without its quotes.");
static CREATED_AT: Column = timestamp("created_at").read_only().required().doc("When it was made.");
static CREATED_BY: Column = text("created_by").chars(0, u32::MAX).read_only().required().doc("Who made it.");
static UPDATED_AT: Column = timestamp("updated_at").read_only().required().doc("When it was last changed.");
static UPDATED_BY: Column = text("updated_by").chars(0, u32::MAX).read_only().required().doc("Who last changed it.");
static DELETED_AT: Column = timestamp("deleted_at").read_only().doc("When it was deleted.");

impl Record {
    /// A record of that area, by its plural and its singular.
    pub const fn of(area: &'static Area, name: &'static str, noun: &'static str) -> Record {
        Record {
            area,
            name,
            noun,
            command: None,
            doc: "",
            columns: &[],
            unique: &[],
            found_by: None,
            lies_by: &[],
            indexes: &[],
            key: "id",
            ownership: Ownership::Tenant,
            access: false,
            writing: Writing::Full,
            deletion: Deletion::Hard,
            retention: Retention::Kept,
            transitions: &[],
            examples: &[],
        }
    }

    /// What it is.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Record {
        self.doc = doc;
        self
    }

    /// What it is called in the commands of its area: `windlass workflows tagged`.
    #[must_use]
    pub const fn command(mut self, command: &'static str) -> Record {
        self.command = Some(command);
        self
    }

    /// What it holds.
    #[must_use]
    pub const fn columns(mut self, columns: &'static [Column]) -> Record {
        self.columns = columns;
        self
    }

    /// What no two rows of a tenant have alike.
    #[must_use]
    pub const fn unique(mut self, unique: &'static [Unique]) -> Record {
        self.unique = unique;
        self
    }

    /// By what it is looked for often.
    #[must_use]
    pub const fn indexes(mut self, indexes: &'static [Index]) -> Record {
        self.indexes = indexes;
        self
    }

    /// The program finds a row by this hash, in whichever tenant.
    #[must_use]
    pub const fn found_by(mut self, column: &'static str) -> Record {
        self.found_by = Some(column);
        self
    }

    /// By which columns a row lies on a workflow: whoever has rights there alone asks for a list by one of them.
    #[must_use]
    pub const fn lies_by(mut self, columns: &'static [&'static str]) -> Record {
        self.lies_by = columns;
        self
    }

    /// Its rows are the installation's.
    #[must_use]
    pub const fn global(mut self) -> Record {
        self.ownership = Ownership::Global;
        self
    }

    /// The primary key of its table, which the core made, is this column; its id is unique beside it.
    #[must_use]
    pub const fn keyed(mut self, column: &'static str) -> Record {
        self.key = column;
        self
    }

    /// Who may do what depends on it.
    #[must_use]
    pub const fn grants_access(mut self) -> Record {
        self.access = true;
        self
    }

    /// Who writes it.
    #[must_use]
    pub const fn writing(mut self, writing: Writing) -> Record {
        self.writing = writing;
        self
    }

    /// A deleted row can be restored for 30 days.
    #[must_use]
    pub const fn soft_delete(mut self) -> Record {
        self.deletion = Deletion::Soft;
        self
    }

    /// How long rows are kept.
    #[must_use]
    pub const fn retention(mut self, retention: Retention) -> Record {
        self.retention = retention;
        self
    }

    /// The ways between its states.
    #[must_use]
    pub const fn transitions(mut self, transitions: &'static [Transition]) -> Record {
        self.transitions = transitions;
        self
    }

    /// Bodies that make one, as JSON.
    #[must_use]
    pub const fn examples(mut self, examples: &'static [&'static str]) -> Record {
        self.examples = examples;
        self
    }

    /// Every column of its table in order, but for the tenant's key.
    pub fn stored(&self) -> Vec<&'static Column> {
        let mut all = vec![&ID];
        all.extend(self.columns);
        if self.is_searchable() {
            all.push(&SEARCH);
        }
        if self.changes() {
            all.push(&REVISION);
        }
        all.extend([&CREATED_AT, &CREATED_BY]);
        if self.changes() {
            all.extend([&UPDATED_AT, &UPDATED_BY]);
        }
        if self.deletion == Deletion::Soft {
            all.push(&DELETED_AT);
        }
        all
    }

    /// A column of its table.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.stored().into_iter().find(|column| column.name == name)
    }

    /// Where a column stands among [`Record::stored`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.stored().iter().position(|column| column.name == name)
    }

    /// The column of its state, if it has states.
    pub fn state(&self) -> Option<&'static Column> {
        self.columns.iter().find(|column| matches!(column.kind, Kind::State { .. }))
    }

    /// Its transition of that verb.
    pub fn transition(&self, verb: &str) -> Option<&'static Transition> {
        self.transitions.iter().find(|transition| transition.verb == verb)
    }

    /// The verbs that may be taken from a state.
    pub fn verbs_from(&self, state: &str) -> Vec<&'static str> {
        let from = self.transitions.iter().filter(|transition| transition.from.contains(&state));
        from.map(|transition| transition.verb).collect()
    }

    /// The columns by which people find one again, wherever it is: the first that are unique and may be given by
    /// callers. Documents name rows by them.
    pub fn natural_key(&self) -> Option<&'static [&'static str]> {
        let given = |name: &str| {
            let column = self.columns.iter().find(|column| column.name == name);
            column.is_some_and(|column| column.access != Access::ReadOnly && column.is_shown())
        };
        self.unique.iter().map(|Unique(columns)| *columns).find(|columns| columns.iter().all(|name| given(name)))
    }

    /// Whether `?q=` looks for it.
    pub fn is_searchable(&self) -> bool {
        self.columns.iter().any(|column| column.searchable)
    }

    /// Whether a row may change once it is there.
    pub fn changes(&self) -> bool {
        matches!(self.writing, Writing::Full | Writing::Stays | Writing::Upload | Writing::Program)
    }

    /// Its columns that the vault seals.
    pub fn sealed(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.columns.iter().filter(|column| column.secrecy == Secrecy::Sealed)
    }

    /// Its references: the column, the table that it leads to, and the rule.
    pub fn references(&self) -> impl Iterator<Item = (&'static Column, &'static str, OnDelete)> + use<> {
        self.columns.iter().filter_map(|column| match column.kind {
            Kind::Reference { to, on_delete } => Some((column, to, on_delete)),
            _ => None,
        })
    }

    /// What callers may do with it.
    pub fn operations(&self) -> Vec<Operation> {
        let mut all = vec![Operation::List, Operation::Export, Operation::Get];
        if matches!(self.writing, Writing::Full | Writing::Stays | Writing::Link | Writing::Append) {
            all.push(Operation::Create);
        }
        if matches!(self.writing, Writing::Full | Writing::Stays | Writing::Upload) {
            all.push(Operation::Update);
        }
        if matches!(self.writing, Writing::Full | Writing::Upload | Writing::Link) {
            all.push(Operation::Delete);
            if self.deletion == Deletion::Soft {
                all.push(Operation::Restore);
            }
        }
        all.extend(self.transitions.iter().filter(|it| !it.by_program).map(Operation::Transition));
        all
    }

    /// The permission that an operation needs.
    pub fn permission(&self, operation: Operation) -> &'static str {
        match operation {
            Operation::List | Operation::Export | Operation::Get => self.area.read,
            Operation::Transition(transition) => transition.permission.unwrap_or(self.area.write),
            _ => self.area.write,
        }
    }

    /// Its name among the commands of its area.
    pub fn command_name(&self) -> String {
        self.command.map_or_else(|| self.slug(), str::to_owned)
    }

    /// Its name in addresses: with hyphens.
    pub fn slug(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its name among schemas: `WorkflowTag`.
    pub fn type_name(&self) -> String {
        let capital = |word: &str| {
            let mut chars = word.chars();
            chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
        };
        self.noun.split([' ', '-']).map(capital).collect()
    }

    /// The text that `?q=` looks into: what its searchable columns hold, in lower case, one a line.
    pub fn search_text<'a>(texts: impl Iterator<Item = &'a str>) -> String {
        texts.map(str::to_lowercase).collect::<Vec<_>>().join("\n")
    }
}

impl Operation {
    /// Its name in commands and in the audit: `create`, `publish`.
    pub fn verb(self) -> &'static str {
        match self {
            Operation::List => "list",
            Operation::Export => "export",
            Operation::Get => "get",
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Restore => "restore",
            Operation::Transition(transition) => transition.verb,
        }
    }
}

impl Fold {
    /// The text as it is kept.
    pub fn apply(self, text: &str) -> String {
        match self {
            Fold::Kept => text.to_owned(),
            Fold::Lower => text.to_lowercase(),
        }
    }
}
