//! Wall-clock time as RFC 3339 text, in UTC: what the log and the state file carry.
//!
//! Two fixed formats of one calendar need no date crate: the conversion is a dozen lines of integer arithmetic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, to the second: `2026-01-02T03:04:05Z` (RFC 3339, what engines parse as the `time` of a log line).
pub fn now() -> String {
    seconds(since_epoch())
}

/// Now, to the nanosecond with trailing zeros cut off, as Go's RFC3339Nano prints it: the `created` of a state.
pub fn now_nano() -> String {
    nanos(since_epoch())
}

/// How long ago 1970 was.
pub fn since_epoch() -> Duration {
    // A clock before 1970 is a broken clock: print the epoch rather than fail.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(at: Duration) -> String {
    let (days, in_day) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// The same of another moment, told as the time since 1970.
pub fn nanos(at: Duration) -> String {
    let mut text = seconds(at);
    if at.subsec_nanos() != 0 {
        let fraction = format!(".{:09}", at.subsec_nanos());
        text.insert_str(text.len() - 1, fraction.trim_end_matches('0'));
    }
    text
}

/// Days since 1970-01-01 to (year, month, day). The year is counted from March, so that the leap day is its last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // Days since 0000-03-01.
    let days = days + 719_468;
    let (era, in_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March: 31 30 31 30 31, twice, then 31 and February.
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(seconds(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
            day += 1;
            if day > last {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        assert_eq!(nanos(Duration::new(0, 120_000_000)), "1970-01-01T00:00:00.12Z");
        assert_eq!(nanos(Duration::new(0, 1)), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(nanos(Duration::new(7, 0)), "1970-01-01T00:00:07Z");
    }
}
