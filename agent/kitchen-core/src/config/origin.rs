//! Layers of the configuration: the enrolment, the file's text over it, the environment over both, and where each value
//! came from.

use serde::Serialize;
use toml::{Table, Value};

use super::check::ConfigError;
use super::enrolled::{Enrolled, laid_over};
use super::expected::Expected;
use super::{Config, ENVIRONMENT_PREFIX};

/// No key lies deeper; tables within tables without end would exhaust the stack.
const DEEPEST: usize = 8;

/// Where a value in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    BuiltIn,
    Enrolment,
    File,
    Environment,
}

/// One value in force; `key` is dotted, tables in lists by their number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

/// The file's table over the enrolment's, with the environment's values over both.
pub(super) fn merged(
    text: &str,
    environment: &[(String, String)],
    enrolled: Option<&Enrolled>,
) -> Result<Table, ConfigError> {
    // The file is read alone first, so that an error in it is told with its line.
    let file: Result<Config, _> = toml::from_str(text);
    let is_alone = environment.is_empty() && enrolled.is_none();
    let mut table: Table = match file {
        Err(error) if is_alone || text.parse::<Table>().is_err() || is_unknown(&error) => {
            return Err(ConfigError::from_toml(error));
        }
        _ => text.parse().map_err(ConfigError::from_toml)?,
    };
    if let Some(enrolled) = enrolled {
        table = laid_over(enrolled.table(), table);
    }
    for (name, value) in environment {
        let path = path_of(name);
        set(&mut table, &path, parsed(value)).map_err(|()| ConfigError::one(name, value, Expected::EnvironmentKey))?;
    }
    Ok(table)
}

fn is_unknown(error: &toml::de::Error) -> bool {
    error.message().contains("unknown field")
}

pub(super) fn settings(
    config: &Config,
    text: &str,
    environment: &[(String, String)],
    enrolled: Option<&Enrolled>,
) -> Vec<Setting> {
    let file: Table = text.parse().unwrap_or_default();
    let (mut in_file, mut in_enrolment) = (Vec::new(), Vec::new());
    flatten("", &Value::Table(file), &mut in_file);
    flatten("", &Value::Table(enrolled.map(Enrolled::table).unwrap_or_default()), &mut in_enrolment);
    let is_empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
    let in_environment: Vec<String> = environment.iter().map(|(name, _)| path_of(name).join(".")).collect();
    let mut in_force = Vec::new();
    let whole = Value::try_from(config).expect("a configuration is made of TOML's types");
    flatten("", &whole, &mut in_force);
    let is_enrolled = |key: &str| in_enrolment.iter().any(|(name, _)| name == key);
    let origin = |key: &str| {
        if in_environment.iter().any(|name| name == key) {
            Origin::Environment
        } else if in_file.iter().any(|(name, value)| name == key && !(is_enrolled(key) && is_empty(value))) {
            Origin::File
        } else if is_enrolled(key) {
            Origin::Enrolment
        } else {
            Origin::BuiltIn
        }
    };
    in_force.into_iter().map(|(key, value)| Setting { origin: origin(&key), key, value }).collect()
}

/// `KITCHEN_AGENT__UPLINK__BROKER` is `uplink`, `broker`.
fn path_of(name: &str) -> Vec<String> {
    let path = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    path.split("__").map(str::to_ascii_lowercase).collect()
}

/// A TOML value where the text is one, else the text itself.
fn parsed(text: &str) -> Value {
    let line = format!("value = {text}");
    line.parse::<Table>().ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.into()))
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), ()> {
    if path.len() > DEEPEST {
        return Err(());
    }
    let (first, rest) = path.split_first().ok_or(())?;
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return Ok(());
    }
    match table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(items) => {
            let (number, rest) = rest.split_first().ok_or(())?;
            let item = number.parse::<usize>().ok().and_then(|number| items.get_mut(number)).ok_or(())?;
            item.as_table_mut().map_or(Err(()), |inner| set(inner, rest, value))
        }
        _ => Err(()),
    }
}

fn flatten(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&join(key), value, into)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().enumerate().for_each(|(number, item)| flatten(&join(&number.to_string()), item, into));
        }
        leaf => into.push((prefix.to_owned(), leaf.clone())),
    }
}
