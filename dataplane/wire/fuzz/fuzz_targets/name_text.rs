//! Any text, and any bytes, as a name: no panic, and text and encoding are one to one.
#![no_main]

use dmsc_wire::{Name, NameBuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        match NameBuf::parse(text) {
            Ok(name) => assert_eq!(name.to_string(), text),
            Err(e) => assert!(e.position <= text.len()),
        }
    }
    match Name::from_bytes(data) {
        Ok(name) => {
            assert_eq!(NameBuf::parse(&name.to_string()), Ok(name.to_owned()));
            assert_eq!(
                NameBuf::from_components(name.components()),
                Ok(name.to_owned())
            );
            for count in 0..18 {
                let prefix = name.prefix(count);
                assert_eq!(
                    prefix.component_count(),
                    count.clamp(1, name.component_count())
                );
                assert!(prefix.is_prefix_of(name));
            }
        }
        Err(e) => assert!(e.position <= data.len()),
    }
});
