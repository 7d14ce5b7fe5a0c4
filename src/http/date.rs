//! The time of a response: the value of `Date`.

use core::fmt;
use core::time::Duration;

use crate::calendar::civil_date;

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate {
    /// Whole seconds since 1970.
    secs: u64,
}

impl HttpDate {
    /// The date so long after the beginning of 1970, UTC.
    pub const fn since_1970(time: Duration) -> HttpDate {
        HttpDate {
            secs: time.as_secs(),
        }
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 1970 began on a Thursday.
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let days = self.secs / 86_400;
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (self.secs / 3_600 % 24, self.secs / 60 % 60, self.secs % 60);
        let weekday = WEEKDAYS[(days % 7) as usize];
        let month = MONTHS[(month - 1) as usize];
        write!(
            f,
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_writes_it() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 9110 section 5.6.7.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        ];
        for (secs, text) in cases {
            let date = HttpDate::since_1970(Duration::from_secs(secs));
            assert_eq!(date.to_string(), text);
        }
    }
}
