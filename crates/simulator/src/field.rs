//! Reports from the field: behaviour that users have observed and VBC's documents do not describe.
//!
//! By default the simulator follows the documents. Each report is switched on by itself: with
//! `--field=NAME`, with `[field]` of a scenario, or with
//! [`SimulatorBuilder::field`](crate::SimulatorBuilder::field). [`FieldReport::ALL`] is the only
//! list: help texts, scenarios and the control plane's OpenAPI document are generated from it.

use std::str::FromStr;
use std::time::Duration;

use crate::suggestion::choose;

/// The age above which Reports rejects a token while [`FieldReport::ReportsToken`] holds.
pub(crate) const REPORTS_TOKEN_AGE: Duration = Duration::from_secs(5 * 60);

/// A behaviour that users have observed, and that VBC's documents contradict or omit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldReport {
    /// The suite Reports does not accept `self` in place of the account's number.
    ReportsSelf,
    /// The list of extensions is the array `_embedded.extensions` instead of `_embedded.data`.
    ExtensionsArray,
    /// Pages of Telephony count legs instead of calls, so the legs of one call may be on two pages.
    LegsOverPages,
    /// Telephony responds to an application's own token with an empty 202, and does not execute the
    /// request.
    ApplicationToken,
    /// Users whose names end in `.api` get tokens.
    ApiUsers,
    /// The Reports suite responds "Problem with provided token" to users without the role, and to
    /// tokens older than five minutes.
    ReportsToken,
    /// Provisioning responds "missing user data" to users without the role.
    MissingUserData,
}

impl FieldReport {
    /// Every report, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::ReportsSelf,
        Self::ExtensionsArray,
        Self::LegsOverPages,
        Self::ApplicationToken,
        Self::ApiUsers,
        Self::ReportsToken,
        Self::MissingUserData,
    ];

    /// Its name on the command line and in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReportsSelf => "reports_self",
            Self::ExtensionsArray => "extensions_array",
            Self::LegsOverPages => "legs_over_pages",
            Self::ApplicationToken => "application_token",
            Self::ApiUsers => "api_users",
            Self::ReportsToken => "reports_token",
            Self::MissingUserData => "missing_user_data",
        }
    }

    /// Describes the effect in one sentence.
    pub fn says(self) -> &'static str {
        match self {
            Self::ReportsSelf => "the Reports suite responds with 404 to accounts/self",
            Self::ExtensionsArray => {
                "the list of extensions is _embedded.extensions instead of _embedded.data"
            }
            Self::LegsOverPages => "pages of calls count legs: the legs of one call may be on two pages",
            Self::ApplicationToken => "Telephony responds with an empty 202 to an application's own token",
            Self::ApiUsers => "users whose names end in .api get tokens",
            Self::ReportsToken => {
                "the Reports suite responds with \"Problem with provided token\" to users without the role and to tokens older \
                 than 5 minutes"
            }
            Self::MissingUserData => {
                "Provisioning responds with \"missing user data\" to users without the role"
            }
        }
    }
}

/// The set of [`FieldReport`]s that hold. Empty by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field(u8);

impl Field {
    /// Every report holds.
    pub const ALL: Self = Self((1 << FieldReport::ALL.len()) - 1);

    /// Whether a report holds.
    pub fn has(self, report: FieldReport) -> bool {
        self.0 & (1 << report as u8) != 0
    }

    /// The set with a report switched on or off.
    #[must_use]
    pub fn with(self, report: FieldReport, holds: bool) -> Self {
        let bit = 1 << report as u8;
        Self(if holds { self.0 | bit } else { self.0 & !bit })
    }
}

impl From<FieldReport> for Field {
    fn from(report: FieldReport) -> Self {
        Self::default().with(report, true)
    }
}

/// The text is not the name of a [`FieldReport`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown report `{word}`; {advice}")]
pub struct UnknownReport {
    word: String,
    advice: String,
}

impl FromStr for Field {
    type Err = UnknownReport;

    /// `all`, or names separated by commas. A hyphen counts as an underscore.
    fn from_str(text: &str) -> Result<Self, UnknownReport> {
        let mut field = Self::default();
        for word in text.split(',').map(str::trim) {
            let name = word.replace('-', "_");
            match FieldReport::ALL.into_iter().find(|report| report.name() == name) {
                Some(report) => field = field.with(report, true),
                None if name == "all" => field = Self::ALL,
                None => return Err(UnknownReport { word: word.to_owned(), advice: advice(&name) }),
            }
        }
        Ok(field)
    }
}

fn advice(name: &str) -> String {
    let known: Vec<String> = FieldReport::ALL.iter().map(|report| report.name().to_owned()).collect();
    choose(name, &[&known[..], &["all".to_owned()]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_has_a_switch_of_its_own() {
        for report in FieldReport::ALL {
            let alone: Field = report.name().parse().unwrap();
            let holding: Vec<_> = FieldReport::ALL.into_iter().filter(|other| alone.has(*other)).collect();
            assert_eq!(holding, [report]);
            assert!(!Field::ALL.with(report, false).has(report) && !Field::default().has(report));
        }
        assert_eq!("all".parse(), Ok(Field::ALL));
    }

    #[test]
    fn names_are_read_as_a_list_and_a_mistake_is_told_what_was_meant() {
        let two = Field::from(FieldReport::ApiUsers).with(FieldReport::ReportsSelf, true);
        assert_eq!("reports-self, api_users".parse(), Ok(two));
        let error = "reports_self,api_user".parse::<Field>().unwrap_err();
        assert_eq!(error.to_string(), "unknown report `api_user`; did you mean `api_users`?");
        assert!("".parse::<Field>().is_err());
    }
}
