//! Triggers: checked in full, although nothing fires them yet.

use std::{collections::BTreeSet, str::FromStr};

use serde_json_path::JsonPath;

use super::{
    Compiler,
    scope::Frame,
    template::{Fields, Site},
};
use crate::{
    diagnostic::{Problem, nearest},
    document::{Document, Name, Trigger},
    source::{Kind, Node},
};

impl Compiler<'_> {
    pub(super) fn triggers(&mut self, document: &Document) {
        let mut webhooks = BTreeSet::new();
        for trigger in &document.triggers {
            match trigger {
                Trigger::Schedule { cron, timezone, input, .. } => {
                    self.check_cron(cron);
                    if let Some(timezone) = timezone {
                        self.check_timezone(timezone);
                    }
                    if let Some(input) = input {
                        self.check_trigger_input(input);
                    }
                }
                Trigger::Webhook { name, secret, input } => {
                    if !webhooks.insert(name.value.clone()) {
                        let message = format!("the webhook `{}` stands here a second time", name.value);
                        self.error(name.span, message);
                    }
                    self.check_webhook_secret(secret);
                    if let Some(input) = input {
                        self.check_json_paths(input);
                    }
                }
                Trigger::Event { when, input, .. } => self.within(Frame::Root("event"), |compiler| {
                    if let Some(when) = when {
                        compiler.condition(when, "`when`");
                    }
                    if let Some(input) = input {
                        compiler.check_trigger_input(input);
                    }
                }),
            }
        }
    }

    fn check_cron(&mut self, cron: &Name) {
        if let Err(error) = croner::Cron::from_str(cron) {
            let problem = Problem::new(cron.span, format!("`{}` is not a cron expression: {error}", cron.value));
            self.report(problem.note("minute, hour, day, month, weekday: `0 7 * * MON-FRI`"));
        }
    }

    fn check_timezone(&mut self, timezone: &Name) {
        if chrono_tz::Tz::from_str(timezone).is_err() {
            let suggestion = nearest(timezone, chrono_tz::TZ_VARIANTS.iter().map(|it| it.name()));
            let problem = Problem::new(timezone.span, format!("unknown time zone `{}`", timezone.value));
            let problem =
                if suggestion.is_some() { problem } else { problem.note("IANA names, such as `Europe/Berlin`") };
            self.report(problem.suggest(suggestion));
        }
    }

    fn check_trigger_input(&mut self, input: &Node) {
        if !matches!(input.kind, Kind::Map(_) | Kind::String(_)) {
            self.error(input.span, format!("`input` must be a map, not {}", input.describe()));
            return;
        }
        self.template(input, Site::plain("trigger"));
    }

    fn check_webhook_secret(&mut self, secret: &Node) {
        if !matches!(secret.kind, Kind::String(_)) {
            self.error(secret.span, format!("`secret` must be a text, not {}", secret.describe()));
            return;
        }
        if !secret.as_str().is_some_and(|text| text.contains("${{")) {
            let problem = Problem::new(secret.span, "whoever can read this document can read this secret");
            self.report(problem.warning().note("write `${{ secrets.<name> }}`"));
        }
        self.template(secret, Site { field: "secret", fields: Fields { secret: &[""], program: &[] } });
    }

    /// A text that begins with `$` is a JSONPath into the request; anything else is itself.
    fn check_json_paths(&mut self, node: &Node) {
        match &node.kind {
            Kind::String(text) if text.contains("${{") => {
                let problem = Problem::new(node.span, "a webhook's `input` holds JSONPath, no expressions");
                self.report(problem.note("such as `$.body.id`"));
            }
            Kind::String(text) if text.starts_with('$') => {
                if let Err(error) = JsonPath::parse(text) {
                    let problem = Problem::new(node.span, format!("`{text}` is not a JSONPath: {error}"));
                    self.report(problem.note("such as `$.body.id` (RFC 9535)"));
                }
            }
            Kind::List(items) => items.iter().for_each(|it| self.check_json_paths(it)),
            Kind::Map(entries) => entries.iter().for_each(|it| self.check_json_paths(&it.value)),
            _ => {}
        }
    }
}
