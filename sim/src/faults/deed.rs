//! What only the driver can do to the world, asked for by scenarios and by a schedule's faults.
//!
//! Deliberately without durations: whoever does a thing undoes it.

use std::time::Duration;

/// Something that only the driver can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The cloud announces that it will take the machine away in so long. Somebody else must do that then.
    Announce(String, Duration),
    /// The machine vanishes without a word: its peers see silence, its containers are gone.
    LoseMachine(String),
    /// It comes back, empty, and its process starts.
    ReturnMachine(String),
    /// Its process dies and is started again at once; its containers live on, its peers see the connection reset.
    RestartProcess(String),
    /// Its process has ended itself, and its supervisor starts the next.
    StartNext(String),
    /// No word passes between the machine and any other. Clients still reach it.
    CutOff(String),
    /// No other machine hears it.
    Mute(String),
    /// It hears no other machine.
    Deafen(String),
    /// Words pass again, both ways.
    Heal(String),
    /// No word passes between these machines and all others.
    Split(Vec<String>),
    /// Words pass again between them.
    Unite(Vec<String>),
    /// No word passes between these two machines.
    CutLink(String, String),
    /// Words pass again between them.
    HealLink(String, String),
    /// Each message from or to it takes so many milliseconds; 0 is as usual again.
    Slow(String, u32),
    /// Its process is not scheduled.
    Pause(String),
    /// It is again, and finds that time has passed.
    Resume(String),
    /// Its clocks run at so many percent of the true rate; its wall clock jumps by so many milliseconds.
    Skew(String, u32, i64),
    /// They run at the true rate again; the wall clock jumps by so many milliseconds.
    SetRight(String, i64),
}

impl Deed {
    /// The fault's name in coverage tables; `None` for what undoes one.
    pub fn fault(&self) -> Option<&'static str> {
        Some(match self {
            Self::Announce(..) => "fault: notice",
            Self::LoseMachine(_) => "fault: lose",
            Self::RestartProcess(_) => "fault: restart",
            Self::CutOff(_) => "fault: cut-off",
            Self::Mute(_) => "fault: mute",
            Self::Deafen(_) => "fault: deaf",
            Self::Split(_) => "fault: split",
            Self::CutLink(..) => "fault: link",
            Self::Pause(_) => "fault: pause",
            Self::Skew(..) => "fault: skew",
            Self::Slow(_, latency_ms) if *latency_ms > 0 => "fault: slow",
            Self::Slow(..)
            | Self::ReturnMachine(_)
            | Self::StartNext(_)
            | Self::Heal(_)
            | Self::Unite(_)
            | Self::HealLink(..)
            | Self::Resume(_)
            | Self::SetRight(..) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_undoes_a_fault_is_none() {
        let name = || "n1".to_owned();
        assert_eq!(Deed::Slow(name(), 20).fault(), Some("fault: slow"));
        assert_eq!(Deed::Slow(name(), 0).fault(), None);
        assert_eq!(Deed::Skew(name(), 100, 5).fault(), Some("fault: skew"));
        assert_eq!(Deed::SetRight(name(), -5).fault(), None);
    }
}
