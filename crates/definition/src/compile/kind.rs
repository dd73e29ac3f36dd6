//! What a step does: from its type, its blocks and its `with`.

use super::{
    Compiler,
    step::{Standing, is_run_state, standing_of},
    template::{Fields, Site},
};
use crate::{
    Template, Value,
    diagnostic::Problem,
    document::{self, Common, Control},
    plan::{Condition, StepIndex, StepKind},
    source::{Kind, Node},
    step_type::StepType,
};

impl Compiler<'_> {
    pub(super) fn kind(&mut self, step: &document::Step, common: &Common, index: StepIndex) -> StepKind {
        if !matches!(step.control, Control::None) {
            return self.control(step, index);
        }
        match &*step.type_name.value {
            "join" => return StepKind::Join,
            "break" | "next" => {
                if !self.in_loop() {
                    let message = format!("`{}` stands only in a loop", step.type_name.value);
                    self.report(
                        Problem::new(step.type_name.span, message).note("in the `do` of a `foreach` or `while`"),
                    );
                }
                return if &*step.type_name.value == "break" { StepKind::Break } else { StepKind::Next };
            }
            _ => {}
        }
        let types = self.types;
        let Some(step_type) = types.get(&step.type_name) else {
            // An unknown type has been reported; its expressions are checked all the same.
            if let Some(with) = &common.with {
                self.template(with, Site { field: "with", fields: Fields { secret: &["/*"], program: &[] } });
            }
            return StepKind::Join;
        };
        self.check_with(common.with.as_ref(), step_type, step.span.span);
        self.leaf(step_type, common.with.as_ref())
    }

    /// The kind of an undo: a doing step or a subflow.
    pub(super) fn undo_kind(&mut self, undo: &document::Undo, with: Option<&Node>) -> StepKind {
        let types = self.types;
        let Some(step_type) = types.get(&undo.type_name) else { return StepKind::Join };
        let doing = standing_of(step_type.name, step_type.family) == Standing::Doing;
        let run_state = step_type.name == "state" && is_run_state(with);
        if !doing || step_type.name == "task" || run_state {
            let message = format!("a step of type `{}` cannot undo", step_type.name);
            self.report(Problem::new(undo.type_name.span, message).note("an undo is one doing step or a `workflow`"));
        }
        self.check_with(with, step_type, undo.span.span);
        self.leaf(step_type, with)
    }

    fn leaf(&mut self, step_type: &StepType, with: Option<&Node>) -> StepKind {
        let fields = Fields { secret: step_type.secret_fields, program: step_type.program_fields };
        if step_type.name == "event" {
            return self.event(with);
        }
        let empty = Node::map::<&str>([]);
        let node = with.unwrap_or(&empty);
        self.check_schemas(step_type, node);
        self.check_credentials(step_type, node);
        let with = self.template(node, Site { field: "with", fields });
        match step_type.name {
            "restart" => StepKind::Restart { with },
            "respond" => StepKind::Respond { with },
            "fail" => StepKind::Fail { with },
            "transform" => StepKind::Transform { value: entry_of(with, "value") },
            "log" => StepKind::Log { with },
            "state" => self.state(node, with),
            "delay" => StepKind::Delay { with },
            "wait" => StepKind::Wait { with },
            "approval" => StepKind::Approval { with },
            "task" => StepKind::Task { with },
            "workflow" => StepKind::Workflow { with },
            _ => StepKind::Action { with },
        }
    }

    fn state(&mut self, node: &Node, with: Template) -> StepKind {
        if let Some(scope) = node.get("scope")
            && scope.as_str().is_some_and(|text| text.contains("${{"))
        {
            self.error(scope.span, "`scope` is literal: `run`, `workflow` or `tenant`");
        }
        self.check_state_fields(node);
        if is_run_state(Some(node)) { StepKind::State { with } } else { StepKind::Action { with } }
    }

    /// Which fields go with which operation.
    fn check_state_fields(&mut self, node: &Node) {
        let Some(op) = node.get("op").and_then(Node::as_str).filter(|it| !it.contains("${{")) else { return };
        let needs: &[&str] = match op {
            "set" | "update" | "compare_and_set" => &["value"],
            _ => &[],
        };
        if let Some(ttl) = node.entry("ttl").filter(|_| is_run_state(Some(node))) {
            let problem = Problem::new(ttl.key_span, "the run's own state has no `ttl`: it ends with the run");
            self.report(problem.note("it goes with `scope: workflow` and `scope: tenant`"));
        }
        for field in needs {
            if node.get(field).is_none() {
                self.error(node.span, format!("`op: {op}` needs `{field}`"));
            }
        }
        let owned: [(&str, &[&str]); 4] = [
            ("value", &["get", "set", "update", "compare_and_set"]),
            ("by", &["increment"]),
            ("expected", &["compare_and_set"]),
            ("ttl", &["set", "update", "increment", "compare_and_set"]),
        ];
        for (field, operations) in owned {
            if let Some(entry) = node.entry(field)
                && !operations.contains(&op)
            {
                let problem = Problem::new(entry.key_span, format!("`op: {op}` has no `{field}`"));
                self.report(
                    problem.note(format!("it goes with {}", document::listed(operations.iter().copied(), "and"))),
                );
            }
        }
    }

    fn event(&mut self, with: Option<&Node>) -> StepKind {
        // A `when` of another kind does not fit the schema, which has been reported.
        let fits = |it: &&Node| matches!(it.kind, Kind::String(_) | Kind::Bool(_));
        let when = with.and_then(|it| it.get("when")).filter(fits).and_then(|node| {
            let condition = self.within(super::Frame::Root("event"), |compiler| compiler.condition(node, "`when`"));
            (!matches!(condition, Condition::Literal(true))).then_some(condition)
        });
        let mut rest = with.cloned().unwrap_or_else(|| Node::map::<&str>([]));
        if let Kind::Map(entries) = &mut rest.kind {
            entries.retain(|entry| &*entry.key != "when");
        }
        StepKind::Event { with: self.template(&rest, Site::plain("with")), when }
    }

    /// Schemas within a `with`: checked now when they are literal.
    fn check_schemas(&mut self, step_type: &StepType, with: &Node) {
        let field = match step_type.name {
            "wait" => "schema",
            "approval" => "form",
            _ => return,
        };
        self.check_quorum(with);
        let Some(schema) = with.get(field) else { return };
        if step_type.name == "wait"
            && let Some(signal) = with.get("signal")
            && signal.as_str().is_some_and(|text| text.contains("${{"))
        {
            self.error(signal.span, "a `wait` with a `schema` needs a literal `signal`");
        }
        if !holds_expression(schema) {
            self.check_json_schema(schema, &format!("`{field}`"));
        }
    }
}

impl Compiler<'_> {
    /// A credential is named in the document itself: who saves it has to be allowed to use it.
    fn check_credentials(&mut self, step_type: &StepType, with: &Node) {
        for field in step_type.credential_fields {
            let Some(node) = with.get(field.name) else { continue };
            // What is no text does not fit the schema, which has been reported.
            let Some(name) = node.as_str() else { continue };
            if is_secret_name(name) {
                self.secrets.insert(name.into());
                self.credentials.push((name.into(), *field, node.span));
                continue;
            }
            let field = field.name;
            let problem = Problem::new(node.span, format!("`{field}` is the name of a credential, and literal"));
            self.report(
                problem.note("letters, digits and `_`; values of a secret are written `${{ secrets.<name> }}`"),
            );
        }
    }

    /// More approvals than people are asked can never come in.
    fn check_quorum(&mut self, with: &Node) {
        let Some(quorum) = with.get("quorum") else { return };
        let number = |name: &str| quorum.get(name).and_then(|it| it.to_value().as_i64());
        if let (Some(of), Some(need), Some(written)) = (number("of"), number("need"), quorum.get("need"))
            && need > of
        {
            self.error(written.span, format!("`quorum` needs {need} of {of}: that can never be reached"));
        }
    }
}

/// Whether a text can stand behind `secrets.`.
fn is_secret_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(fits) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn holds_expression(node: &Node) -> bool {
    match &node.kind {
        Kind::String(text) => text.contains("${{"),
        Kind::List(items) => items.iter().any(holds_expression),
        Kind::Map(entries) => entries.iter().any(|it| holds_expression(&it.value)),
        _ => false,
    }
}

/// One entry of a template that is a map.
fn entry_of(template: Template, key: &str) -> Template {
    match template {
        Template::Map(entries) => entries
            .into_iter()
            .find(|(name, _)| &**name == key)
            .map_or(Template::Literal(Value::Null), |(_, value)| value),
        Template::Literal(value) => Template::Literal(value.get(key).cloned().unwrap_or_default()),
        // A `with` that is one expression: its `value` is only known when it runs.
        other => other,
    }
}
