//! What the last names of who looks up were like.

/// Whether the last names were in the table as they are, as most are, or longer than their prefixes there. The answer of a lookup does not depend on it, but
/// how soon it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habit {
    /// How many more of the last names were in the table as they are than not, at most [`MEMORY`] either way.
    more: i8,
}

/// How far a habit goes: as many names of the other kind change it.
const MEMORY: i8 = 32;

impl Habit {
    /// Most names are longer than their prefixes in the table, or have none.
    pub fn of_longer_names() -> Self {
        Self { more: -MEMORY }
    }

    /// Whether names are looked for as they are.
    #[inline(always)]
    pub(crate) fn are_whole(self) -> bool {
        self.more >= 0
    }

    /// Of some names so many were in the table as they are, or with as many components as any prefix of their domain, and so many were not.
    #[inline(always)]
    pub(crate) fn learn(&mut self, whole: usize, others: usize) {
        let more = i32::from(self.more) + whole as i32 - others as i32;
        self.more = more.clamp(-i32::from(MEMORY), i32::from(MEMORY)) as i8;
    }
}

#[cfg(test)]
mod tests {
    use dmsc_wire::{Domain, NameBuf};

    use super::*;
    use crate::{Fib, LocalSetId, LookupKey, Op, PrefixValue};

    /// What becomes of a habit by bursts of one name.
    fn after(habit: Habit, fib: &Fib, name: &str, in_burst: usize, bursts: usize) -> Habit {
        let name = NameBuf::parse(name).expect("name");
        let bytes = [name.as_bytes(), &[0; 64]].concat();
        let key = LookupKey::in_packet(Domain(1), name.as_name(), name.as_bytes());
        let packet = dmsc_wire::Name::from_bytes(&bytes[..name.as_bytes().len()]).expect("name");
        let in_packet = LookupKey::in_packet(Domain(1), packet, &bytes);
        let mut habits = [key, in_packet].map(|key| {
            let (keys, mut found) = (vec![key; in_burst], vec![None; in_burst]);
            let mut habit = habit;
            for _ in 0..bursts {
                fib.lookup_burst_as(&mut habit, &keys, &mut found);
            }
            habit
        });
        habits.sort_by_key(|habit| habit.more);
        assert_eq!(habits[0], habits[1], "wherever it lies");
        habits[0]
    }

    #[test]
    fn it_follows_the_names() {
        let put = |name: &str| Op::PutPrefix {
            domain: Domain(1),
            name: NameBuf::parse(name).expect("name"),
            value: PrefixValue::local(LocalSetId(1)),
        };
        let deep = "/a/b/c/d/e/f/g/h/i";
        let fib = Fib::new()
            .apply(&[put("/svc"), put("/shop/cart")])
            .expect("prefixes");
        let with_deep = fib.apply(&[put(deep)]).expect("prefix");
        let (most, least) = (Habit { more: MEMORY }, Habit::of_longer_names());
        // As they are, or as deep as any prefix.
        for name in ["/svc", "/shop/cart", "/shop/cart/v1"] {
            for fib in [&fib, &with_deep] {
                assert_eq!(after(least, fib, name, 32, 4), most, "{name}");
                assert_eq!(after(Habit::default(), fib, name, 32, 4), most, "{name}");
            }
        }
        // Longer than their prefix, without one, and too deep to be looked for as they are.
        for (fib, name) in [
            (&fib, "/svc/method"),
            (&fib, "/nobody/there"),
            (&with_deep, deep),
            (&with_deep, "/svc/method"),
        ] {
            assert_eq!(after(most, fib, name, 32, 4), least, "{name}");
        }
        // Nothing is learned where there are no prefixes at all.
        assert_eq!(after(most, &Fib::new(), "/nobody/there", 32, 4), most);
        assert_eq!(after(least, &Fib::new(), "/nobody/there", 32, 4), least);
        // A few others change nothing.
        let still = after(most, &fib, "/nobody/there", 1, 5);
        assert!(still.are_whole() && still != most);
        assert!(after(still, &fib, "/svc", 1, 5) == most);
        assert!(!after(Habit::default(), &fib, "/nobody/there", 1, 1).are_whole());
    }
}
