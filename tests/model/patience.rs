//! How long the server may bear with a connection, reckoned from what went over its wire:
//! [`Patience`].
//!
//! The server looks at a clock when a deadline comes of which it has been told, and may notice only
//! then what has moved since it last looked: the reckoning here is as generous, and no more.

use wspipe::config::Config;
use wspipe::event_loop::instant::Instant;

/// What was to be seen of a connection after a turn.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub now: Instant,
    /// Up to when the server was told what happened.
    pub told: Instant,
    pub stage: Stage,
    /// How many bytes the server has read, how many have left it, how many of those the client
    /// has taken, and how many wait.
    pub read: u64,
    pub written: u64,
    pub acked: u64,
    pub queued: usize,
    /// Whether its handshake has come and is not answered: the server starts few commands at once.
    pub is_owed: bool,
    /// Whether it may be, or have been in this turn, that the client is not read because of
    /// back-pressure.
    pub may_pause: bool,
}

/// How far a connection has come, as far as its wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A request is awaited, or its head, or room for an answer.
    Opening,
    Open,
    /// The last was said: by the server, by the client, or by both.
    Ending(usize),
}

/// The clocks of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    last: Sight,
    /// When the client was last heard, and whether it was asked since whether it is there.
    heard: Instant,
    is_asked: bool,
    /// From when on what it takes counts as heard, and when that is noticed of what it took last.
    takes_from: Instant,
    take_due: Option<Instant>,
    /// Whether it took a part of a page since that was last looked at.
    takes_page: bool,
    /// When it is looked whether what waits has moved, and whether that time was preceded by one in
    /// which the server may have noticed what moved last.
    stuck_due: Instant,
    is_noticed: bool,
    stuck_acked: u64,
    /// Where what was said ends; when the client has to have gone, or that is looked at next.
    said: u64,
    over_due: Instant,
    looks: u32,
    /// Whether a time was over after the turn before.
    was_over: bool,
}

impl Patience {
    /// For a connection that was accepted.
    pub fn new(first: Sight) -> Self {
        Self {
            last: first,
            heard: first.now,
            is_asked: false,
            takes_from: first.now,
            take_due: None,
            takes_page: false,
            stuck_due: first.now,
            is_noticed: false,
            stuck_acked: 0,
            said: 0,
            over_due: first.now,
            looks: 0,
            was_over: false,
        }
    }

    /// Goes on by a turn. Says which time is over, if one is and was before this turn: no turn comes to
    /// more deadlines than there were at its beginning, and whoever is left over has his in the next.
    pub fn go_on(&mut self, seen: Sight, config: &Config) -> Option<&'static str> {
        let over = self.over(seen, config);
        let was_over = std::mem::replace(&mut self.was_over, over.is_some());
        over.filter(|_| was_over)
    }

    fn over(&mut self, seen: Sight, config: &Config) -> Option<&'static str> {
        let last = std::mem::replace(&mut self.last, seen);
        let said = |sight: Sight| sight.written + sight.queued as u64;
        let has_said = seen.written > last.written || said(seen) > said(last);
        let has_changed = seen.stage != last.stage;
        let is_opening = seen.stage == Stage::Opening;
        if seen.read > last.read {
            // What it takes before the first ping is no answer.
            self.hear(seen.now, seen.now + config.clients.ping_interval);
            self.take_due = None;
        } else if seen.may_pause || last.may_pause || has_changed || is_opening && has_said {
            // Or somewhat earlier, and it was asked already.
            self.hear(seen.now, seen.now);
        }
        if is_opening && seen.acked > last.acked && seen.acked < said(seen) {
            self.takes_page = true;
        }
        if seen.acked > last.acked && seen.now >= self.takes_from {
            self.take_due = Some(seen.now + config.clients.ping_interval);
        }
        if has_said || has_changed {
            (self.stuck_due, self.is_noticed) = (seen.now + config.clients.close_timeout, false);
        }
        if has_changed {
            self.said = said(seen);
            self.over_due = seen.now + config.clients.close_timeout;
            // What had to wait may have been said long before.
            self.looks = if last.queued == 0 { 1 } else { 2 };
        }
        let is_silent = seen.stage == Stage::Open && self.is_silent(seen, config);
        match seen.stage {
            Stage::Ending(_) => self.is_over(seen, config).then_some("the close time-out"),
            // A close frame may be among what waits, and then nothing else counts.
            _ if seen.queued > 0 => self.is_stuck(seen, config).then_some("the write time-out"),
            Stage::Opening => {
                let is_idle = self.is_idle(seen, config);
                is_idle.then_some("the time-out for a request")
            }
            Stage::Open => is_silent.then_some("the pong time-out"),
        }
    }

    /// What waits, or is on its way, is not taken. At the end that is looked at each close time-out.
    fn is_stuck(&mut self, seen: Sight, config: &Config) -> bool {
        if self.stuck_due > seen.told {
            return false;
        }
        let has_taken = seen.acked > self.stuck_acked;
        if !self.is_noticed {
            (self.stuck_due, self.is_noticed) = (seen.now + config.clients.write_timeout, true);
        } else if has_taken {
            (self.stuck_due, self.is_noticed) = (seen.now + config.clients.close_timeout, false);
            self.stuck_acked = seen.acked;
        } else {
            return true;
        }
        false
    }

    /// No request comes. That a page is still taken is noticed when one should have come.
    fn is_idle(&mut self, seen: Sight, config: &Config) -> bool {
        if seen.is_owed || self.heard + config.clients.http_idle_timeout > seen.told {
            return false;
        }
        let takes_page = std::mem::take(&mut self.takes_page);
        if takes_page {
            self.heard = seen.now;
        }
        !takes_page
    }

    fn hear(&mut self, now: Instant, takes_from: Instant) {
        (self.heard, self.is_asked) = (now, false);
        self.takes_from = takes_from;
    }

    /// Nothing is heard.
    fn is_silent(&mut self, seen: Sight, config: &Config) -> bool {
        match self.take_due {
            Some(due) if due > seen.told => return false,
            Some(_) => self.heard = seen.now,
            None => {}
        }
        self.take_due = None;
        if !self.is_asked && self.heard + config.clients.ping_interval <= seen.told {
            // It may be asked late, and has the same time to answer.
            let asked_after = seen.now.checked_sub(config.clients.ping_interval);
            self.heard = asked_after.map_or(self.heard, |at| at.max(self.heard));
            self.is_asked = true;
        }
        self.heard + config.clients.pong_timeout <= seen.told
    }

    /// All has been said, and the client does not go. Whoever has not taken all of it yet has as
    /// long from when the server finds that it has.
    fn is_over(&mut self, seen: Sight, config: &Config) -> bool {
        let is_behind = seen.acked < self.said;
        if is_behind && (self.looks == 2 || self.over_due <= seen.told) {
            self.looks = 2;
            self.over_due = seen.now + config.clients.close_timeout;
            return self.is_stuck(seen, config);
        }
        if self.over_due > seen.told {
            return false;
        }
        if self.looks > 1 {
            self.over_due = seen.now + config.clients.close_timeout;
            self.looks -= 1;
            return false;
        }
        true
    }
}
