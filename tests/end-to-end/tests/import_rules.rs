//! Which crate may import which, read from Cargo's own metadata: the layers hold because this test would fail.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kitchen_test_support::{repository, run};
use serde_json::Value;

const CRATES: [&str; 6] =
    ["kitchen-core", "kitchen-vision", "kitchen-store", "kitchen-uplink", "kitchen-agent", "kitchen-district"];

fn metadata() -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(repository());
    run(&mut command).expect_code(0).json()
}

/// Direct dependencies of each crate of the workspace that go into its programs: no dev- and build-dependencies.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    let normal = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), normal(package))).collect()
}

/// Every crate that `package` pulls in, itself included, with normal dependencies only.
fn tree(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    command.args(["--package", package]).args(arguments).current_dir(repository());
    let finished = run(&mut command).expect_code(0);
    let names = finished.stdout.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn shells_import_core_and_never_each_other() {
    let dependencies = dependencies(&metadata());
    let allowed: [(&str, &[&str]); 5] = [
        ("kitchen-core", &[]),
        ("kitchen-vision", &["kitchen-core"]),
        ("kitchen-store", &["kitchen-core"]),
        ("kitchen-uplink", &["kitchen-core"]),
        ("kitchen-district", &["kitchen-core", "kitchen-uplink"]),
    ];
    for (name, allowed) in allowed {
        let ours: Vec<&str> =
            dependencies[name].iter().map(String::as_str).filter(|name| name.starts_with("kitchen-")).collect();
        for import in &ours {
            assert!(allowed.contains(import), "{name} may import {allowed:?}, it imports {ours:?}");
        }
    }
}

#[test]
fn nothing_imports_the_test_support_but_tests() {
    let dependencies = dependencies(&metadata());
    for name in CRATES {
        assert!(!dependencies[name].contains("kitchen-test-support"), "{name}");
        assert!(!dependencies[name].contains("kitchen-end-to-end"), "{name}");
    }
}

#[test]
fn core_touches_no_runtime_no_database_and_no_network() {
    let tree = tree("kitchen-core", &[]);
    let forbidden = [
        "async-std",
        "curl",
        "futures",
        "hyper",
        "libsqlite3-sys",
        "mio",
        "openh264",
        "reqwest",
        "retina",
        "ring",
        "rumqttc",
        "rumqttd",
        "rusqlite",
        "rustix",
        "rustls",
        "smol",
        "socket2",
        "tokio",
        "tract-onnx",
        "rten",
    ];
    let found: Vec<&str> = forbidden.into_iter().filter(|name| tree.contains(*name)).collect();
    assert!(found.is_empty(), "core decides only; it pulls in {found:?}");
}

#[test]
fn core_names_no_socket_file_thread_or_clock() {
    let forbidden =
        ["std::net", "std::fs", "std::thread", "std::process", "std::os", "Instant::now", "SystemTime", "std::env"];
    let mut folders = vec![repository().join("agent/kitchen-core/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            // Tests at the end of a file may read fixtures.
            let program = source.split("#[cfg(test)]").next().unwrap();
            for name in forbidden {
                assert!(!program.contains(name), "{} uses {name}", path.display());
            }
        }
    }
}

#[test]
fn the_store_has_no_runtime() {
    assert!(!tree("kitchen-store", &[]).contains("tokio"));
}

#[test]
fn only_the_demo_brings_a_broker_and_the_district_along() {
    let boxed = tree("kitchen-agent", &["--no-default-features"]);
    assert!(!boxed.contains("rumqttd"));
    assert!(!boxed.contains("kitchen-district"));
    let demo = tree("kitchen-agent", &[]);
    assert!(demo.contains("rumqttd") && demo.contains("kitchen-district"));
}

#[test]
fn one_tls_stack_is_linked() {
    let tree = tree("kitchen-agent", &[]);
    assert!(tree.contains("ring"));
    for name in ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"] {
        assert!(!tree.contains(name), "{name}");
    }
}
