//! A container's environment: `envFrom`, then `env` with its references and `$(VAR)`s.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource};

use super::expand::expand;
use super::{ConfigError, Context, field};

/// The environment in the order of its definition, each name once.
pub(super) fn environment(
    context: &Context<'_>,
    container: &Container,
) -> Result<Environment, ConfigError> {
    let mut environment = Environment::default();
    for source in container.env_from.iter().flatten() {
        for (name, value) in from_source(context, source)? {
            environment.set(name, value);
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(context, container, variable, &environment.known)? {
            environment.set(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

/// Variables that are set. Invariant: `order` names the keys of `known`, each once.
#[derive(Debug, Default)]
pub(super) struct Environment {
    order: Vec<String>,
    /// For `$(VAR)`.
    pub(super) known: BTreeMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: String, value: String) {
        if self.known.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    /// Names and values in order.
    pub(super) fn into_pairs(mut self) -> Vec<(String, String)> {
        let take = |name: String| {
            let value = self
                .known
                .remove(&name)
                .expect("order names the known keys, each once");
            (name, value)
        };
        self.order.into_iter().map(take).collect()
    }
}

fn from_source(
    context: &Context<'_>,
    source: &EnvFromSource,
) -> Result<Vec<(String, String)>, ConfigError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut pairs = Vec::new();
    if let Some(reference) = &source.config_map_ref {
        match context.config_map(&reference.name) {
            Ok(map) => pairs.extend(map.data.clone().unwrap_or_default()),
            Err(_) if reference.optional == Some(true) => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match context.secret(&reference.name) {
            Ok(secret) => {
                for (key, value) in secret.data.iter().flatten() {
                    pairs.push((key.clone(), String::from_utf8_lossy(&value.0).into_owned()));
                }
            }
            Err(_) if reference.optional == Some(true) => {}
            Err(error) => return Err(error),
        }
    }
    // Kubernetes skips what cannot be a variable's name.
    let valid = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    let named = pairs
        .into_iter()
        .map(|(key, value)| (format!("{prefix}{key}"), value));
    Ok(named.filter(|(name, _)| valid(name)).collect())
}

/// A variable's value; none if an optional reference leads nowhere.
fn value(
    context: &Context<'_>,
    container: &Container,
    variable: &EnvVar,
    known: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    match &variable.value_from {
        Some(source) => referenced(context, container, source),
        None => Ok(Some(expand(
            variable.value.as_deref().unwrap_or_default(),
            known,
        ))),
    }
}

fn referenced(
    context: &Context<'_>,
    container: &Container,
    source: &EnvVarSource,
) -> Result<Option<String>, ConfigError> {
    if let Some(reference) = &source.config_map_key_ref {
        let value = context.config_map_key(&reference.name, &reference.key);
        return optional(value, reference.optional);
    }
    if let Some(reference) = &source.secret_key_ref {
        let value = context.secret_key(&reference.name, &reference.key);
        return optional(value, reference.optional);
    }
    if let Some(reference) = &source.field_ref {
        return field::field(context, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return field::resource(context, Some(container), reference).map(Some);
    }
    Ok(Some(String::new()))
}

fn optional(
    value: Result<Vec<u8>, ConfigError>,
    optional: Option<bool>,
) -> Result<Option<String>, ConfigError> {
    match value {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(_) if optional == Some(true) => Ok(None),
        Err(error) => Err(error),
    }
}
