//! The systemd unit: hardened, and its limits wide enough for the settings of the service.

use std::collections::BTreeMap;
use std::time::Duration;

use tillside::config::Config;

use super::{file, run, words};

/// Exposure that `systemd-analyze` may find, in tenths: 0 is none, 100 all.
const EXPOSURE_MAX: &str = "13";

/// Every setting by name; of several with one name the values in a row.
fn unit() -> BTreeMap<String, Vec<String>> {
    let text = file("deploy/tillside.service");
    let mut unit: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((name, value)) = line.split_once('=') {
            unit.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    unit
}

#[test]
fn the_unit_is_exposed_to_little() {
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--offline=true", "--no-pager", &*threshold, "tillside.service"];
    let Some(output) = run("systemd-analyze", "systemd", &arguments) else { return };
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn systemd_understands_the_unit() {
    // A copy that starts what is there: the program itself is installed elsewhere.
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let text = file("deploy/tillside.service").replace("/usr/local/bin/tillside", "/bin/true");
    let copy = folder.path().join("tillside.service");
    std::fs::write(&copy, text).expect("just created");
    let arguments = ["verify", "--man=no", copy.to_str().expect("UTF-8")];
    let Some(output) = run("systemd-analyze", "systemd", &arguments) else { return };
    // Of other units of this machine it speaks too.
    let words = words(&output);
    let ours: Vec<&str> = words.lines().filter(|it| it.contains("tillside.service")).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}

#[test]
fn the_unit_gives_the_service_time_and_descriptors() {
    let (unit, config) = (unit(), Config::default());
    let one = |name: &str| unit[name].join(" ");
    let seconds = one("TimeoutStopSec").trim_end_matches('s').parse().expect("whole seconds");
    // Two listeners one after the other, then the committers.
    let drain = Duration::from_millis(2 * config.http.drain_timeout_ms) + Duration::from_secs(5);
    assert!(Duration::from_secs(seconds) > drain, "a stop may take {drain:?}");
    let files: usize = one("LimitNOFILE").parse().expect("a number");
    assert!(files > 2 * config.http.connections_max + 1_000, "{files} descriptors are too few");
    assert_eq!(one("Restart"), "always");
    assert_eq!(one("StartLimitIntervalSec"), "0", "a database that is away must not end it");
}

#[test]
fn the_unit_hands_over_its_secrets_as_credentials_only() {
    let unit = unit();
    let start = unit["ExecStart"].join(" ");
    assert!(start.contains("--config ${CREDENTIALS_DIRECTORY}/tillside.toml serve"), "{start}");
    assert!(!unit.contains_key("ExecStartPre"), "migrating is a step of its own");
    for (name, path) in unit["LoadCredential"].iter().map(|it| it.split_once(':').expect("a path"))
    {
        assert_eq!(path, format!("/etc/tillside/{name}"));
    }
    // Settings that exist, and none of them a secret itself.
    let variables = unit["Environment"].iter().map(|it| it.split_once('=').expect("a value"));
    let variables: BTreeMap<&str, &str> = variables.collect();
    let key_file = variables["TILLSIDE_SECRETS_KEY_ENCRYPTION_KEY_FILE"];
    assert_eq!(key_file, "%d/key-encryption-key");
    let read = std::cell::RefCell::new(Vec::new());
    Config::from_sources(None, |name| {
        let value = variables.get(name).map(|value| (*value).to_owned());
        read.borrow_mut().extend(value.is_some().then(|| name.to_owned()));
        value
    })
    .expect("good settings");
    assert_eq!(read.borrow().len(), variables.len(), "{variables:?}: one is no setting");
}
