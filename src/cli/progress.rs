//! What a long command shows while it works: one live line on a terminal, plain lines elsewhere.
//!
//! Always on standard error, so that standard output stays a result. Deliberately without percentages of time.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the live line turns its wheel.
const TICK: Duration = Duration::from_millis(100);

/// The running step of a command.
pub struct Progress {
    live: Option<ProgressBar>,
    /// Where there is no live line: what was said last, so as to say nothing twice.
    said: RefCell<String>,
    /// Why it waits, "" if nothing is known.
    waits_for: RefCell<String>,
}

impl Progress {
    /// Live if standard error is a terminal that may be redrawn.
    pub fn new() -> Self {
        Self {
            live: super::colourful().then(live_line),
            said: RefCell::default(),
            waits_for: RefCell::default(),
        }
    }

    /// Now doing this.
    pub fn step(&self, what: &str) {
        match &self.live {
            Some(line) => {
                line.set_length(0);
                line.set_message(what.to_owned());
            }
            None => self.say(what),
        }
    }

    /// So much of it is done. Plain lines come at the quarters only.
    pub fn count(&self, what: &str, done: usize, total: usize) {
        if let Some(line) = &self.live {
            let why = self.waits_for.borrow();
            let gap = if why.is_empty() { "" } else { "  " };
            let bar = bar(done, total);
            return line.set_message(format!("{what} {bar} {done}/{total}{gap}{why}"));
        }
        let quarter = done * 4 / total.max(1);
        if quarter > 0 {
            self.say(&format!("{what}: {}/{total}", total * quarter / 4));
        }
    }

    /// Why it does not get further, if that is known: beside the next count on a live line, else a line when it changes.
    pub fn waits_for(&self, why: Option<&str>) {
        let why = why.unwrap_or_default();
        if *self.waits_for.borrow() == why {
            return;
        }
        why.clone_into(&mut self.waits_for.borrow_mut());
        if self.live.is_none() && !why.is_empty() {
            super::tell(format_args!("waiting: {why}"));
        }
    }

    /// This came true, and stays on the screen.
    pub fn done(&self, what: &str) {
        self.waits_for(None);
        match &self.live {
            Some(line) => line.println(format!("✓ {what}")),
            None => self.say(what),
        }
    }

    /// Nothing is under way any more.
    pub fn finish(&self) {
        if let Some(line) = &self.live {
            line.finish_and_clear();
        }
    }

    fn say(&self, what: &str) {
        if *self.said.borrow() != what {
            super::tell(what);
            what.clone_into(&mut self.said.borrow_mut());
        }
    }
}

fn live_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
    line.set_style(style.expect("the template names known fields"));
    line.enable_steady_tick(TICK);
    line
}

/// `━━━━╌╌╌╌`.
fn bar(done: usize, total: usize) -> String {
    const CELLS: usize = 30;
    let full = (done * CELLS / total.max(1)).min(CELLS);
    format!("{}{}", "━".repeat(full), "╌".repeat(CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Progress {
        Progress {
            live: None,
            said: RefCell::default(),
            waits_for: RefCell::default(),
        }
    }

    #[test]
    fn a_bar_never_overflows() {
        assert_eq!(bar(0, 0).chars().count(), 30);
        assert_eq!(bar(5, 3).chars().filter(|c| *c == '━').count(), 30);
        assert_eq!(bar(1, 2).chars().filter(|c| *c == '━').count(), 15);
    }

    #[test]
    fn plain_lines_come_at_the_quarters() {
        let progress = plain();
        let mut heard = Vec::new();
        for done in 0..=30 {
            progress.count("pods", done, 30);
            let said = progress.said.borrow().clone();
            if heard.last() != Some(&said) {
                heard.push(said);
            }
        }
        assert_eq!(
            heard,
            [
                "",
                "pods: 7/30",
                "pods: 15/30",
                "pods: 22/30",
                "pods: 30/30"
            ]
        );
    }
}
