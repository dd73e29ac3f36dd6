//! What is known of users and groups in SCIM (RFC 7643): one definition, from which values are read and schemas are shown.
//!
//! Invariant: what comes out of [`Schema::read`] has these names, in this spelling, and these kinds; all else is left out.

use serde_json::{Map, Value as Json, json};

use super::invalid_value;
use crate::problem::Problem;

/// Characters of one text.
const TEXT_CHARS_MAX: usize = 2_048;
/// Values of one attribute, but for members of groups.
const VALUES_MAX: usize = 100;
/// Members of one group.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false; some clients send it as text.
    Boolean,
    /// A point in time.
    Time,
    /// An address.
    Reference,
    /// Attributes of its own.
    Complex,
}

/// Who may set an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// The client.
    ReadWrite,
    /// This server.
    ReadOnly,
}

/// An attribute.
#[derive(Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may have several values.
    pub many: bool,
    /// Whether letters in upper and lower case are others.
    pub case_exact: bool,
    /// Who may set it.
    pub mutability: Mutability,
    required: bool,
    unique: bool,
    doc: &'static str,
    /// Its own attributes.
    pub sub: &'static [Attribute],
}

const fn text(name: &'static str, doc: &'static str) -> Attribute {
    Attribute {
        name,
        kind: Kind::Text,
        many: false,
        case_exact: false,
        mutability: Mutability::ReadWrite,
        required: false,
        unique: false,
        doc,
        sub: &[],
    }
}

const fn kind(name: &'static str, kind: Kind, doc: &'static str) -> Attribute {
    Attribute { kind, ..text(name, doc) }
}

const fn complex(name: &'static str, sub: &'static [Attribute], doc: &'static str) -> Attribute {
    Attribute { kind: Kind::Complex, sub, ..text(name, doc) }
}

impl Attribute {
    const fn many(mut self) -> Attribute {
        self.many = true;
        self
    }

    const fn exact(mut self) -> Attribute {
        self.case_exact = true;
        self
    }

    const fn read_only(mut self) -> Attribute {
        self.mutability = Mutability::ReadOnly;
        self
    }

    const fn required(mut self) -> Attribute {
        self.required = true;
        self
    }

    const fn unique(mut self) -> Attribute {
        self.unique = true;
        self
    }

    /// Its own attribute of that name.
    pub fn sub(&self, name: &str) -> Option<&'static Attribute> {
        find(self.sub, name)
    }

    /// Values that it has at most.
    pub fn values_max(&self) -> usize {
        if self.name == MEMBERS { GROUP_MEMBERS_MAX } else { VALUES_MAX }
    }

    /// Reads a value; `None` when it is unassigned.
    ///
    /// # Errors
    /// 400 when it is of another kind, or too long.
    pub fn read(&self, given: &Json) -> Result<Option<Json>, Problem> {
        match given {
            Json::Null => Ok(None),
            Json::Array(items) if self.many => {
                if items.len() > self.values_max() {
                    return Err(invalid_value(format!("`{}` has over {} values", self.name, self.values_max())));
                }
                let mut read = Vec::with_capacity(items.len());
                for item in items {
                    read.extend(self.read_one(item)?);
                }
                Ok((!read.is_empty()).then_some(Json::Array(read)))
            }
            one if self.many => Ok(self.read_one(one)?.map(|it| json!([it]))),
            one => self.read_one(one),
        }
    }

    /// Reads one value of those that it has.
    ///
    /// # Errors
    /// As [`Attribute::read`].
    pub fn read_one(&self, given: &Json) -> Result<Option<Json>, Problem> {
        let refused = |what: &str| Err(invalid_value(format!("`{}` must be {what}", self.name)));
        match (self.kind, given) {
            (_, Json::Null) => Ok(None),
            (Kind::Boolean, Json::Bool(value)) => Ok(Some(json!(value))),
            (Kind::Boolean, Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(json!(true))),
            (Kind::Boolean, Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(json!(false))),
            (Kind::Boolean, _) => refused("true or false"),
            (Kind::Complex, Json::Object(map)) => {
                let read = read_all(self.sub, map)?;
                Ok((!read.is_empty()).then_some(Json::Object(read)))
            }
            // A value alone stands for what has one: `"members": ["…"]`, and Entra ID's `"manager": "…"`.
            (Kind::Complex, Json::String(_)) if self.sub(VALUE).is_some() => self.read_one(&json!({ VALUE: given })),
            (Kind::Complex, _) => refused("an object"),
            (_, Json::String(text)) if text.chars().count() > TEXT_CHARS_MAX => {
                refused(&format!("text of at most {TEXT_CHARS_MAX} characters"))
            }
            (_, Json::String(text)) => Ok((!text.is_empty()).then(|| json!(text))),
            _ => refused("text"),
        }
    }

    /// As the answer to `/Schemas` shows it.
    fn show(&self) -> Json {
        let kind = match self.kind {
            Kind::Text => "string",
            Kind::Boolean => "boolean",
            Kind::Time => "dateTime",
            Kind::Reference => "reference",
            Kind::Complex => "complex",
        };
        let mut shown = json!({
            "name": self.name, "type": kind, "multiValued": self.many, "description": self.doc,
            "required": self.required, "caseExact": self.case_exact, "returned": "default",
            "mutability": if self.mutability == Mutability::ReadOnly { "readOnly" } else { "readWrite" },
            "uniqueness": if self.unique { "server" } else { "none" },
        });
        if !self.sub.is_empty() {
            shown["subAttributes"] = self.sub.iter().map(Attribute::show).collect();
        }
        if self.kind == Kind::Reference {
            shown["referenceTypes"] = json!(["external"]);
        }
        shown
    }
}

/// The attribute of that name, however it is spelled.
fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|it| it.name.eq_ignore_ascii_case(name))
}

/// The known attributes of an object that a client may set.
fn read_all(attributes: &'static [Attribute], map: &Map<String, Json>) -> Result<Map<String, Json>, Problem> {
    let mut read = Map::new();
    for (name, value) in map {
        let Some(attribute) = find(attributes, name).filter(|it| it.mutability == Mutability::ReadWrite) else {
            continue;
        };
        if let Some(value) = attribute.read(value)? {
            read.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(read)
}

const VALUE: &str = "value";
/// Who is in a group.
pub const MEMBERS: &str = "members";
/// The groups that a user is in.
pub const GROUPS: &str = "groups";

/// Several values of one kind, each with what it is for.
const PLURAL: [Attribute; 4] = [
    text(VALUE, "The value."),
    text("display", "As people see it."),
    text("type", "What it is for: `work`, `home`, `other`."),
    kind("primary", Kind::Boolean, "Whether it is the first to use."),
];

static COMMON: &[Attribute] = &[
    text("id", "Its id, given by this server.").exact().read_only().unique(),
    text("externalId", "What the client knows it by.").exact(),
    complex(
        "meta",
        &[
            text("resourceType", "What it is.").exact().read_only(),
            kind("created", Kind::Time, "When it was made.").read_only(),
            kind("lastModified", Kind::Time, "When it was last changed.").read_only(),
            text("location", "Its address.").exact().read_only(),
            text("version", "Its ETag.").exact().read_only(),
        ],
        "About the resource.",
    )
    .read_only(),
];

static USER_ATTRIBUTES: &[Attribute] = &[
    text("userName", "What the client calls the person; unique in the tenant.").required().unique(),
    complex(
        "name",
        &[
            text("formatted", "The whole name."),
            text("familyName", "The family's."),
            text("givenName", "The person's own."),
            text("middleName", "Those between."),
            text("honorificPrefix", "A title before it."),
            text("honorificSuffix", "A title behind it."),
        ],
        "The parts of the name.",
    ),
    text("displayName", "What people call the person."),
    text("nickName", "What friends do."),
    kind("profileUrl", Kind::Reference, "A page about the person."),
    text("title", "Its title in the company."),
    text("userType", "What it is to the company."),
    text("preferredLanguage", "Its language."),
    text("locale", "How it writes dates and numbers."),
    text("timezone", "Its time zone."),
    kind("active", Kind::Boolean, "Whether it may be in the tenant."),
    complex("emails", &PLURAL, "Addresses: the primary one, or that for work, or the first, is that of its account.")
        .many(),
    complex("phoneNumbers", &PLURAL, "Telephone numbers.").many(),
    complex("photos", &PLURAL, "Pictures: the primary or first one at an https address is shown.").many(),
    complex("roles", &PLURAL, "Kept, and without any meaning here: roles come by groups.").many(),
    complex("entitlements", &PLURAL, "Kept, and without any meaning here.").many(),
    complex(
        "addresses",
        &[
            text("formatted", "The whole address."),
            text("streetAddress", "Street and number."),
            text("locality", "The place."),
            text("region", "The region."),
            text("postalCode", "The postal code."),
            text("country", "The country."),
            text("type", "What it is for."),
            kind("primary", Kind::Boolean, "Whether it is the first to use."),
        ],
        "Where the person is.",
    )
    .many(),
    complex(
        GROUPS,
        &[
            text(VALUE, "The group's id.").exact().read_only(),
            kind("$ref", Kind::Reference, "Its address.").read_only(),
            text("display", "Its name.").read_only(),
            text("type", "`direct`.").read_only(),
        ],
        "The groups that the person is in; they are changed by the groups.",
    )
    .many()
    .read_only(),
];

static ENTERPRISE_ATTRIBUTES: &[Attribute] = &[
    text("employeeNumber", "Its number in the company."),
    text("costCenter", "Its cost centre."),
    text("organization", "Its organization."),
    text("division", "Its division."),
    text("department", "Its department."),
    complex(
        "manager",
        &[
            text(VALUE, "The manager's id."),
            kind("$ref", Kind::Reference, "Its address."),
            text("displayName", "Its name."),
        ],
        "Who manages the person.",
    ),
];

static GROUP_ATTRIBUTES: &[Attribute] = &[
    text("displayName", "Its name; unique in the tenant.").required().unique(),
    complex(
        MEMBERS,
        &[
            text(VALUE, "The user's id.").exact(),
            kind("$ref", Kind::Reference, "Its address.").read_only(),
            text("display", "What people call it.").read_only(),
            text("type", "`User`.").read_only(),
        ],
        "Who is in it: users that the same client provisions.",
    )
    .many(),
];

/// A schema: what a resource is.
#[derive(Debug)]
pub struct Schema {
    /// Its name to programs.
    pub urn: &'static str,
    /// Its name to people.
    pub name: &'static str,
    /// Where its resources are, below `/scim/v2`.
    pub place: &'static str,
    doc: &'static str,
    attributes: &'static [Attribute],
    /// What may be said beyond it.
    pub extension: Option<&'static Schema>,
}

/// Users.
pub static USER: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    place: "Users",
    doc: "A member of the tenant.",
    attributes: USER_ATTRIBUTES,
    extension: Some(&ENTERPRISE),
};

/// What companies say of their people.
static ENTERPRISE: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    name: "EnterpriseUser",
    place: "",
    doc: "What a company says of its people: kept, and without any meaning here.",
    attributes: ENTERPRISE_ATTRIBUTES,
    extension: None,
};

/// Groups.
pub static GROUP: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    place: "Groups",
    doc: "Members of the tenant who have roles together.",
    attributes: GROUP_ATTRIBUTES,
    extension: None,
};

/// All of them.
pub static SCHEMAS: [&Schema; 3] = [&USER, &GROUP, &ENTERPRISE];

/// Where an attribute stands in a resource.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// The extension that it is of.
    pub extension: Option<&'static str>,
    /// Which one.
    pub attribute: &'static Attribute,
    /// Which of its own.
    pub sub: Option<&'static Attribute>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    /// An attribute.
    Attribute(Path),
    /// All of an extension.
    Extension(&'static Schema),
}

impl Schema {
    /// What a name stands for: `name.familyName`, with the schema's own name before it or without.
    pub fn named(&'static self, text: &str) -> Option<Named> {
        for schema in [Some(self), self.extension].into_iter().flatten() {
            let Some((own, rest)) = text.split_at_checked(schema.urn.len()) else { continue };
            if !own.eq_ignore_ascii_case(schema.urn) {
                continue;
            }
            let is_extension = schema.urn != self.urn;
            return match rest.strip_prefix(':') {
                Some(rest) => {
                    let extension = is_extension.then_some(schema.urn);
                    path_in(schema.attributes, rest, extension).map(Named::Attribute)
                }
                None if rest.is_empty() && is_extension => Some(Named::Extension(schema)),
                None => None,
            };
        }
        path_in(COMMON, text, None).or_else(|| path_in(self.attributes, text, None)).map(Named::Attribute)
    }

    /// Everything that a client may say in a body.
    ///
    /// # Errors
    /// 400 when something of it is of another kind, or too long.
    pub fn read(&self, body: &Map<String, Json>) -> Result<Map<String, Json>, Problem> {
        let mut read = read_all(COMMON, body)?;
        read.extend(read_all(self.attributes, body)?);
        if let Some(extension) = self.extension {
            let given = body.iter().find(|(name, _)| name.eq_ignore_ascii_case(extension.urn));
            if let Some((_, Json::Object(given))) = given {
                let more = extension.read_own(given)?;
                if !more.is_empty() {
                    read.insert(extension.urn.to_owned(), Json::Object(more));
                }
            }
        }
        Ok(read)
    }

    /// What a client may say of this schema alone.
    ///
    /// # Errors
    /// As [`Schema::read`].
    pub fn read_own(&self, body: &Map<String, Json>) -> Result<Map<String, Json>, Problem> {
        read_all(self.attributes, body)
    }

    /// As the answer to `/Schemas` shows it.
    pub fn show(&self) -> Json {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.urn, "name": self.name, "description": self.doc,
            "attributes": self.attributes.iter().map(Attribute::show).collect::<Vec<_>>(),
            "meta": { "resourceType": "Schema", "location": format!("/scim/v2/Schemas/{}", self.urn) },
        })
    }

    /// As the answer to `/ResourceTypes` shows it.
    pub fn show_type(&self) -> Json {
        let extensions: Vec<Json> =
            self.extension.iter().map(|it| json!({ "schema": it.urn, "required": false })).collect();
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name, "name": self.name, "description": self.doc, "endpoint": format!("/{}", self.place),
            "schema": self.urn, "schemaExtensions": extensions,
            "meta": { "resourceType": "ResourceType", "location": format!("/scim/v2/ResourceTypes/{}", self.name) },
        })
    }
}

fn path_in(attributes: &'static [Attribute], text: &str, extension: Option<&'static str>) -> Option<Path> {
    let (name, sub) = match text.split_once('.') {
        Some((name, sub)) => (name, Some(sub)),
        None => (text, None),
    };
    let attribute = find(attributes, name)?;
    match sub {
        None => Some(Path { extension, attribute, sub: None }),
        Some(sub) => attribute.sub(sub).map(|sub| Path { extension, attribute, sub: Some(sub) }),
    }
}

impl Path {
    /// An attribute of a value, as filters in brackets name it.
    pub fn within(attribute: &'static Attribute, name: &str) -> Option<Path> {
        attribute.sub(name).map(|attribute| Path { extension: None, attribute, sub: None })
    }

    /// What it leads to in a resource: each value.
    pub fn values<'a>(&self, resource: &'a Map<String, Json>) -> Vec<&'a Json> {
        let place = match self.extension {
            Some(urn) => resource.get(urn).and_then(Json::as_object),
            None => Some(resource),
        };
        let found = place.and_then(|place| place.get(self.attribute.name));
        let all: &[Json] = match found {
            None => &[],
            Some(Json::Array(items)) => items,
            Some(one) => std::slice::from_ref(one),
        };
        match self.sub {
            Some(sub) => all.iter().filter_map(|it| it.get(sub.name)).collect(),
            None => all.iter().collect(),
        }
    }

    /// The attribute whose values are compared: of several values with parts it is `value`.
    pub fn compared(&self) -> &'static Attribute {
        let last = self.sub.unwrap_or(self.attribute);
        if last.kind == Kind::Complex { last.sub(VALUE).unwrap_or(last) } else { last }
    }
}
