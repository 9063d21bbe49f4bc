//! OpenTelemetry's variables as such: the first of several that is set, numbers, lists.

use std::ffi::OsString;

use crate::config::ConfigError;
use crate::config::database::unescaped;

/// Where variables are looked up.
pub(super) struct Environment<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

/// A variable that is set, and not to nothing.
pub(super) struct Given {
    pub(super) variable: &'static str,
    pub(super) text: String,
}

impl Given {
    /// An error that names it, and never tells its value.
    pub(super) fn is_wrong<T>(&self, why: impl Into<String>) -> Result<T, ConfigError> {
        Err(ConfigError::BadVariable { variable: self.variable.to_owned(), why: why.into() })
    }
}

impl Environment<'_> {
    /// The first of these that is set.
    pub(super) fn first(&self, names: &[&'static str]) -> Result<Option<Given>, ConfigError> {
        let given = names.iter().find_map(|name| {
            let text = (self.0)(name).filter(|text| !text.is_empty())?;
            Some((*name, text))
        });
        let Some((variable, text)) = given else { return Ok(None) };
        match text.into_string() {
            Ok(text) => Ok(Some(Given { variable, text: text.trim().to_owned() })),
            Err(_) => Given { variable, text: String::new() }.is_wrong("is not Unicode text"),
        }
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&self, names: &[&'static str], default: u64, most: u64) -> Result<u64, ConfigError> {
        let Some(given) = self.first(names)? else { return Ok(default) };
        match given.text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => given.is_wrong(format!("is no whole number from 1 to {most}")),
        }
    }
}

/// The parts of a list; `None`: no such part.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Option<(&str, String)>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = Some(name.trim()).filter(|name| !name.is_empty())?;
        Some((name, unescaped(value.trim())?))
    })
}
