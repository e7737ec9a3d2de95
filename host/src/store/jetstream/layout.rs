//! What the store is called in NATS: names of streams and subjects, their settings, and the
//! manifest that fixes what can never change once there are records.
//!
//! | stream | subjects | holds |
//! |---|---|---|
//! | `PREFIX_META` | `PREFIX.meta.>` | manifest, contexts, deployments, quarantine marks, notes of repairs |
//! | `PREFIX_BLOBS` | `PREFIX.blob.*.*`, `PREFIX.fence` | models and components in parts |
//! | `PREFIX_HOSTS` | `PREFIX.host.>` | the hosts that live, for 15 s |
//! | `PREFIX_LOG_CONTEXT_P` | `PREFIX.log.CONTEXT.P.*.*`, `PREFIX.fence.CONTEXT.P` | records |
//! | `PREFIX_SNAP_CONTEXT` | `PREFIX.snap.CONTEXT.*.*` | two snapshots per actor, of two codes |
//!
//! No two names can be the same: a context has no `_` and no upper-case letter, so a name read
//! from its end has one meaning, whatever the prefix.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    address::{Address, encode_id},
    record,
};

/// How long the store tells others that a host lives after it last said so, in seconds.
pub(super) const PRESENCE_S: u64 = 15;

/// How long a fence message stays, in whole seconds as `Nats-TTL` has them: long enough to be read
/// back even when the machine stalls, short enough that fences never pile up.
pub(super) const FENCE_TTL: &str = "5s";

/// Most partitions of a context: each is a stream of its own with its own files.
pub(super) const MAX_PARTITIONS: u32 = 256;

/// What the token of an actor's second snapshot ends with, which no id's does.
pub(super) const SECOND_PLACE: char = '=';

const NANOS_PER_S: u64 = 1_000_000_000;

/// What all hosts on one prefix must agree on. Written once, before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Manifest {
    /// Number of this very arrangement of streams and subjects.
    layout: u32,
    /// Partitions of each context's log.
    partitions: u32,
    /// How an address finds its partition.
    partition_hash: String,
    /// How ids are written in subjects.
    id_encoding: String,
    /// The record format at the time of writing.
    record_format: u32,
}

impl Manifest {
    /// The manifest that this build would write.
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            layout: 1,
            partitions,
            partition_hash: "sha256-first-8-bytes-be-mod".to_owned(),
            id_encoding: "alnum-dash-underscore-else-eqXX".to_owned(),
            record_format: record::FORMAT,
        }
    }

    /// What `stored` says differently, one line each; empty if this host may use the store.
    pub(super) fn differences(&self, stored: &[u8]) -> Vec<String> {
        let wanted = match serde_json::to_value(self) {
            Ok(Value::Object(wanted)) => wanted,
            _ => serde_json::Map::new(),
        };
        let found: serde_json::Map<String, Value> = match serde_json::from_slice(stored) {
            Ok(found) => found,
            Err(error) => return vec![format!("it cannot be read: {error}")],
        };
        let mut keys: Vec<&String> = wanted.keys().chain(found.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter(|key| wanted.get(*key) != found.get(*key))
            .map(|key| {
                let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
                let (found, wanted) = (show(found.get(key)), show(wanted.get(key)));
                format!("`{key}` is {found} there and {wanted} here")
            })
            .collect()
    }
}

/// Names of everything below one prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    partitions: u32,
}

impl Names {
    /// The names below `prefix`; nothing if it cannot be the first token of a subject and of a
    /// stream's name, 1 to 64 of `[A-Za-z0-9_-]`.
    pub(super) fn new(prefix: &str, partitions: u32) -> Option<Self> {
        let fits = (1..=64).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self { prefix: prefix.to_owned(), partitions })
    }

    pub(super) const fn partitions(&self) -> u32 {
        self.partitions
    }

    pub(super) fn meta_stream(&self) -> String {
        format!("{}_META", self.prefix)
    }

    pub(super) fn blob_stream(&self) -> String {
        format!("{}_BLOBS", self.prefix)
    }

    pub(super) fn host_stream(&self) -> String {
        format!("{}_HOSTS", self.prefix)
    }

    pub(super) fn log_stream(&self, context: &str, partition: u32) -> String {
        format!("{}_LOG_{context}_{partition}", self.prefix)
    }

    pub(super) fn snapshot_stream(&self, context: &str) -> String {
        format!("{}_SNAP_{context}", self.prefix)
    }

    pub(super) fn meta(&self, what: &str) -> String {
        format!("{}.meta.{what}", self.prefix)
    }

    pub(super) fn host(&self, id: &str) -> String {
        format!("{}.host.{}", self.prefix, encode_id(id))
    }

    pub(super) fn hosts(&self) -> String {
        format!("{}.host.*", self.prefix)
    }

    pub(super) fn log(&self, actor: &Address) -> String {
        actor.log_subject(&self.prefix, self.partitions)
    }

    /// Subjects of all actors of a partition.
    pub(super) fn log_filter(&self, context: &str, partition: u32) -> String {
        format!("{}.log.{context}.{partition}.*.*", self.prefix)
    }

    /// Subjects of an aggregate's actors of a partition.
    pub(super) fn aggregate_filter(
        &self,
        context: &str,
        partition: u32,
        aggregate: &str,
    ) -> String {
        format!("{}.log.{context}.{partition}.{aggregate}.*", self.prefix)
    }

    pub(super) fn log_fence(&self, context: &str, partition: u32) -> String {
        format!("{}.fence.{context}.{partition}", self.prefix)
    }

    /// The two places of an actor's snapshots. No id's token ends with the mark of the second.
    pub(super) fn snapshots(&self, actor: &Address) -> [String; 2] {
        let (context, aggregate) = (actor.context(), actor.aggregate());
        let first = format!("{}.snap.{context}.{aggregate}.{}", self.prefix, actor.id_token());
        let second = format!("{first}{SECOND_PLACE}");
        [first, second]
    }

    /// Subjects of all snapshots of a context.
    pub(super) fn snapshot_filter(&self, context: &str) -> String {
        format!("{}.snap.{context}.*.*", self.prefix)
    }

    /// Subject of a part of a blob: a number, or `end`.
    pub(super) fn blob(&self, hex: &str, part: &str) -> String {
        format!("{}.blob.{hex}.{part}", self.prefix)
    }

    pub(super) fn blob_fence(&self) -> String {
        format!("{}.fence", self.prefix)
    }

    /// Settings of the stream of manifest, deployments and marks.
    pub(super) fn meta_config(&self, replicas: usize) -> Value {
        kept(&self.meta_stream(), &[self.meta(">")], replicas)
    }

    /// Settings of a partition of a context's log.
    pub(super) fn log_config(&self, context: &str, partition: u32, replicas: usize) -> Value {
        let subjects = [self.log_filter(context, partition), self.log_fence(context, partition)];
        kept(&self.log_stream(context, partition), &subjects, replicas)
    }

    /// Settings of the stream of blobs: a part written twice is the same bytes.
    pub(super) fn blob_config(&self, replicas: usize) -> Value {
        let subjects = [self.blob("*", "*"), self.blob_fence()];
        newest(&self.blob_stream(), &subjects, replicas, 0)
    }

    /// Settings of the stream of living hosts.
    pub(super) fn host_config(&self, replicas: usize) -> Value {
        newest(&self.host_stream(), &[self.hosts()], replicas, PRESENCE_S * NANOS_PER_S)
    }

    /// Settings of a context's snapshots.
    pub(super) fn snapshot_config(&self, context: &str, replicas: usize) -> Value {
        let subjects = [self.snapshot_filter(context)];
        newest(&self.snapshot_stream(context), &subjects, replicas, 0)
    }
}

/// Settings that every stream has. TTLs are for fences only.
fn common(name: &str, subjects: &[String], replicas: usize) -> Value {
    json!({
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msg_size": -1,
        "allow_direct": true,
        "allow_msg_ttl": true,
    })
}

/// Settings of a stream that keeps everything.
fn kept(name: &str, subjects: &[String], replicas: usize) -> Value {
    let mut config = common(name, subjects, replicas);
    if let Value::Object(config) = &mut config {
        config.insert("max_age".to_owned(), json!(0));
        config.insert("max_msgs_per_subject".to_owned(), json!(-1));
        config.insert("deny_delete".to_owned(), json!(true));
        config.insert("deny_purge".to_owned(), json!(true));
    }
    config
}

/// Settings of a stream that keeps the newest message of each subject, for `max_age_ns` (0 = for
/// ever).
fn newest(name: &str, subjects: &[String], replicas: usize, max_age_ns: u64) -> Value {
    let mut config = common(name, subjects, replicas);
    if let Value::Object(config) = &mut config {
        config.insert("max_age".to_owned(), json!(max_age_ns));
        config.insert("max_msgs_per_subject".to_owned(), json!(1));
    }
    config
}

/// Settings that must be what [`kept`] and [`newest`] say; a setting that neither names must be
/// absent or off. Others (description, placement, metadata, compression, duplicate window) cannot
/// change what is stored.
const CHECKED: [&str; 24] = [
    "subjects",
    "retention",
    "storage",
    "discard",
    "discard_new_per_subject",
    "max_msgs",
    "max_bytes",
    "max_age",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_consumers",
    "allow_direct",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_counter",
    "allow_msg_schedules",
    "no_ack",
    "sealed",
    "persist_mode",
    "mirror",
    "sources",
    "subject_transform",
];

/// What the settings `found` have other than `wanted`, one line each. More replicas than wanted
/// are not a difference: they only promise more.
pub(super) fn setting_differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut lines: Vec<String> = CHECKED
        .into_iter()
        .filter(|key| setting(wanted, key) != setting(found, key))
        .map(|key| {
            let (found, wanted) = (setting(found, key), setting(wanted, key));
            format!("`{key}` is {found}, expected {wanted}")
        })
        .collect();
    let replicas = |config: &Value| config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1);
    let (found, wanted) = (replicas(found), replicas(wanted));
    if found < wanted {
        lines.push(format!("`num_replicas` is {found}, expected at least {wanted}"));
    }
    lines
}

/// A setting in the one form in which two can be compared: the server leaves out what is off, and
/// writes "no limit" as -1 or 0.
fn setting(config: &Value, key: &str) -> Value {
    let value = match config.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => json!(false),
        Some(Value::Array(items)) if items.is_empty() => json!(false),
        Some(value) => value.clone(),
    };
    match (key, value.as_i64()) {
        (
            "max_msgs" | "max_bytes" | "max_msgs_per_subject" | "max_msg_size" | "max_consumers",
            n,
        ) if n.unwrap_or(-1) <= 0 => {
            json!("unlimited")
        }
        ("max_age", n) if n.unwrap_or(0) <= 0 => json!("unlimited"),
        ("persist_mode", _) if value == json!("default") || value == json!("") => json!(false),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_streams_share_a_name() {
        let mut seen = std::collections::BTreeSet::new();
        let contexts = ["meta", "log", "snap", "bank", "log-0", "blobs"];
        for prefix in ["a", "a_LOG_bank", "a_SNAP", "a_LOG", "a_META", "a-b", "LOG"] {
            let names = Names::new(prefix, 2).unwrap();
            let mut all = vec![names.meta_stream(), names.blob_stream(), names.host_stream()];
            for context in contexts {
                all.extend([
                    names.log_stream(context, 0),
                    names.log_stream(context, 1),
                    names.snapshot_stream(context),
                ]);
            }
            for name in all {
                assert!(seen.insert(name.clone()), "{name} has two meanings");
            }
        }
    }

    #[test]
    fn a_prefix_is_one_token() {
        for bad in ["", "a.b", "a b", "*", ">", "é", "$JS", &"x".repeat(65)] {
            assert!(Names::new(bad, 8).is_none(), "{bad}");
        }
        assert!(Names::new("aether", 8).is_some());
    }

    #[test]
    fn a_manifest_that_disagrees_names_every_difference() {
        let ours = Manifest::new(8);
        let same = serde_json::to_vec(&ours).unwrap();
        assert_eq!(ours.differences(&same), Vec::<String>::new());
        let mut other: Value = serde_json::from_slice(&same).unwrap();
        other["partitions"] = json!(16);
        other["id-encoding"] = json!("hex");
        other["future"] = json!(1);
        let lines = ours.differences(&serde_json::to_vec(&other).unwrap());
        assert_eq!(
            lines,
            [
                "`future` is 1 there and nothing here",
                "`id-encoding` is \"hex\" there and \"alnum-dash-underscore-else-eqXX\" here",
                "`partitions` is 16 there and 8 here",
            ]
        );
        assert!(ours.differences(b"[]")[0].starts_with("it cannot be read"));
    }

    #[test]
    fn settings_are_compared_by_what_they_mean() {
        let names = Names::new("aether", 8).unwrap();
        let wanted = names.log_config("bank", 3, 1);
        // As a server gives it back, shortened.
        let mut found = wanted.clone();
        found["sealed"] = json!(false);
        found["mirror_direct"] = json!(false);
        found["compression"] = json!("none");
        found["duplicate_window"] = json!(120_000_000_000_u64);
        found["num_replicas"] = json!(3);
        assert_eq!(setting_differences(&wanted, &found), Vec::<String>::new());
        found["deny_purge"] = Value::Null;
        found["max_age"] = json!(60_000_000_000_u64);
        found["persist_mode"] = json!("async");
        found["subjects"] = json!(["aether.log.>"]);
        let lines = setting_differences(&wanted, &found);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines.contains(&"`deny_purge` is false, expected true".to_owned()));
        let wanted = names.log_config("bank", 3, 5);
        let lines = setting_differences(&wanted, &names.log_config("bank", 3, 3));
        assert_eq!(lines, ["`num_replicas` is 3, expected at least 5"]);
    }
}
