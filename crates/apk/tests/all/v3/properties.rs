//! What holds for any bytes and any values.

use std::path::Path;

use polpo_apk::adb::schema::{INDEX_ID, Order, PACKAGE_ID, TEXTS, XATTRS};
use polpo_apk::adb::{Adb, Builder, Reader, Slots, Tag, Value, ValueKind};
use polpo_apk::index::Index;
use polpo_apk::package::Package;
use proptest::prelude::*;

use super::fixtures::{index, keyrings, tool};
use super::{LIMITS, file_of, head_of, placed};

/// Everything that is done with a file of format 3.
fn use_it(bytes: &[u8]) {
    let (_folder, file) = placed(bytes);
    if let Ok(package) = Package::open(&file) {
        let _ = package.manifest(&LIMITS);
        let _ = package.unique_id();
        let _ = package.verify(&keyrings()[0]);
    }
    if let Ok(index) = Index::from_bytes(Path::new("x"), bytes, None) {
        let _ = index.to_adb(&[], polpo_apk::adb::Compression::None);
        let _ = index.to_text();
    }
}

/// A value of any kind that tests can make.
#[derive(Clone, Debug)]
enum Made {
    Number(u64),
    Blob(Vec<u8>),
    Object(Vec<Made>),
    Array(Vec<Made>),
    Nothing,
}

fn made() -> impl Strategy<Value = Made> {
    let leaf = prop_oneof![
        prop_oneof![0..10_u64, any::<u64>(), (1 << 28) - 2..(1_u64 << 28) + 2]
            .prop_map(Made::Number),
        proptest::collection::vec(any::<u8>(), 0..10).prop_map(Made::Blob),
        (200_usize..300).prop_map(|length| Made::Blob(vec![b'y'; length])),
        Just(Made::Blob(vec![b'z'; 70_000])),
        Just(Made::Nothing),
    ];
    leaf.prop_recursive(4, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Made::Object),
            proptest::collection::vec(inner, 0..8).prop_map(Made::Array),
        ]
    })
}

fn write(builder: &mut Builder, made: &Made) -> Value {
    match made {
        Made::Number(number) => builder.integer(*number),
        Made::Blob(bytes) => builder.blob(bytes),
        Made::Object(fields) => {
            let fields: Vec<Value> = fields.iter().map(|made| write(builder, made)).collect();
            builder.object(&fields)
        }
        Made::Array(items) => {
            let items = items.iter().map(|made| write(builder, made)).collect();
            builder.array(&TEXTS, Tag::Array, items)
        }
        Made::Nothing => Value::NULL,
    }
}

/// Whether there is anything to write.
fn is_nothing(made: &Made) -> bool {
    match made {
        Made::Number(_) => false,
        Made::Blob(bytes) => bytes.is_empty(),
        Made::Object(items) | Made::Array(items) => items.iter().all(is_nothing),
        Made::Nothing => true,
    }
}

fn check(adb: &Adb<'_>, value: Value, made: &Made) {
    match made {
        Made::Number(number) => assert_eq!(adb.integer(value).unwrap(), *number),
        Made::Blob(bytes) => assert_eq!(adb.blob(value).unwrap(), bytes),
        Made::Nothing => assert!(value.is_null()),
        _ if is_nothing(made) => assert!(value.is_null()),
        Made::Object(fields) => {
            let slots = adb.slots(value).unwrap();
            let last = fields.iter().rposition(|field| !is_nothing(field)).unwrap();
            assert_eq!(slots.len(), last + 1);
            for (number, field) in (1..).zip(fields) {
                check(adb, slots.get(number), field);
            }
        }
        Made::Array(items) => {
            let slots = adb.slots(value).unwrap();
            let items: Vec<&Made> = items.iter().filter(|item| !is_nothing(item)).collect();
            assert_eq!(slots.len(), items.len());
            for (slot, item) in slots.iter().zip(items) {
                check(adb, slot, item);
            }
        }
    }
}

/// Whether all that a value refers to lies in front of it and is aligned.
fn check_layout(adb: &Adb<'_>, value: Value, before: u32) {
    let alignment = match value.kind() {
        ValueKind::Special | ValueKind::Integer => return,
        ValueKind::Blob8 => 1,
        ValueKind::Blob16 => 2,
        _ => 4,
    };
    assert!(value.content() < before && value.content().is_multiple_of(alignment));
    if matches!(value.kind(), ValueKind::Array | ValueKind::Object) {
        let slots: Slots<'_> = adb.slots(value).unwrap();
        slots
            .iter()
            .for_each(|slot| check_layout(adb, slot, value.content()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn noise_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        start in 0..6_usize,
        package in any::<bool>(),
    ) {
        let schema = if package { PACKAGE_ID } else { INDEX_ID };
        let bytes = match start {
            0 => noise,
            1 => [b"ADB.", &noise[..]].concat(),
            2 => [b"ADBd", &noise[..]].concat(),
            3 => [b"ADBc\x02\x03\x28\xb5\x2f\xfd", &noise[..]].concat(),
            4 => [&b"ADB."[..], &schema.to_le_bytes(), &noise].concat(),
            _ => file_of(schema, &noise, &[(1, 1, b"data")]),
        };
        use_it(&bytes);
    }

    /// Words that are values point to each other in a small payload.
    #[test]
    fn values_that_point_to_each_other_never_panic(
        words in proptest::collection::vec(
            (prop_oneof![Just(0_u32), Just(1), Just(2), Just(3), Just(8), Just(9), Just(10), Just(13), Just(14)],
             prop_oneof![0..30_u32, any::<u32>()]),
            2..60,
        ),
        package in any::<bool>(),
    ) {
        let mut payload = vec![0; 4];
        for (kind, content) in words {
            let content = if kind > 3 { content.wrapping_mul(4) } else { content };
            payload.extend((kind << 28 | content & 0xfff_ffff).to_le_bytes());
        }
        let schema = if package { PACKAGE_ID } else { INDEX_ID };
        use_it(&file_of(schema, &payload, &[(1, 1, b"data")]));
        if let Ok(adb) = Adb::new(&payload) {
            let _ = adb.copy(adb.root(), &mut Builder::new());
        }
    }

    #[test]
    fn what_is_built_is_read(made in made()) {
        let mut builder = Builder::new();
        let root = write(&mut builder, &made);
        let again = write(&mut builder, &made);
        prop_assert_eq!(root, again, "equal data is written once");
        builder.set_root(root);
        let payload = builder.finish().unwrap();
        let adb = Adb::new(&payload).unwrap();
        prop_assert_eq!(adb.root(), root);
        check(&adb, root, &made);
        check_layout(&adb, root, u32::MAX);
        let mut copied = Builder::new();
        let root = adb.copy(root, &mut copied).unwrap();
        let copied = copied.finish().unwrap();
        check(&Adb::new(&copied).unwrap(), root, &made);
    }

    #[test]
    fn arrays_are_sorted(mut texts in proptest::collection::vec("[a-c]{1,3}", 0..12)) {
        assert_eq!(XATTRS.order, Order::Sorted);
        let mut builder = Builder::new();
        let items = texts.iter().map(|text| builder.blob(text.as_bytes())).collect();
        let array = builder.array(&XATTRS, Tag::Array, items);
        let payload = builder.finish().unwrap();
        let adb = Adb::new(&payload).unwrap();
        texts.sort();
        let read: Vec<&[u8]> = adb.slots(array).unwrap().iter().map(|item| adb.blob(item).unwrap()).collect();
        prop_assert!(read.iter().copied().eq(texts.iter().map(String::as_bytes)));
    }

    /// A changed byte of a signed file changes nothing that is believed.
    #[test]
    fn changed_bytes_are_noticed(place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        for bytes in [tool(), index()] {
            let mut changed = bytes.clone();
            let place = place.index(changed.len());
            changed[place] ^= 1 << bit;
            let (_folder, file) = placed(&changed);
            for keyring in keyrings() {
                if let Ok(package) = Package::open(&file)
                    && package.verify(&keyring).is_ok()
                    && package.manifest(&LIMITS).is_ok()
                {
                    prop_assert_eq!(head_of(&changed).payload, head_of(&bytes).payload);
                }
                if Index::from_bytes(Path::new("x"), &changed, Some(&keyring)).is_ok() {
                    prop_assert_eq!(head_of(&changed).payload, head_of(&bytes).payload);
                }
            }
            prop_assert!(Reader::new(&bytes[..], LIMITS).is_ok());
        }
    }
}
