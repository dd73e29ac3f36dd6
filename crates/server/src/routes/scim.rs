//! SCIM 2.0, for identity providers: users and groups of a tenant, each request one transaction.

use std::collections::BTreeSet;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value as Json};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::permission::PeopleProvision;
use windlass_store::{Exactly, GroupSaid, MEMBERSHIPS_SHOWN_MAX, Part, Provisioner, RecordError, Target};

use super::{records::if_match, sign_in::no_content};
use crate::{
    app::App,
    auth::{Asked, Authorized},
    extract::{self, NoBody, PathOf, PathParts, Query},
    problem::Problem,
    reply::{self, Reply},
    scim::{
        self, RESULTS_MAX, ScimBody,
        attributes::{GROUP, GROUPS, MEMBERS, SCHEMAS, Schema, USER},
        filter::{self, Filter},
        patch,
        resource::{self, Base, Found, Shape, version},
        shapes::{ScimConfiguration, ScimGroup, ScimList, ScimPatch, ScimQuery, ScimResource, ScimUser, ShapeQuery},
    },
};

/// Resources of an answer when nobody says how many.
const RESULTS: i64 = 100;
/// Rows that are read at once while a filter is judged.
const ROWS_AT_ONCE: u32 = 500;
/// Rows that are read for a filter that the database does not judge by itself.
const ROWS_MAX: u64 = 100_000;
/// Memberships of a group that one request changes at most.
const MEMBERSHIPS_CHANGED_MAX: usize = 1_000;
/// How often a change is tried that others pass.
const TRIES: u32 = 3;

/// The id of a user or a group in an address.
pub struct ScimPath(Uuid);

impl PathParts for ScimPath {
    fn read(parts: &[&str]) -> Result<ScimPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "resource").map(ScimPath)
    }
}

/// A name in an address.
pub struct ScimName(String);

impl PathParts for ScimName {
    fn read(parts: &[&str]) -> Result<ScimName, Problem> {
        Ok(ScimName(parts.first().copied().unwrap_or_default().to_owned()))
    }
}

/// What this server can do of SCIM.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim",
    responses((status = 200, body = ScimConfiguration, content_type = "application/scim+json")))]
pub async fn scim_configuration(_: Authorized<PeopleProvision>) -> Reply {
    scim::answer(StatusCode::OK, &scim::configuration())
}

/// The kinds of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim",
    responses((status = 200, body = ScimList, content_type = "application/scim+json")))]
pub async fn scim_resource_types(_: Authorized<PeopleProvision>) -> Reply {
    let types: Vec<Json> = [&USER, &GROUP].into_iter().map(Schema::show_type).collect();
    scim::answer(StatusCode::OK, &scim::list(types.len() as u64, 1, types))
}

/// One kind of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{name}", tag = "scim", params(("name" = String, Path)),
    responses((status = 200, body = ScimConfiguration, content_type = "application/scim+json")))]
pub async fn scim_resource_type(_: Authorized<PeopleProvision>, PathOf(ScimName(name)): PathOf<ScimName>) -> Reply {
    let found = [&USER, &GROUP].into_iter().find(|it| it.name == name);
    scim::answer(StatusCode::OK, &found.ok_or_else(|| Problem::not_found("resource type"))?.show_type())
}

/// What is known of users and groups.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim",
    responses((status = 200, body = ScimList, content_type = "application/scim+json")))]
pub async fn scim_schemas(_: Authorized<PeopleProvision>) -> Reply {
    let schemas: Vec<Json> = SCHEMAS.into_iter().map(Schema::show).collect();
    scim::answer(StatusCode::OK, &scim::list(schemas.len() as u64, 1, schemas))
}

/// One schema.
#[utoipa::path(get, path = "/scim/v2/Schemas/{name}", tag = "scim", params(("name" = String, Path)),
    responses((status = 200, body = ScimConfiguration, content_type = "application/scim+json")))]
pub async fn scim_schema(_: Authorized<PeopleProvision>, PathOf(ScimName(name)): PathOf<ScimName>) -> Reply {
    let found = SCHEMAS.into_iter().find(|it| it.urn == name);
    scim::answer(StatusCode::OK, &found.ok_or_else(|| Problem::not_found("schema"))?.show())
}

/// List users that the provider provisions.
#[utoipa::path(get, path = "/scim/v2/Users", tag = "scim", params(ScimQuery),
    responses((status = 200, body = ScimList, content_type = "application/scim+json")))]
pub async fn scim_list_users(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    Query(query): Query<ScimQuery>,
    asked: Asked,
) -> Reply {
    Client::of(&app, &caller, &asked)?.list(&USER, query).await
}

/// List groups that the provider keeps.
#[utoipa::path(get, path = "/scim/v2/Groups", tag = "scim", params(ScimQuery),
    responses((status = 200, body = ScimList, content_type = "application/scim+json")))]
pub async fn scim_list_groups(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    Query(query): Query<ScimQuery>,
    asked: Asked,
) -> Reply {
    Client::of(&app, &caller, &asked)?.list(&GROUP, query).await
}

/// Show a user.
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_get_user(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    asked: Asked,
) -> Reply {
    Client::of(&app, &caller, &asked)?.get(&USER, id, query).await
}

/// Show a group.
#[utoipa::path(get, path = "/scim/v2/Groups/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_get_group(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    asked: Asked,
) -> Reply {
    Client::of(&app, &caller, &asked)?.get(&GROUP, id, query).await
}

/// Make somebody a member of the tenant.
#[utoipa::path(post, path = "/scim/v2/Users", tag = "scim", params(ShapeQuery),
    request_body(content((ScimUser = "application/json"), (ScimUser = "application/scim+json"))),
    responses((status = 201, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_create_user(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    Query(query): Query<ShapeQuery>,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Reply {
    let client = Client::of(&app, &caller, &asked)?;
    let said = resource::person(&USER.read(&body)?)?;
    let id = app.store().provision_member(&client.who, said).await?;
    client.made(&USER, id, query).await
}

/// Make a group.
#[utoipa::path(post, path = "/scim/v2/Groups", tag = "scim", params(ShapeQuery),
    request_body(content((ScimGroup = "application/json"), (ScimGroup = "application/scim+json"))),
    responses((status = 201, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_create_group(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    Query(query): Query<ShapeQuery>,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Reply {
    let client = Client::of(&app, &caller, &asked)?;
    let said = group_said(&GROUP.read(&body)?, None)?;
    let id = app.store().provision_group(&client.who, said).await?;
    client.made(&GROUP, id, query).await
}

/// Put what is said of a user in the place of what was.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    request_body(content((ScimUser = "application/json"), (ScimUser = "application/scim+json"))),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_replace_user(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    (asked, headers): (Asked, HeaderMap),
    ScimBody(body): ScimBody,
) -> Reply {
    Client::of(&app, &caller, &asked)?.change(&USER, (id, &headers), (query, Change::Replace(body))).await
}

/// Put what is said of a group in the place of what was.
#[utoipa::path(put, path = "/scim/v2/Groups/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    request_body(content((ScimGroup = "application/json"), (ScimGroup = "application/scim+json"))),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_replace_group(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    (asked, headers): (Asked, HeaderMap),
    ScimBody(body): ScimBody,
) -> Reply {
    Client::of(&app, &caller, &asked)?.change(&GROUP, (id, &headers), (query, Change::Replace(body))).await
}

/// Change some of what is said of a user. Whoever is not `active` any more loses its sessions at once.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    request_body(content((ScimPatch = "application/json"), (ScimPatch = "application/scim+json"))),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_patch_user(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    (asked, headers): (Asked, HeaderMap),
    ScimBody(body): ScimBody,
) -> Reply {
    Client::of(&app, &caller, &asked)?.change(&USER, (id, &headers), (query, Change::Patch(body))).await
}

/// Change a group: its name, and who is in it.
#[utoipa::path(patch, path = "/scim/v2/Groups/{id}", tag = "scim", params(("id" = String, Path), ShapeQuery),
    request_body(content((ScimPatch = "application/json"), (ScimPatch = "application/scim+json"))),
    responses((status = 200, body = ScimResource, content_type = "application/scim+json")))]
pub async fn scim_patch_group(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    Query(query): Query<ShapeQuery>,
    (asked, headers): (Asked, HeaderMap),
    ScimBody(body): ScimBody,
) -> Reply {
    Client::of(&app, &caller, &asked)?.change(&GROUP, (id, &headers), (query, Change::Patch(body))).await
}

/// Take a user out of the tenant.
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path)),
    responses((status = 204, description = "It is no member any more")))]
pub async fn scim_delete_user(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    (asked, headers): (Asked, HeaderMap),
    _: NoBody,
) -> Reply {
    let client = Client::of(&app, &caller, &asked)?;
    app.store().remove_provisioned(&client.who, Target { id, expect: if_match(&headers) }).await?;
    Ok(no_content())
}

/// Delete a group.
#[utoipa::path(delete, path = "/scim/v2/Groups/{id}", tag = "scim", params(("id" = String, Path)),
    responses((status = 204, description = "It is deleted")))]
pub async fn scim_delete_group(
    caller: Authorized<PeopleProvision>,
    State(app): State<App>,
    PathOf(ScimPath(id)): PathOf<ScimPath>,
    (asked, headers): (Asked, HeaderMap),
    _: NoBody,
) -> Reply {
    let client = Client::of(&app, &caller, &asked)?;
    app.store().remove_provisioned_group(&client.who, Target { id, expect: if_match(&headers) }).await?;
    Ok(no_content())
}

/// What becomes of a resource.
enum Change {
    Replace(Map<String, Json>),
    Patch(Map<String, Json>),
}

/// A provider's client.
struct Client<'a> {
    app: &'a App,
    who: Provisioner,
}

impl<'a> Client<'a> {
    /// Whoever asks, with a key that is a provider's.
    fn of(app: &'a App, caller: &Authorized<PeopleProvision>, asked: &Asked) -> Result<Client<'a>, Problem> {
        let Some(provider) = caller.identity().provider() else {
            let detail = "people are provisioned with a key that is bound to an identity provider: `windlass api-keys \
                          create NAME --provider PROVIDER` makes one";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        };
        Ok(Client { app, who: Provisioner { tenant: caller.tenant(), provider, by: caller.signed(asked) } })
    }

    fn whose(&self) -> (TenantKey, Uuid) {
        (self.who.tenant, self.who.provider)
    }

    fn base(&self) -> Base<'_> {
        Base(self.app.public_url())
    }

    async fn read(&self, schema: &'static Schema, part: &Part) -> Result<Vec<Found>, Problem> {
        let (store, base) = (self.app.store(), self.base());
        if schema.place == USER.place {
            let found = store.provisioned_members(self.whose(), part).await?;
            return Ok(found.into_iter().map(|it| base.user(schema, it)).collect());
        }
        let found = store.provisioned_groups(self.whose(), part).await?;
        Ok(found.into_iter().map(|it| base.group(schema, it)).collect())
    }

    /// Puts the groups of users, or the members of groups, into these.
    async fn put_belongings(&self, schema: &'static Schema, found: &mut [Found]) -> Result<(), Problem> {
        if found.is_empty() {
            return Ok(());
        }
        let (store, ids) = (self.app.store(), found.iter().map(|it| it.id).collect());
        let belongs = match schema.place == USER.place {
            true => store.provisioned_groups_of(self.whose(), ids).await?,
            false => store.in_provisioned_groups(self.whose(), ids).await?,
        };
        let belongs = belongs.ok_or_else(|| {
            let name = belongings(schema);
            let detail = format!(
                "the answer would have over {MEMBERSHIPS_SHOWN_MAX} {name}: ask for fewer with `count`, or with \
                 `excludedAttributes={name}`"
            );
            Problem::bad_request("too_many", detail)
        })?;
        // Both are in the order of ids, whole runs of one.
        for one in found {
            self.base().put(schema, one, &belongs);
        }
        Ok(())
    }

    async fn one(&self, schema: &'static Schema, id: Uuid, shape: &Shape) -> Result<Found, Problem> {
        let part = Part { exactly: Exactly::Id(id), after: Uuid::nil(), skip: 0, limit: 1 };
        let mut found = self.read(schema, &part).await?;
        if shape.has(belongings(schema)) {
            self.put_belongings(schema, &mut found).await?;
        }
        found.pop().ok_or_else(|| Problem::not_found(if schema.place == USER.place { "user" } else { "group" }))
    }

    async fn list(&self, schema: &'static Schema, query: ScimQuery) -> Reply {
        let shape = Shape::read(schema, query.attributes.as_deref(), query.excluded_attributes.as_deref());
        let start = query.start_index.unwrap_or(1).max(1).unsigned_abs();
        let count = query.count.unwrap_or(RESULTS).clamp(0, i64::from(RESULTS_MAX)).unsigned_abs() as u32;
        let filter = query.filter.as_deref().filter(|it| !it.trim().is_empty());
        let (total, mut page) = match filter.map(|text| filter::parse(schema, text)).transpose()? {
            None => self.all(schema, (start, count)).await?,
            Some(filter) => self.filtered(schema, &filter, (start, count)).await?,
        };
        if shape.has(belongings(schema)) {
            self.put_belongings(schema, &mut page).await?;
        }
        let items = page.into_iter().map(|it| shape.of(it.json)).collect();
        scim::answer(StatusCode::OK, &scim::list(total, start, items))
    }

    async fn all(&self, schema: &'static Schema, (start, count): (u64, u32)) -> Result<(u64, Vec<Found>), Problem> {
        let store = self.app.store();
        let total = match schema.place == USER.place {
            true => store.count_provisioned_members(self.whose()).await?,
            false => store.count_provisioned_groups(self.whose()).await?,
        };
        let skip = u32::try_from(start - 1).unwrap_or(u32::MAX);
        let part = Part { exactly: Exactly::Any, after: Uuid::nil(), skip, limit: count };
        Ok((total, self.read(schema, &part).await?))
    }

    /// Those for which a filter holds. What the database finds by itself, it does; each of those is looked at.
    async fn filtered(
        &self,
        schema: &'static Schema,
        filter: &Filter,
        (start, count): (u64, u32),
    ) -> Result<(u64, Vec<Found>), Problem> {
        // The name of a user is in what its provider said, and of that the database knows nothing.
        let exactly = match filter.exactly() {
            Exactly::Name(_) if schema.place == USER.place => Exactly::Any,
            exactly => exactly,
        };
        let mut part = Part { exactly, after: Uuid::nil(), skip: 0, limit: ROWS_AT_ONCE };
        let (mut total, mut seen, mut page) = (0, 0_u64, Vec::new());
        loop {
            let mut rows = self.read(schema, &part).await?;
            let last = rows.last().map(|it| it.id);
            let is_end = rows.len() < ROWS_AT_ONCE as usize;
            seen += rows.len() as u64;
            if filter.mentions(belongings(schema)) {
                self.put_belongings(schema, &mut rows).await?;
            }
            for found in rows.into_iter().filter(|it| filter.holds(&it.json)) {
                total += 1;
                if total >= start && page.len() < count as usize {
                    page.push(found);
                }
            }
            match last {
                Some(id) if !is_end => part.after = id,
                _ => return Ok((total, page)),
            }
            if seen >= ROWS_MAX {
                let detail = format!(
                    "the filter would be judged for over {ROWS_MAX} resources: ask for `id`, `userName` or `externalId` by \
                     `eq` as well"
                );
                return Err(Problem::bad_request("too_many", detail));
            }
        }
    }

    async fn get(&self, schema: &'static Schema, id: Uuid, query: ShapeQuery) -> Reply {
        let shape = Shape::read(schema, query.attributes.as_deref(), query.excluded_attributes.as_deref());
        shown(StatusCode::OK, self.one(schema, id, &shape).await?, &shape)
    }

    async fn made(&self, schema: &'static Schema, id: Uuid, query: ShapeQuery) -> Reply {
        let shape = Shape::read(schema, query.attributes.as_deref(), query.excluded_attributes.as_deref());
        let mut response = shown(StatusCode::CREATED, self.one(schema, id, &shape).await?, &shape)?;
        let place = self.base().location(schema.place, id);
        response.headers_mut().insert(header::LOCATION, reply::header_value(&place));
        Ok(response)
    }

    /// Changes a resource as it was read; when somebody was faster, and the client has not said which one it has seen, again.
    async fn change(
        &self,
        schema: &'static Schema,
        (id, headers): (Uuid, &HeaderMap),
        (query, change): (ShapeQuery, Change),
    ) -> Reply {
        let seen = if_match(headers);
        let mut tried = 0;
        loop {
            tried += 1;
            let found = self.one(schema, id, &Shape::default()).await?;
            let expect = Some(seen.unwrap_or(found.revision));
            match self.try_change(schema, (Target { id, expect }, found), &change).await? {
                Err(RecordError::Stale { .. }) if seen.is_none() && tried < TRIES => {}
                done => {
                    done?;
                    return self.get(schema, id, query).await;
                }
            }
        }
    }

    async fn try_change(
        &self,
        schema: &'static Schema,
        (target, found): (Target, Found),
        change: &Change,
    ) -> Result<Result<(), RecordError>, Problem> {
        let (store, before) = (self.app.store(), &found.json);
        let after = match change {
            Change::Replace(body) => schema.read(body)?,
            Change::Patch(body) => {
                let mut after = before.clone();
                patch::apply(schema, &mut after, body)?;
                after
            }
        };
        if schema.place == USER.place {
            return Ok(store.change_provisioned(&self.who, (target, resource::person(&after)?)).await);
        }
        let said = group_said(&after, Some(before))?;
        Ok(store.change_provisioned_group(&self.who, (target, said)).await)
    }
}

/// What a resource has that is kept elsewhere.
fn belongings(schema: &Schema) -> &'static str {
    if schema.place == USER.place { GROUPS } else { MEMBERS }
}

/// What is said of a group, and who comes and goes by it.
fn group_said(after: &Map<String, Json>, before: Option<&Map<String, Json>>) -> Result<GroupSaid, Problem> {
    let members = |of: &Map<String, Json>| resource::members(of).map(|it| it.into_iter().collect::<BTreeSet<_>>());
    let (is, was) = (members(after)?, before.map(members).transpose()?.unwrap_or_default());
    let joining: BTreeSet<Uuid> = is.difference(&was).copied().collect();
    let leaving: BTreeSet<Uuid> = was.difference(&is).copied().collect();
    if joining.len() + leaving.len() > MEMBERSHIPS_CHANGED_MAX {
        let detail =
            format!("one request changes at most {MEMBERSHIPS_CHANGED_MAX} memberships of a group: send several");
        return Err(Problem::bad_request("too_many", detail));
    }
    Ok(GroupSaid { name: resource::group_name(after)?, external_id: resource::external_id(after)?, joining, leaving })
}

fn shown(status: StatusCode, found: Found, shape: &Shape) -> Result<Response, Problem> {
    let etag = reply::header_value(&version(found.revision));
    let mut response = scim::answer(status, &shape.of(found.json))?;
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}
