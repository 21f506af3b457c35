//! Query parameters, typed as Kubernetes types them.
//!
//! Deliberately lenient where Kubernetes is: unknown parameters are ignored, the first of a repeated one counts.

use actix_web::web;

use crate::resource::{Options, Status};

/// Longest `fieldManager`, in bytes (Kubernetes' own bound).
const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// A decoded query string.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d`; empty pairs (`?&a=b`) are skipped.
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|error| Status::bad_request(format!("invalid query string: {error}")))?;
        Ok(Self(pairs.into_inner()))
    }

    /// A parameter's text; absent and empty are told apart.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(key, _)| key == name);
        first.map(|(_, value)| value.as_str())
    }

    /// A parameter's text, "" when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A boolean: present and neither `false` nor `0` (Kubernetes' conversion).
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    /// A boolean that may be absent.
    pub(super) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.flag(name))
    }

    /// A number of at least zero; absent and empty are `None`.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        self.parsed(name, "a number of at least 0")
    }

    /// A number that may be negative; absent and empty are `None`.
    pub(super) fn signed(&self, name: &str) -> Result<Option<i64>, Status> {
        self.parsed(name, "a number")
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Status> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            Status::bad_request(format!("{name}: Invalid value: {text:?}: must be {what}"))
        })?;
        Ok(Some(number))
    }

    /// The options of a write.
    ///
    /// Without `fieldManager` the manager is what stands before the first `/` of the user agent, as in Kubernetes.
    pub(super) fn write_options(&self, user_agent: &str) -> Result<Options, Status> {
        for (_, value) in self.0.iter().filter(|(name, _)| name == "dryRun") {
            check_dry_run(value)?;
        }
        let manager = self.text("fieldManager");
        if manager.len() > FIELD_MANAGER_BYTES_MAX || manager.chars().any(char::is_control) {
            return Err(Status::bad_request(format!(
                "fieldManager: Invalid value: {manager:?}: must be printable and of at most \
                 {FIELD_MANAGER_BYTES_MAX} bytes"
            )));
        }
        Ok(Options {
            dry_run: self.get("dryRun").is_some(),
            field_validation: self.text("fieldValidation").to_owned(),
            field_manager: manager_or_agent(manager, user_agent),
            force: self.flag("force"),
        })
    }
}

/// The only dry run there is is `All`.
pub(super) fn check_dry_run(value: &str) -> Result<(), Status> {
    if value == "All" {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "dryRun: Unsupported value: {value:?}: supported values: \"All\""
    )))
}

fn manager_or_agent(manager: &str, user_agent: &str) -> String {
    if !manager.is_empty() {
        return manager.to_owned();
    }
    let name = user_agent.split('/').next().unwrap_or_default();
    let printable = name.chars().filter(|c| !c.is_control());
    printable.take(FIELD_MANAGER_BYTES_MAX / 4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_and_numbers_convert_as_in_kubernetes() {
        let query =
            Query::parse("&watch=&follow=true&force=False&a=0&limit=7&tail=&bad=x").unwrap();
        assert!(query.flag("watch"));
        assert!(query.flag("follow"));
        assert!(!query.flag("force"));
        assert_eq!(query.optional_flag("a"), Some(false));
        assert_eq!(query.optional_flag("b"), None);
        assert_eq!(query.number("limit").unwrap(), Some(7));
        assert_eq!(query.number("tail").unwrap(), None);
        assert_eq!(query.number("bad").unwrap_err().code, 400);
    }

    #[test]
    fn only_known_options_pass() {
        let options = |text: &str| {
            Query::parse(text)
                .unwrap()
                .write_options("kubectl/v1.33 (linux)")
        };
        assert_eq!(options("dryRun=Some").unwrap_err().code, 400);
        let long = "m".repeat(FIELD_MANAGER_BYTES_MAX + 1);
        assert_eq!(
            options(&format!("fieldManager={long}")).unwrap_err().code,
            400
        );
        let options = options("dryRun=All&fieldValidation=Strict").unwrap();
        assert!(options.dry_run);
        assert_eq!(options.field_validation, "Strict");
        assert_eq!(options.field_manager, "kubectl");
    }
}
