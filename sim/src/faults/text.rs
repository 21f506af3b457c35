//! A schedule as text, so that it can be printed, passed on a command line and replayed: `12340 lose leader 8200 single`,
//! faults separated by `;` or line ends. Times are milliseconds.

use std::fmt;
use std::str::FromStr;

use super::{Fault, Group, Pattern, Planned, Schedule, Target};

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no fault; one reads `12340 lose leader 8200 single`")]
pub struct ParseError {
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Slow(millis) => write!(f, "{name}:{millis}"),
            Self::Notice(seconds) => write!(f, "{name}:{seconds}"),
            Self::Skew { percent, jump_ms } => write!(f, "{name}:{percent}:{jump_ms}"),
            _ => f.write_str(name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader"),
            Self::Follower(number) => write!(f, "follower:{number}"),
            Self::Learner(number) => write!(f, "learner:{number}"),
            Self::Worker(number) => write!(f, "worker:{number}"),
            Self::Machine(number) => write!(f, "machine:{number}"),
            Self::Machines(group) => {
                let numbers: Vec<String> =
                    group.numbers().map(|number| number.to_string()).collect();
                write!(f, "machines:{}", numbers.join("+"))
            }
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at_ms,
            fault,
            target,
            for_ms,
            pattern,
        } = self;
        write!(f, "{at_ms} {fault} {target} {for_ms} {}", pattern.name())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults().iter().map(Planned::to_string).collect();
        f.write_str(&faults.join("; "))
    }
}

fn fault(text: &str) -> Option<Fault> {
    let mut words = text.split(':');
    let name = words.next()?;
    let mut number = || words.next()?.parse::<i32>().ok();
    let fault = match name {
        "lose" => Fault::Lose,
        "notice" => Fault::Notice(number()?.try_into().ok()?),
        "restart" => Fault::Restart,
        "cut-off" => Fault::CutOff,
        "mute" => Fault::Mute,
        "deaf" => Fault::Deaf,
        "slow" => Fault::Slow(number()?.try_into().ok()?),
        "pause" => Fault::Pause,
        "skew" => Fault::Skew {
            percent: number()?.try_into().ok()?,
            jump_ms: number()?,
        },
        "split" => Fault::Split,
        "link" => Fault::Link,
        _ => return None,
    };
    Some(fault)
}

fn target(text: &str) -> Option<Target> {
    let (name, number) = text.split_once(':').unwrap_or((text, "0"));
    if name == "machines" {
        return Some(Target::Machines(group(number)?));
    }
    let number = number.parse().ok()?;
    match name {
        "leader" => Some(Target::Leader),
        "follower" => Some(Target::Follower(number)),
        "learner" => Some(Target::Learner(number)),
        "worker" => Some(Target::Worker(number)),
        "machine" => Some(Target::Machine(number)),
        _ => None,
    }
}

fn group(text: &str) -> Option<Group> {
    text.split('+').try_fold(Group::default(), |group, number| {
        let number: u8 = number.parse().ok()?;
        (1..=Group::NUMBER_MAX)
            .contains(&number)
            .then(|| group.with(number))
    })
}

fn planned(text: &str) -> Option<Planned> {
    let mut words = text.split_whitespace();
    let planned = Planned {
        at_ms: words.next()?.parse().ok()?,
        fault: fault(words.next()?)?,
        target: target(words.next()?)?,
        for_ms: words.next()?.parse().ok()?,
        pattern: {
            let name = words.next()?;
            Pattern::ALL
                .into_iter()
                .find(|pattern| pattern.name() == name)?
        },
    };
    words.next().is_none().then_some(planned)
}

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let lines = text.split([';', '\n']).map(str::trim);
        let faults: Result<Vec<Planned>, ParseError> = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let text = line.to_owned();
                planned(line).ok_or(ParseError { text })
            })
            .collect();
        Ok(Self::new(faults?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Shape, draw};
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for seed in 0..50 {
            for shape in [Shape::storm(7), Shape::noticed(7)] {
                let schedule = draw(seed, &shape);
                assert_eq!(schedule.to_string().parse(), Ok(schedule));
            }
        }
        let split: Schedule = "12 split machines:1+3 400 single".parse().unwrap();
        let Target::Machines(group) = split.faults()[0].target else {
            panic!("{split}");
        };
        assert_eq!(group.numbers().collect::<Vec<_>>(), [1, 3]);
        assert!(
            "12 link machines:1+32 3 single"
                .parse::<Schedule>()
                .is_err()
        );
        assert!("12 lose nobody 3 single".parse::<Schedule>().is_err());
        assert!("12 lose leader 3 single more".parse::<Schedule>().is_err());
    }
}
