//! Types of credentials: which fields each has, and which of those are secret.
//!
//! Invariant: everything wrong with a credential is said at once, and no message quotes a secret value.

use serde_json::{Map, Value as Json};

use crate::FieldError;

/// Characters of a field that says nothing else.
const CHARS_MAX: usize = 2_000;
/// Characters of a private key.
const KEY_CHARS_MAX: usize = 16_384;

/// A field of a type of credential.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether nobody sees it.
    pub is_secret: bool,
    /// Whether there is no credential without it.
    pub is_required: bool,
    /// What it holds.
    pub form: Form,
    /// What it is: a sentence.
    pub doc: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text of one line.
    Line,
    /// A text of several lines, such as a private key in PEM.
    Lines,
    /// An http or https address.
    Url,
    /// The name of a host.
    Host,
    /// A port.
    Port,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A type of credential.
#[derive(Debug)]
pub struct CredentialType {
    /// Its name.
    pub name: &'static str,
    /// What it is for: a sentence.
    pub doc: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

const fn open(name: &'static str, form: Form, doc: &'static str) -> Field {
    Field { name, is_secret: false, is_required: true, form, doc }
}

const fn secret(name: &'static str, form: Form, doc: &'static str) -> Field {
    Field { is_secret: true, ..open(name, form, doc) }
}

impl Field {
    const fn optional(mut self) -> Field {
        self.is_required = false;
        self
    }
}

/// The address that a test asks.
const TEST_URL: Field =
    open("test_url", Form::Url, "An address that answers 2xx to a GET with it; the test asks there.").optional();

/// The names of all types.
pub static TYPE_NAMES: &[&str] = &["api_key", "basic_auth", "bearer", "oauth2", "smtp", "database", "aws", "ssh_key"];

/// All types, in the order of [`TYPE_NAMES`].
pub static TYPES: &[CredentialType] = &[
    CredentialType {
        name: "api_key",
        doc: "A key that goes into a header.",
        fields: &[
            open("header", Form::Line, "The header; `X-API-Key` when left out.").optional(),
            TEST_URL,
            secret("key", Form::Line, "The key."),
        ],
    },
    CredentialType {
        name: "basic_auth",
        doc: "A user and a password for HTTP.",
        fields: &[open("username", Form::Line, "The user."), TEST_URL, secret("password", Form::Line, "The password.")],
    },
    CredentialType {
        name: "bearer",
        doc: "A token that goes into `Authorization: Bearer`.",
        fields: &[TEST_URL, secret("token", Form::Line, "The token.")],
    },
    CredentialType {
        name: "oauth2",
        doc: "A client of an OAuth 2 server: access tokens are fetched and renewed when a step needs one.",
        fields: &[
            open("token_url", Form::Url, "Where tokens are asked for."),
            open("client_id", Form::Line, "The client."),
            open("scope", Form::Line, "What is asked for, with spaces between.").optional(),
            open("grant", Form::Word(&["client_credentials", "refresh_token"]), "How tokens are asked for."),
            secret("client_secret", Form::Line, "The client's secret.").optional(),
            secret(
                "refresh_token",
                Form::Line,
                "What `refresh_token` asks with; a new one that comes back takes its place.",
            )
            .optional(),
        ],
    },
    CredentialType {
        name: "smtp",
        doc: "A server that sends mail.",
        fields: &[
            open("host", Form::Host, "The server."),
            open("port", Form::Port, "Its port, such as 587."),
            open("security", Form::Word(&["starttls", "tls", "none"]), "How it is encrypted."),
            open("username", Form::Line, "The user.").optional(),
            open("from", Form::Line, "The sender of mails.").optional(),
            secret("password", Form::Line, "The password.").optional(),
        ],
    },
    CredentialType {
        name: "database",
        doc: "A database server.",
        fields: &[
            open("engine", Form::Word(&["postgres", "mysql", "mssql", "sqlite"]), "Which kind."),
            open("host", Form::Host, "The server.").optional(),
            open("port", Form::Port, "Its port.").optional(),
            open("database", Form::Line, "The database on it."),
            open("username", Form::Line, "The user.").optional(),
            open(
                "tls",
                Form::Word(&["verify", "require", "none"]),
                "How it is encrypted: `verify` checks the server's certificate and is meant when left out, `require` does not check it.",
            )
            .optional(),
            secret("password", Form::Line, "The password.").optional(),
        ],
    },
    CredentialType {
        name: "aws",
        doc: "An access key of Amazon Web Services, or of what speaks like them.",
        fields: &[
            open("access_key_id", Form::Line, "The id of the key."),
            open("region", Form::Line, "The region, such as `eu-central-1`."),
            open("sts_endpoint", Form::Url, "Where the test asks who we are, when that is not AWS's own STS.").optional(),
            secret("secret_access_key", Form::Line, "The key."),
            secret("session_token", Form::Line, "The token of a session.").optional(),
        ],
    },
    CredentialType {
        name: "ssh_key",
        doc: "A private key for SSH.",
        fields: &[
            open("username", Form::Line, "The user.").optional(),
            open("host", Form::Host, "The server.").optional(),
            open("port", Form::Port, "Its port.").optional(),
            secret("private_key", Form::Lines, "The key, as OpenSSH and PEM write it."),
            secret("passphrase", Form::Line, "What opens the key.").optional(),
        ],
    },
];

/// The type of that name.
pub fn find(name: &str) -> Option<&'static CredentialType> {
    TYPES.iter().find(|it| it.name == name)
}

/// The two parts of a credential: which column holds the fields, and whether they are the secret ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `fields`.
    Open,
    /// `secret_fields`.
    Secret,
}

impl Part {
    /// The column that holds it.
    pub fn column(self) -> &'static str {
        match self {
            Part::Open => "fields",
            Part::Secret => "secret_fields",
        }
    }
}

impl CredentialType {
    /// The fields of a part.
    pub fn part(&self, part: Part) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().filter(move |field| field.is_secret == (part == Part::Secret))
    }

    /// Everything that is wrong with a part of a credential of this type.
    pub fn check(&self, part: Part, given: &Map<String, Json>) -> Vec<FieldError> {
        let column = part.column();
        let error = |name: &str, message: String| FieldError {
            pointer: format!("/{column}/{}", name.replace('~', "~0").replace('/', "~1")),
            message,
        };
        let mut errors = Vec::new();
        for name in given.keys() {
            if self.part(part).any(|field| field.name == name) {
                continue;
            }
            errors.push(match self.fields.iter().find(|field| field.name == name) {
                Some(field) if field.is_secret => error(name, "is secret: it belongs into `secret_fields`".to_owned()),
                Some(_) => error(name, "is not secret: it belongs into `fields`".to_owned()),
                None => {
                    let names: Vec<&str> = self.part(part).map(|field| field.name).collect();
                    error(name, format!("is no field of `{}`; there are {}", self.name, names.join(", ")))
                }
            });
        }
        for field in self.part(part) {
            match given.get(field.name) {
                None | Some(Json::Null) if field.is_required => errors.push(error(field.name, "is needed".to_owned())),
                None | Some(Json::Null) => {}
                Some(value) => errors.extend(field.form.wrong(value).map(|message| error(field.name, message))),
            }
        }
        errors
    }
}

impl Form {
    /// What is wrong with a value, without the value itself.
    fn wrong(self, value: &Json) -> Option<String> {
        let must = |what: &str| Some(format!("must be {what}"));
        if self == Form::Port {
            let fits = value.as_u64().is_some_and(|port| (1..=65_535).contains(&port));
            return if fits { None } else { must("a port: a whole number from 1 to 65535") };
        }
        let Some(text) = value.as_str() else { return must("text") };
        let chars_max = if self == Form::Lines { KEY_CHARS_MAX } else { CHARS_MAX };
        let chars = text.chars().count();
        if chars == 0 || chars > chars_max || text.contains('\0') {
            return must(&format!("1 to {chars_max} characters, none of them NUL"));
        }
        let is_url = |text: &str| {
            ["http://", "https://"].iter().any(|it| text.strip_prefix(it).is_some_and(|rest| !rest.is_empty()))
                && !text.contains(char::is_whitespace)
        };
        match self {
            Form::Lines | Form::Port => None,
            _ if text.contains(['\n', '\r']) => must("one line"),
            Form::Line => None,
            Form::Url if is_url(text) => None,
            Form::Url => must("an http or https address"),
            Form::Host if text.contains(['/', ' ', '@']) => must("the name of a host"),
            Form::Host => None,
            Form::Word(words) if words.contains(&text) => None,
            Form::Word(words) => must(&format!("one of {}", words.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, part: Part, given: Json, expected: &[&str]) {
        let kind = find(name).unwrap();
        let errors = kind.check(part, given.as_object().unwrap());
        let said: Vec<String> = errors.iter().map(|it| format!("{} {}", it.pointer, it.message)).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn names_and_types_agree() {
        assert_eq!(TYPES.iter().map(|it| it.name).collect::<Vec<_>>(), TYPE_NAMES);
        for kind in TYPES {
            assert!(kind.fields.iter().any(|field| field.is_secret), "{}", kind.name);
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_without_values() {
        check("basic_auth", Part::Open, serde_json::json!({ "username": "ada" }), &[]);
        check(
            "smtp",
            Part::Open,
            serde_json::json!({ "host": "a b", "port": 0, "security": "ssl", "password": "sesame" }),
            &[
                "/fields/password is secret: it belongs into `secret_fields`",
                "/fields/host must be the name of a host",
                "/fields/port must be a port: a whole number from 1 to 65535",
                "/fields/security must be one of starttls, tls, none",
            ],
        );
        check(
            "aws",
            Part::Secret,
            serde_json::json!({ "region": "x", "session_token": 7, "no/such": 1 }),
            &[
                "/secret_fields/no~1such is no field of `aws`; there are secret_access_key, session_token",
                "/secret_fields/region is not secret: it belongs into `fields`",
                "/secret_fields/secret_access_key is needed",
                "/secret_fields/session_token must be text",
            ],
        );
        check(
            "bearer",
            Part::Secret,
            serde_json::json!({ "token": "two\nlines" }),
            &["/secret_fields/token must be one line"],
        );
    }
}
