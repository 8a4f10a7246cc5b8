//! Which class the calls of one name to another get at their gateway, instead of what the pod wrote (design §8).

use dmsc_wire::{Class, Domain, Name, NameBuf};

/// One rule. It holds for the answers, too, at the gateway that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRule {
    /// Tenant.
    pub domain: Domain,
    /// Prefix of the caller's name; `None`: anybody.
    pub caller: Option<NameBuf>,
    /// Prefix of the callee's name; `None`: everybody.
    pub callee: Option<NameBuf>,
    /// What they get, within what the sender may use.
    pub class: Class,
}

/// What the first rule that matches says.
#[inline]
pub fn class_of(
    rules: &[ClassRule],
    domain: Domain,
    caller: Option<Name<'_>>,
    callee: Option<Name<'_>>,
) -> Option<Class> {
    let covers = |rule: &Option<NameBuf>, name: Option<Name<'_>>| match (rule, name) {
        (None, _) => true,
        (Some(prefix), Some(name)) => prefix.as_name().is_prefix_of(name),
        (Some(_), None) => false,
    };
    let mut matching = rules.iter().filter(|rule| {
        rule.domain == domain && covers(&rule.caller, caller) && covers(&rule.callee, callee)
    });
    matching.next().map(|rule| rule.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_says_the_class() {
        let name = |text: &str| NameBuf::parse(text).expect("name");
        let rule = |caller: &str, callee: &str, class| ClassRule {
            domain: Domain(1),
            caller: (!caller.is_empty()).then(|| name(caller)),
            callee: (!callee.is_empty()).then(|| name(callee)),
            class: Class(class),
        };
        let rules = [
            rule("/id/till", "/pay", 5),
            rule("", "/pay", 3),
            rule("/id/batch", "", 0),
        ];
        let of = |domain, caller: &str, callee: &str| {
            let (caller, callee) = (name(caller), name(callee));
            let names = (Some(caller.as_name()), Some(callee.as_name()));
            class_of(&rules, Domain(domain), names.0, names.1).map(|class| class.0)
        };
        assert_eq!(of(1, "/id/till/4", "/pay/card"), Some(5));
        assert_eq!(of(1, "/id/web", "/pay/card"), Some(3));
        assert_eq!(of(1, "/id/batch", "/stock"), Some(0));
        assert_eq!(of(1, "/id/web", "/stock"), None);
        assert_eq!(of(2, "/id/till", "/pay"), None, "another tenant");
        assert_eq!(class_of(&rules, Domain(1), None, None), None);
    }
}
