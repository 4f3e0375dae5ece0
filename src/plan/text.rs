//! The text of a plan, in Terraform's manner.

use std::fmt;

use serde_json::Value;

use super::diff::{Change, FieldChange};
use super::{Action, ENVIRONMENT_UNIT, Plan, Step, UnitPlan, Verdict};

/// How much of a value is shown.
const WIDTH: usize = 100;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in self.units.iter().filter(|unit| unit.is_shown()) {
            writeln!(f, "{unit}")?;
        }
        if let Verdict::Held(held) = &self.verdict {
            writeln!(f, "{held}\n")?;
        }
        let counts = self.counts();
        write!(f, "Plan: {} to add, {} to change, {} to destroy.", counts.add, counts.change, counts.destroy)
    }
}

impl UnitPlan {
    /// Answers whether a plan says anything of the unit.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.broken.is_some() || !self.prune.is_empty() || self.changes()
    }
}

impl fmt::Display for UnitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name == ENVIRONMENT_UNIT { "environment" } else { self.name.as_str() };
        match &self.broken {
            Some(reason) if self.changes() => writeln!(f, "{name}: put back as it ran, {reason}")?,
            Some(reason) => writeln!(f, "{name}: left as it is, {reason}")?,
            None => writeln!(f, "{name}:")?,
        }
        for step in self.steps.iter().chain(&self.prune) {
            write_step(f, step)?;
        }
        Ok(())
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let (mark, verb, changes): (_, _, &[FieldChange]) = match &step.action {
        Action::Unchanged => return Ok(()),
        Action::Create => ("  +", "create", &[]),
        Action::Update { changes } => ("  ~", "update", changes),
        Action::Replace { changes } => ("-/+", "replace", changes),
        Action::Delete => ("  -", "delete", &[]),
        Action::Keep => ("   ", "keep", &[]),
        Action::Refuse => ("  !", "refuse", &[]),
    };
    write!(f, "{mark} {verb} {}", step.key)?;
    let obvious = matches!(step.action, Action::Create) || step.reason == "changed in Git";
    if obvious {
        writeln!(f)?;
    } else {
        writeln!(f, "  # {}", step.reason)?;
    }
    for change in changes {
        writeln!(f, "      {change}")?;
    }
    Ok(())
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.change {
            Change::Added { to } => write!(f, "+ {path}: {}", Shown(to)),
            Change::Modified { from, to } => write!(f, "~ {path}: {} → {}", Shown(from), Shown(to)),
            Change::Removed { from } => write!(f, "- {path}: {}", Shown(from)),
            Change::Secret => write!(f, "~ {path}: changed"),
        }
    }
}

/// A value as one line of JSON, cut where it is long.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        if text.chars().count() <= WIDTH {
            return f.write_str(&text);
        }
        let cut: String = text.chars().take(WIDTH).collect();
        write!(f, "{cut}…")
    }
}
