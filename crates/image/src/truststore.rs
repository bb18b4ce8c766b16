//! Java's trust store in its own format, JKS (the JDK's `JavaKeyStore`): certificates are added to
//! one that is there. All numbers have their most significant byte first.

use std::collections::BTreeMap;

use base::Sha1;

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const VERSION: u32 = 2;
const KEY: u32 = 1;
const CERTIFICATE: u32 = 2;
/// Java mixes it into the checksum, after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// The password that every trust store of Java's has; it guards nothing.
const PASSWORD: &str = "changeit";

/// A trust store can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustStoreError {
    /// It is of another format.
    #[error(
        "it is not in Java's own format (JKS); have the package that brings it made with `keytool -storetype JKS`"
    )]
    Format,
    /// It ends before it should, or says of itself what is not so.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// The store with these certificates in it too: names and DER. An entry of the same name is
/// replaced; the entries are in the order of their names.
pub(crate) fn add(
    store: &[u8],
    certificates: &[(String, Vec<u8>)],
    milliseconds: u64,
) -> Result<Vec<u8>, TrustStoreError> {
    let mut entries = read(store)?;
    for (name, der) in certificates {
        let mut entry = CERTIFICATE.to_be_bytes().to_vec();
        let name = name.to_lowercase();
        text(&mut entry, &name);
        entry.extend(milliseconds.to_be_bytes());
        text(&mut entry, "X.509");
        entry.extend((der.len() as u32).to_be_bytes());
        entry.extend(der);
        entries.insert(name, entry);
    }
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_be_bytes());
    out.extend((entries.len() as u32).to_be_bytes());
    for entry in entries.values() {
        out.extend(entry);
    }
    out.extend(checksum(&out).as_bytes());
    Ok(out)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn checksum(content: &[u8]) -> Sha1 {
    let mut bytes: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    bytes.extend(WHITENER);
    bytes.extend(content);
    Sha1::of(&bytes)
}

struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], TrustStoreError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(TrustStoreError::Damaged("it ends inside an entry"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, TrustStoreError> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn certificate(&mut self) -> Result<(), TrustStoreError> {
        let kind = self.number(2)?;
        self.take(kind)?;
        let length = self.number(4)?;
        self.take(length)?;
        Ok(())
    }
}

/// The entries by name, each with all its bytes.
fn read(store: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, TrustStoreError> {
    let content = store.len().checked_sub(20).ok_or(TrustStoreError::Format)?;
    let (content, sum) = store.split_at(content);
    if !content.starts_with(&MAGIC) {
        return Err(TrustStoreError::Format);
    }
    if checksum(content).as_bytes() != sum {
        return Err(TrustStoreError::Damaged(
            "its checksum is wrong, or its password is not `changeit`",
        ));
    }
    let mut cursor = Cursor(content);
    cursor.take(MAGIC.len())?;
    if cursor.number(4)? != VERSION as usize {
        return Err(TrustStoreError::Damaged("its version is not 2"));
    }
    let count = cursor.number(4)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let start = cursor.0;
        let kind = cursor.number(4)?;
        let length = cursor.number(2)?;
        let name = String::from_utf8_lossy(cursor.take(length)?).to_lowercase();
        cursor.take(8)?;
        match kind {
            kind if kind == CERTIFICATE as usize => cursor.certificate()?,
            kind if kind == KEY as usize => {
                let length = cursor.number(4)?;
                cursor.take(length)?;
                for _ in 0..cursor.number(4)? {
                    cursor.certificate()?;
                }
            }
            _ => return Err(TrustStoreError::Damaged("it has an entry of no known kind")),
        }
        let taken = start.len() - cursor.0.len();
        entries.insert(name, start.get(..taken).unwrap_or_default().to_vec());
    }
    if !cursor.0.is_empty() {
        return Err(TrustStoreError::Damaged("something follows its entries"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Vec<u8> {
        let mut store = MAGIC.to_vec();
        store.extend(VERSION.to_be_bytes());
        store.extend(0_u32.to_be_bytes());
        let sum = checksum(&store);
        store.extend(sum.as_bytes());
        store
    }

    #[test]
    fn certificates_are_added_in_order_and_replaced() {
        let one = add(&empty(), &[("B".to_owned(), vec![2; 300])], 1_000).unwrap();
        let two = add(
            &one,
            &[("a".to_owned(), vec![1]), ("b".to_owned(), vec![3])],
            2_000,
        )
        .unwrap();
        let entries = read(&two).unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(entries["b"].last(), Some(&3));
        let other = add(
            &empty(),
            &[("b".to_owned(), vec![3]), ("a".to_owned(), vec![1])],
            2_000,
        )
        .unwrap();
        assert_eq!(two, other);
    }

    #[test]
    fn damage_is_told() {
        let store = add(&empty(), &[("a".to_owned(), vec![1; 10])], 0).unwrap();
        assert_eq!(read(b"PK"), Err(TrustStoreError::Format));
        assert_eq!(read(&[0x30; 100]), Err(TrustStoreError::Format));
        let mut wrong = store.clone();
        wrong[20] ^= 1;
        assert!(matches!(read(&wrong), Err(TrustStoreError::Damaged(_))));
        for length in 0..store.len() {
            assert!(read(&store[..length]).is_err(), "{length}");
        }
        // A count that no bytes follow.
        let mut long = store[..store.len() - 20].to_vec();
        long[11] = 200;
        long.extend(checksum(&long.clone()).as_bytes());
        assert_eq!(
            read(&long),
            Err(TrustStoreError::Damaged("it ends inside an entry"))
        );
    }
}
