//! Features: what a tenant has of the program, and which routes belong to which of them.
//!
//! Invariant: [`crate::auth`] asks here for every caller, by whichever door it comes. No handler of a feature has to.

use axum::{extract::MatchedPath, http::StatusCode};
use windlass_engine::id::TenantKey;
use windlass_store::CameWith;

use crate::{app::App, auth::Identity, problem::Problem, routes::API};

/// What a tenant has, or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Keys by which programs come in.
    ApiKeys,
    /// Files, their versions, and links to them.
    Files,
    /// The tools for models.
    Mcp,
}

/// Which feature a route belongs to, by the first part of its path below the API, or beside it.
const ROUTES: &[(&str, Feature)] = &[
    ("api-keys", Feature::ApiKeys),
    ("api-key-usage", Feature::ApiKeys),
    ("files", Feature::Files),
    ("file-versions", Feature::Files),
    ("file-links", Feature::Files),
    ("file-usage", Feature::Files),
    ("shared-files", Feature::Files),
    ("mcp", Feature::Mcp),
];

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 3] = [Feature::ApiKeys, Feature::Files, Feature::Mcp];

    /// Its name in answers; that of its setting begins with `feature_`.
    pub fn name(self) -> &'static str {
        match self {
            Feature::ApiKeys => "api_keys",
            Feature::Files => "files",
            Feature::Mcp => "mcp",
        }
    }

    /// The feature that a route belongs to, by its template: `/api/v1/files/{id}`.
    pub fn of_route(template: &str) -> Option<Feature> {
        let path = template.strip_prefix(API).unwrap_or(template);
        let noun = path.split('/').nth(1)?;
        ROUTES.iter().find(|(of, _)| *of == noun).map(|(_, feature)| *feature)
    }
}

/// Which features a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Keys by which programs come in.
    pub api_keys: bool,
    /// Files, their versions, and links to them.
    pub files: bool,
    /// The tools for models.
    pub mcp: bool,
}

impl Default for Features {
    fn default() -> Features {
        Features { api_keys: true, files: true, mcp: true }
    }
}

impl Features {
    /// Whether that one is on.
    pub fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::ApiKeys => self.api_keys,
            Feature::Files => self.files,
            Feature::Mcp => self.mcp,
        }
    }

    /// The names of those that are on.
    pub fn names(self) -> Vec<&'static str> {
        Feature::ALL.into_iter().filter(|it| self.has(*it)).map(Feature::name).collect()
    }

    fn need(self, feature: Feature) -> Result<(), Problem> {
        if self.has(feature) {
            return Ok(());
        }
        let name = feature.name();
        let detail = format!(
            "the feature `{name}` is off for the tenant (the setting `feature_{name}`): whoever administers the \
             installation switches it on, with `windlass settings set feature_{name} on --tenant SLUG`; what is stored \
             is kept meanwhile"
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "feature_off", detail))
    }
}

/// Lets a caller by to a route, when its tenant has what it comes with and what it comes for.
///
/// # Errors
/// 403 `feature_off`; or the database does not answer.
pub async fn let_by(app: &App, identity: &Identity, route: Option<&MatchedPath>) -> Result<(), Problem> {
    if matches!(identity.with.as_deref(), Some(CameWith::Key { .. })) {
        app.bounds(identity.tenant).await?.features.need(Feature::ApiKeys)?;
    }
    let_to(app, identity.tenant, route).await
}

/// Lets somebody to a route on behalf of a tenant, when that has what the route is of.
///
/// # Errors
/// As of [`let_by`].
pub async fn let_to(app: &App, tenant: TenantKey, route: Option<&MatchedPath>) -> Result<(), Problem> {
    match route.and_then(|route| Feature::of_route(route.as_str())) {
        Some(feature) => app.bounds(tenant).await?.features.need(feature),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::settings::Setting;

    /// What an operation of the document is about, by its permission and its tag, and not by its path.
    fn about(operation: &Value) -> Option<Feature> {
        let permission = operation["security"][0]["token"][0].as_str().unwrap_or_default();
        let tags = operation["tags"].as_array().into_iter().flatten();
        let names = tags.filter_map(Value::as_str).chain(permission.split('.').next());
        names.into_iter().find_map(|name| match name {
            "files" => Some(Feature::Files),
            "keys" => Some(Feature::ApiKeys),
            _ => None,
        })
    }

    #[test]
    fn every_route_of_a_feature_is_in_the_table() {
        let document = serde_json::to_value(crate::document()).unwrap();
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let feature = about(operation);
                assert_eq!(Feature::of_route(path), feature, "{method} {path}");
                found.extend(feature.map(|feature| (feature, path.split('/').nth(3).unwrap().to_owned())));
            }
        }
        for (noun, feature) in ROUTES.iter().filter(|(_, feature)| *feature != Feature::Mcp) {
            assert!(found.contains(&(*feature, (*noun).to_owned())), "there is no route of `{noun}`");
        }
        assert_eq!(Feature::of_route("/mcp"), Some(Feature::Mcp));
        assert_eq!(Feature::of_route("/api/v1/workflows/{name}"), None);
    }

    #[test]
    fn every_feature_is_a_setting() {
        for feature in Feature::ALL {
            let setting = Setting::named(&format!("feature_{}", feature.name())).unwrap();
            assert!(setting.is_tenants() && !setting.tenant_chooses(), "{}", setting.name);
        }
        let named = crate::settings::SETTINGS.iter().filter(|it| it.name.starts_with("feature_"));
        assert_eq!(named.count(), Feature::ALL.len());
    }
}
