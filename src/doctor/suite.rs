//! The suites, and one harmless request to each.

use std::str::FromStr;

use jiff::SignedDuration;

use vbc_base::clock::Timestamp;

/// One API of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// Accounts, locations, extensions, users.
    Provisioning,
    /// Calls and devices.
    Telephony,
    /// The call log.
    Reports,
    /// Recordings of the company's calls.
    CallRecording,
    /// The Vonage Integration Platform.
    Vis,
}

/// The error for a word that names no suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown suite; the suites are provisioning, telephony, reports, call_recording and vis")]
pub struct UnknownSuite;

impl Suite {
    /// All suites, in the order of an examination.
    pub const ALL: [Self; 5] =
        [Self::Provisioning, Self::Telephony, Self::Reports, Self::CallRecording, Self::Vis];

    /// The suite's segment in paths, which is also its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Telephony => "telephony",
            Self::Reports => "reports",
            Self::CallRecording => "call_recording",
            Self::Vis => "vis",
        }
    }

    /// The suite's name in the developer portal.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Provisioning => "Provisioning",
            Self::Telephony => "Telephony",
            Self::Reports => "Reports",
            Self::CallRecording => "Call Recording",
            Self::Vis => "Integration Platform (VIS)",
        }
    }

    /// The requirements for the user of the token, in words that follow "give the user".
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Provisioning | Self::Reports => "the role Account Administrator",
            Self::Telephony => "a role that can see the calls of the account, such as Account Administrator",
            Self::CallRecording => {
                "the role Account Administrator, and check that Company Call Recording is enabled for the account"
            }
            Self::Vis => "a license for the Integration Platform and a separate extension",
        }
    }

    /// Path and query of a GET that changes nothing and returns as little as possible.
    pub(super) fn request_target(self, now: Timestamp) -> String {
        match self {
            Self::Provisioning => "/t/vbc.prod/provisioning/api/accounts/self".to_owned(),
            Self::Telephony => "/t/vbc.prod/telephony/v3/cc/accounts/self/calls?page_size=1".to_owned(),
            // Reports requires both ends of the range, in UTC, with a blank between date and time.
            // It rejects `+` for the blank.
            Self::Reports => {
                let hour_ago = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
                let time = |at: Timestamp| at.strftime("%Y-%m-%d%%20%H:%M:%S").to_string();
                format!(
                    "/t/vbc.prod/reports/accounts/self/call-logs?start:gte={}&start:lte={}&page_size=1",
                    time(hour_ago),
                    time(now)
                )
            }
            Self::CallRecording => {
                "/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings?page_size=1".to_owned()
            }
            Self::Vis => "/t/vbc.prod/vis/v1/self".to_owned(),
        }
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|suite| suite.name() == word).ok_or(UnknownSuite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_to_reports_names_the_last_hour_in_utc() {
        let now: Timestamp = "2026-09-05T00:30:09.7Z".parse().unwrap();
        let expected = "/t/vbc.prod/reports/accounts/self/call-logs?start:gte=2026-09-04%2023:30:09\
                        &start:lte=2026-09-05%2000:30:09&page_size=1";
        assert_eq!(Suite::Reports.request_target(now), expected);
        for suite in Suite::ALL {
            let target = suite.request_target(now);
            assert!(target.parse::<http::Uri>().is_ok(), "{target}");
            assert!(target.starts_with(&format!("/t/vbc.prod/{}/", suite.name())), "{target}");
        }
    }

    #[test]
    fn suites_are_read_by_their_names() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        assert_eq!("Reports".parse::<Suite>(), Err(UnknownSuite));
    }
}
