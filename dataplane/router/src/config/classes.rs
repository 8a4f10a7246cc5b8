//! Judges what a file says of classes.

use dmsc_wire::{Class, Domain, NameBuf};
use toml::Spanned;

use super::ConfigError;
use super::check::Checker;
use super::raw::{RawClassRule, RawClasses};
use crate::class_rule::ClassRule;
use crate::egress::{CLASSES, Discipline};

/// Largest weight: the smallest share is then a thousandth, and tags of virtual time stay exact.
const MOST_WEIGHT: u32 = 1_000;
/// Frames per class: fewer are no queue, more only delay.
const QUEUE_FRAMES: std::ops::RangeInclusive<usize> = 16..=8_192;

impl Checker<'_> {
    pub(super) fn classes(&self, raw: &RawClasses) -> Result<Discipline, ConfigError> {
        let mut classes = Discipline::default();
        if let Some(given) = &raw.strict_from {
            classes.strict_from = *given.get_ref();
            if usize::from(classes.strict_from) > CLASSES {
                return self.refuse(
                    given.span(),
                    "classes.strict_from",
                    format!(
                        "{} is above 8; classes are 0 to 7, and 8 lets none go first",
                        classes.strict_from
                    ),
                );
            }
        }
        if let Some(given) = &raw.weights {
            let Ok(weights) = <[u32; CLASSES]>::try_from(given.get_ref().as_slice()) else {
                return self.refuse(
                    given.span(),
                    "classes.weights",
                    format!(
                        "{} weights; 8 are needed, of classes 0 to 7",
                        given.get_ref().len()
                    ),
                );
            };
            let wrong = |weight: &u32| !(1..=MOST_WEIGHT).contains(weight);
            if let Some(class) = weights.iter().position(wrong) {
                return self.refuse(
                    given.span(),
                    "classes.weights",
                    format!(
                        "{} for class {class} is outside 1..={MOST_WEIGHT}: without a share it would starve",
                        weights[class]
                    ),
                );
            }
            classes.weights = weights;
        }
        if let Some(given) = &raw.queue_frames {
            classes.queue_frames = *given.get_ref();
            if !QUEUE_FRAMES.contains(&classes.queue_frames) {
                return self.refuse(
                    given.span(),
                    "classes.queue_frames",
                    format!("{} is outside 16..=8192 frames", classes.queue_frames),
                );
            }
            classes.mark_frames = classes.queue_frames / 4;
        }
        if let Some(given) = &raw.mark_frames {
            classes.mark_frames = *given.get_ref();
            if !(1..=classes.queue_frames).contains(&classes.mark_frames) {
                return self.refuse(
                    given.span(),
                    "classes.mark_frames",
                    format!(
                        "{} is outside 1..={}, the frames that the queue of a class holds",
                        classes.mark_frames, classes.queue_frames
                    ),
                );
            }
        }
        Ok(classes)
    }

    pub(super) fn class_rule(&self, raw: &RawClassRule) -> Result<ClassRule, ConfigError> {
        let name = |given: &Option<Spanned<String>>, field: &str| match given {
            None => Ok(None),
            Some(text) => match NameBuf::parse(text.get_ref()) {
                Ok(name) => Ok(Some(name)),
                Err(error) => self.refuse(
                    text.span(),
                    field,
                    format!(
                        "{:?}: {error}; leave the line out for everybody",
                        text.get_ref()
                    ),
                ),
            },
        };
        let class = Class(*raw.class.get_ref());
        if !class.is_valid() {
            return self.refuse(
                raw.class.span(),
                "class_rule.class",
                format!("{class} is above 7", class = class.0),
            );
        }
        Ok(ClassRule {
            domain: Domain(raw.domain.unwrap_or(1)),
            caller: name(&raw.caller, "class_rule.caller")?,
            callee: name(&raw.callee, "class_rule.callee")?,
            class,
        })
    }
}
