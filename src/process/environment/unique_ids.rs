//! Values of the variable UNIQUE_ID: [`UniqueIds`].

use std::time::{SystemTime, UNIX_EPOCH};

/// Makes values of UNIQUE_ID. A value consists of letters, digits and `-`, so it can be part of a
/// file name. It differs from those of other servers and other starts, but is not a secret.
#[derive(Debug)]
pub(crate) struct UniqueIds {
    prefix: String,
    count: u64,
}

impl UniqueIds {
    /// Values for a server that started at `started`. `salt` is a random number: a device without a
    /// clock has the same time at every start.
    pub(crate) fn new(started: SystemTime, salt: u64) -> Self {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            prefix: format!("{:x}-{salt:x}", since.as_nanos()),
            count: 0,
        }
    }

    /// The next value.
    pub(crate) fn make(&mut self) -> String {
        self.count += 1;
        format!("{}-{:x}", self.prefix, self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unique_ids_differ_and_fit_file_names() {
        let start = UNIX_EPOCH + Duration::from_nanos(0x1234_5678);
        let mut ids = UniqueIds::new(start, 0xabc);
        assert_eq!(ids.make(), "12345678-abc-1");
        assert_eq!(ids.make(), "12345678-abc-2");
        assert_ne!(
            UniqueIds::new(start, 1).make(),
            UniqueIds::new(start, 2).make()
        );
    }
}
