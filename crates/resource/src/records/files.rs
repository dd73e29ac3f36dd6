//! Files: what is uploaded, its versions, and links by which others fetch it.
//!
//! The bytes lie in a storage beside the database; `docs/files.md` is for who uses them, ADR 18 says why it is so.

use crate::{
    Area,
    DefaultValue::{Int, Json, Text},
    Index, OnDelete, Pattern, Record, Shape, Unique, Writing,
    column::bytes,
    enumeration, id, integer, json, reference, state, text, timestamp, transition,
};

/// What is uploaded.
pub static AREA: Area = Area {
    name: "files",
    read: "files.read",
    write: "files.write",
    doc: "Files with their versions, and links by which others fetch them.",
};

/// Bytes of one chunk: each has a checksum of its own, and is sent only once that was found right.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// Bytes that a file can have at all: its checksums fit into two MiB.
pub const FILE_BYTES_MAX: u64 = 64 << 30;
/// Characters of a file's name.
pub const NAME_CHARS_MAX: u32 = 255;

/// What a file is, by its first bytes.
pub static KINDS: &[&str] = &["document", "image", "audio", "video", "text", "archive", "program", "other"];

static NAME: Pattern =
    Pattern::new(r"^[^/\\\x00-\x1f\x7f]+$", "a name without `/`, `\\` and control characters: it is no path");
static SHA256: Pattern = Pattern::new(r"^[0-9a-f]{64}$", "64 hexadecimal digits");

/// A file: what it is called, and what its newest version is. Its behaviour: its run is there.
pub static FILES: Record = Record::of(&AREA, "files", "file")
    .doc("A file: what it is called, whose it is, and what its newest version holds. `POST /files` uploads one.")
    .columns(&[
        text("name").required().chars(1, NAME_CHARS_MAX).pattern(&NAME).searchable().doc("What it is called; several may have one name."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        reference("workflow_id", "workflows").write_once().on_delete(OnDelete::Cascade).doc("The workflow that it belongs to."),
        id("run_id").write_once().doc("The run that it belongs to: it goes when the run goes."),
        integer("version").range(1, i64::MAX).required().read_only().doc("Counts its versions; the newest one."),
        integer("size_bytes").range(0, FILE_BYTES_MAX as i64).required().read_only().doc("Bytes of the newest version."),
        text("sha256").chars(64, 64).pattern(&SHA256).required().read_only().doc("SHA-256 of the newest version."),
        text("media_type").chars(1, 127).required().read_only().doc("What its first bytes say it is."),
        text("declared_type").chars(1, 200).read_only().doc("What the sender said it is; nothing goes by it."),
        enumeration("kind", KINDS).required().read_only().doc("The same as `media_type` in one word."),
        json("metadata", Shape::Object).default(Json("{}")).doc("Whatever else is to be known of it: its size as a picture, its length."),
    ])
    .indexes(&[Index(&["run_id"])])
    .lies_by(&["workflow_id", "run_id"])
    .writing(Writing::Upload)
    .soft_delete()
    .examples(&[
        r#"{"name": "invoice.pdf", "description": "March.", "version": 1, "size_bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "media_type": "application/pdf", "kind": "document"}"#,
    ]);

/// What a file held at a time.
pub static FILE_VERSIONS: Record = Record::of(&AREA, "file_versions", "file version")
    .command("versions")
    .doc("What a file held from one upload to the next. Versions stay as they are, and go with their file.")
    .columns(&[
        reference("file_id", "files").required().read_only().on_delete(OnDelete::Cascade).doc("The file."),
        integer("number").range(1, i64::MAX).required().read_only().doc("Counts the versions of the file."),
        integer("size_bytes").range(0, FILE_BYTES_MAX as i64).required().read_only().doc("Its bytes."),
        text("sha256").chars(64, 64).pattern(&SHA256).required().read_only().doc("SHA-256 of all of it."),
        text("media_type").chars(1, 127).required().read_only().doc("What its first bytes say it is."),
        text("declared_type").chars(1, 200).read_only().doc("What the sender said it is; nothing goes by it."),
        id("object_id").required().read_only().doc("By which name its bytes lie in the storage."),
        bytes("chunks").internal().bytes_max(2 << 20).doc("SHA-256 of each MiB of it, one behind the other."),
    ])
    .unique(&[Unique(&["file_id", "number"])])
    .indexes(&[Index(&["object_id"])])
    .lies_by(&["file_id"])
    .writing(Writing::Log)
    .examples(&[
        r#"{"file_id": "019aa7d0-0000-7000-8000-000000000001", "number": 1, "size_bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "media_type": "text/plain", "object_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);

/// A link by which whoever has it fetches a file, until it expires or is revoked.
pub static FILE_LINKS: Record = Record::of(&AREA, "file_links", "file link")
    .command("links")
    .doc("A link by which whoever has it fetches a file, until it expires, is used up or is revoked. `POST /file-links/{id}/sign` shows it.")
    .columns(&[
        reference("file_id", "files").required().write_once().on_delete(OnDelete::Cascade).doc("The file."),
        integer("version").range(1, i64::MAX).write_once().doc("This version alone; the newest one when null."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("For whom it is."),
        timestamp("expires_at").required().write_once().doc("Until when it leads anywhere."),
        integer("downloads_max").range(1, 1_000_000_000).write_once().doc("How often it can be used; each request counts."),
        integer("downloads").range(0, i64::MAX).default(Int(0)).read_only().doc("How often it was used."),
        timestamp("last_used_at").read_only().doc("When it was last used."),
        state("status", &["active", "revoked"]).doc("A revoked link leads nowhere."),
        timestamp("revoked_at").read_only().doc("When it was revoked."),
    ])
    .transitions(&[transition("revoke", &["active"], "revoked")
        .doc("Makes it lead nowhere, for good.")
        .effects(&[crate::Effect::Stamp("revoked_at")])])
    .examples(&[r#"{"file_id": "019aa7d0-0000-7000-8000-000000000001", "expires_at": "2099-01-01T00:00:00Z", "description": "For the bank."}"#]);
