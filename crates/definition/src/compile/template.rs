//! Expressions in a document: compiled, and every name in them checked where it stands.

use std::collections::HashMap;

use super::{
    Compiler,
    scope::{Secrets, Written},
};
use crate::{
    Template, Value,
    diagnostic::Problem,
    expression::SyntaxError,
    plan::Condition,
    source::{Kind, Node, place_within},
    template::{TemplateError, TemplateName},
};

/// Where in a `with` something stands, and which of its fields are special.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields {
    /// Patterns of where secrets may stand.
    pub(super) secret: &'static [&'static str],
    /// Patterns of what is program text.
    pub(super) program: &'static [&'static str],
}

/// Where a template stands in the document: what tells the `uuid()`s of one step apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'s> {
    /// The name of the field.
    pub(super) field: &'s str,
    /// What is special about its parts.
    pub(super) fields: Fields,
}

impl<'s> Site<'s> {
    /// A field without special parts.
    pub(super) fn plain(field: &'s str) -> Site<'s> {
        Site { field, fields: Fields::default() }
    }
}

impl Compiler<'_> {
    /// JSON whose texts may hold expressions.
    pub(super) fn template(&mut self, node: &Node, site: Site<'_>) -> Template {
        self.check_program_text(node, site.fields, &mut Vec::new());
        let place = self.place_of(site.field);
        let compiled = Template::compile_at(&node.to_value(), &place);
        self.checked(compiled, node, (&place, site.fields))
    }

    /// A text that is an expression with or without its braces, or any other value.
    pub(super) fn expression_field(&mut self, node: &Node, field: &str) -> Template {
        if !matches!(node.kind, Kind::String(_)) {
            return self.template(node, Site::plain(field));
        }
        let place = self.place_of(field);
        let compiled = Template::compile_expression_field(&node.to_value(), &place);
        self.checked(compiled, node, (&place, Fields::default()))
    }

    fn place_of(&self, field: &str) -> String {
        format!("/{}/{field}", self.sites.join("/"))
    }

    fn checked(
        &mut self,
        compiled: Result<Template, Vec<TemplateError>>,
        node: &Node,
        (place, fields): (&str, Fields),
    ) -> Template {
        match compiled {
            Ok(template) => {
                let mut texts = HashMap::new();
                collect_texts(node, &mut String::new(), &mut texts);
                let names = template.names();
                for name in &names {
                    let at = texts.get(&name.pointer).copied().unwrap_or(node);
                    self.check_template_name(name, (at, &name.pointer), fields);
                }
                self.check_secrets_alone(&template, (node, &texts));
                template
            }
            Err(errors) => {
                let mut texts = HashMap::new();
                collect_texts(node, &mut String::new(), &mut texts);
                for error in errors {
                    let pointer = error.pointer.strip_prefix(place).unwrap_or(&error.pointer);
                    let at = texts.get(pointer).copied().unwrap_or(node);
                    self.syntax_error(at, error.offset, &error.error);
                }
                self.check_sound_texts(node, fields);
                Template::Literal(Value::Null)
            }
        }
    }

    /// The names of those texts that do compile, beside others that do not.
    fn check_sound_texts(&mut self, node: &Node, fields: Fields) {
        let mut texts = HashMap::new();
        collect_texts(node, &mut String::new(), &mut texts);
        for (pointer, text) in texts {
            let Ok(template) = Template::compile(&text.to_value()) else { continue };
            for name in template.names() {
                self.check_template_name(&name, (text, &pointer), fields);
            }
        }
    }

    fn check_template_name(&mut self, name: &TemplateName<'_>, (node, pointer): (&Node, &str), fields: Fields) {
        let secrets = if name.name.root() == "secrets" {
            let path: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
            let allowed = fields.secret.iter().any(|pattern| matches(pattern, &path));
            if allowed { Secrets::Allowed } else { Secrets::Refused }
        } else {
            Secrets::Refused
        };
        let start = name.offset.saturating_sub(name.name.offset);
        self.check_name(&Written { name: name.name, node, start }, secrets);
    }

    /// An expression with a secret is evaluated on the worker, which sees nothing of the run.
    fn check_secrets_alone(&mut self, template: &Template, (node, texts): (&Node, &HashMap<String, &Node>)) {
        let mut others = Vec::new();
        template.each_expression(&mut |pointer, expression| {
            let beside = |name: &&crate::expression::Name| name.root() != "secrets";
            if expression.uses_secrets()
                && let Some(name) = expression.names().find(beside)
            {
                others.push((pointer.to_owned(), expression.text_offset() + name.offset, name.root().to_owned()));
            }
        });
        for (pointer, offset, root) in others {
            let at = texts.get(&pointer).copied().unwrap_or(node);
            let span = if self.is_crowded() { at.span } else { place_within(self.text, at, offset, root.len()) };
            let problem = Problem::new(span, format!("`{root}` cannot stand in one expression with a secret"));
            let note = "the worker alone knows secrets, and nothing else: write two expressions, \
                        `${{ input.user }}:${{ secrets.password }}`";
            self.report(problem.note(note));
        }
    }

    /// A `when` or `if`.
    pub(super) fn condition(&mut self, node: &Node, what: &str) -> Condition {
        match &node.kind {
            Kind::Bool(value) => return Condition::Literal(*value),
            Kind::String(_) => {}
            _ => {
                let message = format!("{what} must be an expression, `true` or `false`, not {}", node.describe());
                self.error(node.span, message);
                return Condition::Literal(true);
            }
        }
        match self.expression_field(node, what.trim_matches('`')) {
            Template::Expression(expression) => Condition::Expression(expression),
            Template::Literal(Value::Bool(value)) => Condition::Literal(value),
            Template::Text(_) => {
                let problem =
                    Problem::new(node.span, format!("{what} must be one expression, not text with expressions"));
                self.report(problem.note("write the whole as one expression"));
                Condition::Literal(true)
            }
            // What could not be compiled has been reported.
            _ => Condition::Literal(true),
        }
    }

    /// A part of the document that cannot hold expressions.
    pub(super) fn literal(&mut self, node: &Node, what: &str) -> Value {
        self.check_literal(node, what);
        node.to_value()
    }

    fn check_literal(&mut self, node: &Node, what: &str) {
        match &node.kind {
            Kind::String(text) => {
                if let Some(at) = text.find("${{") {
                    let span = place_within(self.text, node, at, 3);
                    self.error(span, format!("{what} is literal: it cannot hold an expression"));
                }
            }
            Kind::List(items) => items.iter().for_each(|it| self.check_literal(it, what)),
            Kind::Map(entries) => entries.iter().for_each(|it| self.check_literal(&it.value, what)),
            _ => {}
        }
    }

    fn syntax_error(&mut self, node: &Node, offset: usize, error: &SyntaxError) {
        // Beyond the problems that are shown, the place need not be exact.
        let span = match self.is_crowded() {
            true => node.span,
            false => place_within(self.text, node, offset, error.length.max(1)),
        };
        let problem = Problem::new(span, error.message.clone());
        self.report(problem.suggest(error.suggestion.clone()));
    }

    fn check_program_text(&mut self, node: &Node, fields: Fields, path: &mut Vec<String>) {
        if fields.program.is_empty() {
            return;
        }
        if fields.program.iter().any(|pattern| matches(pattern, path)) {
            self.check_no_expression(node);
        }
        match &node.kind {
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.check_program_text(item, fields, path);
                    path.pop();
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    path.push(entry.key.to_string());
                    self.check_program_text(&entry.value, fields, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn check_no_expression(&mut self, node: &Node) {
        if let Some(at) = node.as_str().and_then(|text| text.find("${{")) {
            let span = place_within(self.text, node, at, 3);
            let problem = Problem::new(span, "program text is never interpolated");
            self.report(problem.note("hand values to it through `input`, `args` or `params`"));
        }
    }
}

/// The texts of a tree that may hold expressions, by their pointers.
fn collect_texts<'n>(node: &'n Node, pointer: &mut String, texts: &mut HashMap<String, &'n Node>) {
    let length = pointer.len();
    match &node.kind {
        Kind::String(text) if text.contains("${{") => {
            texts.insert(pointer.clone(), node);
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                collect_texts(item, pointer, texts);
                pointer.truncate(length);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                pointer.push_str(&format!("/{}", entry.key.replace('~', "~0").replace('/', "~1")));
                collect_texts(&entry.value, pointer, texts);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Whether a pattern such as `/headers/*` names a place or something around it.
fn matches(pattern: &str, path: &[String]) -> bool {
    let tokens: Vec<&str> = pattern.split('/').skip(1).collect();
    let fits = |(token, part): (&&str, &String)| *token == "*" || *token == part;
    tokens.len() <= path.len() && tokens.iter().zip(path).all(fits)
}
